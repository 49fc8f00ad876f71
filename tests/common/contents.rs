//! Contents that follow from a number, so that any wrong byte is seen wherever it comes from.

/// Writes the contents of `seed` into `target`. Shorter contents are a prefix of longer ones.
pub fn fill(target: &mut [u8], seed: u64) {
    for (at, chunk) in target.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&word(seed, at).to_le_bytes()[..chunk.len()]);
    }
}

/// The first place at which `bytes` are not the contents of `seed`.
pub fn difference(bytes: &[u8], seed: u64) -> Option<usize> {
    bytes
        .chunks(8)
        .enumerate()
        .find(|(at, chunk)| **chunk != word(seed, *at).to_le_bytes()[..chunk.len()])
        .map(|(at, _)| at * 8)
}

/// A well-mixed word (the finaliser of SplitMix64).
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// One seed in four has contents that can be compressed: elements of 16 bits with one exponent among a few.
fn word(seed: u64, at: usize) -> u64 {
    let word = mix(mix(seed).wrapping_add((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    match seed % 4 {
        0 => word & 0x01FF_01FF_01FF_01FF,
        _ => word,
    }
}
