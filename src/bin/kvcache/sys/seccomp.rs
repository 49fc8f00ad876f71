//! Counts the system calls of a piece of work, without tracing and without privileges.
//!
//! The work runs in a forked child. There, a seccomp filter turns every system call but those that end the child into
//! a signal instead of a call, and the signal's handler counts. So the number is exact, and zero means that the kernel
//! saw not one call, not that none was noticed.
//!
//! # Soundness
//! - **I1** The child is forked while the program has one thread, so no lock is held by a thread that the child lacks;
//!   it leaves by `_exit`, which runs no destructors and no exit handlers.
//! - **I2** The tally lies in a shared mapping of a page of its own, which outlives the child and both uses here.
//! - **I3** The handler only adds to an atomic, which is safe at any moment; it is installed before the filter.
//! - **I4** The filter is an array that lives until `prctl` has copied it.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The exit status of a child that could not install its filter.
const EXIT_NO_FILTER: i32 = 3;
/// The exit status of a child whose work failed.
const EXIT_FAILED: i32 = 2;

static TALLY: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());

/// System calls made by `work`, in a child process. `work` answers whether it succeeded; it must start no thread.
///
/// # Errors
/// The system's; also when the work failed, or when the kernel refuses the filter.
pub fn count(work: impl FnOnce() -> bool) -> io::Result<u64> {
    let page = shared_page()?;
    TALLY.store(page, Ordering::Relaxed);
    // SAFETY: I1.
    let child = unsafe { libc::fork() };
    match child {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            let status = match (install(), work()) {
                (false, _) => EXIT_NO_FILTER,
                (true, false) => EXIT_FAILED,
                (true, true) => 0,
            };
            // SAFETY: I1.
            unsafe { libc::_exit(status) }
        }
        _ => {}
    }
    let mut status = 0;
    // SAFETY: a plain wait for the child just made.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } == -1 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: I2; the child is gone, its additions are here.
    let calls = unsafe { (*page).load(Ordering::Relaxed) };
    // SAFETY: I2, the page is not used after this.
    unsafe { libc::munmap(page.cast(), PAGE_BYTES) };
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Ok(calls),
        (true, EXIT_NO_FILTER) => Err(io::Error::other("the kernel refuses seccomp filters")),
        (true, _) => Err(io::Error::other("the work of the filtered child failed")),
        _ => Err(io::Error::other("the filtered child was killed")),
    }
}

const PAGE_BYTES: usize = 4096;

fn shared_page() -> io::Result<*mut AtomicU64> {
    // SAFETY: a new mapping touches nothing that exists.
    let page = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            PAGE_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(page.cast())
}

extern "C" fn on_call(_signal: i32) {
    // SAFETY: I2, I3: set before the filter that raises the signal.
    unsafe { (*TALLY.load(Ordering::Relaxed)).fetch_add(1, Ordering::Relaxed) };
}

/// Installs the handler and the filter for the rest of this process' life.
fn install() -> bool {
    let mut filter = [
        // The number of the call stands first in what the filter is shown.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        jump_if_equal(libc::SYS_exit_group as u32, 1, 0),
        jump_if_equal(libc::SYS_rt_sigreturn as u32, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_TRAP),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: I3, I4.
    unsafe {
        let handler: extern "C" fn(i32) = on_call;
        libc::signal(libc::SIGSYS, handler as usize) != libc::SIG_ERR
            && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}

fn statement(code: u32, value: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: value,
    }
}

/// Skips `jt` statements if the number is `value`, else `jf`.
fn jump_if_equal(value: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter {
        jt,
        jf,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value)
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    // One test: the tally is the process'. The work takes no lock, so that it may be forked beside other threads.
    #[test]
    fn every_call_is_counted_and_none_is_none() {
        assert_eq!(count(|| core::hint::black_box(1) == 1).unwrap(), 0);
        let calls = count(|| {
            for _ in 0..3 {
                core::hint::black_box(std::process::id());
            }
            true
        });
        assert_eq!(calls.unwrap(), 3);
        assert!(count(|| false).is_err(), "work that fails is not a figure");
    }
}
