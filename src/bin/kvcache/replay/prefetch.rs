//! How good the prediction of next turns is: a trace's requests through a memory tier of nothing but numbers, with the
//! very planner that the engine has.
//!
//! The memory tier is an LRU of `blocks_count` blocks; below it is everything that was ever stored. Between requests
//! the planner is polled once a second of the trace's time, and what it wishes is raised, first blocks first, as far as
//! there is room:
//!
//! - [`Room::Within`]: raised blocks take their places from the tier. One is given up for them only if it has been
//!   unused for twice as long as the wish expects to wait, divided by its probability: what was not used for so long
//!   is expected to stay unused for as long again, and nothing is raised at the cost of what is hotter.
//! - [`Room::Aside`]: raised blocks lie beside the tier, whose LRU they do not touch.
//!
//! A raised block stays until its request comes or the wish lapses; no more than `room_blocks_count` wait at a time.
//!
//! | figure | what |
//! | --- | --- |
//! | recall | of the blocks that were stored before and were not in memory by demand when they were asked for, the share that a wish had raised by then |
//! | precision | of the raised blocks, the share that was used |
//! | waste | of the raised blocks, the share that was given up unused |
//! | lead | how long before its use a block was raised, on average |

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use kvcache::prefetch::{Planner, Wish};
use serde::Serialize;

/// Where raised blocks lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// In places of the tier.
    Within,
    /// In places of their own.
    Aside,
}

/// What to measure with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Blocks of the memory tier.
    pub blocks_count: usize,
    /// Where raised blocks lie.
    pub room: Room,
    /// Most raised blocks that wait for their use.
    pub room_blocks_count: usize,
    /// Conversations that the planner remembers.
    pub conversations_count: u32,
    /// Least probability at which it wishes, in thousandths.
    pub confidence_permille: u32,
}

/// One request of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'t> {
    /// Milliseconds from the start; does not go back.
    pub now_ms: u64,
    /// The conversation, 0 where the trace does not say.
    pub conversation: u32,
    /// The numbers of its blocks, in order.
    pub ids: &'t [u64],
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Foresight {
    /// Share of the raised blocks that was used.
    pub prefetch_precision: f64,
    /// Share of the misses of memory that was there in time.
    pub prefetch_recall: f64,
    /// Share of the raised blocks that was given up unused.
    pub prefetch_waste: f64,
    /// Milliseconds from raising to use, on average.
    pub prefetch_lead_ms_mean: f64,
    /// Blocks raised.
    pub prefetch_raised: u64,
    /// Raised blocks that were used.
    pub prefetch_used: u64,
    /// Raised blocks given up unused.
    pub prefetch_wasted: u64,
    /// Blocks asked for that were stored before and were not in memory.
    pub prefetch_missed: u64,
    /// Share of all blocks asked for that were in memory, raised or not.
    pub block_hit_ratio: f64,
}

/// Milliseconds between two polls.
const POLL_MS: u64 = 1000;
const NOWHERE: u32 = u32::MAX;

/// Where a block is, and its neighbours in the order of use.
#[derive(Clone, Copy)]
struct Block {
    newer: u32,
    older: u32,
    used_ms: u64,
    raised_by: u32,
    raised_ms: u64,
    in_memory: bool,
}

/// What a conversation's row is wished.
#[derive(Clone, Default)]
struct Wished {
    chain: Vec<u32>,
    raised: Vec<u32>,
    lapse_ms: u64,
}

/// A run over a trace.
pub struct Measure {
    settings: Settings,
    words: Vec<AtomicU64>,
    numbers: HashMap<u64, u32>,
    blocks: Vec<Block>,
    rows: Vec<Wished>,
    newest: u32,
    oldest: u32,
    in_memory_count: usize,
    raised_count: usize,
    polled_ms: u64,
    asked: u64,
    hits: u64,
    lead_ms_sum: u64,
    foresight: Foresight,
    fingerprints: Vec<u64>,
}

/// A number as the planner wants it: spread over all bits.
fn fingerprint(id: u64) -> u64 {
    let mixed = id
        .wrapping_add(0x9E37_79B9_7F4A_7C15)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed ^ mixed >> 31).wrapping_mul(0x94D0_49BB_1331_11EB)) | 1
}

impl Measure {
    /// An empty memory tier.
    pub fn new(settings: Settings) -> Self {
        let words_count = Planner::words_count(settings.conversations_count);
        Self {
            settings,
            words: (0..words_count).map(|_| AtomicU64::new(0)).collect(),
            numbers: HashMap::new(),
            blocks: Vec::new(),
            rows: vec![Wished::default(); settings.conversations_count as usize],
            newest: NOWHERE,
            oldest: NOWHERE,
            in_memory_count: 0,
            raised_count: 0,
            polled_ms: 0,
            asked: 0,
            hits: 0,
            lead_ms_sum: 0,
            foresight: Foresight::default(),
            fingerprints: Vec::new(),
        }
    }

    /// Lets a request come.
    pub fn request(&mut self, turn: &Turn<'_>) {
        self.poll_until(turn.now_ms);
        let known_count = self.blocks.len();
        let mut chain = Vec::with_capacity(turn.ids.len());
        for &id in turn.ids {
            let next = self.blocks.len() as u32;
            let number = *self.numbers.entry(id).or_insert(next);
            if number == next {
                self.blocks.push(Block {
                    newer: NOWHERE,
                    older: NOWHERE,
                    used_ms: 0,
                    raised_by: NOWHERE,
                    raised_ms: 0,
                    in_memory: false,
                });
            }
            chain.push(number);
        }
        self.asked += chain.len() as u64;
        let mut missing = Vec::new();
        for &number in &chain {
            let block = self.blocks[number as usize];
            if block.in_memory {
                self.unlink(number);
                self.link(number, turn.now_ms);
                self.hits += 1;
            } else {
                if block.raised_by != NOWHERE {
                    self.lead_ms_sum += turn.now_ms - block.raised_ms;
                    self.blocks[number as usize].raised_by = NOWHERE;
                    self.raised_count -= 1;
                    self.foresight.prefetch_used += 1;
                    self.hits += 1;
                } else if (number as usize) < known_count {
                    self.foresight.prefetch_missed += 1;
                }
                missing.push(number);
            }
        }
        for number in missing {
            // A request may name a block twice.
            if !self.blocks[number as usize].in_memory {
                while self.in_memory_count >= self.memory_count() && self.oldest != NOWHERE {
                    self.evict();
                }
                self.link(number, turn.now_ms);
            }
        }
        self.fingerprints.clear();
        self.fingerprints.extend(turn.ids.iter().map(|&id| fingerprint(id)));
        let planner = Planner::new(&self.words, self.settings.confidence_permille);
        if let Some((row, _)) = planner.request(turn.now_ms, turn.conversation, &self.fingerprints, 1) {
            self.give_up(row as usize);
            self.rows[row as usize].chain = chain;
        }
    }

    /// The figures so far; what is raised and waits is neither used nor wasted.
    pub fn foresight(&self) -> Foresight {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let foresight = self.foresight;
        Foresight {
            prefetch_precision: share(foresight.prefetch_used, foresight.prefetch_raised),
            prefetch_recall: share(
                foresight.prefetch_used,
                foresight.prefetch_used + foresight.prefetch_missed,
            ),
            prefetch_waste: share(foresight.prefetch_wasted, foresight.prefetch_raised),
            prefetch_lead_ms_mean: share(self.lead_ms_sum, foresight.prefetch_used),
            block_hit_ratio: share(self.hits, self.asked),
            ..foresight
        }
    }

    /// Blocks that memory has room for, besides those that were raised.
    fn memory_count(&self) -> usize {
        match self.settings.room {
            Room::Within => self.settings.blocks_count.saturating_sub(self.raised_count).max(1),
            Room::Aside => self.settings.blocks_count,
        }
    }

    fn poll_until(&mut self, now_ms: u64) {
        // A long pause says no more than its first hours.
        self.polled_ms = self.polled_ms.max(now_ms.saturating_sub(1 << 25));
        while self.polled_ms + POLL_MS < now_ms {
            self.polled_ms += POLL_MS;
            let at_ms = self.polled_ms;
            for row in 0..self.rows.len() {
                if !self.rows[row].raised.is_empty() && self.rows[row].lapse_ms <= at_ms {
                    self.give_up(row);
                }
            }
            let mut wishes = [Wish::default(); 64];
            let planner = Planner::new(&self.words, self.settings.confidence_permille);
            let count = planner.poll(at_ms, &mut wishes);
            for wish in &wishes[..count] {
                self.raise(wish, at_ms);
            }
        }
    }

    fn raise(&mut self, wish: &Wish, now_ms: u64) {
        let row = wish.row as usize;
        self.rows[row].lapse_ms = wish.lapse_ms;
        let wait_ms = wish.due_ms.saturating_sub(now_ms);
        let chain = std::mem::take(&mut self.rows[row].chain);
        for &number in &chain {
            let block = self.blocks[number as usize];
            if block.in_memory || block.raised_by != NOWHERE {
                continue;
            }
            if self.raised_count >= self.settings.room_blocks_count {
                break;
            }
            if self.settings.room == Room::Within && self.in_memory_count >= self.memory_count() {
                let Some(oldest) = self.blocks.get(self.oldest as usize) else {
                    break;
                };
                if (now_ms - oldest.used_ms) as f64 * f64::from(wish.probability) <= 2.0 * wait_ms as f64 {
                    break;
                }
                self.evict();
            }
            let block = &mut self.blocks[number as usize];
            (block.raised_by, block.raised_ms) = (wish.row, now_ms);
            self.raised_count += 1;
            self.foresight.prefetch_raised += 1;
            self.rows[row].raised.push(number);
        }
        self.rows[row].chain = chain;
    }

    /// Gives up what was raised for a row and is not used.
    fn give_up(&mut self, row: usize) {
        for number in std::mem::take(&mut self.rows[row].raised) {
            let block = &mut self.blocks[number as usize];
            if block.raised_by == row as u32 {
                block.raised_by = NOWHERE;
                self.raised_count -= 1;
                self.foresight.prefetch_wasted += 1;
            }
        }
    }

    fn evict(&mut self) {
        let number = self.oldest;
        self.unlink(number);
    }

    fn link(&mut self, number: u32, now_ms: u64) {
        let newest = std::mem::replace(&mut self.newest, number);
        match self.blocks.get_mut(newest as usize) {
            Some(block) => block.newer = number,
            None => self.oldest = number,
        }
        let block = &mut self.blocks[number as usize];
        (block.older, block.newer, block.in_memory, block.used_ms) = (newest, NOWHERE, true, now_ms);
        self.in_memory_count += 1;
    }

    fn unlink(&mut self, number: u32) {
        let Block { newer, older, .. } = self.blocks[number as usize];
        match self.blocks.get_mut(newer as usize) {
            Some(block) => block.older = older,
            None => self.newest = older,
        }
        match self.blocks.get_mut(older as usize) {
            Some(block) => block.newer = newer,
            None => self.oldest = newer,
        }
        self.blocks[number as usize].in_memory = false;
        self.in_memory_count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(room: Room) -> Settings {
        Settings {
            blocks_count: 40,
            room,
            room_blocks_count: 30,
            conversations_count: 256,
            confidence_permille: 500,
        }
    }

    /// A conversation that comes every two minutes; others come once and displace it. The recall is that of the second
    /// half, when there was something to learn from.
    fn run(room: Room, regular: bool) -> Foresight {
        let mut measure = Measure::new(settings(room));
        let mut half = Foresight::default();
        for round in 0..200_u64 {
            if round == 100 {
                half = measure.foresight;
            }
            let now_ms = round * 120_000;
            let talk: Vec<u64> = (0..10).collect();
            let conversation = if regular { 1 } else { round as u32 + 1000 };
            measure.request(&Turn {
                now_ms,
                conversation,
                ids: &talk,
            });
            let noise: Vec<u64> = (0..60).map(|n| 1000 + round * 60 + n).collect();
            measure.request(&Turn {
                now_ms: now_ms + 5000,
                conversation: 0,
                ids: &noise,
            });
        }
        let whole = measure.foresight;
        for (figure, before) in [
            (&mut measure.foresight.prefetch_used, half.prefetch_used),
            (&mut measure.foresight.prefetch_missed, half.prefetch_missed),
        ] {
            *figure -= before;
        }
        let recall = measure.foresight().prefetch_recall;
        measure.foresight = whole;
        Foresight {
            prefetch_recall: recall,
            ..measure.foresight()
        }
    }

    #[test]
    fn a_block_that_was_wished_is_there_before_its_request() {
        let beside = run(Room::Aside, true);
        assert!(beside.prefetch_recall > 0.9, "{beside:?}");
        assert!(
            beside.prefetch_precision > 0.9 && beside.prefetch_waste < 0.05,
            "{beside:?}"
        );
        assert!(beside.prefetch_lead_ms_mean > 1000.0 && beside.prefetch_lead_ms_mean < 120_000.0);
        let within = run(Room::Within, true);
        assert!(within.prefetch_recall > 0.9, "{within:?}");
    }

    #[test]
    fn what_does_not_come_back_is_not_raised() {
        let never = run(Room::Aside, false);
        assert_eq!((never.prefetch_raised, never.prefetch_recall), (0, 0.0), "{never:?}");
        assert_eq!(never.prefetch_missed, 199 * 10);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut measure = Measure::new(Settings {
            room_blocks_count: 4,
            ..settings(Room::Within)
        });
        let mut state = 1_u64;
        for step in 0..3000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let conversation = (state >> 33) % 9;
            let ids: Vec<u64> = (0..5 + conversation).map(|n| conversation * 100 + n).collect();
            measure.request(&Turn {
                now_ms: step * 4000,
                conversation: conversation as u32 + 1,
                ids: &ids,
            });
            assert!(measure.raised_count <= 4);
            assert!(measure.in_memory_count <= 40);
            let waiting = measure.blocks.iter().filter(|block| block.raised_by != NOWHERE).count();
            assert_eq!(waiting, measure.raised_count);
            let done = measure.foresight;
            assert_eq!(
                done.prefetch_raised,
                done.prefetch_used + done.prefetch_wasted + waiting as u64
            );
        }
    }
}
