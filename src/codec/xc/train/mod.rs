//! Training: the rotary embedding, the transforms, the tables of the entropy coder, the rates.

mod counts;
mod rotary;
mod transform;

use super::encode::Trials;
use super::kernel::{self, Job, Kernel};
use super::section::{
    GAINS, LADDER_POINTS, LADDER_STRIDE, Layout, PAGES, PAIRS_MAX, ROWS, SECTION_VERSION, STEP_ONE, SYMBOLS, Section,
};
use crate::codec::isa::Isa;
use crate::codec::scratch::Scratch;
use crate::codec::tables::{Rope, Section as Part};
use crate::codec::train::Samples;
use crate::config::CodecKind;
use crate::geometry::Dtype;
use counts::Counts;
use std::vec;
use std::vec::Vec;

pub(in crate::codec) use rotary::find_rope;

/// Channels of a group, where a head has no more: what keeps the inverse transform in the nearest cache.
const GROUP_CHANNELS: usize = 128;
/// Steps that the tables are counted at: a quarter, a half and all of the unit.
const COUNT_STEPS: [i32; 3] = [STEP_ONE - 64, STEP_ONE - 32, STEP_ONE];
/// The step that rows are compared at.
const LAG_STEP: i32 = STEP_ONE - 48;
/// Most tokens that tables are counted on, and that rates are measured on, for each length of page.
const TOKENS_MAX: usize = 8192;

/// Runs trials of one page at several steps.
struct Measure<'a, F> {
    section: Section<'a>,
    rope: Rope,
    dtype: Dtype,
    tokens: usize,
    page: usize,
    position: u64,
    input: &'a [u8],
    memory: &'a mut [u8],
    steps: &'a [i32],
    visit: F,
}

impl<F: FnMut(i32, u64, &Trials<'_, '_>)> Job for Measure<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(mut self, kernel: K) {
        let mut scratch = Scratch::new(self.memory);
        let Ok(mut trials) = Trials::new(self.section, self.tokens, &mut scratch) else {
            return;
        };
        trials.page = self.page;
        trials.load(kernel, &self.rope, self.dtype, self.position, self.input);
        trials.find_lags(kernel, LAG_STEP);
        for step in self.steps {
            let cost = trials.trial(kernel, *step);
            (self.visit)(*step, cost, &trials);
        }
    }
}

/// One plane of the samples, and its section as it comes into being.
struct Builder<'s> {
    samples: &'s Samples<'s>,
    input: &'s [u8],
    rope: Rope,
    layout: Layout,
    bytes: Vec<u8>,
}

impl Builder<'_> {
    fn put<T: bytemuck::Pod>(&mut self, at: usize, values: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Calls `visit` with trials of pages of the `page`th length.
    fn measure(&self, page: usize, steps: &[i32], mut visit: impl FnMut(i32, u64, &Trials<'_, '_>)) {
        let samples = self.samples;
        let channels = samples.heads * samples.dim;
        let length = PAGES[page].min(samples.sequence_tokens);
        // Aligned as the sections of tables are.
        let mut memory = vec![0_u64; self.bytes.len() / 8 + 16];
        let memory: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
        let skip = memory.as_ptr().align_offset(64);
        let copy = &mut memory[skip..skip + self.bytes.len()];
        copy.copy_from_slice(&self.bytes);
        let Ok(section) = Section::of_bytes(copy, samples.heads, samples.dim) else {
            return;
        };
        let mut scratch = vec![0; 16 * length * channels + (64 << 10)];
        let starts: Vec<usize> = (0..samples.tokens())
            .step_by(samples.sequence_tokens)
            .flat_map(|first| {
                let whole = samples.sequence_tokens.min(samples.tokens() - first) / length;
                (0..whole).map(move |page| first + page * length)
            })
            .collect();
        let every = (starts.len() * length).div_ceil(TOKENS_MAX).max(1);
        for start in starts.iter().step_by(every) {
            let job = Measure {
                section,
                rope: self.rope,
                dtype: samples.dtype,
                tokens: length,
                page,
                position: (start % samples.sequence_tokens) as u64,
                input: &self.input[start * channels * 2..][..length * channels * 2],
                memory: &mut scratch,
                steps,
                visit: &mut visit,
            };
            kernel::run(Isa::detect(), job);
        }
    }

    /// The scale of differences to the row most like a row.
    fn fit_differences(&mut self) {
        let channels = self.samples.heads * self.samples.dim;
        let mut sums = vec![0.0_f64; channels];
        let mut rows = vec![0.0_f64; channels];
        for page in [1, 2] {
            self.measure(page, &[LAG_STEP], |_, _, trials| {
                counts::each_row(trials, |opening, first, row| {
                    for (channel, value) in (first..).zip(row).filter(|_| opening >= GAINS) {
                        sums[channel] += f64::from(*value).powi(2);
                        rows[channel] += 1.0;
                    }
                });
            });
        }
        let width = self
            .samples
            .heads
            .min(GROUP_CHANNELS / self.samples.dim.min(GROUP_CHANNELS))
            * self.samples.dim;
        let own = self.levels_of_rows(channels);
        let mut levels: Vec<i16> = (0..channels)
            .map(|channel| {
                if rows[channel] < 32.0 {
                    return own[channel].saturating_sub(32);
                }
                let deviation = (sums[channel] / rows[channel]).max(1.0 / 1024.0).sqrt();
                (deviation.log2() * 32.0) as i16 + (LAG_STEP - STEP_ONE) as i16
            })
            .collect();
        // Levels never rise within a group.
        for group in levels.chunks_mut(width) {
            for at in (1..group.len()).rev() {
                group[at - 1] = group[at - 1].max(group[at]);
            }
        }
        self.put(self.layout.levels + 2 * channels, &levels);
    }

    fn levels_of_rows(&self, channels: usize) -> Vec<i16> {
        let bytes = &self.bytes[self.layout.levels..][..2 * channels];
        bytes
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect()
    }

    /// The frequencies of symbols.
    fn count(&mut self) {
        let mut counts = Counts::new();
        for page in 0..PAGES.len() {
            self.measure(page, &COUNT_STEPS, |_, _, trials| counts.add(page, trials));
        }
        self.put_counts(&counts);
    }

    fn put_counts(&mut self, counts: &Counts) {
        let classes = counts.classes();
        let rows = counts.rows();
        self.put(self.layout.classes, &classes);
        self.put(self.layout.class_costs, &counts::costs(&classes));
        self.put(self.layout.rows, &rows);
        self.put(self.layout.row_costs, &counts::costs(&rows));
    }

    /// For each length of page, 2^-16 bits per element at the points of the ladder.
    fn rates(&self) -> [[u32; LADDER_POINTS]; PAGES.len()] {
        let steps: [i32; LADDER_POINTS] = core::array::from_fn(|point| point as i32 * LADDER_STRIDE);
        let channels = self.samples.heads * self.samples.dim;
        core::array::from_fn(|page| {
            let (mut costs, mut elements) = ([0_u64; LADDER_POINTS], 0_u64);
            self.measure(page, &steps, |step, cost, trials| {
                costs[(step / LADDER_STRIDE) as usize] += cost;
                elements += if step == 0 {
                    (trials.tokens * channels) as u64
                } else {
                    0
                };
            });
            let mut rates = costs.map(|cost| (cost * 256 / elements.max(1)) as u32 + 1);
            // Rates fall from point to point.
            for point in (1..LADDER_POINTS).rev() {
                rates[point - 1] = rates[point - 1].max(rates[point] + 1);
            }
            rates
        })
    }
}

/// Transforms, tables and rates for every plane.
pub(in crate::codec) fn sections(samples: &Samples<'_>, rope: &Rope) -> Vec<Part> {
    let group_heads = (GROUP_CHANNELS / samples.dim).clamp(1, samples.heads);
    let layout = Layout::new(samples.heads, samples.dim, group_heads);
    let mut built = Vec::new();
    for (layer, planes) in samples.layers.iter().enumerate() {
        for (plane, input) in planes.iter().enumerate() {
            let rope = if plane == 0 { *rope } else { Rope::NONE };
            let mut builder = Builder {
                samples,
                input,
                rope,
                layout,
                bytes: vec![0; layout.end],
            };
            builder.put(0, &[SECTION_VERSION, group_heads as u32]);
            let mut turns = rotary::turns(&rope);
            turns.resize(PAIRS_MAX, 0.0);
            builder.put(layout.turns, &turns);
            let transform = transform::fit(samples, input, &rope, &turns, group_heads);
            builder.put(8, &[transform.unit]);
            builder.put(layout.means, &transform.means);
            builder.put(layout.levels, &transform.levels);
            builder.put(layout.levels + 2 * transform.levels.len(), &transform.levels);
            builder.put(layout.bases, &transform.bases);
            builder.put_counts(&Counts::new());
            builder.fit_differences();
            builder.count();
            builder.count();
            built.push((layer, plane, builder.rates(), builder.bytes));
        }
    }
    let planes = built.len().max(1) as u64;
    let mut means = [[0_u32; LADDER_POINTS]; PAGES.len()];
    for (page, means) in means.iter_mut().enumerate() {
        for (point, mean) in means.iter_mut().enumerate() {
            let sum: u64 = built.iter().map(|(_, _, rates, _)| u64::from(rates[page][point])).sum();
            // Rounded up: planes together never take more than is asked for.
            *mean = sum.div_ceil(planes) as u32;
        }
    }
    let of_plane = |(layer, plane, rates, mut bytes): (usize, usize, [[u32; LADDER_POINTS]; PAGES.len()], Vec<u8>)| {
        let ladders: Vec<u32> = rates
            .iter()
            .zip(&means)
            .flat_map(|(own, mean)| own.iter().chain(mean))
            .copied()
            .collect();
        let ladders: &[u8] = bytemuck::cast_slice(&ladders);
        bytes[layout.ladders..layout.ladders + ladders.len()].copy_from_slice(ladders);
        Part {
            kind: CodecKind::Xc,
            layer,
            plane,
            bytes,
        }
    };
    built.into_iter().map(of_plane).collect()
}

const _: () = assert!(ROWS == 2 * GAINS && SYMBOLS == 32);
