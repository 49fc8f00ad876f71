//! Rotary embeddings, undone and done again, the same on every machine.
//!
//! Sine and cosine are Taylor polynomials over binary64, with multiplications and additions in a fixed order.
//! Angles are counted in turns, so that taking off whole turns is exact.

use crate::codec::tables::{Rope, RopePairs};

/// Cosine and sine of an angle in turns; not a finite angle counts as none.
#[inline(always)]
fn cos_sin(turns: f64) -> (f64, f64) {
    // Eighths, rounded to the nearest quarter turn; what is left is at most an eighth.
    let quarters = turns * 4.0;
    let whole = (quarters + 0.5) as i64;
    let angle = (quarters - whole as f64) * (core::f64::consts::PI / 2.0);
    let square = angle * angle;
    let mut sine = 0.0;
    let mut cosine = 0.0;
    // 1 / n! with alternating signs, from the smallest.
    const SINE: [f64; 8] = [
        -1.0 / 1_307_674_368_000.0,
        1.0 / 6_227_020_800.0,
        -1.0 / 39_916_800.0,
        1.0 / 362_880.0,
        -1.0 / 5_040.0,
        1.0 / 120.0,
        -1.0 / 6.0,
        1.0,
    ];
    const COSINE: [f64; 9] = [
        1.0 / 20_922_789_888_000.0,
        -1.0 / 87_178_291_200.0,
        1.0 / 479_001_600.0,
        -1.0 / 3_628_800.0,
        1.0 / 40_320.0,
        -1.0 / 720.0,
        1.0 / 24.0,
        -0.5,
        1.0,
    ];
    for factor in SINE {
        sine = sine * square + factor;
    }
    for factor in COSINE {
        cosine = cosine * square + factor;
    }
    sine *= angle;
    match whole & 3 {
        0 => (cosine, sine),
        1 => (-sine, cosine),
        2 => (-cosine, -sine),
        _ => (sine, -cosine),
    }
}

/// The angles of one token: `angles[..pairs]` become cosines, the rest sines.
#[inline(always)]
pub(super) fn angles(turns: &[f64], position: u64, cosines: &mut [f32], sines: &mut [f32]) {
    for ((turn, cosine), sine) in turns.iter().zip(cosines).zip(sines) {
        let (c, s) = cos_sin(position as f64 * turn);
        (*cosine, *sine) = (c as f32, s as f32);
    }
}

/// Turns one head's vector by the angles, forwards or backwards.
#[inline(always)]
pub(super) fn turn(rope: &Rope, head: &mut [f32], cosines: &[f32], sines: &[f32], sign: f32) {
    let half = rope.dim / 2;
    match rope.pairs {
        RopePairs::None => {}
        RopePairs::Half => {
            let (first, second) = head[..2 * half].split_at_mut(half);
            for (((a, b), c), s) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                let s = *s * sign;
                (*a, *b) = (*a * *c - *b * s, *b * *c + *a * s);
            }
        }
        RopePairs::Interleaved => {
            for ((pair, c), s) in head[..2 * half].chunks_exact_mut(2).zip(cosines).zip(sines) {
                let s = *s * sign;
                (pair[0], pair[1]) = (pair[0] * *c - pair[1] * s, pair[1] * *c + pair[0] * s);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_and_sine_are_those_of_the_mathematical_library() {
        for number in 0..20_000_u32 {
            let turns = f64::from(number) * 0.000_731;
            let (cosine, sine) = cos_sin(turns);
            let angle = turns * core::f64::consts::TAU;
            assert!((cosine - angle.cos()).abs() < 1e-12, "{turns}");
            assert!((sine - angle.sin()).abs() < 1e-12, "{turns}");
        }
        for turns in [f64::NAN, f64::INFINITY, 1e300, f64::MAX] {
            let mut pair = [1.0, 2.0];
            let (mut cosines, mut sines) = ([0.0], [0.0]);
            angles(&[turns], 1, &mut cosines, &mut sines);
            turn(
                &Rope {
                    pairs: RopePairs::Half,
                    theta: 1.0,
                    dim: 2,
                },
                &mut pair,
                &cosines,
                &sines,
                1.0,
            );
        }
    }

    #[test]
    fn turning_back_undoes_turning() {
        for pairs in [RopePairs::Half, RopePairs::Interleaved] {
            let rope = Rope {
                pairs,
                theta: 10000.0,
                dim: 4,
            };
            let (mut cosines, mut sines) = ([0.0; 2], [0.0; 2]);
            angles(&[0.159_154_943, 0.001_591_549_43], 777, &mut cosines, &mut sines);
            let mut head = [1.0, -2.0, 3.0, 0.5, 9.0];
            turn(&rope, &mut head, &cosines, &sines, 1.0);
            let angle = 777.0_f64 * 0.159_154_943 * core::f64::consts::TAU;
            let partner = if pairs == RopePairs::Half { 3.0 } else { -2.0 };
            assert!((f64::from(head[0]) - (angle.cos() - partner * angle.sin())).abs() < 1e-5);
            assert_eq!(head[4], 9.0);
            turn(&rope, &mut head, &cosines, &sines, -1.0);
            for (found, right) in head.iter().zip([1.0, -2.0, 3.0, 0.5, 9.0]) {
                assert!((found - right).abs() < 1e-5);
            }
        }
    }
}
