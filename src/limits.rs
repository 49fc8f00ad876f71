//! The bounds that every plan stays within, and the relations between them.

use static_assertions::const_assert;

/// Bytes of a cache line; what hot structures are aligned to.
pub const CACHE_LINE_BYTES: u64 = 64;
/// Bytes between two structures that different threads write: adjacent-line prefetchers move pairs of lines.
pub const STRIPE_BYTES: u64 = 128;
/// Alignment of the arena, and of slots of at least this size: a page, and what direct I/O asks for.
pub const PAGE_BYTES: u64 = 4096;

/// Smallest block.
pub const BLOCK_BYTES_MIN: u64 = 1;
/// Largest block: lengths are 32-bit numbers inside.
pub const BLOCK_BYTES_MAX: u64 = 1 << 31;
/// Most blocks: places are 31-bit numbers inside.
pub const BLOCKS_COUNT_MAX: u64 = (1 << 31) - 2;
/// Largest memory tier: what a 47-bit address space holds, less room for everything else in it.
pub const CPU_BYTES_MAX: u64 = 1 << 46;

/// Fewest and most stripes; a power of two.
pub const STRIPES_COUNT_MIN: u64 = 1;
/// See [`STRIPES_COUNT_MIN`].
pub const STRIPES_COUNT_MAX: u64 = 1024;
/// Pin records of each stripe that only copies in progress may take, so that forgotten views never stop a `get`.
pub const PINS_TRANSIENT_PER_STRIPE: u64 = 2;
/// Most pin records.
pub const PINS_COUNT_MAX: u64 = 1 << 20;

/// Most lanes.
pub const LANES_COUNT_MAX: u64 = 1024;
/// Most operations of one lane in flight.
pub const LANE_DEPTH_MAX: u64 = 1 << 16;
/// Most events that the event ring remembers.
pub const EVENTS_COUNT_MAX: u64 = 1 << 20;
/// Most worker threads.
pub const WORKERS_COUNT_MAX: u64 = 64;
/// Most geometries; a block names one with 8 bits, 0 is "plain bytes".
pub const GEOMETRIES_COUNT_MAX: usize = 16;
/// Longest expiry, 400 days: times are kept in units of 2^24 ns in 32 bits, which is 2.2 years.
pub const EXPIRY_MS_MAX: u64 = 400 * 24 * 3600 * 1000;

/// Largest file of a file tier: places in it are kept in units of 64 bytes in 40 bits.
pub const FILE_BYTES_MAX: u64 = 1 << 46;
/// Largest segment of a file tier: lengths within a segment are 32-bit numbers.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 32;
/// Fewest segments of a file tier: one is written, one is being emptied, and two hold blocks.
pub const SEGMENTS_COUNT_MIN: u64 = 4;
/// Most segments of a file tier: each is looked at when the engine opens.
pub const SEGMENTS_COUNT_MAX: u64 = 1 << 20;
/// Fewest and most requests to a file tier's device under way.
pub const FILE_DEPTH_MIN: u64 = 4;
/// See [`FILE_DEPTH_MIN`].
pub const FILE_DEPTH_MAX: u64 = 256;
/// Most hits that a block below memory may have to wait for before it is kept in memory.
pub const PROMOTION_HITS_MAX: u64 = 255;
/// Longest time without progress that a device may be given, one hour.
pub const STALL_MS_MAX: u64 = 3600 * 1000;
/// Longest time that a put may be told to wait for room, one hour.
pub const WRITE_WAIT_MS_MAX: u64 = 3600 * 1000;
/// Most conversations that prefetching remembers.
pub const PREFETCH_CONVERSATIONS_COUNT_MAX: u64 = 1 << 20;
/// Most successors that prefetching remembers.
pub const PREFETCH_SUCCESSORS_COUNT_MAX: u64 = 1 << 16;
/// Largest share of a file tier's hits, in thousandths, that admission may be told to give up for fewer writes.
pub const ADMISSION_LOSS_PERMILLE_MAX: u64 = 500;
/// Largest share of the slots, in thousandths, that ticks may be told to keep free.
pub const SLOTS_FREE_PERMILLE_MAX: u64 = 500;

/// Highest retention priority a caller can give.
pub const PRIORITY_MAX: u8 = 100;
/// Eviction classes: one per priority, and above them the protected one.
pub const CLASSES_COUNT: usize = PRIORITY_MAX as usize + 2;

const_assert!(PAGE_BYTES.is_multiple_of(STRIPE_BYTES) && STRIPE_BYTES.is_multiple_of(CACHE_LINE_BYTES));
const_assert!(STRIPES_COUNT_MAX.is_power_of_two() && STRIPES_COUNT_MIN.is_power_of_two());
// A cell of the index keeps `index + 1` in 32 bits, an inbox link keeps `index + 1` in 31.
const_assert!(BLOCKS_COUNT_MAX + 1 < 1 << 31);
// A place in a file is a number of units of 64 bytes.
const_assert!(FILE_BYTES_MAX / 64 <= 1 << 40);
// Segments of the largest usual size fill the largest file.
const_assert!(FILE_BYTES_MAX / (64 << 20) <= SEGMENTS_COUNT_MAX);
// Classes are the top 7 bits of an eviction key.
const_assert!(CLASSES_COUNT <= 1 << 7);
const_assert!((EXPIRY_MS_MAX * 1_000_000) >> 24 < u32::MAX as u64 / 2);
