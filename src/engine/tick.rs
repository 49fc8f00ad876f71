//! What has to be done from time to time: told by [`Engine::tick`], bounded in each call.

use super::{Clock, Engine};
use crate::block::entry::Phase;
use crate::block::{BlockRef, PinRef};
use crate::config::Prefault;
use crate::limits::PAGE_BYTES;
use crate::metrics::{Counter, EventKind};
use crate::sync::atomic::Ordering;
use crate::units::Tier;

/// How far a coarse clock may lag: added to the age at which a view expires, so that none expires early.
const COARSE_LAG_NS: u64 = 10_000_000;
/// Pages that one tick touches for a lazy prefault: a few milliseconds' worth.
const PREFAULT_PAGES: u64 = 4096;

impl Engine<'_> {
    /// Moves everything on that needs no caller: lane operations, raising ahead of use, lapsed retentions, expired pins
    /// and reservations, lazy prefaulting. Bounded work; any thread may call it, several at once too. Returns how much
    /// there was to do, 0 for nothing.
    ///
    /// `now_ns` is the engine's time where its clock is [`Clock::Ticks`] and does not go back; otherwise it is not
    /// used. `notify` is called with the place of each lane that got completions.
    pub fn tick(&self, now_ns: u64, notify: impl FnMut(u32)) -> u64 {
        if matches!(self.clock, Clock::Ticks) {
            // Relaxed: a number.
            self.control.now_ns.fetch_max(now_ns, Ordering::Relaxed);
        }
        self.counters.add(self.stripe(), Counter::Ticks, 1);
        let done = self.drive_lanes(notify);
        done + self.foresee()
            + self.pump()
            + u64::from(self.policy_tick())
            + self.expire_pins()
            + self.expire_reservations()
            + self.prefault()
    }

    /// Takes back views that are older than the configuration allows.
    fn expire_pins(&self) -> u64 {
        let age_max_ns = self.config.pin_expiry_ms * 1_000_000;
        if age_max_ns == 0 {
            return 0;
        }
        let now_ns = self.coarse_ns();
        let lag_ns = if matches!(self.clock, Clock::Functions { .. }) {
            COARSE_LAG_NS
        } else {
            0
        };
        let mut expired = 0;
        self.pins.each(|pin, index, since_ns, expires| {
            if since_ns == 0 {
                // Just taken and not yet dated, or a release that lost against this loop: its age begins here.
                self.pins.set_since(pin, now_ns);
            } else if expires && now_ns.saturating_sub(since_ns) > age_max_ns + lag_ns {
                expired += u64::from(self.expire_pin(pin, index));
            }
        });
        expired
    }

    fn expire_pin(&self, pin: PinRef, index: u32) -> bool {
        let entry = &self.entries[index as usize];
        let generation = entry.state().generation();
        let expired = self.pins.release(pin, index);
        if expired {
            self.counters.add(self.stripe(), Counter::PinsExpired, 1);
            self.event(
                EventKind::PinExpired,
                entry.key(),
                BlockRef { index, generation },
                Tier::Cpu,
            );
            let now = entry.state_ordered();
            if now.phase() == Phase::Removed {
                self.reclaim(index, now.generation());
            }
        }
        expired
    }

    /// Takes back reservations that are older than the configuration allows.
    fn expire_reservations(&self) -> u64 {
        let age_max_ns = self.config.reservation_expiry_ms * 1_000_000;
        if age_max_ns == 0 || self.reservations_count() == 0 {
            return 0;
        }
        let now_ns = self.now_ns();
        let mut expired = 0;
        self.index.each_used(|index| {
            let entry = &self.entries[index as usize];
            let state = entry.state();
            if state.phase() == Phase::Reserved
                && self.facts[index as usize].retention().reservation_expires
                && now_ns.saturating_sub(entry.reserved_since(now_ns)) > age_max_ns
                && entry.unchanged_since(state)
            {
                let block = BlockRef {
                    index,
                    generation: state.generation(),
                };
                expired += u64::from(self.abort_as(block, Counter::ReservationsExpired).is_ok());
            }
        });
        expired
    }

    /// Touches the next pages of a lazy prefault.
    fn prefault(&self) -> u64 {
        if self.config.prefault != Prefault::Lazy {
            return 0;
        }
        // Relaxed: who touches which page does not matter.
        if self.control.prefault_offset.load(Ordering::Relaxed) >= self.plan.bytes() {
            return 0;
        }
        let step = PREFAULT_PAGES * PAGE_BYTES;
        let from = self.control.prefault_offset.fetch_add(step, Ordering::Relaxed);
        let pages = from..(from + step).min(self.plan.bytes());
        for offset in pages.step_by(PAGE_BYTES as usize) {
            self.arena.touch(offset);
        }
        1
    }

    /// Refuses new blocks and operations from now on and completes what lanes have queued. What is resident can still
    /// be read and released.
    pub fn shutdown(&self, mut notify: impl FnMut(u32)) {
        // Release: partner is the acquire in `check_open`.
        self.control.shutdown.store(1, Ordering::Release);
        while self.drive_lanes(&mut notify) != 0 {}
    }

    /// Whether nothing is held: no view, no reservation, no open lane.
    pub fn is_idle(&self) -> bool {
        self.pins.is_empty() && self.reservations_count() == 0 && self.lanes.open_count() == 0
    }

    /// Reservations neither committed nor given back.
    pub(super) fn reservations_count(&self) -> u64 {
        let gone = [Counter::Commits, Counter::Aborts, Counter::ReservationsExpired];
        let gone: u64 = gone.map(|counter| self.counters.total(counter)).iter().sum();
        self.counters.total(Counter::Reserves).saturating_sub(gone)
    }
}
