//! From a key to a block: a fixed table that never grows and whose readers never wait.
//!
//! # Shape
//! ```text
//!   bucket b, one cache line                               entries 28 b … 28 b + 27, a cache line each
//!   ┌──────────── 28 tags of 16 bits ────────┬─────┬─────┐   ┌─────┬───────┬─────────┬──────────┐
//!   │ tag │ tag │  0  │ tag │ …              │ ver │ ovf │ → │ key │ state │ recency │ location │
//!   └────────────────────────────────────────┴─────┴─────┘   └─────┴───────┴─────────┴──────────┘
//! ```
//! A key's *home* bucket follows from its hash. Tag `i` of a bucket belongs to entry `i` of the bucket: a tag that is
//! not zero says that the entry is in use and what 16 bits of its key's hash are. So a look-up reads the home bucket,
//! and the entry whose tag is the same: two cache lines, the first out of a table of less than three bytes a block.
//! Only if the bucket has let blocks past (`ovf`, the count of blocks whose way goes past it) does the look-up go on
//! to the next bucket. At 25 blocks to 28 entries one block in twenty lies further on than its home while the table is
//! filled for the first time, and one in five after long use.
//!
//! Which of a bucket's entries a block gets is not left to chance either: claiming begins at a word of tags that
//! follows from the hash, too. So a look-up of one key can ask for the likely entries while the bucket is still on its
//! way, and mostly waits for memory once instead of twice.
//!
//! # Inserting
//! 1. Read the home's version. 2. Search; the key is there: say so. 3. Claim the first free tag on the way and fill the
//!    entry. 4. Move the home's version on, if it is still the one of step 1; else give the entry back and begin again.
//!
//! Two threads that insert the same key have the same home. Of those that read the same version one passes step 4; the
//! others begin again, and then their search meets the first one's entry. So a key is never in the table twice, except
//! in an entry that its inserter is about to give back; such an entry is only reserved and no reader takes it.
//!
//! A tag stays until its entry is free again, also while a removed block is still held by readers.
//!
//! **Progress.** Look-ups are wait-free: each bucket on the way is read once, and the way is bounded by the table.
//! Inserting is lock-free: step 3 repeats only because a neighbour's tag changed, step 4 fails only because another
//! insert with the same home passed it. Vacating is wait-free. A thread that stops between steps 3 and 4 leaves a
//! reserved block behind like any other abandoned reservation; whoever wants the same key is told `Pending`.

use crate::block::entry::{Entry, Phase, State};
use crate::budget::BUCKET_ENTRIES;
use crate::copy::prefetch;
use crate::error::Status;
use crate::key::Key;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many keys a batch looks ahead: enough memory reads in flight to hide most of each one's latency.
const AHEAD: usize = 16;
/// How many keys lie between asking for a bucket and reading it; the rest of [`AHEAD`] hides the entry's latency.
const BUCKET_AHEAD: usize = 4;

/// Words of tags whose entries are fetched together with the bucket when one key is looked up.
const WINDOW_WORDS: usize = 2;

const TAGS: usize = BUCKET_ENTRIES as usize;
const TAG_BITS: usize = 16;
const TAGS_PER_WORD: usize = 64 / TAG_BITS;
const WORDS: usize = TAGS / TAGS_PER_WORD;

/// One in every tag of a word.
const ONES: u64 = 0x0001_0001_0001_0001;
const HIGHS: u64 = ONES << (TAG_BITS - 1);

/// A bucket of the index.
#[repr(C)]
#[cfg_attr(not(loom), repr(align(64)))]
pub(crate) struct Bucket {
    tags: [AtomicU64; WORDS],
    version: AtomicU32,
    overflow: AtomicU32,
}

#[cfg(not(loom))]
static_assertions::assert_eq_size!(Bucket, [u8; 64]);

impl Bucket {
    /// An empty bucket.
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            tags: core::array::from_fn(|_| AtomicU64::new(0)),
            version: AtomicU32::new(0),
            overflow: AtomicU32::new(0),
        }
    }

    /// Which tags are `tag`: bit `16 * t + w` for tag `t` of word `w`.
    #[inline]
    fn candidates(&self, tag: u16) -> Candidates {
        let pattern = ONES * u64::from(tag);
        let mut mask = 0;
        for (word, tags) in self.tags.iter().enumerate() {
            // Acquire: partner is the release in `claim`, for the entry behind the tag.
            let different = tags.load(Ordering::Acquire) ^ pattern;
            // The high bit of each tag that is zero, exactly (Warren, "Hacker's Delight", 6-1).
            let same = !(((different & !HIGHS) + !HIGHS) | different) & HIGHS;
            mask |= same >> (TAG_BITS - 1 - word);
        }
        Candidates(mask)
    }
}

/// Tags of a bucket that match, and so entries to look at.
#[derive(Clone, Copy)]
struct Candidates(u64);

impl Iterator for Candidates {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit % TAG_BITS * TAGS_PER_WORD + bit / TAG_BITS)
    }
}

/// A block found under a key, and the state in which it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) index: u32,
    pub(crate) state: State,
}

/// Where a key's way begins, and the tag that it looks for.
#[derive(Clone, Copy)]
struct Home {
    bucket: u32,
    tag: u16,
    /// The word of tags whose entries are tried first.
    first: u16,
}

/// The index over borrowed buckets and entries.
pub(crate) struct Index<'m> {
    buckets: &'m [Bucket],
    entries: &'m [Entry],
    seed: u64,
}

impl<'m> Index<'m> {
    /// An index; all-zero buckets are empty. There are [`BUCKET_ENTRIES`] entries to a bucket.
    pub(crate) fn new(buckets: &'m [Bucket], entries: &'m [Entry], seed: u64) -> Self {
        debug_assert_eq!(buckets.len() * TAGS, entries.len());
        Self { buckets, entries, seed }
    }

    #[inline]
    fn home(&self, key: &Key) -> Home {
        let hash = key.fingerprint(self.seed);
        Home {
            // The high bits choose the bucket by multiplication, which spreads over any count.
            bucket: ((u128::from(hash) * self.buckets.len() as u128) >> 64) as u32,
            tag: (hash as u16).max(1),
            first: (((hash as u32 >> 16) * WORDS as u32) >> 16) as u16,
        }
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() {
            0
        } else {
            bucket + 1
        }
    }

    /// The block under the key, in memory or below.
    #[inline]
    pub(crate) fn find(&self, key: &Key) -> Option<Found> {
        let home = self.home(key);
        self.prefetch_buckets(home);
        for step in 0..WINDOW_WORDS {
            let word = (usize::from(home.first) + step) % WORDS;
            let first = home.bucket as usize * TAGS + word * TAGS_PER_WORD;
            for entry in &self.entries[first..first + TAGS_PER_WORD] {
                prefetch(&raw const *entry);
            }
        }
        self.check(key, home, self.candidate(home))
    }

    #[inline]
    fn prefetch_buckets(&self, home: Home) {
        prefetch(&raw const self.buckets[home.bucket as usize]);
        prefetch(&raw const self.buckets[self.next(home.bucket as usize)]);
    }

    /// The first entry on the way with the key's tag, as index + 1; 0 for none.
    #[inline]
    fn candidate(&self, home: Home) -> u32 {
        let mut at = home.bucket as usize;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            if let Some(place) = bucket.candidates(home.tag).next() {
                return (at * TAGS + place + 1) as u32;
            }
            // Acquire: see `search`.
            if bucket.overflow.load(Ordering::Acquire) == 0 {
                return 0;
            }
            at = self.next(at);
        }
        0
    }

    /// Finishes a look-up whose first candidate is known.
    #[inline]
    fn check(&self, key: &Key, home: Home, candidate: u32) -> Option<Found> {
        let index = candidate.checked_sub(1)?;
        match self.entries[index as usize].known_as(&key.words()) {
            Some(state) => Some(Found { index, state }),
            None => self.find_beyond(key, home),
        }
    }

    /// Looks on behind the home bucket.
    #[cold]
    #[inline(never)]
    fn find_beyond(&self, key: &Key, home: Home) -> Option<Found> {
        let words = key.words();
        self.search(home, |index| {
            let state = self.entries[index as usize].known_as(&words)?;
            Some(Found { index, state })
        })
    }

    /// Looks `keys` up side by side and shows what is found under each, in order, until `show` answers false.
    #[inline]
    pub(crate) fn find_each(&self, keys: &[Key], mut show: impl FnMut(Option<Found>) -> bool) {
        if let [key] = keys {
            show(self.find(key));
            return;
        }
        // A slot is used again once its key was checked: as many as there are keys between the first and the last step.
        let mut ring = [(
            Home {
                bucket: 0,
                tag: 0,
                first: 0,
            },
            0,
        ); AHEAD];
        for step in 0..keys.len() + AHEAD {
            if let Some(at) = step.checked_sub(AHEAD) {
                let (home, candidate) = ring[at % AHEAD];
                if !show(self.check(&keys[at], home, candidate)) {
                    return;
                }
            }
            if let Some(key) = keys.get(step) {
                let home = self.home(key);
                self.prefetch_buckets(home);
                ring[step % AHEAD].0 = home;
            }
            if let Some(at) = step.checked_sub(BUCKET_AHEAD).filter(|&at| at < keys.len()) {
                let (home, candidate) = &mut ring[at % AHEAD];
                *candidate = self.candidate(*home);
                if let Some(entry) = self.entries.get((*candidate as usize).wrapping_sub(1)) {
                    prefetch(&raw const *entry);
                }
            }
        }
    }

    /// Calls `ask` for each block on the way whose tag matches, until it answers.
    fn search<T>(&self, home: Home, mut ask: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mut at = home.bucket as usize;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            for place in bucket.candidates(home.tag) {
                if let Some(answer) = ask((at * TAGS + place) as u32) {
                    return Some(answer);
                }
            }
            // Acquire: partner is the release in `claim`, which counts a block past before its tag can be seen.
            if bucket.overflow.load(Ordering::Acquire) == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// The block under the key for one who removes it: readable, or condemned and perhaps readable again soon.
    pub(crate) fn find_removable(&self, key: &Key) -> Option<Found> {
        let words = key.words();
        self.search(self.home(key), |index| {
            let entry = &self.entries[index as usize];
            let state = entry.state();
            // Should the block have become another one since, then its state has another generation, and removing
            // fails.
            (state.is_removable() && entry.key_is(&words)).then_some(Found { index, state })
        })
    }

    /// The entry with the key, in whatever phase, that is as `ask` says. Only for who knows that such an entry is not
    /// freed in the meantime.
    pub(crate) fn find_where(&self, key: &Key, mut ask: impl FnMut(u32, State) -> bool) -> Option<u32> {
        let words = key.words();
        self.search(self.home(key), |index| {
            let entry = &self.entries[index as usize];
            let state = entry.state();
            (entry.key_is(&words) && ask(index, state)).then_some(index)
        })
    }

    /// Whether an entry other than `except` had the key, was removed, and is as `ask` says.
    pub(crate) fn any_removed(&self, key: &Key, except: u32, mut ask: impl FnMut(u32, State) -> bool) -> bool {
        let words = key.words();
        let found = self.search(self.home(key), |index| {
            let entry = &self.entries[index as usize];
            let state = entry.state();
            let removed = index != except && state.phase() == Phase::Removed && entry.key_is(&words);
            (removed && ask(index, state)).then_some(())
        });
        found.is_some()
    }

    /// What stands in the way of inserting the key: [`Status::Exists`], or [`Status::Pending`] if it is on its way in
    /// or perhaps out.
    pub(crate) fn occupied(&self, key: &Key) -> Option<Status> {
        self.occupied_from(key, self.home(key))
    }

    fn occupied_from(&self, key: &Key, home: Home) -> Option<Status> {
        let words = key.words();
        self.search(home, |index| {
            let entry = &self.entries[index as usize];
            // A block that takes a step of its life between the two looks, from reserved to resident say, is still in
            // the way: look again. Lock-free: a repetition is somebody else's step.
            let (state, same_key) = loop {
                let state = entry.state();
                let same_key = entry.key_is(&words);
                if entry.unchanged_since(state) {
                    break (state, same_key);
                }
            };
            match state.phase() {
                _ if !same_key => None,
                Phase::Resident | Phase::Below | Phase::Raising => Some(Status::Exists),
                Phase::Reserved | Phase::Claimed | Phase::Condemned | Phase::Doomed => Some(Status::Pending),
                Phase::Removed | Phase::Free => None,
            }
        })
    }

    /// Enters the key: claims a free entry on its way, lets `fill` reserve it, and returns both.
    ///
    /// # Errors
    /// As [`Index::occupied`]; [`Status::Again`] if there is no free entry. Nothing is entered then.
    pub(crate) fn insert(&self, key: &Key, fill: impl Fn(&Entry, u32) -> State) -> Result<Found, Status> {
        let home = self.home(key);
        let version_word = &self.buckets[home.bucket as usize].version;
        loop {
            // Acquire: partner is the release of the exchange below; whoever moved the version on had filled its entry.
            let version = version_word.load(Ordering::Acquire);
            if let Some(status) = self.occupied_from(key, home) {
                return Err(status);
            }
            let index = self.claim(home).ok_or(Status::Again)?;
            let entry = &self.entries[index as usize];
            let state = fill(entry, index);
            // AcqRel: release publishes the entry to those that read the new version; acquire, with the failure
            // ordering, is for the next round's search.
            if version_word
                .compare_exchange(version, version.wrapping_add(1), Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return Ok(Found { index, state });
            }
            let freed = entry.free(state.generation(), Phase::Reserved);
            debug_assert!(freed, "nobody else knows the entry");
            self.vacate_from(home, index);
        }
    }

    /// Puts the tag into the first free place on the way; the entry is the caller's then.
    fn claim(&self, home: Home) -> Option<u32> {
        let mut at = home.bucket as usize;
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            for step in 0..WORDS {
                let word = (usize::from(home.first) + step) % WORDS;
                let tags = &bucket.tags[word];
                // Relaxed: the exchange decides.
                let mut seen = tags.load(Ordering::Relaxed);
                // The lowest tag that is zero is found exactly even by the short form of the test.
                while let free @ 1.. = seen.wrapping_sub(ONES) & !seen & HIGHS {
                    let tag = free.trailing_zeros() as usize / TAG_BITS;
                    let taken = seen | u64::from(home.tag) << (tag * TAG_BITS);
                    // AcqRel: acquire takes the entry over from `vacate`; release carries the counts of this way's full
                    // buckets along, for `search` and `candidates`.
                    match tags.compare_exchange_weak(seen, taken, Ordering::AcqRel, Ordering::Relaxed) {
                        Ok(_) => return Some((at * TAGS + word * TAGS_PER_WORD + tag) as u32),
                        Err(now) => seen = now,
                    }
                }
            }
            // Counted past before a tag further on can be seen. Release: partner is the acquire in `search`.
            bucket.overflow.fetch_add(1, Ordering::Release);
            at = self.next(at);
        }
        self.uncount(home.bucket as usize, self.buckets.len());
        None
    }

    /// Gives block `index`, which is free, back to whoever inserts next.
    pub(crate) fn vacate(&self, key: &Key, index: u32) {
        self.vacate_from(self.home(key), index);
    }

    fn vacate_from(&self, home: Home, index: u32) {
        let (at, place) = (index as usize / TAGS, index as usize % TAGS);
        let shift = place % TAGS_PER_WORD * TAG_BITS;
        // Release: partner is the acquire in `claim`: hands the free entry over, and orders the tag's end before the
        // counts go down below.
        self.buckets[at].tags[place / TAGS_PER_WORD].fetch_and(!(0xFFFF << shift), Ordering::Release);
        let first = home.bucket as usize;
        self.uncount(first, (at + self.buckets.len() - first) % self.buckets.len());
    }

    fn uncount(&self, first: usize, passed: usize) {
        let mut at = first;
        for _ in 0..passed {
            // Release: partner is the acquire in `search`: who reads the lower count needs nothing further on.
            self.buckets[at].overflow.fetch_sub(1, Ordering::Release);
            at = self.next(at);
        }
    }

    /// Shows every entry that is in use.
    pub(crate) fn each_used(&self, mut show: impl FnMut(u32)) {
        for (at, bucket) in self.buckets.iter().enumerate() {
            for (word, tags) in bucket.tags.iter().enumerate() {
                // Acquire: partner is the release in `claim`.
                let tags = tags.load(Ordering::Acquire);
                for tag in 0..TAGS_PER_WORD {
                    if (tags >> (tag * TAG_BITS)) as u16 != 0 {
                        show((at * TAGS + word * TAGS_PER_WORD + tag) as u32);
                    }
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::vec::Vec;

    const BUCKETS: usize = 20;
    /// More than the plan ever lets in, so that ways are long.
    const BLOCKS: usize = BUCKETS * TAGS - 5;

    fn key(number: u64) -> Key {
        Key::from_words([number, 1, 2, 3])
    }

    #[test]
    fn candidates_are_exactly_the_equal_tags() {
        let bucket = Bucket::new();
        let tags: [u16; TAGS] = core::array::from_fn(|at| match at % 5 {
            0 => 0x8000,
            1 => 1,
            2 => 0x7FFF,
            3 => 0,
            _ => 0xFFFF,
        });
        for (at, &tag) in tags.iter().enumerate() {
            bucket.tags[at / TAGS_PER_WORD]
                .fetch_or(u64::from(tag) << (at % TAGS_PER_WORD * TAG_BITS), Ordering::Relaxed);
        }
        for tag in [1, 2, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF] {
            let mut found: Vec<usize> = bucket.candidates(tag).collect();
            found.sort_unstable();
            let same: Vec<usize> = (0..TAGS).filter(|&at| tags[at] == tag).collect();
            assert_eq!(found, same, "tag {tag:#x}");
        }
    }

    /// A full table, filled, thinned out and filled again, against a hash map.
    #[test]
    fn agrees_with_a_map() {
        let buckets: Vec<Bucket> = (0..BUCKETS).map(|_| Bucket::new()).collect();
        let entries: Vec<Entry> = (0..BUCKETS * TAGS).map(|_| Entry::new()).collect();
        let index = Index::new(&buckets, &entries, 7);
        let mut model: HashMap<u64, u32> = HashMap::new();
        let mut random = 1_u64;
        let mut passed = 0;
        for step in 0..40_000_u64 {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let number = (random >> 33) % 900;
            let key = key(number);
            if random >> 62 != 0 && model.len() < BLOCKS {
                match index.insert(&key, |entry, _| entry.reserve(&key.words(), 0, 1)) {
                    Ok(found) => {
                        assert!(entries[found.index as usize].commit(found.state.generation(), 1, step));
                        assert_eq!(model.insert(number, found.index), None);
                    }
                    Err(status) => {
                        assert_eq!(status, Status::Exists);
                        assert!(model.contains_key(&number));
                    }
                }
            } else if let Some(at) = model.remove(&number) {
                let generation = entries[at as usize].state().generation();
                assert!(entries[at as usize].claim(generation, Phase::Resident));
                assert_eq!(index.occupied(&key), Some(Status::Pending));
                assert!(entries[at as usize].remove(generation, Phase::Claimed));
                assert_eq!(index.occupied(&key), None);
                assert!(entries[at as usize].free(generation, Phase::Removed));
                index.vacate(&key, at);
            }
            assert_eq!(index.find(&key).map(|found| found.index), model.get(&number).copied());
            passed += u64::from(buckets.iter().any(|bucket| bucket.overflow.load(Ordering::Relaxed) > 0));
        }
        assert!(
            passed > 1000,
            "the table was never full enough to test what lies past its home"
        );
        let keys: Vec<Key> = (0..900).map(key).collect();
        let mut number = 0;
        index.find_each(&keys, |found| {
            assert_eq!(found.map(|found| found.index), model.get(&number).copied());
            number += 1;
            true
        });
        assert_eq!(number, 900);
        let mut used: Vec<u32> = Vec::new();
        index.each_used(|at| used.push(at));
        let mut known: Vec<u32> = model.values().copied().collect();
        known.sort_unstable();
        assert_eq!(used, known);
        for (&number, &at) in &model {
            let generation = entries[at as usize].state().generation();
            assert!(entries[at as usize].free(generation, Phase::Resident));
            index.vacate(&key(number), at);
        }
        assert!(buckets.iter().all(|bucket| bucket.overflow.load(Ordering::Relaxed) == 0
            && bucket.tags.iter().all(|tags| tags.load(Ordering::Relaxed) == 0)));
    }

    #[test]
    fn a_table_without_a_free_entry_says_so_and_forgets_the_attempt() {
        let buckets: Vec<Bucket> = (0..2).map(|_| Bucket::new()).collect();
        let entries: Vec<Entry> = (0..2 * TAGS).map(|_| Entry::new()).collect();
        let index = Index::new(&buckets, &entries, 7);
        let enter = |number| {
            let key = key(number);
            index.insert(&key, |entry, _| entry.reserve(&key.words(), 0, 1))
        };
        let all: Vec<Found> = (0..2 * TAGS as u64).map(|number| enter(number).unwrap()).collect();
        assert_eq!(enter(1000).unwrap_err(), Status::Again);
        for (number, found) in all.iter().enumerate() {
            assert!(entries[found.index as usize].free(found.state.generation(), Phase::Reserved));
            index.vacate(&key(number as u64), found.index);
        }
        assert!(
            buckets
                .iter()
                .all(|bucket| bucket.overflow.load(Ordering::Relaxed) == 0)
        );
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use std::vec::Vec;

    type Table = (Vec<Bucket>, Vec<Entry>);

    fn table() -> Arc<Table> {
        Arc::new((
            (0..1).map(|_| Bucket::new()).collect(),
            (0..TAGS).map(|_| Entry::new()).collect(),
        ))
    }

    fn enter(table: &Table, key: &Key) -> Result<Found, Status> {
        Index::new(&table.0, &table.1, 0).insert(key, |entry, _| entry.reserve(&key.words(), 0, 1))
    }

    /// Another key that agrees with `key` in some bits of the hash: in the lowest 16, the tag, or in bits 24 to 31,
    /// which say where in the bucket its way begins.
    fn like(key: &Key, bits: u32) -> Key {
        let same = |other: &Key| (other.fingerprint(0) ^ key.fingerprint(0)) as u32 & bits == 0;
        let mut others = (0..).map(|number| Key::from_words([number, 2, 2, 2]));
        others.find(same).unwrap()
    }

    /// Two threads insert the same key: one gets in, and a reader never finds two.
    #[test]
    fn a_key_gets_in_once() {
        loom::model(|| {
            let shared = table();
            let insert = |shared: &Table| {
                let key = Key::from_words([1, 2, 3, 4]);
                let Ok(found) = enter(shared, &key) else { return false };
                assert!(shared.1[found.index as usize].commit(found.state.generation(), 1, 0));
                let index = Index::new(&shared.0, &shared.1, 0);
                assert_eq!(index.find(&key).unwrap().index, found.index);
                true
            };
            let other = {
                let shared = shared.clone();
                loom::thread::spawn(move || insert(&shared))
            };
            let mine = insert(&shared);
            let theirs = other.join().unwrap();
            assert!(mine != theirs, "one and only one gets in");
            let mut used = 0;
            Index::new(&shared.0, &shared.1, 0).each_used(|_| used += 1);
            assert_eq!(used, 1);
        });
    }

    /// A reader beside a remover and reinserter of another key never takes the wrong block for its own.
    #[test]
    fn a_reused_entry_is_never_taken_for_the_old_one() {
        let old = Key::from_words([1, 1, 1, 1]);
        let new = like(&old, 0xFF00_0000);
        loom::model(move || {
            let shared = table();
            let first = enter(&shared, &old).unwrap();
            assert!(shared.1[first.index as usize].commit(first.state.generation(), 1, 0));
            let reader = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    let index = Index::new(&shared.0, &shared.1, 0);
                    if let Some(found) = index.find(&old) {
                        assert_eq!(found.state.generation(), 1, "the new block under the old key");
                    }
                })
            };
            assert!(shared.1[first.index as usize].condemn(1));
            assert!(shared.1[first.index as usize].free(1, Phase::Condemned));
            Index::new(&shared.0, &shared.1, 0).vacate(&old, first.index);
            let second = enter(&shared, &new).unwrap();
            assert_eq!(second.index, first.index, "the place is reused");
            assert!(shared.1[second.index as usize].commit(second.state.generation(), 1, 0));
            reader.join().unwrap();
        });
    }

    /// A reader that looks for the next key of an entry, whose tag is that of the last one, does not find it in the
    /// last one's life.
    #[test]
    fn a_key_is_not_found_in_the_life_before_its_own() {
        let old = Key::from_words([1, 1, 1, 1]);
        let new = like(&old, 0xFF00_FFFF);
        loom::model(move || {
            let shared = table();
            let first = enter(&shared, &old).unwrap();
            assert!(shared.1[first.index as usize].commit(first.state.generation(), 1, 0));
            let reader = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    let index = Index::new(&shared.0, &shared.1, 0);
                    if let Some(found) = index.find(&new) {
                        assert_eq!(found.state.generation(), 2, "a key that was not there yet");
                    }
                })
            };
            assert!(shared.1[first.index as usize].claim(1, Phase::Resident));
            assert!(shared.1[first.index as usize].free(1, Phase::Claimed));
            Index::new(&shared.0, &shared.1, 0).vacate(&old, first.index);
            let second = enter(&shared, &new).unwrap();
            assert_eq!(second.index, first.index, "the place is reused");
            reader.join().unwrap();
        });
    }
}
