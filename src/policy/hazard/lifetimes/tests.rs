//! Tests of the life tables, against plain sums over what happened and indices looked for by trying all of them.

use super::{AGES, KINDS, Lifetimes, WORDS, age_of};
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};
use proptest::prelude::*;
use std::vec::Vec;

/// What became of blocks, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Used,
    Unseen,
    Waiting,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    kind: u8,
    age: usize,
    end: End,
    count: u32,
}

/// Sums over three ages to each side, the nearer the heavier.
fn naive_smooth(ages: &[f64]) -> Vec<f64> {
    let weight = |a: usize, b: usize| (4.0 - a.abs_diff(b) as f64).max(0.0) / 16.0;
    (0..AGES)
        .map(|age| (0..AGES).map(|other| ages[other] * weight(age, other)).sum())
        .collect()
}

/// Uses, and blocks at risk, by age.
fn naive_table(events: &[Event], kind: usize) -> (Vec<f64>, Vec<f64>) {
    let of_kind = || events.iter().filter(|event| usize::from(event.kind) == kind);
    let used = |age: usize| -> f64 {
        let here = of_kind().filter(|event| event.age == age && event.end == End::Used);
        here.map(|event| f64::from(event.count)).sum()
    };
    let at_risk = |age: usize| -> f64 {
        let part = |event: &Event| match event.age.cmp(&age) {
            core::cmp::Ordering::Less => 0.0,
            core::cmp::Ordering::Equal if event.end != End::Used => 0.5,
            _ => 1.0,
        };
        of_kind().map(|event| part(event) * f64::from(event.count)).sum()
    };
    let used: Vec<f64> = (0..AGES).map(used).collect();
    let at_risk: Vec<f64> = (0..AGES).map(at_risk).collect();
    (naive_smooth(&used), naive_smooth(&at_risk))
}

/// Where an age begins, in seconds of 1024 ms from the last use, plus one.
fn naive_start(age: usize) -> f64 {
    (2.0_f64).powi(age as i32 / 4) * (1.0 + (age % 4) as f64 / 4.0)
}

/// The best ratio of the chance that a block is used to the time that it takes, over all ages that it could be kept to.
fn naive_index(hazards: &[f64], from: usize) -> f64 {
    let ratio = |end: usize| {
        let (mut used, mut time, mut comes_here) = (0.0, 0.0, 1.0);
        for (age, &hazard) in hazards.iter().enumerate().take(end + 1).skip(from) {
            used += comes_here * hazard;
            let length = naive_start(age + 1) - naive_start(age);
            time += comes_here * (hazard * 0.3 + (1.0 - hazard)) * length;
            comes_here *= 1.0 - hazard;
        }
        used / time
    };
    let ends = (from..AGES).filter(|&end| end >= from + 3 || end == AGES - 1);
    ends.map(ratio).fold(0.0, f64::max)
}

fn tables() -> Vec<AtomicU32> {
    (0..WORDS).map(|_| AtomicU32::new(0)).collect()
}

fn tell_all(lifetimes: &Lifetimes<'_>, events: &[Event]) {
    for event in events {
        match event.end {
            End::Used => lifetimes.used(event.kind, event.age, event.count),
            End::Unseen => lifetimes.unseen(event.kind, event.age, event.count),
            End::Waiting => lifetimes.waiting(event.kind, event.age, event.count),
        }
    }
}

fn pooled(words: &[AtomicU32], age: usize) -> f64 {
    f64::from(f32::from_bits(words[4 * KINDS * AGES + age].load(Relaxed)))
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let end = prop_oneof![Just(End::Used), Just(End::Unseen), Just(End::Waiting)];
    let event = (0..KINDS as u8, 0..AGES, end, prop_oneof![1..20_u32, 1..50_000_u32]);
    prop::collection::vec(
        event.prop_map(|(kind, age, end, count)| Event {
            kind: kind % 5 * 13,
            age,
            end,
            count,
        }),
        1..60,
    )
}

#[test]
fn ages_begin_where_they_say() {
    let words = tables();
    let lifetimes = Lifetimes::new(&words);
    for age in 0..AGES {
        let start = naive_start(age);
        assert!((f64::from(lifetimes.worth(3, age)) * start - 1.0).abs() < 1e-6, "{age}");
        let start_ms = ((start - 1.0) * 1024.0) as u64;
        assert_eq!(age_of(start_ms), age);
        assert_eq!(age_of(start_ms.saturating_sub(1)), age.saturating_sub(1));
    }
    assert_eq!(age_of(u64::MAX), AGES - 1);
    let ages: Vec<usize> = (0..4_000_000).step_by(7).map(age_of).collect();
    assert!(ages.is_sorted());
}

#[test]
fn hazards_are_uses_by_those_at_risk() {
    let words = tables();
    let lifetimes = Lifetimes::new(&words);
    let event = |age, end| Event {
        kind: 9,
        age,
        end,
        count: 100,
    };
    tell_all(&lifetimes, &[event(20, End::Used), event(AGES - 1, End::Waiting)]);
    lifetimes.pool(0.0);
    // 4/16 of the uses; at risk are 200 up to there and 100 after it.
    assert!((pooled(&words, 20) - 25.0 / 162.5).abs() < 1e-6);
    assert_eq!((pooled(&words, 16), pooled(&words, 24)), (0.0, 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Without borrowing: the hazards are the plain ones and the values their indices.
    #[test]
    fn values_are_gittins_indices_of_a_life_table(events in events()) {
        let words = tables();
        let lifetimes = Lifetimes::new(&words);
        let mut events = events;
        // Somebody comes to each age.
        events.extend((0..KINDS as u8).map(|kind| Event { kind, age: AGES - 1, end: End::Waiting, count: 3 }));
        tell_all(&lifetimes, &events);
        lifetimes.pool(0.0);
        for kind in events.iter().map(|event| usize::from(event.kind)).take(4) {
            let (used, at_risk) = naive_table(&events, kind);
            let hazards: Vec<f64> = (0..AGES).map(|age| used[age] / at_risk[age]).collect();
            // A factor for what is not there to be borrowed is 0/0 where all kinds together saw no use.
            if used.iter().sum::<f64>() == 0.0 {
                continue;
            }
            lifetimes.value(kind, 0.0);
            for age in 0..AGES {
                let (value, naive) = (f64::from(lifetimes.worth(kind as u8, age)), naive_index(&hazards, age));
                prop_assert!((value - naive).abs() <= 1e-3 * naive + 1e-30, "{kind} {age}: {value} {naive}");
            }
        }
    }

    /// The same with what is borrowed from all kinds together.
    #[test]
    fn kinds_borrow_what_they_have_not_seen(events in events(), request_blocks in 1..200_u32) {
        let words = tables();
        let lifetimes = Lifetimes::new(&words);
        tell_all(&lifetimes, &events);
        let blocks = f64::from(request_blocks);
        lifetimes.pool(request_blocks as f32);
        let all: Vec<_> = (0..KINDS).map(|kind| naive_table(&events, kind)).collect();
        let used = |age: usize| -> f64 { all.iter().map(|table| table.0[age]).sum() };
        let at_risk = |age: usize| -> f64 { all.iter().map(|table| table.1[age]).sum() };
        let pool: Vec<f64> = (0..AGES).map(|age| used(age) / (at_risk(age) + 0.1 * blocks)).collect();
        for (age, &hazard) in pool.iter().enumerate() {
            prop_assert!((pooled(&words, age) - hazard).abs() <= 1e-4 * hazard);
        }
        for kind in [0, 13, 52] {
            let (used, at_risk) = &all[kind];
            let expected: f64 = (0..AGES).map(|age| at_risk[age] * pool[age]).sum();
            let factor = (used.iter().sum::<f64>() + 0.3 * blocks) / (expected + 0.3 * blocks);
            let hazard = |age: usize| {
                let lent = (factor * pool[age]).min(1.0);
                ((used[age] + 2.0 * blocks * lent) / (at_risk[age] + 2.0 * blocks)).min(1.0)
            };
            let hazards: Vec<f64> = (0..AGES).map(hazard).collect();
            lifetimes.value(kind, request_blocks as f32);
            for age in 0..AGES {
                let (value, naive) = (f64::from(lifetimes.worth(kind as u8, age)), naive_index(&hazards, age));
                prop_assert!((value - naive).abs() <= 1e-3 * naive + 1e-30, "{kind} {age}: {value} {naive}");
            }
        }
    }
}

#[test]
fn experience_fades_by_half_in_its_half_life() {
    let words = tables();
    let lifetimes = Lifetimes::new(&words);
    let event = |end| Event {
        kind: 2,
        age: 5,
        end,
        count: 1000,
    };
    tell_all(&lifetimes, &[event(End::Used), event(End::Unseen), event(End::Waiting)]);
    let counts = || [0, 1, 2].map(|table| f32::from_bits(words[(table * KINDS + 2) * AGES + 5].load(Relaxed)));
    assert_eq!(counts(), [1000.0; 3]);
    for _ in 0..64 {
        lifetimes.fade(128 * 10, 10.0);
    }
    let [used, unseen, waiting] = counts();
    assert!((used - 500.0).abs() < 5.0 && used == unseen, "{used} {unseen}");
    // Who waits is counted anew.
    assert_eq!(waiting, 1000.0);
    lifetimes.waiting_clear();
    assert_eq!(counts(), [used, unseen, 0.0]);
    lifetimes.fade(u32::MAX, 10.0);
    assert!(counts()[0] > 0.0 && counts()[0] < used / 2.0);
}
