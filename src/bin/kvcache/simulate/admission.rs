//! Which of the blocks that leave the first tier are written to the second.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use kvcache::policy::Access;

use super::stream::Mixed;
use crate::replay::AdmissionName;

/// Where a block was when a request asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// In the first tier.
    Near,
    /// In the second, and not in the first.
    Below,
    /// In neither.
    Nowhere,
}

/// A rule for the second tier. It sees every access, in the order in which hits are noted and blocks inserted, and may
/// keep what it likes within a bound that its capacities give.
pub trait Admission {
    /// A request asked for a block.
    fn used(&mut self, access: &Access, found: Found);

    /// Whether a block is written down that leaves the first tier and is not in the second.
    fn admits(&mut self, leaving: &Access) -> bool;

    /// A block leaves the first tier that is in the second.
    fn left(&mut self, leaving: &Access);

    /// A block has left the second tier. It may still be in the first.
    fn dropped(&mut self, fingerprint: u64);
}

/// The rule of a name, for tiers of so many blocks.
///
/// # Errors
/// A rule that is not simulated.
pub fn admission(name: AdmissionName, below_capacity: u32) -> Result<Box<dyn Admission>, String> {
    match name {
        AdmissionName::All => Ok(Box::new(All)),
        AdmissionName::SecondHit => Ok(Box::new(SecondHit::new(below_capacity))),
        AdmissionName::Reuse => Err("--admission reuse is not simulated; all and second-hit are".into()),
    }
}

/// Everything is written: lazy copy.
pub struct All;

impl Admission for All {
    fn used(&mut self, _access: &Access, _found: Found) {}

    fn admits(&mut self, _leaving: &Access) -> bool {
        true
    }

    fn left(&mut self, _leaving: &Access) {}

    fn dropped(&mut self, _fingerprint: u64) {}
}

/// Only what was used again is written: while it was in a tier, or after it had been in one and was still remembered.
/// As many blocks that are in neither are remembered as the second tier holds.
pub struct SecondHit {
    /// Blocks of the first tier that were used again.
    again: HashMap<u64, (), BuildHasherDefault<Mixed>>,
    remembered: Remembered,
}

impl SecondHit {
    fn new(below_capacity: u32) -> Self {
        Self {
            again: HashMap::default(),
            remembered: Remembered::new(below_capacity as usize),
        }
    }
}

impl Admission for SecondHit {
    fn used(&mut self, access: &Access, found: Found) {
        if self.remembered.remove(access.fingerprint) || found != Found::Nowhere {
            self.again.insert(access.fingerprint, ());
        }
    }

    fn admits(&mut self, leaving: &Access) -> bool {
        let again = self.again.remove(&leaving.fingerprint).is_some();
        if !again {
            self.remembered.push(leaving.fingerprint);
        }
        again
    }

    fn left(&mut self, leaving: &Access) {
        self.again.remove(&leaving.fingerprint);
    }

    fn dropped(&mut self, fingerprint: u64) {
        if !self.again.contains_key(&fingerprint) {
            self.remembered.push(fingerprint);
        }
    }
}

/// Fingerprints in the order in which they came, a bounded number of them: the oldest goes first.
struct Remembered {
    capacity: usize,
    turn: u64,
    /// When each one came last.
    turns: HashMap<u64, u64, BuildHasherDefault<Mixed>>,
    /// Those that are not in `turns` with the same turn have gone, or came again.
    order: VecDeque<(u64, u64)>,
}

impl Remembered {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            turn: 0,
            turns: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    fn push(&mut self, fingerprint: u64) {
        self.turn += 1;
        self.turns.insert(fingerprint, self.turn);
        self.order.push_back((fingerprint, self.turn));
        while self.turns.len() > self.capacity
            && let Some((oldest, turn)) = self.order.pop_front()
        {
            if self.turns.get(&oldest) == Some(&turn) {
                self.turns.remove(&oldest);
            }
        }
        if self.order.len() > 2 * self.capacity + 64 {
            let turns = &self.turns;
            self.order
                .retain(|(fingerprint, turn)| turns.get(fingerprint) == Some(turn));
        }
    }

    /// Whether it was remembered.
    fn remove(&mut self, fingerprint: u64) -> bool {
        self.turns.remove(&fingerprint).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn access(fingerprint: u64) -> Access {
        Access {
            fingerprint,
            ..Access::default()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

        /// Against a list in order.
        #[test]
        fn the_oldest_is_forgotten_first(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..12), 0..400),
            capacity in 1_usize..8,
        ) {
            let mut remembered = Remembered::new(capacity);
            let mut list: Vec<u64> = Vec::new();
            for (push, fingerprint) in steps {
                let known = list.iter().position(|other| *other == fingerprint).map(|place| list.remove(place));
                if push {
                    remembered.push(fingerprint);
                    list.push(fingerprint);
                    if list.len() > capacity {
                        list.remove(0);
                    }
                } else {
                    prop_assert_eq!(remembered.remove(fingerprint), known.is_some());
                }
                prop_assert!(remembered.turns.len() == list.len() && remembered.order.len() <= 2 * capacity + 64);
            }
        }
    }

    #[test]
    fn only_what_was_used_again_is_written() {
        let mut rule = SecondHit::new(2);
        rule.used(&access(1), Found::Nowhere);
        rule.used(&access(2), Found::Nowhere);
        rule.used(&access(2), Found::Near);
        assert!(!rule.admits(&access(1)) && rule.admits(&access(2)));
        // 1 is remembered: when it comes back it has been used again.
        rule.used(&access(1), Found::Nowhere);
        assert!(rule.admits(&access(1)));
        // So is what left the second tier, and what had been used again is forgotten with the first.
        rule.used(&access(2), Found::Below);
        rule.left(&access(2));
        assert!(rule.again.is_empty());
        rule.dropped(2);
        rule.used(&access(2), Found::Nowhere);
        assert!(rule.admits(&access(2)));
        // Two are remembered, and no more.
        for block in [3, 4, 5] {
            rule.used(&access(block), Found::Nowhere);
            assert!(!rule.admits(&access(block)));
        }
        for (block, again) in [(5, true), (4, true), (3, false)] {
            rule.used(&access(block), Found::Nowhere);
            assert_eq!(rule.admits(&access(block)), again, "{block}");
        }
    }
}
