//! Two devices on one power supply, and an end to waiting for them.

use std::sync::atomic::{AtomicU64, Ordering};

use kvcache::tier::device::{Device, Io, IoDone};

use crate::world::Simulated;

/// Looks at a device within one step of the script: more than any step needs, and reached in seconds by one that hangs.
const REAPS_MAX: u64 = 400_000;

/// A device as the engine sees it: it loses power when its neighbour does, and ends a run that waits for ever.
pub struct Watched<'d, 'm> {
    device: &'d Simulated<'m>,
    neighbour: &'d Simulated<'m>,
    reaps: AtomicU64,
}

impl<'d, 'm> Watched<'d, 'm> {
    pub fn new(device: &'d Simulated<'m>, neighbour: &'d Simulated<'m>) -> Self {
        Self {
            device,
            neighbour,
            reaps: AtomicU64::new(0),
        }
    }

    /// A step of the script is over.
    pub fn step(&self) {
        self.reaps.store(0, Ordering::Relaxed);
    }
}

impl Device for Watched<'_, '_> {
    fn bytes(&self) -> u64 {
        self.device.bytes()
    }

    fn alignment_bytes(&self) -> u64 {
        self.device.alignment_bytes()
    }

    fn depth(&self) -> u32 {
        self.device.depth()
    }

    fn name(&self) -> &'static str {
        self.device.name()
    }

    unsafe fn submit(&self, io: &Io) -> bool {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.device.submit(io) }
    }

    fn reap(&self, done: &mut [IoDone]) -> usize {
        let (own, other) = (self.device.device().device(), self.neighbour.device().device());
        if other.is_off() && !own.is_off() {
            own.power_off_after(0);
        }
        let reaps = self.reaps.fetch_add(1, Ordering::Relaxed);
        assert!(reaps < REAPS_MAX, "a step of the script never ends");
        self.device.reap(done)
    }

    fn wait(&self, timeout_ns: u64) {
        self.device.wait(timeout_ns);
    }
}
