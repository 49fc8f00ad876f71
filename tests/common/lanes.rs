//! Lanes beside their model: a queue of what was submitted.

use std::collections::VecDeque;

use kvcache::Key;
use kvcache::engine::{Completion, LaneRef, Opcode, RawView, Submission, TicketRef};
use kvcache::error::Status;
use kvcache::metrics::Counter;

use super::contents::{difference, fill};
use super::operation::{Info, KeyRun};
use super::run::{POISON, Run};

/// What is known of a submitted operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Queued,
    Cancelled,
    Done { status: Status, result: u64 },
    Taken,
}

/// A submitted operation and what it points to.
pub struct Submitted {
    ticket: TicketRef,
    state: State,
    user_data: u64,
    opcode: Opcode,
    run: KeyRun,
    info: Info,
    bytes: u64,
    /// What the contents of a put's blocks follow from; what a get copied.
    seeds: Vec<(u64, u64)>,
    keys: Vec<Key>,
    data: Vec<u8>,
    views: Vec<RawView>,
}

/// An open lane.
pub struct LaneRun {
    reference: LaneRef,
    submitted: VecDeque<Submitted>,
    tickets: Vec<TicketRef>,
}

const NOTHING: Completion = Completion {
    user_data: 0,
    ticket: TicketRef {
        index: 0,
        generation: 0,
    },
    status: 0,
    opcode: 0,
    result: 0,
};

impl LaneRun {
    fn pass_over_taken(&mut self) {
        while self.submitted.front().is_some_and(|front| front.state == State::Taken) {
            self.submitted.pop_front();
        }
    }

    fn find(&self, ticket: TicketRef) -> Option<usize> {
        self.submitted.iter().position(|submitted| submitted.ticket == ticket)
    }
}

impl Run<'_> {
    pub fn lane_open(&mut self) {
        let answer = self.engine.lane_open();
        if self.lanes.len() == self.model.config.lanes_count as usize {
            assert_eq!(answer, Err(Status::Again));
            return;
        }
        let reference = answer.expect("a lane is free");
        assert!(self.lanes.iter().all(|lane| lane.reference.index != reference.index));
        assert!(!self.lanes_closed.contains(&reference), "an old name");
        self.lanes.push(LaneRun {
            reference,
            submitted: VecDeque::new(),
            tickets: Vec::new(),
        });
    }

    pub fn lane_close(&mut self) {
        for &closed in &self.lanes_closed {
            assert_eq!(self.engine.lane_close(closed), Err(Status::Stale));
            assert_eq!(self.engine.reap(closed, &mut [NOTHING]), Err(Status::Stale));
        }
        let Some(lane) = self.lanes.last_mut() else { return };
        lane.pass_over_taken();
        let answer = self.engine.lane_close(lane.reference);
        if lane.submitted.is_empty() {
            assert_eq!(answer, Ok(()));
            self.lanes_closed.push(lane.reference);
            self.lanes.pop();
        } else {
            assert_eq!(answer, Err(Status::Busy));
        }
    }

    pub fn submit(&mut self, count: usize, opcode: Opcode, run: KeyRun, bytes: u64, info: &Info) {
        if self.lanes.is_empty() {
            self.lane_open();
        }
        let at = run.first % self.lanes.len();
        let mut batch: Vec<Submitted> = (0..count).map(|_| self.prepare(opcode, run, bytes, info)).collect();
        let submissions: Vec<Submission> = batch
            .iter_mut()
            .map(|submitted| Submission {
                opcode,
                user_data: submitted.user_data,
                keys: submitted.keys.as_ptr(),
                keys_count: submitted.keys.len() as u64,
                data: match opcode {
                    Opcode::Acquire => submitted.views.as_mut_ptr().cast(),
                    _ => submitted.data.as_mut_ptr(),
                },
                bytes: match opcode {
                    Opcode::Acquire => submitted.views.len() as u64,
                    _ => bytes,
                },
                info: info.put_info(&self.model.keys),
                touch: false,
                temperature: kvcache::copy::Temperature::Auto,
            })
            .collect();
        let mut tickets = vec![TicketRef::default(); count];
        let lane = &mut self.lanes[at];
        let free = self.model.config.lane_depth as usize - lane.submitted.len();
        // SAFETY: keys and buffers live on the heap, in the queue of the lane until they are reaped.
        let answer = unsafe { self.engine.submit(lane.reference, &submissions, Some(&mut tickets)) };
        let taken = count.min(free);
        assert_eq!(
            answer,
            if taken == 0 {
                Err(Status::Again)
            } else {
                Ok(taken as u64)
            }
        );
        for (mut submitted, ticket) in batch.into_iter().zip(tickets).take(taken) {
            assert!(!lane.tickets.contains(&ticket), "{ticket:?} was handed out before");
            assert_ne!(ticket, TicketRef::default(), "a pair of zeros names nothing");
            submitted.ticket = ticket;
            lane.tickets.push(ticket);
            lane.submitted.push_back(submitted);
        }
        self.model.count(Counter::OperationsSubmitted, taken as u64);
    }

    fn prepare(&mut self, opcode: Opcode, run: KeyRun, bytes: u64, info: &Info) -> Submitted {
        let keys = self.model.keys.run(run.first, run.count);
        let mut data = vec![POISON; run.count * bytes as usize];
        let mut seeds = Vec::new();
        if opcode == Opcode::Put {
            for block in data.chunks_mut(bytes as usize) {
                let seed = self.seed();
                fill(block, seed);
                seeds.push((seed, bytes));
            }
        }
        Submitted {
            ticket: TicketRef::default(),
            state: State::Queued,
            user_data: self.seed(),
            opcode,
            run,
            info: *info,
            bytes,
            seeds,
            keys,
            data,
            views: vec![RawView::EMPTY; if opcode == Opcode::Acquire { run.count } else { 0 }],
        }
    }

    /// Accounts for what a tick did; the lanes that it told about.
    pub fn driven_by_tick(&mut self) -> Vec<u32> {
        let mut order: Vec<usize> = (0..self.lanes.len()).collect();
        order.sort_unstable_by_key(|at| self.lanes[*at].reference.index);
        let driven = order.into_iter().filter(|at| self.driven(*at) != 0);
        let driven: Vec<usize> = driven.collect();
        driven.into_iter().map(|at| self.lanes[at].reference.index).collect()
    }

    /// Accounts for everything that the lane had queued; how much that was.
    fn driven(&mut self, at: usize) -> u64 {
        let mut done = 0;
        for place in 0..self.lanes[at].submitted.len() {
            let mut submitted = core::mem::take(&mut self.lanes[at].submitted);
            if matches!(submitted[place].state, State::Queued | State::Cancelled) {
                self.execute(&mut submitted[place]);
                done += 1;
            }
            self.lanes[at].submitted = submitted;
        }
        self.model.count(Counter::OperationsCompleted, done);
        done
    }

    fn execute(&mut self, submitted: &mut Submitted) {
        let run = submitted.run;
        let (status, result) = match submitted.opcode {
            _ if submitted.state == State::Cancelled => (Status::Cancelled, 0),
            // Without a file tier there is nothing to begin, and nothing to be made durable.
            Opcode::Prefetch => (Status::Ok, 0),
            Opcode::Flush => (Status::Unsupported, 0),
            Opcode::Match => (Status::Ok, self.model.match_prefix(run, false)),
            Opcode::Remove => (Status::Ok, self.model.remove(run)),
            Opcode::Touch => (Status::Ok, self.model.touch(run)),
            Opcode::Put => self.execute_put(submitted),
            Opcode::Get => self.execute_get(submitted),
            Opcode::Acquire => {
                let blocks = self.model.acquire_prefix(run, run.count);
                for (block, raw) in blocks.iter().zip(&submitted.views) {
                    self.model.viewed(block, *raw);
                }
                let missed = blocks.is_empty() && run.count != 0;
                (if missed { Status::Miss } else { Status::Ok }, blocks.len() as u64)
            }
        };
        submitted.state = State::Done { status, result };
    }

    fn execute_put(&mut self, submitted: &Submitted) -> (Status, u64) {
        let mut info = submitted.info;
        let mut stored = 0;
        for (step, (seed, _)) in submitted.seeds.iter().enumerate() {
            let key = submitted.run.first + step;
            let key = self.model.keys.number(self.model.keys.key(key));
            match self.model.put(key, submitted.bytes, &info, *seed) {
                Ok(_) => stored += 1,
                Err(Status::Exists) if submitted.run.count > 1 => {}
                Err(status) => return (status, stored),
            }
            info.parent = Some(key);
            info.rest.chain_index += 1;
        }
        (Status::Ok, stored)
    }

    fn execute_get(&mut self, submitted: &mut Submitted) -> (Status, u64) {
        for step in 0..submitted.run.count {
            let key = submitted.run.first + step;
            let key = self.model.keys.number(self.model.keys.key(key));
            match self.model.get(key, submitted.bytes) {
                Ok((seed, bytes)) => submitted.seeds.push((seed, bytes)),
                Err(status) => return (status, step as u64),
            }
        }
        let copied = submitted.seeds.len() as u64;
        let single = submitted.run.count == 1;
        (Status::Ok, if single { submitted.seeds[0].1 } else { copied })
    }

    /// Compares a completion and what its operation wrote.
    fn completed(&mut self, submitted: &Submitted, completion: &Completion) {
        let State::Done { status, result } = submitted.state else {
            panic!("completed in state {:?}", submitted.state);
        };
        let expected = Completion {
            user_data: submitted.user_data,
            ticket: submitted.ticket,
            status: status.code(),
            opcode: submitted.opcode as u32,
            result,
        };
        assert_eq!(*completion, expected);
        let cancelled = status == Status::Cancelled;
        let mut blocks = submitted.data.chunks(submitted.bytes as usize);
        for (seed, bytes) in submitted.seeds.iter().filter(|_| !cancelled) {
            let block = blocks.next().expect("a block for each key");
            assert_eq!(difference(&block[..*bytes as usize], *seed), None);
        }
        if submitted.opcode == Opcode::Get {
            assert!(
                blocks.flatten().all(|byte| *byte == POISON),
                "wrote where nothing was got"
            );
        }
        self.note(result ^ (completion.status as u64) << 32);
    }

    pub fn reap(&mut self, room: usize) {
        let Some(at) = self.lanes.len().checked_sub(1) else {
            return;
        };
        let mut done = vec![NOTHING; room];
        let answer = self.engine.reap(self.lanes[at].reference, &mut done);
        self.read_events();
        self.driven(at);
        let mut places = done.iter();
        let mut count = 0;
        while count < room as u64 {
            let Some(submitted) = self.lanes[at].submitted.pop_front() else {
                break;
            };
            if submitted.state != State::Taken {
                self.completed(&submitted, places.next().expect("room was left"));
                count += 1;
            }
        }
        assert_eq!(answer, Ok(count));
    }

    pub fn poll(&mut self, which: usize) {
        let Some((at, ticket)) = self.ticket(which) else { return };
        let answer = self.engine.poll(self.lanes[at].reference, ticket);
        self.read_events();
        self.driven(at);
        let place = self.lanes[at].find(ticket);
        let place = place.filter(|place| self.lanes[at].submitted[*place].state != State::Taken);
        let Some(place) = place else {
            assert_eq!(answer, Err(Status::Stale));
            return;
        };
        let submitted = core::mem::take(&mut self.lanes[at].submitted);
        self.completed(&submitted[place], &answer.expect("everything is done"));
        self.lanes[at].submitted = submitted;
        self.lanes[at].submitted[place].state = State::Taken;
        self.lanes[at].pass_over_taken();
    }

    pub fn cancel(&mut self, which: usize) {
        let Some((at, ticket)) = self.ticket(which) else { return };
        let answer = self.engine.cancel(self.lanes[at].reference, ticket);
        let place = self.lanes[at].find(ticket);
        let expected = match place.map(|place| self.lanes[at].submitted[place].state) {
            Some(State::Queued) => Ok(()),
            Some(State::Cancelled | State::Done { .. }) => Err(Status::Pending),
            Some(State::Taken) | None => Err(Status::Stale),
        };
        assert_eq!(answer, expected);
        if let (Ok(()), Some(place)) = (answer, place) {
            self.lanes[at].submitted[place].state = State::Cancelled;
            self.model.count(Counter::OperationsCancelled, 1);
        }
    }

    /// One of the tickets of the first lane, the latest first; now and then one that was never handed out.
    fn ticket(&self, which: usize) -> Option<(usize, TicketRef)> {
        let lane = self.lanes.first()?;
        let never = TicketRef {
            index: u32::MAX,
            generation: 1,
        };
        Some((0, lane.tickets.iter().rev().nth(which).copied().unwrap_or(never)))
    }
}
