//! How this process ends when it does not end by itself.
//!
//! # Soundness
//! - **I1** `getpid` and `kill` take and return numbers; `signal` gets the address of a function that lives as long as
//!   the program and only stores a flag, which is safe at any moment.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends this process as a crash does: nothing is flushed, no destructor runs, nobody is asked.
pub fn kill_self() -> ! {
    // SAFETY: I1.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    // The signal can't be blocked; this is never reached.
    std::process::abort()
}

/// From now on a reader that closes the pipe (`| head`) ends the process, as it does with every other tool.
pub fn end_with_reader() {
    // SAFETY: I1.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// From now on an interrupt (Ctrl-C) or a request to end only sets a flag; the second one ends the process.
pub fn catch_interrupts() {
    let handler: extern "C" fn(i32) = on_signal;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: I1.
        unsafe { libc::signal(signal, handler as usize) };
    }
}

/// Whether there was one.
pub fn interrupted() -> bool {
    // Relaxed: a flag that is never taken back and guards nothing.
    INTERRUPTED.load(Ordering::Relaxed)
}

extern "C" fn on_signal(signal: i32) {
    if INTERRUPTED.swap(true, Ordering::Relaxed) {
        // SAFETY: I1.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::kill(libc::getpid(), signal);
        }
    }
}
