//! Lengths of vectors in eight bits: sixteenths of an octave around the middle that a head's tables name.
//!
//! All in numbers that every machine rounds alike; there is no logarithm.

/// Steps of an octave.
pub(super) const STEPS: i32 = 16;
/// The code of the middle.
const MIDDLE: i32 = 128;

/// `2^(j / 16)`, j from 0.
const ROOTS: [f32; STEPS as usize] = [
    1.0,
    1.044_273_8,
    1.090_507_7,
    1.138_788_6,
    1.189_207_1,
    1.241_857_8,
    1.296_839_6,
    1.354_255_5,
    core::f32::consts::SQRT_2,
    1.476_826_1,
    1.542_210_8,
    1.610_490_3,
    1.681_792_9,
    1.756_252_2,
    1.834_008_1,
    1.915_206_6,
];

/// `2^((2 j + 1) / 16)`, j from 0: half-way between squares of neighbouring steps.
const BOUNDS: [f64; 8] = [
    1.044_273_782_427_413_8,
    1.138_788_634_756_691_6,
    1.241_857_812_073_484,
    1.354_255_546_936_892_7,
    1.476_826_145_939_499_3,
    1.610_490_331_949_254_3,
    1.756_252_160_373_299_5,
    1.915_206_561_397_147_3,
];

/// The step nearest to the root of a ratio of squares: `round(16 log2(sqrt(ratio)))`.
///
/// `ratio` is positive, normal and finite.
pub(super) fn step(ratio: f64) -> i32 {
    let bits = ratio.to_bits();
    let exponent = (bits >> 52 & 0x7FF) as i32 - 1023;
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    let above = BOUNDS.iter().filter(|bound| mantissa >= **bound).count();
    8 * exponent + above as i32
}

/// The code of a step; 0, which is no length at all, for those below the range, and the largest for those above.
pub(super) fn code(step: i32, middle: i32) -> u8 {
    (step - middle + MIDDLE).clamp(0, 255) as u8
}

/// The length of a code.
pub(super) fn length(code: u8, middle: i32) -> f32 {
    if code == 0 {
        return 0.0;
    }
    let step = i32::from(code) - MIDDLE + middle;
    let exponent = step.div_euclid(STEPS).clamp(-100, 127);
    f32::from_bits(((exponent + 127) as u32) << 23) * ROOTS[step.rem_euclid(STEPS) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_rounded_logarithms_and_codes_go_there_and_back() {
        for thousandth in -60_000..60_000 {
            let exact = f64::from(thousandth) / 1000.0;
            let ratio = (2.0 * exact / 16.0).exp2();
            if (exact - exact.floor() - 0.5).abs() > 1e-6 {
                assert_eq!(step(ratio), exact.round() as i32, "{exact}");
            }
        }
        for middle in [-1000, -33, 0, 7, 900] {
            for code_of in 1..=255 {
                let length = f64::from(length(code_of, middle));
                assert_eq!(code(step(length * length), middle), code_of, "{middle}");
            }
        }
        assert_eq!((code(-5000, 0), code(5000, 0), length(0, 3)), (0, 255, 0.0));
    }
}
