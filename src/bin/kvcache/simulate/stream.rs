//! A trace as the simulations take it: in batches of requests, numbers of blocks already made fingerprints.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::PathBuf;

use crate::replay::KeysName;
use crate::trace::{Line, Reader, TraceError, block_tokens};

/// Accesses of a batch, at least: so many that neither the clock nor the change between reading and simulating counts,
/// and so few that a batch stays in the caches next to the processor.
pub const BATCH_ACCESSES: usize = 1 << 14;

/// Block numbers below this are counted in a map of bits, 16 MiB at most.
const DENSE_MAX: u64 = 1 << 27;

/// Which part of which trace.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Requests passed over first.
    pub from: usize,
    /// Requests read, those passed over included.
    pub requests_max: usize,
    /// How numbers become keys.
    pub keys: KeysName,
}

/// One request of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    first: usize,
    count: usize,
    /// When it came: milliseconds from the start.
    pub time_ms: u64,
    /// The conversation, from 1; 0 is none.
    pub conversation: u32,
    input_tokens: u64,
}

impl Request {
    /// The request of a line, by itself.
    pub fn of(line: &Line) -> Self {
        Self {
            first: 0,
            count: line.hash_ids.len(),
            // The conversion saturates, and makes 0 of what is negative.
            time_ms: line.timestamp as u64,
            conversation: line.session.map_or(0, conversation),
            input_tokens: line.input_length,
        }
    }

    /// Tokens of the block at `place`, where full blocks have `block_tokens`: the last one has what is left.
    pub fn tokens(&self, place: usize, block_tokens: u64) -> u64 {
        if place + 1 < self.count {
            return block_tokens;
        }
        let before = block_tokens.saturating_mul(place as u64);
        self.input_tokens.saturating_sub(before).clamp(1, block_tokens)
    }
}

/// Some requests in order.
#[derive(Debug, Default)]
pub struct Batch {
    fingerprints: Vec<u64>,
    requests: Vec<Request>,
}

impl Batch {
    /// The requests, each with the fingerprints of its blocks, in order.
    pub fn requests(&self) -> impl Iterator<Item = (&Request, &[u64])> {
        self.requests.iter().map(|request| {
            (
                request,
                &self.fingerprints[request.first..request.first + request.count],
            )
        })
    }

    fn clear(&mut self) {
        self.fingerprints.clear();
        self.requests.clear();
    }

    fn push(&mut self, line: &Line, keys: KeysName) {
        let first = self.fingerprints.len();
        match keys {
            KeysName::Id => self
                .fingerprints
                .extend(line.hash_ids.iter().map(|&id| fingerprint(id))),
            KeysName::Chain => {
                let mut before = 0;
                self.fingerprints.extend(line.hash_ids.iter().map(|&id| {
                    before = fingerprint(fingerprint(id) ^ before);
                    before
                }));
            }
        }
        self.requests.push(Request {
            first,
            ..Request::of(line)
        });
    }
}

/// A number's fingerprint: the last steps of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", OOPSLA 2014), which are a bijection, but for 0, which means none.
fn fingerprint(id: u64) -> u64 {
    let mut mixed = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).max(1)
}

/// Small numbers stay what they are, from 1; others are folded.
fn conversation(session: u64) -> u32 {
    match u32::try_from(session) {
        Ok(session) if session < u32::MAX => session + 1,
        _ => (fingerprint(session) as u32).max(1),
    }
}

/// A trace that is read in batches. What it holds is bounded by a batch and the longest request.
pub struct Stream {
    reader: Reader,
    line: Line,
    batch: Batch,
    keys: KeysName,
    skip: usize,
    left: usize,
}

impl Stream {
    /// Opens a trace.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn open(source: &Source) -> Result<Self, TraceError> {
        Ok(Self {
            reader: Reader::open(&source.path)?,
            line: Line::default(),
            batch: Batch::default(),
            keys: source.keys,
            skip: source.from,
            left: source.requests_max.saturating_sub(source.from),
        })
    }

    /// The next requests: all that is left, or as many as have [`BATCH_ACCESSES`] blocks. `None` at the end.
    ///
    /// # Errors
    /// What is wrong with a line, with its number.
    pub fn next(&mut self) -> Result<Option<&Batch>, TraceError> {
        self.batch.clear();
        while self.batch.fingerprints.len() < BATCH_ACCESSES && self.next_line()? {
            self.batch.push(&self.line, self.keys);
        }
        Ok((!self.batch.requests.is_empty()).then_some(&self.batch))
    }

    fn next_line(&mut self) -> Result<bool, TraceError> {
        while self.skip > 0 {
            self.skip -= 1;
            if !self.reader.read(&mut self.line)? {
                return Ok(false);
            }
        }
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        self.reader.read(&mut self.line)
    }
}

/// What a first pass over a trace finds out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Requests.
    pub requests: u64,
    /// Blocks of all requests.
    pub accesses: u64,
    /// Different blocks, if they were counted.
    pub unique: Option<u64>,
    /// Tokens of a full block: traces do not say, but it is the power of two nearest to what requests have on average.
    pub block_tokens: u64,
}

impl Census {
    /// Goes through a trace once. Counting different blocks takes memory for all of them: a bit each where their
    /// numbers are small, else up to 18 bytes each.
    ///
    /// # Errors
    /// What is wrong with a line, with its number; a trace without any block.
    pub fn take(source: &Source, count_unique: bool) -> Result<Self, TraceError> {
        let mut stream = Stream::open(source)?;
        let mut census = Self::default();
        let mut unique = Unique::default();
        let mut tokens = 0_u64;
        let mut chained = Batch::default();
        while stream.next_line()? {
            let line = &stream.line;
            census.requests += 1;
            census.accesses += line.hash_ids.len() as u64;
            tokens = tokens.saturating_add(line.input_length);
            if !count_unique {
                continue;
            }
            match source.keys {
                KeysName::Id => line.hash_ids.iter().for_each(|&id| unique.add(id)),
                KeysName::Chain => {
                    chained.clear();
                    chained.push(line, source.keys);
                    chained.fingerprints.iter().for_each(|&key| unique.add(key));
                }
            }
        }
        if census.accesses == 0 {
            return Err(TraceError::at(&source.path, 0, "there is no block in this trace"));
        }
        census.unique = count_unique.then(|| unique.count());
        census.block_tokens = block_tokens(tokens, census.accesses);
        Ok(census)
    }
}

/// Counts different numbers.
#[derive(Default)]
struct Unique {
    dense: Vec<u64>,
    dense_count: u64,
    sparse: HashSet<u64, BuildHasherDefault<Mixed>>,
}

impl Unique {
    fn add(&mut self, number: u64) {
        if number >= DENSE_MAX {
            self.sparse.insert(number);
            return;
        }
        let (word, bit) = ((number / 64) as usize, 1_u64 << (number % 64));
        if word >= self.dense.len() {
            self.dense.resize((word + 1).next_power_of_two(), 0);
        }
        self.dense_count += u64::from(self.dense[word] & bit == 0);
        self.dense[word] |= bit;
    }

    fn count(&self) -> u64 {
        self.dense_count + self.sparse.len() as u64
    }
}

/// The hash of a number is its fingerprint.
#[derive(Default)]
pub struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = fingerprint(self.0 ^ number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ids: &[u64], input_length: u64) -> Line {
        Line {
            timestamp: -3.0,
            input_length,
            hash_ids: ids.to_vec(),
            session: Some(0),
            ..Line::default()
        }
    }

    #[test]
    fn numbers_are_counted_once_wherever_they_lie() {
        let mut unique = Unique::default();
        let numbers = [0, 1, 63, 64, DENSE_MAX - 1, DENSE_MAX, u64::MAX];
        for (count, number) in (1..).zip(numbers) {
            unique.add(number);
            unique.add(number);
            assert_eq!(unique.count(), count);
        }
        numbers.into_iter().for_each(|number| unique.add(number));
        assert_eq!(unique.count(), 7);
    }

    #[test]
    fn a_batch_tells_chains_apart_only_where_it_is_asked_to() {
        for (keys, same) in [(KeysName::Id, true), (KeysName::Chain, false)] {
            let mut batch = Batch::default();
            batch.push(&line(&[1, 2, 3], 1100), keys);
            batch.push(&line(&[9, 2], 1024), keys);
            let requests: Vec<_> = batch.requests().collect();
            let [(first, ids), (_, others)] = requests[..] else {
                panic!("two requests");
            };
            assert_eq!((ids.len(), others.len()), (3, 2));
            assert_eq!(ids[1] == others[1], same);
            assert!(ids[0] != ids[1] && ids[0] != others[0]);
            assert_eq!([0, 1, 2].map(|place| first.tokens(place, 512)), [512, 512, 76]);
            assert_eq!((first.time_ms, first.conversation), (0, 1));
        }
    }

    #[test]
    fn conversations_are_never_none() {
        assert_eq!([0, 7, u64::from(u32::MAX) - 1].map(conversation), [1, 8, u32::MAX]);
        assert!(conversation(u64::from(u32::MAX)) != 0 && conversation(u64::MAX) != 0);
    }

    #[test]
    fn memory_is_bounded_by_a_batch_and_a_request() {
        const REQUESTS: usize = 4000;
        const BLOCKS: usize = 100;
        let text: String = (0..REQUESTS)
            .map(|first| {
                let ids: Vec<usize> = (first..first + BLOCKS).collect();
                format!("{{\"timestamp\":{first},\"input_length\":1,\"output_length\":1,\"hash_ids\":{ids:?}}}\n")
            })
            .collect();
        let path = std::env::temp_dir().join(format!("kvcache-stream-{}.jsonl", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let source = Source {
            path: path.clone(),
            from: 3,
            requests_max: usize::MAX,
            keys: KeysName::Id,
        };
        let mut stream = Stream::open(&source).unwrap();
        let (mut requests, mut accesses) = (0, 0);
        while let Some(batch) = stream.next().unwrap() {
            for (request, fingerprints) in batch.requests() {
                assert_eq!(request.time_ms as usize, requests + 3);
                requests += 1;
                accesses += fingerprints.len();
            }
            assert!(batch.fingerprints.capacity() <= 2 * (BATCH_ACCESSES + BLOCKS));
        }
        std::fs::remove_file(path).unwrap();
        assert_eq!((requests, accesses), (REQUESTS - 3, (REQUESTS - 3) * BLOCKS));
    }
}
