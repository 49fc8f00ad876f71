//! Encoding on the way down and decoding on the way up, and watching what that costs in quality.
//!
//! Only the pump encodes and decodes: one thread at a time, in memory out of the plan.
//!
//! # Soundness
//! - **I1** The work memory is a part of the arena that nothing else is laid over, given whole and once (`store.rs`,
//!   I1); it is initialised, since the arena's memory is.
#![allow(unsafe_code)]

use crate::arena::Arena;
use crate::budget::{Part, Plan, work_block_bytes, work_scratch_bytes};
use crate::codec::{BlockCodec, Isa, Scratch, Tables};
use crate::config::{CodecChoice, CodecKind, Config};
use crate::error::{ConfigError, Status};
use crate::geometry::Geometry;
use crate::limits::GEOMETRIES_COUNT_MAX;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Of the first blocks all are sampled, then one of this many.
const SAMPLE_INTERVAL: u64 = 64;
/// How many are the first.
const SAMPLES_FIRST: u64 = 16;
/// Samples that are looked at before a codec is judged.
const SAMPLES_JUDGED_MIN: u64 = 4;

/// A block's life and the tier it is encoded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) place: usize,
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// What a block is and where it came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) geometry_id: u8,
    /// Place in its chain.
    pub(super) depth: u16,
    /// Code of the coarsest codec that it had gone through.
    pub(super) loss: u8,
}

/// A code that lies in the work memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coded {
    pub(super) bytes: usize,
    pub(super) kind: CodecKind,
}

/// What a tier's codec does at present, for everybody to read.
#[derive(Default)]
pub(super) struct Quality {
    /// `keys' codec << 8 | values' codec`.
    kinds: AtomicU64,
    samples: AtomicU64,
    error_ppm_sum: AtomicU64,
    error_ppm_max: AtomicU64,
    coded: AtomicU64,
    coded_bytes: AtomicU64,
    plain_bytes: AtomicU64,
    fallbacks: AtomicU64,
}

/// The quality of a tier's codec since the engine was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodecState {
    /// The codec of keys at present.
    pub key: CodecKind,
    /// The codec of values at present.
    pub value: CodecKind,
    /// Blocks encoded.
    pub blocks_coded: u64,
    /// Their bytes as put.
    pub plain_bytes: u64,
    /// Bytes of their codes.
    pub coded_bytes: u64,
    /// Blocks that were decoded again to be compared, since the codecs at present were taken.
    pub samples_count: u64,
    /// Mean relative error of those in millionths.
    pub error_ppm_mean: u64,
    /// Largest relative error of those in millionths.
    pub error_ppm_max: u64,
    /// How often a better codec was taken because the error was above the bound.
    pub fallbacks_count: u64,
}

impl Quality {
    fn show(&self, choice: &CodecChoice) {
        // Relaxed here and below: figures.
        self.kinds
            .store((choice.key as u64) << 8 | choice.value as u64, Ordering::Relaxed);
    }

    /// About how many bytes a block of `bytes` comes to, by those encoded so far.
    fn expected(&self, bytes: u32) -> u64 {
        let (coded, plain) = (
            self.coded_bytes.load(Ordering::Relaxed),
            self.plain_bytes.load(Ordering::Relaxed),
        );
        match plain {
            0 => u64::from(bytes),
            _ => (u128::from(bytes) * u128::from(coded) / u128::from(plain)) as u64,
        }
    }

    fn count(&self, code_bytes: usize, block_bytes: usize) {
        self.coded.fetch_add(1, Ordering::Relaxed);
        self.coded_bytes.fetch_add(code_bytes as u64, Ordering::Relaxed);
        self.plain_bytes.fetch_add(block_bytes as u64, Ordering::Relaxed);
    }

    /// The codec of the worst planes, in thousandths of relative error: what it is known for, or what was measured.
    pub(super) fn error_permille(&self, choice: &CodecChoice) -> u64 {
        let samples = self.samples.load(Ordering::Relaxed);
        let measured = match samples {
            0..SAMPLES_JUDGED_MIN => 0,
            _ => self.error_ppm_sum.load(Ordering::Relaxed) / samples / 1000,
        };
        choice.error_nominal_permille().max(measured)
    }

    pub(super) fn state(&self) -> CodecState {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let kinds = load(&self.kinds);
        let samples_count = load(&self.samples);
        CodecState {
            key: CodecKind::from_code(kinds >> 8).unwrap_or_default(),
            value: CodecKind::from_code(kinds & 0xFF).unwrap_or_default(),
            blocks_coded: load(&self.coded),
            plain_bytes: load(&self.plain_bytes),
            coded_bytes: load(&self.coded_bytes),
            samples_count,
            error_ppm_mean: load(&self.error_ppm_sum) / samples_count.max(1),
            error_ppm_max: load(&self.error_ppm_max),
            fallbacks_count: load(&self.fallbacks),
        }
    }
}

/// The samples of the codec that is in use.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    encoded: u64,
    samples: u64,
    error_ppm_sum: u64,
}

/// The codecs of the file tiers.
pub(super) struct Coder<'m> {
    scratch: &'m mut [u8],
    /// A code and a plain block.
    work: &'m mut [u8],
    block_bytes: usize,
    tables: Option<Tables<'m>>,
    isa: Isa,
    geometries: [Option<Geometry>; GEOMETRIES_COUNT_MAX],
    /// What each tier encodes with at present.
    choices: [CodecChoice; 2],
    watches: [Watch; 2],
    /// The code that lies in the work memory, and of what.
    kept: Option<(Wanted, Coded)>,
}

impl<'m> Coder<'m> {
    /// The codecs that `config` asks for.
    ///
    /// # Errors
    /// What a codec can't take, with the field; [`Status::Config`] for tables that are needed and not there.
    ///
    /// # Safety
    /// I1: at most once for an arena.
    pub(super) unsafe fn new(
        config: &Config,
        plan: &Plan,
        arena: &Arena<'m>,
        tables: Option<Tables<'m>>,
    ) -> Result<Self, ConfigError> {
        let isa = Isa::detect();
        for file in [&config.nvme, &config.disk] {
            if file.bytes == 0 || file.codec.is_raw() {
                continue;
            }
            if config.geometries.iter().all(Option::is_none) {
                return Err(ConfigError::new(
                    Status::Conflict,
                    "geometries",
                    0,
                    1,
                    GEOMETRIES_COUNT_MAX as u64,
                    "a tier has a codec, and a codec encodes blocks of a geometry; give the blocks' geometry",
                ));
            }
            for geometry in config.geometries.iter().flatten() {
                BlockCodec::new(geometry, &file.codec, tables, isa)?;
            }
        }
        let work: &'m mut [u8] = match plan.part(Part::CodecWork).count {
            0 => &mut [],
            // SAFETY: I1.
            _ => unsafe { arena.exclusive(Part::CodecWork) },
        };
        let (scratch, work) = work.split_at_mut(work.len().min(work_scratch_bytes(config) as usize));
        Ok(Self {
            scratch,
            work,
            block_bytes: work_block_bytes(config) as usize,
            tables,
            isa,
            geometries: config.geometries,
            choices: [config.nvme.codec, config.disk.codec],
            watches: [Watch::default(); 2],
            kept: None,
        })
    }

    /// What a tier encodes with at present.
    pub(super) fn choice(&self, place: usize) -> &CodecChoice {
        &self.choices[place]
    }

    fn geometry(&self, geometry_id: u8) -> Option<Geometry> {
        let place = usize::from(geometry_id).checked_sub(1)?;
        *self.geometries.get(place)?
    }

    fn codec(&self, geometry_id: u8, choice: &CodecChoice) -> Option<BlockCodec<'m>> {
        let geometry = self.geometry(geometry_id)?;
        Some(BlockCodec::unchecked(&geometry, choice, self.tables, self.isa))
    }

    /// Encodes a block for a tier, into the work memory. `None` where it is to be stored as it is: without a codec or a
    /// geometry, or where its code would not be shorter.
    pub(super) fn encode(&mut self, wanted: Wanted, block: &[u8], source: Source, quality: &Quality) -> Option<Coded> {
        if let Some((_, coded)) = self.kept.filter(|(kept, _)| *kept == wanted) {
            return Some(coded);
        }
        let choice = self.choices[wanted.place];
        if choice.is_raw() {
            return None;
        }
        let codec = self.codec(source.geometry_id, &choice)?;
        let geometry = *codec.geometry();
        if block.len() != geometry.block_bytes() {
            return None;
        }
        let position = u64::from(source.depth) * geometry.shape().tokens_per_block;
        let loss = CodecKind::from_code(u64::from(source.loss)).unwrap_or_default();
        self.kept = None;
        let (code, plain) = self.work.split_at_mut_checked(self.block_bytes)?;
        // One byte less than the block: what is not shorter is not worth it.
        let code = code.get_mut(..block.len().checked_sub(1)?)?;
        let mut scratch = Scratch::new(self.scratch);
        let bytes = codec.encode(block, position, loss, code, &mut scratch).ok()?;
        let kind = codec.inspect(code.get(..bytes)?).ok()?.kind;
        if kind == CodecKind::Raw {
            return None;
        }
        let coded = Coded { bytes, kind };
        self.kept = Some((wanted, coded));
        quality.count(bytes, block.len());
        let watch = &mut self.watches[wanted.place];
        watch.encoded += 1;
        if !kind.is_exact() && (watch.encoded <= SAMPLES_FIRST || watch.encoded.is_multiple_of(SAMPLE_INTERVAL)) {
            let plain = plain.get_mut(..block.len())?;
            let code = code.get(..bytes)?;
            if codec.decode(code, plain, &mut scratch).is_ok() {
                let error_ppm = crate::codec::relative_error_ppm(geometry.shape().dtype, block, plain);
                watch.samples += 1;
                watch.error_ppm_sum += error_ppm;
                quality.samples.fetch_add(1, Ordering::Relaxed);
                quality.error_ppm_sum.fetch_add(error_ppm, Ordering::Relaxed);
                quality.error_ppm_max.fetch_max(error_ppm, Ordering::Relaxed);
            }
        }
        Some(coded)
    }

    /// About how many bytes a block comes to in a tier, and whether encoding it is still to be done.
    pub(super) fn expected(&self, wanted: Wanted, geometry_id: u8, bytes: u32, quality: &Quality) -> (u64, bool) {
        if self.choices[wanted.place].is_raw() || self.geometry(geometry_id).is_none() {
            return (u64::from(bytes), false);
        }
        match self.kept {
            Some((kept, coded)) if kept == wanted => (coded.bytes as u64, false),
            _ => (quality.expected(bytes), true),
        }
    }

    /// A code that was just made.
    pub(super) fn code(&self, coded: Coded) -> &[u8] {
        self.work.get(..coded.bytes).unwrap_or_default()
    }

    /// Takes the next better codec for a tier if the one in use is worse on this model than the tier's bound. True if
    /// it did.
    pub(super) fn judge(&mut self, place: usize, quality: &Quality) -> bool {
        let (choice, watch) = (&mut self.choices[place], &mut self.watches[place]);
        let bound_ppm = choice.error_max_permille * 1000;
        if bound_ppm == 0 || watch.samples < SAMPLES_JUDGED_MIN || watch.error_ppm_sum / watch.samples <= bound_ppm {
            return false;
        }
        let better = |kind: CodecKind| match kind.better() {
            Some(CodecKind::Lz) if !cfg!(feature = "zstd") => CodecKind::Raw,
            Some(better) => better,
            None => kind,
        };
        (choice.key, choice.value) = (better(choice.key), better(choice.value));
        for layer in choice.layers.iter_mut().flatten() {
            (layer.key, layer.value) = (better(layer.key), better(layer.value));
        }
        *watch = Watch::default();
        self.kept = None;
        quality.fallbacks.fetch_add(1, Ordering::Relaxed);
        // What was seen says nothing about the codec that is taken.
        for figure in [&quality.samples, &quality.error_ppm_sum, &quality.error_ppm_max] {
            figure.store(0, Ordering::Relaxed);
        }
        quality.show(choice);
        true
    }

    /// Shows what a tier encodes with.
    pub(super) fn show(&self, place: usize, quality: &Quality) {
        quality.show(&self.choices[place]);
    }

    /// Decodes a block in place: its code is the last `code_bytes` bytes of `memory`. Returns the code of the coarsest
    /// codec that it went through.
    ///
    /// # Errors
    /// [`Status::Damaged`]; [`Status::Unsupported`] where it needs tables that are not there.
    pub(super) fn decode_within(
        &mut self,
        geometry_id: u8,
        memory: &mut [u8],
        code_bytes: usize,
    ) -> Result<u8, Status> {
        let codec = self.codec(geometry_id, &CodecChoice::RAW).ok_or(Status::Damaged)?;
        let info = codec.decode_within(memory, code_bytes, &mut Scratch::new(self.scratch), |_| {})?;
        Ok(coarsest(info.kind, info.loss) as u8)
    }

    /// Decodes a code and encodes the block anew for another tier; says which codec it had gone through. `None` where
    /// that can't be done, or the tier does without.
    pub(super) fn transcode(
        &mut self,
        wanted: Wanted,
        code: &[u8],
        source: Source,
        quality: &Quality,
    ) -> Option<(Coded, u8)> {
        let from = self.codec(source.geometry_id, &CodecChoice::RAW)?;
        let loss = {
            let info = from.inspect(code).ok()?;
            coarsest(info.kind, info.loss)
        };
        if let Some((_, coded)) = self.kept.filter(|(kept, _)| *kept == wanted) {
            return Some((coded, loss as u8));
        }
        let to = self.codec(source.geometry_id, &self.choices[wanted.place])?;
        self.kept = None;
        let (target, plain) = self.work.split_at_mut_checked(self.block_bytes)?;
        let plain = plain.get_mut(..from.geometry().block_bytes())?;
        let mut scratch = Scratch::new(self.scratch);
        let info = from.decode(code, plain, &mut scratch).ok()?;
        let target = target.get_mut(..plain.len().checked_sub(1)?)?;
        let bytes = to.encode(plain, info.position, loss, target, &mut scratch).ok()?;
        let kind = to.inspect(target.get(..bytes)?).ok()?.kind;
        if kind == CodecKind::Raw {
            return None;
        }
        let coded = Coded { bytes, kind };
        self.kept = Some((wanted, coded));
        quality.count(bytes, plain.len());
        Some((coded, loss as u8))
    }
}

/// The coarser of two codecs.
pub(super) fn coarsest(first: CodecKind, second: CodecKind) -> CodecKind {
    if second.error_nominal_permille() > first.error_nominal_permille() {
        second
    } else {
        first
    }
}

/// How coarse the codec of this code is, in thousandths of relative error.
pub(super) fn error_permille(code: u8) -> u64 {
    CodecKind::from_code(u64::from(code)).map_or(u64::MAX, CodecKind::error_nominal_permille)
}
