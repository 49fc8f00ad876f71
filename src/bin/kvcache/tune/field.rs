//! The trace, cut: a first part that is searched on, and slices of the rest, which the search does not see.
//!
//! A candidate that is tried on the rest has gone through the first part before, as a cache in use has.

use crate::simulate::Source;
use crate::simulate::stream::{Census, Request, Stream};
use crate::trace::TraceError;

use super::noise::SLICES_MIN;

/// Slices that the rest is cut into.
const SLICES: u64 = 12;
/// Fewest requests of the rest.
const REQUESTS_MIN: u64 = 48;

/// Which part of the trace is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first part alone.
    Searched,
    /// All of it.
    Whole,
}

/// What was counted so far, or in a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blocks of all requests.
    pub accesses: u64,
    /// Those that were there.
    pub hits: u64,
    /// Tokens of all blocks.
    pub tokens: u64,
    /// Those that were there with all blocks before them.
    pub prefix_tokens: u64,
    /// Blocks written to the second tier.
    pub writes: u64,
    /// Blocks raised ahead of use.
    pub raised: u64,
    /// Those given up unused.
    pub wasted: u64,
}

impl Tally {
    /// Adds `other` as often as `times` says, which may be negative.
    fn plus(self, other: Self, sign: fn(u64, u64) -> u64) -> Self {
        Self {
            accesses: sign(self.accesses, other.accesses),
            hits: sign(self.hits, other.hits),
            tokens: sign(self.tokens, other.tokens),
            prefix_tokens: sign(self.prefix_tokens, other.prefix_tokens),
            writes: sign(self.writes, other.writes),
            raised: sign(self.raised, other.raised),
            wasted: sign(self.wasted, other.wasted),
        }
    }

    /// What came since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        self.plus(earlier, u64::saturating_sub)
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        self.plus(other, u64::saturating_add)
    }

    /// Share of the tokens that were there with all before them.
    pub fn prefix_token_hit_ratio(&self) -> f64 {
        share(self.prefix_tokens, self.tokens)
    }

    /// Share of the blocks that were there.
    pub fn block_hit_ratio(&self) -> f64 {
        share(self.hits, self.accesses)
    }

    /// Share of the raised blocks that were given up unused.
    pub fn waste(&self) -> f64 {
        share(self.wasted, self.raised)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What requests go through.
pub trait Runner {
    /// One request.
    fn request(&mut self, request: &Request, fingerprints: &[u64]);

    /// What was counted since the beginning.
    fn tally(&self) -> Tally;
}

/// A trace that is cut.
pub struct Field {
    source: Source,
    /// Tokens of a full block.
    pub block_tokens: u64,
    /// All of it.
    pub all: Census,
    /// The searched part.
    pub searched: Census,
    /// How many requests are through at the end of the searched part, and then of each slice.
    ends: Vec<u64>,
}

impl Field {
    /// Cuts a trace so that `percent` of its blocks are searched. Reads it three times.
    ///
    /// # Errors
    /// What is wrong with a line; a rest that is too short to tell a gain from chance.
    pub fn cut(source: Source, percent: u8, block_tokens: Option<u64>) -> Result<Self, TraceError> {
        let all = Census::take(&source, false)?;
        let searched_accesses = all.accesses * u64::from(percent) / 100;
        let rest = all.accesses - searched_accesses;
        let mut bounds = (0..=SLICES)
            .map(|slice| searched_accesses + rest * slice / SLICES)
            .peekable();
        let mut ends: Vec<u64> = Vec::new();
        let (mut requests, mut accesses) = (0, 0);
        let mut stream = Stream::open(&source)?;
        while let Some(batch) = stream.next()? {
            for (_, fingerprints) in batch.requests() {
                requests += 1;
                accesses += fingerprints.len() as u64;
                // A request may be longer than a slice.
                while bounds.next_if(|bound| *bound <= accesses).is_some() {
                    if ends.last() != Some(&requests) {
                        ends.push(requests);
                    }
                }
            }
        }
        let searched_requests = ends.first().copied().unwrap_or(0);
        let left = requests - searched_requests;
        let slices = ends.len().saturating_sub(1);
        if left < REQUESTS_MIN || slices < SLICES_MIN {
            return Err(TraceError::at(
                &source.path,
                0,
                format!(
                    "too short to hold a part of it out: of {requests} requests {left} are left after the search, in \
                     {slices} slices, and {REQUESTS_MIN} in {SLICES_MIN} are the least that tells a gain from chance; \
                     take a longer trace"
                ),
            ));
        }
        let mut field = Self {
            source,
            block_tokens: block_tokens.unwrap_or(all.block_tokens),
            all,
            searched: Census::default(),
            ends,
        };
        field.searched = Census::take(&field.part(Part::Searched), true)?;
        Ok(field)
    }

    /// Slices of the rest.
    pub fn slices(&self) -> usize {
        self.ends.len() - 1
    }

    fn part(&self, part: Part) -> Source {
        let requests = match part {
            Part::Searched => self.ends[0] as usize,
            Part::Whole => usize::MAX,
        };
        Source {
            requests_max: self.source.from.saturating_add(requests).min(self.source.requests_max),
            ..self.source.clone()
        }
    }

    /// Lets a part's requests go through; returns what was counted in the searched part, and then in each slice.
    ///
    /// # Errors
    /// What is wrong with a line.
    pub fn walk(&self, part: Part, runner: &mut dyn Runner) -> Result<Vec<Tally>, TraceError> {
        let mut stream = Stream::open(&self.part(part))?;
        let mut ends = self.ends.iter().copied().peekable();
        let mut tallies = Vec::new();
        let (mut requests, mut before) = (0, Tally::default());
        while let Some(batch) = stream.next()? {
            for (request, fingerprints) in batch.requests() {
                runner.request(request, fingerprints);
                requests += 1;
                if ends.next_if_eq(&requests).is_some() {
                    let now = runner.tally();
                    tallies.push(now.since(before));
                    before = now;
                }
            }
        }
        Ok(tallies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::KeysName;

    struct Count(Vec<usize>);

    impl Runner for Count {
        fn request(&mut self, _request: &Request, fingerprints: &[u64]) {
            self.0.push(fingerprints.len());
        }

        fn tally(&self) -> Tally {
            Tally {
                accesses: self.0.iter().sum::<usize>() as u64,
                hits: self.0.len() as u64,
                ..Tally::default()
            }
        }
    }

    fn field(name: &str, lengths: &[usize], percent: u8) -> Result<Field, TraceError> {
        let line = |length: &usize| {
            let ids: Vec<usize> = (0..*length).collect();
            format!("{{\"timestamp\":0,\"input_length\":{length},\"output_length\":1,\"hash_ids\":{ids:?}}}\n")
        };
        let text: String = lengths.iter().map(line).collect();
        let path = std::env::temp_dir().join(format!("kvcache-field-{name}-{}.jsonl", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let source = Source {
            path: path.clone(),
            from: 0,
            requests_max: usize::MAX,
            keys: KeysName::Id,
        };
        let field = Field::cut(source, percent, None);
        if let Ok(field) = &field {
            check(field, lengths);
        }
        std::fs::remove_file(path).unwrap();
        field
    }

    /// Every request is in one slice, and the search sees the first part and nothing else.
    fn check(field: &Field, lengths: &[usize]) {
        let mut count = Count(Vec::new());
        let tallies = field.walk(Part::Whole, &mut count).unwrap();
        assert_eq!((&count.0[..], tallies.len()), (lengths, field.slices() + 1));
        let sum = tallies.iter().fold(Tally::default(), |sum, tally| sum.and(*tally));
        assert_eq!(sum, count.tally());
        let mut searched = Count(Vec::new());
        assert_eq!(field.walk(Part::Searched, &mut searched).unwrap(), tallies[..1]);
        assert_eq!(searched.0, lengths[..searched.0.len()]);
        assert_eq!(searched.0.len() as u64, field.searched.requests);
    }

    #[test]
    fn slices_have_about_as_many_blocks_each() {
        let lengths: Vec<usize> = (0..400).map(|place| 1 + place * 7 % 13).collect();
        let even = field("even", &lengths, 60).unwrap();
        assert_eq!(even.slices(), 12);
        let total: usize = lengths.iter().sum();
        let searched = even.searched.accesses as f64 / total as f64;
        assert!((searched - 0.6).abs() < 0.02, "{searched}");
        // One request is longer than several slices together.
        let mut lengths = vec![3; 300];
        lengths[250] = 100;
        let uneven = field("uneven", &lengths, 50).unwrap();
        assert!((SLICES_MIN..12).contains(&uneven.slices()), "{}", uneven.slices());
    }

    #[test]
    fn a_trace_without_a_rest_worth_the_name_is_refused() {
        for (name, lengths) in [
            ("short", vec![5; 100]),
            ("lump", [vec![1; 400], vec![4000], vec![1; 60]].concat()),
        ] {
            let refusal = field(name, &lengths, 60).err().unwrap().to_string();
            assert!(refusal.contains("too short to hold a part of it out"), "{refusal}");
        }
    }
}
