//! A device with faults: errors, short transfers, flipped bits, torn, misdirected and lost writes, requests that are
//! late or never come back. Over any device, by a seed or by a script; the same seed and the same calls give the same
//! faults.
//!
//! Which fault a request gets is decided when it is submitted: by the fault of [`Faults::inject`], else by the script,
//! else by the rates. A fault that a request of its kind can't have is passed over: a read is never torn or lost, and a
//! sync has only errors, stalls and delays, or is lost.
//!
//! # Soundness
//! - **I1** A buffer is used between `submit`, whose caller promises that it is valid and nobody else's, and the report
//!   of the request. A bit flipped in a buffer that is written is flipped back before the report.
//! - **I2** What is passed on has the caller's buffer, or its first or last bytes, and is reported to the caller no
//!   earlier than by the device below.
#![allow(unsafe_code)]

#[cfg(test)]
mod tests;

use crate::sync::guarded::Guarded;
use crate::tier::device::{Device, Io, IoDone, IoKind};
use crate::tier::sim::random::Random;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not done, and reported with this error number.
    Error(i32),
    /// Done, and reported with this error number all the same.
    ErrorDone(i32),
    /// Done in part, from the start, and reported so.
    Short,
    /// One bit is another than was asked for: in the buffer of a read, on the medium of a write.
    Flip,
    /// A write is reported done, and only its beginning or its end was.
    Torn,
    /// Done at another place.
    Misdirected,
    /// A write or a sync is reported done and was not.
    Lost,
    /// Never done and never reported.
    Stall,
    /// Passed on only after this many calls of [`Device::reap`].
    Delay(u32),
}

/// A fault and the requests that get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultAt {
    /// Which requests count; `None` is all.
    pub kind: Option<IoKind>,
    /// The first request that gets the fault, counted from 0 among those of the kind, from when the device was made.
    pub number: u64,
    /// How many in a row get it.
    pub count: u64,
    /// What goes wrong.
    pub fault: Fault,
}

/// How often faults come by chance: of a million requests that can have the fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// [`Fault::Error`], with `EIO`.
    pub error: u32,
    /// [`Fault::ErrorDone`], with `EIO`.
    pub error_done: u32,
    /// [`Fault::Short`].
    pub short: u32,
    /// [`Fault::Flip`].
    pub flip: u32,
    /// [`Fault::Torn`].
    pub torn: u32,
    /// [`Fault::Misdirected`].
    pub misdirected: u32,
    /// [`Fault::Lost`], of writes.
    pub lost: u32,
    /// [`Fault::Lost`], of syncs.
    pub sync_lost: u32,
    /// [`Fault::Stall`].
    pub stall: u32,
    /// [`Fault::Delay`], of 1 to 32 calls.
    pub delay: u32,
}

/// How many requests there were, and how many of them got which fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Reads submitted.
    pub reads: u64,
    /// Writes submitted.
    pub writes: u64,
    /// Syncs submitted.
    pub syncs: u64,
    /// [`Fault::Error`] and [`Fault::ErrorDone`].
    pub errors: u64,
    /// [`Fault::Short`].
    pub shorts: u64,
    /// [`Fault::Flip`].
    pub flips: u64,
    /// [`Fault::Torn`].
    pub torn: u64,
    /// [`Fault::Misdirected`].
    pub misdirected: u64,
    /// [`Fault::Lost`].
    pub lost: u64,
    /// [`Fault::Stall`].
    pub stalls: u64,
    /// [`Fault::Delay`].
    pub delays: u64,
}

impl FaultCounts {
    /// All faults.
    pub fn faults(&self) -> u64 {
        let bad = self.flips + self.torn + self.misdirected + self.lost;
        self.errors + self.shorts + self.stalls + self.delays + bad
    }

    fn add(&mut self, fault: Fault) {
        let count = match fault {
            Fault::Error(_) | Fault::ErrorDone(_) => &mut self.errors,
            Fault::Short => &mut self.shorts,
            Fault::Flip => &mut self.flips,
            Fault::Torn => &mut self.torn,
            Fault::Misdirected => &mut self.misdirected,
            Fault::Lost => &mut self.lost,
            Fault::Stall => &mut self.stalls,
            Fault::Delay(_) => &mut self.delays,
        };
        *count += 1;
    }
}

const EIO: i32 = 5;

/// A place for a request under way.
#[derive(Clone, Copy)]
pub struct FaultPlace {
    /// As the caller submitted it.
    io: Io,
    step: Step,
    /// What to say instead of what the device below says, if that succeeds.
    answer: Option<Result<u32, i32>>,
    /// A bit of the buffer: to be flipped when a read is done, to be flipped back when a write is.
    flip: Option<u64>,
}

/// Where a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nowhere: the place is free.
    Free,
    /// With the device below.
    Passed,
    /// Answered here, with the next reap.
    Answered,
    /// Held until this call of `reap`.
    Held(u64),
    /// Never to come back.
    Stalled,
}

// SAFETY: I1, an address may go from one thread to the next with the request.
unsafe impl Send for FaultPlace {}

impl FaultPlace {
    /// A place that nobody has taken.
    pub const EMPTY: Self = Self {
        io: Io {
            token: 0,
            kind: IoKind::Sync,
            offset: 0,
            buffer: core::ptr::null_mut(),
            bytes: 0,
        },
        step: Step::Free,
        answer: None,
        flip: None,
    };
}

/// A device with faults over a device without, or with others.
pub struct Faults<'m, D> {
    device: D,
    state: Guarded<State<'m>>,
}

struct State<'m> {
    random: Random,
    rates: FaultRates,
    script: &'m [FaultAt],
    injected: Option<FaultAt>,
    places: &'m mut [FaultPlace],
    counts: FaultCounts,
    /// Calls of `reap`.
    now: u64,
}

impl<'m, D: Device> Faults<'m, D> {
    /// Over `device`, with a place for each request that it takes. Without script and with no rates nothing goes wrong.
    pub fn new(device: D, seed: u64, rates: FaultRates, script: &'m [FaultAt], places: &'m mut [FaultPlace]) -> Self {
        places.fill(FaultPlace::EMPTY);
        Self {
            device,
            state: Guarded::new(State {
                random: Random::new(seed),
                rates,
                script,
                injected: None,
                places,
                counts: FaultCounts::default(),
                now: 0,
            }),
        }
    }

    /// The device below.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// From now on this fault comes before script and rates; `None` ends it.
    pub fn inject(&self, fault: Option<FaultAt>) {
        if let Some(mut state) = self.state.take() {
            state.injected = fault;
        }
    }

    /// Other rates from now on.
    pub fn rates_set(&self, rates: FaultRates) {
        if let Some(mut state) = self.state.take() {
            state.rates = rates;
        }
    }

    /// What was submitted and what went wrong, so far.
    pub fn counts(&self) -> FaultCounts {
        self.state.take().map_or(FaultCounts::default(), |state| state.counts)
    }

    /// Forgets all requests under way: after the device below has, as in a crash.
    pub fn forget(&self) {
        if let Some(mut state) = self.state.take() {
            state.places.fill(FaultPlace::EMPTY);
        }
    }
}

/// Whether a request of this kind can have the fault.
fn possible(fault: Fault, kind: IoKind) -> bool {
    match fault {
        Fault::Error(_) | Fault::ErrorDone(_) | Fault::Stall | Fault::Delay(_) => true,
        Fault::Short | Fault::Flip | Fault::Misdirected => kind != IoKind::Sync,
        Fault::Torn => kind == IoKind::Write,
        Fault::Lost => kind != IoKind::Read,
    }
}

impl State<'_> {
    /// The fault of the next request of this kind.
    fn draw(&mut self, kind: IoKind) -> Option<Fault> {
        let counts = self.counts;
        let number = |wanted: Option<IoKind>| match wanted {
            None => counts.reads + counts.writes + counts.syncs,
            Some(IoKind::Read) => counts.reads,
            Some(IoKind::Write) => counts.writes,
            Some(IoKind::Sync) => counts.syncs,
        };
        let meant = |at: &&FaultAt| {
            let behind = number(at.kind).checked_sub(at.number);
            at.kind.is_none_or(|wanted| wanted == kind) && behind.is_some_and(|behind| behind < at.count)
        };
        let scripted = self.injected.iter().chain(self.script).find(meant).map(|at| at.fault);
        scripted
            .or_else(|| self.chance(kind))
            .filter(|&fault| possible(fault, kind))
    }

    fn chance(&mut self, kind: IoKind) -> Option<Fault> {
        let rates = self.rates;
        let late = Fault::Delay(1 + self.random.below(32) as u32);
        let lost = if kind == IoKind::Sync {
            rates.sync_lost
        } else {
            rates.lost
        };
        let mut drawn = self.random.below(1_000_000);
        let faults = [
            (Fault::Error(EIO), rates.error),
            (Fault::ErrorDone(EIO), rates.error_done),
            (Fault::Short, rates.short),
            (Fault::Flip, rates.flip),
            (Fault::Torn, rates.torn),
            (Fault::Misdirected, rates.misdirected),
            (Fault::Lost, lost),
            (Fault::Stall, rates.stall),
            (late, rates.delay),
        ];
        for (fault, rate) in faults {
            match drawn.checked_sub(u64::from(rate)) {
                Some(rest) => drawn = rest,
                None => return Some(fault),
            }
        }
        None
    }

    /// Works out what becomes of a request: what is passed on, if anything, and how the place remembers it.
    fn arrange(&mut self, io: &Io, fault: Option<Fault>, device: &dyn Device) -> (FaultPlace, Option<Io>) {
        let mut place = FaultPlace {
            io: *io,
            step: Step::Passed,
            answer: None,
            flip: None,
        };
        let alignment = device.alignment_bytes();
        let answered = |place: FaultPlace, answer| {
            let step = Step::Answered;
            let answer = Some(answer);
            (FaultPlace { step, answer, ..place }, None)
        };
        let done = if io.kind == IoKind::Sync { 0 } else { io.bytes };
        match fault {
            None => {}
            Some(Fault::Error(error)) => return answered(place, Err(error)),
            Some(Fault::ErrorDone(error)) => place.answer = Some(Err(error)),
            Some(Fault::Lost) => return answered(place, Ok(done)),
            Some(Fault::Stall) => {
                place.step = Step::Stalled;
                return (place, None);
            }
            Some(Fault::Delay(reaps)) => {
                place.step = Step::Held(self.now + u64::from(reaps));
                return (place, None);
            }
            Some(Fault::Flip) => place.flip = Some(self.random.below(u64::from(io.bytes) * 8)),
            Some(Fault::Misdirected) => {
                let places = device.bytes().saturating_sub(u64::from(io.bytes)) / alignment + 1;
                let drawn = self.random.below(places) * alignment;
                let offset = match drawn == io.offset {
                    true => (drawn + alignment) % (places * alignment),
                    false => drawn,
                };
                return (place, Some(Io { offset, ..*io }));
            }
            Some(fault @ (Fault::Short | Fault::Torn)) => {
                let bytes = self.random.below(u64::from(io.bytes) / alignment) * alignment;
                let at_end = fault == Fault::Torn && self.random.coin();
                let skip = if at_end { u64::from(io.bytes) - bytes } else { 0 };
                let answer = if fault == Fault::Torn { io.bytes } else { bytes as u32 };
                if bytes == 0 {
                    return answered(place, Ok(answer));
                }
                place.answer = Some(Ok(answer));
                let part = Io {
                    offset: io.offset + skip,
                    buffer: io.buffer.wrapping_add(skip as usize),
                    bytes: bytes as u32,
                    ..*io
                };
                return (place, Some(part));
            }
        }
        (place, Some(*io))
    }

    /// What the caller is told of a request that the device below reports.
    fn finish(&mut self, done: IoDone) -> IoDone {
        let Some(place) = self.places.get_mut(done.token as usize) else {
            return done;
        };
        let FaultPlace { io, answer, flip, .. } = *place;
        place.step = Step::Free;
        // Of a read only where something came; of a write in any case: it was flipped already.
        if let Some(bit) = flip
            && (io.kind == IoKind::Write || done.result.is_ok())
        {
            // SAFETY: I1, the request is reported only behind this.
            unsafe { flip_bit(&io, bit) };
        }
        let result = match (done.result, answer) {
            (Ok(_), Some(answer)) => answer,
            (result, _) => result,
        };
        IoDone { result, ..done }
    }
}

/// Flips a bit of the request's buffer.
///
/// # Safety
/// The request is under way.
unsafe fn flip_bit(io: &Io, bit: u64) {
    if bit / 8 < u64::from(io.bytes) {
        let byte = io.buffer.wrapping_add((bit / 8) as usize);
        // SAFETY: I1, within the buffer.
        unsafe { byte.write(byte.read() ^ (1 << (bit % 8))) };
    }
}

impl<D: Device> Device for Faults<'_, D> {
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
        let Some(mut state) = self.state.take() else {
            return false;
        };
        let state = &mut *state;
        let free = |place: &FaultPlace| place.step == Step::Free;
        if io.token >= self.device.depth() || !state.places.get(io.token as usize).is_some_and(free) {
            return false;
        }
        let fault = state.draw(io.kind);
        let (place, passed) = state.arrange(io, fault, &self.device);
        let bit = place.flip.filter(|_| io.kind == IoKind::Write);
        if let Some(bit) = bit {
            // SAFETY: I1, the caller has just given the buffer.
            unsafe { flip_bit(io, bit) };
        }
        if let Some(passed) = passed {
            // SAFETY: I2.
            let taken = unsafe { self.device.submit(&passed) };
            if !taken {
                if let Some(bit) = bit {
                    // SAFETY: as above; nothing happened, and nothing is to be seen of it.
                    unsafe { flip_bit(io, bit) };
                }
                return false;
            }
        }
        if let Some(free) = state.places.get_mut(io.token as usize) {
            *free = place;
        }
        match io.kind {
            IoKind::Read => state.counts.reads += 1,
            IoKind::Write => state.counts.writes += 1,
            IoKind::Sync => state.counts.syncs += 1,
        }
        if let Some(fault) = fault {
            state.counts.add(fault);
        }
        true
    }

    fn reap(&self, done: &mut [IoDone]) -> usize {
        let Some(mut state) = self.state.take() else {
            return 0;
        };
        let state = &mut *state;
        state.now += 1;
        let mut count = 0;
        for place in state.places.iter_mut() {
            match place.step {
                Step::Answered => {
                    let Some(report) = done.get_mut(count) else {
                        continue;
                    };
                    *report = IoDone {
                        token: place.io.token,
                        result: place.answer.unwrap_or(Err(EIO)),
                    };
                    place.step = Step::Free;
                    count += 1;
                }
                // SAFETY: I2. One that is not taken is held until the next time.
                Step::Held(until) if until <= state.now && unsafe { self.device.submit(&place.io) } => {
                    place.step = Step::Passed;
                }
                _ => {}
            }
        }
        let rest = done.get_mut(count..).unwrap_or_default();
        let reported = self.device.reap(rest);
        for report in rest.iter_mut().take(reported) {
            *report = state.finish(*report);
        }
        count + reported
    }

    fn wait(&self, timeout_ns: u64) {
        self.device.wait(timeout_ns);
    }
}
