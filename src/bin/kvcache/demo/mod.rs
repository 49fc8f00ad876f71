//! `kvcache demo`: the main job, in a form that a person enjoys reading.
//!
//! Every byte that comes back is checked against its key, and the heap is counted from the moment the engine is open
//! until its last operation is done, everything printed in between included.

mod blocks;
mod content;
mod prefix;
mod show;
mod views;

use std::error::Error;
use std::time::Instant;

use kvcache::config::{HugePages, PolicyKind, Prefault};
use kvcache::metrics::Counter;
use kvcache::units::Bytes;
use kvcache::{Cache, Config, Plan};

use crate::sys::allocator;
use content::Buffer;
use show::{Screen, Times};

/// Bytes of a block: 16 tokens of a small model.
pub const BLOCK_BYTES: usize = 64 << 10;
/// Blocks that the engine has room for.
pub const BLOCKS: u64 = 1024;

/// What all steps share.
pub struct Demo {
    cache: Cache,
    screen: Screen,
    buffer: Buffer,
    times: Times,
    /// Blocks put so far; the next one's number.
    next: u64,
    wrong_bytes: u64,
    /// Answers that were not what they had to be.
    surprises: u64,
}

impl Demo {
    /// Notes an answer that has to be true.
    fn expect(&mut self, right: bool, what: &str) {
        if !right {
            self.surprises += 1;
            println!("    WRONG: {what}");
        }
    }
}

/// Runs the demonstration.
///
/// # Errors
/// Anything that is not as it must be.
pub fn run() -> Result<(), Box<dyn Error>> {
    let screen = Screen::new();
    let config = Config {
        block_bytes: BLOCK_BYTES as u64,
        cpu_bytes: BLOCKS * BLOCK_BYTES as u64,
        policy: PolicyKind::Lru,
        huge_pages: HugePages::Advise,
        prefault: Prefault::All,
        ..Config::default()
    };
    show_plan(&screen, &Plan::compute(&config)?);
    // Everything that the demonstration itself needs, before the counting begins.
    let (buffer, times) = (Buffer::new(), Times::new());
    let begun = Instant::now();
    let cache = Cache::open(&config)?;
    println!("    opened in {:.1?}, every page touched", begun.elapsed());

    let heap_calls_before = allocator::calls();
    let mut demo = Demo {
        cache,
        screen,
        buffer,
        times,
        next: 0,
        wrong_bytes: 0,
        surprises: 0,
    };
    blocks::fill(&mut demo)?;
    blocks::read_back(&mut demo)?;
    blocks::evict(&mut demo)?;
    views::views(&mut demo)?;
    views::reservations(&mut demo)?;
    prefix::prefix(&mut demo)?;
    let heap_calls = allocator::calls() - heap_calls_before;

    show_statistics(&demo);
    println!();
    println!("    heap calls after open   {heap_calls}");
    println!("    wrong bytes             {}", demo.wrong_bytes);
    if (heap_calls, demo.wrong_bytes, demo.surprises) != (0, 0, 0) {
        return Err("the demonstration found a fault; see above".into());
    }
    demo.cache.close().map_err(|(_, status)| status)?;
    Ok(())
}

fn show_plan(screen: &Screen, plan: &Plan) {
    screen.heading("The plan, before anything exists");
    println!(
        "    {} blocks of {} = {} of slots",
        plan.slots_count(),
        Bytes(plan.slot_bytes()),
        Bytes(plan.bytes() - plan.metadata_bytes()),
    );
    println!(
        "    {} of metadata, of which {:.1} bytes a block for key, index, state and policy",
        Bytes(plan.metadata_bytes()),
        plan.metadata_bytes_per_block(),
    );
    println!(
        "    {} in all: obtained once, by open, and never again",
        Bytes(plan.bytes())
    );
}

fn show_statistics(demo: &Demo) {
    demo.screen.heading("What the engine counted");
    let stats = demo.cache.stats();
    for &counter in Counter::ALL {
        let count = stats.counter(counter);
        if count != 0 {
            println!("    {count:>12}  {}", counter.help());
        }
    }
    println!("    {:>12}  Blocks resident.", stats.blocks_resident);
    println!("    {:>12}  Slots free.", stats.slots_free);
    println!("    {:>12}  Views held.", stats.pins_held);
}
