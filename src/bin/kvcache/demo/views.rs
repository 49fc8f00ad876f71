//! Without a copy: reading a block where it lies, and filling one where it will lie.

use std::time::Instant;

use kvcache::{PutInfo, Status};

use super::memory::{BLOCK_BYTES, BLOCKS, Memory, key};
use crate::content::{fill, wrong_bytes};

/// Views timed.
const VIEWS: u64 = 1000;

/// Looks at blocks in place, and at one that nobody can evict meanwhile.
pub fn views(memory: &mut Memory<'_>) -> Result<(), Status> {
    memory.screen.heading("Reading in place: a view instead of a copy");
    memory.times.clear();
    memory.put_next()?;
    let newest = key(memory.next - 1);
    for _ in 0..VIEWS {
        let begun = Instant::now();
        drop(memory.cache.acquire(&newest)?);
        memory.times.add(begun.elapsed());
    }
    memory.times.show("acquire, release", 0);

    let held = newest;
    let pinned = memory.cache.acquire_raw(&held)?;
    for _ in 0..BLOCKS + 64 {
        memory.put_next()?;
    }
    let view = memory.cache.acquire(&held);
    let wrong = view
        .as_deref()
        .map_or(BLOCK_BYTES as u64, |bytes| wrong_bytes(&held, bytes));
    drop(view);
    println!(
        "    a block held in view while {} others came: still there, {wrong} wrong bytes",
        BLOCKS + 64
    );
    memory.wrong_bytes += wrong;
    memory.cache.release_raw(&pinned)?;
    let stale = memory.cache.release_raw(&pinned);
    println!(
        "    released; once more: {}",
        stale.map_or_else(Status::name, |()| "released twice")
    );
    memory.expect(stale == Err(Status::Stale), "a view is released once");
    Ok(())
}

/// Fills a block in place.
pub fn reservations(memory: &mut Memory<'_>) -> Result<(), Status> {
    memory.screen.heading("Writing in place: reserve, fill, commit");
    let key = key(memory.next);
    memory.next += 1;
    let mut reservation = memory.cache.reserve(&key, BLOCK_BYTES as u64, &PutInfo::default())?;
    fill(&key, &mut reservation);
    let readable_before = memory.cache.match_prefix(&[key], false) == 1;
    let second = memory
        .cache
        .reserve(&key, BLOCK_BYTES as u64, &PutInfo::default())
        .map(|_| ());
    println!(
        "    filled, not committed: readers find nothing, a second producer is told {}",
        second.map_or_else(Status::name, |()| "to fill it too")
    );
    reservation.commit()?;
    let wrong = memory
        .cache
        .acquire(&key)
        .map_or(BLOCK_BYTES as u64, |view| wrong_bytes(&key, &view));
    println!("    committed: readable, {wrong} wrong bytes, copied never");
    memory.wrong_bytes += wrong;
    memory.expect(!readable_before, "nothing is readable before commit");
    memory.expect(second == Err(Status::Pending), "one producer fills a block");
    Ok(())
}
