//! The tables of one plane, as they lie in a section; `docs/codecs/xc.md` lists them byte by byte.

use crate::codec::tables::Tables;
use crate::config::CodecKind;
use crate::error::Status;
use bytemuck::Pod;

/// Steps are numbered: step `s` is `2^((s - STEP_ONE) / 32)` times the unit of the plane.
pub(super) const STEP_ONE: i32 = 160;
/// Most that a step's number may be; such steps are for input that is far outside of what a model makes.
pub(super) const STEP_MAX: i32 = 3600;
/// Points of a ladder of rates.
pub(super) const LADDER_POINTS: usize = 16;
/// Steps between two points of a ladder.
pub(super) const LADDER_STRIDE: i32 = 16;
/// Lengths of pages that ladders are measured at.
pub(super) const PAGES: [usize; 3] = [16, 64, 512];
/// Classes of coefficients by their scale, two to an octave; class 0 is a standard deviation of 2^-5 steps.
pub(super) const CLASSES: usize = 15;
/// Magnitude from which on a symbol is only the beginning.
pub(super) const ESCAPE: i32 = 15;
/// Room for the symbols of a class: `-15..=15`, and one that does not occur.
pub(super) const SYMBOLS: usize = 32;
/// Symbols that open a row: `gain`, and 16 more for rows that are coded as a difference.
pub(super) const ROWS: usize = 32;
/// Gains of a row, half an octave apart.
pub(super) const GAINS: usize = 16;
/// The gain that changes nothing.
pub(super) const GAIN_ONE: i32 = 10;
/// Bits of a probability.
pub(super) const PROBABILITY_BITS: u32 = 11;
/// The sum of the frequencies of a table.
pub(super) const FREQUENCY_SUM: u32 = 1 << PROBABILITY_BITS;
/// Pairs of a rotary embedding at most.
pub(super) const PAIRS_MAX: usize = 128;
/// Bits behind the point of an element of a basis.
pub(super) const BASIS_BITS: u32 = 14;
/// The format of a section.
pub(super) const SECTION_VERSION: u32 = 1;

/// Bytes of the fixed part.
const FIXED_BYTES: usize = 64;

/// Where each part of a section begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) ladders: usize,
    pub(super) rows: usize,
    pub(super) row_costs: usize,
    pub(super) classes: usize,
    pub(super) class_costs: usize,
    pub(super) turns: usize,
    pub(super) means: usize,
    pub(super) levels: usize,
    pub(super) bases: usize,
    pub(super) end: usize,
}

const fn align(at: usize) -> usize {
    at.next_multiple_of(64)
}

impl Layout {
    /// For planes of `heads` heads of `dim`, `group_heads` of them in a group.
    pub(super) const fn new(heads: usize, dim: usize, group_heads: usize) -> Self {
        let channels = heads * dim;
        let ladders = FIXED_BYTES;
        let rows = align(ladders + PAGES.len() * LADDER_POINTS * 8);
        let row_costs = align(rows + PAGES.len() * ROWS * 2);
        let classes = align(row_costs + PAGES.len() * ROWS * 2);
        let class_costs = align(classes + CLASSES * SYMBOLS * 2);
        let turns = align(class_costs + CLASSES * SYMBOLS * 2);
        let means = align(turns + PAIRS_MAX * 8);
        let levels = align(means + channels * 4);
        let bases = align(levels + channels * 4);
        let whole = heads / group_heads;
        let rest = (heads % group_heads) * dim;
        let squares = whole * (group_heads * dim) * (group_heads * dim) + rest * rest;
        Self {
            ladders,
            rows,
            row_costs,
            classes,
            class_costs,
            turns,
            means,
            levels,
            bases,
            end: align(bases + squares * 4),
        }
    }
}

/// The tables of one plane, checked.
#[derive(Clone, Copy)]
pub(super) struct Section<'t> {
    pub(super) heads: usize,
    pub(super) dim: usize,
    pub(super) group_heads: usize,
    /// What steps are relative to: the root of the mean variance of the plane's elements.
    pub(super) unit: f32,
    /// For each length of page, rates at the points of the ladder: of this plane, then the mean over all planes; in
    /// 2^-16 bits per element.
    pub(super) ladders: &'t [u32],
    pub(super) rows: &'t [u16],
    pub(super) row_costs: &'t [u16],
    pub(super) classes: &'t [u16],
    pub(super) class_costs: &'t [u16],
    /// Turns per token of each pair of the rotary embedding.
    pub(super) turns: &'t [f64],
    pub(super) means: &'t [f32],
    /// Scale of each coefficient in 1/32 octaves of the unit: of rows coded by themselves, then of differences.
    pub(super) levels: &'t [i16],
    bases: &'t [i16],
}

fn part<T: Pod>(bytes: &[u8], at: usize, count: usize) -> Result<&[T], Status> {
    let bytes = bytes.get(at..at + count * size_of::<T>()).ok_or(Status::Damaged)?;
    bytemuck::try_cast_slice(bytes).map_err(|_| Status::Damaged)
}

fn word(bytes: &[u8], at: usize) -> Result<[u8; 4], Status> {
    let bytes = bytes.get(at..at + 4).ok_or(Status::Damaged)?;
    bytes.try_into().map_err(|_| Status::Damaged)
}

impl<'t> Section<'t> {
    /// The section of one plane. Checks everything but the numbers of the transform: any of those decode to something.
    pub(super) fn open(tables: &Tables<'t>, layer: usize, plane: usize) -> Result<Self, Status> {
        let bytes = tables.section(CodecKind::Xc, layer, plane).ok_or(Status::Unsupported)?;
        Self::of_bytes(bytes, tables.info().heads, tables.info().dim)
    }

    pub(super) fn of_bytes(bytes: &'t [u8], heads: usize, dim: usize) -> Result<Self, Status> {
        if cfg!(target_endian = "big") || u32::from_le_bytes(word(bytes, 0)?) != SECTION_VERSION {
            return Err(Status::Unsupported);
        }
        let group_heads = u32::from_le_bytes(word(bytes, 4)?) as usize;
        if !(1..=heads).contains(&group_heads) || group_heads * dim > 256 {
            return Err(Status::Damaged);
        }
        let layout = Layout::new(heads, dim, group_heads);
        let channels = heads * dim;
        if bytes.len() != layout.end {
            return Err(Status::Damaged);
        }
        let section = Self {
            heads,
            dim,
            group_heads,
            unit: f32::from_le_bytes(word(bytes, 8)?),
            ladders: part(bytes, layout.ladders, PAGES.len() * LADDER_POINTS * 2)?,
            rows: part(bytes, layout.rows, PAGES.len() * ROWS)?,
            row_costs: part(bytes, layout.row_costs, PAGES.len() * ROWS)?,
            classes: part(bytes, layout.classes, CLASSES * SYMBOLS)?,
            class_costs: part(bytes, layout.class_costs, CLASSES * SYMBOLS)?,
            turns: part(bytes, layout.turns, PAIRS_MAX)?,
            means: part(bytes, layout.means, channels)?,
            levels: part(bytes, layout.levels, channels * 2)?,
            bases: part(bytes, layout.bases, (layout.end - layout.bases) / 2)?,
        };
        let sums_to_one = |table: &[u16]| table.iter().map(|f| u32::from(*f)).sum::<u32>() == FREQUENCY_SUM;
        let fits = section.unit > 0.0
            && section.unit.is_finite()
            && section.rows.chunks_exact(ROWS).all(sums_to_one)
            && section.classes.chunks_exact(SYMBOLS).all(sums_to_one)
            && section.rows.iter().all(|frequency| *frequency > 0)
            && section
                .classes
                .chunks_exact(SYMBOLS)
                .all(|class| class[..31].iter().all(|f| *f > 0) && class[31] == 0);
        if fits { Ok(section) } else { Err(Status::Damaged) }
    }

    /// Elements of all heads of a token.
    pub(super) const fn channels(&self) -> usize {
        self.heads * self.dim
    }

    /// First channel and channels of each group.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, usize)> + 'static {
        let (channels, width) = (self.channels(), self.group_heads * self.dim);
        (0..channels)
            .step_by(width)
            .map(move |first| (first, width.min(channels - first)))
    }

    /// The basis of the group that begins at `first`: the forward matrix, rows are channels; and the inverse one, two
    /// coefficients at a time, for each channel the elements of both.
    pub(super) fn basis(&self, first: usize, width: usize) -> (&'t [i16], &'t [i16]) {
        let start = first / (self.group_heads * self.dim) * (self.group_heads * self.dim).pow(2) * 2;
        let both = &self.bases[start..start + 2 * width * width];
        both.split_at(width * width)
    }

    /// Which of [`PAGES`] a plane of so many tokens is most like.
    pub(super) const fn page(tokens: usize) -> usize {
        match tokens {
            0..=32 => 0,
            33..=180 => 1,
            _ => 2,
        }
    }

    /// The bytes that a plane may take where all planes together have `millibits` per element, a step near the one that
    /// takes as many, and about how many 1/256 bits the next step saves.
    pub(super) fn budget(&self, tokens: usize, millibits: u32) -> (usize, i32, u64) {
        let both = &self.ladders[Self::page(tokens) * LADDER_POINTS * 2..][..LADDER_POINTS * 2];
        let (own, mean) = both.split_at(LADDER_POINTS);
        let wanted = (u64::from(millibits) << 16) / 1000;
        let elements = (tokens * self.channels()) as u64;
        // Rates fall from point to point.
        let above = mean.iter().take_while(|rate| u64::from(**rate) >= wanted).count();
        let (rate, step) = if above == 0 {
            // Finer than the ladder: the same for every plane.
            let more = wanted - u64::from(mean[0]);
            (u64::from(own[0]) + more, 0)
        } else if above == LADDER_POINTS {
            let last = LADDER_POINTS - 1;
            let share = u64::from(own[last]) * wanted / u64::from(mean[last]).max(1);
            (share, last as i32 * LADDER_STRIDE)
        } else {
            let (high, low) = (u64::from(mean[above - 1]), u64::from(mean[above]));
            let (own_high, own_low) = (u64::from(own[above - 1]), u64::from(own[above]));
            let (part, whole) = (high - wanted, (high - low).max(1));
            let rate = own_high - (own_high.saturating_sub(own_low) * part).div_ceil(whole);
            let within = (LADDER_STRIDE as u64 * part / whole) as i32;
            (rate, (above as i32 - 1) * LADDER_STRIDE + within)
        };
        let point = above.clamp(1, LADDER_POINTS - 1);
        let slope = u64::from(own[point - 1].saturating_sub(own[point])) * elements / (LADDER_STRIDE as u64 * 256);
        (((elements * rate) >> 19) as usize, step, slope.max(1))
    }
}

/// The size of a step, in the elements' own numbers.
pub(super) fn step_size(unit: f32, step: i32) -> f32 {
    let exponent = (step - STEP_ONE).div_euclid(32);
    let power = f32::from_bits(((127 + exponent.clamp(-126, 127)) as u32) << 23);
    (unit * ROOTS[(step - STEP_ONE).rem_euclid(32) as usize] * power).clamp(1e-36, 1e36)
}

/// `2^(i / 32)`.
const ROOTS: [f32; 32] = [
    1.0,
    1.0218972,
    1.0442737,
    1.0671405,
    1.0905077,
    1.1143868,
    1.1387886,
    1.1637249,
    1.1892071,
    1.2152474,
    1.2418578,
    1.269051,
    1.2968396,
    1.3252367,
    1.3542556,
    1.38391,
    core::f32::consts::SQRT_2,
    1.4451808,
    1.4768262,
    1.5091645,
    1.5422108,
    1.5759809,
    1.6104903,
    1.6457555,
    1.6817929,
    1.7186193,
    1.7562522,
    1.7947091,
    1.8340081,
    1.8741677,
    1.9152066,
    1.9571441,
];
