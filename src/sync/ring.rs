//! A ring of indices from one producer to one consumer.
//!
//! Lamport's queue (ACM TOPLAS 5(2), 1983): the producer alone moves the tail, the consumer alone moves the head.
//! A lane has two: submissions from its owner to whoever drives the engine, completions back. Both hold at most as
//! many indices as the lane has tickets, so a ring that is big enough is never full.
//!
//! **Progress.** Wait-free for both. A producer or consumer that stops is simply not heard of; the other end sees an
//! empty or a full ring.

use super::atomic::{AtomicU32, Ordering};
use crossbeam_utils::CachePadded;

/// The ends of a ring; all-zero is empty. Each end on lines of its own.
pub(crate) struct RingEnds {
    head: CachePadded<AtomicU32>,
    tail: CachePadded<AtomicU32>,
}

impl RingEnds {
    /// The ends of an empty ring.
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            head: CachePadded::new(AtomicU32::new(0)),
            tail: CachePadded::new(AtomicU32::new(0)),
        }
    }
}

/// A ring over borrowed cells, whose number is a power of two.
pub(crate) struct Ring<'m> {
    ends: &'m RingEnds,
    cells: &'m [AtomicU32],
}

impl<'m> Ring<'m> {
    pub(crate) fn new(ends: &'m RingEnds, cells: &'m [AtomicU32]) -> Self {
        debug_assert!(cells.len().is_power_of_two());
        Self { ends, cells }
    }

    fn cell(&self, position: u32) -> &'m AtomicU32 {
        &self.cells[position as usize & (self.cells.len() - 1)]
    }

    /// Puts `index` in; false if the ring is full. The producer only.
    pub(crate) fn push(&self, index: u32) -> bool {
        // Relaxed: the producer's own.
        let tail = self.ends.tail.load(Ordering::Relaxed);
        // Acquire: partner is the release in `pop`; the cell was read before it is written again.
        let head = self.ends.head.load(Ordering::Acquire);
        if tail.wrapping_sub(head) as usize == self.cells.len() {
            return false;
        }
        self.cell(tail).store(index, Ordering::Relaxed);
        // Release: partner is the acquire in `peek`; hands over the cell and what the index stands for.
        self.ends.tail.store(tail.wrapping_add(1), Ordering::Release);
        true
    }

    /// Whether nothing is inside. Anybody may ask; the answer may be old.
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: a hint.
        self.ends.head.load(Ordering::Relaxed) == self.ends.tail.load(Ordering::Relaxed)
    }

    /// How many are inside. Anybody may ask; the answer may be old.
    pub(crate) fn len(&self) -> usize {
        // Relaxed: a hint.
        let head = self.ends.head.load(Ordering::Relaxed);
        (self.ends.tail.load(Ordering::Relaxed).wrapping_sub(head) as usize).min(self.cells.len())
    }

    /// The index that `pop` would give. The consumer only.
    pub(crate) fn peek(&self) -> Option<u32> {
        // Relaxed: the consumer's own.
        let head = self.ends.head.load(Ordering::Relaxed);
        // Acquire: partner is the release in `push`.
        let tail = self.ends.tail.load(Ordering::Acquire);
        (head != tail).then(|| self.cell(head).load(Ordering::Relaxed))
    }

    /// Takes the oldest index out. The consumer only.
    pub(crate) fn pop(&self) -> Option<u32> {
        let index = self.peek()?;
        let head = self.ends.head.load(Ordering::Relaxed);
        // Release: partner is the acquire in `push`.
        self.ends.head.store(head.wrapping_add(1), Ordering::Release);
        Some(index)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn agrees_with_a_queue(steps in prop::collection::vec(any::<(bool, u32)>(), 0..200)) {
            let ends = RingEnds::new();
            let cells: Vec<AtomicU32> = (0..8).map(|_| AtomicU32::new(0)).collect();
            let ring = Ring::new(&ends, &cells);
            let mut model = VecDeque::new();
            for (push, value) in steps {
                if push {
                    prop_assert_eq!(ring.push(value), model.len() < 8);
                    if model.len() < 8 {
                        model.push_back(value);
                    }
                } else {
                    prop_assert_eq!(ring.peek(), model.front().copied());
                    prop_assert_eq!(ring.pop(), model.pop_front());
                }
            }
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use std::vec::Vec;

    /// What the producer wrote before the push is seen after the pop, in order, once.
    #[test]
    fn hands_over_in_order() {
        loom::model(|| {
            let shared = Arc::new((
                RingEnds::new(),
                (0..2).map(|_| AtomicU32::new(0)).collect::<Vec<_>>(),
                (0..3).map(|_| AtomicU32::new(0)).collect::<Vec<_>>(),
            ));
            let producer = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    let ring = Ring::new(&shared.0, &shared.1);
                    (0..3)
                        .take_while(|&index| {
                            shared.2[index as usize].store(index + 10, Ordering::Relaxed);
                            ring.push(index)
                        })
                        .count() as u32
                })
            };
            let ring = Ring::new(&shared.0, &shared.1);
            let mut next = 0;
            let mut take = || {
                if let Some(index) = ring.pop() {
                    assert_eq!(index, next);
                    assert_eq!(shared.2[index as usize].load(Ordering::Relaxed), index + 10);
                    next += 1;
                }
            };
            take();
            take();
            let pushed = producer.join().unwrap();
            for _ in 0..3 {
                take();
            }
            assert_eq!(next, pushed);
        });
    }
}
