//! Tickets and the rings that they go through: what a lane's owner and its driver do at the two ends.
//!
//! ```text
//!           submit            drive_one            drive_one         next_completion
//!   Free ───────────▶ Queued ───────────▶ Running ───────────▶ Done ────────────────▶ Free (next generation)
//!                        │                                     ▲  │                    ▲
//!                        │ cancel                              │  │ poll               │ next_completion,
//!                        └──────────▶ Cancelled ───────────────┘  └──────▶ Taken ──────┘ pass_over_taken
//! ```
//! An operation that has to wait for a file tier goes round: Running ─▶ Waiting ─▶ Running, until it is done; while it
//! waits it can be cancelled like one that is queued, and its place is in the waiting ring, which is the driver's
//! alone.
//!
//! A ticket's place is in the submission ring while it is queued or cancelled, and in the completion ring from just
//! before it is done until it is freed. Only cancelling meets the driver at the same step, and there the exchange
//! decides.

use crossbeam_utils::CachePadded;

use super::{Completion, Submission, TicketRef};
use crate::block::PutInfo;
use crate::budget;
use crate::copy::Temperature;
use crate::error::Status;
use crate::key::Key;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::free_list::{FreeList, FreeListHead};
use crate::sync::ring::{Ring, RingEnds};
use crate::sync::turn::Turn;

#[cfg(all(test, loom))]
mod model;

/// A lane's shared words; all-zero is a closed lane that never had a ticket.
#[repr(C)]
pub(crate) struct LaneHead {
    /// `generation << 1 | open`.
    state: CachePadded<AtomicU32>,
    pub(super) busy: CachePadded<Turn>,
    pub(super) drive: CachePadded<Turn>,
    pub(super) submitted: RingEnds,
    pub(super) completed: RingEnds,
    pub(super) waiting: RingEnds,
    pub(super) tickets_free: CachePadded<FreeListHead>,
}

/// One ticket; all-zero is free.
#[repr(C)]
pub(crate) struct Ticket {
    /// `generation << 32 | phase`.
    state: AtomicU64,
    words: [AtomicU64; 31],
}

#[cfg(not(loom))]
static_assertions::const_assert!(size_of::<LaneHead>() as u64 <= budget::LANE_BYTES);
#[cfg(not(loom))]
static_assertions::const_assert!(budget::LANE_BYTES.is_multiple_of(align_of::<LaneHead>() as u64));
#[cfg(not(loom))]
static_assertions::const_assert!(size_of::<Ticket>() as u64 == budget::TICKET_BYTES);

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Phase {
    Free = 0,
    Queued = 1,
    Running = 2,
    Cancelled = 3,
    Done = 4,
    /// Done, and its completion was handed out ahead of its turn.
    Taken = 5,
    /// Begun, and waiting for a file tier.
    Waiting = 6,
}

/// Places of the fields in a ticket's words.
pub(super) mod word {
    pub(in crate::engine::lane) const OPCODE: usize = 0;
    pub(in crate::engine::lane) const USER_DATA: usize = 1;
    pub(in crate::engine::lane) const KEYS: usize = 2;
    pub(in crate::engine::lane) const KEYS_COUNT: usize = 3;
    pub(in crate::engine::lane) const DATA: usize = 4;
    pub(in crate::engine::lane) const BYTES: usize = 5;
    pub(in crate::engine::lane) const STATUS: usize = 6;
    pub(in crate::engine::lane) const RESULT: usize = 7;
    pub(in crate::engine::lane) const INFO: usize = 8;
    pub(in crate::engine::lane) const PARENT: usize = 16;
    pub(in crate::engine::lane) const TOUCH: usize = 20;
    pub(in crate::engine::lane) const TEMPERATURE: usize = 21;
    /// What an operation that waits has done so far: six words, zero at first.
    pub(in crate::engine::lane) const PROGRESS: usize = 22;
}

impl Ticket {
    const fn pack(generation: u32, phase: Phase) -> u64 {
        (generation as u64) << 32 | phase as u64
    }

    fn state(&self) -> u64 {
        // Acquire: partner is the release in `set` and `step`.
        self.state.load(Ordering::Acquire)
    }

    fn set(&self, generation: u32, phase: Phase) {
        // Release: partner is the acquire in `state`; hands the words over with it.
        self.state.store(Self::pack(generation, phase), Ordering::Release);
    }

    fn step(&self, generation: u32, from: Phase, to: Phase) -> bool {
        // AcqRel: as `state` and `set`. Relaxed on failure: nothing is read.
        self.state
            .compare_exchange(
                Self::pack(generation, from),
                Self::pack(generation, to),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    // The words are handed over by the state and the rings, so relaxed is enough.
    pub(super) fn get(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }

    pub(super) fn put(&self, at: usize, value: u64) {
        self.words[at].store(value, Ordering::Relaxed);
    }

    fn write(&self, submission: &Submission) {
        let info = &submission.info;
        (0..6).for_each(|at| self.put(word::PROGRESS + at, 0));
        self.put(word::OPCODE, submission.opcode as u64);
        self.put(word::TOUCH, u64::from(submission.touch));
        self.put(word::TEMPERATURE, submission.temperature as u64);
        self.put(word::USER_DATA, submission.user_data);
        self.put(word::KEYS, submission.keys as usize as u64);
        self.put(word::KEYS_COUNT, submission.keys_count);
        self.put(word::DATA, submission.data as usize as u64);
        self.put(word::BYTES, submission.bytes);
        let facts = [
            info.chain_index,
            info.tokens_count,
            info.recompute_cost_us,
            info.conversation_id,
            info.namespace_id,
            u64::from(info.importance) << 32
                | u64::from(info.geometry_id) << 16
                | u64::from(info.protected) << 8
                | u64::from(info.priority),
            info.expiry_ms,
            u64::from(info.parent.is_some()),
        ];
        for (at, fact) in facts.into_iter().enumerate() {
            self.put(word::INFO + at, fact);
        }
        if let Some(parent) = info.parent {
            for (at, value) in parent.words().into_iter().enumerate() {
                self.put(word::PARENT + at, value);
            }
        }
    }

    pub(super) fn info(&self) -> PutInfo {
        let flags = self.get(word::INFO + 5);
        let parent = Key::from_words(core::array::from_fn(|at| self.get(word::PARENT + at)));
        PutInfo {
            parent: (self.get(word::INFO + 7) != 0).then_some(parent),
            chain_index: self.get(word::INFO),
            tokens_count: self.get(word::INFO + 1),
            recompute_cost_us: self.get(word::INFO + 2),
            conversation_id: self.get(word::INFO + 3),
            namespace_id: self.get(word::INFO + 4),
            priority: flags as u8,
            protected: flags >> 8 & 1 != 0,
            geometry_id: (flags >> 16) as u8,
            importance: (flags >> 32) as u32,
            expiry_ms: self.get(word::INFO + 6),
        }
    }

    pub(super) fn temperature(&self) -> Temperature {
        [Temperature::Auto, Temperature::Hot, Temperature::Cold]
            .into_iter()
            .find(|&temperature| temperature as u64 == self.get(word::TEMPERATURE))
            .unwrap_or_default()
    }

    fn completion(&self, index: u32, generation: u32) -> Completion {
        Completion {
            user_data: self.get(word::USER_DATA),
            ticket: TicketRef { index, generation },
            status: self.get(word::STATUS) as i32,
            opcode: self.get(word::OPCODE) as u32,
            result: self.get(word::RESULT),
        }
    }
}

/// The space of one lane head in the arena: [`budget::LANE_BYTES`].
#[repr(C)]
pub(crate) struct LaneSpace {
    pub(super) head: LaneHead,
    _rest: [AtomicU64; (budget::LANE_BYTES as usize - size_of::<LaneHead>()) / 8],
}

/// One lane's parts, and what its two ends do with them.
pub(super) struct Lane<'m> {
    pub(super) head: &'m LaneHead,
    pub(super) submitted: Ring<'m>,
    pub(super) completed: Ring<'m>,
    pub(super) waiting: Ring<'m>,
    pub(super) free: FreeList<'m>,
    pub(super) tickets: &'m [Ticket],
}

impl Lane<'_> {
    /// Generation, and whether it is open.
    pub(super) fn state(&self) -> (u32, bool) {
        // Acquire: partner is the release in `set_state`.
        let state = self.head.state.load(Ordering::Acquire);
        (state >> 1, state & 1 != 0)
    }

    /// Opens the lane if it is still closed as it was seen.
    pub(super) fn open_as(&self, generation: u32, next: u32) -> bool {
        // AcqRel: partner is the release in `set_state`; what the last owner did is over. Relaxed on failure: nothing
        // is read.
        self.head
            .state
            .compare_exchange(generation << 1, next << 1 | 1, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Only with the lane's `busy` turn, or while no reference to the lane is valid.
    pub(super) fn set_state(&self, generation: u32, open: bool) {
        // Release: partner is the acquire in `state`.
        self.head
            .state
            .store(generation << 1 | u32::from(open), Ordering::Release);
    }

    fn ticket(&self, reference: TicketRef) -> Result<&Ticket, Status> {
        self.tickets.get(reference.index as usize).ok_or(Status::Stale)
    }

    /// Takes the next completion out of the ring, passing over those handed out before.
    pub(super) fn next_completion(&self) -> Option<Completion> {
        while let Some(index) = self.completed.peek() {
            let ticket = &self.tickets[index as usize];
            let state = ticket.state();
            let generation = (state >> 32) as u32;
            let taken = state == Ticket::pack(generation, Phase::Taken);
            if !taken && state != Ticket::pack(generation, Phase::Done) {
                // In the ring a moment before it is done.
                return None;
            }
            self.completed.pop();
            let completion = ticket.completion(index, generation);
            ticket.set(generation, Phase::Free);
            self.free.push(index);
            if !taken {
                return Some(completion);
            }
        }
        None
    }

    /// Frees the tickets at the front of the ring whose completions were handed out before.
    pub(super) fn pass_over_taken(&self) {
        while let Some(index) = self.completed.peek() {
            let ticket = &self.tickets[index as usize];
            let generation = (ticket.state() >> 32) as u32;
            if ticket.state() != Ticket::pack(generation, Phase::Taken) {
                return;
            }
            self.completed.pop();
            ticket.set(generation, Phase::Free);
            self.free.push(index);
        }
    }

    /// Fills a free ticket and queues it; `None` if there is none. The owner's.
    pub(super) fn submit(&self, operation: &Submission) -> Option<TicketRef> {
        let index = self.free.pop()?;
        let ticket = &self.tickets[index as usize];
        // Counted up here and not when the ticket is freed, so that no ticket is a pair of zeros.
        let generation = ((ticket.state() >> 32) as u32).wrapping_add(1);
        ticket.write(operation);
        ticket.set(generation, Phase::Queued);
        // The ring has room for every ticket of the lane.
        let pushed = self.submitted.push(index);
        debug_assert!(pushed);
        Some(TicketRef { index, generation })
    }

    /// Has the oldest queued operation done by `execute`, unless it was cancelled; false if there is none. Where
    /// `execute` answers nothing the operation waits. `count` is
    /// called before the completion can be seen, so that whoever reaps it finds it counted. The driver's.
    pub(super) fn drive_one(
        &self,
        execute: impl FnOnce(&Ticket) -> Option<(Status, u64)>,
        count: impl FnOnce(),
    ) -> bool {
        let Some(place) = self.submitted.pop() else {
            return false;
        };
        self.run(place, Phase::Queued, execute, count);
        true
    }

    /// Has the operation done that has been waiting longest, if it can be done now, else it waits on. True if it is
    /// complete. To be called as often as there are operations waiting. The driver's.
    pub(super) fn drive_waiting(
        &self,
        execute: impl FnOnce(&Ticket) -> Option<(Status, u64)>,
        count: impl FnOnce(),
    ) -> bool {
        let place = self.waiting.pop();
        place.is_some_and(|place| self.run(place, Phase::Waiting, execute, count))
    }

    fn run(
        &self,
        place: u32,
        from: Phase,
        execute: impl FnOnce(&Ticket) -> Option<(Status, u64)>,
        count: impl FnOnce(),
    ) -> bool {
        let ticket = &self.tickets[place as usize];
        let generation = (ticket.state() >> 32) as u32;
        let outcome = if ticket.step(generation, from, Phase::Running) {
            execute(ticket)
        } else {
            Some((Status::Cancelled, 0))
        };
        let Some((status, result)) = outcome else {
            // In the ring before it waits: who cancels it then finds it there again.
            let pushed = self.waiting.push(place);
            debug_assert!(pushed);
            ticket.set(generation, Phase::Waiting);
            return false;
        };
        ticket.put(word::STATUS, status.code() as u64);
        ticket.put(word::RESULT, result);
        count();
        // In the ring before it is done, so that whoever polls it can take it out of the ring, too.
        let pushed = self.completed.push(place);
        debug_assert!(pushed);
        ticket.set(generation, Phase::Done);
        true
    }

    /// Takes the completion of one operation ahead of its turn. The owner's.
    pub(super) fn poll(&self, reference: TicketRef) -> Result<Completion, Status> {
        let ticket = self.ticket(reference)?;
        let state = ticket.state();
        if (state >> 32) as u32 != reference.generation {
            return Err(Status::Stale);
        }
        if state as u32 != Phase::Done as u32 {
            let gone = state as u32 == Phase::Taken as u32 || state as u32 == Phase::Free as u32;
            return Err(if gone { Status::Stale } else { Status::Pending });
        }
        let completion = ticket.completion(reference.index, reference.generation);
        ticket.set(reference.generation, Phase::Taken);
        self.pass_over_taken();
        Ok(completion)
    }

    /// Calls an operation back that has not begun, or that waits. The owner's.
    pub(super) fn cancel(&self, reference: TicketRef) -> Result<(), Status> {
        let ticket = self.ticket(reference)?;
        if [Phase::Queued, Phase::Waiting]
            .into_iter()
            .any(|from| ticket.step(reference.generation, from, Phase::Cancelled))
        {
            return Ok(());
        }
        let state = ticket.state();
        let alive = (state >> 32) as u32 == reference.generation
            && state as u32 != Phase::Taken as u32
            && state as u32 != Phase::Free as u32;
        Err(if alive { Status::Pending } else { Status::Stale })
    }

    /// Whether no ticket is in use. The owner's.
    pub(super) fn is_unused(&self) -> bool {
        let mut tickets = self.tickets.iter();
        tickets.all(|ticket| ticket.state() as u32 == Phase::Free as u32)
    }
}
