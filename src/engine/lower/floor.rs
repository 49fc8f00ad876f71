//! How much a namespace's blocks may lose: below that they are dropped rather than degraded.
//!
//! **Progress.** Looking up is wait-free; setting repeats only when another thread took the same place.

use crate::engine::Engine;
use crate::error::Status;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::turn::Turn;

/// Most namespaces with a bound.
pub const FLOORS_COUNT_MAX: usize = 64;

/// A bound as it is kept: 0 is a free place, 1 one that is being taken or was given up, else the bound plus two.
const FREE: u64 = 0;
const UNBOUNDED: u64 = 1;
const OFFSET: u64 = 2;

/// Bounds by namespace. A place that was taken once stays its namespace's.
pub(super) struct Floors {
    namespaces: [AtomicU64; FLOORS_COUNT_MAX],
    bounds: [AtomicU64; FLOORS_COUNT_MAX],
    turn: Turn,
}

impl Floors {
    pub(super) fn new() -> Self {
        Self {
            namespaces: core::array::from_fn(|_| AtomicU64::new(0)),
            bounds: core::array::from_fn(|_| AtomicU64::new(FREE)),
            turn: Turn::new(),
        }
    }

    /// Most relative error in thousandths that blocks of the namespace may be stored with; `None` for any.
    pub(super) fn error_max_permille(&self, namespace: u64) -> Option<u64> {
        for (name, bound) in self.namespaces.iter().zip(&self.bounds) {
            // Acquire: partner is the release in `set`; the name was stored before.
            let bound = bound.load(Ordering::Acquire);
            if bound == FREE {
                return None;
            }
            // Relaxed: a name never changes once its bound is there.
            if name.load(Ordering::Relaxed) == namespace {
                return bound.checked_sub(OFFSET);
            }
        }
        None
    }
}

impl Engine<'_> {
    /// Bounds how much blocks of a namespace may lose: most relative error in thousandths of the codec that a tier
    /// holds them in, 0 for none at all; `None` takes the bound back. A tier whose codec is coarser, as it is known or
    /// as samples show it, does not get them: they are dropped there rather than degraded. What is in a tier already
    /// stays.
    ///
    /// # Errors
    /// [`Status::Argument`] for more than 1000; [`Status::Unsupported`] without a file tier; [`Status::Again`] when 64
    /// namespaces have had a bound, or another thread is just setting one.
    pub fn quality_floor_set(&self, namespace_id: u64, error_max_permille: Option<u64>) -> Result<(), Status> {
        if error_max_permille.is_some_and(|permille| permille > 1000) {
            return Err(Status::Argument);
        }
        let Some(lower) = &self.lower else {
            return Err(Status::Unsupported);
        };
        let wanted = error_max_permille.map_or(UNBOUNDED, |permille| permille + OFFSET);
        let floors = &lower.floors;
        let Some(_turn) = floors.turn.take() else {
            return Err(Status::Again);
        };
        for (name, bound) in floors.namespaces.iter().zip(&floors.bounds) {
            // Relaxed: only whoever has the turn changes them.
            let free = bound.load(Ordering::Relaxed) == FREE;
            if free {
                name.store(namespace_id, Ordering::Relaxed);
            }
            if free || name.load(Ordering::Relaxed) == namespace_id {
                // Release: partner is the load in `error_max_permille`.
                bound.store(wanted, Ordering::Release);
                return Ok(());
            }
        }
        Err(Status::Again)
    }
}
