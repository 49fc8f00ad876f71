//! The state word under loom: what the engine's `evict_block`, `remove_block` and `unpin` do to it, step by step,
//! beside each other. Pins alone are modelled in `pins.rs`, the way from a key to the entry in the index.

use super::entry::{Entry, Phase};
use super::pins::{PinKind, PinTable};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;
use std::vec::Vec;

const KEY: [u64; 4] = [1, 2, 3, 4];
const PINS: usize = 2;
/// Words at the head of the one stripe, as `pins.rs` has them.
const HEADER_WORDS: usize = 16;

struct Shared {
    entry: Entry,
    words: Vec<AtomicU64>,
    since: Vec<AtomicU64>,
    payload: AtomicU64,
    /// How often somebody announced that the block is gone, and how often its place was freed.
    gone: AtomicU32,
    freed: AtomicU32,
}

impl Shared {
    fn new() -> Self {
        let zeroes = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            entry: Entry::new(),
            words: zeroes(HEADER_WORDS + PINS),
            since: zeroes(PINS),
            payload: AtomicU64::new(0),
            gone: AtomicU32::new(0),
            freed: AtomicU32::new(0),
        }
    }

    fn resident() -> Arc<Self> {
        let shared = Self::new();
        let state = shared.entry.reserve(&KEY, 0, 8);
        assert!(shared.entry.commit(state.generation(), 8, 0));
        Arc::new(shared)
    }

    fn pins(&self) -> PinTable<'_> {
        PinTable::new(&self.words, &self.since, 1, PINS)
    }

    fn announce_gone(&self) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }

    fn free(&self, from: Phase) {
        if self.entry.free(1, from) {
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn reclaim(&self) {
        if self.pins().pinned(&[0]) == 0 {
            self.free(Phase::Removed);
        }
    }

    fn read(&self) {
        if let Some(state) = self.entry.known_as(&KEY) {
            let pin = self.pins().claim(0, 0, PinKind::Transient).expect("there are two");
            if self.entry.state_ordered() == state {
                assert_eq!(self.freed.load(Ordering::Relaxed), 0, "read after it was freed");
            }
            assert!(self.pins().release(pin, 0));
            if self.entry.state_ordered().phase() == Phase::Removed {
                self.reclaim();
            }
        }
    }

    fn evict(&self) {
        if !self.entry.condemn(1) {
            return;
        }
        let pinned = self.pins().pinned(&[0]) != 0;
        if pinned && self.entry.roll_back(1) {
            return;
        }
        let claimed = !pinned && self.entry.claim(1, Phase::Condemned);
        let from = if claimed { Phase::Claimed } else { Phase::Doomed };
        self.announce_gone();
        if pinned {
            assert!(self.entry.remove(1, from));
            self.reclaim();
        } else {
            self.free(from);
        }
    }

    /// True if the block was there to be removed.
    fn remove(&self) -> bool {
        loop {
            match self.entry.state().phase() {
                Phase::Resident if self.entry.claim(1, Phase::Resident) => {
                    self.announce_gone();
                    assert!(self.entry.remove(1, Phase::Claimed));
                    self.reclaim();
                    return true;
                }
                Phase::Condemned if self.entry.doom(1) => return true,
                Phase::Resident | Phase::Condemned => {}
                _ => return false,
            }
        }
    }
}

fn spawn(shared: &Arc<Shared>, act: fn(&Shared)) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || act(&shared))
}

/// A reader, an evictor and a remover at once: after the remove the block is not there, it was announced once, and its
/// place is freed once.
#[test]
fn what_was_removed_is_gone_once_and_never_comes_back() {
    loom::model(|| {
        let shared = Shared::resident();
        let reader = spawn(&shared, Shared::read);
        let evictor = spawn(&shared, Shared::evict);
        shared.remove();
        assert!(!shared.entry.state().is_resident(), "removed, and there again");
        reader.join().unwrap();
        evictor.join().unwrap();
        assert_eq!(shared.gone.load(Ordering::Relaxed), 1);
        assert_eq!(shared.freed.load(Ordering::Relaxed), 1);
        assert_eq!(shared.entry.state().phase(), Phase::Free);
    });
}

/// Who finds a block readable finds all of its bytes.
#[test]
fn a_commit_shows_the_whole_block() {
    loom::model(|| {
        let shared = Arc::new(Shared::new());
        let state = shared.entry.reserve(&KEY, 0, 8);
        let producer = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.payload.store(7, Ordering::Relaxed);
                assert!(shared.entry.commit(state.generation(), 5, 3));
            })
        };
        if shared.entry.known_as(&KEY).is_some() {
            assert_eq!(shared.payload.load(Ordering::Relaxed), 7);
            assert_eq!((shared.entry.bytes(), shared.entry.recency().stamp()), (5, 3));
        }
        producer.join().unwrap();
    });
}

/// Commit and expiry of one reservation: one of them has it.
#[test]
fn a_reservation_ends_once() {
    loom::model(|| {
        let shared = Arc::new(Shared::new());
        let generation = shared.entry.reserve(&KEY, 0, 8).generation();
        let committer = {
            let shared = shared.clone();
            thread::spawn(move || shared.entry.commit(generation, 5, 3))
        };
        let aborted = shared.entry.claim(generation, Phase::Reserved);
        if aborted {
            assert!(shared.entry.remove(generation, Phase::Claimed));
            shared.reclaim();
        }
        let committed = committer.join().unwrap();
        assert!(committed != aborted);
        assert_eq!(shared.entry.state().is_resident(), committed);
        assert_eq!(shared.freed.load(Ordering::Relaxed), u32::from(aborted));
    });
}
