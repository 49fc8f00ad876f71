//! Requests whose missing blocks are about to come.

use super::{EXPECTED_COUNT, Hazard, Head};
use crate::sync::atomic::Ordering::Relaxed;

/// Missing blocks of a request that are looked for among the ghosts.
const EXPECTED_BLOCKS_MAX: usize = 4096;

/// A request that was looked up, and what its missing blocks are.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    /// Mark of the block to come, or, once that came, of the last one that did.
    mark: u32,
    /// Blocks to come.
    left: u16,
    pub(super) turn: u8,
    pub(super) shared: bool,
    begun: bool,
}

impl Expected {
    fn encode(self) -> [u32; 2] {
        let low = u32::from(self.left) << 16
            | u32::from(self.turn) << 2
            | u32::from(self.shared) << 1
            | u32::from(self.begun);
        [self.mark, low]
    }

    fn decode(mark: u32, low: u32) -> Self {
        Self {
            mark,
            left: (low >> 16) as u16,
            turn: (low >> 2) as u8,
            shared: low & 2 != 0,
            begun: low & 1 != 0,
        }
    }
}

impl Hazard<'_> {
    /// What was expected of the block with this mark, whose parent has that mark.
    pub(super) fn expected(&self, mark: u32, parent_mark: u32) -> Option<Expected> {
        for at in (0..2 * EXPECTED_COUNT).step_by(2) {
            let found = Expected::decode(self.expected[at].load(Relaxed), self.expected[at + 1].load(Relaxed));
            let here = match found.begun {
                false => found.mark == mark,
                true => found.mark == parent_mark,
            };
            if here && found.left != 0 {
                let rest = Expected {
                    mark,
                    left: found.left - 1,
                    begun: true,
                    ..found
                };
                let [mark, low] = rest.encode();
                self.expected[at].store(mark, Relaxed);
                self.expected[at + 1].store(low, Relaxed);
                return Some(found);
            }
        }
        None
    }

    /// A request's blocks that are missing, in order, by their fingerprints: they are likely to come. May be called by
    /// any thread at any time; what it leaves are hints.
    pub(crate) fn announce(&self, missing: impl Iterator<Item = u64>, now_ms: u64) {
        if self.head(Head::Random) == 0 {
            // Nothing went yet.
            return;
        }
        let (mut first, mut found) = (None, None);
        for (place, fingerprint) in missing.take(EXPECTED_BLOCKS_MAX).enumerate() {
            first.get_or_insert(fingerprint as u32);
            if let Some(ghost) = self.ghosts.find(fingerprint, now_ms) {
                let (turn, shared, _) = found.unwrap_or((0, false, 0));
                found = Some((ghost.turn.max(turn), ghost.branched || shared, place));
            }
        }
        let (Some(mark), Some((turn, shared, last))) = (first, found) else {
            return;
        };
        let at = self.head[Head::Expected as usize].fetch_add(1, Relaxed) as usize % EXPECTED_COUNT * 2;
        let left = last as u16;
        let [mark, low] = Expected {
            mark,
            left,
            turn: turn.saturating_add(1),
            shared,
            begun: false,
        }
        .encode();
        self.expected[at].store(mark, Relaxed);
        self.expected[at + 1].store(low, Relaxed);
    }
}
