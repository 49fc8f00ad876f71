//! A device that writes down what it was asked and what it answered: to be looked at, and to be compared with another
//! run.
//!
//! The last entries are kept in borrowed memory. A digest covers all of them, the bytes of writes included, so that two
//! runs are the same if their digests are, however long they were.
//!
//! # Soundness
//! - **I1** A buffer is read in `submit`, whose caller promises that it is valid and nobody else's; addresses are only
//!   passed on.
#![allow(unsafe_code)]

#[cfg(test)]
mod tests;

use core::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::sync::guarded::Guarded;
use crate::tier::device::{Device, Io, IoDone, IoKind};
use crate::tier::sim::random::mix;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// A request was begun.
    Begun {
        /// What it does.
        kind: IoKind,
        /// Where.
        offset: u64,
        /// How many bytes; 0 of a sync.
        bytes: u32,
        /// Of a write, the hash (xxh3) of its bytes; else 0.
        content: u64,
    },
    /// A request was not taken.
    Refused,
    /// A request was reported.
    Done(Result<u32, i32>),
}

/// An entry of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// Counted from 0, from when the device was made.
    pub number: u64,
    /// The request's token.
    pub token: u32,
    /// What happened to it.
    pub event: TraceEvent,
}

impl TraceEntry {
    /// A place to be filled.
    pub const EMPTY: Self = Self {
        number: 0,
        token: 0,
        event: TraceEvent::Refused,
    };

    /// A number that differs if anything in the entry does.
    fn digest(&self) -> u64 {
        let (code, words) = match self.event {
            TraceEvent::Begun {
                kind,
                offset,
                bytes,
                content,
            } => (1 + kind as u64, [offset, u64::from(bytes), content]),
            TraceEvent::Refused => (5, [0; 3]),
            TraceEvent::Done(Ok(bytes)) => (6, [u64::from(bytes), 0, 0]),
            TraceEvent::Done(Err(error)) => (7, [u64::from(error.cast_unsigned()), 0, 0]),
        };
        let all = [self.number, u64::from(self.token), code].into_iter().chain(words);
        all.fold(0, |digest, word| mix(digest ^ word).wrapping_add(1))
    }
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, token, .. } = self;
        match self.event {
            TraceEvent::Begun { kind: IoKind::Sync, .. } => write!(formatter, "{number:8} [{token:3}] sync"),
            TraceEvent::Begun {
                kind, offset, bytes, ..
            } => {
                let name = if kind == IoKind::Read { "read" } else { "write" };
                write!(formatter, "{number:8} [{token:3}] {name} {bytes} at {offset}")
            }
            TraceEvent::Refused => write!(formatter, "{number:8} [{token:3}] refused"),
            TraceEvent::Done(Ok(bytes)) => write!(formatter, "{number:8} [{token:3}]   done {bytes}"),
            TraceEvent::Done(Err(error)) => write!(formatter, "{number:8} [{token:3}]   failed, error {error}"),
        }
    }
}

/// A device that is written down.
pub struct Traced<'m, D> {
    device: D,
    state: Guarded<State<'m>>,
}

struct State<'m> {
    entries: &'m mut [TraceEntry],
    count: u64,
    digest: u64,
}

impl State<'_> {
    fn note(&mut self, token: u32, event: TraceEvent) {
        let entry = TraceEntry {
            number: self.count,
            token,
            event,
        };
        self.digest = mix(self.digest ^ entry.digest()).wrapping_add(1);
        if let Some(at) = self.count.checked_rem(self.entries.len() as u64)
            && let Some(place) = self.entries.get_mut(at as usize)
        {
            *place = entry;
        }
        self.count += 1;
    }
}

impl<'m, D: Device> Traced<'m, D> {
    /// Over `device`, keeping as many entries as there is room for.
    pub fn new(device: D, entries: &'m mut [TraceEntry]) -> Self {
        Self {
            device,
            state: Guarded::new(State {
                entries,
                count: 0,
                digest: 0,
            }),
        }
    }

    /// The device below.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Entries ever.
    pub fn count(&self) -> u64 {
        self.state.take().map_or(0, |state| state.count)
    }

    /// A number that two runs have in common if they were the same.
    pub fn digest(&self) -> u64 {
        self.state.take().map_or(0, |state| state.digest)
    }

    /// The entry of this number, if it is kept.
    pub fn entry(&self, number: u64) -> Option<TraceEntry> {
        let state = self.state.take()?;
        let at = number.checked_rem(state.entries.len() as u64)?;
        let entry = state.entries.get(at as usize).copied();
        entry.filter(|entry| entry.number == number && number < state.count)
    }

    /// The entries that are kept, the oldest first.
    pub fn entries(&self) -> impl Iterator<Item = TraceEntry> + '_ {
        let (count, kept) = match self.state.take() {
            Some(state) => (state.count, (state.entries.len() as u64).min(state.count)),
            None => (0, 0),
        };
        (count - kept..count).filter_map(|number| self.entry(number))
    }
}

impl<D: Device> Device for Traced<'_, D> {
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

    unsafe fn register(&self, base: *mut u8, bytes: u64) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.device.register(base, bytes) };
    }

    unsafe fn submit(&self, io: &Io) -> bool {
        let content = match io.kind {
            // SAFETY: I1.
            IoKind::Write => xxh3_64(unsafe { core::slice::from_raw_parts(io.buffer, io.bytes as usize) }),
            _ => 0,
        };
        // SAFETY: the caller's promise is the one asked for.
        let taken = unsafe { self.device.submit(io) };
        if let Some(mut state) = self.state.take() {
            let event = match taken {
                true => TraceEvent::Begun {
                    kind: io.kind,
                    offset: io.offset,
                    bytes: io.bytes,
                    content,
                },
                false => TraceEvent::Refused,
            };
            state.note(io.token, event);
        }
        taken
    }

    fn reap(&self, done: &mut [IoDone]) -> usize {
        let count = self.device.reap(done);
        if let Some(mut state) = self.state.take() {
            for report in done.iter().take(count) {
                state.note(report.token, TraceEvent::Done(report.result));
            }
        }
        count
    }

    fn wait(&self, timeout_ns: u64) {
        self.device.wait(timeout_ns);
    }
}
