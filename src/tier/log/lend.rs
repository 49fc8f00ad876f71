//! What is lent: frames to the device, targets to the log. All raw pointers of the log are here.
//!
//! # Soundness
//! - **I1** The frames are `count * stride` bytes at `base`, valid for reads and writes for `'m`, and nobody else's
//!   (the promise of [`LogMemory`](super::LogMemory), whose maker vouches for it).
//! - **I2** A frame is lent from a successful submit until the device reports the request's token; tokens are unique
//!   among requests under way. While it is lent no reference to it is made: `bytes` and `bytes_mut` give nothing then.
//! - **I3** A target is made only by [`Target::new`], whose caller vouches for the memory until the outcome is told;
//!   the log forgets a target when it tells. Words that are zero are a target of no bytes.
//! - **I4** Frames are borrowed through `&self` and `&mut self`, so references to them end before they are lent.
#![allow(unsafe_code)]

use core::marker::PhantomData;
use core::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::{Log, ReadRequest, Refused};
use crate::copy::{Copier, Temperature};
use crate::tier::device::{Device, Io, IoDone, IoKind};

/// No frame, no place: the end of a list.
pub(super) const NONE: u32 = u32::MAX;
/// The owner of a token that a sync has.
const SYNC: u32 = u32::MAX - 1;

/// Where the payload of a block goes that is being read.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Target {
    address: u64,
    bytes: u32,
    _padding: u32,
}

impl Target {
    /// A target.
    ///
    /// # Safety
    /// The memory is valid for writes of `bytes` bytes, and used by nobody else, until the target is forgotten.
    unsafe fn new(target: *mut u8, bytes: u32) -> Self {
        Self {
            address: target.expose_provenance() as u64,
            bytes,
            _padding: 0,
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Writes `source` at `at`, if that is within.
    pub(super) fn write(&self, at: u64, source: &[u8], copier: Copier) {
        let fits = at
            .checked_add(source.len() as u64)
            .is_some_and(|end| end <= u64::from(self.bytes));
        if fits {
            let target = core::ptr::with_exposed_provenance_mut::<u8>(self.address as usize);
            // Cold: the source was just verified and so is in the cache, the target is not; stored past the cache it
            // needs not be read first.
            // SAFETY: I3, and the range was just checked.
            unsafe {
                copier.copy(
                    source.as_ptr(),
                    target.add(at as usize),
                    source.len(),
                    Temperature::Cold,
                )
            };
        }
    }
}

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To be written.
    Write,
    /// A piece of a block, or of a table.
    Read,
}

/// How far a frame's request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not requested, or requested and under way.
    Open,
    /// Its bytes are where they belong.
    Done,
    /// They can't be brought there.
    Failed,
}

/// The state of one frame. The last fields belong to the token of the same number.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Frame {
    /// Where it lies in the file.
    pub offset: u64,
    /// Its place in the order of all frames written.
    pub ticket: u64,
    /// Bytes of it that are filled, or asked for.
    pub bytes: u32,
    /// Bytes of those that were moved.
    pub moved: u32,
    /// Whose it is: a block that is being read, or the victim's number.
    pub owner: u32,
    /// Which piece.
    pub chunk: u32,
    /// The next in the free list, in the queue of those to be submitted, or of those that wait for a table.
    pub next: u32,
    /// The next in the order of writing, or of opening.
    pub follower: u32,
    /// Error number of the last failure.
    pub os_error: i32,
    /// Failures without any progress between them.
    pub attempts: u16,
    writes: u8,
    stage: u8,
    lent: u32,
    /// By token: the frame, or [`SYNC`].
    token_owner: u32,
    /// By token: the next free one.
    token_next: u32,
    /// By token: the period in which its request was begun.
    token_period: u32,
}

/// A request that came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Back {
    /// The frame; none of a sync.
    pub frame: Option<u32>,
    /// Bytes moved, or the error number.
    pub result: Result<u32, i32>,
}

/// All frames, and the requests under way.
pub(super) struct Frames<'m> {
    base: *mut u8,
    stride: usize,
    states: &'m mut [Frame],
    device: &'m dyn Device,
    /// Heads of the free lists, of frames and of tokens.
    free: u32,
    free_token: u32,
    free_count: u32,
    reading: u32,
    writing: u32,
    under_way: u32,
    /// Whether requests were begun that the device may still be gathering.
    gathered: bool,
    /// The period of time that it is now.
    period: u32,
    memory: PhantomData<&'m mut [u8]>,
}

// SAFETY: I1, the memory is this value's alone, and goes where it goes.
unsafe impl Send for Frames<'_> {}

impl<'m> Frames<'m> {
    /// Frames in the memory at `base`, I1; one for each state.
    pub(super) fn new(base: *mut u8, stride: u64, states: &'m mut [Frame], device: &'m dyn Device) -> Self {
        let count = states.len() as u32;
        let tokens = device.depth().clamp(1, count.max(1));
        let link = |index: u32, end: u32| if index + 1 < end { index + 1 } else { NONE };
        for (index, state) in (0..).zip(states.iter_mut()) {
            *state = Frame {
                next: link(index, count),
                token_next: link(index, tokens),
                ..Frame::zeroed()
            };
        }
        Self {
            base,
            stride: stride as usize,
            states,
            device,
            free: if count == 0 { NONE } else { 0 },
            free_token: if count == 0 { NONE } else { 0 },
            free_count: count,
            reading: 0,
            writing: 0,
            under_way: 0,
            gathered: false,
            period: 0,
            memory: PhantomData,
        }
    }

    /// The device.
    pub(super) fn device(&self) -> &'m dyn Device {
        self.device
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.states.len() as u32
    }

    /// How many nobody uses.
    pub(super) fn free_count(&self) -> u32 {
        self.free_count
    }

    /// How many are in use to read.
    pub(super) fn reading(&self) -> u32 {
        self.reading
    }

    /// How many are in use to write.
    pub(super) fn writing(&self) -> u32 {
        self.writing
    }

    /// Requests under way.
    pub(super) fn under_way(&self) -> u32 {
        self.under_way
    }

    /// Takes a free frame.
    pub(super) fn take(&mut self, purpose: Use) -> Option<u32> {
        let index = self.free;
        let state = self.states.get_mut(index as usize)?;
        self.free = state.next;
        let kept = (state.token_owner, state.token_next, state.token_period);
        *state = Frame {
            next: NONE,
            follower: NONE,
            writes: u8::from(purpose == Use::Write),
            token_owner: kept.0,
            token_next: kept.1,
            token_period: kept.2,
            ..Frame::zeroed()
        };
        self.free_count -= 1;
        match purpose {
            Use::Write => self.writing += 1,
            Use::Read => self.reading += 1,
        }
        Some(index)
    }

    /// Gives a frame back. One that is lent is never free again: its request may still come.
    pub(super) fn give(&mut self, index: u32) {
        let free = self.free;
        let Some(state) = self.states.get_mut(index as usize) else {
            return;
        };
        if state.lent != 0 {
            return;
        }
        state.next = free;
        let wrote = state.writes != 0;
        self.free = index;
        self.free_count += 1;
        match wrote {
            true => self.writing -= 1,
            false => self.reading -= 1,
        }
    }

    /// A frame's state.
    pub(super) fn state(&self, index: u32) -> &Frame {
        &self.states[index as usize]
    }

    /// A frame's state.
    pub(super) fn state_mut(&mut self, index: u32) -> &mut Frame {
        &mut self.states[index as usize]
    }

    /// How far it is.
    pub(super) fn stage(&self, index: u32) -> Stage {
        match self.state(index).stage {
            0 => Stage::Open,
            1 => Stage::Done,
            _ => Stage::Failed,
        }
    }

    /// Notes how far it is.
    pub(super) fn set_stage(&mut self, index: u32, stage: Stage) {
        self.state_mut(index).stage = stage as u8;
    }

    /// Whether its request writes.
    pub(super) fn is_write(&self, index: u32) -> bool {
        self.state(index).writes != 0
    }

    fn address(&self, index: u32) -> *mut u8 {
        assert!((index as usize) < self.states.len(), "a frame outside the memory");
        // SAFETY: I1, just checked.
        unsafe { self.base.add(index as usize * self.stride) }
    }

    /// The frame's memory; nothing while it is lent.
    pub(super) fn bytes(&self, index: u32) -> &[u8] {
        if self.state(index).lent != 0 {
            return &[];
        }
        // SAFETY: I1, I2 and I4.
        unsafe { core::slice::from_raw_parts(self.address(index), self.stride) }
    }

    /// The frame's memory, to be written; nothing while it is lent.
    pub(super) fn bytes_mut(&mut self, index: u32) -> &mut [u8] {
        if self.state(index).lent != 0 {
            return &mut [];
        }
        // SAFETY: I1, I2 and I4.
        unsafe { core::slice::from_raw_parts_mut(self.address(index), self.stride) }
    }

    /// Part of a frame's memory; nothing if it is not within.
    pub(super) fn range(&self, index: u32, range: Range<usize>) -> &[u8] {
        self.bytes(index).get(range).unwrap_or_default()
    }

    /// Begins to move what of the frame was not moved yet; false if the device takes no more now.
    pub(super) fn submit(&mut self, index: u32) -> bool {
        let state = *self.state(index);
        let bytes = state.bytes.saturating_sub(state.moved);
        assert!(
            state.lent == 0 && state.bytes as usize <= self.stride && bytes != 0,
            "a request is within its frame, and the only one of it"
        );
        // SAFETY: I1, just checked.
        let buffer = unsafe { self.address(index).add(state.moved as usize) };
        let kind = if state.writes != 0 { IoKind::Write } else { IoKind::Read };
        let begun = self.begin(index, kind, state.offset + u64::from(state.moved), buffer, bytes);
        if begun {
            self.state_mut(index).lent = 1;
        }
        begun
    }

    /// Begins a sync; false if the device takes no more now.
    pub(super) fn submit_sync(&mut self) -> bool {
        self.begin(SYNC, IoKind::Sync, 0, self.base, 0)
    }

    fn begin(&mut self, owner: u32, kind: IoKind, offset: u64, buffer: *mut u8, bytes: u32) -> bool {
        let token = self.free_token;
        let Some(place) = self.states.get_mut(token as usize) else {
            return false;
        };
        let io = Io {
            token,
            kind,
            offset,
            buffer,
            bytes,
        };
        let next = place.token_next;
        // SAFETY: I2; a sync uses no buffer.
        if !unsafe { self.device.submit(&io) } {
            return false;
        }
        place.token_owner = owner;
        place.token_next = token;
        place.token_period = self.period;
        self.free_token = next;
        self.under_way += 1;
        self.gathered = true;
        true
    }

    /// Notes which period of time it is now. Whether a request has been under way for more than a whole one.
    pub(super) fn period_set(&mut self, period: u32) -> bool {
        if period == self.period {
            return false;
        }
        let paused = period.wrapping_sub(self.period) > 1;
        self.period = period;
        let mut lost = false;
        for (token, state) in (0..).zip(self.states.iter_mut()) {
            if paused {
                // Nobody looked for so long: what is under way is looked at from now on.
                state.token_period = period;
            }
            // A token under way is linked to itself. It was begun in its period or the next, nobody having looked yet.
            lost |= state.token_next == token && period.wrapping_sub(state.token_period) >= 3;
        }
        lost
    }

    /// Has the device pass on what it gathers, so that it works while the caller goes on.
    pub(super) fn hand_over(&mut self) {
        if core::mem::take(&mut self.gathered) {
            self.device.reap(&mut []);
        }
    }

    /// Reports what came back, in `backs`; how many.
    pub(super) fn reap(&mut self, backs: &mut [Back; REAP_COUNT]) -> usize {
        if self.under_way == 0 {
            return 0;
        }
        self.gathered = false;
        let mut done = [IoDone::EMPTY; REAP_COUNT];
        let count = self.device.reap(&mut done).min(REAP_COUNT);
        let mut known = 0;
        for done in done.iter().take(count) {
            let free = self.free_token;
            let Some(place) = self.states.get_mut(done.token as usize) else {
                continue;
            };
            // A token under way is linked to itself, but for the last free one, which is linked to nothing.
            if place.token_next != done.token {
                continue;
            }
            let owner = place.token_owner;
            place.token_next = free;
            self.free_token = done.token;
            self.under_way -= 1;
            let frame = (owner != SYNC).then_some(owner);
            if let Some(index) = frame {
                self.state_mut(index).lent = 0;
            }
            if let Some(back) = backs.get_mut(known) {
                *back = Back {
                    frame,
                    result: done.result,
                };
                known += 1;
            }
        }
        known
    }
}

/// Reads at `offset` until `buffer` is full, and waits for every request: the buffer is borrowed, so there is no way to
/// go on without it. The device has no other request under way. Lengths and places are on the device's alignment.
///
/// # Errors
/// The error number of a request that failed, or moved nothing, more than three times.
pub(super) fn read_whole(device: &dyn Device, buffer: &mut [u8], offset: u64) -> Result<(), i32> {
    let alignment = device.alignment_bytes().max(1) as usize;
    let mut moved = 0;
    let mut attempts = 0;
    while moved < buffer.len() {
        let rest = buffer.get_mut(moved..).unwrap_or_default();
        // Requests of a size that every device takes.
        let bytes = rest.len().min(1 << 20);
        let io = Io {
            token: 0,
            kind: IoKind::Read,
            offset: offset + moved as u64,
            buffer: rest.as_mut_ptr(),
            bytes: bytes as u32,
        };
        // SAFETY: the buffer is borrowed exclusively, and not looked at before the request is reported below.
        while !unsafe { device.submit(&io) } {
            device.reap(&mut []);
            device.wait(1_000_000);
        }
        let mut done = [IoDone::EMPTY];
        while device.reap(&mut done) == 0 {
            device.wait(10_000_000);
        }
        let [done] = done;
        let (now, os_error) = match done.result {
            Ok(now) if now as usize >= bytes => (bytes, 0),
            Ok(now) => (now as usize / alignment * alignment, 5),
            Err(os_error) => (0, os_error),
        };
        moved += now;
        attempts = if now == 0 { attempts + 1 } else { 0 };
        if attempts > 3 {
            return Err(os_error);
        }
    }
    Ok(())
}

/// Most requests that one reap reports: few, so that the frames of those go back to the device while the next are
/// verified. Many devices report a whole batch at once, and would have nothing to do for as long as all of it takes.
pub(super) const REAP_COUNT: usize = 4;

impl Log<'_> {
    /// Begins to read a block. `Progress` and one `Read` follow.
    ///
    /// # Errors
    /// [`Refused::Full`] if as many are being read as the plan has room for, [`Refused::Offline`].
    ///
    /// # Safety
    /// `target` is valid for writes of `payload_bytes` bytes, and used by nobody else, until `Read` is told, or
    /// `Offline`.
    pub unsafe fn read(&mut self, request: &ReadRequest) -> Result<(), Refused> {
        // SAFETY: I3, the caller's word.
        let target = unsafe { Target::new(request.target, request.payload_bytes) };
        self.read_begin(request, target)
    }
}
