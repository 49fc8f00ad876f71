//! The importance table: what keys are worth to the caller, built beside the one in use and swapped in at once.
//!
//! Two tables of the same size. One is in use, or none; the other one is being built. A training run gives the next
//! epoch's importances while this one goes on, and swaps when it begins.
//!
//! **Progress.** One thread builds at a time; another one is told to come again. Those who look a key up never wait:
//! a cell is one word.

use super::Engine;
use super::evict::At;
use crate::block::facts::mark;
use crate::error::Status;
use crate::key::Key;
use crate::policy::Policy;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::turn::Turn;

/// The shared words of the tables; all-zero is "none in use, none being built".
#[repr(C)]
pub(crate) struct ImportanceControl {
    turn: Turn,
    /// Which table is in use: 0 for none, else its number from 1.
    active: AtomicU32,
    /// Which one is being built, by number; only with the turn.
    building: AtomicU32,
    /// Whether the policy still has to learn that there is another table.
    changed: AtomicU32,
    /// Keys in the one being built; only with the turn.
    len: AtomicU64,
}

/// The two tables over borrowed cells, all-zero is empty.
///
/// A cell is `mark of the key's fingerprint << 32 | importance`, the first free one from the key's home on. The home
/// comes from the fingerprint's high bits. Keys are told apart by both, so that one of several thousand million that
/// were not set may be taken for one that was.
pub(super) struct ImportanceTable<'m> {
    cells: &'m [AtomicU64],
}

impl<'m> ImportanceTable<'m> {
    pub(super) fn new(cells: &'m [AtomicU64]) -> Self {
        Self { cells }
    }

    fn half(&self, number: u32) -> &'m [AtomicU64] {
        let (first, second) = self.cells.split_at(self.cells.len() / 2);
        if number == 1 { first } else { second }
    }

    /// The cell with this fingerprint, or the first free one; `None` where there is neither.
    fn cell(cells: &'m [AtomicU64], fingerprint: u64) -> Option<&'m AtomicU64> {
        let home = ((u128::from(fingerprint) * cells.len() as u128) >> 64) as usize;
        let (before, from) = cells.split_at_checked(home)?;
        from.iter().chain(before).find(|cell| {
            // Relaxed: a cell says all in one word.
            let value = cell.load(Ordering::Relaxed);
            value == 0 || (value >> 32) as u32 == mark(fingerprint)
        })
    }

    /// What the table in use says of a key.
    pub(super) fn get(&self, control: &ImportanceControl, fingerprint: u64) -> Option<u32> {
        // Acquire: partner is the release in `importance_swap`.
        let active = control.active.load(Ordering::Acquire);
        if active == 0 {
            return None;
        }
        // Relaxed: as above. A table that is cleared during this look says nothing, and its successor announces itself
        // to the policy afterwards.
        let value = Self::cell(self.half(active), fingerprint)?.load(Ordering::Relaxed);
        (value != 0).then_some(value as u32)
    }
}

impl Engine<'_> {
    fn importance_exists(&self) -> Result<(), Status> {
        match self.config.importance_count {
            0 => Err(Status::Unsupported),
            _ => Ok(()),
        }
    }

    /// Begins a new importance table, empty, beside the one in use. One that was begun before and not swapped in is
    /// dropped. Clears every cell, which for a million keys takes about a millisecond.
    ///
    /// Any thread may call; nobody waits for it.
    ///
    /// # Errors
    /// [`Status::Unsupported`] where the configuration has no table (`importance_count` 0); [`Status::Again`] while
    /// another thread is in one of the three calls; [`Status::Shutdown`].
    pub fn importance_begin(&self) -> Result<(), Status> {
        self.check_open()?;
        self.importance_exists()?;
        let control = &self.control.importance;
        let _turn = control.turn.take().ok_or(Status::Again)?;
        // Relaxed: the turn orders it.
        let number = if control.active.load(Ordering::Relaxed) == 1 {
            2
        } else {
            1
        };
        for cell in self.importance.half(number) {
            // Relaxed: the release in `importance_swap` publishes it.
            cell.store(0, Ordering::Relaxed);
        }
        control.len.store(0, Ordering::Relaxed);
        control.building.store(number, Ordering::Relaxed);
        Ok(())
    }

    /// Sets importances in the table that was begun: `values[i]` for `keys[i]`, whether such a block is there or not.
    /// The last value of a key counts. Nothing changes for the policy until [`Engine::importance_swap`].
    ///
    /// Any thread may call; nobody waits for it.
    ///
    /// # Errors
    /// [`Status::Argument`] if there are not as many values as keys; [`Status::Stale`] if no table was begun;
    /// [`Status::TooLarge`] once it has as many keys as `importance_count` says: those before are set;
    /// [`Status::Unsupported`], [`Status::Again`], [`Status::Shutdown`] as [`Engine::importance_begin`].
    pub fn importance_set(&self, keys: &[Key], values: &[u32]) -> Result<(), Status> {
        self.check_open()?;
        self.importance_exists()?;
        if keys.len() != values.len() {
            return Err(Status::Argument);
        }
        let control = &self.control.importance;
        let _turn = control.turn.take().ok_or(Status::Again)?;
        // Relaxed: the turn orders what is being built.
        let number = match control.building.load(Ordering::Relaxed) {
            0 => return Err(Status::Stale),
            number => number,
        };
        let cells = self.importance.half(number);
        for (key, &value) in keys.iter().zip(values) {
            let fingerprint = key.fingerprint(self.config.hash_seed);
            let cell = ImportanceTable::cell(cells, fingerprint).ok_or(Status::TooLarge)?;
            if cell.load(Ordering::Relaxed) == 0 {
                let len = control.len.load(Ordering::Relaxed);
                if len == self.config.importance_count {
                    return Err(Status::TooLarge);
                }
                control.len.store(len + 1, Ordering::Relaxed);
            }
            cell.store(u64::from(mark(fingerprint)) << 32 | u64::from(value), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Puts the table that was begun in the place of the one in use, all at once. What it says of a key goes before
    /// what the put said; where it says nothing, the put's importance counts.
    ///
    /// The policy learns of it in one go: every block in memory is looked up and put in order again, about a
    /// microsecond each. This thread does that; where another one is just choosing a victim, that one or the next does
    /// it before it chooses again. Victims that are needed meanwhile are taken by the sweep.
    ///
    /// # Errors
    /// [`Status::Stale`] if no table was begun; [`Status::Unsupported`], [`Status::Again`], [`Status::Shutdown`] as
    /// [`Engine::importance_begin`].
    pub fn importance_swap(&self) -> Result<(), Status> {
        self.check_open()?;
        self.importance_exists()?;
        let control = &self.control.importance;
        let turn = control.turn.take().ok_or(Status::Again)?;
        // Relaxed: the turn orders it.
        let number = match control.building.swap(0, Ordering::Relaxed) {
            0 => return Err(Status::Stale),
            number => number,
        };
        // Release: partner is the acquire in `ImportanceTable::get`.
        control.active.store(number, Ordering::Release);
        // Release: partner is the acquire in `importance_inform`; who sees the change sees the table.
        control.changed.store(1, Ordering::Release);
        drop(turn);
        self.policy_tick();
        Ok(())
    }

    /// Whether the policy has to be told of another table.
    pub(super) fn importance_changed(&self) -> bool {
        // Relaxed: a reason to look.
        self.control.importance.changed.load(Ordering::Relaxed) != 0
    }

    /// Puts all blocks in order again if there is another table. Only with the policy's turn.
    pub(super) fn importance_inform(&self, blocks: &At<'_, '_>) {
        // Acquire: partner is the release in `importance_swap`.
        if !self.importance_changed() || self.control.importance.changed.swap(0, Ordering::Acquire) == 0 {
            return;
        }
        self.index.each_used(|index| {
            if self.entries[index as usize].state().is_resident() {
                self.policy.insert(index, blocks);
            }
        });
    }
}

#[cfg(all(test, not(loom), feature = "std"))]
mod tests {
    use crate::config::PolicyKind;
    use crate::{Cache, Config, Key, PutInfo, Status};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::vec::Vec;

    const SLOTS: usize = 8;

    fn key(number: u64) -> Key {
        Key::derive(0, b"importance", &number.to_le_bytes())
    }

    fn open(importance_count: u64) -> Cache {
        Cache::open(&Config {
            block_bytes: 64,
            cpu_bytes: 64 * SLOTS as u64,
            policy: PolicyKind::Importance,
            stripes_count: 1,
            clock_ticks: true,
            importance_count,
            ..Config::default()
        })
        .unwrap()
    }

    fn put(cache: &Cache, number: u64, importance: u32) {
        let info = PutInfo {
            importance,
            ..PutInfo::default()
        };
        cache.put(&key(number), b"x", &info).unwrap();
    }

    fn resident(cache: &Cache, number: u64) -> bool {
        cache.match_prefix(&[key(number)], false) == 1
    }

    proptest! {
        /// Against a map: what goes is always the least important there is by the table in use and the puts.
        #[test]
        fn evicts_the_least_important(
            epochs in prop::collection::vec(
                (prop::collection::vec((0..20_u64, 0..1000_u32), 0..16), prop::collection::vec(0..20_u64, 1..40)),
                1..6,
            ),
        ) {
            let cache = open(16);
            let mut given: HashMap<u64, u32> = HashMap::new();
            let mut there: HashMap<u64, u32> = HashMap::new();
            for (table, visits) in epochs {
                let (keys, values): (Vec<Key>, Vec<u32>) = table.iter().map(|&(n, value)| (key(n), value)).unzip();
                cache.importance_begin().unwrap();
                cache.importance_set(&keys, &values).unwrap();
                let old = given;
                let importance = |given: &HashMap<u64, u32>, n: u64, said: u32| given.get(&n).copied().unwrap_or(said);
                // Nothing changes before the swap.
                if there.len() == SLOTS {
                    let least = there.iter().map(|(&n, &said)| importance(&old, n, said)).min().unwrap();
                    let before: Vec<u64> = there.keys().copied().collect();
                    put(&cache, 1000, 5000);
                    let gone: Vec<u64> = before.into_iter().filter(|&n| !resident(&cache, n)).collect();
                    prop_assert_eq!(gone.len(), 1);
                    prop_assert_eq!(importance(&old, gone[0], there[&gone[0]]), least);
                    there.remove(&gone[0]);
                    prop_assert_eq!(cache.remove(&[key(1000)]), 1);
                }
                cache.importance_swap().unwrap();
                given = table.into_iter().collect();
                for n in visits {
                    if there.contains_key(&n) {
                        continue;
                    }
                    let full = there.len() == SLOTS;
                    let least = there.iter().map(|(&n, &said)| importance(&given, n, said)).min();
                    let said = (n as u32 * 131) % 1000;
                    put(&cache, n, said);
                    let gone: Vec<u64> = there.keys().copied().filter(|&n| !resident(&cache, n)).collect();
                    prop_assert_eq!(gone.len(), usize::from(full));
                    for gone in gone {
                        let said = there.remove(&gone).unwrap();
                        prop_assert_eq!(Some(importance(&given, gone, said)), least);
                    }
                    there.insert(n, said);
                }
            }
        }
    }

    #[test]
    fn calls_out_of_order_and_full_tables_are_refused() {
        let cache = open(0);
        assert_eq!(cache.importance_begin(), Err(Status::Unsupported));
        assert_eq!(cache.importance_set(&[], &[]), Err(Status::Unsupported));
        assert_eq!(cache.importance_swap(), Err(Status::Unsupported));
        let cache = open(3);
        assert_eq!(cache.importance_set(&[key(1)], &[1]), Err(Status::Stale));
        assert_eq!(cache.importance_swap(), Err(Status::Stale));
        cache.importance_begin().unwrap();
        assert_eq!(cache.importance_set(&[key(1)], &[]), Err(Status::Argument));
        let keys: Vec<Key> = (0..5).map(key).collect();
        cache.importance_set(&keys[..3], &[1, 2, 3]).unwrap();
        cache.importance_set(&keys[..3], &[7, 8, 9]).unwrap();
        assert_eq!(cache.importance_set(&keys[2..5], &[4, 5, 6]), Err(Status::TooLarge));
        cache.importance_swap().unwrap();
        assert_eq!(cache.importance_swap(), Err(Status::Stale), "it was swapped in already");
        cache.importance_begin().unwrap();
        cache.shutdown();
        assert_eq!(cache.importance_swap(), Err(Status::Shutdown));
    }
}
