//! Blocks whose bytes follow from their key, so that every byte that comes back can be checked.
//!
//! The word at place `i` is `mix(start + i * step)`: start and an odd step come from the key, so that another block's
//! bytes, or this block's from another place, are wrong nearly everywhere. It is no stronger than that on purpose:
//! filling and checking run at the speed of memory, and what is measured is the cache.

use kvcache::Key;

/// Writes the block under `key`. A shorter block is the beginning of a longer one.
pub fn fill(key: &Key, target: &mut [u8]) {
    let words = Words::of(key);
    let (whole, rest) = target.as_chunks_mut::<8>();
    for (place, word) in whole.iter_mut().enumerate() {
        *word = words.at(place).to_le_bytes();
    }
    let last = words.at(whole.len()).to_le_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
}

/// How many bytes of `bytes` are not those of the block under `key`.
pub fn wrong_bytes(key: &Key, bytes: &[u8]) -> u64 {
    let words = Words::of(key);
    let (whole, rest) = bytes.as_chunks::<8>();
    let mut differences = 0;
    for (place, word) in whole.iter().enumerate() {
        differences |= u64::from_le_bytes(*word) ^ words.at(place);
    }
    let last = words.at(whole.len()).to_le_bytes();
    let wrong_in_rest = wrong_in(rest, &last);
    if differences == 0 {
        return wrong_in_rest;
    }
    let wrong_in_whole: u64 = whole
        .iter()
        .enumerate()
        .map(|(place, word)| wrong_in(word, &words.at(place).to_le_bytes()))
        .sum();
    wrong_in_whole + wrong_in_rest
}

fn wrong_in(bytes: &[u8], right: &[u8]) -> u64 {
    bytes.iter().zip(right).filter(|(byte, right)| byte != right).count() as u64
}

/// A block's words.
#[derive(Clone, Copy)]
struct Words {
    start: u64,
    step: u64,
}

impl Words {
    fn of(key: &Key) -> Self {
        let [start, step, ..] = key.words();
        Self { start, step: step | 1 }
    }

    #[inline(always)]
    fn at(self, place: usize) -> u64 {
        let word = self.start.wrapping_add(self.step.wrapping_mul(place as u64));
        word ^ word >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_byte_is_counted() {
        let key = Key::derive(0, b"content", b"1");
        for bytes_count in [1, 7, 8, 9, 64, 4099] {
            let mut bytes = vec![0; bytes_count];
            fill(&key, &mut bytes);
            assert_eq!(wrong_bytes(&key, &bytes), 0);
            for place in [0, bytes_count / 2, bytes_count - 1] {
                bytes[place] ^= 0x40;
                assert_eq!(wrong_bytes(&key, &bytes), 1, "{bytes_count} {place}");
                bytes[place] ^= 0x40;
            }
        }
    }

    #[test]
    fn other_blocks_and_other_places_are_wrong_nearly_everywhere() {
        let key = Key::derive(0, b"content", b"1");
        let mut bytes = vec![0; 64 << 10];
        fill(&key, &mut bytes);
        let other = Key::derive(0, b"content", b"2");
        assert!(wrong_bytes(&other, &bytes) > 63 << 10);
        for shift in [8, 4096, 16 << 10] {
            let mut moved = bytes.clone();
            moved.rotate_left(shift);
            assert!(wrong_bytes(&key, &moved) > 32 << 10, "{shift}");
        }
    }
}
