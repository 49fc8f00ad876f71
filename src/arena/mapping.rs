//! The engine's own memory: one anonymous mapping, made at open and never changed.
//!
//! # Soundness
//! - **I1** A [`Mapping`] owns exactly the range that `mmap` returned and unmaps it once, on drop.
//! - **I2** The range is private, anonymous, readable and writable, and zero until somebody writes it.

use std::io;

use crate::config::{Config, HugePages, Prefault};
use crate::error::{ConfigError, Status};
use crate::units::Bytes;

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// An anonymous private mapping.
pub struct Mapping {
    address: *mut u8,
    bytes: usize,
}

// SAFETY: I1, an address range belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: I1, as above; the mapping itself is never changed.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` zero bytes as `config` asks: huge pages, locking, prefaulting.
    ///
    /// # Errors
    /// [`Status::NoMemory`], [`Status::HugePages`] or [`Status::Lock`], with the system's error number.
    pub fn new(bytes: Bytes, config: &Config) -> Result<Self, ConfigError> {
        let refusal = |status, field, value, reason| ConfigError {
            status,
            field,
            value,
            value_min: 0,
            value_max: bytes.0,
            reason,
            os_error: io::Error::last_os_error().raw_os_error().unwrap_or(0),
        };
        let wanted = (bytes.0 as usize).next_multiple_of(HUGE_PAGE_BYTES);
        let required = config.huge_pages == HugePages::Require;
        let mapping = match (required, config.huge_pages) {
            (true, _) => map(wanted, libc::MAP_HUGETLB).ok_or_else(|| {
                refusal(
                    Status::HugePages,
                    "huge_pages",
                    HugePages::Require as u64,
                    "not enough reserved huge pages; reserve them (vm.nr_hugepages) or ask for 'advise'",
                )
            })?,
            (false, HugePages::Off) => map(wanted, 0).ok_or_else(|| no_memory(bytes))?,
            (false, _) => map_aligned(wanted).ok_or_else(|| no_memory(bytes))?,
        };
        if config.huge_pages == HugePages::Advise {
            // A kernel without transparent huge pages refuses this; ordinary pages are what "advise" settles for.
            // SAFETY: I1, the range is ours.
            unsafe { libc::madvise(mapping.address.cast(), mapping.bytes, libc::MADV_HUGEPAGE) };
        }
        if config.prefault == Prefault::All {
            mapping.prefault()?;
        }
        if config.memory_lock {
            // SAFETY: I1, the range is ours.
            if unsafe { libc::mlock(mapping.address.cast(), mapping.bytes) } != 0 {
                return Err(refusal(
                    Status::Lock,
                    "memory_lock",
                    1,
                    "the memory could not be locked; raise the locked-memory limit (ulimit -l) or open without it",
                ));
            }
        }
        Ok(mapping)
    }

    /// The first byte.
    pub fn address(&self) -> *mut u8 {
        self.address
    }

    /// Bytes mapped; at least what was asked for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Backs every page with memory now.
    fn prefault(&self) -> Result<(), ConfigError> {
        // SAFETY: I1, the range is ours.
        let populated = unsafe { libc::madvise(self.address.cast(), self.bytes, libc::MADV_POPULATE_WRITE) } == 0;
        if populated {
            return Ok(());
        }
        match io::Error::last_os_error().raw_os_error() {
            // Kernels before 5.14 do not know the advice: write to each page instead.
            Some(libc::EINVAL) => {
                for offset in (0..self.bytes).step_by(4096) {
                    // SAFETY: I1 and I2, within the range, and zero is what it holds.
                    unsafe { self.address.add(offset).write_volatile(0) };
                }
                Ok(())
            }
            _ => Err(no_memory(Bytes(self.bytes as u64))),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: I1, the range is ours and nobody uses it any more.
        unsafe { libc::munmap(self.address.cast(), self.bytes) };
    }
}

fn no_memory(bytes: Bytes) -> ConfigError {
    ConfigError {
        status: Status::NoMemory,
        field: "cpu_bytes",
        value: bytes.0,
        value_min: 0,
        value_max: bytes.0,
        reason: "the system did not give the memory that the plan asks for; make cpu_bytes smaller",
        os_error: io::Error::last_os_error().raw_os_error().unwrap_or(0),
    }
}

fn map(bytes: usize, flags: i32) -> Option<Mapping> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let address = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    (address != libc::MAP_FAILED).then_some(Mapping {
        address: address.cast(),
        bytes,
    })
}

/// Maps a range that starts at a huge page, so that the kernel can back all of it with huge pages.
fn map_aligned(bytes: usize) -> Option<Mapping> {
    let mut mapping = map(bytes + HUGE_PAGE_BYTES, 0)?;
    let before = mapping.address.align_offset(HUGE_PAGE_BYTES);
    let after = mapping.bytes - before - bytes;
    // SAFETY: I1, both ends belong to the range just mapped and are given back before anybody saw them.
    unsafe {
        if before != 0 {
            libc::munmap(mapping.address.cast(), before);
        }
        mapping.address = mapping.address.add(before);
        mapping.bytes = bytes;
        if after != 0 {
            libc::munmap(mapping.address.add(bytes).cast(), after);
        }
    }
    Some(mapping)
}
