//! From elements to a code that fits.

use super::entropy::{BitWriter, PLACES, Range, STATES, Words, beyond_bits, class_of};
use super::kernel::{Job, Kernel, all};
use super::section::{
    BASIS_BITS, CLASSES, ESCAPE, FREQUENCY_SUM, GAIN_ONE, GAINS, ROWS, STEP_MAX, SYMBOLS, Section, step_size,
};
use super::{CODE_HEADER_BYTES, EMPTY, lag_bits, rope, row_levels};
use crate::codec::plane::Plane;
use crate::codec::scratch::Scratch;
use crate::codec::tables::Rope;
use crate::error::Status;
use crate::geometry::Dtype;

/// Numbers are kept this small, so that no sum of them is infinite.
const NUMBER_MAX: f32 = 1e30;
/// Levels with all gains.
const LEVELS: usize = 256 + GAINS;
/// One of so many tokens is looked at first, where that makes enough of them.
const SAMPLED: usize = 2;
const SAMPLE_MIN: usize = 8;
/// Trials before the search goes by halves.
const GUESSES: usize = 6;

/// What elements are, to take the rotary embedding off them.
pub(super) struct Source<'a> {
    pub(super) dtype: Dtype,
    pub(super) dim: usize,
    pub(super) rope: Rope,
    pub(super) turns: &'a [f64],
}

impl Source<'_> {
    /// The elements of some heads of one token, the rotary embedding undone and everything finite.
    #[inline(always)]
    pub(super) fn load<K: Kernel>(&self, kernel: K, position: u64, input: &[u8], numbers: &mut [f32]) {
        kernel.read(self.dtype, input, numbers);
        for number in &mut *numbers {
            *number = number.clamp(-NUMBER_MAX, NUMBER_MAX);
        }
        let pairs = self.rope.dim / 2;
        if pairs > 0 {
            let (mut cosines, mut sines) = ([0.0_f32; 128], [0.0_f32; 128]);
            rope::angles(&self.turns[..pairs], position, &mut cosines, &mut sines);
            for head in numbers.chunks_exact_mut(self.dim) {
                rope::turn(&self.rope, head, &cosines, &sines, -1.0);
            }
        }
    }
}

/// Steps in one of the forward transform's sums.
fn inverse_step(unit: f32, step: i32) -> f32 {
    1.0 / (step_size(unit, step) * (1_u32 << BASIS_BITS) as f32)
}

/// How large the coefficients of each level are on the average.
pub(super) struct Magnitudes {
    /// In 1/256 steps, from the lowest level with the lowest gain on.
    means: [u32; LEVELS],
    weights: [u16; LEVELS],
}

impl Magnitudes {
    fn new(classes: &[u16]) -> Self {
        let mut expected = [0; CLASSES];
        for (mean, class) in expected.iter_mut().zip(classes.chunks_exact(SYMBOLS)) {
            let sum: u32 = (0..31)
                .map(|s: i32| (s - ESCAPE).unsigned_abs() * u32::from(class[s as usize]))
                .sum();
            *mean = sum * 256 / FREQUENCY_SUM;
        }
        let means = core::array::from_fn(|at| {
            let (class, shift) = class_of(at as i32 + i32::from(i8::MIN) - GAIN_ONE);
            expected[class] << shift
        });
        Self {
            means,
            weights: means.map(|mean| (65_536 / mean.max(96)).max(1) as u16),
        }
    }

    #[inline(always)]
    fn weight(&self, level: i8) -> u16 {
        self.weights[(i32::from(level) - i32::from(i8::MIN) + GAIN_ONE) as usize]
    }

    /// With each gain.
    #[inline(always)]
    fn means(&self, level: i8) -> &[u32] {
        &self.means[(i32::from(level) - i32::from(i8::MIN)) as usize..][..GAINS]
    }
}

/// All that the trials of one plane work with; `[token][channel]` each.
pub(super) struct Trials<'a, 's> {
    pub(super) section: Section<'a>,
    pub(super) tokens: usize,
    /// Which of the tables for rows is taken.
    pub(super) page: usize,
    /// Coefficients.
    pub(super) numbers: &'s mut [f32],
    /// Coefficients in steps, as the decoder has them.
    pub(super) steps: &'s mut [i16],
    /// What is coded of each row.
    pub(super) differences: &'s mut [i16],
    /// Coefficients as bytes.
    pub(super) bytes: &'s mut [u8],
    /// For each row, how many tokens back the row most like it is; 0 for none.
    pub(super) lags: &'s mut [u16],
    /// For each row, the symbol that opens it.
    pub(super) openings: &'s mut [u8],
    pub(super) levels: &'s mut [i8],
    pub(super) weights: &'s mut [i16],
    magnitudes: Magnitudes,
    /// 1/256 bits of each symbol of each class.
    costs: [u32; PLACES],
}

impl<'a, 's> Trials<'a, 's> {
    /// Takes memory from `scratch`.
    pub(super) fn new(section: Section<'a>, tokens: usize, scratch: &mut Scratch<'s>) -> Result<Self, Status> {
        let channels = section.channels();
        let rows = tokens * section.groups().count();
        let mut costs = [0; PLACES];
        for (place, cost) in costs.iter_mut().zip(section.class_costs) {
            *place = u32::from(*cost);
        }
        Ok(Self {
            section,
            tokens,
            page: Section::page(tokens),
            numbers: scratch.take(tokens * channels)?,
            steps: scratch.take(tokens * channels)?,
            differences: scratch.take(tokens * channels)?,
            bytes: scratch.take(tokens * channels)?,
            lags: scratch.take(rows)?,
            openings: scratch.take(rows)?,
            levels: scratch.take(2 * channels)?,
            weights: scratch.take(2 * channels)?,
            magnitudes: Magnitudes::new(section.classes),
            costs,
        })
    }

    /// Loads and transforms a plane.
    #[inline(always)]
    pub(super) fn load<K: Kernel>(&mut self, kernel: K, rope: &Rope, dtype: Dtype, position: u64, input: &[u8]) {
        let section = &self.section;
        let channels = section.channels();
        let source = Source {
            dtype,
            dim: section.dim,
            rope: *rope,
            turns: section.turns,
        };
        let rows = input
            .chunks_exact(2 * channels)
            .zip(self.numbers.chunks_exact_mut(channels));
        for (token, (input, numbers)) in rows.enumerate() {
            for (first, width) in section.groups() {
                let basis = section.basis(first, width).0;
                let share = basis.len().div_ceil(self.tokens);
                kernel.prefetch(basis.chunks(share).nth(token).unwrap_or(&[]));
            }
            let position = position.saturating_add(token as u64);
            source.load(kernel, position, input, numbers);
            for (number, mean) in numbers.iter_mut().zip(section.means) {
                *number -= *mean;
            }
        }
        let mut rows = [0.0_f32; all::ROWS_AT_ONCE * 256];
        let mut sums = [0.0_f32; all::ROWS_AT_ONCE * 256];
        for (first, width) in section.groups() {
            let basis = section.basis(first, width).0;
            let (rows, sums) = (
                &mut rows[..all::ROWS_AT_ONCE * width],
                &mut sums[..all::ROWS_AT_ONCE * width],
            );
            for numbers in self.numbers.chunks_mut(channels * all::ROWS_AT_ONCE) {
                for (row, numbers) in rows.chunks_exact_mut(width).zip(numbers.chunks_exact(channels)) {
                    row.copy_from_slice(&numbers[first..first + width]);
                }
                kernel.forward(basis, width, rows, sums);
                for (sums, numbers) in sums.chunks_exact(width).zip(numbers.chunks_exact_mut(channels)) {
                    numbers[first..first + width].copy_from_slice(sums);
                }
            }
        }
    }

    /// Finds for each row the earlier one that is most like it.
    #[inline(always)]
    pub(super) fn find_lags<K: Kernel>(&mut self, kernel: K, step: i32) {
        let channels = self.section.channels();
        let inverse_step = inverse_step(self.section.unit, step);
        kernel.quantise(self.numbers, inverse_step, self.steps);
        kernel.bytes(self.steps, self.bytes);
        let mut lags = self.lags.iter_mut();
        for token in 0..self.tokens {
            for (first, width) in self.section.groups() {
                let (before, own) = self.bytes.split_at(token * channels);
                let lag = kernel.nearest(&own[first..first + width], before, channels, first);
                if let Some(place) = lags.next() {
                    *place = lag as u16;
                }
            }
        }
    }

    /// Weights for the magnitudes of coefficients, and for their sum the bounds between gains.
    #[inline(always)]
    fn gains(&mut self, at: usize, width: usize) -> [i32; GAINS - 1] {
        let mut sums = [0_u64; GAINS];
        let weights = &mut self.weights[at..at + width];
        for (level, place) in self.levels[at..at + width].iter().zip(weights) {
            *place = self.magnitudes.weight(*level) as i16;
        }
        for levels in self.levels[at..at + width].chunk_by(|left, right| left == right) {
            let weight = u64::from(self.magnitudes.weight(levels[0])) * levels.len() as u64;
            for (sum, mean) in sums.iter_mut().zip(self.magnitudes.means(levels[0])) {
                *sum += weight * u64::from(*mean);
            }
        }
        core::array::from_fn(|gain| ((sums[gain] + sums[gain + 1]) / 512).min(i32::MAX as u64) as i32)
    }

    /// Rounds everything to a step and says how many 1/256 bits that takes.
    #[inline(always)]
    pub(super) fn trial<K: Kernel>(&mut self, kernel: K, step: i32) -> u64 {
        self.trial_of(kernel, step, 1)
    }

    /// The same for every `stride`th token, where the others are as they were rounded before. The rest is not changed.
    #[inline(always)]
    fn trial_of<K: Kernel>(&mut self, kernel: K, step: i32, stride: usize) -> u64 {
        let channels = self.section.channels();
        let inverse_step = inverse_step(self.section.unit, step);
        row_levels(&self.section, step, self.levels);
        let groups = self.section.groups();
        let groups_count = groups.count();
        let mut cost = 0;
        for (group, (first, width)) in self.section.groups().enumerate() {
            let bounds = [self.gains(first, width), self.gains(channels + first, width)];
            for token in (stride - 1..self.tokens).step_by(stride) {
                let row = token * groups_count + group;
                let (before, own) = self.steps.split_at_mut(token * channels);
                let own = &mut own[first..first + width];
                let at = token * channels + first;
                let numbers = &self.numbers[at..at + width];
                let differences = &mut self.differences[at..at + width];
                kernel.quantise(numbers, inverse_step, own);
                let lag = usize::from(self.lags[row]);
                let mut mode = 0;
                if lag > 0 {
                    let from = &before[(token - lag) * channels + first..][..width];
                    kernel.quantise_from(numbers, inverse_step, from, differences);
                    if (kernel.magnitudes(differences) + 1) * 20 < kernel.magnitudes(own) * 19 {
                        mode = 1;
                        kernel.add(differences, from, own);
                        cost += u64::from(lag_bits(token)) * 256;
                    }
                }
                if mode == 0 {
                    differences.copy_from_slice(own);
                }
                let levels = mode * channels + first;
                let sum = kernel.weigh(differences, &self.weights[levels..levels + width]);
                let gain = bounds[mode].iter().filter(|bound| **bound < sum).count();
                let opening = mode * GAINS + gain;
                self.openings[row] = opening as u8;
                cost += u64::from(self.section.row_costs[self.page * ROWS + opening]);
                let offset = gain as i32 - GAIN_ONE;
                let levels = &self.levels[levels..levels + width];
                cost += row_cost(kernel, &self.costs, levels, offset, differences);
            }
        }
        cost
    }

    /// Writes what the last trial came to. `words` is memory to work in; the code is laid into `code`.
    #[inline(always)]
    fn write<K: Kernel>(&self, kernel: K, step: i32, words: &mut [u8], code: &mut [u8]) -> Result<usize, Status> {
        let channels = self.section.channels();
        let groups_count = self.section.groups().count();
        let (header, body) = code.split_at_mut_checked(CODE_HEADER_BYTES).ok_or(Status::TooSmall)?;
        header.copy_from_slice(&(step as u16).to_le_bytes());
        let body_bytes = body.len();
        let mut bits = BitWriter::new(body);
        for token in 0..self.tokens {
            for (group, (first, width)) in self.section.groups().enumerate() {
                let row = token * groups_count + group;
                let (mode, offset) = parts(self.openings[row]);
                if mode == 1 {
                    bits.put(u32::from(self.lags[row]) - 1, lag_bits(token));
                }
                let levels = &self.levels[mode * channels + first..][..width];
                let differences = &self.differences[token * channels + first..][..width];
                let beyond = levels_beyond(levels, offset);
                let is_plain = i32::from(kernel.peak(&differences[beyond..])) < ESCAPE;
                let count = if is_plain { beyond } else { width };
                for (level, value) in levels.iter().zip(&differences[..count]) {
                    let (_, shift) = class_of(i32::from(*level) + offset);
                    let whole = i32::from(*value) >> shift;
                    if whole.abs() >= ESCAPE {
                        bits.put_beyond(whole.unsigned_abs() - ESCAPE as u32);
                    }
                    bits.put(i32::from(*value) as u32 & ((1 << shift) - 1), shift);
                }
            }
        }
        let bits_bytes = bits.finish()?.len();

        let mut ranges = [Range::default(); PLACES];
        Range::fill(self.section.classes, &mut ranges);
        let mut row_ranges = [Range::default(); ROWS];
        Range::fill(&self.section.rows[self.page * ROWS..][..ROWS], &mut row_ranges);
        let mut symbols = [0_u16; 256];
        let mut output = Words::new(words);
        for token in (0..self.tokens).rev() {
            let mut first = channels;
            for group in (0..groups_count).rev() {
                let whole = self.section.group_heads * self.section.dim;
                let width = first - group * whole;
                first -= width;
                let opening = self.openings[token * groups_count + group];
                let (mode, offset) = parts(opening);
                let levels = &self.levels[mode * channels + first..][..width];
                let differences = &self.differences[token * channels + first..][..width];
                let symbols = &mut symbols[..width];
                symbols_of(kernel, levels, offset, differences, symbols);
                for symbols in symbols.rchunks_exact(STATES) {
                    for lane in (0..STATES).rev() {
                        output.put(lane, &ranges[usize::from(symbols[lane]) % PLACES]);
                    }
                }
                output.put(0, &row_ranges[usize::from(opening) % ROWS]);
            }
        }
        let words = output.finish()?;
        if words.len() + bits_bytes > body_bytes {
            return Err(Status::TooSmall);
        }
        body.copy_within(body_bytes - bits_bytes.., words.len());
        body[..words.len()].copy_from_slice(words);
        Ok(CODE_HEADER_BYTES + words.len() + bits_bytes)
    }
}

/// Whether a row is coded as differences, and how far its gain moves the levels.
fn parts(opening: u8) -> (usize, i32) {
    let opening = usize::from(opening);
    (opening / GAINS, (opening % GAINS) as i32 - GAIN_ONE)
}

/// How many coefficients at the beginning of a row are of levels beyond the last class.
#[inline(always)]
fn levels_beyond(levels: &[i8], offset: i32) -> usize {
    levels
        .iter()
        .take_while(|level| i32::from(**level) + offset >= CLASSES as i32)
        .count()
}

/// The symbol of a value of a class without bits beside it.
#[inline(always)]
fn symbol_of(value: i16) -> u16 {
    (value.clamp(-ESCAPE as i16, ESCAPE as i16) + ESCAPE as i16) as u16
}

/// Class and symbol of each coefficient of a row, as an index into the tables of all classes; and the bits beside the
/// symbols.
#[inline(always)]
fn symbols_of<K: Kernel>(kernel: K, levels: &[i8], offset: i32, row: &[i16], symbols: &mut [u16]) -> u32 {
    let mut classes = [0_u8; 256];
    let classes = &mut classes[..row.len()];
    kernel.classes(levels, offset as i8, classes);
    for ((symbol, class), value) in symbols.iter_mut().zip(classes).zip(row) {
        *symbol = u16::from(*class) * SYMBOLS as u16 + symbol_of(*value);
    }
    let mut bits = 0;
    let beyond = levels_beyond(levels, offset);
    for ((symbol, level), value) in symbols.iter_mut().zip(levels).zip(&row[..beyond]) {
        let (class, shift) = class_of(i32::from(*level) + offset);
        let whole = i32::from(*value) >> shift;
        *symbol = (class * SYMBOLS) as u16 + symbol_of(whole as i16);
        bits += shift;
        if whole.abs() >= ESCAPE {
            bits += beyond_bits(whole.unsigned_abs() - ESCAPE as u32);
        }
    }
    if i32::from(kernel.peak(&row[beyond..])) >= ESCAPE {
        let magnitudes = row[beyond..].iter().map(|value| u32::from(value.unsigned_abs()));
        bits += magnitudes
            .filter(|value| *value >= ESCAPE as u32)
            .map(|value| beyond_bits(value - ESCAPE as u32))
            .sum::<u32>();
    }
    bits
}

/// 1/256 bits of the coefficients of a row.
#[inline(always)]
fn row_cost<K: Kernel>(kernel: K, costs: &[u32; PLACES], levels: &[i8], offset: i32, row: &[i16]) -> u64 {
    let mut symbols = [0_u16; 256];
    let symbols = &mut symbols[..row.len()];
    let bits = symbols_of(kernel, levels, offset, row, symbols);
    u64::from(256 * bits + kernel.sum_of(costs, symbols))
}

/// What a plane is encoded from and into.
pub(super) struct Encode<'a, 's, 'o> {
    pub(super) section: Section<'a>,
    pub(super) rope: Rope,
    pub(super) plane: Plane,
    pub(super) millibits: u32,
    pub(super) input: &'a [u8],
    pub(super) code: &'o mut [u8],
    pub(super) scratch: Scratch<'s>,
}

impl Job for Encode<'_, '_, '_> {
    type Output = Result<usize, Status>;

    #[inline(always)]
    fn run<K: Kernel>(mut self, kernel: K) -> Self::Output {
        let shape = &self.plane.shape;
        let (budget, first_step, slope) = self.section.budget(shape.tokens, self.millibits);
        let budget = budget.min(self.code.len());
        let code = &mut self.code[..budget.max(CODE_HEADER_BYTES)];
        // States, and what the last words and bits leave over.
        let fixed = CODE_HEADER_BYTES + 4 * STATES + 4;
        if budget > fixed {
            let rope = if self.plane.plane == 0 { self.rope } else { Rope::NONE };
            let mut trials = Trials::new(self.section, shape.tokens, &mut self.scratch)?;
            let words = self.scratch.take::<u8>(budget)?;
            trials.load(kernel, &rope, shape.dtype, self.plane.position, self.input);
            trials.find_lags(kernel, first_step);
            // A state loses a little at every word; symbols cost a thousandth more than their tables say.
            let allowed = (budget - fixed) as u64 * 2048 * 1000 / 1001;
            let mut step = search(kernel, &mut trials, first_step, allowed, slope as i64);
            while step <= STEP_MAX {
                match trials.write(kernel, step, words, code) {
                    Err(Status::TooSmall) => {}
                    done => return done,
                }
                step += 1;
                trials.trial(kernel, step);
            }
        }
        code[..CODE_HEADER_BYTES].copy_from_slice(&EMPTY.to_le_bytes());
        Ok(CODE_HEADER_BYTES)
    }
}

/// The finest step whose cost is within what is allowed, as far as trials near it say; its trial is the last one made.
#[inline(always)]
fn search<K: Kernel>(kernel: K, trials: &mut Trials<'_, '_>, first: i32, allowed: u64, slope: i64) -> i32 {
    let (mut too_fine, mut fits) = (-1, STEP_MAX + 1);
    let mut step = first.clamp(0, STEP_MAX);
    let jump = |over: i64| {
        let jump = if over > 0 {
            (over + slope) / slope
        } else {
            (over + slope) / slope - 1
        };
        jump.clamp(-i64::from(STEP_MAX), i64::from(STEP_MAX)) as i32
    };
    let sample = trials.tokens / SAMPLED;
    if sample >= SAMPLE_MIN {
        // All tokens were rounded to this step when rows like them were looked for.
        let cost = trials.trial_of(kernel, step, SAMPLED) * trials.tokens as u64 / sample as u64;
        step = (step + jump(cost as i64 - allowed as i64)).clamp(0, STEP_MAX);
    }
    let mut guesses = 0;
    loop {
        let over = trials.trial(kernel, step) as i64 - allowed as i64;
        guesses += 1;
        if over > 0 {
            too_fine = step;
        } else {
            fits = step;
            if -over * 2 < slope * 3 {
                return step;
            }
        }
        if fits - too_fine <= 1 {
            if fits != step && fits <= STEP_MAX {
                trials.trial(kernel, fits);
            }
            return fits;
        }
        step = if guesses < GUESSES {
            (step + jump(over)).clamp(too_fine + 1, fits - 1)
        } else {
            i32::midpoint(too_fine, fits)
        };
    }
}
