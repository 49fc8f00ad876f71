//! The words that all threads share, each on lines of its own.

use crossbeam_utils::CachePadded;

use super::importance::ImportanceControl;
use super::use_times::UseTimes;
use crate::arena::ZeroValid;
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::sync::free_list::FreeListHead;
use crate::sync::turn::Turn;
use crate::tier::cpu::share::SharedTotals;

/// The shared heads and clocks of an engine; all-zero is a fresh engine.
#[repr(C)]
pub(crate) struct Control {
    pub(crate) slots_free: CachePadded<FreeListHead>,
    /// Commits so far: what the use clock is derived from.
    pub(crate) commits: CachePadded<AtomicU64>,
    pub(crate) inbox_head: CachePadded<AtomicU32>,
    pub(crate) policy_turn: CachePadded<Turn>,
    /// When the use clock stood where; whoever has the policy's turn keeps it.
    pub(crate) use_times: CachePadded<UseTimes>,
    pub(crate) importance: CachePadded<ImportanceControl>,
    pub(crate) prefetch_turn: CachePadded<Turn>,
    /// Where the sweep and the search for lapsed retentions go on.
    pub(crate) sweep_hand: CachePadded<AtomicU32>,
    pub(crate) lapse_hand: CachePadded<AtomicU32>,
    /// Blocks that have no slot.
    pub(crate) below_count: CachePadded<AtomicU64>,
    pub(crate) raises_head: CachePadded<AtomicU32>,
    pub(crate) writes_head: CachePadded<AtomicU32>,
    /// Blocks whose retention has an end.
    pub(crate) expiring_count: CachePadded<AtomicU64>,
    /// The time of the last tick.
    pub(crate) now_ns: CachePadded<AtomicU64>,
    /// Next page that a lazy prefault touches, in bytes from the start of the arena.
    pub(crate) prefault_offset: CachePadded<AtomicU64>,
    pub(crate) shared: CachePadded<SharedTotals>,
    /// The thresholds as tuning has them, in thousandths; 0 is what is configured. The pump's turn writes them.
    pub(crate) confidence_permille: CachePadded<AtomicU64>,
    pub(crate) admission_loss_permille: CachePadded<AtomicU64>,
    /// 1 once the engine was shut down.
    pub(crate) shutdown: CachePadded<AtomicU32>,
}

#[cfg(not(loom))]
static_assertions::const_assert!(size_of::<Control>() <= 8192);

mod zero {
    //! # Soundness
    //! - **I1** The types below consist of integer atomics and padding only.
    #![allow(unsafe_code)]
    use super::*;
    // SAFETY: I1.
    unsafe impl ZeroValid for Control {}
    // SAFETY: I1.
    unsafe impl ZeroValid for crate::index::Bucket {}
    // SAFETY: I1.
    unsafe impl ZeroValid for crate::block::entry::Entry {}
    // SAFETY: I1.
    unsafe impl ZeroValid for crate::block::facts::Facts {}
    // SAFETY: I1.
    unsafe impl ZeroValid for crate::engine::lower::TierWord {}
    // SAFETY: I1.
    unsafe impl ZeroValid for crate::engine::lane::LaneSpace {}
    // SAFETY: I1.
    unsafe impl ZeroValid for crate::engine::lane::Ticket {}
}
