//! From a code to elements.

use super::entropy::{BitReader, PLACES, SLOTS, STATES, Symbols, class_of, fill_slots, places};
use super::kernel::{Job, Kernel, all};
use super::section::{BASIS_BITS, CLASSES, ESCAPE, GAIN_ONE, GAINS, ROWS, STEP_MAX, Section, step_size};
use super::{CODE_HEADER_BYTES, EMPTY, lag_bits, rope, row_levels};
use crate::codec::plane::Plane;
use crate::codec::scratch::Scratch;
use crate::codec::tables::Rope;
use crate::error::Status;

/// Tokens whose coefficients are read before they are turned back, so that a basis is fetched once for all of them.
const TOKENS_AT_ONCE: usize = 16;

/// What a plane is decoded from and into.
pub(super) struct Decode<'a, 's, 'o> {
    pub(super) section: Section<'a>,
    pub(super) rope: Rope,
    pub(super) plane: Plane,
    pub(super) code: &'a [u8],
    pub(super) output: &'o mut [u8],
    pub(super) scratch: Scratch<'s>,
}

/// Where coefficients come from.
struct Reader<'c, 's> {
    symbols: Symbols<'c>,
    bits: BitReader<'c>,
    slots: &'s [u8; SLOTS],
    places: [u32; PLACES],
}

impl Reader<'_, '_> {
    /// The coefficients of a row, as differences or by themselves.
    #[inline(always)]
    fn row<K: Kernel>(&mut self, kernel: K, levels: &[i8], offset: i8, classes: &mut [u8], output: &mut [i16]) {
        kernel.classes(levels, offset, classes);
        let last = CLASSES as i32 - 1;
        let level_of = |level: &i8| i32::from(*level) + i32::from(offset);
        // Levels never rise along a row: those beyond the last class come first.
        let beyond = levels.iter().take_while(|level| level_of(level) > last).count();
        for (class, level) in classes[..beyond].iter_mut().zip(levels) {
            *class = class_of(level_of(level)).0 as u8;
        }
        self.symbols.fill(self.slots, &self.places, classes, output);
        let is_plain = i32::from(kernel.peak(&output[beyond..])) < ESCAPE;
        let count = if is_plain { beyond } else { output.len() };
        for (value, level) in output[..count].iter_mut().zip(levels) {
            let (_, shift) = class_of(level_of(level));
            let mut whole = i32::from(*value);
            if whole.abs() >= ESCAPE {
                let more = self.bits.take_beyond() as i32;
                whole += if whole < 0 { -more } else { more };
            }
            let whole = whole.wrapping_shl(shift) | self.bits.take(shift) as i32;
            *value = whole.clamp(-2 * all::STEPS_MAX, 2 * all::STEPS_MAX) as i16;
        }
    }
}

impl Job for Decode<'_, '_, '_> {
    type Output = Result<(), Status>;

    #[inline(always)]
    fn run<K: Kernel>(mut self, kernel: K) -> Self::Output {
        let section = &self.section;
        let shape = &self.plane.shape;
        let channels = section.channels();
        let (header, body) = self.code.split_at_checked(CODE_HEADER_BYTES).ok_or(Status::Damaged)?;
        let step = u16::from_le_bytes([header[0], header[1]]);
        let is_empty = step == EMPTY;
        if if is_empty {
            !body.is_empty()
        } else {
            i32::from(step) > STEP_MAX
        } {
            return Err(Status::Damaged);
        }
        let slots: &mut [u8; SLOTS] = self
            .scratch
            .take::<u8>(SLOTS)?
            .try_into()
            .map_err(|_| Status::TooSmall)?;
        let steps = self.scratch.take::<i16>(shape.tokens * channels)?;
        let levels = self.scratch.take::<i8>(2 * channels)?;
        let (mut classes, mut differences, mut sums) = ([0_u8; 256], [0_i16; 256], [0_i32; 256]);
        let mut numbers = [0.0_f32; 256];
        let pairs = if self.plane.plane == 0 { self.rope.dim / 2 } else { 0 };
        let cosines = self.scratch.take::<f32>(TOKENS_AT_ONCE * pairs)?;
        let sines = self.scratch.take::<f32>(TOKENS_AT_ONCE * pairs)?;
        let page = Section::page(shape.tokens);
        let rows = &section.rows[page * ROWS..][..ROWS];
        let scale = step_size(section.unit, i32::from(step).min(STEP_MAX)) / (1_u32 << BASIS_BITS) as f32;

        if !is_empty {
            fill_slots(section.classes, slots);
            row_levels(section, i32::from(step), levels);
        }
        let mut reader = Reader {
            symbols: if is_empty {
                Symbols::new(&[0; 4 * STATES])?
            } else {
                Symbols::new(body)?
            },
            bits: BitReader::new(body),
            slots,
            places: places(section.classes),
        };
        let token_bytes = channels * 2;
        for (batch, output) in self.output.chunks_mut(TOKENS_AT_ONCE * token_bytes).enumerate() {
            let begin = batch * TOKENS_AT_ONCE;
            let count = output.len() / token_bytes;
            let tokens = if is_empty { 0 } else { count };
            for token in begin..begin + tokens {
                let (before, own) = steps.split_at_mut(token * channels);
                let own = &mut own[..channels];
                for (first, width) in section.groups() {
                    let own = &mut own[first..first + width];
                    if batch == 0 {
                        // Each token's share, so that they come while symbols are read.
                        let basis = section.basis(first, width).1;
                        let share = basis.len().div_ceil(tokens);
                        kernel.prefetch(basis.chunks(share).nth(token).unwrap_or(&[]));
                    }
                    let opening = reader.symbols.row(rows);
                    let offset = (opening % GAINS) as i8 - GAIN_ONE as i8;
                    let differences = &mut differences[..width];
                    let classes = &mut classes[..width];
                    if opening < GAINS {
                        reader.row(kernel, &levels[first..][..width], offset, classes, own);
                        own.iter_mut().for_each(|steps| {
                            *steps = (*steps).clamp(-(all::STEPS_MAX as i16), all::STEPS_MAX as i16);
                        });
                    } else {
                        let lag = reader.bits.take(lag_bits(token)) as usize + 1;
                        let from = token.checked_sub(lag).ok_or(Status::Damaged)?;
                        let levels = &levels[channels + first..][..width];
                        reader.row(kernel, levels, offset, classes, differences);
                        kernel.add(differences, &before[from * channels + first..][..width], own);
                    }
                }
            }
            for token in 0..if pairs > 0 { count } else { 0 } {
                let position = self.plane.position.saturating_add((begin + token) as u64);
                let (cosines, sines) = (&mut cosines[token * pairs..], &mut sines[token * pairs..]);
                rope::angles(&section.turns[..pairs], position, cosines, sines);
            }
            for (first, width) in section.groups() {
                let basis = section.basis(first, width).1;
                let means = &section.means[first..first + width];
                let (numbers, sums) = (&mut numbers[..width], &mut sums[..width]);
                for (token, output) in output.chunks_exact_mut(token_bytes).enumerate() {
                    if is_empty {
                        numbers.copy_from_slice(means);
                    } else {
                        let at = (begin + token) * channels + first;
                        kernel.inverse(basis, &steps[at..at + width], sums);
                        for ((number, sum), mean) in numbers.iter_mut().zip(&*sums).zip(means) {
                            *number = *sum as f32 * scale + *mean;
                        }
                    }
                    if pairs > 0 {
                        let (cosines, sines) = (&cosines[token * pairs..], &sines[token * pairs..]);
                        for head in numbers.chunks_exact_mut(section.dim) {
                            rope::turn(&self.rope, head, cosines, sines, 1.0);
                        }
                    }
                    kernel.write(shape.dtype, numbers, &mut output[2 * first..2 * (first + width)]);
                }
            }
        }
        if is_empty || reader.symbols.finish()? + reader.bits.taken() == body.len() {
            Ok(())
        } else {
            Err(Status::Damaged)
        }
    }
}
