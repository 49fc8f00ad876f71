//! What is remembered of blocks that went: how long ago they were used, and what was known of them.
//!
//! Groups of eight cells, a cache line each, found by the fingerprint; in a full group the one that was used longest
//! ago makes room. A cell stands for a run of a chain: the block whose fingerprint it has, and those before it in the
//! chain that were last used with it and went after it.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Cells of a group.
pub(super) const WAYS: usize = 8;
const MARK_BITS: u32 = 24;
const LAST_BITS: u32 = 20;
/// Unit of a cell's time: 256 ms.
const LAST_SHIFT: u32 = 8;
/// The highest turn that a cell can hold.
pub(super) const TURN_MAX: u8 = 63;

/// A count as four bits of exponent and three of mantissa: within an eighth of the truth.
const fn count_code(count: u32) -> u64 {
    if count < 8 {
        return count as u64;
    }
    let exponent = count.ilog2() - 2;
    if exponent > 15 {
        return 127;
    }
    (exponent << 3 | (count >> (exponent - 1)) & 7) as u64
}

/// The smallest count that has this code.
const fn count_of(code: u64) -> u32 {
    if code < 8 {
        return code as u32;
    }
    (8 | code as u32 & 7) << ((code >> 3) - 1)
}

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ghost {
    /// When the blocks were last used, in milliseconds, rounded down to 256.
    pub(super) used_ms: u64,
    /// Kind of the blocks when they went.
    pub(super) kind: u8,
    /// Which turn of its chain the block belongs to.
    pub(super) turn: u8,
    /// Whether the chain went on from the block in several ways.
    pub(super) branched: bool,
    /// How many blocks it stands for, within an eighth.
    pub(super) count: u32,
}

/// The table.
pub(super) struct Ghosts<'m> {
    cells: &'m [AtomicU64],
}

impl<'m> Ghosts<'m> {
    /// A table of whole groups.
    pub(super) fn new(cells: &'m [AtomicU64]) -> Self {
        Self { cells }
    }

    /// Cells for `blocks` blocks, two for each.
    pub(super) const fn cells_count(blocks: u64) -> u64 {
        (2 * blocks).next_multiple_of(WAYS as u64)
    }

    /// How many groups there are.
    pub(super) fn groups_count(&self) -> u32 {
        (self.cells.len() / WAYS) as u32
    }

    fn group(&self, fingerprint: u64) -> &'m [AtomicU64] {
        let groups = (self.cells.len() / WAYS) as u64;
        let first = (((fingerprint >> 32) * groups) >> 32) as usize * WAYS;
        &self.cells[first..first + WAYS]
    }

    fn mark(fingerprint: u64) -> u64 {
        fingerprint & ((1 << MARK_BITS) - 1)
    }

    fn encode(mark: u64, ghost: &Ghost) -> u64 {
        let last = (ghost.used_ms >> LAST_SHIFT) & ((1 << LAST_BITS) - 1);
        mark << (64 - MARK_BITS)
            | last << 20
            | u64::from(ghost.kind & 63) << 14
            | u64::from(ghost.turn.min(TURN_MAX)) << 8
            | u64::from(ghost.branched) << 7
            | count_code(ghost.count.max(1))
    }

    fn decode(cell: u64, now_ms: u64) -> Ghost {
        let mask = (1 << LAST_BITS) - 1;
        // Above the time there is the mark, and who has no turn may have an older `now`: both wrap.
        let age = (now_ms >> LAST_SHIFT).wrapping_sub(cell >> 20) & mask;
        Ghost {
            used_ms: (now_ms >> LAST_SHIFT).saturating_sub(age) << LAST_SHIFT,
            kind: (cell >> 14) as u8 & 63,
            turn: (cell >> 8) as u8 & TURN_MAX,
            branched: cell >> 7 & 1 != 0,
            count: count_of(cell & 127),
        }
    }

    fn cell(&self, fingerprint: u64) -> Option<&'m AtomicU64> {
        let mark = Self::mark(fingerprint);
        let here = |cell: &&AtomicU64| {
            let value = cell.load(Relaxed);
            value != 0 && value >> (64 - MARK_BITS) == mark
        };
        self.group(fingerprint).iter().find(here)
    }

    /// What is remembered under a fingerprint. May be called while another thread has the policy's turn; what it says
    /// is an estimate anyway.
    pub(super) fn find(&self, fingerprint: u64, now_ms: u64) -> Option<Ghost> {
        let value = self.cell(fingerprint)?.load(Relaxed);
        (value != 0).then(|| Self::decode(value, now_ms))
    }

    /// Forgets a fingerprint, and says what was remembered.
    pub(super) fn take(&self, fingerprint: u64, now_ms: u64) -> Option<Ghost> {
        let cell = self.cell(fingerprint)?;
        Some(Self::decode(cell.swap(0, Relaxed), now_ms))
    }

    /// Remembers; what had to make room for it is returned, or what was remembered under the fingerprint before.
    pub(super) fn put(&self, fingerprint: u64, ghost: &Ghost, now_ms: u64) -> Option<Ghost> {
        let mark = Self::mark(fingerprint);
        let age = |cell: &&AtomicU64| match cell.load(Relaxed) {
            0 => u64::MAX - 1,
            // Before an empty cell: a block that was in use when it was to go is remembered again.
            value if value >> (64 - MARK_BITS) == mark => u64::MAX,
            value => now_ms - Self::decode(value, now_ms).used_ms.min(now_ms),
        };
        let cell = self.group(fingerprint).iter().max_by_key(age)?;
        let before = cell.swap(Self::encode(mark, ghost), Relaxed);
        (before != 0).then(|| Self::decode(before, now_ms))
    }

    /// Lets the run of `fingerprint` stand for `count` blocks, if it is one of this kind last used then.
    pub(super) fn extend(&self, fingerprint: u64, count: u32, like: &Ghost, now_ms: u64) -> bool {
        let Some(cell) = self.cell(fingerprint) else {
            return false;
        };
        let ghost = Self::decode(cell.load(Relaxed), now_ms);
        let same = ghost.kind == like.kind && ghost.used_ms >> LAST_SHIFT == like.used_ms >> LAST_SHIFT;
        if same {
            cell.store(
                Self::encode(Self::mark(fingerprint), &Ghost { count, ..ghost }),
                Relaxed,
            );
        }
        same
    }

    /// Shows what one group remembers.
    pub(super) fn each_of_group(&self, group: u32, now_ms: u64, mut show: impl FnMut(Ghost)) {
        let first = group as usize * WAYS;
        for cell in &self.cells[first..first + WAYS] {
            let value = cell.load(Relaxed);
            if value != 0 {
                show(Self::decode(value, now_ms));
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn cells(blocks: u64) -> Vec<AtomicU64> {
        (0..Ghosts::cells_count(blocks)).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn counts_come_back_within_an_eighth() {
        for count in 1..200_000 {
            let back = count_of(count_code(count));
            assert!(back <= count && back + back / 7 >= count, "{count} {back}");
        }
    }

    proptest! {
        /// Against a map, in one group: it holds eight, and the one used longest ago goes first.
        #[test]
        fn remembers_what_a_map_with_eight_places_would(
            steps in prop::collection::vec((0..3_u8, 1..20_u64, 0..64_u8, 0..64_u8, 1..5000_u32), 1..200)
        ) {
            let cells = cells(4);
            let ghosts = Ghosts::new(&cells);
            let mut naive: BTreeMap<u64, Ghost> = BTreeMap::new();
            for (step, (action, fingerprint, kind, turn, count)) in steps.into_iter().enumerate() {
                let now_ms = (step as u64 + 1) << LAST_SHIFT;
                match action {
                    0 => prop_assert_eq!(ghosts.take(fingerprint, now_ms), naive.remove(&fingerprint)),
                    1 => prop_assert_eq!(ghosts.find(fingerprint, now_ms), naive.get(&fingerprint).copied()),
                    _ => {
                        let count = count_of(count_code(count));
                        let ghost = Ghost { used_ms: now_ms, kind, turn, branched: turn % 2 == 0, count };
                        let gone = match naive.remove(&fingerprint) {
                            None if naive.len() == WAYS => {
                                let oldest = naive.iter().min_by_key(|(_, ghost)| ghost.used_ms).map(|(&key, _)| key);
                                oldest.and_then(|oldest| naive.remove(&oldest))
                            }
                            before => before,
                        };
                        let made_room = ghosts.put(fingerprint, &ghost, now_ms);
                        prop_assert_eq!(made_room, gone);
                        naive.insert(fingerprint, ghost);
                    }
                }
            }
        }
    }

    #[test]
    fn a_run_grows_only_with_its_like() {
        let cells = cells(64);
        let ghosts = Ghosts::new(&cells);
        let ghost = Ghost {
            used_ms: 512,
            kind: 3,
            turn: 1,
            branched: false,
            count: 1,
        };
        ghosts.put(77 << 32 | 5, &ghost, 1024);
        assert!(ghosts.extend(77 << 32 | 5, 7, &ghost, 2048));
        assert!(!ghosts.extend(77 << 32 | 5, 9, &Ghost { kind: 4, ..ghost }, 2048));
        assert!(!ghosts.extend(77 << 32 | 5, 9, &Ghost { used_ms: 1024, ..ghost }, 2048));
        assert!(!ghosts.extend(78 << 32 | 6, 9, &ghost, 2048));
        assert_eq!(ghosts.find(77 << 32 | 5, 4096), Some(Ghost { count: 7, ..ghost }));
    }
}
