//! A free list of places, as a stack of indices.
//!
//! Treiber's stack (R. K. Treiber, "Systems programming: coping with parallelism", IBM RJ 5118, 1986) over indices,
//! with a count in the head word that every change moves on, so that a head that came back to the same index is not
//! mistaken for one that never left. Places never handed out are not on the stack at all: a second counter says where
//! they begin, so that all-zero memory is a full list and opening writes nothing.
//!
//! **Progress.** Lock-free: a `pop` or `push` repeats only because another one succeeded. A thread that stops anywhere
//! in here keeps at most the place it was about to return or to push; nobody waits for it.

use super::atomic::{AtomicU32, AtomicU64, Ordering};

/// The shared words of a free list; all-zero is "every place is free".
pub(crate) struct FreeListHead {
    /// `count of changes << 32 | index + 1`; 0 in the low half is an empty stack.
    top: AtomicU64,
    /// Places below this were handed out at least once.
    fresh: AtomicU64,
}

impl FreeListHead {
    /// A head over words of the arena.
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            top: AtomicU64::new(0),
            fresh: AtomicU64::new(0),
        }
    }
}

/// A free list over borrowed words.
pub(crate) struct FreeList<'m> {
    head: &'m FreeListHead,
    links: &'m [AtomicU32],
}

impl<'m> FreeList<'m> {
    /// A list over `links`; with all-zero words every place is free.
    pub(crate) fn new(head: &'m FreeListHead, links: &'m [AtomicU32]) -> Self {
        Self { head, links }
    }

    /// Takes a free place, the most recently freed first.
    pub(crate) fn pop(&self) -> Option<u32> {
        // Acquire: partner is the release in `push`, so that the link of the top is the one stored before it.
        let mut top = self.head.top.load(Ordering::Acquire);
        while let Some(index) = (top as u32).checked_sub(1) {
            // Relaxed: the acquire above ordered it. Stale when another thread popped this place in the meantime, and
            // then the count in `top` has moved on and the exchange fails.
            let next = self.links[index as usize].load(Ordering::Relaxed);
            let target = bump(top) | u64::from(next);
            // Acquire on both: partner is the release in `push`, for the next round's link or the caller's use.
            match self
                .head
                .top
                .compare_exchange_weak(top, target, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => return Some(index),
                Err(seen) => top = seen,
            }
        }
        self.pop_fresh()
    }

    fn pop_fresh(&self) -> Option<u32> {
        let count = self.links.len() as u64;
        // Relaxed throughout: the counter hands out places that nobody has written to.
        let mut fresh = self.head.fresh.load(Ordering::Relaxed);
        while fresh < count {
            match self
                .head
                .fresh
                .compare_exchange_weak(fresh, fresh + 1, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Some(fresh as u32),
                Err(seen) => fresh = seen,
            }
        }
        None
    }

    /// Gives a place back. It must have come from [`pop`](Self::pop) and be used by nobody.
    pub(crate) fn push(&self, index: u32) {
        // Relaxed: only the exchange below publishes.
        let mut top = self.head.top.load(Ordering::Relaxed);
        loop {
            self.links[index as usize].store(top as u32, Ordering::Relaxed);
            // Release: partner is the acquire in `pop`; hands over the link and whatever the freeing thread wrote.
            match self.head.top.compare_exchange_weak(
                top,
                bump(top) | u64::from(index + 1),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(seen) => top = seen,
            }
        }
    }
}

fn bump(top: u64) -> u64 {
    ((top >> 32).wrapping_add(1)) << 32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    #[test]
    fn hands_out_every_place_once_and_takes_them_back() {
        let head = FreeListHead::new();
        let links: Vec<AtomicU32> = (0..5).map(|_| AtomicU32::new(0)).collect();
        let list = FreeList::new(&head, links.as_slice());
        let all: BTreeSet<u32> = core::iter::from_fn(|| list.pop()).collect();
        assert_eq!(all, (0..5).collect());
        assert_eq!(list.pop(), None);
        list.push(3);
        list.push(1);
        assert_eq!((list.pop(), list.pop(), list.pop()), (Some(1), Some(3), None));
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use std::vec::Vec;

    struct Shared {
        head: FreeListHead,
        links: Vec<AtomicU32>,
        owners: Vec<AtomicU32>,
    }

    /// Two threads pop and push; no place is ever owned twice, and none is lost.
    #[test]
    fn no_place_has_two_owners() {
        loom::model(|| {
            let shared = Arc::new(Shared {
                head: FreeListHead::new(),
                links: (0..2).map(|_| AtomicU32::new(0)).collect(),
                owners: (0..2).map(|_| AtomicU32::new(0)).collect(),
            });
            let work = |shared: &Shared| {
                let list = FreeList::new(&shared.head, shared.links.as_slice());
                for _ in 0..2 {
                    if let Some(index) = list.pop() {
                        let owner = &shared.owners[index as usize];
                        assert_eq!(owner.swap(1, Ordering::Relaxed), 0, "two owners");
                        owner.store(0, Ordering::Relaxed);
                        list.push(index);
                    }
                }
            };
            let other = {
                let shared = shared.clone();
                loom::thread::spawn(move || work(&shared))
            };
            work(&shared);
            other.join().unwrap();
            let list = FreeList::new(&shared.head, shared.links.as_slice());
            let mut left: Vec<u32> = core::iter::from_fn(|| list.pop()).collect();
            left.sort_unstable();
            assert_eq!(left, [0, 1]);
        });
    }

    /// A thread that stops in the middle of a pop, while another pops two places and gives the first one back, does not
    /// take the stack to be the one it saw.
    #[test]
    fn a_head_that_came_back_is_another_head() {
        loom::model(|| {
            let shared = Arc::new(Shared {
                head: FreeListHead::new(),
                links: (0..2).map(|_| AtomicU32::new(0)).collect(),
                owners: (0..2).map(|_| AtomicU32::new(0)).collect(),
            });
            let list = FreeList::new(&shared.head, shared.links.as_slice());
            let all = [list.pop().unwrap(), list.pop().unwrap()];
            all.iter().for_each(|&index| list.push(index));
            let take = |shared: &Shared| {
                let index = FreeList::new(&shared.head, shared.links.as_slice()).pop()?;
                let owner = shared.owners[index as usize].swap(1, Ordering::Relaxed);
                assert_eq!(owner, 0, "two owners");
                Some(index)
            };
            let give = |shared: &Shared, index: u32| {
                shared.owners[index as usize].store(0, Ordering::Relaxed);
                FreeList::new(&shared.head, shared.links.as_slice()).push(index);
            };
            let other = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    let (first, second) = (take(&shared), take(&shared));
                    first.iter().for_each(|&index| give(&shared, index));
                    second.iter().for_each(|&index| give(&shared, index));
                })
            };
            let (first, second) = (take(&shared), take(&shared));
            first.iter().for_each(|&index| give(&shared, index));
            second.iter().for_each(|&index| give(&shared, index));
            other.join().unwrap();
        });
    }
}
