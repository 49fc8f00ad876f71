//! The planes of bytes, on every processor: what the other versions are compared with.

/// Takes elements apart into the upper and lower bytes of each, rotated left by one.
///
/// `input` has two bytes for each one of `high` and `low`.
pub(super) fn split(input: &[u8], high: &mut [u8], low: &mut [u8]) {
    for ((element, high), low) in input.as_chunks::<2>().0.iter().zip(high).zip(low) {
        [*low, *high] = u16::from_le_bytes(*element).rotate_left(1).to_le_bytes();
    }
}

/// Puts elements together again.
pub(super) fn merge(high: &[u8], low: &[u8], output: &mut [u8]) {
    for ((element, high), low) in output.as_chunks_mut::<2>().0.iter_mut().zip(high).zip(low) {
        *element = u16::from_le_bytes([*low, *high]).rotate_right(1).to_le_bytes();
    }
}
