//! How far a decoded block is from the block that was encoded.

use super::number;
use crate::geometry::Dtype;

/// The root of the squared error over the squared norm, in millionths; 0 for two blocks of zeros. Elements are of 16
/// bits; what is not finite counts as a codec reads it.
pub fn relative_error_ppm(dtype: Dtype, block: &[u8], decoded: &[u8]) -> u64 {
    let (mut error, mut norm) = (0.0_f64, 0.0_f64);
    for (element, other) in block.chunks_exact(2).zip(decoded.chunks_exact(2)) {
        let value = |bytes: &[u8]| f64::from(number::read(dtype, u16::from_le_bytes([bytes[0], bytes[1]])));
        let (value, other) = (value(element), value(other));
        error += (value - other) * (value - other);
        norm += value * value;
    }
    if error == 0.0 {
        return 0;
    }
    // The square root in integers: the ratio in units of 10^-12 has its root in millionths.
    let ratio = (error / norm.max(f64::MIN_POSITIVE) * 1e12).min(1e18) as u64;
    ratio.isqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn block(values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|&value| number::write(Dtype::F16, value).to_le_bytes())
            .collect()
    }

    #[test]
    fn the_error_is_relative_to_the_norm() {
        let exact = block(&[3.0, 4.0]);
        assert_eq!(relative_error_ppm(Dtype::F16, &exact, &exact), 0);
        assert_eq!(relative_error_ppm(Dtype::F16, &exact, &block(&[3.0, 4.5])), 100_000);
        assert_eq!(relative_error_ppm(Dtype::F16, &exact, &block(&[0.0, 0.0])), 1_000_000);
        assert_eq!(
            relative_error_ppm(Dtype::F16, &block(&[0.0]), &block(&[1.0])),
            1_000_000_000
        );
        assert_eq!(relative_error_ppm(Dtype::F16, &block(&[0.0]), &block(&[0.0])), 0);
    }
}
