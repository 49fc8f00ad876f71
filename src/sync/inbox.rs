//! A set of blocks that somebody has to look at: many threads put in, the holder of a turn takes all.
//!
//! A block is in the inbox at most once however often it is put in, so the inbox is bounded by the number of blocks
//! and never loses one. It is a stack of indices that is only ever emptied as a whole, which rules out the trouble of
//! a head that comes back.
//!
//! **Progress.** Putting in is lock-free (it repeats only because another put succeeded); taking all is wait-free
//! plus the length of what was taken. A thread that stops between its two steps in [`Inbox::put`] delays the news of
//! its one block and nothing else.

use super::atomic::{AtomicU32, Ordering};

const IN_INBOX: u32 = 1 << 31;
const NEXT: u32 = IN_INBOX - 1;

/// A set of indices over borrowed words; all-zero is empty.
pub(crate) struct Inbox<'m> {
    head: &'m AtomicU32,
    links: &'m [AtomicU32],
}

impl<'m> Inbox<'m> {
    /// An inbox over one head word and a link for each block.
    pub(crate) fn new(head: &'m AtomicU32, links: &'m [AtomicU32]) -> Self {
        Self { head, links }
    }

    /// Puts `index` in, unless it is there already.
    pub(crate) fn put(&self, index: u32) {
        let link = &self.links[index as usize];
        // AcqRel: release hands the block's state to the taker that clears this word (partner: the swap in
        // `take_all`), also when the block was in the inbox already; acquire orders after an earlier taker's clearing.
        if link.fetch_or(IN_INBOX, Ordering::AcqRel) & IN_INBOX != 0 {
            return;
        }
        // Relaxed: only the exchange publishes.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // AcqRel and an exchange, not a store: it takes over the news of a `put` that found the mark set since
            // (partner: its `fetch_or`), and the exchange below passes that on.
            link.swap(IN_INBOX | head, Ordering::AcqRel);
            // Release: partner is the acquire swap of the head in `take_all`.
            match self
                .head
                .compare_exchange_weak(head, index + 1, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(seen) => head = seen,
            }
        }
    }

    /// Whether there is anything inside.
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: a hint; what comes in later is taken later.
        self.head.load(Ordering::Relaxed) == 0
    }

    /// Empties the inbox and shows each block in it, first in first out. One thread at a time (the turn's holder).
    pub(crate) fn take_all(&self, mut show: impl FnMut(u32)) {
        // Acquire: partner is the release exchange in `put`.
        let mut newest = self.head.swap(0, Ordering::Acquire);
        // The chain runs from the newest to the oldest; turn it round.
        let mut oldest = 0;
        while newest != 0 {
            let link = &self.links[newest as usize - 1];
            // AcqRel and an exchange, not a store, for the same reason as in `put`: the news of a `put` that found the
            // mark set must not be cut off from the exchange below.
            let next = link.swap(IN_INBOX | oldest, Ordering::AcqRel) & NEXT;
            oldest = newest;
            newest = next;
        }
        while oldest != 0 {
            let index = oldest - 1;
            // AcqRel: release lets a later `put` of this block chain anew; acquire sees the state that a `put` which
            // found the mark set left behind (partners: the `fetch_or` in `put`).
            let link = self.links[index as usize].swap(0, Ordering::AcqRel);
            oldest = link & NEXT;
            show(index);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn shows_each_block_once_in_order() {
        let head = AtomicU32::new(0);
        let links: Vec<AtomicU32> = (0..8).map(|_| AtomicU32::new(0)).collect();
        let inbox = Inbox::new(&head, &links);
        for index in [3, 0, 3, 7, 0] {
            inbox.put(index);
        }
        let mut seen = Vec::new();
        inbox.take_all(|index| seen.push(index));
        assert_eq!(seen, [3, 0, 7]);
        assert!(inbox.is_empty());
        inbox.put(7);
        let mut seen = Vec::new();
        inbox.take_all(|index| seen.push(index));
        assert_eq!(seen, [7]);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use std::vec::Vec;

    /// News is never lost: whatever a putter changed before `put` is seen by a take that comes after or by a later one.
    #[test]
    fn news_is_never_lost() {
        loom::model(|| {
            let shared = Arc::new((
                AtomicU32::new(0),
                (0..2).map(|_| AtomicU32::new(0)).collect::<Vec<_>>(),
                AtomicU32::new(0),
            ));
            let other = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    let inbox = Inbox::new(&shared.0, &shared.1);
                    shared.2.store(1, Ordering::Relaxed);
                    inbox.put(0);
                    inbox.put(1);
                    shared.2.store(2, Ordering::Relaxed);
                    inbox.put(0);
                })
            };
            let inbox = Inbox::new(&shared.0, &shared.1);
            let mut seen = 0;
            inbox.take_all(|index| {
                if index == 0 {
                    seen = shared.2.load(Ordering::Relaxed);
                    assert!(seen >= 1);
                }
            });
            other.join().unwrap();
            inbox.take_all(|index| {
                if index == 0 {
                    seen = shared.2.load(Ordering::Relaxed);
                }
            });
            assert_eq!(seen, 2);
            assert!(inbox.is_empty());
        });
    }

    /// Who finds a block in the inbox already leaves its news with whoever put it there, at whatever step that one is.
    #[test]
    fn news_of_a_second_putter_is_never_lost() {
        loom::model(|| {
            let shared = Arc::new((AtomicU32::new(0), [AtomicU32::new(0)], AtomicU32::new(0)));
            let first = {
                let shared = shared.clone();
                loom::thread::spawn(move || Inbox::new(&shared.0, &shared.1).put(0))
            };
            let second = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    shared.2.store(1, Ordering::Relaxed);
                    Inbox::new(&shared.0, &shared.1).put(0);
                })
            };
            let mut seen = 0;
            let inbox = Inbox::new(&shared.0, &shared.1);
            inbox.take_all(|_| seen = shared.2.load(Ordering::Relaxed));
            first.join().unwrap();
            second.join().unwrap();
            inbox.take_all(|_| seen = shared.2.load(Ordering::Relaxed));
            assert_eq!(seen, 1);
            assert!(inbox.is_empty());
        });
    }
}
