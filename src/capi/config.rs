//! Configuration.
//!
//! Everything that an engine is made from is in one struct, and zero means the default in almost every field. What was
//! refused, and why, is in another.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. Besides:
//!
//! - **C1** Text that the caller brings (the paths in the configuration) ends with a NUL byte and stays for the call.

use core::ffi::{CStr, c_char, c_void};
use core::fmt::Write;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::arguments::bytes;
use super::codec::choice::kvc_codec_config_t;
use super::geometry::kvc_geometry_t;
use super::growable::{Growable, growable, read, target, target_optional, zeroed};
use super::guard::plain;
use super::version::kvc_status_t;
use crate::config::{
    Admission, CodecChoice, Config, Damage, FileTier, HugePages, IoEngine, PolicyKind, Prefault, Prefetch, WritePolicy,
};
use crate::error::{ConfigError, Status};
use crate::host::Paths;
use crate::limits;
use crate::metrics::BoundedText;

/// "None of it" in those fields of the configuration where zero means a default.
pub const KVC_NONE: u64 = u64::MAX;

/// Evict what was used least recently.
pub const KVC_POLICY_LRU: u64 = 1;
/// Evict by three queues (S3-FIFO), which keeps what is used often through a scan of what is used once.
pub const KVC_POLICY_S3FIFO: u64 = 2;
/// Evict what was used least often, where uses count half as much for each turnover of the cache since.
pub const KVC_POLICY_LFU: u64 = 3;
/// Evict by recency and frequency in a proportion that is learnt from what was given up too early (ARC, with clocks).
pub const KVC_POLICY_ARC: u64 = 4;
/// Evict by one queue and a hand that passes over what was used since it last passed (SIEVE).
pub const KVC_POLICY_SIEVE: u64 = 5;
/// Evict what was used least, weighed by the cost of computing it again (Greedy-Dual-Size-Frequency).
pub const KVC_POLICY_GDSF: u64 = 6;
/// Evict what is worth least to the program: see `kvc_importance_begin`.
pub const KVC_POLICY_IMPORTANCE: u64 = 7;
/// What will be wanted last goes first, learnt on line from how long blocks of its kind wait for their next use; of a
/// prompt the tail before what comes before it. The default.
pub const KVC_POLICY_HAZARD: u64 = 8;
/// Whichever of `KVC_POLICY_HAZARD`, `KVC_POLICY_S3FIFO` and `KVC_POLICY_LRU` does best on a sample of the keys; begins
/// with the first.
pub const KVC_POLICY_ADAPTIVE: u64 = 9;

/// Ordinary pages. The default.
pub const KVC_HUGE_PAGES_OFF: u64 = 0;
/// Transparent huge pages where the kernel gives them.
pub const KVC_HUGE_PAGES_ADVISE: u64 = 1;
/// Reserved huge pages, else opening fails with `KVC_E_HUGE_PAGES`.
pub const KVC_HUGE_PAGES_REQUIRE: u64 = 2;

/// The engine reads the system's monotonic clock. The default.
pub const KVC_CLOCK_SYSTEM: u64 = 0;
/// The engine's time is what `kvc_tick` is told, and stands still in between: a run can be repeated exactly.
pub const KVC_CLOCK_TICKS: u64 = 1;

/// Pages are touched by their first use: opening is instant. The default.
pub const KVC_PREFAULT_NONE: u64 = 0;
/// Pages are touched in the background: by the worker thread, or piece by piece by each tick.
pub const KVC_PREFAULT_LAZY: u64 = 1;
/// Pages are touched before open returns.
pub const KVC_PREFAULT_ALL: u64 = 2;

/// A file tier takes every block that memory gives up. The default.
pub const KVC_ADMISSION_ALL: u64 = 1;
/// A file tier takes blocks that were used again after they were stored.
pub const KVC_ADMISSION_SECOND_HIT: u64 = 2;
/// A file tier takes blocks of a kind that is asked for again, as a sample of all blocks that leave memory shows. Kinds
/// go by the time since the last use, the place in the chain, whether the block was used since it came, and whether it
/// is short.
pub const KVC_ADMISSION_REUSE: u64 = 3;

/// Blocks are written to the first file tier when memory is about to give them up. The default.
pub const KVC_WRITE_BACK: u64 = 1;
/// Blocks are written to the first file tier as soon as they are committed.
pub const KVC_WRITE_THROUGH: u64 = 2;

/// What cannot be verified in a file is dropped and counted when the engine opens. The default.
pub const KVC_DAMAGE_DROP: u64 = 1;
/// A damaged file is refused with `KVC_E_FILE_DAMAGED`, and stays as it is.
pub const KVC_DAMAGE_REFUSE: u64 = 2;

/// The NVMe tier uses io_uring where it is permitted, else positional reads and writes. The default.
pub const KVC_IO_AUTO: u64 = 1;
/// The NVMe tier uses io_uring, or opening fails with `KVC_E_NO_URING`.
pub const KVC_IO_URING: u64 = 2;
/// The NVMe tier uses positional reads and writes, on the thread that drives it.
pub const KVC_IO_POSITIONAL: u64 = 3;

/// The blocks of a conversation are copied up before its next request is due.
pub const KVC_PREFETCH_TURNS: u64 = 1;
/// Sequences and strides are followed: reading every n-th block in the order in which they were first stored.
pub const KVC_PREFETCH_SEQUENCES: u64 = 2;
/// It is learnt which block is used after which.
pub const KVC_PREFETCH_SUCCESSORS: u64 = 4;

/// What an engine is made from. `block_bytes` and `cpu_bytes` are required; zero in any other field means its default.
///
/// Initialise with `KVC_CONFIG_INIT` (all defaults), or with `kvc_config_init`, which writes the defaults out.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_config_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Most bytes of one block, 1 to 2^31. Required.
    pub block_bytes: u64,
    /// Bytes of the slots of the memory tier, at least one slot and at most 2^46. Metadata comes on top; the plan says
    /// how much. Required.
    pub cpu_bytes: u64,
    /// How victims are chosen (`KVC_POLICY_...`). Default `KVC_POLICY_HAZARD`.
    pub policy: u64,
    /// Most views held at once (`kvc_acquire`), 1 to 2^20. Default 4096.
    pub pins_count: u64,
    /// Sets of cache lines that reading threads have to themselves, a power of two from 1 to 1024; at least as many as
    /// threads that read at once. Default 64.
    pub stripes_count: u64,
    /// Most lanes open at once, 1 to 1024; `KVC_NONE` for none. Default 8.
    pub lanes_count: u64,
    /// Most operations of one lane under way, a power of two from 1 to 65536. Default 256.
    pub lane_depth: u64,
    /// Events remembered for `kvc_events_read`, a power of two from 1 to 2^20; `KVC_NONE` for none. Default 1024.
    pub events_count: u64,
    /// Threads that the library runs, at most 64. Default 0: tick mode, the caller drives.
    pub workers_count: u64,
    /// Huge pages for the engine's own mapping (`KVC_HUGE_PAGES_...`). Default `KVC_HUGE_PAGES_OFF`.
    pub huge_pages: u64,
    /// 1 to lock the memory so that it is never swapped out, else 0. Default 0.
    pub memory_lock: u64,
    /// When pages are touched for the first time (`KVC_PREFAULT_...`). Default `KVC_PREFAULT_NONE`.
    pub prefault: u64,
    /// Milliseconds after which a view that was not released is taken back, at most 400 days: for callers that crash
    /// without closing. A view that is used after that time may show another block. Default 0: never.
    pub pin_expiry_ms: u64,
    /// Milliseconds after which a reservation that was neither committed nor aborted is taken back, at most 400 days.
    /// Memory that is written after that time may belong to another block. Default 0: never.
    pub reservation_expiry_ms: u64,
    /// Seed of the index's hash; the same seed gives the same run. Set it to a secret random number where keys come
    /// from people who might choose them to collide. Default 0.
    pub hash_seed: u64,
    /// One memory hit of this many is timed for the histograms, a power of two from 1 to 2^20; `KVC_NONE` times none.
    /// Default 64.
    pub latency_sample_count: u64,
    /// Where the engine's time comes from (`KVC_CLOCK_...`). `KVC_CLOCK_TICKS` is for tick mode only (`workers_count`
    /// 0). Default `KVC_CLOCK_SYSTEM`.
    pub clock: u64,
    /// Memory that the caller brings, aligned to 4096 bytes; lent by the caller until `kvc_close`. `huge_pages`,
    /// `memory_lock` and `KVC_PREFAULT_ALL` are the caller's business then. Default NULL: the library maps its own.
    pub memory: *mut c_void,
    /// Bytes at `memory`, at least the plan's `bytes`. 0 exactly when `memory` is NULL.
    pub memory_bytes: u64,
    /// The geometries that blocks can name by number, the first one being number 1. Default NULL: none. Borrowed.
    pub geometries: *const kvc_geometry_t,
    /// How many there are at `geometries`, at most 16. All have the `struct_size` of the first.
    pub geometries_count: u64,
    /// Path of the NVMe tier's file: made where there is none, read where it holds what an engine of the same
    /// configuration left. Or a block device, whose contents are the tier's then. Given exactly when `nvme_bytes` is
    /// not 0. Default NULL: no such tier. Borrowed.
    pub nvme_path: *const c_char,
    /// Bytes of the NVMe tier's file, at least four segments and at most 2^46; all of it is taken when the engine
    /// opens. Default 0: no such tier.
    pub nvme_bytes: u64,
    /// Bytes of the NVMe tier that are written in order and given up together, a multiple of 4096 with room for the
    /// largest block, at most 4 GiB. Default: a 64th of the file within 16 and 64 MiB, an eighth of a small file, but
    /// room for two of the largest blocks.
    pub nvme_segment_bytes: u64,
    /// Most blocks known in the NVMe tier; each costs up to 220 bytes of memory. Default: as many of `block_bytes` as
    /// the file has room for.
    pub nvme_blocks_count: u64,
    /// Most requests to the NVMe tier's device under way, 4 to 256; each has a buffer of 264 KiB, or more for blocks
    /// above 64 MiB, and there are more buffers where the largest block needs them. Default 32.
    pub nvme_depth: u64,
    /// Which blocks the NVMe tier takes (`KVC_ADMISSION_...`). Default `KVC_ADMISSION_ALL`.
    pub nvme_admission: u64,
    /// Most bytes written to the NVMe tier's file in any 24 hours, at least four segments. Default 0: no bound.
    pub nvme_endurance_bytes_per_day: u64,
    /// The hit in the NVMe tier, counted from 1, from which on a block stays in memory once it was copied up, 1 to
    /// 255; before it, it is the first to go again. Default 1.
    pub nvme_promotion_hits: u64,
    /// Milliseconds without any progress of the device after which the NVMe tier goes offline, at most one hour.
    /// Default 10000.
    pub nvme_stall_ms: u64,
    /// Path of the disk tier's file: made where there is none, read where it holds what an engine of the same
    /// configuration left. Given exactly when `disk_bytes` is not 0. Default NULL: no such tier. Borrowed.
    pub disk_path: *const c_char,
    /// Bytes of the disk tier's file, at least four segments and at most 2^46; all of it is taken when the engine
    /// opens. Default 0: no such tier.
    pub disk_bytes: u64,
    /// Bytes of the disk tier that are written in order and given up together, a multiple of 4096 with room for the
    /// largest block, at most 4 GiB. Default: a 64th of the file within 16 and 64 MiB, an eighth of a small file, but
    /// room for two of the largest blocks.
    pub disk_segment_bytes: u64,
    /// Most blocks known in the disk tier; each costs up to 220 bytes of memory. Default: as many of `block_bytes` as
    /// the file has room for.
    pub disk_blocks_count: u64,
    /// Most requests to the disk tier's device under way, 4 to 256; each has a buffer of 264 KiB, or more for blocks
    /// above 64 MiB, and there are more buffers where the largest block needs them. Default 32.
    pub disk_depth: u64,
    /// Which blocks the disk tier takes (`KVC_ADMISSION_...`). Default `KVC_ADMISSION_ALL`.
    pub disk_admission: u64,
    /// Most bytes written to the disk tier's file in any 24 hours, at least four segments. Default 0: no bound.
    pub disk_endurance_bytes_per_day: u64,
    /// The hit in the disk tier, counted from 1, from which on a block stays in memory once it was copied up, 1 to
    /// 255; before it, it is the first to go again. Default 1.
    pub disk_promotion_hits: u64,
    /// Milliseconds without any progress of the device after which the disk tier goes offline, at most one hour.
    /// Default 10000.
    pub disk_stall_ms: u64,
    /// When blocks are written to the first file tier (`KVC_WRITE_...`). Default `KVC_WRITE_BACK`.
    pub write_policy: u64,
    /// What opening does about a damaged file (`KVC_DAMAGE_...`). Default `KVC_DAMAGE_DROP`.
    pub damage: u64,
    /// How the NVMe tier's file is read and written (`KVC_IO_...`). Default `KVC_IO_AUTO`.
    pub io_engine: u64,
    /// 1 to overwrite files that hold something else (another geometry, another version, no tier at all) instead of
    /// refusing them, else 0. Default 0.
    pub file_overwrite: u64,
    /// Share of the memory tier's slots, in thousandths, below which ticks and workers begin to make room, at most
    /// `slots_free_high_permille`; only with file tiers; `KVC_NONE` for 0. Default 20.
    pub slots_free_low_permille: u64,
    /// Share of the slots, in thousandths, up to which they make room then, at most 500; `KVC_NONE` for 0. Default 40.
    pub slots_free_high_permille: u64,
    /// Milliseconds that a put waits for room while what would have to go is still being written down, at most one
    /// hour; after that an unwritten block is given up. `KVC_NONE`: never wait. Default 1000.
    pub write_wait_ms: u64,
    /// How the NVMe tier encodes blocks that have a geometry. `geometry` and the tables of the codec's configuration
    /// are not looked at: it is the block's geometry, and `codec_tables` below. Default NULL: not at all. Borrowed.
    pub nvme_codec: *const kvc_codec_config_t,
    /// How the disk tier encodes blocks that have a geometry, as `nvme_codec`. Default NULL: not at all. Borrowed.
    pub disk_codec: *const kvc_codec_config_t,
    /// Tables for vq and xc; copied, so that they may begin anywhere. Default NULL: none. Borrowed.
    pub codec_tables: *const c_void,
    /// Bytes at `codec_tables`. 0 exactly when that is NULL.
    pub codec_tables_bytes: u64,
    /// Most keys in an importance table (`kvc_importance_begin`), of which there are two; 24 bytes a key. Default 0: no
    /// table.
    pub importance_count: u64,
    /// 1 to let blocks with different keys that hold the same bytes share a slot of the memory tier, else 0. Then there
    /// can be up to twice as many blocks in memory as slots; each costs metadata as the plan says. At its commit each
    /// block is hashed, and compared whole with a block of the same digest before they share. Default 0.
    pub dedup: u64,
    /// What is copied up from a file tier ahead of its use (`KVC_PREFETCH_...`, added together), by ticks and workers.
    /// Default 0: nothing.
    pub prefetch: u64,
    /// Conversations that `KVC_PREFETCH_TURNS` remembers, at most 2^20; each costs 128 bytes of memory. Default 4096.
    pub prefetch_conversations_count: u64,
    /// Successors that `KVC_PREFETCH_SUCCESSORS` remembers, 4 to 65536; each costs 24 bytes of memory. Default 65536.
    pub prefetch_successors_count: u64,
    /// Least probability of being used at which a block is copied up ahead, in thousandths, at most 1000. Default 290.
    pub prefetch_confidence_permille: u64,
    /// Most bytes of slots with blocks that were copied up ahead and not used yet, at most `cpu_bytes`. Default: an
    /// eighth of `cpu_bytes`.
    pub prefetch_bytes: u64,
    /// Most bytes copied up ahead in a second, and in one burst. Default 0: no bound.
    pub prefetch_bytes_per_second: u64,
    /// Share of a file tier's hits that `KVC_ADMISSION_REUSE` may cost, in thousandths, at most 500: the more, the
    /// fewer blocks are written. Default 50.
    pub admission_loss_permille: u64,
    /// 1 to let ticks and workers move `prefetch_confidence_permille` (between half of it and twice it, 100 to 950) and
    /// `admission_loss_permille` (between a quarter of it and twice it, 5 to 200) towards what serves better, each only
    /// where it is in use; else 0. A step that does not serve better is taken back. Default 0.
    pub tuning: u64,
}

/// Why a configuration was refused. Initialise with `KVC_ERROR_INIT`.
///
/// Written only when a call that takes one refuses its configuration or cannot obtain what it asks for; otherwise it
/// stays as it was.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct kvc_error_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// The status that the call answered.
    pub status: i64,
    /// The value that the field had.
    pub value: u64,
    /// The smallest permitted value.
    pub value_min: u64,
    /// The largest permitted value.
    pub value_max: u64,
    /// The operating system's error number where one is behind this, else 0.
    pub os_error: i64,
    /// The field of `kvc_config_t` or `kvc_geometry_t`, with a closing NUL byte.
    pub field: [c_char; 32],
    /// All of this as a sentence for people, with a closing NUL byte.
    pub message: [c_char; 256],
}

growable!(kvc_config_t = 176, kvc_error_t = 336);

/// Copies text with a closing NUL byte, cutting off what is too long.
fn text<const N: usize>(write: impl FnOnce(&mut BoundedText<'_>)) -> [c_char; N] {
    let mut buffer = [0_u8; N];
    if let Some((_, room)) = buffer.split_last_mut() {
        write(&mut BoundedText::new(room));
    }
    buffer.map(|byte| byte as c_char)
}

pub(super) fn name<const N: usize>(text_whole: &str) -> [c_char; N] {
    text(|buffer| {
        // Writing to a bounded buffer does not fail.
        let _ = buffer.write_str(text_whole);
    })
}

impl kvc_error_t {
    fn new(error: &ConfigError) -> Self {
        Self {
            struct_size: 0,
            status: error.status.code().into(),
            value: error.value,
            value_min: error.value_min,
            value_max: error.value_max,
            os_error: error.os_error.into(),
            field: name(error.field),
            message: text(|buffer| {
                let _ = write!(buffer, "{error}");
            }),
        }
    }
}

/// The refusal of a number that names one of a few choices.
pub(super) fn choice<T>(field: &'static str, value: u64, value_max: u64, known: Option<T>) -> Result<T, ConfigError> {
    known.ok_or(ConfigError::new(
        Status::Config,
        field,
        value,
        0,
        value_max,
        "there is no such choice",
    ))
}

pub(super) fn boolean(value: u64) -> Option<bool> {
    match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// The default where a field is zero.
pub(super) const fn or(value: u64, default: u64) -> u64 {
    if value == 0 { default } else { value }
}

/// A call that failed on an argument (`Err(Err)`) or because of the configuration (`Err(Ok)`).
pub(super) type Refusal = Result<ConfigError, Status>;

impl kvc_config_t {
    /// The engine's configuration. The memory is looked at by open alone.
    ///
    /// # Safety
    /// I1 for the geometries and the codecs.
    pub(super) unsafe fn checked(&self) -> Result<Config, Refusal> {
        let default = Config::default();
        // Zero is the default; where zero itself means something, that is said with KVC_NONE.
        let or_none = |value: u64, default: u64| if value == KVC_NONE { 0 } else { or(value, default) };
        let tier_codec = |codec: *const kvc_codec_config_t| {
            if codec.is_null() {
                return Ok(CodecChoice::RAW);
            }
            // SAFETY: I1, asked of the caller.
            let codec = unsafe { read(codec) }.map_err(Err)?;
            codec.choice().map_err(Ok)
        };
        let mut config = Config {
            block_bytes: self.block_bytes,
            cpu_bytes: self.cpu_bytes,
            policy: choice(
                "policy",
                self.policy,
                KVC_POLICY_ADAPTIVE,
                PolicyKind::from_code(self.policy),
            )
            .map_err(Ok)?,
            pins_count: or(self.pins_count, default.pins_count),
            stripes_count: or(self.stripes_count, default.stripes_count),
            lanes_count: or_none(self.lanes_count, default.lanes_count),
            lane_depth: or(self.lane_depth, default.lane_depth),
            events_count: or_none(self.events_count, default.events_count),
            workers_count: self.workers_count,
            huge_pages: choice(
                "huge_pages",
                self.huge_pages,
                KVC_HUGE_PAGES_REQUIRE,
                HugePages::from_code(self.huge_pages),
            )
            .map_err(Ok)?,
            memory_lock: choice("memory_lock", self.memory_lock, 1, boolean(self.memory_lock)).map_err(Ok)?,
            prefault: choice(
                "prefault",
                self.prefault,
                KVC_PREFAULT_ALL,
                Prefault::from_code(self.prefault),
            )
            .map_err(Ok)?,
            pin_expiry_ms: self.pin_expiry_ms,
            reservation_expiry_ms: self.reservation_expiry_ms,
            hash_seed: self.hash_seed,
            latency_sample_count: or_none(self.latency_sample_count, default.latency_sample_count),
            clock_ticks: choice("clock", self.clock, KVC_CLOCK_TICKS, boolean(self.clock)).map_err(Ok)?,
            nvme: FileTier {
                codec: tier_codec(self.nvme_codec)?,
                ..self.nvme().map_err(Ok)?
            },
            disk: FileTier {
                codec: tier_codec(self.disk_codec)?,
                ..self.disk().map_err(Ok)?
            },
            write_policy: choice(
                "write_policy",
                self.write_policy,
                KVC_WRITE_THROUGH,
                WritePolicy::from_code(self.write_policy),
            )
            .map_err(Ok)?,
            damage: choice("damage", self.damage, KVC_DAMAGE_REFUSE, Damage::from_code(self.damage)).map_err(Ok)?,
            io_engine: choice(
                "io_engine",
                self.io_engine,
                KVC_IO_POSITIONAL,
                IoEngine::from_code(self.io_engine),
            )
            .map_err(Ok)?,
            file_overwrite: choice("file_overwrite", self.file_overwrite, 1, boolean(self.file_overwrite))
                .map_err(Ok)?,
            slots_free_low_permille: or_none(self.slots_free_low_permille, default.slots_free_low_permille),
            slots_free_high_permille: or_none(self.slots_free_high_permille, default.slots_free_high_permille),
            write_wait_ms: or_none(self.write_wait_ms, default.write_wait_ms),
            importance_count: self.importance_count,
            dedup: choice("dedup", self.dedup, 1, boolean(self.dedup)).map_err(Ok)?,
            prefetch: choice(
                "prefetch",
                self.prefetch,
                KVC_PREFETCH_TURNS | KVC_PREFETCH_SEQUENCES | KVC_PREFETCH_SUCCESSORS,
                Prefetch {
                    conversations_count: or(self.prefetch_conversations_count, default.prefetch.conversations_count),
                    successors_count: or(self.prefetch_successors_count, default.prefetch.successors_count),
                    confidence_permille: or(self.prefetch_confidence_permille, default.prefetch.confidence_permille),
                    bytes: self.prefetch_bytes,
                    bytes_per_second: self.prefetch_bytes_per_second,
                    ..Prefetch::OFF
                }
                .with_mode(self.prefetch),
            )
            .map_err(Ok)?,
            admission_loss_permille: or(self.admission_loss_permille, default.admission_loss_permille),
            tuning: choice("tuning", self.tuning, 1, boolean(self.tuning)).map_err(Ok)?,
            ..default
        };
        if self.geometries_count > limits::GEOMETRIES_COUNT_MAX as u64 {
            return Err(Ok(ConfigError::new(
                Status::Config,
                "geometries_count",
                self.geometries_count,
                0,
                limits::GEOMETRIES_COUNT_MAX as u64,
                "a block names its geometry with a small number",
            )));
        }
        let mut stride = 0;
        for (place, slot) in config.geometries.iter_mut().enumerate() {
            if place as u64 == self.geometries_count {
                break;
            }
            if self.geometries.is_null() {
                return Err(Err(Status::Null));
            }
            // The elements lie as far apart as the caller's struct is long.
            // SAFETY: I1, asked of the caller.
            let geometry = unsafe { read(self.geometries.wrapping_byte_add(place * stride)) }.map_err(Err)?;
            if place != 0 && geometry.struct_size != stride as u64 {
                return Err(Err(Status::Argument));
            }
            stride = geometry.struct_size as usize;
            *slot = Some(geometry.checked().map_err(Ok)?);
        }
        Ok(config)
    }

    /// What is asked of the NVMe tier.
    fn nvme(&self) -> Result<FileTier, ConfigError> {
        Ok(FileTier {
            bytes: self.nvme_bytes,
            segment_bytes: self.nvme_segment_bytes,
            blocks_count: self.nvme_blocks_count,
            depth: or(self.nvme_depth, FileTier::NONE.depth),
            admission: choice(
                "nvme_admission",
                self.nvme_admission,
                KVC_ADMISSION_REUSE,
                Admission::from_code(self.nvme_admission),
            )?,
            endurance_bytes_per_day: self.nvme_endurance_bytes_per_day,
            promotion_hits: or(self.nvme_promotion_hits, FileTier::NONE.promotion_hits),
            stall_ms: or(self.nvme_stall_ms, FileTier::NONE.stall_ms),
            codec: CodecChoice::RAW,
        })
    }

    /// What is asked of the disk tier.
    fn disk(&self) -> Result<FileTier, ConfigError> {
        Ok(FileTier {
            bytes: self.disk_bytes,
            segment_bytes: self.disk_segment_bytes,
            blocks_count: self.disk_blocks_count,
            depth: or(self.disk_depth, FileTier::NONE.depth),
            admission: choice(
                "disk_admission",
                self.disk_admission,
                KVC_ADMISSION_REUSE,
                Admission::from_code(self.disk_admission),
            )?,
            endurance_bytes_per_day: self.disk_endurance_bytes_per_day,
            promotion_hits: or(self.disk_promotion_hits, FileTier::NONE.promotion_hits),
            stall_ms: or(self.disk_stall_ms, FileTier::NONE.stall_ms),
            codec: CodecChoice::RAW,
        })
    }

    /// Where the files of the file tiers are, and the codecs' tables.
    ///
    /// # Errors
    /// [`Status::Null`] for tables that have bytes and no address.
    ///
    /// # Safety
    /// I1 and C1 for the paths and the tables, for as long as what is returned is used.
    pub(super) unsafe fn paths(&self) -> Result<Paths<'_>, Status> {
        let path = |text: *const c_char| {
            if text.is_null() {
                return None;
            }
            // SAFETY: I1 and C1, asked of the caller.
            let text = unsafe { CStr::from_ptr(text) };
            Some(Path::new(OsStr::from_bytes(text.to_bytes())))
        };
        // SAFETY: I1, asked of the caller; NULL and 0 are an empty array.
        let tables = unsafe { bytes(self.codec_tables, self.codec_tables_bytes) }?;
        let tables = Some(tables).filter(|tables| !tables.is_empty());
        Ok(Paths {
            nvme: path(self.nvme_path),
            disk: path(self.disk_path),
            tables,
        })
    }

    /// Whether the caller brings memory.
    pub(super) fn memory_given(&self) -> Result<bool, ConfigError> {
        if self.memory.is_null() == (self.memory_bytes == 0) {
            return Ok(!self.memory.is_null());
        }
        Err(ConfigError::new(
            Status::Conflict,
            "memory_bytes",
            self.memory_bytes,
            0,
            if self.memory.is_null() { 0 } else { u64::MAX },
            "memory and memory_bytes are given both or neither",
        ))
    }
}

/// Runs a call that can refuse its configuration, and says why if there is somewhere to say it.
///
/// # Safety
/// I1 for `error_out`.
pub(super) unsafe fn refusing(error_out: *mut kvc_error_t, body: impl FnOnce() -> Result<(), Refusal>) -> kvc_status_t {
    plain(|| {
        // SAFETY: I1, asked of the caller.
        let error_out = unsafe { target_optional(error_out) }?;
        body().map_err(|refusal| match refusal {
            Ok(error) => {
                error_out.write(&kvc_error_t::new(&error));
                error.status
            }
            Err(status) => status,
        })
    })
}

/// Writes every default out, so that they can be looked at and changed one by one.
///
/// Set `struct_size` before (`KVC_CONFIG_INIT` does); it stays as it is. `block_bytes` and `cpu_bytes` become zero:
/// they have no default. So do the file tiers' sizes and paths: by default there are none.
///
/// Threads: any, at once.
///
/// Memory: `config` is borrowed.
///
/// Statuses: `KVC_OK`; `KVC_E_NULL`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_config_init(config: *mut kvc_config_t) -> kvc_status_t {
    plain(|| {
        // SAFETY: I1, asked of the caller.
        let target = unsafe { target(config) }?;
        let default = Config::default();
        let or_none = |value: u64| if value == 0 { KVC_NONE } else { value };
        target.write(&kvc_config_t {
            policy: default.policy as u64,
            pins_count: default.pins_count,
            stripes_count: default.stripes_count,
            lanes_count: or_none(default.lanes_count),
            lane_depth: default.lane_depth,
            events_count: or_none(default.events_count),
            workers_count: default.workers_count,
            huge_pages: default.huge_pages as u64,
            memory_lock: default.memory_lock.into(),
            prefault: default.prefault as u64,
            pin_expiry_ms: default.pin_expiry_ms,
            reservation_expiry_ms: default.reservation_expiry_ms,
            hash_seed: default.hash_seed,
            latency_sample_count: or_none(default.latency_sample_count),
            clock: default.clock_ticks.into(),
            nvme_depth: FileTier::NONE.depth,
            nvme_admission: FileTier::NONE.admission as u64,
            nvme_promotion_hits: FileTier::NONE.promotion_hits,
            nvme_stall_ms: FileTier::NONE.stall_ms,
            disk_depth: FileTier::NONE.depth,
            disk_admission: FileTier::NONE.admission as u64,
            disk_promotion_hits: FileTier::NONE.promotion_hits,
            disk_stall_ms: FileTier::NONE.stall_ms,
            write_policy: default.write_policy as u64,
            damage: default.damage as u64,
            io_engine: default.io_engine as u64,
            file_overwrite: default.file_overwrite.into(),
            slots_free_low_permille: or_none(default.slots_free_low_permille),
            slots_free_high_permille: or_none(default.slots_free_high_permille),
            write_wait_ms: or_none(default.write_wait_ms),
            dedup: default.dedup.into(),
            prefetch_conversations_count: default.prefetch.conversations_count,
            prefetch_successors_count: default.prefetch.successors_count,
            prefetch_confidence_permille: default.prefetch.confidence_permille,
            admission_loss_permille: default.admission_loss_permille,
            tuning: default.tuning.into(),
            ..zeroed()
        });
        Ok(())
    })
}

// A program that was compiled against the first version has a shorter struct: what it has stays where it was.
const _: () = {
    assert!(core::mem::offset_of!(kvc_config_t, nvme_path) as u64 == kvc_config_t::SIZE_FIRST);
    assert!(size_of::<kvc_config_t>() == 488);
    assert!(size_of::<kvc_error_t>() as u64 == kvc_error_t::SIZE_FIRST);
};

#[cfg(test)]
mod tests;
