//! A simulated device in borrowed memory: seeded delays and order, a write cache that loses what was not synced, power
//! loss, and the death of the process. The same seed and the same calls give the same run.
//!
//! A request is done some calls of [`Device::reap`] after it was begun, all of it at once, and reported at that moment.
//! Time is counted in those calls; [`Device::wait`] does nothing.
//!
//! A write that is done lies in the device's cache until a sync that was submitted after the write was reported is
//! done itself. For that the journal keeps what each such write replaced. Where the journal is full, its oldest write
//! goes to the medium early, as a real cache does it; give it room for what is written between two syncs.
//!
//! What can happen:
//! - [`SimDisk::crash`], a loss of power: each write that was not synced survives, is lost, or is torn into sectors of
//!   [`SECTOR_BYTES`] bytes of which some survive. So is each write under way.
//! - [`SimDisk::kill`], the process dies: what was done stays, and each write under way is done or not.
//! - [`SimDisk::power_off_after`], so that a loss of power comes at a chosen write.
//!
//! Faults of a device that goes on working are [`crate::tier::fault`]'s business.
//!
//! # Soundness
//! - **I1** A buffer is used between `submit`, whose caller promises that it is valid and nobody else's, and the report
//!   of the request; after a crash or a kill, which report nothing, it is not used any more.
#![allow(unsafe_code)]

mod journal;
pub(crate) mod random;
#[cfg(test)]
pub(crate) mod tests;

use self::journal::Journal;
use self::random::Random;
use crate::sync::guarded::Guarded;
use crate::tier::device::{Device, Io, IoDone, IoKind};

/// What a device writes whole or not at all.
pub const SECTOR_BYTES: u64 = 512;

/// `EIO`: the device fails.
const EIO: i32 = 5;
/// `EINVAL`: no such range, or not aligned.
const EINVAL: i32 = 22;

/// A place for a request under way.
#[derive(Clone, Copy)]
pub struct SimRequest {
    io: Io,
    taken: bool,
    /// The call of `reap` from which on it may be done.
    ready: u64,
    /// Of those that may be done, the lowest is next.
    order: u64,
    /// Of a sync: how many writes were reported before it was submitted.
    writes_before: u64,
}

// SAFETY: I1, an address may go from one thread to the next with the request.
unsafe impl Send for SimRequest {}

impl SimRequest {
    /// A place that nobody has taken.
    pub const EMPTY: Self = Self {
        io: Io {
            token: 0,
            kind: IoKind::Sync,
            offset: 0,
            buffer: core::ptr::null_mut(),
            bytes: 0,
        },
        taken: false,
        ready: 0,
        order: 0,
        writes_before: 0,
    };
}

/// What a simulated device lies in.
pub struct SimMemory<'m> {
    /// What the device holds. Its length is the device's size.
    pub data: &'m mut [u8],
    /// For writes that were not synced: their bytes and 32 more for each.
    pub journal: &'m mut [u8],
    /// As many as the device's depth.
    pub requests: &'m mut [SimRequest],
}

/// How a simulated device behaves.
#[derive(Clone, Copy, Debug)]
pub struct SimOptions {
    /// Decides everything that is left open.
    pub seed: u64,
    /// See [`Device::alignment_bytes`].
    pub alignment_bytes: u64,
    /// Most calls of [`Device::reap`] that a request takes longer than until the next one.
    pub delay_reaps: u32,
    /// Whether requests that may be done are done in any order, not in that of their submission.
    pub reorder: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            alignment_bytes: 512,
            delay_reaps: 4,
            reorder: true,
        }
    }
}

/// A simulated device.
pub struct SimDisk<'m> {
    bytes: u64,
    alignment_bytes: u64,
    depth: u32,
    state: Guarded<State<'m>>,
}

struct State<'m> {
    data: &'m mut [u8],
    journal: Journal<'m>,
    requests: &'m mut [SimRequest],
    options: SimOptions,
    random: Random,
    /// Calls of `reap`.
    now: u64,
    /// Requests submitted.
    submitted: u64,
    /// Writes and syncs that may still be done before the power goes.
    power_left: Option<u64>,
    off: bool,
}

impl<'m> SimDisk<'m> {
    /// A device that holds what `memory.data` holds, all of it durable.
    pub fn new(memory: SimMemory<'m>, options: SimOptions) -> Self {
        memory.requests.fill(SimRequest::EMPTY);
        Self {
            bytes: memory.data.len() as u64,
            alignment_bytes: options.alignment_bytes,
            depth: memory.requests.len() as u32,
            state: Guarded::new(State {
                data: memory.data,
                journal: Journal::new(memory.journal),
                requests: memory.requests,
                options,
                random: Random::new(options.seed),
                now: 0,
                submitted: 0,
                power_left: None,
                off: false,
            }),
        }
    }

    /// Takes the power away and gives it back: `seed` decides what of the writes that were not synced is left. Requests
    /// under way are never reported.
    pub fn crash(&self, seed: u64) {
        if let Some(mut state) = self.state.take() {
            let mut random = Random::new(seed);
            if !state.off {
                state.end_requests(&mut random);
            }
            let State { data, journal, .. } = &mut *state;
            journal.rebuild(data, &mut random);
            state.requests.fill(SimRequest::EMPTY);
            state.off = false;
            state.power_left = None;
        }
    }

    /// Ends the process that drives the device, not the device: what was done stays, synced or not, and `seed` decides
    /// which of the writes under way are still done. Requests under way are never reported.
    pub fn kill(&self, seed: u64) {
        if let Some(mut state) = self.state.take() {
            let mut random = Random::new(seed);
            if !state.off {
                state.end_requests(&mut random);
            }
            state.requests.fill(SimRequest::EMPTY);
        }
    }

    /// Lets `count` more writes and syncs be done, and takes the power away when the next one would be: it and whatever
    /// comes later fails, until [`SimDisk::crash`] gives the power back.
    pub fn power_off_after(&self, count: u64) {
        if let Some(mut state) = self.state.take() {
            state.power_left = Some(count);
        }
    }

    /// Whether the power went as [`SimDisk::power_off_after`] had asked.
    pub fn is_off(&self) -> bool {
        self.state.take().is_some_and(|state| state.off)
    }

    /// How many writes are done and not yet synced.
    pub fn unsynced_count(&self) -> u64 {
        self.state.take().map_or(0, |state| state.journal.count())
    }

    /// Copies out what a read would find now, as far as there is something.
    pub fn peek(&self, offset: u64, bytes: &mut [u8]) {
        if let Some(state) = self.state.take() {
            let there = state.data.get(offset as usize..).unwrap_or_default();
            for (byte, &found) in bytes.iter_mut().zip(there) {
                *byte = found;
            }
        }
    }

    /// Changes what the medium holds, past all rules: damage. Durable at once.
    pub fn poke(&self, offset: u64, bytes: &[u8]) {
        if let Some(mut state) = self.state.take() {
            state.journal.keep_all();
            let there = state.data.get_mut(offset as usize..).unwrap_or_default();
            for (byte, &wanted) in there.iter_mut().zip(bytes) {
                *byte = wanted;
            }
        }
    }
}

impl State<'_> {
    /// Does those of the writes under way that the power, or the kernel, still carries through.
    fn end_requests(&mut self, random: &mut Random) {
        for index in 0..self.requests.len() {
            let Some(request) = self.requests.get_mut(index) else {
                return;
            };
            let carried = request.taken && request.io.kind == IoKind::Write && random.coin();
            request.taken = false;
            let io = request.io;
            if carried && self.range(&io).is_some() {
                self.write(&io);
            }
        }
    }

    /// The place of the request that is done next.
    fn next(&self) -> Option<usize> {
        let ready = self.requests.iter().enumerate();
        let ready = ready.filter(|(_, request)| request.taken && (self.off || request.ready <= self.now));
        ready.min_by_key(|(_, request)| request.order).map(|(index, _)| index)
    }

    /// The bytes of the device that the request is about, if there are such.
    fn range(&self, io: &Io) -> Option<core::ops::Range<usize>> {
        let start = usize::try_from(io.offset).ok()?;
        let end = start.checked_add(io.bytes as usize)?;
        let mask = self.options.alignment_bytes.wrapping_sub(1);
        let aligned = (io.offset | u64::from(io.bytes) | io.buffer as u64) & mask == 0;
        (aligned && end <= self.data.len()).then_some(start..end)
    }

    fn write(&mut self, io: &Io) {
        let Some(range) = self.range(io) else {
            return;
        };
        let start = range.start;
        if let Some(held) = self.data.get_mut(range) {
            self.journal.append(start as u64, held);
            // SAFETY: I1, and the two do not overlap: the device's memory is its own.
            unsafe { core::ptr::copy_nonoverlapping(io.buffer, held.as_mut_ptr(), held.len()) };
        }
    }

    fn perform(&mut self, request: &SimRequest) -> Result<u32, i32> {
        let io = &request.io;
        if self.off {
            return Err(EIO);
        }
        if io.kind != IoKind::Sync && self.range(io).is_none() {
            return Err(EINVAL);
        }
        if io.kind != IoKind::Read
            && let Some(left) = &mut self.power_left
        {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => {
                    self.power_off(request);
                    return Err(EIO);
                }
            }
        }
        match io.kind {
            IoKind::Read => {
                let held = self
                    .range(io)
                    .and_then(|range| self.data.get(range))
                    .unwrap_or_default();
                // SAFETY: I1, as in `write`.
                unsafe { core::ptr::copy_nonoverlapping(held.as_ptr(), io.buffer, held.len()) };
            }
            IoKind::Write => self.write(io),
            IoKind::Sync => {
                self.journal.keep_until(request.writes_before);
                return Ok(0);
            }
        }
        Ok(io.bytes)
    }

    /// The power goes while `last` and the other requests are under way.
    fn power_off(&mut self, last: &SimRequest) {
        if last.io.kind == IoKind::Write && self.random.coin() {
            self.write(&last.io);
        }
        let others = self.requests.len();
        for index in 0..others {
            let Some(request) = self.requests.get(index) else {
                break;
            };
            // They stay, to be reported as failed.
            let io = request.io;
            if request.taken && io.kind == IoKind::Write && self.random.coin() {
                self.write(&io);
            }
        }
        self.off = true;
    }
}

impl Device for SimDisk<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn alignment_bytes(&self) -> u64 {
        self.alignment_bytes
    }

    fn depth(&self) -> u32 {
        self.depth
    }

    fn name(&self) -> &'static str {
        "simulated"
    }

    unsafe fn submit(&self, io: &Io) -> bool {
        let Some(mut state) = self.state.take() else {
            return false;
        };
        let state = &mut *state;
        let Some(request) = state.requests.get_mut(io.token as usize) else {
            return false;
        };
        if request.taken {
            return false;
        }
        let delay = state.random.below(u64::from(state.options.delay_reaps) + 1);
        let drawn = state.random.next();
        *request = SimRequest {
            io: *io,
            taken: true,
            ready: state.now + 1 + delay,
            order: if state.options.reorder { drawn } else { state.submitted },
            writes_before: state.journal.written(),
        };
        state.submitted += 1;
        true
    }

    fn reap(&self, done: &mut [IoDone]) -> usize {
        let Some(mut state) = self.state.take() else {
            return 0;
        };
        state.now += 1;
        let mut count = 0;
        while let Some(place) = done.get_mut(count)
            && let Some(index) = state.next()
            && let Some(request) = state.requests.get_mut(index)
        {
            request.taken = false;
            let request = *request;
            *place = IoDone {
                token: request.io.token,
                result: state.perform(&request),
            };
            count += 1;
        }
        count
    }

    fn wait(&self, _timeout_ns: u64) {}
}
