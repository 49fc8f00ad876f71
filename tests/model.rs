//! The whole engine against a naive model, one operation at a time: every answer, every byte, every counter.

mod common;

use common::run::{Setup, run};
use kvcache::config::PolicyKind;
use proptest::prelude::*;

fn config(cases: u32) -> ProptestConfig {
    // A failure prints its smallest operations; they become a test of their own.
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn every_answer_is_the_models(setup in any::<u64>(), numbers in prop::collection::vec(any::<u64>(), 1..200)) {
        run(&Setup::decode(setup), &numbers);
    }
}

proptest! {
    #![proptest_config(config(20))]

    /// A run is a function of its setup and its operations.
    #[test]
    fn the_same_operations_give_the_same_answers(
        setup in any::<u64>(),
        numbers in prop::collection::vec(any::<u64>(), 1..200),
    ) {
        let setup = Setup::decode(setup);
        prop_assert_eq!(run(&setup, &numbers), run(&setup, &numbers));
    }

    /// Long enough for every queue to go round and for tens of thousands of evictions, by each policy.
    #[test]
    fn long_runs_stay_within_the_rules(setup in any::<u64>(), seed in any::<u64>()) {
        let numbers: Vec<u64> = (0..5_000).map(|step| common::contents::mix(seed ^ step)).collect();
        for &policy in PolicyKind::ALL {
            run(&Setup { policy, ..Setup::decode(setup) }, &numbers);
        }
    }
}
