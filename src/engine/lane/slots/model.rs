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
                waiting: RingEnds::new(),
                tickets_free: CachePadded::new(FreeListHead::new()),
            },
            rings: words(4 * DEPTH),
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
            waiting: Ring::new(&self.head.waiting, &self.rings[2 * DEPTH..3 * DEPTH]),
            free: FreeList::new(&self.head.tickets_free, &self.rings[3 * DEPTH..]),
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
            Some((Status::Ok, user_data + 1000))
        };
        self.lane().drive_one(execute, || {})
    }

    /// As `drive`, for an operation that has to wait before it can be done.
    fn drive_waits(&self) -> bool {
        let execute = |ticket: &Ticket| {
            assert_eq!(ticket.get(word::PROGRESS), 0, "begun before it was submitted");
            ticket.put(word::PROGRESS, 7);
            None
        };
        self.lane().drive_one(execute, || {})
    }

    /// What a driver does with the operation that has been waiting longest; true if it is complete.
    fn drive_waiting(&self, ready: bool) -> bool {
        let execute = |ticket: &Ticket| {
            assert_eq!(ticket.get(word::PROGRESS), 7, "what it had done so far is forgotten");
            let user_data = ticket.get(word::USER_DATA);
            ready.then(|| {
                self.done[user_data as usize].fetch_add(1, Ordering::Relaxed);
                (Status::Ok, user_data + 1000)
            })
        };
        self.lane().drive_waiting(execute, || {})
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

/// Polling beside the driver until it is done: what was polled is not reaped again, and at once no ticket is in use,
/// even where the driver is still in its call.
#[test]
fn what_was_polled_is_gone_at_once() {
    loom::model(|| {
        let shared = Shared::new();
        let first = shared.submit(0);
        let driver = driver(&shared);
        let completion = loop {
            match shared.lane().poll(first) {
                Ok(completion) => break completion,
                Err(status) => assert_eq!(status, Status::Pending),
            }
            thread::yield_now();
        };
        shared.check(&completion, false);
        assert!(shared.lane().is_unused(), "fetched, and still in use");
        assert_ne!(shared.submit(1), first);
        driver.join().unwrap();
        while shared.drive() {}
        let second = shared.lane().next_completion().expect("it is complete");
        shared.check(&second, false);
        assert_eq!(second.user_data, 1);
        assert_eq!(shared.lane().poll(first), Err(Status::Stale));
        assert!(shared.lane().is_unused());
    });
}

/// Cancelling beside a driver whose operation waits, looks again, waits on and is done: it is called off and not done
/// again, or it is too late and it is done; its place leaves the waiting ring, and it completes once.
#[test]
fn an_operation_that_waits_is_cancelled_or_done() {
    loom::model(|| {
        let shared = Shared::new();
        let ticket = shared.submit(0);
        let driver = {
            let shared = shared.clone();
            thread::spawn(move || {
                assert!(shared.drive_waits());
                let mut complete = 0;
                for ready in [false, true, true] {
                    for _ in 0..shared.lane().waiting.len() {
                        complete += u32::from(shared.drive_waiting(ready));
                    }
                }
                complete
            })
        };
        let cancelled = shared.lane().cancel(ticket);
        let complete = driver.join().unwrap();
        assert!(shared.lane().waiting.is_empty(), "it waits for ever");
        // Cancelled before the driver came, it is complete without ever having waited.
        assert!(complete == 1 || complete == 0 && cancelled.is_ok());
        let completion = shared.lane().next_completion().expect("it is complete in any case");
        shared.check(&completion, cancelled.is_ok());
        assert!(shared.lane().next_completion().is_none(), "it completes twice");
        assert!(shared.lane().is_unused());
    });
}

/// Two operations take turns in the waiting ring while their owner polls for the one and cancels the other.
#[test]
fn those_that_wait_do_not_take_each_others_place() {
    loom::model(|| {
        let shared = Shared::new();
        let tickets = [shared.submit(0), shared.submit(1)];
        assert!(shared.drive_waits() && shared.drive_waits());
        let driver = {
            let shared = shared.clone();
            thread::spawn(move || {
                for ready in [false, true] {
                    for _ in 0..shared.lane().waiting.len() {
                        shared.drive_waiting(ready);
                    }
                }
            })
        };
        let cancelled = shared.lane().cancel(tickets[1]);
        let early = shared.lane().poll(tickets[0]).ok();
        driver.join().unwrap();
        let first = early.unwrap_or_else(|| shared.lane().poll(tickets[0]).expect("it is done"));
        shared.check(&first, false);
        let second = shared.lane().poll(tickets[1]).expect("it is complete");
        shared.check(&second, cancelled.is_ok());
        assert!(shared.lane().waiting.is_empty() && shared.lane().is_unused());
    });
}
