//! Learning from what is there: a round through all places and ghosts, some at each victim, and the values of all kinds
//! after it.

use super::lifetimes::{KINDS, age_of};
use super::record::Record;
use super::{Blocks, Hazard, Head, elapsed_ms, ghosts};

/// Steps of a round of learning.
const PHASE_IDLE: u32 = 0;
const PHASE_PLACES: u32 = 1;
const PHASE_GHOSTS: u32 = 2;
pub(super) const PHASE_KINDS: u32 = 3;

/// Places, or ghosts, that one step of learning looks at.
const STEP_PLACES: u32 = 32;
/// Fewest insertions between two rounds of learning.
const ROUND_INSERTIONS_MIN: u32 = 2048;
/// Blocks of a chain whose uses are learnt of when it is gone on with; of the others later.
const PATH_BLOCKS_MAX: u32 = 4096;

impl Hazard<'_> {
    /// Learns what became of a block since it was last looked at.
    pub(super) fn note(&self, index: u32, record: &mut Record, blocks: &impl Blocks) {
        let uses = blocks.recency(index).uses();
        let used_ms = blocks.used_ms(index) as u32;
        let waited_ms = used_ms.wrapping_sub(record.noted_ms);
        if uses != record.noted_uses || (waited_ms != 0 && waited_ms < 1 << 31) {
            let count = uses.wrapping_sub(record.noted_uses).max(1);
            let age = age_of(u64::from(waited_ms) / u64::from(count));
            self.lifetimes.used(record.kind, age, u32::from(count));
        }
        record.noted_ms = used_ms;
        record.noted_uses = uses;
        record.kind = self.kind_at_end(record, uses);
    }

    /// Learns of the uses of a block and of those before it, up to those that it has learnt of.
    pub(super) fn note_path(&self, mut index: u32, blocks: &impl Blocks) {
        for _ in 0..PATH_BLOCKS_MAX {
            let mut record = self.records.get(index);
            if record.is_listed() || blocks.used_ms(index) as u32 == record.noted_ms {
                return;
            }
            self.note(index, &mut record, blocks);
            self.records.set(index, &record);
            let Some((parent, _)) = self.parent(&record) else {
                return;
            };
            index = parent;
        }
    }

    /// One step of learning.
    pub(super) fn learn(&self, blocks: &impl Blocks) {
        let hand = self.head(Head::Hand);
        let insertions = self.head(Head::Insertions);
        let (phase, hand_next) = match self.head(Head::Phase) {
            PHASE_PLACES => {
                let end = (hand + STEP_PLACES).min(self.records.len());
                (hand..end).for_each(|index| self.look_at(index, blocks));
                if end == self.records.len() {
                    (PHASE_GHOSTS, 0)
                } else {
                    (PHASE_PLACES, end)
                }
            }
            PHASE_GHOSTS => {
                let now_ms = blocks.now_ms();
                let groups = self.ghosts.groups_count();
                let end = (hand + STEP_PLACES / ghosts::WAYS as u32).min(groups);
                for group in hand..end {
                    self.ghosts.each_of_group(group, now_ms, |ghost| {
                        let age = age_of(now_ms.saturating_sub(ghost.used_ms));
                        self.lifetimes.waiting(ghost.kind, age, ghost.count);
                    });
                }
                if end == groups {
                    self.lifetimes.pool(self.request_blocks());
                    (PHASE_KINDS, 0)
                } else {
                    (PHASE_GHOSTS, end)
                }
            }
            PHASE_KINDS => {
                self.lifetimes.value(hand as usize, self.request_blocks());
                if hand as usize + 1 == KINDS {
                    let since = insertions.wrapping_sub(self.head(Head::Faded));
                    self.lifetimes.fade(since, self.request_blocks());
                    self.set_head(Head::Faded, insertions);
                    let pause = (self.records.len() / 8).max(ROUND_INSERTIONS_MIN);
                    self.set_head(Head::Next, insertions.wrapping_add(pause));
                    (PHASE_IDLE, 0)
                } else {
                    (PHASE_KINDS, hand + 1)
                }
            }
            _ if (insertions.wrapping_sub(self.head(Head::Next)) as i32) < 0 => return,
            _ => {
                self.lifetimes.waiting_clear();
                self.set_head(Head::Depths, 0);
                self.set_head(Head::Seen, 0);
                (PHASE_PLACES, 0)
            }
        };
        self.set_head(Head::Phase, phase);
        self.set_head(Head::Hand, hand_next);
    }

    /// Learns from one place.
    fn look_at(&self, index: u32, blocks: &impl Blocks) {
        let mut record = self.records.get(index);
        if !record.is_known() || record.is_listed() || record.life != blocks.generation(index) as u16 {
            return;
        }
        self.note(index, &mut record, blocks);
        self.records.set(index, &record);
        let age = age_of(elapsed_ms(blocks.now_ms(), record.noted_ms));
        self.lifetimes.waiting(record.kind, age, 1);
        let seen = self.head(Head::Seen) + 1;
        let mean = self.head_float(Head::Depths);
        let mean = mean + (f32::from(blocks.depth(index)) - mean) / seen as f32;
        self.set_head(Head::Seen, seen);
        self.set_head(Head::Depths, mean.to_bits());
        self.set_head(Head::RequestBlocks, (2.0 * mean + 1.0).to_bits());
    }

    pub(super) fn request_blocks(&self) -> f32 {
        self.head_float(Head::RequestBlocks).max(1.0)
    }
}
