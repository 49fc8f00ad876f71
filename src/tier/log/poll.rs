//! Moving on: what the device has done, what waits for it, and when to give it up.

use super::lend::{Back, REAP_COUNT, Stage};
use super::{Log, LogEvent};

/// Times that a request is repeated without any progress before it fails.
const RETRIES_MAX: u16 = 3;
/// Requests that fail one after the other before the log goes offline.
const FAILURES_MAX: u32 = 8;
/// How long a frame that is not full waits for more.
const STAGED_NS_MAX: u64 = 20_000_000;
/// The error number of a transfer that moved nothing (`EIO`).
const NOTHING_MOVED: i32 = 5;
/// Rounds of one poll; what is left waits for the next.
const ROUNDS_MAX: usize = 64;

/// How the device is doing.
pub(super) struct Health {
    pub(super) offline: bool,
    /// Whether the last poll left requests under way.
    was_busy: bool,
    /// Requests that failed for good since the last that did not.
    failures: u32,
    /// The same of writes alone: a device that only reads still is of no use.
    write_failures: u32,
    stall_ns: u64,
    /// When a request came back last, or there was none under way.
    progress_ns: u64,
    /// Waited since then by callers whose clock may stand still.
    waited_ns: u64,
    /// The same since the log was opened.
    waited_ns_all: u64,
    /// When the frame that is being filled was first seen.
    staged_ns: Option<u64>,
}

impl Health {
    pub(super) fn new(stall_ns: u64) -> Self {
        Self {
            offline: false,
            was_busy: false,
            failures: 0,
            write_failures: 0,
            stall_ns,
            progress_ns: 0,
            waited_ns: 0,
            waited_ns_all: 0,
            staged_ns: None,
        }
    }

    /// Longest time without progress.
    pub(super) fn stall_ns(&self) -> u64 {
        self.stall_ns
    }

    /// The device can't be trusted with another byte.
    pub(super) fn fail(&mut self) {
        self.failures = FAILURES_MAX;
    }

    /// Whether too much failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures.max(self.write_failures) >= FAILURES_MAX
    }
}

impl Log<'_> {
    /// Takes what the device has done, verifies, copies, repeats what failed, submits what waits, and tells. Does not
    /// wait. `now_ns` is for noticing a stall. Returns how many requests came back or were begun.
    pub fn poll(&mut self, now_ns: u64, tell: &mut dyn FnMut(LogEvent)) -> u64 {
        let mut work = 0;
        if core::mem::take(&mut self.writer.offered) {
            self.writer.wanted = 0;
        }
        if !self.health.was_busy {
            self.progress(now_ns);
        }
        if !self.health.offline {
            work += self.push_staged(now_ns);
        }
        for _ in 0..ROUNDS_MAX {
            let begun = if self.health.offline { 0 } else { self.begin_all() };
            let came = self.come_back(tell);
            if came != 0 {
                self.progress(now_ns);
            }
            self.readings_tell(tell);
            work += begun + came;
            if begun + came == 0 {
                break;
            }
        }
        self.health.was_busy = self.frames.under_way() != 0;
        if self.health.offline {
            return work;
        }
        self.writer.offered = self.writer.wanted != 0 && self.frames.free_count() >= self.writer.wanted;
        let idle_ns = now_ns
            .saturating_sub(self.health.progress_ns)
            .max(self.health.waited_ns);
        let stalled = self.frames.under_way() != 0 && idle_ns >= self.health.stall_ns;
        // One request may be lost while others come back: whoever waits for it must not wait for ever.
        let periods = now_ns.saturating_add(self.health.waited_ns_all) / self.health.stall_ns.max(1);
        let lost = self.frames.period_set(periods as u32);
        if stalled || lost || self.health.is_failing() {
            self.go_offline(tell);
        }
        work
    }

    /// Notes that a caller waited so long without any progress while the engine's clock may stand still.
    pub fn waited(&mut self, ns: u64) {
        self.health.waited_ns = self.health.waited_ns.saturating_add(ns);
        self.health.waited_ns_all = self.health.waited_ns_all.saturating_add(ns);
    }

    fn progress(&mut self, now_ns: u64) {
        self.health.progress_ns = now_ns;
        self.health.waited_ns = 0;
    }

    /// Submits a frame that waited for more long enough.
    fn push_staged(&mut self, now_ns: u64) -> u64 {
        if !self.writer.is_staged() {
            self.health.staged_ns = None;
            return 0;
        }
        let since = *self.health.staged_ns.get_or_insert(now_ns);
        let waited = now_ns.saturating_sub(since).max(self.health.waited_ns);
        if waited < STAGED_NS_MAX {
            return 0;
        }
        self.health.staged_ns = None;
        self.push();
        self.submit_queued()
    }

    /// Begins what can be begun.
    fn begin_all(&mut self) -> u64 {
        if self.writer.is_sealing() {
            self.seal_step();
        }
        self.readings_begin();
        self.victim_step();
        let begun = self.submit_queued();
        begun + u64::from(self.sync_step())
    }

    /// Puts a frame in line for the device.
    pub(super) fn enqueue(&mut self, index: u32) {
        self.frames.state_mut(index).next = super::lend::NONE;
        if let Some(before) = self.submits.push(index) {
            self.frames.state_mut(before).next = index;
        }
    }

    /// Submits frames in line; how many.
    pub(super) fn submit_queued(&mut self) -> u64 {
        let mut begun = 0;
        while let Some(index) = self.submits.front() {
            let next = self.frames.state(index).next;
            if !self.frames.submit(index) {
                break;
            }
            self.submits.pop(next);
            begun += 1;
        }
        begun
    }

    /// Has the device begin what was asked for since the last poll. A poll does so, too.
    pub fn hand_over(&mut self) {
        self.submit_queued();
        self.frames.hand_over();
    }

    /// Takes what came back; how many requests.
    fn come_back(&mut self, tell: &mut dyn FnMut(LogEvent)) -> u64 {
        let mut backs = [Back {
            frame: None,
            result: Ok(0),
        }; REAP_COUNT];
        let count = self.frames.reap(&mut backs);
        for back in backs.iter().take(count) {
            let settled = self.settle(back);
            if self.health.offline {
                continue;
            }
            match back.frame {
                Some(index) if settled && !self.frames.is_write(index) => self.read_arrived(index, tell),
                _ => {}
            }
        }
        if count != 0 && !self.health.offline {
            self.writes_settle(tell);
        }
        count as u64
    }

    /// Takes note of one outcome and repeats the request if that makes sense. True if it is settled.
    pub(super) fn settle(&mut self, back: &Back) -> bool {
        let Some(index) = back.frame else {
            let succeeded = back.result.is_ok();
            self.note(succeeded, false);
            self.sync_done(succeeded);
            return true;
        };
        let alignment = self.alignment_bytes as u32;
        let write = self.frames.is_write(index);
        let state = self.frames.state_mut(index);
        let left = state.bytes - state.moved;
        let (moved, os_error) = match back.result {
            // What is not a whole unit of the device is moved again.
            Ok(moved) if moved < left => (moved / alignment * alignment, NOTHING_MOVED),
            Ok(_) => (left, 0),
            Err(os_error) => (0, os_error),
        };
        state.moved += moved;
        if moved == left {
            self.frames.set_stage(index, Stage::Done);
            self.note(true, write);
            return true;
        }
        if moved == 0 {
            state.attempts += 1;
            state.os_error = os_error;
        } else {
            state.attempts = 0;
        }
        if state.attempts > RETRIES_MAX || self.health.offline {
            self.frames.set_stage(index, Stage::Failed);
            self.note(false, write);
            return true;
        }
        self.counts.io_retries += 1;
        self.enqueue(index);
        false
    }

    fn note(&mut self, succeeded: bool, write: bool) {
        let health = &mut self.health;
        if succeeded {
            health.failures = 0;
            if write {
                health.write_failures = 0;
            }
        } else {
            health.failures += 1;
            health.write_failures += u32::from(write);
            self.counts.io_errors += 1;
        }
    }

    /// Tells of everything under way as failed, and takes nothing more.
    fn go_offline(&mut self, tell: &mut dyn FnMut(LogEvent)) {
        self.health.offline = true;
        self.submits = super::state::Queue::EMPTY;
        self.pending_fail(tell);
        self.readings_fail(tell);
        self.flushes_fail();
        tell(LogEvent::Offline);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
