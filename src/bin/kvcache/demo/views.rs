//! Without a copy: reading a block where it lies, and filling one where it will lie.

use std::time::Instant;

use kvcache::{PutInfo, Status};

use super::blocks::put_next;
use super::content::{fill, key, wrong_bytes};
use super::{BLOCK_BYTES, BLOCKS, Demo};

/// Views timed.
const VIEWS: u64 = 1000;

/// Looks at blocks in place, and at one that nobody can evict meanwhile.
pub fn views(demo: &mut Demo) -> Result<(), Status> {
    demo.screen.heading("Reading in place: a view instead of a copy");
    demo.times.clear();
    let newest = key(demo.next - 1);
    for _ in 0..VIEWS {
        let begun = Instant::now();
        drop(demo.cache.acquire(&newest)?);
        demo.times.add(begun.elapsed());
    }
    demo.times.show("acquire, release", 0);

    let held = newest;
    let pinned = demo.cache.acquire_raw(&held)?;
    for _ in 0..BLOCKS + 64 {
        put_next(demo)?;
    }
    let view = demo.cache.acquire(&held);
    let wrong = view
        .as_deref()
        .map_or(BLOCK_BYTES as u64, |bytes| wrong_bytes(&held, bytes));
    drop(view);
    println!(
        "    a block held in view while {} others came: still there, {wrong} wrong bytes",
        BLOCKS + 64
    );
    demo.wrong_bytes += wrong;
    demo.cache.release_raw(&pinned)?;
    let stale = demo.cache.release_raw(&pinned);
    println!(
        "    released; once more: {}",
        stale.map_or_else(Status::name, |()| "released twice")
    );
    demo.expect(stale == Err(Status::Stale), "a view is released once");
    Ok(())
}

/// Fills a block in place.
pub fn reservations(demo: &mut Demo) -> Result<(), Status> {
    demo.screen.heading("Writing in place: reserve, fill, commit");
    let key = key(demo.next);
    demo.next += 1;
    let mut reservation = demo.cache.reserve(&key, BLOCK_BYTES as u64, &PutInfo::default())?;
    fill(&key, &mut reservation);
    let readable_before = demo.cache.match_prefix(&[key], false) == 1;
    let second = demo
        .cache
        .reserve(&key, BLOCK_BYTES as u64, &PutInfo::default())
        .map(|_| ());
    println!(
        "    filled, not committed: readers find nothing, a second producer is told {}",
        second.map_or_else(Status::name, |()| "to fill it too")
    );
    reservation.commit()?;
    let wrong = demo
        .cache
        .acquire(&key)
        .map_or(BLOCK_BYTES as u64, |view| wrong_bytes(&key, &view));
    println!("    committed: readable, {wrong} wrong bytes, copied never");
    demo.wrong_bytes += wrong;
    demo.expect(!readable_before, "nothing is readable before commit");
    demo.expect(second == Err(Status::Pending), "one producer fills a block");
    Ok(())
}
