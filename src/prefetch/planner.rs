//! The next turn of each conversation: when it is due, how likely it is, and the wish to have its blocks there by then.
//!
//! A fixed table has a row for each conversation. A request goes to the row of its conversation id; one without an id
//! continues the conversation whose last or last but one block it contains, since a prompt repeats what was said
//! before, and the last block was perhaps not full then. Otherwise it begins a row, in the place of the one that has
//! been silent longest among a few.
//!
//! [`Planner::poll`] looks at each silent conversation once in each bin of its silence (`life`), part by part: what
//! several of its requests asked for, what is new, its last block. Where the probability that the next request comes
//! and asks for a part within an hour and a half of silence, or within two octaves of a longer one, reaches the
//! confidence, the conversation is wished until then, up to the last such part; where it stays that likely, the wish is
//! made anew when its bin is over. A wish lapses by itself, and falls when the request comes or the conversation is
//! cancelled.

use super::life::{BINS_COUNT, LifeTable, PART_TAIL, Shape, bin_of, class_of, edge_ms, part_new, part_used};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Bins that a wish looks ahead: two octaves.
const HORIZON_BINS: usize = 4;
/// A standing wish is kept down to this share of the confidence: what was raised cost its raise already.
const KEEP: f32 = 0.05;
/// A wish looks ahead to the beginning of this bin: an hour and a half of silence.
const PATIENCE_BIN: usize = 26;
/// Keys that are looked at from the end of a request for the conversation that it continues.
const LOOK_MAX: usize = 4096;
/// Rows among which the place of a new one is chosen.
const SAMPLE: usize = 8;
/// Milliseconds within which calls belong to one request.
const TURN_MS: u64 = 1000;
/// Rows that one poll looks at.
const POLL_ROWS: usize = 4096;
/// Places where the mark of a key may stand.
const WAYS: usize = 4;

/// Numbers of requests that blocks are told apart by, see [`field::EDGES`], and the largest count of blocks there.
const EDGES: usize = 4;
const EDGE_MAX: u32 = u16::MAX as u32;
/// Parts of one request: one for each edge, the blocks that are new, and the last one.
const PARTS: usize = EDGES + 2;

/// The conversation's own number in `identity`, so that it is never 0 and no fingerprint is taken for one.
const IDENTIFIED: u64 = 1 << 63;

/// The mean is kept in so many parts of a block, and follows so many requests.
const MEAN_UNIT: u64 = 64;

/// Single words.
#[derive(Clone, Copy)]
enum Hand {
    /// Where the next place for a row is looked for.
    Replace,
    /// Where the next poll begins.
    Poll,
    /// Blocks of a request, on average.
    Mean,
}

const HANDS_COUNT: usize = 3;

/// Words of a row.
mod field {
    /// Conversation id with [`super::IDENTIFIED`], or 1 for a chain; 0 is a free row.
    pub(super) const IDENTITY: usize = 0;
    /// Fingerprint of the last block of its last request.
    pub(super) const TAIL: usize = 1;
    /// Of the last but one; 0 if there is none.
    pub(super) const BEFORE: usize = 2;
    /// When the last request came, in milliseconds, + 1.
    pub(super) const LAST: usize = 3;
    /// Counts, see `Row`.
    pub(super) const COUNTS: usize = 4;
    /// When the standing wish lapses, in milliseconds; 0 is none.
    pub(super) const LAPSE: usize = 5;
    /// `blocks of the last request << 32 | microseconds saved by each`.
    pub(super) const BLOCKS: usize = 6;
    /// How many blocks, from the first on, at least 2, 3, 4 and 5 of its requests asked for; 16 bits each.
    pub(super) const EDGES: usize = 7;
    /// A row is a cache line.
    pub(super) const COUNT: usize = 8;
}

/// That a conversation's blocks be in memory before its next request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wish {
    /// The conversation, as the request said; 0 where it is known by its chain.
    pub conversation: u32,
    /// Its row: the same for the same conversation for as long as the planner knows it.
    pub row: u32,
    /// Fingerprint of the last block of its last request; the blocks to be raised lead up to it, first ones first.
    pub tail: u64,
    /// When half of those that come within the wish's time have come, in milliseconds of the caller's clock.
    pub due_ms: u64,
    /// When the wish is void, in milliseconds of the caller's clock.
    pub lapse_ms: u64,
    /// Probability that the request comes before it lapses.
    pub probability: f32,
    /// Blocks of its last request.
    pub blocks_count: u32,
    /// Of those, how many from the first one on are worth raising.
    pub likely_count: u32,
    /// What it is worth: microseconds saved per block and second of holding it, times the probability. Wishes of one
    /// poll come in this order, the best first.
    pub worth: f32,
}

/// The counts of a row, packed.
#[derive(Clone, Copy, Default)]
struct Row {
    turns_count: u16,
    /// Mean bin of its pauses in eighths + 1; 0 is none yet.
    pace: u8,
    /// Bins of the present silence that it was counted in.
    bins_entered: u8,
    /// Bin + 1 in which it was last looked at.
    bin_seen: u8,
    /// No more wishes before its next request.
    cancelled: bool,
}

impl Row {
    fn unpack(word: u64) -> Self {
        Self {
            turns_count: word as u16,
            pace: (word >> 16) as u8,
            bins_entered: (word >> 32) as u8,
            bin_seen: (word >> 40) as u8,
            cancelled: word >> 48 & 1 != 0,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.turns_count)
            | u64::from(self.pace) << 16
            | u64::from(self.bins_entered) << 32
            | u64::from(self.bin_seen) << 40
            | u64::from(self.cancelled) << 48
    }
}

/// The planner, over words that the caller gives; all-zero knows nothing. One caller at a time. Nothing allocates.
#[derive(Clone, Copy, Debug)]
pub struct Planner<'m> {
    rows: &'m [AtomicU64],
    marks: &'m [AtomicU64],
    life: &'m [AtomicU64],
    hands: &'m [AtomicU64],
    confidence: f32,
}

impl<'m> Planner<'m> {
    /// Words of one conversation: a row and its marks.
    pub const WORDS_EACH: u64 = (field::COUNT + 2 * WAYS) as u64;
    /// Words besides.
    pub const FIXED_WORDS: u64 = (LifeTable::WORDS_COUNT + HANDS_COUNT) as u64;

    /// Words of 8 bytes for a table of so many conversations.
    pub const fn words_count(conversations_count: u32) -> u64 {
        Self::WORDS_EACH * conversations_count as u64 + Self::FIXED_WORDS
    }

    /// A planner over `words`, [`Planner::words_count`] of them; fewer hold fewer conversations. It wishes what comes
    /// with a probability of at least `confidence_permille` thousandths.
    pub fn new(words: &'m [AtomicU64], confidence_permille: u32) -> Self {
        let fixed = (Self::FIXED_WORDS as usize).min(words.len());
        let (fixed, table) = words.split_at(fixed);
        let (hands, life) = fixed.split_at(HANDS_COUNT.min(fixed.len()));
        let count = table.len() / Self::WORDS_EACH as usize;
        let (rows, marks) = table.split_at(count * field::COUNT);
        Self {
            rows,
            marks,
            life,
            hands,
            confidence: confidence_permille as f32 / 1000.0,
        }
    }

    /// The same planner, which wishes what comes with another probability.
    pub fn with_confidence(self, confidence_permille: u32) -> Self {
        Self {
            confidence: confidence_permille as f32 / 1000.0,
            ..self
        }
    }

    fn life(&self) -> LifeTable<'m> {
        LifeTable::new(self.life)
    }

    fn rows_count(&self) -> usize {
        self.rows.len() / field::COUNT
    }

    fn read(&self, row: usize, field: usize) -> u64 {
        // Relaxed, here and below: one writer.
        self.rows
            .get(row * field::COUNT + field)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn write(&self, row: usize, field: usize, value: u64) {
        if let Some(word) = self.rows.get(row * field::COUNT + field) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn marks_of(&self, key: u64) -> &'m [AtomicU64] {
        let sets_count = self.marks.len() / WAYS;
        if sets_count == 0 {
            return &[];
        }
        let set = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % sets_count;
        &self.marks[set * WAYS..(set + 1) * WAYS]
    }

    /// A mark: the upper half of the key, and the row + 1. It is void once the row has none of its keys any more.
    fn find(&self, key: u64) -> Option<usize> {
        self.marks_of(key).iter().find_map(|mark| {
            let mark = mark.load(Ordering::Relaxed);
            let row = (mark & u64::from(u32::MAX)).checked_sub(1)? as usize;
            (mark >> 32 == key >> 32 && self.has(row, key)).then_some(row)
        })
    }

    fn has(&self, row: usize, key: u64) -> bool {
        [field::IDENTITY, field::TAIL, field::BEFORE]
            .iter()
            .any(|&field| self.read(row, field) == key)
    }

    fn mark(&self, key: u64, row: usize) {
        let word = key >> 32 << 32 | (row as u64 + 1);
        let marks = self.marks_of(key);
        let mut oldest: Option<(&AtomicU64, u64)> = None;
        for place in marks {
            let mark = place.load(Ordering::Relaxed);
            let other = (mark & u64::from(u32::MAX)).checked_sub(1).map(|other| other as usize);
            if mark == word || other.is_none_or(|other| !self.may_own(other, mark)) {
                place.store(word, Ordering::Relaxed);
                return;
            }
            let last = other.map_or(0, |other| self.read(other, field::LAST));
            if oldest.is_none_or(|(_, age)| last < age) {
                oldest = Some((place, last));
            }
        }
        if let Some((place, _)) = oldest {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// Whether a row still has a key with the upper half that stands in a mark.
    fn may_own(&self, row: usize, mark: u64) -> bool {
        [field::IDENTITY, field::TAIL, field::BEFORE]
            .iter()
            .any(|&field| self.read(row, field) >> 32 == mark >> 32)
    }

    /// What the last request of a conversation is like, of whose blocks the first so many were known.
    fn shape(&self, row: &Row, known_count: u32, count: u32) -> Shape {
        let new_count = count - known_count;
        let (size, mean) = (u64::from(new_count) * MEAN_UNIT, self.hand(Hand::Mean));
        match (row.turns_count, known_count) {
            (0..=1, 0..=1) if 2 * size <= mean => Shape::Short,
            (0..=1, 0..=1) => Shape::Long,
            (0..=1, _) => Shape::Fork,
            _ if new_count <= count / 4 => Shape::Little,
            _ => Shape::Much,
        }
    }

    /// The parts of a conversation's last request, first ones first: where each begins and ends, and its class.
    fn parts(&self, place: usize, row: &Row) -> [(u32, u32, usize); PARTS] {
        let count = (self.read(place, field::BLOCKS) >> 32) as u32;
        let edges = self.read(place, field::EDGES);
        let pace = row.pace.checked_sub(1);
        let shape = self.shape(row, (edges as u32 & EDGE_MAX).min(count), count);
        let mut parts = [(0, 0, 0); PARTS];
        let mut from = 0;
        for (at, part) in parts.iter_mut().enumerate() {
            let (to, kind) = match at {
                0..EDGES => {
                    let uses = (EDGES - at + 1) as u16;
                    let uses = if at == 0 { row.turns_count.max(uses) } else { uses };
                    (
                        (edges >> (16 * (EDGES - 1 - at))) as u32 & EDGE_MAX,
                        part_used(shape, uses),
                    )
                }
                EDGES => (u32::MAX, part_new(shape)),
                _ => (count, PART_TAIL),
            };
            let to = if kind == PART_TAIL {
                to
            } else {
                to.min(count.saturating_sub(1))
            }
            .max(from);
            *part = (from, to, class_of(kind, pace));
            from = to;
        }
        parts
    }

    /// Counts the parts of a conversation in those bins of its silence that it has entered since it was last counted.
    fn enter_until(&self, place: usize, row: &mut Row, bin: usize) {
        let entered = usize::from(row.bins_entered);
        if entered > bin {
            return;
        }
        if entered == 0 {
            // Its last request is over.
            let (count, mean) = (self.read(place, field::BLOCKS) >> 32, self.hand(Hand::Mean));
            let mean = match mean {
                0 => count * MEAN_UNIT,
                _ => mean - mean / MEAN_UNIT + count,
            };
            self.set_hand(Hand::Mean, mean);
        }
        for (from, to, class) in self.parts(place, row) {
            if from < to {
                (entered..=bin).for_each(|bin| self.life().enter(class, bin, to - from));
            }
        }
        row.bins_entered = bin as u8 + 1;
    }

    /// Counts the parts that a request asked for again: those of which it has the larger half.
    fn come_back(&self, place: usize, row: &Row, bin: usize, known_count: u32) {
        for (from, to, class) in self.parts(place, row) {
            if from < to && known_count > from + (to - from) / 2 {
                self.life().come_back(class, bin, to - from);
            }
        }
    }

    /// As [`Planner::request`] where the conversation that goes on is known by its last blocks alone; `None`, and
    /// nothing is noted, where none does.
    pub(crate) fn resume(&self, now_ms: u64, keys: &[u64], blocks_count: u32, saved_us: u32) -> Option<(u32, bool)> {
        let row = keys.iter().rev().find_map(|&key| self.find(key))?;
        let identity = self.read(row, field::IDENTITY);
        self.note(
            now_ms,
            Some(row),
            identity,
            keys,
            (blocks_count, blocks_count, saved_us),
        )
    }

    /// A block was added to the conversation that ended with `tail`: it is not silent, but this is no request. False if
    /// there is no such conversation.
    pub(crate) fn extend(&self, now_ms: u64, tail: u64, key: u64) -> bool {
        let Some(row) = self.find(tail).filter(|&row| self.read(row, field::TAIL) == tail) else {
            return false;
        };
        self.write(row, field::TAIL, key);
        self.write(row, field::BEFORE, tail);
        self.write(row, field::LAST, now_ms.saturating_add(1));
        self.write(row, field::LAPSE, 0);
        self.write(row, field::BLOCKS, self.read(row, field::BLOCKS).wrapping_add(1 << 32));
        self.mark(key, row);
        true
    }

    /// Notes a request: of the conversation with this id, 0 if it has none, for the blocks with these fingerprints, in
    /// the order of the prompt. The first `known_count` of them were stored before. Each block that is not in memory by
    /// then costs `saved_us` microseconds. Times in milliseconds of any clock that does not go back. Returns
    /// the conversation's row, and whether a wish for it stood.
    pub fn request(
        &self,
        now_ms: u64,
        conversation: u32,
        fingerprints: &[u64],
        known_count: u32,
        saved_us: u32,
    ) -> Option<(u32, bool)> {
        let blocks_count = fingerprints.len().min(u32::MAX as usize) as u32;
        self.begin(
            now_ms,
            conversation,
            fingerprints,
            (blocks_count, known_count, saved_us),
        )
    }

    /// As [`Planner::request`], with the last keys of a request of `blocks_count` blocks.
    pub(crate) fn begin(
        &self,
        now_ms: u64,
        conversation: u32,
        fingerprints: &[u64],
        counts: (u32, u32, u32),
    ) -> Option<(u32, bool)> {
        let identity = match conversation {
            0 => 1,
            id => IDENTIFIED | u64::from(id) << 24,
        };
        let known = match conversation {
            0 => fingerprints.iter().rev().take(LOOK_MAX).find_map(|&key| self.find(key)),
            _ => self.find(identity),
        };
        self.note(now_ms, known, identity, fingerprints, counts)
    }

    /// Writes a request into its row. What comes within a second of the last one belongs to the same turn.
    fn note(
        &self,
        now_ms: u64,
        known: Option<usize>,
        identity: u64,
        keys: &[u64],
        (blocks_count, known_count, saved_us): (u32, u32, u32),
    ) -> Option<(u32, bool)> {
        let (&tail, rest) = keys.split_last()?;
        let before = rest.last().copied().unwrap_or(0);
        let row_place = match known {
            Some(place) => place,
            None => self.replace()?,
        };
        let same_turn = known.is_some() && self.age_ms(row_place, now_ms) < TURN_MS;
        let mut row = Row::unpack(self.read(row_place, field::COUNTS));
        let mut stood = false;
        if same_turn {
            stood = self.read(row_place, field::LAPSE) > now_ms;
        } else if known.is_some() {
            let bin = bin_of(self.age_ms(row_place, now_ms));
            self.enter_until(row_place, &mut row, bin);
            self.come_back(row_place, &row, bin, known_count);
            let pause = (bin * 8).min(usize::from(u8::MAX) - 1) as u8;
            row.pace = 1 + match row.pace.checked_sub(1) {
                Some(mean) => ((u16::from(mean) * 3 + u16::from(pause)) / 4) as u8,
                None => pause,
            };
            stood = self.read(row_place, field::LAPSE) > now_ms;
        } else {
            row = Row::default();
        }
        if !same_turn {
            // Another request asked for what this one has of it.
            let edges = if known.is_some() {
                self.read(row_place, field::EDGES)
            } else {
                0
            };
            let known_count = u64::from(known_count.min(EDGE_MAX));
            let asked = (1..EDGES).fold(known_count, |word, at| {
                let before = edges >> (16 * (at - 1)) & u64::from(EDGE_MAX);
                word | before.min(known_count) << (16 * at)
            });
            self.write(row_place, field::EDGES, asked);
            row.turns_count = row.turns_count.saturating_add(1);
            (row.bins_entered, row.bin_seen, row.cancelled) = (0, 0, false);
        }
        for (field, value) in [
            (field::IDENTITY, identity),
            (field::TAIL, tail),
            (field::BEFORE, before),
            (field::LAST, now_ms.saturating_add(1)),
            (field::COUNTS, row.pack()),
            (field::LAPSE, 0),
            (field::BLOCKS, u64::from(blocks_count) << 32 | u64::from(saved_us)),
        ] {
            self.write(row_place, field, value);
        }
        if identity & IDENTIFIED != 0 {
            self.mark(identity, row_place);
        }
        // A single block is shared by too many prompts to tell conversations apart.
        if before != 0 {
            self.mark(tail, row_place);
            if blocks_count > 2 {
                self.mark(before, row_place);
            }
        }
        Some((row_place as u32, stood))
    }

    fn age_ms(&self, row: usize, now_ms: u64) -> u64 {
        (now_ms + 1).saturating_sub(self.read(row, field::LAST))
    }

    fn hand(&self, hand: Hand) -> u64 {
        self.hands
            .get(hand as usize)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn set_hand(&self, hand: Hand, value: u64) {
        if let Some(word) = self.hands.get(hand as usize) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn turn_hand(&self, hand: Hand, by: usize) -> usize {
        let count = self.rows_count().max(1);
        let from = self.hand(hand) as usize % count;
        self.set_hand(hand, ((from + by) % count) as u64);
        from
    }

    /// A free row, or that of the conversation among a few that has been silent longest.
    fn replace(&self) -> Option<usize> {
        let count = self.rows_count();
        let from = self.turn_hand(Hand::Replace, SAMPLE);
        (0..SAMPLE.min(count))
            .map(|step| (from + step) % count)
            .min_by_key(|&row| self.read(row, field::LAST))
    }

    /// Forgets the wish for a conversation and makes no other before its next request. `fingerprint` is the last block
    /// of its last request where it has no id. False if it is not known.
    pub fn cancel(&self, conversation: u32, fingerprint: u64) -> bool {
        let key = match conversation {
            0 => fingerprint,
            id => IDENTIFIED | u64::from(id) << 24,
        };
        let Some(place) = self.find(key) else { return false };
        let row = Row {
            cancelled: true,
            ..Row::unpack(self.read(place, field::COUNTS))
        };
        self.write(place, field::COUNTS, row.pack());
        self.write(place, field::LAPSE, 0);
        true
    }

    /// Whether the conversation in `row` is still wished as it was when `tail` was its last block.
    pub fn stands(&self, row: u32, tail: u64, now_ms: u64) -> bool {
        let row = row as usize;
        self.read(row, field::TAIL) == tail && self.read(row, field::LAPSE) > now_ms
    }

    /// Looks at some of the silent conversations and writes the wishes that arise into `wishes`, the worthiest first;
    /// returns how many. What finds no room there comes up again at the next poll. Bounded: at most 4096 conversations
    /// are looked at in a call, so that each should have its turn within its bin of silence.
    pub fn poll(&self, now_ms: u64, wishes: &mut [Wish]) -> usize {
        let count = self.rows_count();
        let looked = POLL_ROWS.min(count);
        let from = self.turn_hand(Hand::Poll, looked);
        let mut found = 0;
        for step in 0..looked {
            let place = (from + step) % count;
            if self.read(place, field::IDENTITY) == 0 {
                continue;
            }
            let age_ms = self.age_ms(place, now_ms);
            let bin = bin_of(age_ms);
            let mut row = Row::unpack(self.read(place, field::COUNTS));
            if usize::from(row.bin_seen) == bin + 1 {
                continue;
            }
            self.enter_until(place, &mut row, bin);
            row.bin_seen = bin as u8 + 1;
            self.write(place, field::COUNTS, row.pack());
            if row.cancelled || bin + 1 >= BINS_COUNT {
                continue;
            }
            let bin_end = (bin + 1 + HORIZON_BINS).max(PATIENCE_BIN);
            let stands = self.read(place, field::LAPSE) > now_ms;
            let (mut probability, mut due_age_ms, mut likely_count) = (0.0, age_ms, 0);
            for (from, to, class) in self.parts(place, &row) {
                if from >= to {
                    continue;
                }
                let (chance, due_ms) = self.life().outlook(class, age_ms, bin_end);
                if chance > probability {
                    (probability, due_age_ms) = (chance, due_ms);
                }
                if chance > 0.0 && chance >= self.confidence {
                    likely_count = to;
                }
            }
            if likely_count == 0 {
                let kept = stands && probability >= self.confidence * KEEP;
                let lapse_ms = self.read(place, field::LAPSE);
                self.write(place, field::LAPSE, if kept { lapse_ms } else { 0 });
                continue;
            }
            let blocks = self.read(place, field::BLOCKS);
            let last_ms = self.read(place, field::LAST).saturating_sub(1);
            let identity = self.read(place, field::IDENTITY);
            let held_s = (due_age_ms - age_ms) as f32 / 1000.0 + 1.0;
            let wish = Wish {
                conversation: if identity & IDENTIFIED == 0 {
                    0
                } else {
                    (identity >> 24) as u32
                },
                row: place as u32,
                tail: self.read(place, field::TAIL),
                due_ms: last_ms + due_age_ms,
                // As long as its bin lasts, and a little longer so that the next poll finds it standing.
                lapse_ms: last_ms + edge_ms(bin_end),
                probability,
                blocks_count: (blocks >> 32) as u32,
                likely_count,
                worth: probability * (blocks as u32).max(1) as f32 / held_s,
            };
            let at = wishes[..found].partition_point(|other| other.worth >= wish.worth);
            let dropped = match (found < wishes.len(), at < wishes.len()) {
                (true, _) => {
                    found += 1;
                    None
                }
                (false, true) => Some(wishes[found - 1].row),
                (false, false) => Some(wish.row),
            };
            if at < found {
                wishes[at..found].rotate_right(1);
                wishes[at] = wish;
                self.write(place, field::LAPSE, wish.lapse_ms);
            }
            if let Some(dropped) = dropped {
                let dropped = dropped as usize;
                let row = Row {
                    bin_seen: 0,
                    ..Row::unpack(self.read(dropped, field::COUNTS))
                };
                self.write(dropped, field::COUNTS, row.pack());
                self.write(dropped, field::LAPSE, 0);
            }
        }
        found
    }
}

#[cfg(all(test, not(loom)))]
#[path = "tests.rs"]
mod tests;
