//! A few things that an engine in memory does, each checked; the heap is counted meanwhile.

use std::error::Error;

use kvcache::config::{HugePages, Prefault};
use kvcache::{Cache, Config, Key, PutInfo, Status};

use super::show::{Screen, Times};
use super::{prefix, views};
use crate::content;
use crate::sys::allocator;

/// Bytes of a block: 16 tokens of a small model.
pub const BLOCK_BYTES: usize = 64 << 10;
/// Blocks that the engine has room for.
pub const BLOCKS: u64 = 1024;

/// What the steps share.
pub struct Memory<'s> {
    /// The engine.
    pub cache: Cache,
    /// Where to show.
    pub screen: &'s Screen,
    /// Times of the step.
    pub times: Times,
    /// Blocks put so far; the next one's number.
    pub next: u64,
    /// Bytes that were not what was put.
    pub wrong_bytes: u64,
    buffer: Vec<u8>,
    surprises: u64,
}

impl Memory<'_> {
    /// Notes an answer that has to be true.
    pub fn expect(&mut self, right: bool, what: &str) {
        if !right {
            self.surprises += 1;
            println!("    WRONG: {what}");
        }
    }

    /// Puts a block.
    pub fn put(&mut self, key: &Key, info: &PutInfo) -> Result<(), Status> {
        content::fill(key, &mut self.buffer);
        self.cache.put(key, &self.buffer, info).map(|_| ())
    }

    /// Puts the next block.
    pub fn put_next(&mut self) -> Result<(), Status> {
        self.put(&key(self.next), &PutInfo::default())?;
        self.next += 1;
        Ok(())
    }
}

/// The key of the block with a number.
pub fn key(number: u64) -> Key {
    Key::derive(1, b"demo", &number.to_le_bytes())
}

/// Runs the steps.
///
/// # Errors
/// Anything that is not as it must be.
pub fn run(screen: &Screen) -> Result<(), Box<dyn Error>> {
    let config = Config {
        block_bytes: BLOCK_BYTES as u64,
        cpu_bytes: BLOCKS * BLOCK_BYTES as u64,
        huge_pages: HugePages::Advise,
        prefault: Prefault::All,
        ..Config::default()
    };
    // Everything that the demonstration itself needs, before the counting begins.
    let (buffer, times) = (vec![0; BLOCK_BYTES], Times::new());
    let mut memory = Memory {
        cache: Cache::open(&config)?,
        screen,
        times,
        next: 0,
        wrong_bytes: 0,
        buffer,
        surprises: 0,
    };
    let heap_calls_before = allocator::calls();
    prefix::prefix(&mut memory)?;
    views::views(&mut memory)?;
    views::reservations(&mut memory)?;
    let heap_calls = allocator::calls() - heap_calls_before;
    println!();
    println!(
        "    {heap_calls} heap calls after open, {} wrong bytes",
        memory.wrong_bytes
    );
    if (heap_calls, memory.wrong_bytes, memory.surprises) != (0, 0, 0) {
        return Err("the demonstration found a fault; see above".into());
    }
    memory.cache.close().map_err(|(_, status)| status)?;
    Ok(())
}
