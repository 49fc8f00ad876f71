//! Lanes: one producer's private submissions and completions.
//!
//! A lane has tickets. Submitting fills a free ticket and pushes its place into the submission ring; whoever drives the
//! engine (a tick, a worker, or the owner while it reaps) takes places out of it, does the work, and pushes them into
//! the completion ring. Each ring has one producer and one consumer at a time: the owner's end is guarded by the lane's
//! `busy` turn (a second thread is told `Busy`, nothing breaks), the driver's end by its `drive` turn.
//!
//! **Progress.** Submitting, reaping and cancelling are wait-free. Driving one lane is exclusive: a driver that stops
//! in the middle holds up that lane and no other.
//!
//! # Soundness
//! - **I1** `submit` is unsafe: its caller keeps the keys and the buffer of each operation valid and unshared until the
//!   operation completes. The driver dereferences them only between taking a queued ticket and completing it.
#![allow(unsafe_code)]

use super::lower::{Asked, FlushState};
use super::{Engine, RawView};
use crate::arena::Arena;
use crate::block::PutInfo;
use crate::budget::Part;
use crate::config::Config;
use crate::copy::Temperature;
use crate::error::Status;
use crate::key::Key;
use crate::metrics::Counter;
use crate::sync::atomic::AtomicU32;
use crate::sync::free_list::FreeList;
use crate::sync::ring::Ring;
use crate::sync::turn::TurnGuard;

mod slots;

use slots::{Lane, word};
pub(crate) use slots::{LaneSpace, Ticket};

/// Operations that one drive takes from a lane before it looks at the next lane.
const DRIVE_BATCH: u64 = 64;

/// A lane that is or was open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LaneRef {
    /// Place in the lane table.
    pub index: u32,
    /// How often the place was used.
    pub generation: u32,
}

/// A submitted operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TicketRef {
    /// Place among the lane's tickets.
    pub index: u32,
    /// How often the place was used.
    pub generation: u32,
}

/// What a submitted operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Opcode {
    /// Longest resident prefix of `keys`; its length is the result.
    Match = 1,
    /// Copies blocks out: block `i` of `keys` to `data + i * bytes`. Stops at the first that fails; the result is how
    /// many were copied, for a single key the block's length.
    Get = 2,
    /// Copies blocks in: block `i` from `data + i * bytes`, as a chain. Blocks that exist are passed over; the result
    /// is how many were stored.
    Put = 3,
    /// Removes `keys`; the result is how many there were.
    Remove = 4,
    /// Notes a use of `keys`; the result is how many are resident.
    Touch = 5,
    /// Acquires the longest resident prefix of `keys` into the array of views at `data`; the result is its length.
    Acquire = 6,
    /// Begins to copy `keys` up; the result is how many of them were below memory.
    Prefetch = 7,
    /// Makes everything durable that was committed before; the result is how many blocks were written.
    Flush = 8,
}

impl Opcode {
    /// The operation of a number from outside.
    pub fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Match),
            2 => Some(Self::Get),
            3 => Some(Self::Put),
            4 => Some(Self::Remove),
            5 => Some(Self::Touch),
            6 => Some(Self::Acquire),
            7 => Some(Self::Prefetch),
            8 => Some(Self::Flush),
            _ => None,
        }
    }
}

/// One operation to submit.
#[derive(Clone, Copy, Debug)]
pub struct Submission {
    /// What to do.
    pub opcode: Opcode,
    /// Handed back with the completion.
    pub user_data: u64,
    /// The first key.
    pub keys: *const Key,
    /// How many keys.
    pub keys_count: u64,
    /// The buffer, see [`Opcode`]; null where none is used.
    pub data: *mut u8,
    /// Bytes of one block at `data`; for [`Opcode::Acquire`] how many views there is room for.
    pub bytes: u64,
    /// What a put says about its first block.
    pub info: PutInfo,
    /// Whether a match counts as a use.
    pub touch: bool,
    /// How a get copies.
    pub temperature: Temperature,
}

/// What became of a submitted operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Completion {
    /// As submitted.
    pub user_data: u64,
    /// The operation.
    pub ticket: TicketRef,
    /// A [`Status`] as a number.
    pub status: i32,
    /// An [`Opcode`] as a number.
    pub opcode: u32,
    /// See [`Opcode`].
    pub result: u64,
}

/// The lane table over borrowed words.
pub(crate) struct Lanes<'m> {
    heads: &'m [LaneSpace],
    rings: &'m [AtomicU32],
    tickets: &'m [Ticket],
    depth: usize,
}

/// An open lane while its owner is inside a call.
struct Owned<'m> {
    lane: Lane<'m>,
    _busy: TurnGuard<'m>,
}

impl<'m> Lanes<'m> {
    pub(crate) fn new(config: &Config, arena: &Arena<'m>) -> Self {
        Self {
            heads: &arena.slice(Part::Lanes)[..config.lanes_count as usize],
            rings: arena.slice(Part::LaneRings),
            tickets: arena.slice(Part::Tickets),
            depth: config.lane_depth as usize,
        }
    }

    fn lane(&self, index: u32) -> Option<Lane<'m>> {
        let head = &self.heads.get(index as usize)?.head;
        let (depth, at) = (self.depth, index as usize);
        let rings = &self.rings[at * 4 * depth..][..4 * depth];
        Some(Lane {
            head,
            submitted: Ring::new(&head.submitted, &rings[..depth]),
            completed: Ring::new(&head.completed, &rings[depth..2 * depth]),
            waiting: Ring::new(&head.waiting, &rings[2 * depth..3 * depth]),
            free: FreeList::new(&head.tickets_free, &rings[3 * depth..]),
            tickets: &self.tickets[at * depth..][..depth],
        })
    }

    fn owned(&self, reference: LaneRef) -> Result<Owned<'m>, Status> {
        let lane = self.lane(reference.index).ok_or(Status::Stale)?;
        // Before the turn is taken too: an old reference must not disturb the lane's present owner.
        if lane.state() != (reference.generation, true) {
            return Err(Status::Stale);
        }
        let busy = lane.head.busy.take().ok_or(Status::Busy)?;
        if lane.state() != (reference.generation, true) {
            return Err(Status::Stale);
        }
        Ok(Owned { lane, _busy: busy })
    }

    /// Lanes open at present.
    pub(crate) fn open_count(&self) -> u64 {
        (0..self.heads.len() as u32)
            .filter_map(|index| self.lane(index))
            .map(|lane| u64::from(lane.state().1))
            .sum()
    }
}

impl Engine<'_> {
    /// Opens a lane.
    ///
    /// # Errors
    /// [`Status::Again`] if as many are open as the configuration has; [`Status::Shutdown`].
    pub fn lane_open(&self) -> Result<LaneRef, Status> {
        self.check_open()?;
        for index in 0..self.lanes.heads.len() as u32 {
            let Some(lane) = self.lanes.lane(index) else { break };
            let (generation, open) = lane.state();
            let next = (generation + 1) & (u32::MAX >> 1);
            // Without the lane's turn: taking it, however shortly, would make a call of the lane's next owner `Busy`.
            if !open && lane.open_as(generation, next) {
                return Ok(LaneRef {
                    index,
                    generation: next,
                });
            }
        }
        Err(Status::Again)
    }

    /// Closes a lane whose operations are all completed and reaped.
    ///
    /// # Errors
    /// [`Status::Busy`] if operations are left or another thread is on the lane; [`Status::Stale`].
    pub fn lane_close(&self, lane: LaneRef) -> Result<(), Status> {
        let owned = self.lanes.owned(lane)?;
        owned.lane.pass_over_taken();
        if !owned.lane.is_unused() {
            return Err(Status::Busy);
        }
        // First a generation that nobody has a reference to, so that no call gets in any more; then the turn is given
        // back; then the lane is closed, so that whoever opens it next finds its turn free.
        let next = (lane.generation + 1) & (u32::MAX >> 1);
        let Owned { lane, _busy: busy } = owned;
        lane.set_state(next, true);
        drop(busy);
        lane.set_state(next, false);
        Ok(())
    }

    /// Whether `lane` is open.
    ///
    /// # Errors
    /// [`Status::Stale`] if it is not.
    pub fn lane_check(&self, lane: LaneRef) -> Result<(), Status> {
        match self.lanes.lane(lane.index) {
            Some(found) if found.state() == (lane.generation, true) => Ok(()),
            _ => Err(Status::Stale),
        }
    }

    /// Queues operations on a lane and returns how many were taken, in order; the rest found no free ticket.
    /// `tickets[i]` becomes the ticket of operation `i`.
    ///
    /// # Errors
    /// [`Status::Again`] if not even one could be taken; [`Status::Busy`] if another thread is on the lane;
    /// [`Status::Stale`] if the lane is not open; [`Status::Shutdown`].
    ///
    /// # Safety
    /// The keys and the buffer of each operation taken must stay valid, and the buffer unused by anybody else, until
    /// its completion is reaped. Buffers lie outside the engine's memory.
    pub unsafe fn submit(
        &self,
        lane: LaneRef,
        operations: &[Submission],
        mut tickets: Option<&mut [TicketRef]>,
    ) -> Result<u64, Status> {
        self.check_open()?;
        let owned = self.lanes.owned(lane)?;
        let lane = &owned.lane;
        let mut taken = 0;
        for operation in operations {
            let Some(ticket) = lane.submit(operation) else { break };
            if let Some(place) = tickets.as_deref_mut().and_then(|tickets| tickets.get_mut(taken)) {
                *place = ticket;
            }
            taken += 1;
        }
        self.counters
            .add(self.stripe(), Counter::OperationsSubmitted, taken as u64);
        if taken == 0 && !operations.is_empty() {
            return Err(Status::Again);
        }
        Ok(taken as u64)
    }

    /// Takes completions, oldest first, and returns how many. In tick mode it first does what the lane has queued.
    ///
    /// # Errors
    /// [`Status::Busy`] if another thread is on the lane; [`Status::Stale`] if the lane is not open.
    pub fn reap(&self, lane: LaneRef, done: &mut [Completion]) -> Result<u64, Status> {
        let owned = self.lanes.owned(lane)?;
        self.drive_own(lane.index);
        let mut count = 0;
        for slot in done {
            let Some(completion) = owned.lane.next_completion() else {
                break;
            };
            *slot = completion;
            count += 1;
        }
        Ok(count)
    }

    /// Takes the completion of one operation, ahead of its turn if need be. In tick mode it first does what the lane
    /// has queued.
    ///
    /// # Errors
    /// [`Status::Pending`] if it is not done; [`Status::Stale`] if its completion was taken before;
    /// [`Status::Busy`] if another thread is on the lane.
    pub fn poll(&self, lane: LaneRef, ticket: TicketRef) -> Result<Completion, Status> {
        let owned = self.lanes.owned(lane)?;
        self.drive_own(lane.index);
        owned.lane.poll(ticket)
    }

    /// Calls an operation back that has not begun, or that waits for a file tier. Its completion says
    /// [`Status::Cancelled`].
    ///
    /// # Errors
    /// [`Status::Pending`] if it is under way or done already, and its completion still to be reaped;
    /// [`Status::Stale`] if it was reaped; [`Status::Busy`] if another thread is on the lane.
    pub fn cancel(&self, lane: LaneRef, ticket: TicketRef) -> Result<(), Status> {
        let owned = self.lanes.owned(lane)?;
        owned.lane.cancel(ticket)?;
        self.counters.add(self.stripe(), Counter::OperationsCancelled, 1);
        Ok(())
    }

    /// In tick mode the caller drives: there is nobody else to do what its lane has queued.
    fn drive_own(&self, index: u32) {
        if self.config.workers_count == 0 {
            while self.drive_lane(index) != 0 {}
            if self.lanes.lane(index).is_some_and(|lane| !lane.waiting.is_empty()) {
                self.pump();
                while self.drive_lane(index) != 0 {}
            }
        }
    }

    /// Whether a lane has completions to be reaped. Any thread may ask; the answer may be old.
    #[cfg(feature = "std")]
    pub(crate) fn lane_has_completions(&self, index: u32) -> bool {
        self.lanes.lane(index).is_some_and(|lane| !lane.completed.is_empty())
    }

    /// Whether any lane has operations that nobody has begun.
    pub fn lanes_waiting(&self) -> bool {
        (0..self.lanes.heads.len() as u32)
            .filter_map(|index| self.lanes.lane(index))
            .any(|lane| !lane.submitted.is_empty())
    }

    /// Does what the lanes have queued, a batch of each; `notify` hears of every lane that got completions.
    pub(super) fn drive_lanes(&self, mut notify: impl FnMut(u32)) -> u64 {
        let mut all = 0;
        for index in 0..self.lanes.heads.len() as u32 {
            let done = self.drive_lane(index);
            if done != 0 {
                notify(index);
            }
            all += done;
        }
        all
    }

    fn drive_lane(&self, index: u32) -> u64 {
        let Some(lane) = self.lanes.lane(index) else { return 0 };
        if lane.submitted.is_empty() && lane.waiting.is_empty() {
            return 0;
        }
        let Some(_drive) = lane.head.drive.take() else { return 0 };
        let stripe = self.stripe();
        let mut done = 0;
        for _ in 0..lane.waiting.len() {
            done += u64::from(lane.drive_waiting(
                // SAFETY: I1, the ticket was queued by `submit` and is not completed yet.
                |ticket| unsafe { self.execute(ticket) },
                || self.counters.add(stripe, Counter::OperationsCompleted, 1),
            ));
        }
        while done < DRIVE_BATCH
            && lane.drive_one(
                // SAFETY: I1, the ticket was queued by `submit` and is not completed yet.
                |ticket| unsafe { self.execute(ticket) },
                || self.counters.add(stripe, Counter::OperationsCompleted, 1),
            )
        {
            done += 1;
        }
        done
    }

    /// Does one operation; `None` if it has to wait for a file tier.
    ///
    /// # Safety
    /// I1: the ticket's keys and buffer are valid.
    unsafe fn execute(&self, ticket: &Ticket) -> Option<(Status, u64)> {
        let keys_count = ticket.get(word::KEYS_COUNT) as usize;
        let keys: &[Key] = match keys_count {
            0 => &[],
            // SAFETY: I1.
            _ => unsafe { core::slice::from_raw_parts(ticket.get(word::KEYS) as usize as *const Key, keys_count) },
        };
        let data = ticket.get(word::DATA) as usize as *mut u8;
        let bytes = ticket.get(word::BYTES);
        Some(match Opcode::from_code(ticket.get(word::OPCODE) as u32) {
            Some(Opcode::Match) => (Status::Ok, self.match_prefix(keys, ticket.get(word::TOUCH) != 0)),
            Some(Opcode::Remove) => (Status::Ok, self.remove(keys)),
            Some(Opcode::Touch) => (Status::Ok, self.touch(keys)),
            // SAFETY: I1.
            Some(Opcode::Get) => return unsafe { self.execute_get(ticket, keys, data, bytes) },
            // SAFETY: I1.
            Some(Opcode::Put) => unsafe { self.execute_put(keys, data, bytes, ticket.info()) },
            Some(Opcode::Acquire) => {
                let room = (bytes as usize).min(keys_count);
                if room == 0 {
                    return Some((Status::Ok, 0));
                }
                // SAFETY: I1; the views are plain values that the caller's memory holds.
                let views = unsafe { core::slice::from_raw_parts_mut(data.cast::<RawView>(), room) };
                return self.execute_acquire(ticket, &keys[..room], views);
            }
            Some(Opcode::Prefetch) => (Status::Ok, self.prefetch(keys)),
            Some(Opcode::Flush) => return self.execute_flush(ticket),
            None => (Status::Unsupported, 0),
        })
    }

    /// # Safety
    /// I1.
    unsafe fn execute_get(&self, ticket: &Ticket, keys: &[Key], data: *mut u8, bytes: u64) -> Option<(Status, u64)> {
        let temperature = ticket.temperature();
        let mut copied = ticket.get(word::PROGRESS);
        self.ask_ahead(keys, copied as usize);
        for key in keys.get(copied as usize..).unwrap_or_default() {
            if !self.ready_now(key) {
                ticket.put(word::PROGRESS, copied);
                return None;
            }
            // SAFETY: I1, block `i` of the buffer.
            let got = unsafe {
                let target = data.add(copied as usize * bytes as usize);
                self.get_raw(key, target, bytes, temperature)
            };
            match got {
                Ok(length) if keys.len() == 1 => return Some((Status::Ok, length)),
                Ok(_) => copied += 1,
                Err(status) => return Some((status, copied)),
            }
        }
        Some((Status::Ok, copied))
    }

    /// Asks for the blocks below that come next, so that their reads overlap.
    fn ask_ahead(&self, keys: &[Key], from: usize) {
        if self.lower.is_none() {
            return;
        }
        for key in keys.iter().skip(from).take(self.ahead()) {
            if self.ask(key, None).is_err() {
                break;
            }
        }
    }

    /// Whether a block can be copied or held without waiting. Not where it is on its way, or has no room yet and
    /// something is under way that makes some. A miss is found out by whoever is asked for the block.
    fn ready_now(&self, key: &Key) -> bool {
        self.lower.is_none()
            || match self.ask(key, None) {
                Ok(Asked::Raising) => false,
                Err(Status::Again) => !self.io_under_way(),
                _ => true,
            }
    }

    fn execute_acquire(&self, ticket: &Ticket, keys: &[Key], views: &mut [RawView]) -> Option<(Status, u64)> {
        let mut acquired = ticket.get(word::PROGRESS) as usize;
        if self.lower.is_none() {
            acquired = self.acquire_prefix_raw(keys, views) as usize;
        } else {
            self.ask_ahead(keys, acquired);
            for (key, view) in keys.iter().zip(views).skip(acquired) {
                if !self.ready_now(key) {
                    ticket.put(word::PROGRESS, acquired as u64);
                    return None;
                }
                let Ok(raw) = self.acquire_raw(key) else { break };
                *view = raw;
                acquired += 1;
            }
        }
        let status = if acquired == 0 { Status::Miss } else { Status::Ok };
        Some((status, acquired as u64))
    }

    fn execute_flush(&self, ticket: &Ticket) -> Option<(Status, u64)> {
        let word = |at: usize| ticket.get(word::PROGRESS + at);
        let mut state = FlushState {
            cursor: word(0) as u32,
            written: (word(0) >> 32) as u32,
            begun: word(1) as u32,
            drains_count: word(5) as u32,
            refusal: (word(1) >> 32) as i32,
            numbers: [word(2), word(3)],
            retiring: [word(4) as u32, (word(4) >> 32) as u32],
        };
        match self.flush_step(&mut state) {
            Some(Ok(written)) => Some((Status::Ok, written)),
            Some(Err(status)) => Some((status, u64::from(state.written))),
            None => {
                let words = [
                    u64::from(state.written) << 32 | u64::from(state.cursor),
                    (state.refusal as u32 as u64) << 32 | u64::from(state.begun),
                    state.numbers[0],
                    state.numbers[1],
                    u64::from(state.retiring[1]) << 32 | u64::from(state.retiring[0]),
                    u64::from(state.drains_count),
                ];
                for (at, value) in words.into_iter().enumerate() {
                    ticket.put(word::PROGRESS + at, value);
                }
                None
            }
        }
    }

    /// # Safety
    /// I1.
    unsafe fn execute_put(&self, keys: &[Key], data: *mut u8, bytes: u64, mut info: PutInfo) -> (Status, u64) {
        let mut stored = 0;
        for (at, key) in keys.iter().enumerate() {
            // SAFETY: I1, block `at` of the buffer; it is only read.
            let source = unsafe { core::slice::from_raw_parts(data.add(at * bytes as usize), bytes as usize) };
            match self.put(key, source, &info) {
                Ok(_) => stored += 1,
                Err(Status::Exists) if keys.len() > 1 => {}
                Err(status) => return (status, stored),
            }
            info.parent = Some(*key);
            info.chain_index += 1;
        }
        (Status::Ok, stored)
    }
}
