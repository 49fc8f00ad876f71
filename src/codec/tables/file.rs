//! Tables in files.

use super::{HEADER_BYTES, MAGIC, Tables, u64_at};
use crate::error::{ConfigError, Status};
use std::ffi::OsString;
use std::format;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Largest file that is taken for tables.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Most files that are being written, or were left, beside one of tables.
const PARTS_COUNT_MAX: u32 = 100;

fn refusal(status: Status, reason: &'static str, error: Option<&io::Error>) -> ConfigError {
    ConfigError {
        status,
        field: "path",
        value: 0,
        value_min: 0,
        value_max: 0,
        reason,
        os_error: error.and_then(io::Error::raw_os_error).unwrap_or(0),
    }
}

fn failed(reason: &'static str) -> impl Fn(io::Error) -> ConfigError {
    move |error| {
        let status = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Status::NoSpace,
            _ => Status::File,
        };
        refusal(status, reason, Some(&error))
    }
}

/// Makes a file beside `path`, under a name that nothing has yet.
fn beside(path: &Path) -> Result<(File, PathBuf), ConfigError> {
    let name = path
        .file_name()
        .ok_or(refusal(Status::File, "the path has no name of a file", None))?;
    let mut number = 0;
    loop {
        let mut part = OsString::from(name);
        part.push(format!(".part-{}-{number}", std::process::id()));
        let part = path.with_file_name(part);
        match OpenOptions::new().write(true).create_new(true).open(&part) {
            Ok(file) => return Ok((file, part)),
            // Of another thread, or of a process that ended in between.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < PARTS_COUNT_MAX => number += 1,
            Err(error) => return Err(failed("no file could be made beside it")(error)),
        }
    }
}

/// Makes the entry of a file in its folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match File::open(folder)?.sync_all() {
        // Some file systems have nothing to do there and say it like this.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Ok(()),
        done => done,
    }
}

fn replace(path: &Path, part: &Path, mut file: File, bytes: &[u8]) -> Result<(), ConfigError> {
    file.write_all(bytes)
        .map_err(failed("the tables could not be written"))?;
    file.sync_all()
        .map_err(failed("the tables could not be made durable"))?;
    drop(file);
    fs::rename(part, path).map_err(failed("the file could not be given its name"))
}

impl Tables<'_> {
    /// Writes the tables to a file, durably. A file that is there is replaced in one step: whoever opens it sees the
    /// old tables or the new ones, also after a crash.
    ///
    /// # Errors
    /// [`Status::File`] and [`Status::NoSpace`] with the system's error number; the old file stays as it was then.
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        let (file, part) = beside(path)?;
        let replaced = replace(path, &part, file, self.bytes);
        if replaced.is_err() {
            // What has failed already is told; a part that stays does no harm.
            let _ = fs::remove_file(&part);
        }
        replaced?;
        sync_folder(path).map_err(failed("the folder could not be made durable"))
    }
}

/// Opens a file of tables and says how long it is.
fn open(path: &Path) -> Result<(File, u64), ConfigError> {
    let mut file = File::open(path).map_err(failed("the file could not be opened"))?;
    let facts = file.metadata().map_err(failed("the file could not be looked at"))?;
    if !facts.is_file() {
        return Err(refusal(Status::FileForeign, "this is no file of tables", None));
    }
    let mut header = [0; HEADER_BYTES];
    let read = file.read_exact(&mut header);
    match read {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            return Err(failed("the file could not be read")(error));
        }
        _ if header[..4] != MAGIC => return Err(refusal(Status::FileForeign, "this is no file of tables", None)),
        Err(_) => return Err(refusal(Status::Damaged, "the file ends too early", None)),
        Ok(()) => {}
    }
    let bytes = u64_at(&header, 8);
    if bytes != facts.len() || bytes > FILE_BYTES_MAX {
        let reason = "the file is not as long as it says";
        return Err(refusal(Status::Damaged, reason, None));
    }
    Ok((file, bytes))
}

/// Bytes of the tables in a file. Reads its header only.
///
/// # Errors
/// [`Status::File`] with the system's error number; [`Status::FileForeign`] for a file of something else;
/// [`Status::Damaged`] for one that is not as long as it says.
pub fn file_bytes(path: &Path) -> Result<u64, ConfigError> {
    open(path).map(|(_, bytes)| bytes)
}

/// Reads tables from a file into the front of `memory`, which begins at a multiple of 64 bytes, and checks them.
///
/// # Errors
/// As [`file_bytes`]; [`Status::TooSmall`] if `memory` is shorter than the tables, [`Status::Argument`] if it is
/// misaligned; [`Status::Unsupported`] for another version and [`Status::Damaged`] as [`Tables::open`]. After an error
/// `memory` holds anything.
pub fn load<'m>(path: &Path, memory: &'m mut [u8]) -> Result<Tables<'m>, ConfigError> {
    let (mut file, bytes) = open(path)?;
    let capacity = memory.len() as u64;
    let Some(memory) = memory.get_mut(..bytes as usize) else {
        return Err(ConfigError {
            value: capacity,
            value_min: bytes,
            value_max: u64::MAX,
            ..refusal(Status::TooSmall, "the memory is shorter than the tables", None)
        });
    };
    // The file may have been cut off since.
    file.rewind()
        .and_then(|()| file.read_exact(memory))
        .map_err(failed("the file could not be read"))?;
    Tables::open(memory).map_err(|status| {
        let reason = match status {
            Status::Argument => "tables begin at a multiple of 64 bytes",
            Status::Unsupported => "the tables are of another version; train them with this one",
            _ => "the tables are damaged",
        };
        refusal(status, reason, None)
    })
}
