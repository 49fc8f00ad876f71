//! The processor's time stamp counter, fenced so that it times what stands between two readings and nothing else.
//!
//! Elsewhere than on x86-64 the readings are the system's monotonic clock, in nanoseconds. And the time that a thread
//! had a processor, for work so long that other programs get their turns meanwhile.
//!
//! # Soundness
//! - **I1** `lfence`, `rdtsc` and `rdtscp` read no memory; every x86-64 processor that Linux runs on has them.
//! - **I2** `clock_gettime` writes one `timespec` where it is told to, and nothing else.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

/// A reading before the work: everything earlier is finished, nothing later has begun.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn ticks_begin() -> u64 {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: I1.
    unsafe {
        _mm_lfence();
        let ticks = _rdtsc();
        _mm_lfence();
        ticks
    }
}

/// A reading after the work: all of it is finished, nothing later has begun.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn ticks_end() -> u64 {
    use core::arch::x86_64::{__rdtscp, _mm_lfence};
    let mut processor = 0;
    // SAFETY: I1.
    unsafe {
        let ticks = __rdtscp(&raw mut processor);
        _mm_lfence();
        ticks
    }
}

/// A reading before the work.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn ticks_begin() -> u64 {
    kvcache::host::now_ns()
}

/// A reading after the work.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn ticks_end() -> u64 {
    kvcache::host::now_ns()
}

/// Nanoseconds of one tick, measured against the system's clock for a twentieth of a second.
pub fn tick_ns() -> f64 {
    let (started, ticks) = (Instant::now(), ticks_begin());
    while started.elapsed() < Duration::from_millis(50) {
        core::hint::spin_loop();
    }
    let ns = started.elapsed().as_nanos() as f64;
    ns / (ticks_end() - ticks) as f64
}

/// How long this thread had a processor so far: what others do on the machine meanwhile does not count.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: I2, and the time is a local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
