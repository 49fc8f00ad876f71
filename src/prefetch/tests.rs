//! The planner against naive models.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::vec::Vec;

fn words(conversations_count: u32) -> Vec<AtomicU64> {
    (0..Planner::words_count(conversations_count))
        .map(|_| AtomicU64::new(0))
        .collect()
}

/// Fingerprints of the first `count` blocks of a chain.
fn chain(of: u64, count: u64) -> Vec<u64> {
    (0..count)
        .map(|n| (of << 20 | n).wrapping_add(3).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .collect()
}

fn poll(planner: &Planner<'_>, now_ms: u64) -> Vec<Wish> {
    let mut wishes = [Wish::default(); 16];
    let count = planner.poll(now_ms, &mut wishes);
    wishes[..count].to_vec()
}

/// Blocks of a conversation's turn that were there before, where each brings four and the first one ten.
fn known_count(turn: usize) -> u32 {
    match turn {
        0 => 0,
        _ => 6 + 4 * turn as u32,
    }
}

/// Conversations that pause for a minute, half of which end after three requests: teaches, and returns the time.
fn taught(planner: &Planner<'_>, ids: bool) -> u64 {
    let mut now_ms = 0;
    for round in 0..200_u64 {
        let turns = if round % 2 == 0 { 3 } else { 9 };
        for turn in 0..turns {
            let id = if ids { round as u32 + 1 } else { 0 };
            planner.request(
                now_ms,
                id,
                &chain(round, 10 + 4 * turn),
                known_count(turn as usize),
                100,
            );
            for _ in 0..30 {
                now_ms += 2000;
                poll(planner, now_ms);
            }
        }
    }
    now_ms + 4_000_000
}

#[test]
fn a_conversation_is_wished_before_it_is_due_and_not_after_it_came() {
    for ids in [true, false] {
        let words = words(512);
        let planner = Planner::new(&words, 600);
        let start_ms = taught(&planner, ids);
        let id = if ids { 9999 } else { 0 };
        let (mut row, mut lapse_ms) = (0, 0);
        let mut now_ms = start_ms;
        let keys = chain(9999, 34);
        for turn in 0..6 {
            let asked = &keys[..10 + 4 * turn];
            let came = planner.request(now_ms, id, asked, known_count(turn), 100).unwrap();
            row = came.0;
            assert_eq!(came.1, turn > 0, "turn {turn}: wished by now");
            let mut wished = Vec::new();
            for _ in 0..30 {
                now_ms += 2000;
                wished.extend(poll(&planner, now_ms).into_iter().filter(|wish| wish.row == row));
            }
            for wish in &wished {
                assert_eq!((wish.tail, wish.conversation), (keys[9 + 4 * turn], id));
                assert!(wish.lapse_ms >= wish.due_ms && wish.probability >= 0.6);
                assert_eq!(wish.blocks_count as usize, 10 + 4 * turn);
                lapse_ms = wish.lapse_ms;
            }
        }
        // It does not come again: the wish lapses, and no other arises for one that is that late.
        assert!(planner.stands(row, keys[29], lapse_ms - 1));
        now_ms = lapse_ms;
        assert!(!planner.stands(row, keys[29], now_ms));
        assert!(poll(&planner, now_ms).iter().all(|wish| wish.row != row));
    }
}

#[test]
fn a_cancelled_conversation_is_not_wished_until_it_comes_again() {
    let words = words(512);
    let planner = Planner::new(&words, 300);
    let mut now_ms = taught(&planner, true);
    let keys = chain(7777, 30);
    let wished = |now_ms: &mut u64, cancel: bool| {
        let (row, _) = planner.request(*now_ms, 7777, &keys, 30, 100).unwrap();
        if cancel {
            assert!(planner.cancel(7777, 0));
        }
        let mut count = 0;
        for _ in 0..30 {
            *now_ms += 2000;
            count += poll(&planner, *now_ms).iter().filter(|wish| wish.row == row).count();
        }
        count
    };
    for _ in 0..5 {
        wished(&mut now_ms, false);
    }
    assert_eq!(wished(&mut now_ms, true), 0);
    assert!(wished(&mut now_ms, false) > 0);
    assert!(!planner.cancel(123_456, 0));
}

#[test]
fn a_chain_goes_on_where_its_last_block_was_not_full() {
    let words = words(64);
    let planner = Planner::new(&words, 500);
    let mut first = chain(1, 10);
    let (row, _) = planner.request(0, 0, &first, 0, 1).unwrap();
    // The last block is another one now, and there are more.
    first.truncate(9);
    first.extend(chain(2, 5));
    assert_eq!(planner.request(1000, 0, &first, 9, 1).unwrap().0, row);
    // Another prompt with the same beginning is another conversation.
    let mut other = chain(1, 4);
    other.extend(chain(3, 9));
    assert_ne!(planner.request(2000, 0, &other, 4, 1).unwrap().0, row);
    // What has no block is no request.
    assert_eq!(planner.request(3000, 0, &[], 0, 1), None);
}

/// Prompts that begin with the same eight blocks: what comes behind differs each time, or stays and grows.
#[test]
fn what_only_one_request_asked_for_is_not_wished_with_what_all_of_them_do() {
    let words = words(512);
    let planner = Planner::new(&words, 500);
    let document = chain(1, 8);
    let mut now_ms = 0;
    let mut ask = |round: u64| {
        let mut keys = document.clone();
        keys.extend(chain(100 + round, 12));
        planner
            .request(now_ms, 5, &keys, if round == 0 { 0 } else { 8 }, 100)
            .unwrap();
        let mut wished = Vec::new();
        for _ in 0..30 {
            now_ms += 2000;
            wished.extend(poll(&planner, now_ms));
        }
        wished
    };
    let wished: Vec<Wish> = (0..60).flat_map(&mut ask).collect();
    let learnt = &wished[wished.len() - 5..];
    assert!(
        learnt
            .iter()
            .all(|wish| (wish.likely_count, wish.blocks_count) == (8, 20)),
        "{learnt:?}"
    );
}

#[test]
fn wishes_come_worthiest_first_and_those_without_room_come_up_again() {
    let words = words(512);
    let planner = Planner::new(&words, 300);
    let now_ms = taught(&planner, true);
    for conversation in 0..60_u32 {
        planner.request(
            now_ms,
            5000 + conversation,
            &chain(u64::from(conversation) + 500, 12),
            0,
            10 * conversation + 1,
        );
    }
    let mut seen = HashMap::new();
    for step in 0..20 {
        let wishes = poll(&planner, now_ms + 45_500 + step);
        assert!(wishes.windows(2).all(|pair| pair[0].worth >= pair[1].worth));
        for wish in wishes {
            assert!(planner.stands(wish.row, wish.tail, now_ms + 46_000));
            *seen.entry(wish.conversation).or_insert(0) += 1;
        }
    }
    assert_eq!(seen.len(), 60);
    assert!(seen.values().all(|&count| count == 1));
}

proptest! {
    /// Against a map of unbounded size: as long as there is room, each conversation has a row of its own.
    #[test]
    fn rows_are_those_of_a_map(steps in prop::collection::vec((1_u32..40, 0_u64..100_000), 1..300)) {
        let words = words(512);
        let planner = Planner::new(&words, 500);
        let mut rows: HashMap<u32, u32> = HashMap::new();
        let mut now_ms = 0;
        for (id, pause_ms) in steps {
            now_ms += pause_ms;
            let row = planner.request(now_ms, id, &chain(u64::from(id), 5), 0, 1).unwrap().0;
            let known = rows.entry(id).or_insert(row);
            prop_assert_eq!(*known, row);
            poll(&planner, now_ms);
        }
        let mut distinct: Vec<_> = rows.values().collect();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), rows.len());
    }

    /// Whatever is said to it in whatever words: bounded, in order, and no wish that has lapsed.
    #[test]
    fn any_history_does(
        conversations_count in 0_u32..20,
        confidence in 1_u32..1000,
        garbage in any::<u64>(),
        steps in prop::collection::vec((any::<u32>(), any::<u64>(), 0_u64..1 << 34, 0_usize..20), 1..200),
    ) {
        let words = words(conversations_count);
        for (place, word) in words.iter().enumerate() {
            if garbage % 3 == 0 {
                word.store(garbage.rotate_left(place as u32), Ordering::Relaxed);
            }
        }
        let planner = Planner::new(&words, confidence);
        let mut now_ms = 0;
        for (id, of, pause_ms, blocks) in steps {
            now_ms += pause_ms >> (of % 34);
            planner.request(now_ms, id % 7, &chain(of % 11, blocks as u64), (of >> 40) as u32 % 32, id);
            if of % 5 == 0 {
                planner.cancel(id % 7, of);
            }
            for wish in poll(&planner, now_ms) {
                prop_assert!(wish.due_ms >= now_ms && wish.row < conversations_count);
                prop_assert!((1..=wish.blocks_count).contains(&wish.likely_count));
                prop_assert!((0.0..=1.0).contains(&wish.probability) || garbage % 3 == 0);
            }
        }
    }
}
