//! Which of the blocks that leave the first tier are written to the second.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use kvcache::policy::{Access, Departure, Reuse};

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
    /// A request asked for a block, at a time of the trace in milliseconds.
    fn used(&mut self, access: &Access, found: Found, now_ms: u64);

    /// Whether a block is written down that leaves the first tier and is not in the second.
    fn admits(&mut self, leaving: &Access, now_ms: u64) -> bool;

    /// A block leaves the first tier that is in the second.
    fn left(&mut self, leaving: &Access);

    /// A block has left the second tier. It may still be in the first.
    fn dropped(&mut self, fingerprint: u64);
}

/// The rule of a name, for tiers of so many blocks.
pub fn admission(name: AdmissionName, below_capacity: u32) -> Box<dyn Admission> {
    match name {
        AdmissionName::All => Box::new(All),
        AdmissionName::SecondHit => Box::new(SecondHit::new(below_capacity)),
        AdmissionName::Reuse => Box::new(Predicted::new(below_capacity)),
    }
}

/// The engine's own filter, which may cost so many thousandths of the hits.
pub fn reuse(below_capacity: u32, loss_permille: u64) -> Box<dyn Admission> {
    let mut rule = Predicted::new(below_capacity);
    rule.filter.set_loss_permille(loss_permille);
    Box::new(rule)
}

/// Everything is written: lazy copy.
pub struct All;

impl Admission for All {
    fn used(&mut self, _access: &Access, _found: Found, _now_ms: u64) {}

    fn admits(&mut self, _leaving: &Access, _now_ms: u64) -> bool {
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
    fn used(&mut self, access: &Access, found: Found, _now_ms: u64) {
        if self.remembered.remove(access.fingerprint) || found != Found::Nowhere {
            self.again.insert(access.fingerprint, ());
        }
    }

    fn admits(&mut self, leaving: &Access, _now_ms: u64) -> bool {
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

/// The engine's own filter.
pub struct Predicted {
    filter: Reuse,
    /// Blocks of the first tier: when each was used, how often since it came, and which life it is.
    near: HashMap<u64, Life, BuildHasherDefault<Mixed>>,
    lives: u32,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    used_ms: u64,
    uses: u16,
    number: u32,
}

impl Predicted {
    fn new(below_capacity: u32) -> Self {
        Self {
            filter: Reuse::new(u64::from(below_capacity)),
            near: HashMap::default(),
            lives: 0,
        }
    }
}

impl Admission for Predicted {
    fn used(&mut self, access: &Access, found: Found, now_ms: u64) {
        if found == Found::Below {
            self.filter.hit(access.fingerprint);
        }
        let lives = &mut self.lives;
        let mut is_new = false;
        let life = self.near.entry(access.fingerprint).or_insert_with(|| {
            is_new = true;
            *lives = lives.wrapping_add(1);
            Life {
                used_ms: now_ms,
                uses: 0,
                number: *lives,
            }
        });
        life.used_ms = now_ms;
        life.uses = life.uses.saturating_add(u16::from(!is_new));
    }

    fn admits(&mut self, leaving: &Access, now_ms: u64) -> bool {
        let life = self.near.remove(&leaving.fingerprint);
        let leaving = Departure {
            fingerprint: leaving.fingerprint,
            waited_ms: life.map_or(0, |life| now_ms.saturating_sub(life.used_ms)),
            depth: leaving.depth,
            tokens: leaving.tokens,
            uses: life.map_or(0, |life| life.uses),
            life: life.map_or(0, |life| life.number),
        };
        let admits = self.filter.admits(&leaving);
        self.filter.left(&leaving);
        admits
    }

    fn left(&mut self, leaving: &Access) {
        self.near.remove(&leaving.fingerprint);
    }

    fn dropped(&mut self, _fingerprint: u64) {}
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
        rule.used(&access(1), Found::Nowhere, 0);
        rule.used(&access(2), Found::Nowhere, 0);
        rule.used(&access(2), Found::Near, 0);
        assert!(!rule.admits(&access(1), 0) && rule.admits(&access(2), 0));
        // 1 is remembered: when it comes back it has been used again.
        rule.used(&access(1), Found::Nowhere, 0);
        assert!(rule.admits(&access(1), 0));
        // So is what left the second tier, and what had been used again is forgotten with the first.
        rule.used(&access(2), Found::Below, 0);
        rule.left(&access(2));
        assert!(rule.again.is_empty());
        rule.dropped(2);
        rule.used(&access(2), Found::Nowhere, 0);
        assert!(rule.admits(&access(2), 0));
        // Two are remembered, and no more.
        for block in [3, 4, 5] {
            rule.used(&access(block), Found::Nowhere, 0);
            assert!(!rule.admits(&access(block), 0));
        }
        for (block, again) in [(5, true), (4, true), (3, false)] {
            rule.used(&access(block), Found::Nowhere, 0);
            assert_eq!(rule.admits(&access(block), 0), again, "{block}");
        }
    }

    #[test]
    fn what_is_never_asked_for_again_is_not_written() {
        let mut rule = Predicted::new(1);
        let block = |fingerprint: u64| Access {
            depth: if fingerprint.is_multiple_of(2) { 0 } else { 100 },
            ..access(fingerprint)
        };
        let mut written = [0, 0];
        for fingerprint in 0..6000 {
            let leaving = block(fingerprint);
            rule.used(&leaving, Found::Nowhere, fingerprint);
            let admits = rule.admits(&leaving, fingerprint + 30_000);
            written[(fingerprint % 2) as usize] += u32::from(admits);
            if leaving.depth == 0 {
                // Copied up, and gone again without being written.
                rule.used(&leaving, Found::Below, fingerprint + 60_000);
                rule.left(&leaving);
            }
        }
        assert_eq!(written[0], 3000);
        assert!(written[1] < 1000 && rule.near.is_empty(), "{written:?}");
    }
}
