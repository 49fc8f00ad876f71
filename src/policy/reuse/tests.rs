//! Against a sorted list, and what it comes to over time.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

fn block(fingerprint: u64, waited_ms: u64) -> Departure {
    Departure {
        fingerprint,
        waited_ms,
        depth: 3,
        tokens: 16,
        uses: 0,
        life: fingerprint as u32,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_ghost_is_what_it_was(
        mark: u32, turn: u16, life in 0_u16..32, kind in 0..KINDS as u16, refused: bool, counted: bool,
    ) {
        let ghost = Ghost { mark, turn, life, kind, refused, counted };
        prop_assert_eq!(Ghost::decode(ghost.encode()), ghost);
    }

    /// The kinds that are refused are the first ones of all, by how often they are asked for, that may be lost
    /// together.
    #[test]
    fn what_is_refused_is_the_beginning_of_a_sorted_list(
        kinds in prop::collection::vec((0_u32..200, 0_u32..200), KINDS),
        caution_permille in CAUTION_MIN..=PERMILLE,
        loss_permille in 1_u64..=500,
    ) {
        let mut reuse = Reuse::new(1);
        reuse.caution_permille = caution_permille;
        reuse.set_loss_permille(loss_permille);
        for (kind, (seen, asked)) in kinds.iter().enumerate() {
            (reuse.seen[kind], reuse.asked[kind]) = (*seen, *asked);
        }
        reuse.decide();
        let mut sorted: Vec<usize> = (0..KINDS).filter(|&kind| kinds[kind].0 >= 16).collect();
        sorted.sort_by(|&a, &b| {
            let product = |a: usize, b: usize| (kinds[a].1 + 1) * kinds[b].0;
            product(a, b).cmp(&product(b, a)).then(a.cmp(&b))
        });
        let all: u64 = kinds.iter().map(|&(_, asked)| u64::from(asked)).sum();
        let may = all * loss_permille * caution_permille / 1_000_000;
        let mut sum = 0;
        let mut refused: Vec<usize> = sorted
            .into_iter()
            .take_while(|&kind| {
                sum += u64::from(kinds[kind].1) + 1;
                sum <= may
            })
            .collect();
        refused.sort_unstable();
        let found: Vec<usize> = (0..KINDS).filter(|&kind| reuse.refused[kind]).collect();
        prop_assert_eq!(found, refused);
    }

    /// Whatever comes: counts are bounded and fit, and caution stays where it belongs.
    #[test]
    fn the_books_stay_bounded(
        steps in prop::collection::vec((0_u64..3000, 0_u64..1 << 40, 0_u32..4, 0_u32..3), 0..6000),
    ) {
        let mut reuse = Reuse::new(1);
        for (fingerprint, waited_ms, life, what) in steps {
            match what {
                0 => reuse.hit(fingerprint),
                _ => reuse.left(&Departure { life, ..block(fingerprint, waited_ms) }),
            }
            prop_assert!((CAUTION_MIN..=PERMILLE).contains(&reuse.caution_permille));
            prop_assert!(reuse.seen_count <= SEEN_MAX && reuse.hits + reuse.lost <= LOSS_HITS_MAX);
        }
        prop_assert_eq!(reuse.seen_count, reuse.seen.iter().sum::<u32>());
    }

    /// More lost than may be makes it more careful until it is as careful as can be; less makes it bolder again.
    #[test]
    fn caution_follows_the_loss(lost in 1_u32..40, rounds in 1_usize..400) {
        let mut reuse = Reuse::new(1);
        let mut before = reuse.caution_permille;
        for _ in 0..rounds {
            (reuse.hits, reuse.lost) = (40, lost + 3);
            reuse.balance();
            prop_assert!(reuse.caution_permille < before || before == CAUTION_MIN);
            before = reuse.caution_permille;
        }
        for _ in 0..rounds {
            (reuse.hits, reuse.lost) = (40, 1);
            reuse.balance();
            prop_assert!(reuse.caution_permille > before || before == PERMILLE);
            before = reuse.caution_permille;
        }
    }
}

/// Blocks of two kinds go, those of one come back below; returns how many of each kind were admitted.
fn run(reuse: &mut Reuse, fingerprints: core::ops::Range<u64>, comes_back: impl Fn(u64) -> bool) -> [u32; 2] {
    let mut admitted = [0, 0];
    for fingerprint in fingerprints {
        let leaving = block(fingerprint, if fingerprint % 2 == 0 { 5_000 } else { 500_000 });
        let admits = reuse.admits(&leaving);
        admitted[(fingerprint % 2) as usize] += u32::from(admits);
        reuse.left(&leaving);
        if comes_back(fingerprint) {
            match admits {
                true => reuse.hit(fingerprint),
                // It came back from nowhere, and leaves again.
                false => reuse.left(&Departure {
                    life: leaving.life + 1,
                    ..leaving
                }),
            }
        }
    }
    admitted
}

#[test]
fn a_kind_that_comes_back_again_is_taken_again() {
    let mut reuse = Reuse::new(1);
    let learnt = run(&mut reuse, 0..4000, |fingerprint| fingerprint % 2 == 0);
    assert!(learnt[0] == 2000 && learnt[1] < 500, "{learnt:?}");
    assert_eq!(
        run(&mut reuse, 4000..6000, |fingerprint| fingerprint % 2 == 0),
        [1000, 0]
    );
    // Now the other kind does, too.
    run(&mut reuse, 6000..7000, |_| true);
    assert_eq!(run(&mut reuse, 7000..8000, |_| true), [500, 500]);
}

#[test]
fn a_block_that_could_not_leave_was_not_asked_for() {
    let mut reuse = Reuse::new(1);
    let leaving = block(7, 5_000);
    reuse.left(&leaving);
    let before = (reuse.turn, reuse.asked);
    reuse.left(&leaving);
    assert_eq!((reuse.turn, reuse.asked), before);
    reuse.left(&Departure { life: 8, ..leaving });
    assert_eq!(reuse.asked.iter().sum::<u32>(), 1);
}

#[test]
fn a_large_tier_is_sampled_so_that_ghosts_last_as_long_as_its_blocks() {
    for (blocks_count, shift) in [(0, 0), (1, 0), (2048, 0), (8192, 2), (1 << 40, 29)] {
        assert_eq!(Reuse::new(blocks_count).sample_shift, shift);
    }
    let mut reuse = Reuse::new(64 * 2048);
    (0..64_000).for_each(|fingerprint| reuse.left(&block(fingerprint, 0)));
    assert!((900..1100).contains(&reuse.turn), "{}", reuse.turn);
}

/// Too few of any age and depth to conclude anything from, together they are many: short blocks are refused at every
/// age and depth, and full ones of the same ages at none.
#[test]
fn what_is_learnt_of_short_blocks_holds_for_all_of_them() {
    let mut reuse = Reuse::new(1);
    let short = |leaving: Departure| Departure { tokens: 5, ..leaving };
    for fingerprint in 0..4000 {
        let leaving = block(fingerprint, 1000 << (fingerprint % 7));
        match fingerprint % 8 {
            0 => reuse.left(&short(leaving)),
            _ => {
                reuse.left(&leaving);
                reuse.hit(fingerprint);
            }
        }
    }
    for (octave, depth) in [(0, 0), (3, 3), (7, 20), (11, 1000)] {
        let leaving = Departure {
            depth,
            ..block(1 << 40, 1000 << octave)
        };
        assert!(reuse.admits(&leaving), "{leaving:?}");
        assert!(!reuse.admits(&short(leaving)), "{leaving:?}");
    }
}
