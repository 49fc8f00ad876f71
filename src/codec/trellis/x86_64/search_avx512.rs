//! The search with AVX-512.
//!
//! A register holds the costs of 16 states in each lane of 128 bits, and the lanes are four vectors. The states that
//! lead to one lie at the same place of different registers, or at places of one lane that exchanges bring together:
//! minima leave the least of them at the places of all. Where a cost is that least, a bit of a mask says so, and the
//! first of these bits is the choice.
//!
//! # Soundness
//! The invariants are those of the parent module.

use super::all::{self, Batch, LANES_MAX};
use super::rotate::DIM_MAX;
use super::tables;
use core::arch::asm;
use core::arch::x86_64::*;

/// Bytes of the choices of one channel: a mask of 64 bits for each vector.
const CHOICES_BYTES: usize = 8 * LANES_MAX;
const _: () = assert!(LANES_MAX == 4 && CHOICES_BYTES <= super::super::CHOICES_BYTES);

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: I2.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_words(words: &[i16; 32]) -> __m512i {
    // SAFETY: I2.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(bytes: &mut [u8; 64], v: __m512i) {
    // SAFETY: I2.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), v) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_lane(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: I2.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Which byte of a lane with the minima goes to each of the states that follow, for each of the four registers.
const fn spread(bits: usize) -> [[u8; 64]; 4] {
    let mut spread = [[0; 64]; 4];
    let mut at = 0;
    while at < 4 * 64 {
        let state = at / 64 * 16 + at % 16;
        spread[at / 64][at % 64] = (state >> bits) as u8;
        at += 1;
    }
    spread
}

/// One bit for each of the states that lead to the first one.
const fn leading(bits: usize) -> u64 {
    let mut states = 0;
    let mut row = 0;
    while row < 1 << bits {
        states |= 1 << (row * (64 >> bits));
        row += 1;
    }
    states
}

/// The places of words that make four words of each of four rows out of four rows of each of four words, twice.
const TRANSPOSE: [i16; 32] = {
    let mut places = [0; 32];
    let mut at = 0;
    while at < 32 {
        places[at] = (at / 16 * 16 + at % 4 * 4 + at / 4 % 4) as i16;
        at += 1;
    }
    places
};

/// The least of what each lane has, at all of its places, if places `64 >> BITS` apart have the same.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn least_of_lanes<const BITS: usize>(mut v: __m512i) -> __m512i {
    if BITS <= 2 {
        v = _mm512_min_epu8(v, _mm512_shuffle_epi32::<0x4E>(v));
    }
    if BITS <= 3 {
        v = _mm512_min_epu8(v, _mm512_shuffle_epi32::<0xB1>(v));
    }
    v = _mm512_min_epu8(v, _mm512_rol_epi32::<16>(v));
    _mm512_min_epu8(v, _mm512_rol_epi32::<8>(v))
}

/// The least of the costs at each place of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn least_of(costs: &[__m512i; 4]) -> __m512i {
    let (a, b) = (_mm512_min_epu8(costs[0], costs[1]), _mm512_min_epu8(costs[2], costs[3]));
    _mm512_min_epu8(a, b)
}

/// What the next channel costs with the states of one register.
#[inline]
#[target_feature(enable = "avx512f")]
fn branch(rows: [&[u8; 64]; LANES_MAX], register: usize) -> __m512i {
    let lane = |row: &[u8; 64]| load_lane(&row.as_chunks::<16>().0[register]);
    let v = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(lane(rows[0])), lane(rows[1]));
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(v, lane(rows[2])), lane(rows[3]))
}

/// `all::search` with 64 states.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,bmi2")]
pub(super) fn search_64<const BITS: usize>(
    branches: &[[u8; 64]; 256],
    dim: usize,
    batch: &mut Batch,
    choices: &mut [u8],
) {
    let dim = dim.min(DIM_MAX);
    let choices = &mut choices[..dim * CHOICES_BYTES];
    let places = const { &spread(BITS) };
    let spread = [load(&places[0]), load(&places[1]), load(&places[2]), load(&places[3])];
    let mut costs = [_mm512_setzero_si512(); 4];
    for (t, choices) in choices.as_chunks_mut::<CHOICES_BYTES>().0.iter_mut().enumerate() {
        let mut least = _mm512_setzero_si512();
        if t > 0 {
            least = least_of(&costs);
            if BITS >= 3 {
                least = _mm512_min_epu8(least, _mm512_shuffle_epi32::<0x4E>(least));
            }
            if BITS >= 4 {
                least = _mm512_min_epu8(least, _mm512_shuffle_epi32::<0xB1>(least));
            }
            for (mask, costs) in choices.as_chunks_mut::<8>().0.iter_mut().zip(&costs) {
                *mask = _mm512_cmpeq_epi8_mask(*costs, least).to_le_bytes();
            }
            if t % all::RENORMALIZE_CHANNELS == 0 {
                least = _mm512_sub_epi8(least, least_of_lanes::<BITS>(least));
            }
        }
        let row = |lane: usize| &branches[usize::from(batch.x[lane][t])];
        let rows = [row(0), row(1), row(2), row(3)];
        for (register, costs) in costs.iter_mut().enumerate() {
            *costs = _mm512_adds_epu8(_mm512_shuffle_epi8(least, spread[register]), branch(rows, register));
        }
    }
    trace::<BITS>(&costs, choices, batch);
    look_up::<BITS>(dim, batch);
}

/// Leaves the states of the best paths in `batch`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,bmi2")]
fn trace<const BITS: usize>(last: &[__m512i; 4], choices: &mut [u8], batch: &mut Batch) {
    // The masks are of registers, and are to be of vectors. There is an even number of channels.
    let transpose = load_words(&TRANSPOSE);
    for two in choices.as_chunks_mut::<64>().0 {
        store(two, _mm512_permutexvar_epi16(transpose, load(two)));
    }
    let least = least_of_lanes::<2>(least_of(last));
    let mut masks = [0; 4];
    for (mask, costs) in masks.iter_mut().zip(last) {
        *mask = _mm512_cmpeq_epi8_mask(*costs, least);
    }
    let mut states = [0; LANES_MAX];
    for (lane, state) in states.iter_mut().enumerate() {
        let sixteen = |register: usize| (masks[register] >> (16 * lane) & 0xFFFF) << (16 * register);
        *state = first(sixteen(0) | sixteen(1) | sixteen(2) | sixteen(3));
    }
    for (t, choices) in choices.as_chunks::<CHOICES_BYTES>().0.iter().enumerate().rev() {
        let (masks, _) = choices.as_chunks::<8>();
        for ((state, mask), path) in states.iter_mut().zip(masks).zip(&mut batch.path) {
            path[t] = *state as u8;
            // Nothing was chosen before the first channel, and the state that comes of it is not looked at.
            let leading = const { leading(BITS) } << (*state >> BITS & 15);
            *state = first(u64::from_le_bytes(*mask) & leading);
        }
    }
}

/// The number of the first bit that is set; any if none is. The compiler counts zeros of several masks in vector
/// registers, which takes longer.
#[inline]
fn first(mask: u64) -> u64 {
    let number;
    // SAFETY: every processor has the instruction, as this or as the one that leaves the number open if no bit is set;
    // it computes a register from another and does nothing else but to set flags.
    unsafe { asm!("tzcnt {}, {}", lateout(reg) number, in(reg) mask, options(pure, nomem, nostack)) }
    number
}

/// Makes windows of states, and sums the squares of their values.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn look_up<const BITS: usize>(dim: usize, batch: &mut Batch) {
    let windows = load(const { &tables::windows::<64>() });
    let (levels, _) = tables::levels(BITS, 6).as_chunks::<32>();
    let (low, high) = (load_words(&levels[0]), load_words(&levels[1]));
    for (path, energy) in batch.path.iter_mut().zip(&mut batch.energy) {
        let mut sum = _mm512_setzero_si512();
        for (at, states) in path
            .as_chunks_mut::<64>()
            .0
            .iter_mut()
            .enumerate()
            .take(dim.div_ceil(64))
        {
            let v = _mm512_permutexvar_epi8(load(states), windows);
            store(states, v);
            let halves = [_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v)];
            for (half, v) in halves.into_iter().enumerate() {
                let left = dim.saturating_sub(64 * at + 32 * half).min(32);
                let mask = ((1_u64 << left) - 1) as u32;
                let values = _mm512_permutex2var_epi16(low, _mm512_cvtepu8_epi16(v), high);
                let values = _mm512_maskz_mov_epi16(mask, values);
                sum = _mm512_add_epi32(sum, _mm512_madd_epi16(values, values));
            }
        }
        *energy = _mm512_reduce_add_epi32(sum) as u32;
    }
}
