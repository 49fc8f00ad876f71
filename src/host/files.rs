//! The files below memory: opened and locked before the engine opens, given their full size, and put away again where
//! opening fails.

use core::ops::Deref;
use std::boxed::Box;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::vec::Vec;

use crate::budget::Plan;
use crate::codec::{TABLES_ALIGNMENT_BYTES, Tables};
use crate::config::{Config, FieldNames};
use crate::engine::Devices;
use crate::error::{ConfigError, Status};
#[cfg(feature = "mmap")]
use crate::tier::disk::DiskFile;
use crate::tier::nvme::NvmeFile;
use crate::units::Tier;

/// Where the file tiers that a configuration has are kept.
///
/// Each is a file, made where there is none, or a block device. A file belongs to one engine at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paths<'p> {
    /// The NVMe tier's file.
    pub nvme: Option<&'p Path>,
    /// The disk tier's file.
    pub disk: Option<&'p Path>,
    /// Tables of the codecs that need them, as they were trained; copied at open.
    pub tables: Option<&'p [u8]>,
}

/// A device and whether its file held nothing when it was opened.
struct Held<D> {
    device: Box<D>,
    empty: bool,
}

/// The open files. Boxed each: the engine borrows them, and they stay where they are when this moves.
pub(super) struct Files {
    nvme: Option<Held<NvmeFile>>,
    #[cfg(feature = "mmap")]
    disk: Option<Held<DiskFile>>,
    file_ids: [[u8; 16]; 2],
    tables: Option<AlignedTables>,
}

/// A copy of tables that begins at a multiple of their alignment; it stays where it is when this moves.
struct AlignedTables {
    bytes: Vec<u8>,
    start: usize,
}

impl AlignedTables {
    fn copy(tables: &[u8]) -> Result<Self, ConfigError> {
        let mut bytes = std::vec![0; tables.len() + TABLES_ALIGNMENT_BYTES];
        let start = bytes
            .as_ptr()
            .align_offset(TABLES_ALIGNMENT_BYTES)
            .min(TABLES_ALIGNMENT_BYTES);
        bytes[start..start + tables.len()].copy_from_slice(tables);
        bytes.truncate(start + tables.len());
        let copy = Self { bytes, start };
        Tables::open(&copy.bytes[copy.start..]).map_err(|status| {
            ConfigError::new(
                status,
                "codec_tables",
                tables.len() as u64,
                0,
                0,
                "the codecs' tables do not verify or are of another version; train them anew",
            )
        })?;
        Ok(copy)
    }
}

/// Files that this opening made; they go again unless it succeeds.
#[derive(Default)]
pub(super) struct Created(Vec<PathBuf>);

impl Created {
    /// The opening succeeded.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        for path in &self.0 {
            // What can't be removed is an empty tier, which the next opening takes as it is.
            let _ = fs::remove_file(path);
        }
    }
}

impl Files {
    /// Opens and locks the files of the tiers that `config` has. Those that are empty get their full size at once, so
    /// that a file system without room says so before anything is written.
    pub(super) fn open(
        config: &Config,
        plan: &Plan,
        paths: &Paths<'_>,
        created: &mut Created,
    ) -> Result<Self, ConfigError> {
        let nvme = asked(config.nvme.bytes, paths.nvme, Tier::Nvme)?;
        let disk = asked(config.disk.bytes, paths.disk, Tier::Disk)?;
        let file_ids = match (nvme, disk) {
            (None, None) => [[0; 16]; 2],
            _ => ids::random()?,
        };
        let files = Self {
            nvme: held(nvme, created, |path| {
                let bytes = plan.file_bytes(Tier::Nvme);
                let device = NvmeFile::open(path, bytes, config.nvme.depth as u32, config.io_engine)?;
                Ok((device.length_bytes()?, device))
            })?,
            #[cfg(feature = "mmap")]
            disk: held(disk, created, |path| {
                let device = DiskFile::open(path, plan.file_bytes(Tier::Disk), config.disk.depth as u32)?;
                Ok((device.length_bytes()?, device))
            })?,
            file_ids,
            tables: paths.tables.map(AlignedTables::copy).transpose()?,
        };
        #[cfg(not(feature = "mmap"))]
        if disk.is_some() {
            return Err(ConfigError::new(
                Status::Unsupported,
                FieldNames::of(Tier::Disk).path,
                1,
                0,
                0,
                "this library was built without the disk tier (feature `mmap`)",
            ));
        }
        files.preallocate(true)?;
        Ok(files)
    }

    /// Gives the files that held something their full size, once the engine knows them for its own.
    pub(super) fn complete(&self) -> Result<(), ConfigError> {
        self.preallocate(false)
    }

    fn preallocate(&self, empty: bool) -> Result<(), ConfigError> {
        if let Some(nvme) = self.nvme.as_ref().filter(|held| held.empty == empty) {
            nvme.device.preallocate()?;
        }
        #[cfg(feature = "mmap")]
        if let Some(disk) = self.disk.as_ref().filter(|held| held.empty == empty) {
            disk.device.preallocate()?;
        }
        Ok(())
    }

    /// Waits until the kernel uses no buffer any more, at most `timeout`. False if it still does.
    pub(super) fn quiesce(&self, timeout: Duration) -> bool {
        // The disk tier's requests are done by the threads that drive it, and none is left.
        self.nvme
            .as_ref()
            .is_none_or(|held| held.device.quiesce(super::nanoseconds(timeout)))
    }

    /// The devices as the engine borrows them.
    pub(super) fn devices(&self) -> Devices<'_> {
        Devices {
            nvme: self.nvme.as_ref().map(|held| held.device.deref() as _),
            #[cfg(feature = "mmap")]
            disk: self.disk.as_ref().map(|held| held.device.deref() as _),
            #[cfg(not(feature = "mmap"))]
            disk: None,
            file_ids: self.file_ids,
            // A clock before 1970 is noted as 1970.
            unix_seconds: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            // They verified when they were copied.
            tables: self
                .tables
                .as_ref()
                .and_then(|tables| Tables::open(&tables.bytes[tables.start..]).ok()),
        }
    }
}

/// The path of a tier that is to be; a path goes with bytes, and bytes with a path.
fn asked(bytes: u64, path: Option<&Path>, tier: Tier) -> Result<Option<&Path>, ConfigError> {
    let names = FieldNames::of(tier);
    let refusal = |field, value, (value_min, value_max), reason| {
        ConfigError::new(Status::Conflict, field, value, value_min, value_max, reason)
    };
    match (bytes, path) {
        (0, Some(_)) => Err(refusal(
            names.bytes,
            0,
            (1, crate::limits::FILE_BYTES_MAX),
            "there is a path for the tier and no size; give both or neither",
        )),
        (1.., None) => Err(refusal(
            names.path,
            0,
            (1, 1),
            "the tier has a size and no path; say where its file is",
        )),
        (_, path) => Ok(path),
    }
}

/// Opens a tier's file, with its length, and notes whether it is new. An open file is locked: nobody else changes it.
fn held<D>(
    path: Option<&Path>,
    created: &mut Created,
    open: impl FnOnce(&Path) -> Result<(u64, D), ConfigError>,
) -> Result<Option<Held<D>>, ConfigError> {
    let Some(path) = path else { return Ok(None) };
    let existed = path.symlink_metadata().is_ok();
    let (length_bytes, device) = open(path)?;
    let empty = length_bytes == 0;
    if empty && !existed {
        created.0.push(path.into());
    }
    Ok(Some(Held {
        device: Box::new(device),
        empty,
    }))
}

mod ids {
    //! # Soundness
    //! - **I1** `getrandom` writes at most as many bytes as it is given room for, and keeps no reference.
    #![allow(unsafe_code)]
    use super::{ConfigError, FieldNames, Status, Tier};
    use std::io;

    /// Two numbers that no other file has.
    pub(super) fn random() -> Result<[[u8; 16]; 2], ConfigError> {
        let mut ids = [[0_u8; 16]; 2];
        // SAFETY: I1. So few bytes come whole, and no signal interrupts them.
        let bytes = unsafe { libc::getrandom((&raw mut ids).cast(), size_of_val(&ids), 0) };
        if bytes == size_of_val(&ids) as isize {
            return Ok(ids);
        }
        Err(ConfigError {
            status: Status::File,
            field: FieldNames::of(Tier::Nvme).path,
            value: 0,
            value_min: 0,
            value_max: 0,
            reason: "the system gave no random bytes to tell the tier's file from others by",
            os_error: io::Error::last_os_error().raw_os_error().unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_with_bytes_and_bytes_with_a_path() {
        let path = Path::new("tier");
        assert_eq!(asked(0, None, Tier::Nvme), Ok(None));
        assert_eq!(asked(1, Some(path), Tier::Nvme), Ok(Some(path)));
        for (bytes, path, tier, field) in [
            (1, None, Tier::Nvme, "nvme_path"),
            (0, Some(path), Tier::Nvme, "nvme_bytes"),
            (1, None, Tier::Disk, "disk_path"),
            (0, Some(path), Tier::Disk, "disk_bytes"),
        ] {
            let refusal = asked(bytes, path, tier).unwrap_err();
            assert_eq!((refusal.status, refusal.field), (Status::Conflict, field));
        }
    }

    #[test]
    fn files_that_were_made_go_unless_they_are_kept() {
        let folder = std::env::temp_dir().join(std::format!("kvcache-created-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let paths = [folder.join("gone"), folder.join("kept")];
        for (path, keep) in paths.iter().zip([false, true]) {
            let mut created = Created::default();
            let make = |path: &Path| Ok((0, fs::write(path, b"").unwrap()));
            held(Some(path), &mut created, make).unwrap();
            if keep {
                created.keep();
            }
        }
        assert_eq!(paths.map(|path| path.exists()), [false, true]);

        // What was there before is not this opening's, and a failed one made nothing.
        let before = folder.join("kept");
        let mut created = Created::default();
        held(Some(&before), &mut created, |_| Ok((0, ()))).unwrap();
        drop(created);
        assert!(before.exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn ids_differ() {
        let [first, second] = ids::random().unwrap();
        assert!(first != second && first != [0; 16]);
        assert_ne!(ids::random().unwrap(), [first, second]);
    }
}
