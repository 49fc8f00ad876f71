//! Blocks in, blocks out, and who has to go when there is no room.

use std::time::Instant;

use kvcache::copy::Temperature;
use kvcache::metrics::Counter;
use kvcache::{PutInfo, Status};

use super::content::key;
use super::{BLOCK_BYTES, BLOCKS, Demo};

/// Blocks put in the first step: about three times what fits.
const PUTS: u64 = 3000;
/// Old blocks used again before new ones come.
const USED_AGAIN: u64 = 256;
/// New blocks then.
const NEW: u64 = 512;
/// Blocks to a character of the map.
const MAP_STEP: u64 = 32;

/// Puts the next block.
pub fn put_next(demo: &mut Demo) -> Result<(), Status> {
    let key = key(demo.next);
    let bytes = demo.buffer.filled(&key);
    let begun = Instant::now();
    demo.cache.put(&key, bytes, &PutInfo::default())?;
    demo.times.add(begun.elapsed());
    demo.next += 1;
    Ok(())
}

/// Puts more blocks than fit.
pub fn fill(demo: &mut Demo) -> Result<(), Status> {
    demo.screen.heading("Blocks go in, the bytes of each made from its key");
    demo.times.clear();
    for done in 1..=PUTS {
        put_next(demo)?;
        demo.screen.progress(done, PUTS);
    }
    let evictions = demo.cache.stats().counter(Counter::Evictions);
    println!("    {PUTS} blocks put into {BLOCKS} places, so {evictions} were evicted, the least recently used first");
    demo.times.show("put, with eviction", BLOCK_BYTES);
    demo.expect(
        evictions == PUTS - BLOCKS,
        "one eviction for each block beyond the capacity",
    );
    let again = demo
        .cache
        .put(&key(PUTS - 1), demo.buffer.filled(&key(PUTS - 1)), &PutInfo::default());
    println!(
        "    the last one once more: {}",
        again.map_or_else(Status::name, |_| "stored twice")
    );
    demo.expect(again == Err(Status::Exists), "a block is stored once");
    Ok(())
}

/// Gets every block that was ever put.
pub fn read_back(demo: &mut Demo) -> Result<(), Status> {
    demo.screen.heading("They come back, every byte checked");
    demo.times.clear();
    let (mut hits, mut misses) = (0, 0);
    for number in 0..PUTS {
        let key = key(number);
        let begun = Instant::now();
        match demo.cache.get(&key, demo.buffer.bytes_mut(), Temperature::Auto) {
            Ok(_) => {
                demo.times.add(begun.elapsed());
                demo.wrong_bytes += demo.buffer.wrong_bytes(&key);
                hits += 1;
            }
            Err(Status::Miss) => misses += 1,
            Err(status) => return Err(status),
        }
        demo.screen.progress(number + 1, PUTS);
    }
    println!(
        "    {hits} hits, {misses} misses, {} wrong bytes so far",
        demo.wrong_bytes
    );
    demo.times.show("get", BLOCK_BYTES);
    demo.expect(hits == BLOCKS, "the engine is full of the newest blocks");
    Ok(())
}

/// Uses some old blocks again, puts new ones, and shows who is left.
pub fn evict(demo: &mut Demo) -> Result<(), Status> {
    demo.screen.heading("Who has to go: the least recently used");
    // Afresh, so that each was used at a moment of its own.
    for _ in 0..BLOCKS {
        put_next(demo)?;
    }
    let oldest = demo.next - BLOCKS;
    for number in oldest..oldest + USED_AGAIN {
        demo.cache.touch(&[key(number)]);
    }
    println!("    of {BLOCKS} blocks the {USED_AGAIN} oldest are used again, then {NEW} new ones come;");
    println!("    █ resident, · evicted, {MAP_STEP} blocks to a mark, oldest first:");
    for _ in 0..NEW {
        put_next(demo)?;
    }
    let resident = |number: u64| demo.cache.match_prefix(&[key(number)], false) == 1;
    demo.screen.map((BLOCKS + NEW) / MAP_STEP, |place| {
        let first = oldest + place * MAP_STEP;
        match (first..first + MAP_STEP).filter(|&number| resident(number)).count() as u64 {
            0 => '·',
            MAP_STEP => '█',
            _ => '▒',
        }
    });
    let evicted = oldest + USED_AGAIN..oldest + USED_AGAIN + NEW;
    let as_expected = (oldest..demo.next).all(|number| resident(number) != evicted.contains(&number));
    demo.expect(as_expected, "the blocks used again stay, those used longest ago go");
    Ok(())
}
