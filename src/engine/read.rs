//! Match, get, acquire, release, touch.
//!
//! # Soundness
//! - **I1** Bytes of a slot are read only under a pin after the block's state was seen resident and unchanged
//!   (`Engine::pin`); nobody writes the slot then (`tier::cpu`, I2).
//! - **I2** A [`View`] holds a pin that never expires, so its bytes stay for as long as it lives.
#![allow(unsafe_code)]

use core::ops::Deref;

use super::Engine;
use crate::block::entry::Phase;
use crate::block::pins::PinKind;
use crate::block::{BlockRef, PinRef};
use crate::copy::Temperature;
use crate::error::Status;
use crate::index::Found;
use crate::key::Key;
use crate::metrics::{Counter, Operation};
use crate::units::SlotIndex;

/// A view of a resident block as it crosses the C boundary: 32 bytes, no padding.
///
/// The bytes stay readable and unchanged until [`Engine::release_raw`], or until the pin expires where the
/// configuration lets pins expire.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RawView {
    /// The first byte.
    pub data: *const u8,
    /// How many bytes.
    pub bytes: u64,
    /// The block.
    pub block: BlockRef,
    /// The pin that holds it.
    pub pin: PinRef,
}

impl RawView {
    /// A view of nothing.
    pub const EMPTY: Self = Self {
        data: core::ptr::null(),
        bytes: 0,
        block: BlockRef {
            index: 0,
            generation: 0,
        },
        pin: PinRef {
            index: 0,
            generation: 0,
        },
    };
}

// SAFETY: I1, a view is an address and two numbers; the bytes behind it are only read.
unsafe impl Send for RawView {}
// SAFETY: as above.
unsafe impl Sync for RawView {}

/// A resident block in place, without a copy. Dropping it releases the block.
pub struct View<'e> {
    engine: &'e Engine<'e>,
    raw: RawView,
}

impl View<'_> {
    /// Which block this is.
    pub fn block(&self) -> BlockRef {
        self.raw.block
    }
}

impl Deref for View<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: I2 keeps the bytes, I1 says that they were there.
        unsafe { core::slice::from_raw_parts(self.raw.data, self.raw.bytes as usize) }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // The pin does not expire, so it is still this view's to release.
        let released = self.engine.release_raw(&self.raw);
        debug_assert_eq!(released, Ok(()));
    }
}

/// Blocks that are asked for ahead of the one that is waited for.
const AHEAD: u64 = 16;
/// Times that a block is copied up for a caller before it is told to come again.
const ATTEMPTS: u32 = 64;

impl Engine<'_> {
    /// How many of `keys`, counted from the first, are resident without a gap. With `touch` they count as used.
    ///
    /// The answer is a snapshot: a block may be evicted before the next call. To keep the blocks, acquire them.
    pub fn match_prefix(&self, keys: &[Key], touch: bool) -> u64 {
        let stripe = self.stripe();
        let (asked, hits) = self.each_found(stripe, keys, touch, |found| found.is_some());
        self.count_match(stripe, (asked, hits));
        self.expect_missing(keys.get(hits as usize..).unwrap_or_default());
        hits
    }

    /// Which of `keys` are resident: `tiers[i]` becomes the mask of the tiers that hold block `i` (0: none). Returns
    /// how many are. `tiers` must be as long as `keys`; what is longer is left out.
    pub fn match_each(&self, keys: &[Key], touch: bool, tiers: &mut [u8]) -> u64 {
        let count = keys.len().min(tiers.len());
        let mut tiers = tiers.iter_mut();
        let stripe = self.stripe();
        let (mut prefix, mut whole) = (0, true);
        let (asked, hits) = self.each_found(stripe, &keys[..count], touch, |found| {
            if let Some(tier) = tiers.next() {
                *tier = found.map_or(0, |found| self.tiers_mask(found.index, found.state));
            }
            whole &= found.is_some();
            prefix += usize::from(whole);
            true
        });
        self.count_match(stripe, (asked, hits));
        self.expect_missing(keys.get(prefix..count).unwrap_or_default());
        hits
    }

    /// Tells a policy that wants to know it which blocks are likely to come: those that a request misses.
    #[inline]
    fn expect_missing(&self, missing: &[Key]) {
        if !missing.is_empty() && self.policy.listens() {
            let seed = self.config.hash_seed;
            self.policy.announce(
                missing.iter().map(|key| key.fingerprint(seed)),
                self.now_ns() / 1_000_000,
            );
        }
    }

    #[inline]
    fn count_match(&self, stripe: usize, (asked, hits): (u64, u64)) {
        for (counter, amount) in [(Counter::MatchHits, hits), (Counter::MatchMisses, asked - hits)] {
            if amount != 0 {
                self.counters.add(stripe, counter, amount);
            }
        }
    }

    /// Looks `keys` up in waves and tells `show` of each whether it is resident, until it answers false. Returns how
    /// many were looked up and how many of those were resident.
    #[inline]
    fn each_found(
        &self,
        stripe: usize,
        keys: &[Key],
        touch: bool,
        mut show: impl FnMut(Option<Found>) -> bool,
    ) -> (u64, u64) {
        let started = self.timer(stripe);
        let stamp = self.stamp_hit();
        let (mut asked, mut hits) = (0, 0);
        let mut last = None;
        self.index.find_each(keys, |found| {
            asked += 1;
            if let Some(found) = found {
                hits += 1;
                if touch {
                    self.entries[found.index as usize].touch(stamp);
                    last = Some(found);
                }
            }
            show(found)
        });
        if let Some(found) = last {
            self.foresee_use(stripe, found.index, found.state.generation());
        }
        self.time(started, Operation::Match);
        (asked, hits)
    }

    /// Notes a use of each of `keys` that is resident; returns how many are.
    pub fn touch(&self, keys: &[Key]) -> u64 {
        let stripe = self.stripe();
        let (_, touched) = self.each_found(stripe, keys, true, |_| true);
        self.counters.add(stripe, Counter::Touches, touched);
        touched
    }

    /// Pins the block under `key`, if it is resident, and notes the use.
    #[inline]
    fn pin(&self, stripe: usize, key: &Key, kind: PinKind) -> Result<(PinRef, Found), Status> {
        match self.index.find(key) {
            Some(found) if found.state.is_resident() => match self.pin_found(stripe, found, kind) {
                Err(Status::Miss) if self.lower.is_some() => self.pin_below(stripe, key, kind),
                answer => answer,
            },
            None if self.lower.is_none() => Err(Status::Miss),
            _ => self.pin_below(stripe, key, kind),
        }
    }

    /// As [`Engine::pin`] for a block that is below, or just on its way up or down: copies it up and waits for it.
    #[cold]
    #[inline(never)]
    fn pin_below(&self, stripe: usize, key: &Key, kind: PinKind) -> Result<(PinRef, Found), Status> {
        // Where there are fewer slots than callers, others may need the slot before this one has looked.
        for _ in 0..ATTEMPTS {
            self.fetch(key)?;
            if let Some(pinned) = self.pin_resident(stripe, key, kind)? {
                return Ok(pinned);
            }
        }
        Err(Status::Again)
    }

    /// Pins the block under `key` if it is in memory; `None` if it is not, any more.
    fn pin_resident(&self, stripe: usize, key: &Key, kind: PinKind) -> Result<Option<(PinRef, Found)>, Status> {
        let Some(found) = self.index.find(key).filter(|found| found.state.is_resident()) else {
            return Ok(None);
        };
        match self.pin_found(stripe, found, kind) {
            Ok(pinned) => {
                self.passes_through(found.index, found.state.generation());
                Ok(Some(pinned))
            }
            Err(Status::Miss) => Ok(None),
            Err(status) => Err(status),
        }
    }

    #[inline]
    fn pin_found(&self, stripe: usize, found: Found, kind: PinKind) -> Result<(PinRef, Found), Status> {
        let pin = self.pins.claim(stripe, found.index, kind).ok_or(Status::Again)?;
        let entry = &self.entries[found.index as usize];
        if entry.state_ordered() != found.state {
            self.unpin(pin, found.index);
            return Err(Status::Miss);
        }
        entry.touch(self.stamp_hit());
        Ok((pin, found))
    }

    /// Lets a pin go, and the block with it if it was removed in the meantime. False if the pin is gone already.
    #[inline]
    pub(super) fn unpin(&self, pin: PinRef, index: u32) -> bool {
        if !self.pins.release(pin, index) {
            return false;
        }
        // Whichever life it is in: a reader that came too late for one may have stood in the way of the end of the
        // next.
        let now = self.entries[index as usize].state_ordered();
        if now.phase() == Phase::Removed {
            self.reclaim(index, now.generation());
        }
        true
    }

    fn refused(&self, stripe: usize, status: Status, miss: Counter) -> Status {
        let counter = if status == Status::Again {
            Counter::Refusals
        } else {
            miss
        };
        self.counters.add(stripe, counter, 1);
        status
    }

    /// Copies the block under `key` into `target` and returns its length.
    ///
    /// # Errors
    /// [`Status::Miss`]; [`Status::TooSmall`] if `target` is shorter than the block; [`Status::Again`] if every pin
    /// record is taken. Nothing is written then.
    pub fn get(&self, key: &Key, target: &mut [u8], temperature: Temperature) -> Result<u64, Status> {
        // SAFETY: a slice is valid for its length, and exclusive, so not inside the slab.
        unsafe { self.get_raw(key, target.as_mut_ptr(), target.len() as u64, temperature) }
    }

    /// As [`Engine::get`], into any memory.
    ///
    /// # Errors
    /// As [`Engine::get`].
    ///
    /// # Safety
    /// `target` must be valid for writes of `target_bytes` bytes, used by nobody else during the call, and outside the
    /// engine's memory.
    pub unsafe fn get_raw(
        &self,
        key: &Key,
        target: *mut u8,
        target_bytes: u64,
        temperature: Temperature,
    ) -> Result<u64, Status> {
        let stripe = self.stripe();
        let started = self.timer(stripe);
        let (pin, found) = self
            .pin(stripe, key, PinKind::Transient)
            .map_err(|status| self.refused(stripe, status, Counter::GetMisses))?;
        let entry = &self.entries[found.index as usize];
        let bytes = u64::from(entry.bytes());
        if bytes <= target_bytes {
            // SAFETY: I1; `target` is the caller's word.
            unsafe {
                self.cpu
                    .read(SlotIndex(entry.slot()), target, bytes as usize, temperature)
            };
        }
        self.foresee_use(stripe, found.index, found.state.generation());
        self.unpin(pin, found.index);
        if bytes > target_bytes {
            return Err(Status::TooSmall);
        }
        self.counters.add(stripe, Counter::GetHits, 1);
        self.counters.add(stripe, Counter::GetBytes, bytes);
        self.time(started, Operation::Get);
        Ok(bytes)
    }

    /// Holds the block under `key` in place and shows it, without a copy.
    ///
    /// # Errors
    /// [`Status::Miss`]; [`Status::Again`] if as many views are held as the configuration allows.
    pub fn acquire<'e>(&'e self, key: &Key) -> Result<View<'e>, Status> {
        let raw = self.acquire_kind(key, PinKind::View)?;
        Ok(View { engine: self, raw })
    }

    /// As [`Engine::acquire`], as a value that the caller releases. The pin may expire where the configuration says so.
    ///
    /// # Errors
    /// As [`Engine::acquire`].
    pub fn acquire_raw(&self, key: &Key) -> Result<RawView, Status> {
        self.acquire_kind(key, self.view_kind())
    }

    fn view_kind(&self) -> PinKind {
        if self.config.pin_expiry_ms == 0 {
            PinKind::View
        } else {
            PinKind::ExpiringView
        }
    }

    #[inline]
    fn acquire_kind(&self, key: &Key, kind: PinKind) -> Result<RawView, Status> {
        let stripe = self.stripe();
        let started = self.timer(stripe);
        let (pin, found) = self
            .pin(stripe, key, kind)
            .map_err(|status| self.refused(stripe, status, Counter::AcquireMisses))?;
        let view = self.view(pin, found);
        self.foresee_use(stripe, found.index, found.state.generation());
        self.counters.add(stripe, Counter::Acquires, 1);
        self.time(started, Operation::Acquire);
        Ok(view)
    }

    #[inline]
    fn view(&self, pin: PinRef, found: Found) -> RawView {
        self.pins.set_since(pin, self.coarse_ns());
        let entry = &self.entries[found.index as usize];
        RawView {
            data: self.cpu.address(SlotIndex(entry.slot())),
            bytes: u64::from(entry.bytes()),
            block: BlockRef {
                index: found.index,
                generation: found.state.generation(),
            },
            pin,
        }
    }

    /// Acquires the longest resident prefix of `keys`, at most as many as `views` has room for, and returns its length.
    pub fn acquire_prefix_raw(&self, keys: &[Key], views: &mut [RawView]) -> u64 {
        let stripe = self.stripe();
        let kind = self.view_kind();
        let count = keys.len().min(views.len());
        if self.lower.is_some() {
            return self.acquire_prefix_below(stripe, &keys[..count], views, kind);
        }
        let mut acquired = 0;
        let mut places = views[..count].iter_mut();
        self.index.find_each(&keys[..count], |found| {
            let pinned = found.and_then(|found| self.pin_found(stripe, found, kind).ok());
            let (Some((pin, found)), Some(view)) = (pinned, places.next()) else {
                return false;
            };
            *view = self.view(pin, found);
            acquired += 1;
            true
        });
        self.counters.add(stripe, Counter::Acquires, acquired);
        if let Some(last) = acquired.checked_sub(1).and_then(|last| views.get(last as usize)) {
            self.foresee_use(stripe, last.block.index, last.block.generation);
        }
        if acquired < count as u64 {
            self.counters.add(stripe, Counter::AcquireMisses, 1);
        }
        acquired
    }

    /// How many blocks are asked for ahead: no more than a part of the slots, or one would displace the other.
    pub(super) fn ahead(&self) -> usize {
        AHEAD.min(self.plan.slots_count() / 4).max(1) as usize
    }

    /// As [`Engine::acquire_prefix_raw`] where blocks may have to be copied up: those that come next are asked for
    /// ahead.
    fn acquire_prefix_below(&self, stripe: usize, keys: &[Key], views: &mut [RawView], kind: PinKind) -> u64 {
        let mut acquired = 0;
        let mut asked = 0;
        for (at, (key, view)) in keys.iter().zip(views.iter_mut()).enumerate() {
            while asked < keys.len().min(at + self.ahead()) && self.ask(&keys[asked], None).is_ok() {
                asked += 1;
            }
            let Ok((pin, found)) = self.pin(stripe, key, kind) else {
                break;
            };
            *view = self.view(pin, found);
            acquired += 1;
        }
        self.counters.add(stripe, Counter::Acquires, acquired);
        if let Some(last) = acquired.checked_sub(1).and_then(|last| views.get(last as usize)) {
            self.foresee_use(stripe, last.block.index, last.block.generation);
        }
        if acquired < keys.len() as u64 {
            self.counters.add(stripe, Counter::AcquireMisses, 1);
        }
        acquired
    }

    /// As [`Engine::acquire_raw`], and a block that is below is lent while it is still on its way up: how much of it is
    /// there says [`Engine::view_ready`].
    ///
    /// # Errors
    /// As [`Engine::acquire_raw`].
    pub fn acquire_partial_raw(&self, key: &Key) -> Result<RawView, Status> {
        let (stripe, kind) = (self.stripe(), self.view_kind());
        let refused = |status| self.refused(stripe, status, Counter::AcquireMisses);
        loop {
            self.ask(key, Some(self.write_wait_ns())).map_err(refused)?;
            let Some(found) = self.index.find(key) else { continue };
            let pin = self
                .pins
                .claim(stripe, found.index, kind)
                .ok_or(Status::Again)
                .map_err(refused)?;
            let now = self.entries[found.index as usize].state_ordered();
            // It may have arrived since; with a slot of its own and pinned it stays.
            if now.generation() == found.state.generation() && matches!(now.phase(), Phase::Raising | Phase::Resident) {
                self.entries[found.index as usize].touch(self.stamp_hit());
                self.counters.add(stripe, Counter::Acquires, 1);
                self.pump();
                return Ok(self.view(pin, found));
            }
            self.unpin(pin, found.index);
        }
    }

    /// How many bytes of a view's block, from the first, are there and verified: all of them, or with
    /// [`Status::Pending`] those that have arrived so far. Does not wait; in tick mode it moves the file tiers on.
    ///
    /// # Errors
    /// [`Status::Pending`] and the bytes; [`Status::Miss`] if the block could not be read or verified, or was removed
    /// before it had arrived, and what is in the view is worth nothing; [`Status::Stale`] if the view is none.
    pub fn view_ready(&self, view: &RawView) -> Result<u64, (Status, u64)> {
        let stale = (Status::Stale, 0);
        let entry = self.entries.get(view.block.index as usize).ok_or(stale)?;
        if self.config.workers_count == 0 && entry.state().phase() == Phase::Raising {
            self.pump();
        }
        let state = entry.state();
        if state.generation() != view.block.generation || !self.pins.holds(view.pin, view.block.index) {
            return Err(stale);
        }
        let (ready, bytes) = (u64::from(entry.ready()), u64::from(entry.bytes()));
        match state.phase() {
            Phase::Raising => Err((Status::Pending, ready)),
            _ if ready == bytes => Ok(bytes),
            // Removed by somebody while it is still arriving.
            Phase::Removed if self.is_held(view.block.index, view.block.generation) => Err((Status::Pending, ready)),
            _ => Err((Status::Miss, 0)),
        }
    }

    /// Lets a view go. Its bytes must not be read any more.
    ///
    /// # Errors
    /// [`Status::Stale`] if the view was released before, or its pin expired.
    #[inline]
    pub fn release_raw(&self, view: &RawView) -> Result<(), Status> {
        let Some(entry) = self.entries.get(view.block.index as usize) else {
            return Err(Status::Stale);
        };
        let state = entry.state();
        if state.generation() != view.block.generation || !self.unpin(view.pin, view.block.index) {
            return Err(Status::Stale);
        }
        self.counters.add(self.stripe(), Counter::Releases, 1);
        Ok(())
    }
}
