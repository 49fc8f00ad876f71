//! Sharing against a naive count of who has what.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

/// Storage for a few slots.
struct Storage {
    slots: Vec<AtomicU64>,
    cells: Vec<AtomicU64>,
    totals: SharedTotals,
}

impl Storage {
    fn new(slots_count: u64) -> Self {
        let words = |count: u64| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            slots: words(2 * slots_count),
            cells: words(slots_count.div_ceil(DIGEST_LINE_SLOTS) * LINE_CELLS),
            totals: SharedTotals::new(),
        }
    }

    fn sharing(&self, references_max: u64) -> Sharing<'_> {
        Sharing::new(&self.slots, &self.cells, &self.totals, references_max)
    }

    fn is_empty(&self) -> bool {
        let words = self.cells.iter().chain(self.slots.iter().step_by(2));
        let empty = words.map(|word| word.load(Ordering::Relaxed)).all(|word| word == 0);
        empty && self.totals.bytes() == 0 && self.totals.references.load(Ordering::Relaxed) == 0
    }
}

/// A slot in use, as the naive model has it.
#[derive(Clone, Copy)]
struct Used {
    contents: u64,
    bytes: u32,
    references: u64,
    /// Whether a cell leads to it.
    found: bool,
}

/// A block that holds `contents`, in which slot.
fn commit(
    sharing: &Sharing<'_>,
    used: &mut [Option<Used>],
    (contents, bytes, digest): (u64, u32, u64),
    references_max: u64,
) -> Option<usize> {
    let own = used.iter().position(Option::is_none)?;
    let live = || used.iter().flatten();
    let shared: u64 = live().map(|slot| slot.references - 1).sum();
    let twin = used
        .iter()
        .position(|slot| slot.is_some_and(|slot| slot.found && (slot.contents, slot.bytes) == (contents, bytes)));
    let mut compared = 0;
    let search = sharing.find(
        digest,
        bytes,
        |slot| {
            compared += 1;
            used[slot as usize].is_some_and(|slot| slot.contents == contents)
        },
        |slot| panic!("slot {slot} was given up by a comparison while it is in use"),
    );
    if shared == references_max {
        assert_eq!((search.slot, compared), (None, 0));
        assert!(
            search.full || twin.is_none(),
            "there is a twin, and more references than that"
        );
    } else {
        assert_eq!((search.slot.map(|slot| slot as usize), search.full), (twin, false));
        assert_eq!(search.collisions + u64::from(twin.is_some()), compared);
    }
    match search.slot {
        Some(slot) => {
            let slot = slot as usize;
            if let Some(used) = &mut used[slot] {
                used.references += 1;
            }
            Some(slot)
        }
        None => {
            if !search.full {
                sharing.offer(own as u32, digest, bytes);
            }
            used[own] = Some(Used {
                contents,
                bytes,
                references: 1,
                found: !search.full,
            });
            Some(own)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Blocks of a few contents and lengths come and go: each shares a slot exactly if one with the same bytes can be
    /// found, whatever the digests are, and the last one to go frees it.
    #[test]
    fn a_slot_is_shared_by_who_has_the_same_bytes_and_freed_once(
        slots_count in 1_u64..9,
        references_max in 0_u64..9,
        digests in 0..3,
        steps in prop::collection::vec((0_u64..6, 1_u32..3, any::<bool>(), any::<usize>()), 1..200),
    ) {
        let storage = Storage::new(slots_count);
        let sharing = storage.sharing(references_max);
        let digest = |contents: u64, bytes: u32| match digests {
            // Every digest the same, two of them, or all there are.
            0 => 7,
            1 => contents % 2,
            _ => (contents << 32 | u64::from(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        let mut used: Vec<Option<Used>> = std::vec![None; slots_count as usize];
        let mut blocks: Vec<usize> = Vec::new();
        for (contents, bytes, comes, which) in steps {
            if comes {
                let block = (contents, bytes, digest(contents, bytes));
                blocks.extend(commit(&sharing, &mut used, block, references_max));
            } else if !blocks.is_empty() {
                let slot = blocks.swap_remove(which % blocks.len());
                let left = used[slot].as_mut().unwrap();
                left.references -= 1;
                let last = left.references == 0;
                prop_assert_eq!(sharing.is_shared(slot as u32), left.references > 0);
                prop_assert_eq!(sharing.let_go(slot as u32), last);
                if last {
                    used[slot] = None;
                }
            }
            let saved: u64 = used.iter().flatten().map(|slot| (slot.references - 1) * u64::from(slot.bytes)).sum();
            prop_assert_eq!(sharing.totals().bytes(), saved);
        }
        for slot in blocks {
            let left = used[slot].as_mut().unwrap();
            left.references -= 1;
            prop_assert_eq!(sharing.let_go(slot as u32), left.references == 0);
        }
        prop_assert!(storage.is_empty());
    }
}

/// However many slots have one digest, at most 16 are compared, and those that found no cell are freed like all others.
#[test]
fn a_digest_of_many_has_no_more_than_sixteen_candidates() {
    let storage = Storage::new(200);
    let sharing = storage.sharing(200);
    for slot in 0..200 {
        let mut compared = 0;
        let search = sharing.find(
            u64::MAX / 3,
            8,
            |_| {
                compared += 1;
                false
            },
            |_| unreachable!(),
        );
        assert_eq!((search.collisions, search.slot), (compared, None));
        assert_eq!(compared, u64::from(slot).min(16));
        sharing.offer(slot, u64::MAX / 3, 8);
    }
    assert!((0..200).all(|slot| sharing.let_go(slot)));
    assert!(storage.is_empty());
}

/// With as many different digests as slots all of them can be found: the table is large enough.
#[test]
fn every_slot_is_found_by_its_digest_when_all_are_in_use() {
    const SLOTS_COUNT: u32 = 20_000;
    let storage = Storage::new(u64::from(SLOTS_COUNT));
    let sharing = storage.sharing(1);
    let digest = |slot: u32| {
        let number = u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (number ^ number >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    };
    (0..SLOTS_COUNT).for_each(|slot| sharing.offer(slot, digest(slot), 1));
    for slot in 0..SLOTS_COUNT {
        let search = sharing.find(digest(slot), 1, |found| found == slot, |_| unreachable!());
        assert_eq!(search.slot, Some(slot));
        assert!(!sharing.let_go(slot));
    }
    assert!((0..SLOTS_COUNT).all(|slot| sharing.let_go(slot)));
    assert!(storage.is_empty());
}

/// A block that everybody else gives up while its bytes are compared is freed by who compared them.
#[test]
fn what_is_given_up_during_a_comparison_is_freed_after_it() {
    let storage = Storage::new(4);
    let sharing = storage.sharing(4);
    sharing.offer(2, 5, 8);
    let mut freed = Vec::new();
    let search = sharing.find(
        5,
        8,
        |slot| {
            assert!(!sharing.let_go(slot), "the comparison has a reference");
            false
        },
        |slot| freed.push(slot),
    );
    assert_eq!((search.slot, search.collisions, freed), (None, 1, std::vec![2]));
    assert!(storage.is_empty());
}
