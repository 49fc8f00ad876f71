//! Blocks whose bytes follow from their key, so that every byte that comes back can be checked.

use kvcache::Key;

use super::BLOCK_BYTES;

/// Room for one block.
pub struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// Room, zeroed.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; BLOCK_BYTES],
        }
    }

    /// The bytes, to be overwritten.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The block under `key`.
    pub fn filled(&mut self, key: &Key) -> &[u8] {
        fill(key, &mut self.bytes);
        &self.bytes
    }

    /// How many bytes are not those of the block under `key`.
    pub fn wrong_bytes(&self, key: &Key) -> u64 {
        wrong_bytes(key, &self.bytes)
    }
}

/// The key of the block with a number.
pub fn key(number: u64) -> Key {
    Key::derive(1, b"demo", &number.to_le_bytes())
}

/// Writes the block under `key`.
pub fn fill(key: &Key, target: &mut [u8]) {
    for (word, next) in target.chunks_mut(8).zip(words(key)) {
        word.copy_from_slice(&next.to_le_bytes()[..word.len()]);
    }
}

/// How many bytes of `bytes` are not those of the block under `key`.
pub fn wrong_bytes(key: &Key, bytes: &[u8]) -> u64 {
    let differing = |(word, next): (&[u8], u64)| {
        let right = next.to_le_bytes();
        word.iter().zip(right).filter(|&(&byte, right)| byte != right).count() as u64
    };
    bytes.chunks(8).zip(words(key)).map(differing).sum()
}

/// Marsaglia's xorshift from the key on.
fn words(key: &Key) -> impl Iterator<Item = u64> {
    let [seed, ..] = key.words();
    core::iter::successors(Some(seed | 1), |&word| {
        let word = word ^ word << 13;
        let word = word ^ word >> 7;
        Some(word ^ word << 17)
    })
}
