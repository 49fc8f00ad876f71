//! Statuses and the detail of a refused configuration.

use core::fmt;

macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal, $text:literal;)+) => {
        /// What an operation answered. Zero is done, positive is expected in normal use, negative is an error.
        ///
        /// The numbers are those of `kvc_status_t` in `kvcache.h` and never change meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Status {
            $($(#[doc = $doc])+ $name = $value,)+
        }

        impl Status {
            /// Every status there is, in the order of the declaration.
            pub const ALL: &'static [Status] = &[$(Status::$name),+];

            /// The name that C programs know, with a closing NUL byte.
            pub const fn name_c(self) -> &'static core::ffi::CStr {
                match self {
                    $(Status::$name => $text,)+
                }
            }
        }
    };
}

statuses! {
    /// Done.
    Ok = 0, c"KVC_OK";
    /// The block is not resident.
    Miss = 1, c"KVC_MISS";
    /// Another producer is filling this block, or the operation is still under way.
    Pending = 2, c"KVC_PENDING";
    /// No room at present: everything is pinned or a bounded table is full. The same call may succeed later.
    Again = 3, c"KVC_AGAIN";
    /// The block is resident already; nothing was stored.
    Exists = 4, c"KVC_EXISTS";
    /// The operation was cancelled before it began.
    Cancelled = 5, c"KVC_CANCELLED";
    /// The time given ran out; the operation goes on.
    Timeout = 6, c"KVC_TIMEOUT";
    /// An argument is outside its documented range.
    Argument = -100, c"KVC_E_ARGUMENT";
    /// A pointer that must not be NULL is NULL.
    Null = -101, c"KVC_E_NULL";
    /// The handle is not that of an open engine.
    Handle = -102, c"KVC_E_HANDLE";
    /// The block, pin, lane or ticket was released, reclaimed or never existed.
    Stale = -103, c"KVC_E_STALE";
    /// The caller asks for something that this version of the library does not know.
    Unsupported = -104, c"KVC_E_UNSUPPORTED";
    /// More bytes than a block may have.
    TooLarge = -105, c"KVC_E_TOO_LARGE";
    /// The buffer is smaller than what has to go into it; nothing was written.
    TooSmall = -106, c"KVC_E_TOO_SMALL";
    /// The bytes are not what the library made: a code or a table file that does not verify.
    Damaged = -107, c"KVC_E_DAMAGED";
    /// A field of the configuration is outside its range.
    Config = -200, c"KVC_E_CONFIG";
    /// Two fields of the configuration contradict each other.
    Conflict = -201, c"KVC_E_CONFLICT";
    /// The system did not give the memory that the plan asks for.
    NoMemory = -300, c"KVC_E_NO_MEMORY";
    /// Huge pages are required and not to be had.
    HugePages = -301, c"KVC_E_HUGE_PAGES";
    /// The memory could not be locked.
    Lock = -302, c"KVC_E_LOCK";
    /// A worker thread could not be started.
    Thread = -303, c"KVC_E_THREAD";
    /// The device is not there.
    NoDevice = -304, c"KVC_E_NO_DEVICE";
    /// An event file descriptor could not be made.
    EventFd = -305, c"KVC_E_EVENT_FD";
    /// The file could not be opened, made or locked; the system's error number says why.
    File = -306, c"KVC_E_FILE";
    /// The file system has no room for the tier's file; nothing was written.
    NoSpace = -307, c"KVC_E_NO_SPACE";
    /// Another process, or another engine, has the file open.
    FileBusy = -308, c"KVC_E_FILE_BUSY";
    /// The file holds a tier of another geometry, layout or version.
    FileMismatch = -309, c"KVC_E_FILE_MISMATCH";
    /// The file holds something, and it is no tier.
    FileForeign = -310, c"KVC_E_FILE_FOREIGN";
    /// The file is damaged, and the configuration asks for a refusal then.
    FileDamaged = -311, c"KVC_E_FILE_DAMAGED";
    /// io_uring is required and not permitted here.
    NoUring = -312, c"KVC_E_NO_URING";
    /// The device fails or stalls; the tier is offline.
    Offline = -313, c"KVC_E_OFFLINE";
    /// The tier's endurance budget is used up for now.
    Endurance = -314, c"KVC_E_ENDURANCE";
    /// The engine still has pins, reservations, open lanes or operations under way; or another thread is on the lane.
    Busy = -400, c"KVC_E_BUSY";
    /// The engine was shut down.
    Shutdown = -401, c"KVC_E_SHUTDOWN";
    /// The library had an internal failure earlier; the engine refuses work and can only be closed.
    Poisoned = -402, c"KVC_E_POISONED";
    /// The engine was opened by a parent process; a forked child must open its own.
    Forked = -403, c"KVC_E_FORKED";
    /// An internal failure (a panic) was caught at the boundary; the engine is poisoned.
    Internal = -900, c"KVC_E_INTERNAL";
}

impl Status {
    /// The name that C programs know, `KVC_MISS` for one.
    pub const fn name(self) -> &'static str {
        match self.name_c().to_str() {
            Ok(name) => name,
            // The names above are ASCII literals.
            Err(_) => "KVC_E_INTERNAL",
        }
    }

    /// The number that crosses the C boundary.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The status of a number, or `None` for a number that means nothing.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.code() == code)
    }

    /// Whether this is a fault (negative) and not an expected answer.
    pub const fn is_error(self) -> bool {
        self.code() < 0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl core::error::Error for Status {}

/// Why a configuration was refused: the field, the value it had, and what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// [`Status::Config`], [`Status::Conflict`], or the status of the resource that could not be had.
    pub status: Status,
    /// The field's name as in `kvc_config_t`.
    pub field: &'static str,
    /// The value that was asked for.
    pub value: u64,
    /// The smallest permitted value.
    pub value_min: u64,
    /// The largest permitted value.
    pub value_max: u64,
    /// One sentence: what is wrong and what would be right.
    pub reason: &'static str,
    /// The operating system's error number where one is behind this, else 0.
    pub os_error: i32,
}

impl ConfigError {
    /// A refusal with no error of the operating system behind it.
    pub(crate) const fn new(
        status: Status,
        field: &'static str,
        value: u64,
        value_min: u64,
        value_max: u64,
        reason: &'static str,
    ) -> Self {
        Self {
            status,
            field,
            value,
            value_min,
            value_max,
            reason,
            os_error: 0,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.status, self.field)?;
        // A path has no range.
        if (self.value, self.value_min, self.value_max) != (0, 0, 0) {
            write!(
                formatter,
                " is {}, permitted is {} to {}",
                self.value, self.value_min, self.value_max
            )?;
        }
        write!(formatter, ": {}", self.reason)?;
        if self.os_error != 0 {
            write!(formatter, " (system error {})", self.os_error)?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_found_by_its_number_and_numbers_differ() {
        for &status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(status));
            assert!(status.name().starts_with("KVC_"));
            assert_eq!(status.name().starts_with("KVC_E_"), status.is_error());
        }
        assert_eq!(Status::from_code(-1), None);
    }
}
