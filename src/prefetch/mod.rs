//! What will be asked for next: from a history of requests to wishes. Pure: it knows fingerprints and names, no blocks,
//! no tiers and no clock, and it does nothing; who carries a wish out is the engine's business, or a replay's.
//!
//! - [`Planner`] expects the next request of each conversation.
//! - `Successors` and `Streams` expect the next block of plain keys.
//! - `Bucket` bounds what all of them may cost.
//!
//! Everything lives in borrowed words, which hold zeros at first, and has one writer at a time (the holder of a turn),
//! so all atomics here are relaxed: the turn orders them. Nothing grows: full tables forget what was silent longest.

mod bucket;
mod life;
mod planner;
mod stream;
mod successor;

pub(crate) use bucket::Bucket;
pub use planner::{Planner, Wish};
pub(crate) use stream::Streams;
pub(crate) use successor::Successors;

/// Words of 8 bytes that [`Streams`] takes; asserted against what the plan reckons with.
pub(crate) const STREAM_WORDS: u64 = Streams::WORDS_COUNT as u64;

const _: () = assert!(STREAM_WORDS == crate::budget::PREFETCH_STREAM_WORDS);
const _: () = assert!(Planner::FIXED_WORDS == crate::budget::PREFETCH_PLANNER_WORDS);
const _: () = assert!(Planner::WORDS_EACH == crate::budget::PREFETCH_CONVERSATION_WORDS);
const _: () = assert!(Successors::words_count(1) == crate::budget::PREFETCH_SUCCESSOR_WORDS);
