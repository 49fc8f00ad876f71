//! The search with AVX2.
//!
//! With 256 states a register holds the costs of 32 consecutive states of one vector; with 64 it holds those of 16
//! states in each lane of 128 bits, and the lanes are two vectors. Either way the states that lead to one lie at the
//! same place of different registers, or at places of one register that exchanges bring together: the least of them is
//! a minimum of registers, which is then spread over the states that follow.
//!
//! # Soundness
//! The invariants are those of the parent module.

use super::all::{self, Batch, LANES_256, LANES_MAX};
use core::arch::asm;
use core::arch::x86_64::*;

/// Which of sixteen minima go to the states that follow, for each of up to eight registers, whose two lanes hold the
/// next 32 states or (`same`) both the next 16.
const fn spread(bits: usize, same: bool) -> [[u8; 32]; 8] {
    let mut spread = [[0; 32]; 8];
    let mut at = 0;
    while at < 8 * 32 {
        let (register, byte) = (at / 32, at % 32);
        let state = if same {
            16 * register + byte % 16
        } else {
            32 * register + byte
        };
        spread[register][byte] = ((state >> bits) % 16) as u8;
        at += 1;
    }
    spread
}

/// All ones where bytes are equal. What the compiler makes of the intrinsic and of what is done with it are selections,
/// which take twice as long.
#[inline]
#[target_feature(enable = "avx2")]
fn equal(a: __m256i, b: __m256i) -> __m256i {
    let equal;
    // SAFETY: I1, the instruction is this function's; it computes a register from two and does nothing else.
    unsafe {
        asm!(
            "vpcmpeqb {}, {}, {}",
            lateout(ymm_reg) equal, in(ymm_reg) a, in(ymm_reg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    equal
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: I2.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Stores a register over the first bytes, or its lower half where there are no more.
#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8], v: __m256i) {
    if let Some(bytes) = bytes.first_chunk_mut::<32>() {
        // SAFETY: I2.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), v) }
    } else if let Some(bytes) = bytes.first_chunk_mut::<16>() {
        // SAFETY: I2.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm256_castsi256_si128(v)) }
    }
}

/// The least of the registers `column`, `column + COLUMNS`, ... at each place, and how many registers lie behind it.
#[inline]
#[target_feature(enable = "avx2")]
fn least_of<const N: usize, const COLUMNS: usize>(costs: &[__m256i; N], column: usize) -> (__m256i, __m256i) {
    let count = N / COLUMNS;
    let (mut m, mut v) = ([_mm256_setzero_si256(); 4], [_mm256_setzero_si256(); 4]);
    for pair in 0..count / 2 {
        let a = costs[column + 2 * pair * COLUMNS];
        m[pair] = _mm256_min_epu8(a, costs[column + (2 * pair + 1) * COLUMNS]);
        let first = equal(m[pair], a);
        v[pair] = _mm256_sub_epi8(_mm256_set1_epi8((count - 2 - 2 * pair) as i8), first);
    }
    let mut left = count / 4;
    while left > 0 {
        for pair in 0..left {
            let a = m[2 * pair];
            m[pair] = _mm256_min_epu8(a, m[2 * pair + 1]);
            let first = equal(m[pair], a);
            v[pair] = _mm256_max_epu8(_mm256_and_si256(first, v[2 * pair]), v[2 * pair + 1]);
        }
        left /= 2;
    }
    (m[0], v[0])
}

/// Where each register has several rows: of two places the least, and which it is. `exchanged` brings what belongs
/// together to the same place.
#[inline]
#[target_feature(enable = "avx2")]
fn fold(m: __m256i, v: __m256i, exchanged: impl Fn(__m256i) -> __m256i) -> (__m256i, __m256i) {
    let (m_there, v_there) = (exchanged(m), exchanged(v));
    let both = _mm256_min_epu8(m, m_there);
    let here = _mm256_and_si256(equal(both, m), v);
    let there = _mm256_and_si256(equal(both, m_there), v_there);
    (both, _mm256_max_epu8(here, there))
}

/// The least of each lane, in all its bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn least_of_lanes(v: __m256i) -> __m256i {
    let v = _mm256_min_epu8(v, _mm256_shuffle_epi32::<0x4E>(v));
    let v = _mm256_min_epu8(v, _mm256_shuffle_epi32::<0xB1>(v));
    let v = _mm256_min_epu8(
        v,
        _mm256_or_si256(_mm256_slli_epi32::<16>(v), _mm256_srli_epi32::<16>(v)),
    );
    _mm256_min_epu8(v, _mm256_or_si256(_mm256_slli_epi16::<8>(v), _mm256_srli_epi16::<8>(v)))
}

/// `all::search` with 256 states.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn search_256<const BITS: usize>(
    branches: &[[u8; 256]; 256],
    dim: usize,
    batch: &mut Batch,
    choices: &mut [u8],
) {
    static SPREAD: [[[u8; 32]; 8]; 3] = [spread(2, false), spread(3, false), spread(4, false)];
    let zero = _mm256_setzero_si256();
    let prefixes = 256 >> BITS;
    let columns = if BITS == 2 { 2 } else { 1 };
    // Sixteen minima are spread over so many registers.
    let count = 1 << (BITS - 1);
    // With 4 bits there are two rows of 16 to a register, and the choice begins one bit higher.
    let shift = _mm_cvtsi32_si128(if BITS == 2 { 6 } else { 5 });
    let behind = _mm256_set_m128i(_mm_setzero_si128(), _mm_set1_epi8(16));
    let mut costs = [[zero; 8]; LANES_256];
    let bytes = all::choices_bytes(BITS, 256, LANES_256);
    for (t, choices) in choices.chunks_exact_mut(bytes).take(dim).enumerate() {
        for ((costs, x), choices) in costs.iter_mut().zip(&batch.x).zip(choices.chunks_exact_mut(prefixes)) {
            let mut least = [zero; 2];
            if t > 0 {
                for (column, least) in least[..columns].iter_mut().enumerate() {
                    let (mut m, mut v) = match BITS {
                        2 => least_of::<8, 2>(costs, column),
                        _ => least_of::<8, 1>(costs, column),
                    };
                    // The numbers are so small that no bit leaves its byte.
                    v = _mm256_sll_epi16(v, shift);
                    if BITS == 4 {
                        v = _mm256_or_si256(v, behind);
                        (m, v) = fold(m, v, |v| _mm256_permute4x64_epi64::<0x4E>(v));
                    }
                    *least = m;
                    store(&mut choices[32 * column..], v);
                }
                if t % all::RENORMALIZE_CHANNELS == 0 {
                    let all = _mm256_min_epu8(least[0], least[columns - 1]);
                    let half = _mm_min_epu8(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
                    let low = _mm_and_si128(_mm_min_epu8(half, _mm_srli_epi16::<8>(half)), _mm_set1_epi16(0xFF));
                    let base = _mm256_broadcastb_epi8(_mm_minpos_epu16(low));
                    for least in &mut least[..columns] {
                        *least = _mm256_sub_epi8(*least, base);
                    }
                }
            }
            let (branches, _) = branches[usize::from(x[t])].as_chunks::<32>();
            for register in 0..8 {
                let sixteen = register / count;
                let source = match sixteen % 2 {
                    0 => _mm256_permute4x64_epi64::<0x44>(least[sixteen / 2]),
                    _ => _mm256_permute4x64_epi64::<0xEE>(least[sixteen / 2]),
                };
                let spread = load(&SPREAD[BITS - 2][register % count]);
                let source = _mm256_shuffle_epi8(source, spread);
                costs[register] = _mm256_adds_epu8(source, load(&branches[register]));
            }
        }
    }
    let mut last = [[0_u8; 256]; LANES_256];
    for (last, costs) in last.iter_mut().zip(&costs) {
        for (register, costs) in costs.iter().enumerate() {
            store(&mut last[32 * register..], *costs);
        }
    }
    all::trace::<BITS, 256, LANES_256>(&last, choices, dim, batch);
}

/// `all::search` with 64 states.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn search_64<const BITS: usize>(
    branches: &[[u8; 64]; 256],
    dim: usize,
    batch: &mut Batch,
    choices: &mut [u8],
) {
    static SPREAD: [[[u8; 32]; 8]; 3] = [spread(2, true), spread(3, true), spread(4, true)];
    let zero = _mm256_setzero_si256();
    // A lane of a register has one row of 16 with 2 bits, two of 8 with 3, four of 4 with 4; the choice of a register
    // lies above that of the row within.
    let shift = _mm_cvtsi32_si128(4);
    let behind = match BITS {
        2 => zero,
        3 => _mm256_set1_epi64x(0x0808_0808_0808_0808),
        _ => _mm256_set1_epi64x(0x0808_0808_0C0C_0C0C),
    };
    let behind = match BITS {
        3 => _mm256_unpacklo_epi64(behind, zero),
        4 => _mm256_unpacklo_epi64(behind, _mm256_set1_epi64x(0x0404_0404)),
        _ => zero,
    };
    let mut costs = [[zero; 4]; LANES_MAX / 2];
    let bytes = all::choices_bytes(BITS, 64, LANES_MAX);
    for (t, choices) in choices.chunks_exact_mut(bytes).take(dim).enumerate() {
        for (two, costs) in costs.iter_mut().enumerate() {
            let mut least = zero;
            if t > 0 {
                let (mut m, mut v) = least_of::<4, 1>(costs, 0);
                v = _mm256_or_si256(_mm256_sll_epi16(v, shift), behind);
                if BITS >= 3 {
                    (m, v) = fold(m, v, |v| _mm256_shuffle_epi32::<0x4E>(v));
                }
                if BITS >= 4 {
                    (m, v) = fold(m, v, |v| _mm256_shuffle_epi32::<0xB1>(v));
                }
                store(&mut choices[2 * two * 16..], v);
                least = m;
                if t % all::RENORMALIZE_CHANNELS == 0 {
                    least = _mm256_sub_epi8(least, least_of_lanes(least));
                }
            }
            let (low, _) = branches[usize::from(batch.x[2 * two][t])].as_chunks::<16>();
            let (high, _) = branches[usize::from(batch.x[2 * two + 1][t])].as_chunks::<16>();
            for (register, costs) in costs.iter_mut().enumerate() {
                // SAFETY: I2.
                let branch =
                    unsafe { _mm256_loadu2_m128i(high[register].as_ptr().cast(), low[register].as_ptr().cast()) };
                let source = _mm256_shuffle_epi8(least, load(&SPREAD[BITS - 2][register]));
                *costs = _mm256_adds_epu8(source, branch);
            }
        }
    }
    let mut last = [[0_u8; 64]; LANES_MAX];
    for (two, costs) in costs.iter().enumerate() {
        for (register, costs) in costs.iter().enumerate() {
            let mut both = [0; 32];
            store(&mut both, *costs);
            last[2 * two][16 * register..][..16].copy_from_slice(&both[..16]);
            last[2 * two + 1][16 * register..][..16].copy_from_slice(&both[16..]);
        }
    }
    all::trace::<BITS, 64, LANES_MAX>(&last, choices, dim, batch);
}
