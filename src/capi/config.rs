//! Plan, open, close.
//!
//! Fill in a `kvc_config_t`, look at the plan if you like (it is computed without obtaining anything), open. The engine
//! obtains exactly what the plan says, from the system or from memory that the caller brings, and nothing afterwards.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]. Besides:
//!
//! - **C1** Memory that the caller brings (`memory` in the configuration) is valid for reads and writes until the
//!   engine is closed, and nobody else uses it: lent by the caller, as its documentation says.

use core::ffi::{c_char, c_void};
use core::fmt::Write;
use std::boxed::Box;

use super::geometry::kvc_geometry_t;
use super::growable::{Growable, growable, read, target, target_optional, zeroed};
use super::guard::{plain, with_engine};
use super::registry;
use super::types::{KVC_TIERS_COUNT, kvc_engine_t};
use super::version::kvc_status_t;
use crate::budget::Plan;
use crate::config::{Config, HugePages, PolicyKind, Prefault};
use crate::error::{ConfigError, Status};
use crate::host::Cache;
use crate::limits;
use crate::metrics::BoundedText;

/// "None of it" in those fields of the configuration where zero means a default.
pub const KVC_NONE: u64 = u64::MAX;

/// Evict what was used least recently. The default.
pub const KVC_POLICY_LRU: u64 = 1;
/// Evict by three queues (S3-FIFO), which keeps what is used often through a scan of what is used once.
pub const KVC_POLICY_S3FIFO: u64 = 2;

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
    /// How victims are chosen (`KVC_POLICY_...`). Default `KVC_POLICY_LRU`.
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
}

/// One line of the plan.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_component_t {
    /// What it is, with a closing NUL byte: `"slots"`.
    pub name: [c_char; 32],
    /// The tier it belongs to (`KVC_TIER_...`).
    pub tier: u64,
    /// 1 for bookkeeping, 0 for payload.
    pub metadata: u64,
    /// Bytes from the start of the engine's memory.
    pub offset: u64,
    /// How many.
    pub count: u64,
    /// Bytes of each.
    pub bytes_each: u64,
    /// Bytes of all, rounded up to whole pages.
    pub bytes: u64,
}

/// How many components a plan has room for.
pub const KVC_COMPONENTS_COUNT_MAX: u32 = 32;

/// The exact bytes of everything an engine will ever hold. Initialise with `KVC_PLAN_INIT`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct kvc_plan_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Bytes of everything: what open obtains, or what the caller brings.
    pub bytes: u64,
    /// Bytes of everything that is not payload.
    pub metadata_bytes: u64,
    /// Bytes per block of key, index, state, facts and policy, rounded up.
    pub metadata_bytes_per_block: u64,
    /// Most blocks resident at once.
    pub blocks_count: u64,
    /// Slots of the memory tier.
    pub slots_count: u64,
    /// Bytes from one slot to the next: `block_bytes` rounded up to a cache line or a page.
    pub slot_bytes: u64,
    /// Alignment in bytes that memory brought by the caller must have.
    pub memory_alignment_bytes: u64,
    /// Bytes per tier, in the order of `KVC_TIER_...`; the last three are reserved and zero.
    pub tier_bytes: [u64; 8],
    /// How many of `components` are filled in.
    pub components_count: u64,
    /// Every component, in the order in which they lie in memory.
    pub components: [kvc_component_t; 32],
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

growable!(kvc_config_t = 176, kvc_plan_t = 2696, kvc_error_t = 336);

/// Copies text with a closing NUL byte, cutting off what is too long.
fn text<const N: usize>(write: impl FnOnce(&mut BoundedText<'_>)) -> [c_char; N] {
    let mut buffer = [0_u8; N];
    if let Some((_, room)) = buffer.split_last_mut() {
        write(&mut BoundedText::new(room));
    }
    buffer.map(|byte| byte as c_char)
}

fn name<const N: usize>(text_whole: &str) -> [c_char; N] {
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
fn choice<T>(field: &'static str, value: u64, value_max: u64, known: Option<T>) -> Result<T, ConfigError> {
    known.ok_or(ConfigError {
        status: Status::Config,
        field,
        value,
        value_min: 0,
        value_max,
        reason: "there is no such choice",
        os_error: 0,
    })
}

fn boolean(value: u64) -> Option<bool> {
    match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// A call that failed on an argument (`Err(Err)`) or because of the configuration (`Err(Ok)`).
type Refusal = Result<ConfigError, Status>;

impl kvc_config_t {
    /// The engine's configuration. The memory is looked at by open alone.
    ///
    /// # Safety
    /// I1 for the geometries.
    unsafe fn checked(&self) -> Result<Config, Refusal> {
        let default = Config::default();
        // Zero is the default; where zero itself means something, that is said with KVC_NONE.
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        let or_none = |value: u64, default: u64| if value == KVC_NONE { 0 } else { or(value, default) };
        let mut config = Config {
            block_bytes: self.block_bytes,
            cpu_bytes: self.cpu_bytes,
            policy: choice(
                "policy",
                self.policy,
                KVC_POLICY_S3FIFO,
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
            ..default
        };
        if self.geometries_count > limits::GEOMETRIES_COUNT_MAX as u64 {
            return Err(Ok(ConfigError {
                status: Status::Config,
                field: "geometries_count",
                value: self.geometries_count,
                value_min: 0,
                value_max: limits::GEOMETRIES_COUNT_MAX as u64,
                reason: "a block names its geometry with a small number",
                os_error: 0,
            }));
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

    /// Whether the caller brings memory.
    fn memory_given(&self) -> Result<bool, ConfigError> {
        if self.memory.is_null() == (self.memory_bytes == 0) {
            return Ok(!self.memory.is_null());
        }
        Err(ConfigError {
            status: Status::Conflict,
            field: "memory_bytes",
            value: self.memory_bytes,
            value_min: 0,
            value_max: if self.memory.is_null() { 0 } else { u64::MAX },
            reason: "memory and memory_bytes are given both or neither",
            os_error: 0,
        })
    }
}

impl kvc_plan_t {
    fn new(plan: &Plan) -> Self {
        let mut target = Self {
            bytes: plan.bytes(),
            metadata_bytes: plan.metadata_bytes(),
            metadata_bytes_per_block: ceiling(plan.metadata_bytes_per_block()),
            blocks_count: plan.blocks_count(),
            slots_count: plan.slots_count(),
            slot_bytes: plan.slot_bytes(),
            memory_alignment_bytes: limits::PAGE_BYTES,
            components_count: plan.components().len() as u64,
            ..zeroed()
        };
        for (target, component) in target.components.iter_mut().zip(plan.components()) {
            *target = kvc_component_t {
                name: name(component.name),
                tier: (component.tier as u32).into(),
                metadata: component.metadata.into(),
                offset: component.offset,
                count: component.count,
                bytes_each: component.bytes_each,
                bytes: component.bytes,
            };
        }
        for (place, bytes) in target.tier_bytes.iter_mut().enumerate().take(KVC_TIERS_COUNT as usize) {
            let components = plan.components().iter();
            *bytes = components
                .filter(|component| component.tier as usize == place)
                .map(|component| component.bytes)
                .sum();
        }
        target
    }
}

fn ceiling(number: f64) -> u64 {
    let floor = number as u64;
    floor + u64::from(floor as f64 != number)
}

/// Runs a call that can refuse its configuration, and says why if there is somewhere to say it.
///
/// # Safety
/// I1 for `error_out`.
unsafe fn refusing(error_out: *mut kvc_error_t, body: impl FnOnce() -> Result<(), Refusal>) -> kvc_status_t {
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
/// they have no default.
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
            ..zeroed()
        });
        Ok(())
    })
}

/// Computes the exact bytes of everything that an engine of this configuration would ever hold. Obtains nothing.
///
/// The answer depends on nothing but the configuration. `memory` and `memory_bytes` are not looked at: the plan says
/// what to bring.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed. `error_out` may be NULL.
///
/// Statuses: `KVC_OK`; `KVC_E_CONFIG` and `KVC_E_CONFLICT` with the field, the value and the permitted range in
/// `error_out`; `KVC_E_NULL`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_plan_compute(
    config: *const kvc_config_t,
    plan_out: *mut kvc_plan_t,
    error_out: *mut kvc_error_t,
) -> kvc_status_t {
    // SAFETY: I1, asked of the caller, here and below.
    unsafe {
        refusing(error_out, || {
            let config = read(config).map_err(Err)?;
            let plan_out = target(plan_out).map_err(Err)?;
            let plan = Plan::compute(&config.checked()?).map_err(Ok)?;
            plan_out.write(&kvc_plan_t::new(&plan));
            Ok(())
        })
    }
}

/// Opens an engine: obtains what the plan says, starts the workers if there are to be any.
///
/// See also: `kvc_plan_compute`, `kvc_close`.
///
/// Threads: any, at once.
///
/// Memory: `config`, its geometries, `engine_out` and `error_out` are borrowed; `error_out` may be NULL. `memory` of
/// the configuration is lent by the caller until `kvc_close`. This is the only function that allocates.
///
/// Statuses: `KVC_OK`; `KVC_E_CONFIG` and `KVC_E_CONFLICT` with the field, the value and the permitted range in
/// `error_out`; `KVC_E_NO_MEMORY`, `KVC_E_HUGE_PAGES`, `KVC_E_LOCK`, `KVC_E_THREAD`, `KVC_E_EVENT_FD` with the system's
/// error number there; `KVC_AGAIN` when 1024 engines are open; `KVC_E_NULL`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED`
/// for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_engine_open(
    config: *const kvc_config_t,
    engine_out: *mut *mut kvc_engine_t,
    error_out: *mut kvc_error_t,
) -> kvc_status_t {
    // SAFETY: I1, asked of the caller, here and below; C1 for `open_in`.
    unsafe {
        refusing(error_out, || {
            let config_c = read(config).map_err(Err)?;
            if engine_out.is_null() {
                return Err(Err(Status::Null));
            }
            if !engine_out.is_aligned() {
                return Err(Err(Status::Argument));
            }
            let config = config_c.checked()?;
            let cache = if config_c.memory_given().map_err(Ok)? {
                Cache::open_in(&config, config_c.memory.cast(), config_c.memory_bytes)
            } else {
                Cache::open(&config)
            };
            let cache = Box::new(cache.map_err(Ok)?);
            let engine = registry::insert(cache).map_err(|_| Err(Status::Again))?;
            engine_out.write(engine);
            Ok(())
        })
    }
}

/// Winds the engine up: refuses new work and completes what lanes have queued.
///
/// Afterwards `kvc_reserve`, `kvc_put`, `kvc_put_many`, `kvc_lane_open` and `kvc_submit` answer `KVC_E_SHUTDOWN`.
/// Everything else still works, so that completions can be reaped and everything can be given back before `kvc_close`.
/// A second shutdown does nothing.
///
/// Threads: no other call on this engine.
///
/// Memory: none.
///
/// Statuses: `KVC_OK`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_shutdown(engine: *mut kvc_engine_t) -> kvc_status_t {
    // SAFETY: I3, asked of the caller.
    unsafe {
        with_engine(engine, |cache| {
            cache.shutdown();
            Ok(())
        })
    }
}

/// Closes the engine and gives its memory back. Needs no shutdown before.
///
/// The handle is wrong from then on: `KVC_E_HANDLE`. An engine that is in use stays open and as it was.
///
/// Threads: no other call on this engine, and none afterwards.
///
/// Memory: what the engine lent must have been given back. `memory` of the configuration is the caller's again.
///
/// Statuses: `KVC_OK`; `KVC_E_BUSY` while there are pins, reservations, open lanes or operations under way. An engine
/// that is poisoned can always be closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_close(engine: *mut kvc_engine_t) -> kvc_status_t {
    plain(|| {
        // SAFETY: I3, asked of the caller.
        let cache = unsafe { registry::find(engine) }?;
        if let Err(Status::Forked) = cache.check() {
            return Err(Status::Forked);
        }
        registry::close(engine, Cache::close)
    })
}

// The initializers promise that all sizes are those of the first version as long as there is only one.
const _: () = {
    assert!(size_of::<kvc_config_t>() as u64 == kvc_config_t::SIZE_FIRST);
    assert!(size_of::<kvc_plan_t>() as u64 == kvc_plan_t::SIZE_FIRST);
    assert!(size_of::<kvc_error_t>() as u64 == kvc_error_t::SIZE_FIRST);
    assert!(size_of::<kvc_component_t>() == 80);
};
