//! Making durable what was committed.

use super::pump::Movement;
use super::write::Staged;
use super::{Lower, TIERS};
use crate::block::entry::Phase;
use crate::engine::{Clock, Engine};
use crate::error::Status;
use crate::metrics::Counter;

/// Entries that one step looks at.
const ENTRIES_BATCH: u32 = 4096;

/// How far a flush has got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FlushState {
    /// The next entry to look at.
    pub(crate) cursor: u32,
    /// Blocks of which writing was begun.
    pub(crate) written: u32,
    /// 0 at first, 1 once it was begun, 2 once the logs were asked to make durable what they have.
    pub(crate) begun: u32,
    /// How often the pump's queue had been filled when it was begun.
    pub(crate) drains_count: u32,
    /// The code of what kept a block from being written, 0 for nothing.
    pub(crate) refusal: i32,
    /// For each tier, one more than the count of segments given up when a segment was being given up at the beginning:
    /// what it held is gone for good only when that is done. 0 for none.
    pub(crate) retiring: [u32; 2],
    /// The logs' numbers for it.
    pub(crate) numbers: [u64; 2],
}

impl Engine<'_> {
    /// Writes every committed block that no file tier holds to the first one, and makes all of them durable
    /// (`fdatasync`). Waits, at most `timeout_ns`. Returns how many blocks were written.
    ///
    /// What was committed before the call, and is still known, is found again whenever the files are opened, and what
    /// was removed before is not.
    ///
    /// # Errors
    /// [`Status::Timeout`]; [`Status::Endurance`] if a tier's budget does not allow all of it (what fitted is durable);
    /// [`Status::Offline`] if a device failed; [`Status::Unsupported`] without a file tier.
    pub fn flush(&self, timeout_ns: u64) -> Result<u64, Status> {
        let started_ns = self.now_ns();
        let mut waits: u64 = 0;
        let mut state = FlushState::default();
        loop {
            if let Some(answer) = self.flush_step(&mut state) {
                return answer;
            }
            let elapsed_ns = match self.clock {
                // Time stands still: the waits are what passes.
                Clock::Ticks => waits * 1_000_000,
                _ => self.now_ns().saturating_sub(started_ns),
            };
            if elapsed_ns >= timeout_ns {
                return Err(Status::Timeout);
            }
            if self.pump() == 0 {
                waits += 1;
                self.io_wait(1_000_000.min(timeout_ns - elapsed_ns));
            }
        }
    }

    /// Takes a flush further; `None` if it has to wait for a device.
    pub(in crate::engine) fn flush_step(&self, state: &mut FlushState) -> Option<Result<u64, Status>> {
        let Some(lower) = &self.lower else {
            return Some(Err(Status::Unsupported));
        };
        let mut pump = lower.pump.take()?;
        if state.begun == 0 {
            state.begun = 1;
            state.drains_count = pump.drains_count;
        }
        let entries_count = self.entries.len() as u32;
        let mut looked = 0;
        while state.cursor < entries_count {
            looked += 1;
            if looked > ENTRIES_BATCH {
                return None;
            }
            let entry_state = self.entries[state.cursor as usize].state();
            let phase = entry_state.phase();
            let adrift = phase == Phase::Raising && !lower.located(state.cursor, entry_state.generation());
            if adrift || matches!(phase, Phase::Condemned | Phase::Claimed) {
                // In somebody's hands for a moment, or on its way out of a segment that is gone: it may be resident in
                // the next.
                return None;
            }
            if phase == Phase::Resident {
                match self.stage(lower, &mut pump, state.cursor) {
                    Staged::Begun => state.written += 1,
                    // A barred one is kept out of the files by its namespace's bound, not by want of room.
                    Staged::Needless | Staged::Barred => {}
                    Staged::Later | Staged::Behind => {
                        drop(pump);
                        return None;
                    }
                    Staged::Refused => state.refusal = self.refusal(lower).code(),
                }
            }
            state.cursor += 1;
        }
        for (awaited, store) in state.retiring.iter_mut().zip(&pump.stores) {
            let Some(store) = store else { continue };
            if *awaited == 0 && state.begun == 1 && store.movement != Movement::Idle {
                *awaited = store.retired_count.wrapping_add(1).max(1);
            }
            if *awaited != 0 && store.movement != Movement::Idle && store.retired_count.wrapping_add(1) == *awaited {
                return None;
            }
        }
        // Tombstones of what was removed before: in the queue when this was begun, or in what it was filled with next.
        let drained = pump.drains_count.wrapping_sub(state.drains_count) >= 2;
        if !drained && (!lower.writes.is_empty() || !pump.writes.is_empty()) {
            return None;
        }
        if state.begun == 1 {
            state.begun = 2;
            for (number, store) in state.numbers.iter_mut().zip(&mut pump.stores) {
                if let Some(store) = store {
                    *number = store.log.flush_begin();
                    store.staged = false;
                }
            }
        }
        for (place, store) in pump.stores.iter_mut().enumerate() {
            let Some(store) = store else { continue };
            match store.log.flushed(state.numbers[place]) {
                None => return None,
                Some(true) => {}
                Some(false) => state.refusal = Status::Offline.code(),
            }
        }
        debug_assert!(pump.stores.len() == TIERS.len());
        Some(match Status::from_code(state.refusal) {
            Some(status) if status != Status::Ok => Err(status),
            _ => {
                self.counters.add(self.stripe(), Counter::Flushes, 1);
                Ok(u64::from(state.written))
            }
        })
    }

    /// Why the first tier takes nothing.
    fn refusal(&self, lower: &Lower<'_>) -> Status {
        match lower.working().next() {
            None => Status::Offline,
            Some(_) => Status::Endurance,
        }
    }

    /// Waits until nothing is under way on the devices, so that the memory can be given back. A device that stalls is
    /// waited for no longer than its tier's patience.
    pub fn quiesce(&self) {
        let Some(lower) = &self.lower else { return };
        loop {
            match lower.pump.take() {
                None => {}
                Some(mut pump) => {
                    let mut idle = true;
                    for place in 0..TIERS.len() {
                        self.poll_log(lower, &mut pump, place);
                        if let Some(store) = &mut pump.stores[place] {
                            // Staged bytes go out, too: they are under way until they are written.
                            store.log.push();
                            idle &= store.log.is_offline() || store.log.is_idle();
                        }
                    }
                    if idle {
                        return;
                    }
                }
            }
            self.io_wait(1_000_000);
        }
    }
}
