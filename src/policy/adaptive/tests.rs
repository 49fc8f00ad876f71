//! The adaptive policy: its books over changes, its decisions against naive ones, and that it follows.

use super::*;
use crate::block::entry::Recency;
use crate::policy::testing::{FakeBlocks, storage};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

/// Blocks in chains: each may have a parent.
struct Chains {
    facts: FakeBlocks,
    /// Place and generation of the parent.
    parents: Vec<Option<(u32, u32)>>,
}

impl Blocks for Chains {
    fn class(&self, index: u32) -> u8 {
        self.facts.class(index)
    }
    fn recency(&self, index: u32) -> Recency {
        self.facts.recency(index)
    }
    fn depth(&self, index: u32) -> u16 {
        self.facts.depth(index)
    }
    fn generation(&self, index: u32) -> u32 {
        self.facts.generation(index)
    }
    fn fingerprint(&self, index: u32) -> u64 {
        self.facts.fingerprint(index)
    }
    fn parent(&self, index: u32) -> Option<u32> {
        let (parent, generation) = self.parents[index as usize]?;
        (self.generation(parent) == generation).then_some(parent)
    }
    fn parent_mark(&self, index: u32) -> u32 {
        u32::from(self.parents[index as usize].is_some())
    }
    fn now_ms(&self) -> u64 {
        0
    }
    fn used_ms(&self, _: u32) -> u64 {
        0
    }
    fn tokens(&self, index: u32) -> u16 {
        self.facts.tokens(index)
    }
    fn cost_us(&self, index: u32) -> u64 {
        self.facts.cost_us(index)
    }
    fn importance(&self, index: u32) -> u32 {
        self.facts.importance(index)
    }
}

proptest! {
    /// Whatever is in charge and whenever that changes: what went in and was not removed comes out, once.
    #[test]
    fn every_block_comes_out_once(
        steps in prop::collection::vec((0..12_u8, 0..40_u32, 0..40_u32, 0..3_u8), 1..400)
    ) {
        const COUNT: usize = 40;
        let policy = Adaptive::new(storage(PolicyKind::Adaptive, COUNT));
        let mut blocks = Chains { facts: FakeBlocks::new(COUNT), parents: std::vec![None; COUNT] };
        let mut known = BTreeSet::new();
        for (step, (action, index, other, class)) in steps.into_iter().enumerate() {
            let at = index as usize;
            match action {
                0..=4 => {
                    if known.insert(index) {
                        blocks.facts.generation[at] += 1;
                        blocks.facts.recency[at] = (step as u64 * 2, 0);
                        blocks.facts.fingerprint[at] = (step as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                        blocks.parents[at] = (known.contains(&other) && other != index)
                            .then(|| (other, blocks.facts.generation[other as usize]));
                    }
                    blocks.facts.class[at] = if class == 2 { 1 } else { 0 };
                    policy.insert(index, &blocks);
                }
                5..=6 => blocks.facts.recency[at] = (step as u64 * 2 + 1, blocks.facts.recency[at].1 + 1),
                7 => {
                    policy.remove(index);
                    known.remove(&index);
                }
                8..=9 => {
                    let victim = policy.victim(&blocks);
                    prop_assert_eq!(victim.is_some(), !known.is_empty());
                    if let Some(victim) = victim {
                        let lowest = known.iter().map(|&index| blocks.class(index)).min();
                        prop_assert_eq!(Some(blocks.class(victim)), lowest);
                        prop_assert!(known.remove(&victim), "{} was not there", victim);
                    }
                }
                _ => policy.change(other as usize % MEMBERS, &blocks),
            }
            for index in 0..COUNT as u32 {
                prop_assert_eq!(policy.is_known(index), known.contains(&index));
            }
        }
        let mut rest: Vec<u32> = core::iter::from_fn(|| policy.victim(&blocks)).collect();
        rest.sort_unstable();
        prop_assert_eq!(rest, known.into_iter().collect::<Vec<_>>());
    }

    /// Against lists: what is there is found by its place, what has gone only comes up in order.
    #[test]
    fn the_sample_is_a_list_that_is_found_by_place(steps in prop::collection::vec((0..4_u8, 0..9_u32), 1..200)) {
        const ENTRIES: usize = 12;
        let words: Vec<AtomicU64> =
            (0..ENTRIES * AdaptiveSample::ENTRY_WORDS as usize).map(|_| AtomicU64::new(0)).collect();
        let halves: Vec<AtomicU32> = (0..sample::HEADS + 2 * ENTRIES).map(|_| AtomicU32::new(0)).collect();
        let (heads, chains) = halves.split_at(sample::HEADS);
        let sample = Sample::new(&words, heads, chains);
        let mut naive: Vec<Entry> = Vec::new();
        for (step, (action, index)) in steps.into_iter().enumerate() {
            let there = naive.iter().position(|entry| entry.index == index && entry.flags & GONE == 0);
            let slot = sample.find(index);
            prop_assert_eq!(slot.map(|slot| sample.get(slot)), there.map(|at| naive[at]));
            match (action, slot, there) {
                (0 | 1, None, _) => {
                    let number = step as u32;
                    let entry = Entry {
                        fingerprint: u64::from(number) << 40 | 7,
                        parent: u64::from(number) << 20,
                        index,
                        generation: number * 3,
                        depth: step as u16,
                        tokens: 9,
                        cost_us: number * 5,
                        importance: number * 7,
                        uses: step as u16 * 11,
                        class: 5,
                        flags: FRESH,
                    };
                    prop_assert_eq!(sample.add(&entry), naive.len() < ENTRIES);
                    if naive.len() < ENTRIES {
                        naive.push(entry);
                    }
                }
                (2, Some(slot), Some(at)) => {
                    sample.leave(slot, 77);
                    naive[at].flags |= GONE;
                    naive[at].uses = 77;
                }
                (3, ..) => {
                    let gone = core::iter::successors(sample.first(), |&slot| sample.next(slot))
                        .find(|&slot| sample.get(slot).flags & GONE != 0);
                    if let Some(slot) = gone {
                        sample.drop(slot);
                    }
                    if let Some(at) = naive.iter().position(|entry| entry.flags & GONE != 0) {
                        naive.remove(at);
                    }
                }
                _ => {}
            }
            let order: Vec<Entry> = core::iter::successors(sample.first(), |&slot| sample.next(slot))
                .map(|slot| sample.get(slot))
                .collect();
            prop_assert_eq!(&order, &naive);
        }
    }

    /// Against all windows written down, in twice the precision. What is a matter of rounding is not asked.
    #[test]
    fn decides_as_one_who_writes_everything_down(
        windows in prop::collection::vec((0..3_u32, prop::array::uniform3(0..60_u32)), 1..80),
        base in 0..2000_u32,
        lead in 0..60_u32,
    ) {
        let cells: Vec<AtomicU32> = (0..contest::WORDS).map(|_| AtomicU32::new(0)).collect();
        let contest = Contest::new(&cells);
        let mut active = HAZARD;
        // By policy: its leads and the hits of the one that was followed.
        let mut since: [Vec<(f64, f64)>; MEMBERS] = Default::default();
        let mut learnt: Vec<(f64, f64)> = Vec::new();
        for (own, noise) in windows {
            let mut hits: [u32; MEMBERS] = core::array::from_fn(|member| base + noise[member]);
            hits[LRU] += lead;
            hits.iter().enumerate().for_each(|(member, &count)| contest.hit(member, count));
            let own = hits[active] + own;
            contest.hit_itself(own);
            contest.accessed(4000);
            let mut hits = hits.map(f64::from);
            if active == HAZARD {
                learnt.push((f64::from(own), hits[HAZARD]));
                hits[HAZARD] = f64::from(own);
            } else {
                let faded = |of: fn(&(f64, f64)) -> f64| -> f64 {
                    learnt.iter().rev().zip(0..).map(|(both, age)| of(both) * (63.0_f64 / 64.0).powi(age)).sum()
                };
                let (large, small) = (faded(|both| both.0), faded(|both| both.1));
                if small > 0.0 {
                    hits[HAZARD] *= (large / small).clamp(0.5, 2.0);
                }
            }
            let (mut best, mut unclear) = (None, false);
            for member in (0..MEMBERS).filter(|&member| member != active) {
                let history = &mut since[member];
                history.push((hits[member] - hits[active], hits[active]));
                let weights = (0..history.len()).rev().map(|age| (15.0_f64 / 16.0).powi(age as i32));
                let sums = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
                    history.iter().zip(weights.clone()).map(|(&(lead, hits), weight)| of(lead, hits) * weight).sum()
                };
                let count = sums(&|_, _| 1.0);
                let mean = sums(&|lead, _| lead) / count;
                // Which side of nothing it is would be a matter of rounding, for ever after.
                prop_assume!(mean == 0.0 || mean.abs() > 1e-2);
                if mean < 0.0 {
                    history.clear();
                    continue;
                }
                let variance = sums(&|lead, _| (lead - mean).powi(2)) / count;
                let certain = mean * mean * count / (16.0 * variance).max(1e-9);
                let worth = mean / (sums(&|_, hits| hits) / count / 200.0).max(1e-9);
                unclear |= (certain - 1.0).abs() < 0.05 || (worth - 1.0).abs() < 0.05 || variance < 0.01;
                let sure = history.len() >= 6 && mean > 0.0 && worth > 1.0 && certain > 1.0;
                let sum = mean * count;
                if sure && best.is_none_or(|(most, _)| sum > most) {
                    unclear |= best.is_some_and(|(most, _): (f64, usize)| sum - most < 0.05);
                    best = Some((sum, member));
                }
            }
            let decided = contest.close(active);
            prop_assert_eq!(contest.accesses(), 0);
            if !unclear {
                prop_assert_eq!(decided, best.map(|(_, member)| member));
            }
            if let Some(member) = decided {
                prop_assert_ne!(member, active);
                active = member;
                since = Default::default();
            }
        }
    }
}

/// A member that is as good as another is not left for it, and one that is better by less than it varies is not either.
#[test]
fn chance_changes_nothing() {
    let cells: Vec<AtomicU32> = (0..contest::WORDS).map(|_| AtomicU32::new(0)).collect();
    let contest = Contest::new(&cells);
    for window in 0..1000_u32 {
        let noise = (window.wrapping_mul(0x9E37_79B1) >> 16) % 101;
        contest.hit_itself(1000);
        contest.hit(HAZARD, 1000);
        contest.hit(S3FIFO, 1000);
        contest.hit(LRU, 952 + noise);
        assert_eq!(contest.close(HAZARD), None, "window {window}");
    }
}

/// Keys by phase: epochs over 1500 keys in another order each, then a hot set between what comes once and says that it
/// is worth a lot, then epochs again.
fn workload() -> Vec<Vec<Access>> {
    let mut random = 88172645463325252_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random >> 11
    };
    let mut epochs = |count: usize, salt: u64| -> Vec<Access> {
        let mut all = Vec::new();
        for _ in 0..count {
            let mut keys: Vec<u64> = (1..1501).collect();
            for at in (1..keys.len()).rev() {
                keys.swap(at, next() as usize % (at + 1));
            }
            all.extend(keys.into_iter().map(|key| Access {
                fingerprint: key + salt,
                ..Access::default()
            }));
        }
        all
    };
    let first = epochs(40, 0);
    let last = epochs(140, 10_000);
    let mixed = (0..200_000_u64).map(|number| match number % 2 {
        0 => Access {
            fingerprint: 20_000 + next() % 200,
            ..Access::default()
        },
        _ => Access {
            fingerprint: 30_000 + number,
            importance: 10_000_000,
            ..Access::default()
        },
    });
    let mixed = mixed.collect();
    std::vec![first, mixed, last]
}

/// Hits by phase, and a sum that depends on every victim.
fn run(kind: PolicyKind, phases: &[Vec<Access>]) -> (Vec<u32>, u64) {
    const CAPACITY: u32 = 512;
    let needs = Shadow::storage(kind, CAPACITY);
    let words: Vec<AtomicU64> = (0..needs.words).map(|_| AtomicU64::new(0)).collect();
    let halves: Vec<AtomicU32> = (0..needs.halves).map(|_| AtomicU32::new(0)).collect();
    let mut shadow = Shadow::new(kind, CAPACITY, &words, &halves);
    let (mut now_ms, mut sum) = (0, 0_u64);
    let mut hits_of = |phase: &Vec<Access>| {
        let mut hits = 0;
        for access in phase {
            now_ms += 20;
            shadow.set_now_ms(now_ms);
            match shadow.find(access.fingerprint) {
                Some(place) => {
                    hits += 1;
                    shadow.hit(place);
                }
                None => {
                    let gone = shadow.insert(access);
                    sum = sum.wrapping_mul(31).wrapping_add(gone.unwrap_or(0));
                }
            }
        }
        hits
    };
    (phases.iter().map(&mut hits_of).collect(), sum)
}

#[test]
fn it_follows_the_best_one_and_does_the_same_again() {
    let phases = workload();
    let members: BTreeMap<usize, Vec<u32>> = ADAPTIVE_MEMBERS
        .iter()
        .map(|&kind| run(kind, &phases).0)
        .enumerate()
        .collect();
    let adaptive = run(PolicyKind::Adaptive, &phases);
    for phase in 0..phases.len() {
        let best = members.values().map(|hits| hits[phase]).max().unwrap();
        assert!(
            adaptive.0[phase] * 10 >= best * 9,
            "phase {phase}: {members:?} {adaptive:?}"
        );
    }
    for (member, hits) in &members {
        let good = (0..phases.len())
            .all(|phase| hits[phase] * 10 >= members.values().map(|hits| hits[phase]).max().unwrap() * 8);
        assert!(
            !good,
            "member {member} is good enough for all phases, which proves nothing"
        );
    }
    assert_eq!(adaptive, run(PolicyKind::Adaptive, &phases));
}
