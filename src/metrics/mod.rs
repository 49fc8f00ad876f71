//! Counters, latency histograms, the event ring, and their text form.
//!
//! All storage is borrowed as slices of atomic words, and words that are zero are the valid initial state: an engine
//! carves them from its arena and nothing here is initialised, allocated or locked. What the hot path writes
//! (counters and histograms) comes in **stripes**: threads that use different stripes share no cache line, provided
//! that the slice begins at a multiple of 128 bytes. A reader sums the stripes; what it sees is a sum of values each
//! of which was current during the call, not a cut through one instant.
//!
//! | file | what |
//! | --- | --- |
//! | `counter` | how often each thing happened |
//! | `histogram` | how long each operation took, per tier, within 12.5 % |
//! | `event` | the ring that a router follows to know which blocks are where |
//! | `prometheus` | the text that a scraper reads |
//! | `text` | a bounded writer that says how much room was missing |

use crate::budget;

pub mod counter;
pub mod event;
pub mod histogram;
pub mod prometheus;
pub mod text;

pub use counter::{Counter, Counters};
pub use event::{Event, EventKind, EventRead, EventRing};
pub use histogram::{HistogramSnapshot, Histograms, Operation};
pub use prometheus::{Gauges, Snapshot, TierGauges};
pub use text::BoundedText;

// The plan comes before this room and knows only how much it may need.
const _: () = assert!(Counters::WORDS_PER_STRIPE as u64 <= budget::COUNTER_WORDS_PER_STRIPE);
const _: () = assert!(Histograms::WORDS_PER_STRIPE as u64 <= budget::HISTOGRAM_WORDS);
const _: () = assert!(EventRing::words_count(1) as u64 <= budget::EVENT_WORDS * 2);
const _: () = assert!((EventRing::words_count(2) - EventRing::words_count(1)) as u64 <= budget::EVENT_WORDS);

/// How many stripes of `words_per_stripe` words are used of `words_count`: a power of two, so that a mask chooses one;
/// 0 where not even one fits.
const fn stripes_count(words_count: usize, words_per_stripe: usize) -> usize {
    match (words_count / words_per_stripe).checked_ilog2() {
        Some(bits) => 1 << bits,
        None => 0,
    }
}
