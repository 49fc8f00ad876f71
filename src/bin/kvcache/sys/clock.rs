//! The processor's time stamp counter, fenced so that it times what stands between two readings and nothing else.
//!
//! Elsewhere than on x86-64 the readings are the system's monotonic clock, in nanoseconds.
//!
//! # Soundness
//! - **I1** `lfence`, `rdtsc` and `rdtscp` read no memory; every x86-64 processor that Linux runs on has them.
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
