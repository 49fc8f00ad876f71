//! Versions and statuses.
//!
//! # Soundness
//! Nothing here is unsafe but the attribute that exports a name.

use core::ffi::c_char;

use super::guard::plain;
use crate::error::Status;

/// What a function answers: 0 done, positive expected in normal use, negative an error.
pub type kvc_status_t = i32;

/// Major version of this header.
pub const KVC_VERSION_MAJOR: u32 = 0;
/// Minor version of this header. While the major version is 0 it is also in the library's SONAME: two minor
/// versions do not mix.
pub const KVC_VERSION_MINOR: u32 = 1;
/// Patch version of this header.
pub const KVC_VERSION_PATCH: u32 = 0;
/// Version of the binary interface: the major version times 65536, plus the minor version.
pub const KVC_ABI_VERSION: u32 = 1;

/// Done.
pub const KVC_OK: kvc_status_t = 0;
/// The block is not resident.
pub const KVC_MISS: kvc_status_t = 1;
/// Another producer is filling this block, it is still arriving from a file tier, or the operation is still under way.
pub const KVC_PENDING: kvc_status_t = 2;
/// No room at present: everything is held or a bounded table is full. The same call may succeed later.
pub const KVC_AGAIN: kvc_status_t = 3;
/// The block is resident already; nothing was stored.
pub const KVC_EXISTS: kvc_status_t = 4;
/// The operation was cancelled before it began, or while it waited for a file tier.
pub const KVC_CANCELLED: kvc_status_t = 5;
/// The time given ran out; the operation goes on.
pub const KVC_TIMEOUT: kvc_status_t = 6;
/// An argument is outside its documented range.
pub const KVC_E_ARGUMENT: kvc_status_t = -100;
/// A pointer that must not be NULL is NULL.
pub const KVC_E_NULL: kvc_status_t = -101;
/// The handle is not that of an open engine.
pub const KVC_E_HANDLE: kvc_status_t = -102;
/// The block, pin, lane or ticket was released, reclaimed or never existed.
pub const KVC_E_STALE: kvc_status_t = -103;
/// The caller asks for something that this version of the library does not know.
pub const KVC_E_UNSUPPORTED: kvc_status_t = -104;
/// More bytes than a block may have.
pub const KVC_E_TOO_LARGE: kvc_status_t = -105;
/// The buffer is smaller than what has to go into it; nothing was written.
pub const KVC_E_TOO_SMALL: kvc_status_t = -106;
/// The bytes are not what the library made: a code or tables that do not verify.
pub const KVC_E_DAMAGED: kvc_status_t = -107;
/// A field of the configuration is outside its range.
pub const KVC_E_CONFIG: kvc_status_t = -200;
/// Two fields of the configuration contradict each other.
pub const KVC_E_CONFLICT: kvc_status_t = -201;
/// The system did not give the memory that the plan asks for.
pub const KVC_E_NO_MEMORY: kvc_status_t = -300;
/// Huge pages are required and not to be had.
pub const KVC_E_HUGE_PAGES: kvc_status_t = -301;
/// The memory could not be locked.
pub const KVC_E_LOCK: kvc_status_t = -302;
/// A worker thread could not be started.
pub const KVC_E_THREAD: kvc_status_t = -303;
/// The device is not there.
pub const KVC_E_NO_DEVICE: kvc_status_t = -304;
/// An event file descriptor could not be made.
pub const KVC_E_EVENT_FD: kvc_status_t = -305;
/// The file could not be opened, made or locked; the system's error number says why.
pub const KVC_E_FILE: kvc_status_t = -306;
/// The file system has no room for the tier's file; nothing was written.
pub const KVC_E_NO_SPACE: kvc_status_t = -307;
/// Another process, or another engine, has the file open.
pub const KVC_E_FILE_BUSY: kvc_status_t = -308;
/// The file holds a tier of another geometry, layout or version.
pub const KVC_E_FILE_MISMATCH: kvc_status_t = -309;
/// The file holds something, and it is no tier.
pub const KVC_E_FILE_FOREIGN: kvc_status_t = -310;
/// The file is damaged, and the configuration asks for a refusal then.
pub const KVC_E_FILE_DAMAGED: kvc_status_t = -311;
/// io_uring is required and not permitted here.
pub const KVC_E_NO_URING: kvc_status_t = -312;
/// The device fails or stalls; the tier is offline.
pub const KVC_E_OFFLINE: kvc_status_t = -313;
/// The tier's endurance budget is used up for now.
pub const KVC_E_ENDURANCE: kvc_status_t = -314;
/// The engine still has pins, reservations, open lanes or operations under way, or a lane is used by two threads at
/// once.
pub const KVC_E_BUSY: kvc_status_t = -400;
/// The engine was shut down.
pub const KVC_E_SHUTDOWN: kvc_status_t = -401;
/// The library had an internal failure earlier; the engine refuses work and can only be closed.
pub const KVC_E_POISONED: kvc_status_t = -402;
/// The engine was opened by a parent process; a forked child must open its own.
pub const KVC_E_FORKED: kvc_status_t = -403;
/// An internal failure was caught at the boundary; the engine is poisoned.
pub const KVC_E_INTERNAL: kvc_status_t = -900;

/// Every status, with its Rust twin.
#[cfg(test)]
const STATUSES: &[(kvc_status_t, Status)] = &[
    (KVC_OK, Status::Ok),
    (KVC_MISS, Status::Miss),
    (KVC_PENDING, Status::Pending),
    (KVC_AGAIN, Status::Again),
    (KVC_EXISTS, Status::Exists),
    (KVC_CANCELLED, Status::Cancelled),
    (KVC_TIMEOUT, Status::Timeout),
    (KVC_E_ARGUMENT, Status::Argument),
    (KVC_E_NULL, Status::Null),
    (KVC_E_HANDLE, Status::Handle),
    (KVC_E_STALE, Status::Stale),
    (KVC_E_UNSUPPORTED, Status::Unsupported),
    (KVC_E_TOO_LARGE, Status::TooLarge),
    (KVC_E_TOO_SMALL, Status::TooSmall),
    (KVC_E_DAMAGED, Status::Damaged),
    (KVC_E_CONFIG, Status::Config),
    (KVC_E_CONFLICT, Status::Conflict),
    (KVC_E_NO_MEMORY, Status::NoMemory),
    (KVC_E_HUGE_PAGES, Status::HugePages),
    (KVC_E_LOCK, Status::Lock),
    (KVC_E_THREAD, Status::Thread),
    (KVC_E_NO_DEVICE, Status::NoDevice),
    (KVC_E_EVENT_FD, Status::EventFd),
    (KVC_E_FILE, Status::File),
    (KVC_E_NO_SPACE, Status::NoSpace),
    (KVC_E_FILE_BUSY, Status::FileBusy),
    (KVC_E_FILE_MISMATCH, Status::FileMismatch),
    (KVC_E_FILE_FOREIGN, Status::FileForeign),
    (KVC_E_FILE_DAMAGED, Status::FileDamaged),
    (KVC_E_NO_URING, Status::NoUring),
    (KVC_E_OFFLINE, Status::Offline),
    (KVC_E_ENDURANCE, Status::Endurance),
    (KVC_E_BUSY, Status::Busy),
    (KVC_E_SHUTDOWN, Status::Shutdown),
    (KVC_E_POISONED, Status::Poisoned),
    (KVC_E_FORKED, Status::Forked),
    (KVC_E_INTERNAL, Status::Internal),
];

/// The version of the binary interface that the library was built with; equal to `KVC_ABI_VERSION` of a header that
/// fits.
///
/// Threads: any, at once.
///
/// Memory: none.
#[unsafe(no_mangle)]
pub extern "C" fn kvc_abi_version() -> u32 {
    KVC_ABI_VERSION
}

/// The library's version as text, `"0.1.0"` for one.
///
/// Threads: any, at once.
///
/// Memory: lent for as long as the library is loaded; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn kvc_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The name of a status, `"KVC_MISS"` for one; `"KVC_UNKNOWN"` for a number that means nothing.
///
/// Threads: any, at once.
///
/// Memory: lent for as long as the library is loaded; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn kvc_status_name(status: kvc_status_t) -> *const c_char {
    let mut name = c"KVC_UNKNOWN";
    plain(|| {
        if let Some(status) = Status::from_code(status) {
            name = status.name_c();
        }
        Ok(())
    });
    name.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;
    use std::string::ToString;

    #[test]
    fn every_status_is_the_same_number_and_name_in_c() {
        assert_eq!(STATUSES.len(), Status::ALL.len());
        for &(code, status) in STATUSES {
            assert_eq!(code, status.code());
            // SAFETY: `kvc_status_name` lends a string that lives as long as the program.
            let name = unsafe { CStr::from_ptr(kvc_status_name(code)) };
            assert_eq!(name, status.name_c());
        }
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(kvc_status_name(-1)) };
        assert_eq!(name, c"KVC_UNKNOWN");
    }

    #[test]
    fn versions_are_those_of_the_package() {
        assert_eq!(KVC_VERSION_MAJOR.to_string(), env!("CARGO_PKG_VERSION_MAJOR"));
        assert_eq!(KVC_VERSION_MINOR.to_string(), env!("CARGO_PKG_VERSION_MINOR"));
        assert_eq!(KVC_VERSION_PATCH.to_string(), env!("CARGO_PKG_VERSION_PATCH"));
        assert_eq!(KVC_ABI_VERSION, KVC_VERSION_MAJOR << 16 | KVC_VERSION_MINOR);
        assert_eq!(kvc_abi_version(), KVC_ABI_VERSION);
        // SAFETY: `kvc_version` lends a string that lives as long as the program.
        let version = unsafe { CStr::from_ptr(kvc_version()) };
        assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    }
}
