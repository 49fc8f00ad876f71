//! The policy for key/value blocks: the leaf of the prefix tree that is worth least goes first.
//!
//! Blocks of prompts form a tree: a block is of use only together with all before it. So what goes is a **leaf**, and
//! what a request ages first is its tail. Which leaf is decided by what was learnt on line of how long blocks of its
//! kind wait for their next use ([`lifetimes`]): the one whose place is worth least, by the chance that it is used and
//! the time that it takes up its place until then, times what computing it again costs (relative to the mean, between
//! an eighth and eight times), times one and its importance in thousandths.
//!
//! The **kind** of a block is: which turn of its conversation it belongs to (one for each time that the chain was gone
//! on with from its end, or the block was used again), how deep its chain is (below 8, below 64, deeper), whether
//! nothing ever came behind it, and whether the chain went on from it in several ways. What is known of a block that
//! goes stays in a table of **ghosts**, of two cells a block: a conversation that comes back is known by the ends of
//! its turns. A request that is looked up tells of its missing blocks beforehand ([`Hazard::announce`]), so that the
//! first of them are already taken for what the last of them says they are.
//!
//! A newcomer is a leaf like others: what will not come back is the next to go itself, and its children, whose parent
//! is gone then, go before everything else. Blocks with a retention class above the lowest go after all others, class
//! by class, those used since they were last looked at once more round (second chance).
//!
//! Bounds: a victim looks at [`SAMPLE`] leaves and [`CANDIDATES`] at most, and moves the learning on by one step, of
//! which there are as many as places / 32 + ghosts / 32 + kinds in a round. 52 bytes a block, and 64 KiB.

mod expected;
mod ghosts;
mod learning;
mod lifetimes;
mod record;
#[cfg(all(test, not(loom)))]
mod tests;

use super::list::{LIST_WORDS, Links, List};
use super::{Blocks, Needs, Policy, Storage};
use crate::config::PolicyKind;
use crate::limits::CLASSES_COUNT;
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use ghosts::{Ghost, Ghosts};
use lifetimes::{Lifetimes, age_of};
use record::{Record, Records};

/// Leaves that are kept in view as the next victims.
const CANDIDATES: usize = 16;
/// Other leaves that are looked at for a victim; and where requests are single blocks, each of which needs a victim.
const SAMPLE: u32 = 16;
const SAMPLE_SINGLE: u32 = 4;
/// Blocks of a request on average from which on requests are no single blocks.
const REQUEST_BLOCKS_MIN: f32 = 2.0;
/// Victims of one moment after which other leaves are looked at again.
const SAMPLE_VICTIMS: u32 = 16;
/// Insertions during which the end of a chain may still be gone on with by its request.
const OPEN_INSERTIONS: u32 = 32;
/// Requests whose missing blocks are expected.
const EXPECTED_COUNT: usize = 16;
/// Importance that doubles what a block is worth.
const IMPORTANCE_UNIT: f32 = 1000.0;

/// Words of the fixed part, before the lists: see [`Head`].
const HEAD_WORDS: usize = 14;
/// Half words of the fixed part.
const HEADS: usize = HEAD_WORDS + 2 * EXPECTED_COUNT + 2 * CANDIDATES + CLASSES_COUNT * LIST_WORDS + lifetimes::WORDS;
/// Half words at the end of the fixed part that say what was learnt, and nothing of what is there.
pub(super) const LEARNT: usize = lifetimes::WORDS;
/// Words of a block, without ghosts.
const RECORD_WORDS: usize = record::WORDS;

const _: () = {
    let needs = Needs::of(PolicyKind::Hazard, 100);
    assert!(needs.words == 100 * RECORD_WORDS as u64 + Ghosts::cells_count(100));
    assert!(needs.links == 100 && needs.heads == HEADS as u64);
};

/// The list of blocks whose parents are gone; lists of retention classes have the classes' numbers.
const ORPHANS: u32 = 0;

/// Single half words of the fixed part.
#[derive(Clone, Copy)]
enum Head {
    Leaves,
    Insertions,
    Random,
    /// When leaves were looked at, and victims since.
    SampledMs,
    SampledVictims,
    /// Learning: what is being done, how far it is, when the next round begins and when the last one ended.
    Phase,
    Hand,
    Next,
    Faded,
    /// Sum of the depths of the blocks seen in this round, and their count.
    Depths,
    Seen,
    /// Blocks of a request, a float.
    RequestBlocks,
    /// Mean of the costs of computing a block again, in microseconds, a float.
    CostMean,
    /// Where the next expected request is written.
    Expected,
}

/// The hazard policy.
pub(crate) struct Hazard<'m> {
    records: Records<'m>,
    leaves: &'m [AtomicU32],
    ghosts: Ghosts<'m>,
    lifetimes: Lifetimes<'m>,
    head: &'m [AtomicU32],
    /// `mark << 32 | blocks left << 16 | turn << 2 | shared << 1 | begun`, two half words each.
    expected: &'m [AtomicU32],
    /// Place + 1 and what it was worth.
    candidates: &'m [AtomicU32],
    lists: &'m [AtomicU32],
}

/// Milliseconds from one time to another, both cut to 32 bits.
fn elapsed_ms(now_ms: u64, before_ms: u32) -> u64 {
    u64::from((now_ms as u32).wrapping_sub(before_ms))
}

/// The kind of a block, below [`KINDS`].
fn kind_of(record: &Record, turn: u32, at_end: bool) -> u8 {
    let depth = record.depth_step();
    if record.is_shared() {
        let step = match turn {
            0..=1 => 0,
            2..=3 => 1,
            4..=15 => 2,
            _ => 3,
        };
        return 54 + step;
    }
    let step = match turn {
        0..=4 => turn as u8,
        5..=7 => 5,
        8..=15 => 6,
        16..=47 => 7,
        _ => 8,
    };
    step * 6 + depth as u8 * 2 + u8::from(at_end)
}

impl<'m> Hazard<'m> {
    pub(crate) fn new(storage: Storage<'m>) -> Self {
        let places = storage.links.len();
        let (records, ghosts) = storage.words.split_at(places * RECORD_WORDS);
        let (head, heads) = storage.heads.split_at(HEAD_WORDS);
        let (expected, heads) = heads.split_at(2 * EXPECTED_COUNT);
        let (candidates, heads) = heads.split_at(2 * CANDIDATES);
        let (lists, tables) = heads.split_at(CLASSES_COUNT * LIST_WORDS);
        Self {
            records: Records(records),
            leaves: storage.links,
            ghosts: Ghosts::new(ghosts),
            lifetimes: Lifetimes::new(tables),
            head,
            expected,
            candidates,
            lists,
        }
    }

    fn head(&self, head: Head) -> u32 {
        self.head[head as usize].load(Relaxed)
    }

    fn set_head(&self, head: Head, value: u32) {
        self.head[head as usize].store(value, Relaxed);
    }

    fn head_float(&self, head: Head) -> f32 {
        f32::from_bits(self.head(head))
    }

    fn list(&self, number: u32) -> List<'m> {
        List::new(
            self.lists,
            number as usize * LIST_WORDS,
            Links::strided(self.records.0, RECORD_WORDS, RECORD_WORDS - 1),
        )
    }

    /// Which turn a block belongs to: the one it came with, and one more for each use since.
    fn turn(record: &Record, uses: u16) -> u32 {
        u32::from(record.turn) + u32::from(uses)
    }

    fn kind_at_end(&self, record: &Record, uses: u16) -> u8 {
        kind_of(record, Self::turn(record, uses), record.height() == 0)
    }

    /// The kind that a leaf is taken for: the end of a chain that may still be gone on with is no end yet.
    fn kind_now(&self, record: &Record, uses: u16) -> u8 {
        let at_end = record.height() == 0 && self.head(Head::Insertions).wrapping_sub(record.born()) > OPEN_INSERTIONS;
        kind_of(record, Self::turn(record, uses), at_end)
    }

    /// What keeping a leaf is worth.
    fn worth(&self, index: u32, blocks: &impl Blocks) -> f32 {
        let record = self.records.get(index);
        let kind = self.kind_now(&record, blocks.recency(index).uses());
        let age = age_of(blocks.now_ms().saturating_sub(blocks.used_ms(index)));
        let mut worth = self.lifetimes.worth(kind, age);
        let (cost_mean, importance) = (self.head_float(Head::CostMean), blocks.importance(index));
        if cost_mean > 0.0 {
            let cost_us = blocks.cost_us(index);
            if cost_us != 0 {
                worth *= (cost_us as f32 / cost_mean).clamp(0.125, 8.0);
            }
        }
        if importance != 0 {
            worth *= 1.0 + importance as f32 / IMPORTANCE_UNIT;
        }
        worth
    }

    fn leaf_add(&self, index: u32, record: &mut Record) {
        let count = self.head(Head::Leaves);
        self.leaves[count as usize].store(index, Relaxed);
        self.set_head(Head::Leaves, count + 1);
        record.position = count + 1;
    }

    fn leaf_remove(&self, index: u32, record: &mut Record) {
        if let Some(at) = (0..CANDIDATES).find(|&at| self.candidate(at).0 == index) {
            self.set_candidate(at, None);
        }
        let Some(position) = core::mem::take(&mut record.position).checked_sub(1) else {
            return;
        };
        let last = self.head(Head::Leaves) - 1;
        self.set_head(Head::Leaves, last);
        if position != last {
            let moved = self.leaves[last as usize].load(Relaxed);
            self.leaves[position as usize].store(moved, Relaxed);
            self.records.change(moved, |record| record.position = position + 1);
        }
    }

    /// The parent of a block, if that is the life of its place that the block came to.
    fn parent(&self, record: &Record) -> Option<(u32, Record)> {
        let index = record.parent.checked_sub(1)?;
        let parent = self.records.get(index);
        (parent.is_known() && parent.life == record.parent_life).then_some((index, parent))
    }

    /// The chain goes on in several ways from `index`, or from behind it: so it does from all before it.
    fn share(&self, index: u32, turn_min: u32, blocks: &impl Blocks) {
        let mut next = Some((index, self.records.get(index)));
        while let Some((index, mut record)) = next {
            let uses = blocks.recency(index).uses();
            let turn = Self::turn(&record, uses);
            if record.is_shared() && turn >= turn_min {
                break;
            }
            if turn < turn_min {
                record.turn = (turn_min - u32::from(uses)).min(u32::from(u8::MAX)) as u8;
            }
            record.set_shared(true);
            if record.noted_uses == uses {
                record.kind = self.kind_at_end(&record, uses);
            }
            self.records.set(index, &record);
            next = self.parent(&record).filter(|(_, parent)| !parent.is_listed());
        }
    }

    /// Whether the policy has the block.
    pub(crate) fn knows(&self, index: u32) -> bool {
        self.records.get(index).is_known()
    }

    /// Takes a block out of where it is, and says which parent has become a leaf by that. Its children stay, and are
    /// nobody's if the place goes on to another block.
    fn detach(&self, index: u32, record: &mut Record) -> Option<u32> {
        if record.is_listed() {
            self.list(record.position).unlink(index);
            record.position = 0;
            record.set_listed(false);
            record.set_first_child(0, self.head(Head::Insertions));
        } else {
            self.leaf_remove(index, record);
        }
        record.set_known(false);
        self.records.set(index, record);
        let (parent, mut above) = self.parent(record).filter(|(_, above)| !above.has_run())?;
        above.children = above.children.saturating_sub(1);
        let bare = above.children == 0 && !above.is_listed() && above.position == 0;
        if bare {
            self.leaf_add(parent, &mut above);
        }
        self.records.set(parent, &above);
        bare.then_some(parent)
    }

    /// Puts a block into the tree, behind `parent` if that is there.
    fn attach(&self, index: u32, record: &mut Record, parent: Option<u32>, blocks: &impl Blocks) {
        if record.children == 0 || record.has_run() {
            self.leaf_add(index, record);
        }
        self.records.set(index, record);
        if let Some(parent) = parent {
            let mark = blocks.fingerprint(index) as u32;
            let mut above = self.records.get(parent);
            let mut first = above.first_child();
            if above.has_run() {
                above.set_run(false);
                above.children = 0;
                first = above.word as u32;
            }
            above.children += 1;
            self.leaf_remove(parent, &mut above);
            let branches = first != 0 && first != mark && !above.is_branched();
            above.set_branched(above.is_branched() || branches);
            let born = if above.height() == 0 { above.born() } else { 0 };
            above.set_first_child(if first == 0 { mark } else { first }, born);
            if above.height() == 0 {
                above.set_height(1);
                above.kind = self.kind_at_end(&above, above.noted_uses);
            }
            self.records.set(parent, &above);
            if let Some((index, mut before)) = self.parent(&above).filter(|(_, before)| before.height() < 2) {
                before.set_height(2);
                self.records.set(index, &before);
            }
            if branches {
                self.share(parent, 0, blocks);
            }
        }
    }

    /// What a block that is new says of itself: by its parent, by what is remembered of it, and by what was expected.
    fn introduce(&self, index: u32, record: &mut Record, parent: Option<&Record>, blocks: &impl Blocks) {
        let insertions = self.head(Head::Insertions).wrapping_add(1);
        self.set_head(Head::Insertions, insertions);
        let cost_us = blocks.cost_us(index);
        if cost_us != 0 {
            let mean = self.head_float(Head::CostMean);
            let mean = if mean == 0.0 {
                cost_us as f32
            } else {
                mean + (cost_us as f32 - mean) / 256.0
            };
            self.set_head(Head::CostMean, mean.to_bits());
        }
        record.set_first_child(0, insertions);
        record.set_depth_step(match blocks.depth(index) {
            0..=7 => 0,
            8..=63 => 1,
            _ => 2,
        });
        // Gone on with from its end, or new in the same request.
        let follows = parent.filter(|above| above.height() <= 1 && !above.is_shared());
        let mut turn = follows.map_or(0, |above| {
            let parent = record.parent - 1;
            Self::turn(above, blocks.recency(parent).uses())
        });
        let now_ms = blocks.now_ms();
        let fingerprint = blocks.fingerprint(index);
        if let Some(ghost) = self.ghosts.take(fingerprint, now_ms) {
            self.lifetimes
                .used(ghost.kind, age_of(now_ms.saturating_sub(ghost.used_ms)), ghost.count);
            turn = turn.max(u32::from(ghost.turn) + 1);
            record.set_branched(ghost.branched);
        }
        if let Some(expected) = self.expected(fingerprint as u32, blocks.parent_mark(index)) {
            turn = turn.max(u32::from(expected.turn));
            record.set_shared(record.is_shared() || expected.shared);
        }
        record.turn = turn.min(u32::from(u8::MAX)) as u8;
        record.noted_ms = blocks.used_ms(index) as u32;
        record.noted_uses = blocks.recency(index).uses();
        record.kind = self.kind_at_end(record, record.noted_uses);
    }

    /// What a candidate was worth when it was looked at; infinite for none.
    fn candidate(&self, at: usize) -> (u32, f32) {
        match self.candidates[2 * at].load(Relaxed) {
            0 => (u32::MAX, f32::INFINITY),
            index => (index - 1, f32::from_bits(self.candidates[2 * at + 1].load(Relaxed))),
        }
    }

    fn set_candidate(&self, at: usize, candidate: Option<(u32, f32)>) {
        let (index, worth) = candidate.map_or((0, 0.0), |(index, worth)| (index + 1, worth));
        self.candidates[2 * at].store(index, Relaxed);
        self.candidates[2 * at + 1].store(worth.to_bits(), Relaxed);
    }

    /// Makes a leaf a candidate if it is worth less than one of those.
    fn propose(&self, index: u32, blocks: &impl Blocks) {
        let worth = self.worth(index, blocks);
        let (mut worst, mut worst_worth) = (0, f32::NEG_INFINITY);
        for at in 0..CANDIDATES {
            let (other, other_worth) = self.candidate(at);
            if other == index {
                return self.set_candidate(at, Some((index, worth)));
            }
            if other_worth > worst_worth {
                (worst, worst_worth) = (at, other_worth);
            }
        }
        if worth < worst_worth {
            self.set_candidate(worst, Some((index, worth)));
        }
    }

    /// Looks at some leaves. Victims of one moment come from few chains, so not for each of them.
    fn sample(&self, blocks: &impl Blocks) {
        let now_ms = blocks.now_ms() as u32;
        let victims = self.head(Head::SampledVictims) + 1;
        if self.head(Head::SampledMs) == now_ms && victims < SAMPLE_VICTIMS && self.has_candidate() {
            return self.set_head(Head::SampledVictims, victims);
        }
        self.set_head(Head::SampledMs, now_ms);
        self.set_head(Head::SampledVictims, 0);
        let count = self.head(Head::Leaves);
        let request_blocks = self.head_float(Head::RequestBlocks);
        let singles = request_blocks != 0.0 && request_blocks < REQUEST_BLOCKS_MIN;
        let sample = if singles { SAMPLE_SINGLE } else { SAMPLE };
        let mut random = self.head(Head::Random) | 1;
        for number in 0..count.min(sample) {
            // Marsaglia, "Xorshift RNGs", 2003.
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let position = if count <= sample { number } else { random % count };
            self.propose(self.leaves[position as usize].load(Relaxed), blocks);
        }
        self.set_head(Head::Random, random);
    }

    fn has_candidate(&self) -> bool {
        self.candidates.iter().step_by(2).any(|place| place.load(Relaxed) != 0)
    }

    /// The candidate that was worth least.
    fn candidate_least(&self) -> Option<usize> {
        let least = (0..CANDIDATES).min_by(|&a, &b| self.candidate(a).1.total_cmp(&self.candidate(b).1))?;
        self.candidate(least).1.is_finite().then_some(least)
    }

    /// The leaf that is worth least of those that are looked at.
    fn least(&self, blocks: &impl Blocks) -> Option<u32> {
        self.sample(blocks);
        // What they were worth is looked up anew until the least one is: each at most once.
        for _ in 0..CANDIDATES {
            let at = self.candidate_least()?;
            let (index, then) = self.candidate(at);
            let now = self.worth(index, blocks);
            if now <= then {
                return Some(index);
            }
            self.set_candidate(at, Some((index, now)));
        }
        self.candidate_least().map(|at| self.candidate(at).0)
    }

    /// Takes a leaf out for good: it is remembered, and its parent is the next to be asked about.
    fn evict(&self, index: u32, blocks: &impl Blocks) {
        let mut record = self.records.get(index);
        self.note(index, &mut record, blocks);
        let now_ms = blocks.now_ms();
        let used_ms = blocks.used_ms(index);
        let turn = Self::turn(&record, record.noted_uses);
        let mut ghost = Ghost {
            used_ms,
            kind: record.kind,
            turn: turn.min(u32::from(ghosts::TURN_MAX)) as u8,
            branched: record.is_branched(),
            count: 1,
        };
        let mut run = blocks.fingerprint(index);
        let inner = record.height() != 1 && !record.is_branched() && record.parent != 0;
        if inner && record.has_run() && self.ghosts.extend(record.word, record.children + 1, &ghost, now_ms) {
            (run, ghost.count) = (record.word, record.children + 1);
        } else if let Some(gone) = self.ghosts.put(run, &ghost, now_ms) {
            self.lifetimes
                .unseen(gone.kind, age_of(now_ms.saturating_sub(gone.used_ms)), gone.count);
        }
        let depth_step = record.depth_step();
        let Some(parent) = self.detach(index, &mut record) else {
            return;
        };
        let mut above = self.records.get(parent);
        let uses = blocks.recency(parent).uses();
        if !above.is_shared() && blocks.used_ms(parent) == used_ms {
            let turn_above = Self::turn(&above, uses);
            let more = turn.saturating_sub(turn_above);
            above.turn = (u32::from(above.turn) + more).min(u32::from(u8::MAX)) as u8;
            above.set_depth_step(above.depth_step().max(depth_step));
            if above.noted_ms == used_ms as u32 {
                above.kind = self.kind_at_end(&above, uses);
            }
        }
        if !above.is_branched() {
            above.set_run(true);
            above.children = ghost.count;
            above.word = run;
        }
        self.records.set(parent, &above);
        self.propose(parent, blocks);
    }

    /// The next of a retention class: used since it was last looked at, it goes round once more.
    fn retained(&self, class: u32, blocks: &impl Blocks) -> Option<u32> {
        let list = self.list(class);
        for _ in 0..list.len() {
            let index = list.first()?;
            let mut record = self.records.get(index);
            let uses = blocks.recency(index).uses();
            if uses == record.noted_uses {
                break;
            }
            record.noted_uses = uses;
            self.records.set(index, &record);
            list.unlink(index);
            list.append(index);
        }
        list.first()
    }
}

impl Policy for Hazard<'_> {
    fn insert(&self, index: u32, blocks: &impl Blocks) {
        let mut record = self.records.get(index);
        let life = blocks.generation(index) as u16;
        let class = u32::from(blocks.class(index));
        let again = record.life == life;
        if record.is_known() {
            let listed = record.is_listed().then_some(record.position);
            let stays = match listed {
                None | Some(ORPHANS) => class == 0,
                Some(list) => class == list,
            };
            if again && stays {
                return;
            }
            self.detach(index, &mut record);
        }
        let parent = blocks.parent(index).filter(|&parent| parent != index);
        let above = parent.map(|parent| (parent, self.records.get(parent)));
        let above = above.filter(|(parent, above)| above.is_known() && above.life == blocks.generation(*parent) as u16);
        let orphan_above = |above: &Record| above.is_listed() && above.position == ORPHANS;
        let orphan = blocks.parent_mark(index) != 0
            && (parent.is_none() || above.is_some_and(|(_, above)| orphan_above(&above)));
        let above = above.filter(|(_, above)| !above.is_listed()).map(|(parent, _)| {
            self.note_path(parent, blocks);
            (parent, self.records.get(parent))
        });
        let (parent, parent_life) = above.map_or((0, 0), |(parent, above)| (parent + 1, above.life));
        if again {
            record.parent = parent;
            record.parent_life = parent_life;
        } else {
            record = Record {
                parent,
                parent_life,
                life,
                ..Record::default()
            };
            self.introduce(index, &mut record, above.as_ref().map(|(_, above)| above), blocks);
        }
        record.set_known(true);
        if class != 0 || orphan {
            record.parent = 0;
            record.set_listed(true);
            record.position = class;
            if record.has_run() {
                record.set_run(false);
                record.children = 0;
            }
            self.records.set(index, &record);
            self.list(class).append(index);
            return;
        }
        self.attach(index, &mut record, above.map(|(parent, _)| parent), blocks);
        if record.is_branched() && !again {
            self.share(index, u32::from(record.turn), blocks);
        }
        if self.records.get(index).position != 0 {
            self.propose(index, blocks);
        }
    }

    fn remove(&self, index: u32) {
        let mut record = self.records.get(index);
        if record.is_known() {
            self.detach(index, &mut record);
        }
    }

    fn victim(&self, blocks: &impl Blocks) -> Option<u32> {
        self.learn(blocks);
        if let Some(index) = self.list(ORPHANS).first() {
            self.remove(index);
            return Some(index);
        }
        if let Some(index) = self.least(blocks) {
            self.evict(index, blocks);
            return Some(index);
        }
        let index = (1..CLASSES_COUNT as u32).find_map(|class| self.retained(class, blocks))?;
        self.remove(index);
        Some(index)
    }
}
