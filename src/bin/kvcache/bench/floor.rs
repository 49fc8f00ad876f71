//! The floor: the least that answering a look-up from memory can cost.
//!
//! A read-only open-addressing table from a 64-bit key to a 64-bit value: no eviction, no pins, no state, no other
//! threads, half empty, four slots of 16 bytes to a cache line. A hit costs one line. It is on huge pages, like the
//! engine beside it, and is asked one key at a time or in batches of 16 that are prefetched first.

use std::io;

use kvcache::Key;
use kvcache::copy::prefetch;

use crate::sys::memory::Pages;

/// Keys asked together.
pub const BATCH: usize = 16;
/// Slots of a line.
const SLOTS: usize = 4;

/// The table: lines of four keys, then their four values. Key 0 is an empty slot.
pub struct Floor {
    lines: Pages<[u64; 2 * SLOTS]>,
}

impl Floor {
    /// A table that knows the first word of each key, with the key's place in `keys` as its value.
    ///
    /// # Errors
    /// The system's, when there is not so much memory.
    pub fn new(keys: &[Key]) -> io::Result<Self> {
        let mut floor = Self {
            lines: Pages::new(keys.len() * 2 / SLOTS)?,
        };
        for (value, key) in keys.iter().enumerate() {
            floor.insert(key.words()[0], value as u64);
        }
        Ok(floor)
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    fn insert(&mut self, key: u64, value: u64) {
        let mut at = self.home(key);
        loop {
            if let Some(slot) = self.lines[at][..SLOTS].iter().position(|&slot| slot == 0) {
                self.lines[at][slot] = key;
                self.lines[at][SLOTS + slot] = value;
                return;
            }
            at = (at + 1) % self.lines.len();
        }
    }

    #[inline(always)]
    fn home(&self, key: u64) -> usize {
        let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize
    }

    /// The value of `key`, if it is there.
    #[inline(always)]
    pub fn find(&self, key: u64) -> Option<u64> {
        self.find_at(self.home(key), key)
    }

    #[inline(always)]
    fn find_at(&self, mut at: usize, key: u64) -> Option<u64> {
        loop {
            let line = &self.lines[at];
            // All four slots without a branch each: which of them holds the key is a coin's throw.
            let slots: [bool; SLOTS] = core::array::from_fn(|slot| line[slot] == key);
            if slots.contains(&true) {
                let slot = usize::from(slots[1]) + 2 * usize::from(slots[2]) + 3 * usize::from(slots[3]);
                return Some(line[SLOTS + slot]);
            }
            if line[SLOTS - 1] == 0 {
                return None;
            }
            at = if at + 1 == self.lines.len() { 0 } else { at + 1 };
        }
    }

    /// How many of `keys`, at most [`BATCH`], are there.
    #[inline(always)]
    pub fn find_batch(&self, keys: &[Key]) -> u64 {
        let mut homes = [0; BATCH];
        for (home, key) in homes.iter_mut().zip(keys) {
            *home = self.home(key.words()[0]);
            prefetch(&raw const self.lines[*home]);
        }
        keys.iter()
            .zip(homes)
            .map(|(key, home)| u64::from(self.find_at(home, key.words()[0]).is_some()))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_knows_its_keys_and_no_others() {
        let keys: Vec<Key> = (1..=1000).map(|word| Key::from_words([word, 0, 0, 0])).collect();
        let floor = Floor::new(&keys).unwrap();
        for (value, key) in keys.iter().enumerate() {
            assert_eq!(floor.find(key.words()[0]), Some(value as u64));
        }
        assert_eq!((floor.find(1001), floor.find(u64::MAX)), (None, None));
        let hits: u64 = keys.chunks(BATCH).map(|keys| floor.find_batch(keys)).sum();
        assert_eq!(hits, 1000);
    }
}
