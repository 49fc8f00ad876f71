//! Where the tier files lie.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder for tier files.
pub struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// The folder given, made where it is not there, and left as it is at the end; else a new temporary one that goes
    /// with this value.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn open(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else {
            return Self::temporary();
        };
        fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            temporary: false,
        })
    }

    fn temporary() -> Result<Self, String> {
        let mut number = 0;
        loop {
            let name = format!("kvcache-replay-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, temporary: true }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
    }

    /// The NVMe tier's file.
    pub fn nvme(&self) -> PathBuf {
        self.path.join("nvme.kvc")
    }

    /// The disk tier's file.
    pub fn disk(&self) -> PathBuf {
        self.path.join("disk.kvc")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // What can't be removed stays in the system's temporary folder, which is what that is for.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
