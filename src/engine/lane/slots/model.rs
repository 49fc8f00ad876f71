//! Tickets under loom: an owner at one end, a driver at the other.

use super::*;
use crate::engine::Opcode;
use loom::sync::Arc;
use loom::thread;
use std::vec::Vec;

const DEPTH: usize = 2;

struct Shared {
    head: LaneHead,
    rings: Vec<AtomicU32>,
    tickets: Vec<Ticket>,
    /// By `user_data`: how often the operation was done.
    done: Vec<AtomicU32>,
}

impl Shared {
    fn new() -> Arc<Self> {
        let words = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self {
            head: LaneHead {
                state: CachePadded::new(AtomicU32::new(0)),
                busy: CachePadded::new(Turn::new()),
                drive: CachePadded::new(Turn::new()),
                submitted: RingEnds::new(),
                completed: RingEnds::new(),
                tickets_free: CachePadded::new(FreeListHead::new()),
            },
            rings: words(3 * DEPTH),
            tickets: (0..DEPTH)
                .map(|_| Ticket {
                    state: AtomicU64::new(0),
                    words: core::array::from_fn(|_| AtomicU64::new(0)),
                })
                .collect(),
            done: words(2),
        })
    }

    fn lane(&self) -> Lane<'_> {
        Lane {
            head: &self.head,
            submitted: Ring::new(&self.head.submitted, &self.rings[..DEPTH]),
            completed: Ring::new(&self.head.completed, &self.rings[DEPTH..2 * DEPTH]),
            free: FreeList::new(&self.head.tickets_free, &self.rings[2 * DEPTH..]),
            tickets: &self.tickets,
        }
    }

    fn submit(&self, user_data: u64) -> TicketRef {
        let submission = Submission {
            opcode: Opcode::Match,
            user_data,
            keys: core::ptr::null(),
            keys_count: 0,
            data: core::ptr::null_mut(),
            bytes: user_data + 100,
            touch: false,
            temperature: Temperature::Auto,
            info: PutInfo::default(),
        };
        self.lane().submit(&submission).expect("a ticket is free")
    }

    /// What a driver does: the result of an operation follows from what was submitted.
    fn drive(&self) -> bool {
        let execute = |ticket: &Ticket| {
            let user_data = ticket.get(word::USER_DATA);
            assert_eq!(
                ticket.get(word::BYTES),
                user_data + 100,
                "a ticket that is half written"
            );
            self.done[user_data as usize].fetch_add(1, Ordering::Relaxed);
            (Status::Ok, user_data + 1000)
        };
        self.lane().drive_one(execute, || {})
    }

    /// A completion is whole, and its operation was done exactly if it was not cancelled.
    fn check(&self, completion: &Completion, cancelled: bool) {
        let done = self.done[completion.user_data as usize].load(Ordering::Relaxed);
        let expected = match cancelled {
            true => (Status::Cancelled.code(), 0, 0),
            false => (Status::Ok.code(), completion.user_data + 1000, 1),
        };
        assert_eq!((completion.status, completion.result, done), expected);
    }
}

fn driver(shared: &Arc<Shared>) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || while shared.drive() {})
}

/// A driver beside an owner that reaps: each operation is done once, each completion is whole and comes in order.
#[test]
fn completions_come_whole_and_in_order() {
    loom::model(|| {
        let shared = Shared::new();
        let driver = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.drive();
                shared.drive();
            })
        };
        let tickets = [shared.submit(0), shared.submit(1)];
        let mut reaped = Vec::new();
        reaped.extend(shared.lane().next_completion());
        driver.join().unwrap();
        while shared.drive() {}
        while let Some(completion) = shared.lane().next_completion() {
            reaped.push(completion);
        }
        let found: Vec<TicketRef> = reaped.iter().map(|completion| completion.ticket).collect();
        assert_eq!(found, tickets);
        reaped.iter().for_each(|completion| shared.check(completion, false));
        assert!(shared.lane().is_unused());
    });
}

/// Cancelling beside the driver: either it is called off and never done, or it is too late and it is done.
#[test]
fn an_operation_is_cancelled_or_done_and_never_both() {
    loom::model(|| {
        let shared = Shared::new();
        let ticket = shared.submit(0);
        let driver = driver(&shared);
        let cancelled = shared.lane().cancel(ticket);
        driver.join().unwrap();
        let completion = shared.lane().next_completion().expect("it is complete in either case");
        shared.check(&completion, cancelled.is_ok());
        assert!(shared.lane().is_unused());
        assert_eq!(shared.lane().cancel(ticket), Err(Status::Stale));
    });
}

/// Polling beside the driver, ahead of turn: what was polled is not reaped again, and a lane whose completions were all
/// fetched has no ticket in use.
#[test]
fn what_was_polled_is_gone_at_once() {
    loom::model(|| {
        let shared = Shared::new();
        let first = shared.submit(0);
        let driver = driver(&shared);
        match shared.lane().poll(first) {
            Ok(completion) => {
                shared.check(&completion, false);
                assert!(shared.lane().is_unused(), "fetched, and still in use");
                // The place is used again while the driver may still be in its call.
                assert_ne!(shared.submit(1), first);
            }
            Err(status) => assert_eq!(status, Status::Pending),
        }
        driver.join().unwrap();
        while shared.drive() {}
        while let Some(completion) = shared.lane().next_completion() {
            shared.check(&completion, false);
        }
        assert_eq!(shared.lane().poll(first), Err(Status::Stale));
        assert!(shared.lane().is_unused());
    });
}
