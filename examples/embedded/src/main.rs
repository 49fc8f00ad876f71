//! The engine on bare ground: no standard library, no allocator, no `main` of Rust's. Its memory is a static array,
//! and the only library that the program links is libc, for `write` and for `memcpy`.
//!
//! Build and run it with the profile that has no unwinding:
//!
//! ```text
//! cargo run --profile embedded -p kvcache-embedded
//! ```
//!
//! With any other profile it is an ordinary program, so that it can be checked together with everything else.
//!
//! It puts blocks until evictions begin, reads all that are there back and compares every byte, prints the cycles that
//! each operation took, and returns 0 if everything was right.
//!
//! # Soundness
//! - **I1** `MEMORY` is handed out once, by `main`, which the C runtime calls once, before any other thread exists.
//! - **I2** `write` reads `count` bytes at `bytes` and keeps nothing.
//! - **I3** The counters of the processor may be read at any time.
#![cfg_attr(panic = "abort", no_std, no_main)]

use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::fmt::{self, Write};

use kvcache::config::PolicyKind;
use kvcache::copy::Temperature;
use kvcache::{Clock, Config, Engine, Key, Plan, PutInfo, Status};

const BLOCK_BYTES: usize = 4096;
const BLOCKS_COUNT: u64 = 512;
/// More than fit, so that blocks are evicted.
const PUTS_COUNT: u64 = 2 * BLOCKS_COUNT;
/// The slots, and 512 KiB for everything else; the plan says whether that is enough.
const MEMORY_BYTES: usize = BLOCK_BYTES * BLOCKS_COUNT as usize + (512 << 10);

#[repr(align(4096))]
struct Memory(UnsafeCell<[u8; MEMORY_BYTES]>);

// SAFETY: I1, only one reference to the bytes is ever made.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; MEMORY_BYTES]));

#[link(name = "c")]
unsafe extern "C" {
    fn write(file: c_int, bytes: *const c_void, count: usize) -> isize;
    #[cfg(panic = "abort")]
    fn abort() -> !;
}

/// Standard output, unbuffered.
struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: I2.
        match unsafe { write(1, text.as_ptr().cast(), text.len()) } {
            count if count == text.len() as isize => Ok(()),
            _ => Err(fmt::Error),
        }
    }
}

#[cfg(panic = "abort")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // There is nobody to tell if this fails.
    let _ = writeln!(Output, "{info}");
    // SAFETY: ends the process.
    unsafe { abort() }
}

/// A counter of the processor that runs at a constant rate.
fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: I3.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(target_arch = "aarch64")]
    {
        let count: u64;
        // SAFETY: I3.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack)) };
        count
    }
}

/// Cycles of `count` runs of an operation, for each.
fn timed(count: u64, mut operation: impl FnMut(u64) -> Result<(), Status>) -> Result<u64, Status> {
    let started = cycles();
    for number in 0..count {
        operation(number)?;
    }
    Ok(cycles().wrapping_sub(started) / count.max(1))
}

/// The bytes of a block follow from its number, so that every block can be checked.
fn fill(number: u64, block: &mut [u8; BLOCK_BYTES]) {
    for (place, byte) in block.iter_mut().enumerate() {
        *byte = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (place % 57)) as u8;
    }
}

fn key(number: u64) -> Key {
    Key::derive(0, b"embedded", &number.to_le_bytes())
}

fn run(memory: &mut [u8]) -> Result<(), Status> {
    let config = Config {
        block_bytes: BLOCK_BYTES as u64,
        cpu_bytes: BLOCK_BYTES as u64 * BLOCKS_COUNT,
        pins_count: 64,
        stripes_count: 1,
        lanes_count: 0,
        events_count: 64,
        policy: PolicyKind::Lru,
        ..Config::default()
    };
    let refused = |error: kvcache::ConfigError| {
        let _ = writeln!(Output, "{error}");
        error.status
    };
    let plan = Plan::compute(&config).map_err(refused)?;
    let engine = Engine::new(&config, memory, Clock::Ticks).map_err(refused)?;

    let (mut block, mut expected) = ([0; BLOCK_BYTES], [0; BLOCK_BYTES]);
    let mut keys = [key(0); PUTS_COUNT as usize];
    let derive = timed(PUTS_COUNT, |number| {
        keys[number as usize] = key(number);
        Ok(())
    })?;
    let mut put = 0;
    for number in 0..PUTS_COUNT {
        fill(number, &mut block);
        put += timed(1, |_| {
            engine
                .put(&keys[number as usize], &block, &PutInfo::default())
                .map(|_| ())
        })?;
    }
    put /= PUTS_COUNT;

    let first = PUTS_COUNT - BLOCKS_COUNT / 2;
    let recent = &keys[first as usize..];
    let mut matched = 0;
    let matching = timed(64, |_| {
        matched = engine.match_prefix(recent, false);
        Ok(())
    })? / recent.len() as u64;
    let get = timed(recent.len() as u64, |number| {
        engine.get(&recent[number as usize], &mut block, Temperature::Auto)?;
        Ok(())
    })?;
    let acquire = timed(recent.len() as u64, |number| {
        engine.acquire(&recent[number as usize]).map(drop)
    })?;

    let mut checked = 0;
    for number in 0..PUTS_COUNT {
        if let Ok(bytes) = engine.get(&keys[number as usize], &mut block, Temperature::Auto) {
            fill(number, &mut expected);
            assert!(
                bytes as usize == BLOCK_BYTES && block == expected,
                "block {number} came back wrong"
            );
            checked += 1;
        }
    }
    let right = matched == recent.len() as u64 && checked >= matched && checked <= BLOCKS_COUNT;

    let _ = writeln!(
        Output,
        "memory       {} bytes, static; {} of them planned, {} for bookkeeping\n\
         blocks       {PUTS_COUNT} put, {checked} resident and right, room for {}\n\
         cycles per   derive {derive}, put {put} with evictions, match {matching} a key, get {get}, \
         acquire and release {acquire}",
        MEMORY_BYTES,
        plan.bytes(),
        plan.metadata_bytes(),
        plan.blocks_count(),
    );
    if right { Ok(()) } else { Err(Status::Internal) }
}

fn run_in_static_memory() -> c_int {
    // SAFETY: I1.
    let memory = unsafe { &mut *MEMORY.0.get() };
    match run(memory) {
        Ok(()) => 0,
        Err(status) => {
            let _ = writeln!(Output, "{status}");
            1
        }
    }
}

/// Called by the C runtime.
#[cfg(panic = "abort")]
#[unsafe(no_mangle)]
extern "C" fn main(_arguments_count: c_int, _arguments: *const *const u8) -> c_int {
    run_in_static_memory()
}

#[cfg(not(panic = "abort"))]
fn main() {
    std::process::exit(run_in_static_memory());
}
