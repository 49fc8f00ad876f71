//! One look at a whole file.

use std::fmt::Write;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use kvcache::units::{Bytes, Tier};
use serde::Serialize;

use crate::sys::device::ReadOnly;
use kvcache::tier::log::{CheckItem, FORMAT_VERSION, FileIdentity, check};

/// Places of damage that are told one by one; the others are counted.
const DAMAGES_TOLD_MAX: usize = 20;
/// Bytes read at a time.
const BUFFER_BYTES: usize = 4 << 20;

/// Something that does not verify.
#[derive(Debug, Serialize)]
pub struct Damage {
    /// Bytes from the start of the file.
    offset: u64,
    /// What should be there and is not.
    what: &'static str,
}

/// What a file holds.
#[derive(Debug, Serialize)]
pub struct Look {
    file: String,
    /// `unknown` where the superblock is lost.
    tier: &'static str,
    file_id: String,
    geometry_digest: String,
    created_unix_seconds: u64,
    block_bytes: u64,
    segment_bytes: u64,
    segments: u64,
    segments_used: u64,
    /// Of those, without a table: not full yet, or cut off by a crash.
    segments_scanned: u64,
    /// Records of blocks that verify; a key may have several.
    blocks: u64,
    bytes: u64,
    tombstones: u64,
    damaged: u64,
    /// Of those, what a crash leaves of blocks that were never flushed, too.
    damaged_unflushed: u64,
    io_errors: u64,
    damages: Vec<Damage>,
    in_use: bool,
}

/// Verifies a file whole that nobody has open.
///
/// # Errors
/// Why it can't be looked at.
pub fn check_file(path: &Path) -> Result<Look, String> {
    Look::at(path, false, &mut |_| {})
}

impl Look {
    /// Looks at all of a file, and shows what is in it.
    ///
    /// # Errors
    /// Why it can't be looked at, with the path.
    pub fn at(path: &Path, in_use_too: bool, show: &mut dyn FnMut(&CheckItem)) -> Result<Self, String> {
        let named = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
        // Before it is opened: opening a pipe waits.
        let kind = fs::metadata(path).map_err(|error| named(&error))?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(named(&"this is neither a file nor a block device"));
        }
        let file = File::open(path).map_err(|error| named(&error))?;
        let in_use = match file.try_lock_shared() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) if in_use_too => true,
            Err(TryLockError::WouldBlock) => {
                return Err(named(
                    &"an engine has the file open; close it first, or look nevertheless with --force",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(named(&error)),
        };
        let device = ReadOnly::new(file).map_err(|error| named(&error))?;
        let mut damages = Vec::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let report = check(&device, &mut buffer, &mut |item| {
            if let CheckItem::Damage { offset, what } = item
                && damages.len() < DAMAGES_TOLD_MAX
            {
                damages.push(Damage { offset, what });
            }
            show(&item);
        });
        let FileIdentity {
            version,
            tier,
            file_id,
            geometry_digest,
            block_bytes,
            segment_bytes,
            segments_count,
            created,
            ..
        } = match report.identity {
            Some(identity) => identity,
            None if report.blank => return Err(named(&"this is no tier file: there is nothing in it")),
            None => return Err(named(&"this is no tier file")),
        };
        if version != FORMAT_VERSION {
            let reason =
                format!("this is a tier file of version {version}; this program reads version {FORMAT_VERSION}");
            return Err(named(&reason));
        }
        let tier = Tier::ALL.into_iter().find(|&known| Some(known as u32) == tier);
        Ok(Self {
            file: path.display().to_string(),
            tier: tier.map_or("unknown", Tier::name),
            file_id: hexadecimal(&file_id),
            geometry_digest: hexadecimal(&geometry_digest),
            created_unix_seconds: created,
            block_bytes,
            segment_bytes,
            segments: segments_count,
            segments_used: report.segments_used,
            segments_scanned: report.segments_scanned,
            blocks: report.blocks,
            bytes: report.bytes,
            tombstones: report.tombstones,
            damaged: report.damaged,
            damaged_unflushed: report.damaged_unflushed,
            io_errors: report.io_errors,
            damages,
            in_use,
        })
    }

    /// Whether all of it was read and verified.
    pub fn is_clean(&self) -> bool {
        self.damaged == 0 && self.io_errors == 0
    }

    /// Whether what does not verify is nothing but what a crash leaves of blocks that were never flushed.
    pub fn is_sound(&self) -> bool {
        self.damaged == self.damaged_unflushed && self.io_errors == 0
    }

    /// In a line.
    pub fn line(&self) -> String {
        let verdict = match (self.damaged, self.io_errors) {
            (0, 0) => String::from("clean"),
            (0, errors) => format!("{errors} reads FAILED"),
            (count, _) => format!(
                "{count} places DAMAGED, {} of them as a crash leaves them",
                self.damaged_unflushed
            ),
        };
        format!(
            "{verdict}: {} blocks, {}, in {} of {} segments; {} tombstones",
            self.blocks,
            Bytes(self.bytes),
            self.segments_used,
            self.segments,
            self.tombstones
        )
    }

    /// What the file says of itself, in lines.
    pub fn identity(&self) -> String {
        format!(
            "{}: {} tier, file {}, made {} s after 1970\n    blocks of at most {}, {} segments of {}, geometries {}{}",
            self.file,
            self.tier,
            self.file_id,
            self.created_unix_seconds,
            Bytes(self.block_bytes),
            self.segments,
            Bytes(self.segment_bytes),
            self.geometry_digest,
            if self.in_use {
                "\n    an engine has it open: what it is writing just now looks damaged"
            } else {
                ""
            }
        )
    }

    /// In lines, with each place of damage.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n    {}", self.identity(), self.line());
        for damage in &self.damages {
            // Writing to a string does not fail.
            let _ = write!(text, "\n    at {:>14}  {}", damage.offset, damage.what);
        }
        let more = self.damaged.saturating_sub(self.damages.len() as u64);
        if more != 0 {
            let _ = write!(text, "\n    and {more} more");
        }
        text
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // As above.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
