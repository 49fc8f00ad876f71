//! One or two tiers of nothing but metadata, and the requests of a trace through them.
//!
//! All blocks of a request are looked up at once; hits are noted; then what is missing is inserted, in order. With a
//! second tier, what the first one gives up is written to the second if it is not there and the admission takes it, and
//! what hits in the second is copied up and stays below (lazy copy). A hit in the first tier is noted in the second,
//! too: that is one entry in the engine.

use std::time::Instant;

use kvcache::policy::{Access, Shadow};

use super::admission::{Admission, Found};
use super::prefetch::{Ahead, Counts, Missed};
use super::score::Score;
use super::stream::{Batch, Request};
use crate::latency::Latency;

/// Accesses that are timed together, at least.
const TIMED_ACCESSES: usize = 1 << 10;

/// The second tier.
struct Below<'m> {
    shadow: Shadow<'m>,
    admission: Box<dyn Admission>,
    /// What is at each place of the first tier.
    near: Vec<Access>,
    hits: u64,
    writes: u64,
    now_ms: u64,
}

/// What the second tier counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BelowCounts {
    /// Blocks that hit here and not in the first tier.
    pub hits: u64,
    /// Blocks written.
    pub writes: u64,
}

/// What prefetch is told of requests once they are through.
struct Log {
    ahead: Ahead,
    /// Blocks that the first tier did not have, and those that it gave up.
    missed: Vec<Missed>,
    gone: Vec<u64>,
    /// Per request, where it ends in both.
    ends: Vec<(usize, usize)>,
}

/// Tiers that requests go through.
pub struct Tiers<'m> {
    near: Shadow<'m>,
    below: Option<Below<'m>>,
    log: Option<Log>,
    block_tokens: u64,
    /// Where each block of the request in hand was.
    found: Vec<(Found, u32)>,
    /// Its blocks that are not in the first tier.
    missing: Vec<u64>,
    score: Score,
    /// In picoseconds, of each access in a group, on average.
    times: Latency,
}

impl<'m> Tiers<'m> {
    /// One tier, empty, with full blocks of `block_tokens`.
    pub fn new(near: Shadow<'m>, block_tokens: u64) -> Self {
        Self {
            near,
            below: None,
            log: None,
            block_tokens,
            found: Vec::new(),
            missing: Vec::new(),
            score: Score::default(),
            times: Latency::default(),
        }
    }

    /// With a second tier below it. `near_capacity`: blocks of the first one.
    pub fn with_below(mut self, near_capacity: u32, below: Shadow<'m>, admission: Box<dyn Admission>) -> Self {
        self.below = Some(Below {
            shadow: below,
            admission,
            near: vec![Access::default(); near_capacity as usize],
            hits: 0,
            writes: 0,
            now_ms: 0,
        });
        self
    }

    /// With blocks raised ahead of use beside it.
    pub fn with_ahead(mut self, ahead: Ahead) -> Self {
        self.log = Some(Log {
            ahead,
            missed: Vec::new(),
            gone: Vec::new(),
            ends: Vec::new(),
        });
        self
    }

    /// What came of raising ahead of use, if that was simulated.
    pub fn ahead(&self) -> Option<Counts> {
        self.log.as_ref().map(|log| log.ahead.counts())
    }

    /// What was counted so far.
    pub fn score(&self) -> Score {
        self.score
    }

    /// What the second tier counted, if there is one.
    pub fn below(&self) -> Option<BelowCounts> {
        self.below.as_ref().map(|below| BelowCounts {
            hits: below.hits,
            writes: below.writes,
        })
    }

    /// Time for one access, in nanoseconds: the median over groups of consecutive requests that have at least 1024
    /// accesses together, of the time for the whole group over its accesses. 0 before the first group is full.
    pub fn ns_per_access_p50(&self) -> f64 {
        // The distribution is of picoseconds.
        self.times.percentile_us(0.5)
    }

    /// Bytes that the first tier's policy takes for a block.
    pub fn metadata_bytes_per_block(&self) -> f64 {
        self.near.metadata_bytes_per_block()
    }

    /// Puts the requests of a batch through. Prefetch sees them once they are through, and is not timed.
    pub fn run(&mut self, batch: &Batch) {
        let requests: Vec<(&Request, &[u64])> = batch.requests().collect();
        let (mut begin, mut ns, mut accesses) = (Instant::now(), 0, 0);
        let mut shown = 0;
        for (place, &(request, fingerprints)) in requests.iter().enumerate() {
            if self.log.as_ref().is_some_and(|log| log.ahead.is_due(request.time_ms)) {
                ns += begin.elapsed().as_nanos();
                self.show(&requests[shown..place]);
                shown = place;
                self.wait(request.time_ms);
                begin = Instant::now();
            }
            self.request(request, fingerprints);
            accesses += fingerprints.len();
            if accesses >= TIMED_ACCESSES {
                let now = Instant::now();
                ns += now.duration_since(begin).as_nanos();
                let ps = ns * 1000 / accesses as u128;
                self.times.add(u64::try_from(ps).unwrap_or(u64::MAX));
                (begin, ns, accesses) = (now, 0, 0);
            }
        }
        self.show(&requests[shown..]);
    }

    /// Puts one request through, and lets prefetch do what is due before it.
    pub fn step(&mut self, request: &Request, fingerprints: &[u64]) {
        if self.log.as_ref().is_some_and(|log| log.ahead.is_due(request.time_ms)) {
            self.wait(request.time_ms);
        }
        self.request(request, fingerprints);
        self.show(&[(request, fingerprints)]);
    }

    /// Tells prefetch of requests that are through.
    fn show(&mut self, requests: &[(&Request, &[u64])]) {
        let Some(log) = &mut self.log else { return };
        let (mut missed, mut gone) = (0, 0);
        for (&(request, fingerprints), &(missed_end, gone_end)) in requests.iter().zip(&log.ends) {
            let (missing, leaving) = (&log.missed[missed..missed_end], &log.gone[gone..gone_end]);
            log.ahead
                .note(request, fingerprints, missing, leaving, self.below.is_some());
            (missed, gone) = (missed_end, gone_end);
        }
        log.missed.clear();
        log.gone.clear();
        log.ends.clear();
    }

    /// Lets prefetch do what is due before `now_ms`.
    fn wait(&mut self, now_ms: u64) {
        if let Some(log) = &mut self.log {
            let below = self.below.as_ref().map(|below| &below.shadow);
            log.ahead.wait(now_ms, &self.near, below);
        }
    }

    /// Puts one request through, with the fingerprints of its blocks.
    pub fn request(&mut self, request: &Request, fingerprints: &[u64]) {
        self.near.set_now_ms(request.time_ms);
        if let Some(below) = &mut self.below {
            below.shadow.set_now_ms(request.time_ms);
            below.now_ms = request.time_ms;
        }
        self.look_up(request, fingerprints);
        for place in 0..self.found.len() {
            self.note(request, fingerprints, place);
        }
        self.missing.clear();
        let missing = self
            .found
            .iter()
            .zip(fingerprints)
            .filter(|((found, _), _)| *found != Found::Near);
        self.missing.extend(missing.map(|(_, &fingerprint)| fingerprint));
        self.near.announce(&self.missing);
        if let Some(log) = &mut self.log {
            let missed = self
                .found
                .iter()
                .zip(0..)
                .filter(|((found, _), _)| *found != Found::Near);
            log.missed.extend(missed.map(|((found, _), place)| Missed {
                place,
                below: *found == Found::Below,
            }));
        }
        for place in 0..self.found.len() {
            // A block that comes twice in a request is there the second time.
            if self.found[place].0 != Found::Near && self.near.find(fingerprints[place]).is_none() {
                self.insert(access(request, fingerprints, place, self.block_tokens));
            }
        }
        if let Some(log) = &mut self.log {
            log.ends.push((log.missed.len(), log.gone.len()));
        }
    }

    fn look_up(&mut self, request: &Request, fingerprints: &[u64]) {
        let Self {
            near,
            below,
            found,
            score,
            block_tokens,
            ..
        } = self;
        let mut counting = score.request();
        found.clear();
        for (place, &fingerprint) in fingerprints.iter().enumerate() {
            let where_found = match (near.find(fingerprint), below.as_ref()) {
                (Some(there), _) => (Found::Near, there),
                (None, Some(below)) => match below.shadow.find(fingerprint) {
                    Some(there) => (Found::Below, there),
                    None => (Found::Nowhere, 0),
                },
                (None, None) => (Found::Nowhere, 0),
            };
            counting.block(where_found.0 != Found::Nowhere, request.tokens(place, *block_tokens));
            found.push(where_found);
        }
    }

    fn note(&mut self, request: &Request, fingerprints: &[u64], place: usize) {
        let (found, there) = self.found[place];
        if found == Found::Near {
            self.near.hit(there);
        }
        let Some(below) = &mut self.below else {
            return;
        };
        let access = access(request, fingerprints, place, self.block_tokens);
        below.admission.used(&access, found, below.now_ms);
        match found {
            Found::Near => {
                if let Some(there) = below.shadow.find(access.fingerprint) {
                    below.shadow.hit(there);
                }
            }
            Found::Below => {
                below.hits += 1;
                below.shadow.hit(there);
            }
            Found::Nowhere => {}
        }
    }

    fn insert(&mut self, access: Access) {
        let gone = self.near.insert(&access);
        if let Some(log) = &mut self.log {
            log.gone.extend(gone);
        }
        let Some(below) = &mut self.below else {
            return;
        };
        // The newcomer has the place of what went.
        let Some(there) = self.near.find(access.fingerprint) else {
            return;
        };
        let leaving = std::mem::replace(&mut below.near[there as usize], access);
        if let Some(fingerprint) = gone {
            assert_eq!(leaving.fingerprint, fingerprint, "the newcomer has another place");
            below.take(&leaving);
        }
    }
}

impl Below<'_> {
    /// Takes what the first tier gave up, if it is to.
    fn take(&mut self, leaving: &Access) {
        if self.shadow.find(leaving.fingerprint).is_some() {
            self.admission.left(leaving);
        } else if self.admission.admits(leaving, self.now_ms) {
            self.writes += 1;
            if let Some(dropped) = self.shadow.insert(leaving) {
                self.admission.dropped(dropped);
            }
        }
    }
}

/// What the policies are told of a block of a request.
fn access(request: &Request, fingerprints: &[u64], place: usize, block_tokens: u64) -> Access {
    let parent = place.checked_sub(1).and_then(|before| fingerprints.get(before));
    Access {
        fingerprint: fingerprints[place],
        parent_fingerprint: parent.copied().unwrap_or(0),
        depth: u16::try_from(place).unwrap_or(u16::MAX),
        tokens: u16::try_from(request.tokens(place, block_tokens)).unwrap_or(u16::MAX),
        conversation: request.conversation,
        ..Access::default()
    }
}
