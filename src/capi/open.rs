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

use core::ffi::c_char;
use std::boxed::Box;

use super::config::{kvc_config_t, kvc_error_t, name, refusing};
use super::growable::{Growable, growable, read, target, zeroed};
use super::guard::{plain, with_engine};
use super::registry;
use super::types::{KVC_TIERS_COUNT, kvc_engine_t};
use super::version::kvc_status_t;
use crate::budget::Plan;
use crate::error::Status;
use crate::host::Cache;
use crate::limits;
use crate::units::Tier;

/// One line of the plan.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_component_t {
    /// What it is, with a closing NUL byte: `"slots"`.
    pub name: [c_char; 32],
    /// The tier it belongs to (`KVC_TIER_...`).
    pub tier: u64,
    /// 1 for bookkeeping, 0 for payload and for the buffers of the file tiers.
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
    /// Bytes of bookkeeping: everything but the slots and the buffers of the file tiers.
    pub metadata_bytes: u64,
    /// Bytes per block of key, index, state, facts, policy and place in the file tiers, rounded up.
    pub metadata_bytes_per_block: u64,
    /// Most blocks resident at once, in all tiers together.
    pub blocks_count: u64,
    /// Slots of the memory tier.
    pub slots_count: u64,
    /// Bytes from one slot to the next: `block_bytes` rounded up to a cache line or a page.
    pub slot_bytes: u64,
    /// Alignment in bytes that memory brought by the caller must have.
    pub memory_alignment_bytes: u64,
    /// Bytes of memory per tier, in the order of `KVC_TIER_...`; the last three are reserved and zero.
    pub tier_bytes: [u64; 8],
    /// How many of `components` are filled in.
    pub components_count: u64,
    /// Every component, in the order in which they lie in memory.
    pub components: [kvc_component_t; 32],
    /// Bytes of each tier's file, in the order of `KVC_TIER_...`, 0 where there is none; not part of `bytes`, which is
    /// memory.
    pub file_bytes: [u64; 8],
}

growable!(kvc_plan_t = 2696);

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
        for (bytes, tier) in target.file_bytes.iter_mut().zip(Tier::ALL) {
            *bytes = plan.file_bytes(tier);
        }
        target
    }
}

fn ceiling(number: f64) -> u64 {
    let floor = number as u64;
    floor + u64::from(floor as f64 != number)
}

/// Computes the exact bytes of everything that an engine of this configuration would ever hold. Obtains nothing.
///
/// The answer depends on nothing but the configuration. `memory`, `memory_bytes`, the paths and the codecs' tables are
/// not looked at: the plan says what to bring.
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

/// Opens an engine: obtains what the plan says, reads what the files of its tiers hold, starts the workers if there are
/// to be any.
///
/// A file that exists is read before anything is written to it: its metadata, and of its blocks those that may have
/// been half written when the last process ended, but not the others. One that holds the tier
/// of an engine of the same `block_bytes`, geometries and segments is taken over with all its blocks. What cannot be
/// verified there is dropped and counted (`blocks_damaged` of `kvc_stats_t`), unless `damage` asks for a refusal. A
/// file that was made by a call that fails is removed again.
///
/// See also: `kvc_plan_compute`, `kvc_close`.
///
/// Threads: any, at once. Waits for the files' devices.
///
/// Memory: `config`, its geometries, paths, codecs and tables, `engine_out` and `error_out` are borrowed; `error_out`
/// may be NULL. `memory` of the configuration is lent by the caller until `kvc_close`. Of the functions with an engine,
/// only this one allocates.
///
/// Statuses: `KVC_OK`; `KVC_E_CONFIG` and `KVC_E_CONFLICT` with the field, the value and the permitted range in
/// `error_out`; `KVC_E_NO_MEMORY`, `KVC_E_HUGE_PAGES`, `KVC_E_LOCK`, `KVC_E_THREAD`, `KVC_E_EVENT_FD` with the system's
/// error number there; for the files, under the name of the path's field, `KVC_E_FILE` and `KVC_E_NO_SPACE` with the
/// system's error number, `KVC_E_FILE_BUSY`, `KVC_E_FILE_MISMATCH` with what the file holds and what was asked,
/// `KVC_E_FILE_FOREIGN`, `KVC_E_FILE_DAMAGED`, `KVC_E_NO_URING`, and `KVC_E_UNSUPPORTED` for a tier that the library
/// was built without; `KVC_E_DAMAGED` and `KVC_E_UNSUPPORTED` under the field `codec_tables`; `KVC_AGAIN` when 1024
/// engines are open; `KVC_E_NULL`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
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
            let paths = config_c.paths().map_err(Err)?;
            let cache = if config_c.memory_given().map_err(Ok)? {
                Cache::open_in(&config, &paths, config_c.memory.cast(), config_c.memory_bytes)
            } else {
                Cache::open_with(&config, &paths)
            };
            let cache = Box::new(cache.map_err(Ok)?);
            let engine = registry::insert(cache).map_err(|_| Err(Status::Again))?;
            engine_out.write(engine);
            Ok(())
        })
    }
}

/// Winds the engine up: refuses new work, completes what lanes have queued, and makes durable what can be (as
/// `kvc_flush`, for at most ten minutes).
///
/// Afterwards `kvc_reserve`, `kvc_put`, `kvc_put_many`, `kvc_lane_open` and `kvc_submit` answer `KVC_E_SHUTDOWN`.
/// Everything else still works, so that completions can be reaped and everything can be given back before `kvc_close`.
/// A second shutdown does nothing.
///
/// Threads: no other call on this engine. Waits for the files' devices.
///
/// Memory: none.
///
/// Statuses: `KVC_OK`, whatever could be made durable; to know, call `kvc_flush` before.
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

/// Closes the engine and gives its memory and its files back. Needs no shutdown before.
///
/// Does not write down what no file holds: to find it again, call `kvc_flush` or `kvc_shutdown` first.
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

// A program that was compiled against the first version has a shorter struct: what it has stays where it was.
const _: () = {
    assert!(size_of::<kvc_component_t>() == 80);
    assert!(core::mem::offset_of!(kvc_plan_t, file_bytes) as u64 == kvc_plan_t::SIZE_FIRST);
};
