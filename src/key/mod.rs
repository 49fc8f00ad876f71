//! Keys: what they are, how they are derived, and how the index mixes them.
//!
//! A [`Key`] is 32 opaque bytes, compared whole. A caller brings its own or derives one here. The derivations are
//! SHA-256 over a 16-byte domain tag and then the arguments, so that a key of one kind is never one of another:
//!
//! | function | SHA-256 over |
//! | --- | --- |
//! | [`Key::derive`] | `"kvcache:bytes:v1"`, namespace (u64 LE), salt length in bytes (u64 LE), salt, bytes |
//! | [`Key::chain_root`] | `"kvcache:root_:v1"`, namespace (u64 LE), salt length in bytes (u64 LE), salt |
//! | [`Key::chain`] | `"kvcache:chain:v1"`, parent (32 bytes), tokens (u32 LE each) |
//!
//! The length stands before the salt, so no two pairs of salt and bytes give the same input. A chained key stands for
//! everything before it: two sequences share a key exactly as far as their namespaces, salts and tokens agree, and
//! tenants with different namespaces or secret salts can neither collide nor probe each other's blocks.
//!
//! `tests/vectors/keys.txt` and `keys.json` hold the results of an independent implementation
//! (`tests/vectors/make_keys.py`); the bindings check theirs against the same files.
//!
//! Nothing here allocates, shares state or touches the system: every function may be called from any thread.

use core::fmt;
use core::num::NonZeroUsize;

use sha2::{Digest, Sha256};

#[cfg(all(test, not(loom)))]
mod tests;

/// The length of a key in bytes.
pub const KEY_BYTES: usize = 32;

const TAG_BYTES: &[u8; 16] = b"kvcache:bytes:v1";
const TAG_ROOT: &[u8; 16] = b"kvcache:root_:v1";
const TAG_CHAIN: &[u8; 16] = b"kvcache:chain:v1";

/// Tokens that are laid out as bytes at a time: four blocks of SHA-256.
const TOKENS_PER_UPDATE: usize = 64;

/// The fractional digits of pi: constants that nobody chose, as in Blowfish and foldhash.
const PI: [u64; 6] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
    0xbe54_66cf_34e9_0c6c,
];

/// The name of a block: 32 opaque bytes, compared whole. `kvc_key_t` in C.
///
/// Any 32 bytes are a valid key, all zeros too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(C)]
pub struct Key {
    /// The bytes, in the order in which they are stored and hashed.
    pub bytes: [u8; KEY_BYTES],
}

impl Key {
    /// The key whose bytes are `words`, each little endian, the first word first.
    pub const fn from_words(words: [u64; 4]) -> Self {
        let mut bytes = [0; KEY_BYTES];
        let (chunks, _) = bytes.as_chunks_mut::<8>();
        let mut index = 0;
        while index < words.len() {
            chunks[index] = words[index].to_le_bytes();
            index += 1;
        }
        Self { bytes }
    }

    /// The bytes as four little-endian words, the inverse of [`Key::from_words`]; how keys lie in tables of atomics.
    pub const fn words(&self) -> [u64; 4] {
        let (chunks, _) = self.bytes.as_chunks::<8>();
        [
            u64::from_le_bytes(chunks[0]),
            u64::from_le_bytes(chunks[1]),
            u64::from_le_bytes(chunks[2]),
            u64::from_le_bytes(chunks[3]),
        ]
    }

    /// The key of any string of bytes, within a namespace and under a salt (both may be empty or zero).
    ///
    /// The way in for keys that an engine brings and that are not 32 bytes long: vLLM's hash and group, a file name
    /// with an offset, the bytes of a prompt.
    pub fn derive(namespace: u64, salt: &[u8], bytes: &[u8]) -> Self {
        let mut hasher = salted(TAG_BYTES, namespace, salt);
        hasher.update(bytes);
        Self::finish(hasher)
    }

    /// The parent of the first block of every chain in this namespace and under this salt.
    ///
    /// Whatever else tells blocks apart belongs in here: the model, its revision, an adapter, the geometry.
    pub fn chain_root(namespace: u64, salt: &[u8]) -> Self {
        Self::finish(salted(TAG_ROOT, namespace, salt))
    }

    /// The key of the block that holds `tokens` and follows the block `parent`.
    pub fn chain(parent: &Key, tokens: &[u32]) -> Self {
        let mut hasher = Sha256::new_with_prefix(TAG_CHAIN);
        hasher.update(parent.bytes);
        let mut buffer = [0; 4 * TOKENS_PER_UPDATE];
        for tokens in tokens.chunks(TOKENS_PER_UPDATE) {
            let bytes = &mut buffer[..4 * tokens.len()];
            for (target, token) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(tokens) {
                *target = token.to_le_bytes();
            }
            hasher.update(bytes);
        }
        Self::finish(hasher)
    }

    /// Calls `each` with the key of every full block of `tokens`, in order, the first one chained to `parent`.
    ///
    /// Tokens after the last full block have no key yet and are left out. Returns how many keys there were:
    /// `tokens.len() / tokens_per_block`.
    pub fn chain_each(
        parent: &Key,
        tokens: &[u32],
        tokens_per_block: NonZeroUsize,
        mut each: impl FnMut(Key),
    ) -> usize {
        let mut key = *parent;
        let blocks = tokens.chunks_exact(tokens_per_block.get());
        let blocks_count = blocks.len();
        for block in blocks {
            key = Self::chain(&key, block);
            each(key);
        }
        blocks_count
    }

    /// Writes the keys of the full blocks of `tokens` to `keys_out`, as [`Key::chain_each`] gives them.
    ///
    /// Returns how many were written: the number of full blocks or `keys_out.len()`, whichever is less. The last key
    /// written is the parent with which a later call goes on.
    pub fn chain_many(parent: &Key, tokens: &[u32], tokens_per_block: NonZeroUsize, keys_out: &mut [Key]) -> usize {
        let mut key = *parent;
        let mut keys_count = 0;
        for (target, block) in keys_out.iter_mut().zip(tokens.chunks_exact(tokens_per_block.get())) {
            key = Self::chain(&key, block);
            *target = key;
            keys_count += 1;
        }
        keys_count
    }

    /// A well-mixed 64-bit hash of the key for the index: every bit of it depends on every bit of the key and the seed.
    ///
    /// Not a cryptographic hash. It does not rely on the key bytes being random, since callers bring their own; a
    /// caller whose keys come from strangers gives a random `seed`, else the strangers can compute collisions.
    /// The numbers may change between versions: never store them.
    ///
    /// The folded multiplication is that of wyhash and foldhash. A product forgets one operand where the other is zero,
    /// and operands that differ by known constants can be swapped; so the seed goes into all four words, rotated
    /// in one half, and no key does either for more than a vanishing share of the seeds.
    #[inline]
    pub const fn fingerprint(&self, seed: u64) -> u64 {
        let [word_0, word_1, word_2, word_3] = self.words();
        let seed_rotated = seed.rotate_left(29);
        let low = multiply_folded(word_0 ^ seed ^ PI[0], word_1 ^ seed_rotated ^ PI[1]);
        let high = multiply_folded(word_2 ^ seed ^ PI[2], word_3 ^ seed_rotated ^ PI[3]);
        multiply_folded(low ^ seed ^ PI[4], high ^ PI[5])
    }

    fn finish(hasher: Sha256) -> Self {
        Self {
            bytes: hasher.finalize().into(),
        }
    }
}

fn salted(tag: &[u8; 16], namespace: u64, salt: &[u8]) -> Sha256 {
    let mut hasher = Sha256::new_with_prefix(tag);
    hasher.update(namespace.to_le_bytes());
    hasher.update((salt.len() as u64).to_le_bytes());
    hasher.update(salt);
    hasher
}

/// The two halves of the 128-bit product, folded by exclusive or.
#[inline]
const fn multiply_folded(left: u64, right: u64) -> u64 {
    let product = left as u128 * right as u128;
    (product as u64) ^ ((product >> 64) as u64)
}

impl From<[u8; KEY_BYTES]> for Key {
    fn from(bytes: [u8; KEY_BYTES]) -> Self {
        Self { bytes }
    }
}

/// 64 lowercase hexadecimal digits.
impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.bytes {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({self})")
    }
}
