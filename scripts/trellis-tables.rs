//! Trains the value tables of the codecs `t4`, `t3` and `t2` and prints them as Rust constants.
//!
//! `rustc --edition 2024 -O -C target-cpu=native -o tables scripts/trellis-tables.rs && ./tables BITS LOG2_STATES
//! SEEDS`
//!
//! The same numbers on every machine: all arithmetic is IEEE in a fixed order, and random numbers come from splitmix64.
//!
//! What is trained on are Gaussian vectors of 64 and 128 channels, each scaled to the norm that unit variance gives it,
//! as the encoder sees them. A table begins with the quantiles of the Gaussian in a random order. Each round finds
//! the best paths of fresh vectors (Viterbi) and moves each value to the mean of what it stands for (Lloyd). To the
//! values of the first rounds noise is added that falls to nothing: where plain rounds stop at the next local optimum,
//! these find one that is better by a few percent. Of several seeds the table with the least error on vectors that
//! none was trained on is taken.

use std::env;

/// Integer units of a table per standard deviation.
const UNIT: f32 = 320.0;
/// Largest magnitude of an integer of a table.
const VALUE_MAX: f32 = 1023.0;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1).
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Standard normal.
    fn normal(&mut self) -> f32 {
        quantile(self.uniform()) as f32
    }
}

/// The quantile function of the standard normal distribution: Acklam's rational approximation, and no function of
/// the platform's library but the square root; the tails' logarithm is a series.
fn quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
    ];
    const C: [f64; 6] = [
        -0.007_784_894_002_430_293,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [
        0.007_784_695_709_041_462,
        0.322_467_129_070_039_8,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
    ];
    let polynomial = |factors: &[f64], x: f64| factors.iter().fold(0.0, |sum, factor| sum * x + factor);
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    if p < 0.02425 {
        let q = (-2.0 * logarithm(p)).sqrt();
        return polynomial(&C, q) / (polynomial(&D, q) * q + 1.0);
    }
    let q = p - 0.5;
    let r = q * q;
    polynomial(&A, r) * q / (polynomial(&B, r) * r + 1.0)
}

/// Natural logarithm of a normal number.
fn logarithm(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let mantissa = f64::from_bits(bits & 0x000F_FFFF_FFFF_FFFF | 1023 << 52);
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let mut sum = 0.0;
    for odd in (0..20).rev() {
        sum = sum * z * z + 1.0 / (2 * odd + 1) as f64;
    }
    2.0 * z * sum + exponent as f64 * std::f64::consts::LN_2
}

/// Vectors in turn of 64 and 128 channels.
fn vectors(random: &mut Random, count: usize) -> Vec<Vec<f32>> {
    let one = |number: usize, random: &mut Random| {
        let dim = if number % 2 == 0 { 64 } else { 128 };
        let mut vector: Vec<f32> = (0..dim).map(|_| random.normal()).collect();
        let squares: f32 = vector.iter().map(|x| x * x).sum();
        let factor = (dim as f32 / squares).sqrt();
        vector.iter_mut().for_each(|x| *x *= factor);
        vector
    };
    (0..count).map(|number| one(number, random)).collect()
}

/// The path of least squared error: `path[t]` is the state whose value stands for channel `t`.
fn viterbi<const STATES: usize>(
    bits: u32,
    table: &[f32; STATES],
    x: &[f32],
    costs: &mut [[f32; STATES]],
    path: &mut [u8],
) {
    let branches = 1 << bits;
    let rows = STATES >> bits;
    for (state, cost) in costs[0].iter_mut().enumerate() {
        *cost = (x[0] - table[state]) * (x[0] - table[state]);
    }
    let mut least = [0.0_f32; STATES];
    for t in 1..x.len() {
        let (before, after) = costs.split_at_mut(t);
        let (before, after) = (&before[t - 1], &mut after[0]);
        least[..rows].copy_from_slice(&before[..rows]);
        for row in before.chunks_exact(rows).skip(1) {
            for (least, cost) in least[..rows].iter_mut().zip(row) {
                *least = if *cost < *least { *cost } else { *least };
            }
        }
        for prefix in 0..rows {
            after[prefix * branches..][..branches].fill(least[prefix]);
        }
        for (cost, value) in after.iter_mut().zip(table) {
            *cost += (x[t] - value) * (x[t] - value);
        }
    }
    let last = &costs[x.len() - 1];
    let mut state = (0..STATES).fold(0, |best, state| if last[state] < last[best] { state } else { best });
    for t in (0..x.len()).rev() {
        path[t] = state as u8;
        if t > 0 {
            let prefix = state >> bits;
            let from = |row: usize| prefix + row * rows;
            let best = (0..branches).fold(0, |best, row| {
                if costs[t - 1][from(row)] < costs[t - 1][from(best)] {
                    row
                } else {
                    best
                }
            });
            state = from(best);
        }
    }
}

/// One pass over the vectors: the mean squared error per channel, and where each value should lie.
fn pass<const STATES: usize>(bits: u32, table: &[f32; STATES], vectors: &[Vec<f32>]) -> (f64, [f32; STATES]) {
    let mut costs = vec![[0.0; STATES]; 128];
    let mut path = [0; 128];
    let mut sums = [0.0_f64; STATES];
    let mut counts = [0_u32; STATES];
    let (mut error, mut channels) = (0.0, 0);
    for x in vectors {
        viterbi(bits, table, x, &mut costs, &mut path);
        for (x, state) in x.iter().zip(path) {
            let state = usize::from(state);
            sums[state] += f64::from(*x);
            counts[state] += 1;
            error += f64::from((x - table[state]) * (x - table[state]));
        }
        channels += x.len();
    }
    let mut means = *table;
    for state in (0..STATES).filter(|state| counts[*state] > 0) {
        means[state] = (sums[state] / f64::from(counts[state])) as f32;
    }
    (error / channels as f64, means)
}

fn train<const STATES: usize>(bits: u32, seed: u64, noise: f32) -> [f32; STATES] {
    const ROUNDS: usize = 240;
    const NOISY: usize = 200;
    let mut random = Random(seed);
    let mut table: [f32; STATES] = std::array::from_fn(|i| quantile((i as f64 + 0.5) / STATES as f64) as f32);
    for last in (1..STATES).rev() {
        table.swap(last, (random.next() % (last as u64 + 1)) as usize);
    }
    for round in 0..ROUNDS {
        let count = if round < NOISY { 384 } else { 1536 };
        let batch = vectors(&mut random, count);
        let (_, means) = pass(bits, &table, &batch);
        let left = 1.0 - round as f32 / NOISY as f32;
        let size = if left > 0.0 { noise * left * left } else { 0.0 };
        table = means.map(|value| value + size * random.normal());
    }
    table
}

fn search<const STATES: usize>(bits: u32, seeds: u64) {
    let held_out = vectors(&mut Random(u64::MAX / 3), 3000);
    // Of the distance between neighbouring levels; larger where few values meet in a state.
    let noise = [0.3, 0.15, 0.08][bits as usize - 2];
    let mut best = (f64::INFINITY, [0_i16; STATES]);
    for seed in 0..seeds {
        let table = train::<STATES>(bits, seed, noise);
        let rounded = table.map(|value| (value * UNIT).round().clamp(-VALUE_MAX, VALUE_MAX) as i16);
        let (error, _) = pass(bits, &rounded.map(|value| f32::from(value) / UNIT), &held_out);
        eprintln!("{bits} bits, {STATES} states, seed {seed}: {error:.6}");
        if error < best.0 {
            best = (error, rounded);
        }
    }
    println!("/// {bits} bits, {STATES} states: mean squared error {:.5}.", best.0);
    println!("pub(super) static T{bits}_{STATES}: [i16; {STATES}] = [");
    // By window: the first bit of a window, its lowest, is the oldest of the state.
    let log2_states = STATES.trailing_zeros();
    let state = |window: usize| window.reverse_bits() >> (usize::BITS - log2_states);
    let windows: Vec<i16> = (0..STATES).map(|window| best.1[state(window)]).collect();
    for line in windows.chunks(16) {
        println!(
            "    {},",
            line.iter()
                .map(|value| value.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    println!("];");
}

fn main() {
    let argument = |number: usize| env::args().nth(number).and_then(|text| text.parse::<u32>().ok());
    match (argument(1), argument(2), argument(3)) {
        (Some(bits @ 2..=4), Some(8), Some(seeds)) => search::<256>(bits, u64::from(seeds)),
        (Some(bits @ 2..=4), Some(6), Some(seeds)) => search::<64>(bits, u64::from(seeds)),
        _ => eprintln!("usage: tables BITS(2..4) LOG2_STATES(6|8) SEEDS"),
    }
}
