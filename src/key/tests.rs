//! The key derivations against their definition, and the index hash against what it must not do.

use super::*;

use proptest::prelude::*;
use std::format;
use std::vec;
use std::vec::Vec;

const SEEDS: [u64; 4] = [0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15];

/// SplitMix64: random enough to be an input, and the same on every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn counting_key(word: usize, counter: u64) -> Key {
    let mut words = [0; 4];
    words[word] = counter;
    Key::from_words(words)
}

/// Families of keys as people make them: counters in every place and byte order, digits, single bits.
fn families() -> Vec<(&'static str, Vec<Key>)> {
    const KEYS_COUNT: u64 = 1 << 16;
    let numbered = |make: &dyn Fn(u64) -> Key| (0..KEYS_COUNT).map(make).collect::<Vec<_>>();
    let mut families = vec![
        ("counter in word 0", numbered(&|n| counting_key(0, n))),
        ("counter in word 1", numbered(&|n| counting_key(1, n))),
        ("counter in word 2", numbered(&|n| counting_key(2, n))),
        ("counter in word 3", numbered(&|n| counting_key(3, n))),
        (
            "counter, big endian, at the end",
            numbered(&|n| counting_key(3, n.swap_bytes())),
        ),
        (
            "counter, big endian, at the front",
            numbered(&|n| counting_key(0, n.swap_bytes())),
        ),
        ("the same counter four times", numbered(&|n| Key::from_words([n; 4]))),
        ("multiples of 4096", numbered(&|n| counting_key(1, n << 12))),
        ("multiples of 2^48", numbered(&|n| counting_key(2, n << 48))),
    ];
    families.push((
        "decimal digits",
        numbered(&|n| {
            let mut key = Key {
                bytes: [b' '; KEY_BYTES],
            };
            let digits = format!("block-{n}");
            key.bytes[..digits.len()].copy_from_slice(digits.as_bytes());
            key
        }),
    ));
    let bit = |bit: usize| {
        let mut key = Key { bytes: [0; KEY_BYTES] };
        key.bytes[bit / 8] |= 1 << (bit % 8);
        key
    };
    let pairs = (0..256).flat_map(|left| (left + 1..256).map(move |right| (left, right)));
    let two_bits = pairs.map(|(left, right)| Key {
        bytes: core::array::from_fn(|n| bit(left).bytes[n] | bit(right).bytes[n]),
    });
    families.push(("two bits set", two_bits.collect()));
    families
}

#[test]
fn words_and_bytes_are_the_same_key() {
    let key = Key {
        bytes: core::array::from_fn(|index| index as u8),
    };
    assert_eq!(
        key.words(),
        [
            0x0706_0504_0302_0100,
            0x0f0e_0d0c_0b0a_0908,
            0x1716_1514_1312_1110,
            0x1f1e_1d1c_1b1a_1918
        ]
    );
    assert_eq!(Key::from_words(key.words()), key);
}

#[test]
fn a_key_displays_as_hexadecimal() {
    let key = Key {
        bytes: core::array::from_fn(|index| index as u8),
    };
    let hexadecimal = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    assert_eq!(format!("{key}"), hexadecimal);
    assert_eq!(format!("{key:?}"), format!("Key({hexadecimal})"));
}

#[test]
fn kinds_of_keys_never_meet() {
    let root = Key::chain_root(7, b"salt");
    assert_ne!(root, Key::derive(7, b"salt", b""));
    assert_ne!(root, Key::chain(&root, &[]));
    assert_ne!(Key::derive(7, b"salt", b""), Key::derive(7, b"", b"salt"));
    assert_ne!(Key::derive(7, b"ab", b"c"), Key::derive(7, b"a", b"bc"));
    assert_ne!(Key::derive(7, b"", b"x"), Key::derive(8, b"", b"x"));
}

proptest! {
    #[test]
    fn the_ways_to_chain_agree(
        tokens in prop::collection::vec(any::<u32>(), 0..600),
        tokens_per_block in 1_usize..200,
        capacity in 0_usize..40,
    ) {
        let root = Key::chain_root(3, b"model");
        let per_block = NonZeroUsize::new(tokens_per_block).unwrap();
        let mut expected = Vec::new();
        for block in tokens.chunks(tokens_per_block).filter(|block| block.len() == tokens_per_block) {
            let parent = *expected.last().unwrap_or(&root);
            let mut input = b"kvcache:chain:v1".to_vec();
            input.extend(parent.bytes);
            input.extend(block.iter().flat_map(|token| token.to_le_bytes()));
            expected.push(Key { bytes: Sha256::digest(&input).into() });
        }

        let mut each = Vec::new();
        prop_assert_eq!(Key::chain_each(&root, &tokens, per_block, |key| each.push(key)), expected.len());
        prop_assert_eq!(&each, &expected);

        let untouched = Key { bytes: [0xee; KEY_BYTES] };
        let mut keys = vec![untouched; capacity];
        let keys_count = Key::chain_many(&root, &tokens, per_block, &mut keys);
        prop_assert_eq!(keys_count, expected.len().min(capacity));
        prop_assert_eq!(&keys[..keys_count], &expected[..keys_count]);
        prop_assert!(keys[keys_count..].iter().all(|key| *key == untouched));
    }
}

#[test]
fn every_bit_of_a_fingerprint_hangs_on_every_bit_of_the_key() {
    const TRIALS: u32 = 2000;
    for seed in SEEDS {
        let mut state = 1;
        let mut flips = vec![[0_u32; 64]; 256];
        for trial in 0..u64::from(TRIALS) {
            // Random and sparse keys alternate: it is the sparse ones that a weak mixer gives away.
            let key = if trial % 2 == 0 {
                Key::from_words(core::array::from_fn(|_| random(&mut state)))
            } else {
                counting_key((trial % 4) as usize, trial)
            };
            let fingerprint = key.fingerprint(seed);
            for (bit, flips) in flips.iter_mut().enumerate() {
                let mut changed = key;
                changed.bytes[bit / 8] ^= 1 << (bit % 8);
                let difference = fingerprint ^ changed.fingerprint(seed);
                for (position, flips) in flips.iter_mut().enumerate() {
                    *flips += (difference >> position & 1) as u32;
                }
            }
        }
        for (bit, flips) in flips.iter().enumerate() {
            for (position, &flips) in flips.iter().enumerate() {
                let share = f64::from(flips) / f64::from(TRIALS);
                assert!(
                    (0.4..0.6).contains(&share),
                    "seed {seed:x}: key bit {bit} flips bit {position}: {share}"
                );
            }
        }
    }
}

#[test]
fn every_bit_of_a_fingerprint_hangs_on_every_bit_of_the_seed() {
    const TRIALS: u32 = 2000;
    let mut state = 2;
    for bit in 0..64 {
        let mut flips = [0_u32; 64];
        for trial in 0..u64::from(TRIALS) {
            let seed = random(&mut state);
            let key = counting_key((trial % 4) as usize, trial);
            let difference = key.fingerprint(seed) ^ key.fingerprint(seed ^ (1 << bit));
            for (position, flips) in flips.iter_mut().enumerate() {
                *flips += (difference >> position & 1) as u32;
            }
        }
        for (position, &flips) in flips.iter().enumerate() {
            let share = f64::from(flips) / f64::from(TRIALS);
            assert!(
                (0.4..0.6).contains(&share),
                "seed bit {bit} flips bit {position}: {share}"
            );
        }
    }
}

/// Chi-squared of the bucket loads over its degrees of freedom: near 1 for a random spread.
fn chi_squared_per_degree(buckets: &[u32], keys_count: usize) -> f64 {
    let expected = keys_count as f64 / buckets.len() as f64;
    let sum: f64 = buckets
        .iter()
        .map(|&load| (f64::from(load) - expected).powi(2) / expected)
        .sum();
    sum / (buckets.len() - 1) as f64
}

#[test]
fn keys_as_people_make_them_spread_like_random_ones() {
    const BUCKETS_BITS: u32 = 12;
    for (name, keys) in families() {
        for seed in SEEDS {
            // Any part of the fingerprint may choose the bucket: the bottom, the middle and the top are tried.
            for shift in [0, 20, 32, 64 - BUCKETS_BITS] {
                let mut buckets = vec![0_u32; 1 << BUCKETS_BITS];
                for key in &keys {
                    buckets[(key.fingerprint(seed) >> shift) as usize & ((1 << BUCKETS_BITS) - 1)] += 1;
                }
                // 4095 degrees: the standard deviation is 0.022, so this is nine of them on either side.
                let spread = chi_squared_per_degree(&buckets, keys.len());
                assert!(
                    (0.8..1.2).contains(&spread),
                    "{name}, seed {seed:x}, shift {shift}: {spread}"
                );
            }
        }
    }
}

#[test]
fn keys_as_people_make_them_do_not_share_fingerprints() {
    for (name, keys) in families() {
        for seed in SEEDS {
            let mut fingerprints: Vec<u64> = keys.iter().map(|key| key.fingerprint(seed)).collect();
            fingerprints.sort_unstable();
            fingerprints.dedup();
            assert_eq!(fingerprints.len(), keys.len(), "{name}, seed {seed:x}");
            // The index compares 32 bits first: those may meet as often as random ones would (2^32 / 2^33), no more.
            let mut tags: Vec<u32> = fingerprints
                .iter()
                .map(|fingerprint| (fingerprint >> 32) as u32)
                .collect();
            tags.sort_unstable();
            tags.dedup();
            assert!(
                keys.len() - tags.len() <= 8,
                "{name}, seed {seed:x}: {}",
                keys.len() - tags.len()
            );
        }
    }
}
