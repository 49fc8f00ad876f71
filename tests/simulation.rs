//! Seeded runs of the whole engine over simulated devices: delays, any order of completion, errors, bit flips, torn and
//! misdirected writes, loss of power, death of the process. Contents follow from the key, so that any wrong byte is
//! seen. The same seed gives the same run.
//!
//! For more seeds: `KVC_SIMULATION_SEEDS=100000 cargo test --release --test simulation`, and for one of them
//! `KVC_SIMULATION_SEED=4711`.

mod common;
mod simulated;

use simulated::run::{Faults, run};

/// Seeds to run: one that was asked for, or as many as were asked for, or `count`.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match (number("KVC_SIMULATION_SEED"), number("KVC_SIMULATION_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..count,
    }
}

/// Devices that work, and lose power: what was flushed is there, what was removed is not, and no byte is wrong.
#[test]
fn flushed_blocks_survive_any_loss_of_power() {
    let mut reopened = 0;
    for seed in seeds(1500) {
        reopened += run(seed, Faults::Power).reopened;
    }
    assert!(
        std::env::var("KVC_SIMULATION_SEED").is_ok() || reopened > 100,
        "it hardly came to that: {reopened}"
    );
}

/// Devices that err, lie and mix things up: no byte is wrong, and nothing hangs.
#[test]
fn devices_that_lie_never_make_a_wrong_byte() {
    let mut injected = 0;
    for seed in seeds(1500) {
        injected += run(seed, Faults::Lies).injected;
    }
    assert!(
        std::env::var("KVC_SIMULATION_SEED").is_ok() || injected > 100,
        "it hardly came to that: {injected}"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in seeds(40) {
        assert_eq!(run(seed, Faults::Power), run(seed, Faults::Power), "seed {seed}");
        assert_eq!(run(seed, Faults::Lies), run(seed, Faults::Lies), "seed {seed}");
    }
}
