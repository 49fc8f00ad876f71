//! Worlds in which the best threshold is known, and worlds of nothing but chance.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

/// Between -1/2 and 1/2.
fn chance(state: &mut u64) -> f32 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
}

/// Best at `best`, and worse by the ratio to it.
fn hill(permille: u32, best: u32) -> f32 {
    let octaves = (permille as f32 / best as f32).log2();
    0.6 - 0.2 * octaves * octaves
}

fn only_confidence(permille: u32) -> Climber {
    Climber::new([Threshold::confidence(permille), Threshold::fixed(50)])
}

#[test]
fn it_gets_near_the_best_through_noise_and_stays_there() {
    for (best, seed) in [(280, 1), (350, 2), (500, 3), (800, 4), (900, 5)] {
        let mut climber = only_confidence(500);
        let mut state = seed;
        let mut far = 0;
        for window in 0..6000 {
            let reward = hill(climber.permille(CONFIDENCE), best) + 0.02 * chance(&mut state);
            climber.window(reward);
            if window >= 3000 {
                let ratio = climber.permille(CONFIDENCE) as f32 / best as f32;
                far += u32::from(!(0.6..=1.7).contains(&ratio));
            }
        }
        assert!(
            far < 30,
            "best {best}: {far} windows of 3000 far away, now {}",
            climber.permille(CONFIDENCE)
        );
    }
}

#[test]
fn a_load_that_gets_easier_is_not_taken_for_a_good_step() {
    // Which threshold it is makes no difference: everything that was kept would have been kept for the drift.
    for slope in [0.000_2, -0.000_2] {
        let mut climber = only_confidence(500);
        let (mut kept, mut tried, mut state) = (0, 0, 9);
        for window in 0..4000 {
            let reward = slope * window as f32 + 0.01 * chance(&mut state);
            match climber.window(reward) {
                Some(Outcome::Kept) => kept += 1,
                Some(Outcome::Tried) => tried += 1,
                _ => {}
            }
        }
        assert!(tried >= 15 && kept <= 2, "{kept} of {tried}");
    }
}

#[test]
fn a_bad_step_is_taken_back_at_once_and_the_next_one_goes_the_other_way() {
    let mut climber = only_confidence(400);
    let mut tried = Vec::new();
    let mut windows_away = 0;
    for _ in 0..400 {
        let value = climber.permille(CONFIDENCE);
        windows_away += u32::from(value != 400);
        match climber.window(if value == 400 { 0.5 } else { 0.0 }) {
            Some(Outcome::Tried) => tried.push(climber.permille(CONFIDENCE)),
            Some(Outcome::TakenBack) => assert_eq!(climber.permille(CONFIDENCE), 400),
            outcome => assert!(outcome.is_none(), "{outcome:?}"),
        }
    }
    assert!(tried.len() >= 4, "{tried:?}");
    assert_eq!(tried[..4], [320, 500, 320, 500]);
    // One that is passed over and one that says it all.
    assert_eq!(windows_away, 2 * tried.len() as u32);
}

#[test]
fn tries_become_rare_where_none_is_kept() {
    let mut climber = only_confidence(400);
    let mut tries = [0, 0];
    for window in 0..4000 {
        let tried = climber.window(0.5) == Some(Outcome::Tried);
        tries[usize::from(window >= 1000)] += u32::from(tried);
    }
    assert!(tries[0] >= 6 && tries[1] <= 3 * 1000 / REST_MAX, "{tries:?}");
}

#[test]
fn thresholds_move_one_at_a_time_each_for_its_own_rewards() {
    let mut climber = Climber::new([Threshold::confidence(500), Threshold::admission_loss(50)]);
    let best = [300, 90];
    let mut seen = [0, 0];
    for _ in 0..6000 {
        let before = [0, 1].map(|threshold| climber.permille(threshold));
        let turn = climber.turn();
        let reward = turn.map_or(0.0, |turn| hill(before[turn], best[turn]));
        climber.window(reward);
        for threshold in [0, 1] {
            if climber.permille(threshold) != before[threshold] {
                assert_eq!(turn, Some(threshold), "another one moved");
                seen[threshold] += 1;
            }
        }
    }
    assert!(seen.iter().all(|&moves| moves >= 4), "{seen:?}");
    for (threshold, best) in best.into_iter().enumerate() {
        let ratio = climber.permille(threshold) as f32 / best as f32;
        assert!(
            (0.6..=1.7).contains(&ratio),
            "{threshold}: {}",
            climber.permille(threshold)
        );
    }
}

#[test]
fn limits_hold_what_was_configured_and_no_more_than_its_surroundings() {
    for (configured, limits) in [
        (500, (250, 950)),
        (1000, (500, 1000)),
        (120, (100, 240)),
        (40, (40, 80)),
        (1, (1, 2)),
    ] {
        assert_eq!(Threshold::confidence(configured).limits(), limits, "{configured}");
    }
    for (configured, limits) in [
        (50, (12, 100)),
        (150, (37, 200)),
        (400, (100, 400)),
        (10, (5, 20)),
        (1, (1, 2)),
    ] {
        assert_eq!(Threshold::admission_loss(configured).limits(), limits, "{configured}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the rewards: nothing leaves its limits, what is off stays, every try is decided once, and home is where
    /// it was.
    #[test]
    fn no_rewards_lead_out_of_the_limits(
        confidence in 1_u32..=1000,
        loss in 1_u32..=500,
        off in 0_usize..4,
        rewards in prop::collection::vec(
            prop_oneof![-2.0_f32..2.0, -0.01_f32..0.01, Just(f32::NAN), Just(f32::INFINITY)],
            1..1500,
        ),
    ) {
        let mut thresholds = [Threshold::confidence(confidence), Threshold::admission_loss(loss)];
        for (place, threshold) in thresholds.iter_mut().enumerate() {
            if off & 1 << place != 0 {
                *threshold = Threshold::fixed(threshold.permille());
            }
        }
        let mut climber = Climber::new(thresholds);
        let (mut tried, mut decided, mut home) = (0, 0, None);
        for reward in rewards {
            let before = [0, 1].map(|threshold| climber.permille(threshold));
            let turn = climber.turn();
            let outcome = climber.window(reward);
            let after = [0, 1].map(|threshold| climber.permille(threshold));
            for (place, threshold) in thresholds.iter().enumerate() {
                let (min, max) = threshold.limits();
                prop_assert!((min..=max).contains(&after[place]));
                prop_assert!(after[place] == before[place] || turn == Some(place));
                prop_assert!(off & 1 << place == 0 || after[place] == threshold.permille());
            }
            match outcome {
                Some(Outcome::Tried) => {
                    tried += 1;
                    home = Some(before);
                    prop_assert_ne!(before, after);
                }
                Some(Outcome::Home) => prop_assert_eq!(home, Some(after)),
                Some(Outcome::TakenBack) => {
                    decided += 1;
                    prop_assert_eq!(home, Some(after));
                }
                Some(Outcome::Kept) => {
                    decided += 1;
                    prop_assert_ne!(home, Some(after));
                }
                None => prop_assert_eq!(before, after),
            }
        }
        prop_assert!(tried - decided <= 1);
        prop_assert!(off != 3 || tried == 0);
    }

    /// Rewards that are nothing but chance seldom keep a step.
    #[test]
    fn chance_is_seldom_followed(seed in any::<u64>()) {
        let mut climber = only_confidence(500);
        let (mut state, mut kept, mut tried) = (seed, 0, 0);
        for _ in 0..5000 {
            match climber.window(0.5 * chance(&mut state)) {
                Some(Outcome::Kept) => kept += 1,
                Some(Outcome::Tried) => tried += 1,
                _ => {}
            }
        }
        prop_assert!(kept * 4 <= tried, "{kept} of {tried}");
    }
}
