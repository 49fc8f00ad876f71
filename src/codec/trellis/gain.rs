//! Gains as integers on a log scale.
//!
//! A gain is held as its binary logarithm in units of 2^-16. Of a head's gains in a plane the code has the lowest and a
//! step, so that 255 codes reach from the lowest to the largest; code 0 is the vector of zeros.

/// Units of an octave.
const OCTAVE: i32 = 1 << 16;
/// Units of the lowest gain of a range: 2^-7 octaves.
const LOW_SHIFT: u32 = 9;
/// Units of the step of a range: 2^-15 octaves.
const STEP_SHIFT: u32 = 1;
/// Codes of gains less one.
const CODES: i32 = 254;

/// The gain of a vector of zeros, and of one too small for a gain that is a normal `f32`.
pub(super) const NONE: i32 = i32::MIN;

/// The binary logarithm of a normal positive number, in octaves.
///
/// The series of the inverse hyperbolic tangent, in a fixed order: the same bits on every machine.
fn log2(value: f64) -> f64 {
    const TERMS: [f64; 8] = [
        1.0 / 15.0,
        1.0 / 13.0,
        1.0 / 11.0,
        1.0 / 9.0,
        1.0 / 7.0,
        1.0 / 5.0,
        1.0 / 3.0,
        1.0,
    ];
    let bits = value.to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let mantissa = f64::from_bits(bits & 0x000F_FFFF_FFFF_FFFF | 1023 << 52);
    let (mantissa, exponent) = if mantissa > core::f64::consts::SQRT_2 {
        (mantissa * 0.5, exponent + 1)
    } else {
        (mantissa, exponent)
    };
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let mut sum = 0.0;
    for term in TERMS {
        sum = sum * square + term;
    }
    f64::from(exponent) + 2.0 * core::f64::consts::LOG2_E * z * sum
}

/// The gain whose square is `squares_in / squares_out`, times 2 to the power of `exponent`.
pub(super) fn of_squares(squares_in: f64, squares_out: f64, exponent: i32) -> i32 {
    let octaves = 0.5 * (log2(squares_in) - log2(squares_out)) + f64::from(exponent);
    let gain = (octaves * f64::from(OCTAVE)) as i32;
    if gain < -126 * OCTAVE { NONE } else { gain }
}

/// `1 / sqrt(value)` of a normal positive number: four Newton steps, the same bits on every machine.
pub(super) fn inverse_root(value: f64) -> f64 {
    let mut root = f64::from_bits(0x5FE6_EB50_C7B5_37A9 - (value.to_bits() >> 1));
    for _ in 0..4 {
        root = root * (1.5 - 0.5 * value * root * root);
    }
    root
}

/// Smallest and largest gain of a head.
#[derive(Clone, Copy)]
pub(super) struct Span {
    min: i32,
    max: i32,
}

impl Span {
    pub(super) const EMPTY: Self = Self {
        min: i32::MAX,
        max: i32::MIN,
    };

    pub(super) fn add(&mut self, gain: i32) {
        if gain != NONE {
            self.min = self.min.min(gain);
            self.max = self.max.max(gain);
        }
    }
}

/// The gains that the codes of a head stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    low: i16,
    step: u16,
}

impl Range {
    /// The range with the finest steps that reaches all gains.
    pub(super) fn of(span: Span) -> Self {
        if span.min > span.max {
            return Self { low: 0, step: 0 };
        }
        let low = (span.min >> LOW_SHIFT) as i16;
        let width = span.max - (i32::from(low) << LOW_SHIFT);
        let step = (width + (CODES << STEP_SHIFT) - 1) / (CODES << STEP_SHIFT);
        Self { low, step: step as u16 }
    }

    pub(super) const fn to_bytes(self) -> [u8; 4] {
        let (low, step) = (self.low.to_le_bytes(), self.step.to_le_bytes());
        [low[0], low[1], step[0], step[1]]
    }

    pub(super) const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self {
            low: i16::from_le_bytes([bytes[0], bytes[1]]),
            step: u16::from_le_bytes([bytes[2], bytes[3]]),
        }
    }

    /// The lowest gain.
    pub(super) const fn low(self) -> i32 {
        (self.low as i32) << LOW_SHIFT
    }

    /// From one code to the next.
    pub(super) const fn step(self) -> i32 {
        (self.step as i32) << STEP_SHIFT
    }

    /// The code nearest to a gain, for the range from `low` with this `step`.
    pub(super) fn code(low: i32, step: i32, gain: i32) -> u8 {
        if gain == NONE {
            return 0;
        }
        let steps = (gain - low + step / 2) / step.max(1);
        1 + steps.clamp(0, CODES) as u8
    }

    /// What a code stands for: finite, whatever the range is.
    pub(super) fn gain(self, code: u8) -> f32 {
        let code = i32::from(code);
        let octaves = self.low() + (code - 1) * self.step();
        let power = (octaves >> 16).clamp(-126, 127);
        let fraction = (octaves & (OCTAVE - 1)) as f32 * (1.0 / OCTAVE as f32);
        let value = exp2(fraction) * f32::from_bits(((power + 127) as u32) << 23);
        if code == 0 { 0.0 } else { value.min(f32::MAX) }
    }
}

/// 2 to the power of a number from 0 to 1, to seven digits.
fn exp2(fraction: f32) -> f32 {
    // The Taylor polynomial about one half, times the root of two.
    const TERMS: [f32; 7] = [
        2.178_388_2e-4,
        1.885_649_9e-3,
        1.360_208_9e-2,
        7.849_466e-2,
        3.397_315_8e-1,
        9.802_581_4e-1,
        core::f32::consts::SQRT_2,
    ];
    let x = fraction - 0.5;
    let mut sum = 0.0;
    for term in TERMS {
        sum = sum * x + term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithm_power_and_root_agree_with_the_standard_library() {
        for number in 1..20_000 {
            let value = (f64::from(number) * 0.73 - 7300.0).exp2().clamp(1e-300, 1e300);
            assert!(
                (log2(value) - value.log2()).abs() < 2e-9 * value.log2().abs().max(1.0),
                "{value}"
            );
            let root = inverse_root(value);
            assert!((root * value.sqrt() - 1.0).abs() < 1e-12, "{value}");
            let fraction = number as f32 / 20_000.0;
            assert!((exp2(fraction) / fraction.exp2() - 1.0).abs() < 1e-6, "{fraction}");
        }
    }

    #[test]
    fn every_gain_of_a_range_is_found_again_within_half_a_step() {
        for (low, high) in [
            (0, 0),
            (-126 * OCTAVE, 127 * OCTAVE),
            (-5, 3),
            (100_000, 200_000),
            (-1, 70_000),
        ] {
            let mut span = Span::EMPTY;
            for gain in [low, high, NONE] {
                span.add(gain);
            }
            let range = Range::of(span);
            assert_eq!(Range::from_bytes(range.to_bytes()), range);
            for part in 0..=1000 {
                let gain = low + ((i64::from(high) - i64::from(low)) * part / 1000) as i32;
                let code = Range::code(range.low(), range.step(), gain);
                assert!(code > 0);
                let back = range.low() + (i32::from(code) - 1) * range.step();
                assert!((back - gain).abs() <= range.step() / 2 + 1, "{gain} {back} {range:?}");
                let octaves = f64::from(range.gain(code)).log2() * f64::from(OCTAVE);
                let expected = f64::from(back);
                assert!((octaves - expected).abs() < 1.0, "{octaves} {expected}");
            }
            assert_eq!(Range::code(range.low(), range.step(), NONE), 0);
            assert_eq!(range.gain(0), 0.0);
        }
        assert_eq!(Range::of(Span::EMPTY), Range { low: 0, step: 0 });
    }

    #[test]
    fn any_range_gives_finite_gains() {
        for low in [i16::MIN, -1, 0, 1, i16::MAX] {
            for step in [0, 1, u16::MAX] {
                for code in 0..=255 {
                    let gain = Range { low, step }.gain(code);
                    assert!(gain.is_finite() && gain >= 0.0);
                }
            }
        }
    }
}
