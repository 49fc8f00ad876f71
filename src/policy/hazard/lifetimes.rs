//! How long blocks of each kind go unused before they are used again, and what that says about keeping them.
//!
//! A life table: for each kind of block and each age since the last use, how many came to that age and how many of
//! them were used then (Kaplan and Meier, "Nonparametric estimation from incomplete observations", 1958: those that
//! are still waiting, or were forgotten while they waited, count up to the age that they were seen at). From the
//! hazards follows what a block is worth: the **Gittins index**, the largest ratio, over all times that one could keep
//! it, of the chance that it is used to the time that it is expected to take up its place (Gittins, "Bandit processes
//! and dynamic allocation indices", 1979; Aalto, Ayesta, Righter, "On the Gittins index in the M/G/1 queue", 2009).
//!
//! Ages are in quarters of octaves of 1024 ms. Kinds that have seen little lean on all kinds together: first by a
//! factor to all of its hazards, which a few uses tell, then age by age. What counts as little is measured in
//! requests, since blocks of one request come and go together.

use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Kinds of blocks.
pub(super) const KINDS: usize = 62;
/// Ages.
pub(super) const AGES: usize = 64;
/// Half words of all tables: uses, ends unseen, those at risk, values; of all kinds together, hazards and values.
pub(super) const WORDS: usize = 4 * KINDS * AGES + 2 * AGES;

/// Requests whose worth of experience a kind borrows from all kinds, age by age.
const BORROWED_REQUESTS: f32 = 2.0;
/// The same for the factor to all of its hazards.
const BORROWED_FACTOR_REQUESTS: f32 = 0.3;
/// The same for all kinds together, of no use at all.
const BORROWED_POOL_REQUESTS: f32 = 0.1;
/// Requests after which an observation counts half.
const HALF_LIFE_REQUESTS: f32 = 8192.0;
/// Part of an age's length that a block that is used in it takes.
const USED_AFTER: f32 = 0.3;
/// Ages that a block is kept for at least when it is kept.
const KEPT_AGES_MIN: usize = 3;
/// Half width of the triangle that ages are smoothed with.
const SMOOTH: usize = 3;

/// The age of a block that was last used so many milliseconds ago.
pub(super) fn age_of(elapsed_ms: u64) -> usize {
    let shifted = elapsed_ms.saturating_add(1024);
    let octave = shifted.ilog2();
    let quarter = (shifted >> (octave - 2)) & 3;
    ((octave as usize - 10) * 4 + quarter as usize).min(AGES - 1)
}

/// Where an age begins, in seconds of 1024 ms, less one.
fn age_start(age: usize) -> f32 {
    let octave = 1_u64 << (age / 4);
    octave as f32 * (1.0 + (age % 4) as f32 / 4.0)
}

/// The tables; all-zero is no experience.
pub(super) struct Lifetimes<'m> {
    used: &'m [AtomicU32],
    unseen: &'m [AtomicU32],
    at_risk: &'m [AtomicU32],
    values: &'m [AtomicU32],
    pool: &'m [AtomicU32],
    pool_values: &'m [AtomicU32],
}

fn get(cells: &[AtomicU32], at: usize) -> f32 {
    f32::from_bits(cells[at].load(Relaxed))
}

fn set(cells: &[AtomicU32], at: usize, value: f32) {
    cells[at].store(value.to_bits(), Relaxed);
}

fn smooth(ages: &[f32; AGES]) -> [f32; AGES] {
    let width = SMOOTH as f32 + 1.0;
    core::array::from_fn(|age| {
        let near = age.saturating_sub(SMOOTH)..(age + SMOOTH + 1).min(AGES);
        let sum: f32 = near
            .map(|other| ages[other] * (width - age.abs_diff(other) as f32))
            .sum();
        sum / (width * width)
    })
}

fn store(cells: &[AtomicU32], values: &[f32; AGES]) {
    for (cell, value) in cells.iter().zip(values) {
        cell.store(value.to_bits(), Relaxed);
    }
}

/// The Gittins index at each age, of these hazards: age by age for all ages that it could be kept from at once, which
/// are then done side by side.
fn values(hazards: &[f32; AGES]) -> [f32; AGES] {
    let (mut waiting, mut gone, mut life) = ([1.0_f32; AGES], [0.0_f32; AGES], [0.0_f32; AGES]);
    // The largest ratio so far, by its parts: comparing products spares a division each.
    let (mut best_gone, mut best_life) = ([0.0_f32; AGES], [1.0_f32; AGES]);
    for (age, &hazard) in hazards.iter().enumerate() {
        let length = age_start(age + 1) - age_start(age);
        let there = 1.0 - (1.0 - USED_AFTER) * hazard;
        for from in 0..=age {
            life[from] += waiting[from] * there * length;
            // Summed up, since one less those who wait would round the rarely used to nothing.
            gone[from] += waiting[from] * hazard;
            waiting[from] *= 1.0 - hazard;
        }
        let kept = if age == AGES - 1 {
            AGES
        } else {
            (age + 1).saturating_sub(KEPT_AGES_MIN)
        };
        for from in 0..kept {
            let better = gone[from] * best_life[from] > best_gone[from] * life[from];
            best_gone[from] = if better { gone[from] } else { best_gone[from] };
            best_life[from] = if better { life[from] } else { best_life[from] };
        }
    }
    // Never zero, which says that nothing is known.
    core::array::from_fn(|age| (best_gone[age] / best_life[age]).max(f32::MIN_POSITIVE))
}

impl<'m> Lifetimes<'m> {
    /// Tables over [`WORDS`] half words.
    pub(super) fn new(words: &'m [AtomicU32]) -> Self {
        let (used, words) = words.split_at(KINDS * AGES);
        let (unseen, words) = words.split_at(KINDS * AGES);
        let (at_risk, words) = words.split_at(KINDS * AGES);
        let (values, words) = words.split_at(KINDS * AGES);
        let (pool, pool_values) = words.split_at(AGES);
        Self {
            used,
            unseen,
            at_risk,
            values,
            pool,
            pool_values: &pool_values[..AGES],
        }
    }

    fn add(cells: &[AtomicU32], kind: u8, age: usize, count: f32) {
        let at = usize::from(kind) * AGES + age;
        set(cells, at, get(cells, at) + count);
    }

    /// `count` blocks of a kind were used at this age.
    pub(super) fn used(&self, kind: u8, age: usize, count: u32) {
        Self::add(self.used, kind, age, count as f32);
    }

    /// `count` blocks of a kind were forgotten at this age, nobody knows what became of them.
    pub(super) fn unseen(&self, kind: u8, age: usize, count: u32) {
        Self::add(self.unseen, kind, age, count as f32);
    }

    /// Before counting who is waiting.
    pub(super) fn waiting_clear(&self) {
        self.at_risk.iter().for_each(|cell| cell.store(0, Relaxed));
    }

    /// `count` blocks of a kind are waiting at this age.
    pub(super) fn waiting(&self, kind: u8, age: usize, count: u32) {
        Self::add(self.at_risk, kind, age, count as f32);
    }

    /// Whether anything was seen of a kind.
    fn is_seen(&self, kind: usize) -> bool {
        let ages = kind * AGES..(kind + 1) * AGES;
        let tables = [self.used, self.unseen, self.at_risk];
        tables
            .iter()
            .any(|cells| cells[ages.clone()].iter().any(|cell| cell.load(Relaxed) != 0))
    }

    /// Uses by age, and blocks that came to each age, of one kind.
    fn observed(&self, kind: usize) -> ([f32; AGES], [f32; AGES]) {
        let mut at_risk = [0.0; AGES];
        let mut beyond = 0.0;
        let used: [f32; AGES] = core::array::from_fn(|age| get(self.used, kind * AGES + age));
        for age in (0..AGES).rev() {
            let at = kind * AGES + age;
            let ended = get(self.at_risk, at) + get(self.unseen, at);
            // Who waits, or was forgotten, within an age was there for half of it.
            at_risk[age] = beyond + used[age] + ended / 2.0;
            beyond += used[age] + ended;
        }
        (smooth(&used), smooth(&at_risk))
    }

    /// Sums all kinds up, `request_blocks` being the blocks of a request.
    pub(super) fn pool(&self, request_blocks: f32) {
        let (mut used, mut at_risk) = ([0.0; AGES], [0.0; AGES]);
        for kind in (0..KINDS).filter(|&kind| self.is_seen(kind)) {
            let observed = self.observed(kind);
            for age in 0..AGES {
                used[age] += observed.0[age];
                at_risk[age] += observed.1[age];
            }
        }
        for age in 0..AGES {
            let hazard = used[age] / (at_risk[age] + BORROWED_POOL_REQUESTS * request_blocks);
            set(self.pool, age, hazard);
        }
        let hazards = core::array::from_fn(|age| get(self.pool, age).min(1.0));
        store(self.pool_values, &values(&hazards));
    }

    /// Hazards of a kind by age.
    fn hazards(&self, kind: usize, request_blocks: f32) -> [f32; AGES] {
        let (used, at_risk) = self.observed(kind);
        let (mut seen, mut expected) = (0.0, 0.0);
        for age in 0..AGES {
            seen += used[age];
            expected += at_risk[age] * get(self.pool, age);
        }
        let factor_borrowed = BORROWED_FACTOR_REQUESTS * request_blocks;
        let factor = (seen + factor_borrowed) / (expected + factor_borrowed);
        let borrowed = BORROWED_REQUESTS * request_blocks;
        core::array::from_fn(|age| {
            let expected = (factor * get(self.pool, age)).min(1.0);
            ((used[age] + borrowed * expected) / (at_risk[age] + borrowed)).min(1.0)
        })
    }

    /// Works out what blocks of a kind are worth at each age, after [`Lifetimes::pool`].
    pub(super) fn value(&self, kind: usize, request_blocks: f32) {
        let cells = &self.values[kind * AGES..(kind + 1) * AGES];
        if self.is_seen(kind) {
            return store(cells, &values(&self.hazards(kind, request_blocks)));
        }
        for (cell, value) in cells.iter().zip(self.pool_values) {
            cell.store(value.load(Relaxed), Relaxed);
        }
    }

    /// Lets experience fade after `blocks` insertions.
    pub(super) fn fade(&self, blocks: u32, request_blocks: f32) {
        let keep = 1.0 - core::f32::consts::LN_2 * (blocks as f32 / (HALF_LIFE_REQUESTS * request_blocks)).min(1.0);
        for cells in [self.used, self.unseen] {
            for at in 0..KINDS * AGES {
                set(cells, at, get(cells, at) * keep);
            }
        }
    }

    /// What a block is worth: the higher, the longer it is kept. Without experience the one used last is worth most.
    pub(super) fn worth(&self, kind: u8, age: usize) -> f32 {
        match get(self.values, usize::from(kind) * AGES + age) {
            0.0 => 1.0 / age_start(age),
            value => value,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
