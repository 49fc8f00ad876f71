//! References under loom: nobody reads a slot that somebody else writes, and each slot is freed exactly once.

use super::*;
use crate::sync::atomic::AtomicU32;
use loom::sync::Arc;
use std::vec::Vec;

const DIGEST: u64 = 3;

struct Shared {
    slots: Vec<AtomicU64>,
    cells: Vec<AtomicU64>,
    totals: SharedTotals,
    /// What the slot holds: written by who has it as his own, read under a reference.
    contents: AtomicU32,
    freed: AtomicU32,
}

impl Shared {
    /// One slot, offered, that holds 7.
    fn offered() -> Arc<Self> {
        let words = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        let shared = Self {
            slots: words(2),
            cells: words(LINE_CELLS),
            totals: SharedTotals::new(),
            contents: AtomicU32::new(7),
            freed: AtomicU32::new(0),
        };
        shared.sharing().offer(0, DIGEST, 8);
        Arc::new(shared)
    }

    fn sharing(&self) -> Sharing<'_> {
        Sharing::new(&self.slots, &self.cells, &self.totals, 4)
    }

    fn read(&self) -> u32 {
        self.contents.load(Ordering::Relaxed)
    }

    /// The slot is the caller's own.
    fn free(&self) {
        self.contents.store(0, Ordering::Relaxed);
        self.freed.fetch_add(1, Ordering::Relaxed);
    }

    /// Looks for the contents, and gives the reference up again if there was one.
    fn share(&self, contents: u32) -> bool {
        let search = self
            .sharing()
            .find(DIGEST, 8, |_| self.read() == contents, |_| self.free());
        if search.slot.is_some() {
            assert_eq!(self.read(), contents, "the slot was written under a reference");
            if self.sharing().let_go(0) {
                self.free();
            }
        }
        search.slot.is_some()
    }

    fn finish(&self, freed: u32) {
        assert_eq!(self.freed.load(Ordering::Relaxed), freed);
        assert_eq!(self.totals.bytes(), 0);
        assert_eq!(self.totals.references.load(Ordering::Relaxed), 0);
        assert!(self.cells.iter().all(|cell| cell.load(Ordering::Relaxed) == 0));
    }
}

/// One commits the bytes of a block that another evicts: it gets them whole, or not at all.
#[test]
fn a_slot_stays_while_somebody_has_a_reference() {
    loom::model(|| {
        let shared = Shared::offered();
        let other = {
            let shared = shared.clone();
            loom::thread::spawn(move || shared.share(7))
        };
        if shared.sharing().let_go(0) {
            shared.free();
        }
        other.join().unwrap();
        shared.finish(1);
    });
}

/// Of two that give up the last references one frees the slot.
#[test]
fn the_last_of_two_frees_the_slot() {
    loom::model(|| {
        let shared = Shared::offered();
        assert!(
            shared
                .sharing()
                .find(DIGEST, 8, |_| true, |_| unreachable!())
                .slot
                .is_some()
        );
        let leave = |shared: &Shared| {
            assert_eq!(shared.read(), 7, "freed while somebody has a reference");
            if shared.sharing().let_go(0) {
                shared.free();
            }
        };
        let other = {
            let shared = shared.clone();
            loom::thread::spawn(move || leave(&shared))
        };
        leave(&shared);
        other.join().unwrap();
        shared.finish(1);
    });
}

/// The slot goes, comes back with other bytes and the same digest, and goes again, while somebody looks for the first
/// ones: he never takes one for the other.
#[test]
fn a_slot_that_came_back_is_another_slot() {
    loom::model(|| {
        let shared = Shared::offered();
        let other = {
            let shared = shared.clone();
            loom::thread::spawn(move || shared.share(7))
        };
        let sharing = shared.sharing();
        if sharing.let_go(0) {
            shared.contents.store(9, Ordering::Relaxed);
            sharing.offer(0, DIGEST, 8);
            if sharing.let_go(0) {
                shared.free();
            }
        }
        other.join().unwrap();
        shared.finish(1);
    });
}
