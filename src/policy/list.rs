//! Lists of blocks in the order in which they came, for policies that go by queues.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Half words of a list's head in the fixed part.
pub(super) const LIST_WORDS: usize = 3;

/// By node: `next + 1 << 32 | previous + 1`, where 0 is none.
#[derive(Clone, Copy)]
pub(super) struct Links<'m> {
    words: &'m [AtomicU64],
    stride: usize,
    at: usize,
}

impl<'m> Links<'m> {
    /// Links in a word for each node.
    pub(super) fn new(words: &'m [AtomicU64]) -> Self {
        Self::strided(words, 1, 0)
    }

    /// Links in the word at `at` of the `stride` words of each node.
    pub(super) fn strided(words: &'m [AtomicU64], stride: usize, at: usize) -> Self {
        Self { words, stride, at }
    }

    fn word(self, node: u32) -> &'m AtomicU64 {
        &self.words[node as usize * self.stride + self.at]
    }

    fn get(self, node: u32) -> (u32, u32) {
        let link = self.word(node).load(Relaxed);
        ((link >> 32) as u32, link as u32)
    }

    fn set(self, node: u32, next: u32, previous: u32) {
        self.word(node)
            .store(u64::from(next) << 32 | u64::from(previous), Relaxed);
    }

    /// The node that came after this one.
    pub(super) fn next(self, node: u32) -> Option<u32> {
        self.get(node).0.checked_sub(1)
    }
}

/// A doubly linked list, the oldest first.
#[derive(Clone, Copy)]
pub(super) struct List<'m> {
    first: &'m AtomicU32,
    last: &'m AtomicU32,
    count: &'m AtomicU32,
    links: Links<'m>,
}

impl<'m> List<'m> {
    /// The list whose head begins at `heads[at]`, linked through `links`.
    pub(super) fn new(heads: &'m [AtomicU32], at: usize, links: Links<'m>) -> Self {
        Self {
            first: &heads[at],
            last: &heads[at + 1],
            count: &heads[at + 2],
            links,
        }
    }

    pub(super) fn len(self) -> u32 {
        self.count.load(Relaxed)
    }

    pub(super) fn first(self) -> Option<u32> {
        self.first.load(Relaxed).checked_sub(1)
    }

    /// Appends a node that is in no list.
    pub(super) fn append(self, node: u32) {
        let last = self.last.load(Relaxed);
        self.links.set(node, 0, last);
        match last {
            0 => self.first.store(node + 1, Relaxed),
            _ => self.links.set(last - 1, node + 1, self.links.get(last - 1).1),
        }
        self.last.store(node + 1, Relaxed);
        self.count.store(self.len() + 1, Relaxed);
    }

    /// Takes out a node that is in this list.
    pub(super) fn unlink(self, node: u32) {
        let (next, previous) = self.links.get(node);
        match previous {
            0 => self.first.store(next, Relaxed),
            _ => self.links.set(previous - 1, next, self.links.get(previous - 1).1),
        }
        match next {
            0 => self.last.store(previous, Relaxed),
            _ => self.links.set(next - 1, self.links.get(next - 1).0, previous),
        }
        self.count.store(self.len() - 1, Relaxed);
    }
}

/// What is kept of a block: where it is, in which class, and which of its uses are on its account.
///
/// `generation (low 7 bits) << 25 | class << 18 | place << 16 | base`; `uses - base` are the uses that count. All-zero
/// is a block that was never seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Record(pub(super) u32);

impl Record {
    /// `place` is what the policy makes of its two bits.
    pub(super) fn new(generation: u32, class: u8, place: u32, base: u16) -> Self {
        Self(generation << 25 | u32::from(class & 127) << 18 | place << 16 | u32::from(base))
    }
    pub(super) fn place(self) -> u32 {
        self.0 >> 16 & 3
    }
    pub(super) fn class(self) -> u8 {
        (self.0 >> 18 & 127) as u8
    }
    pub(super) fn base(self) -> u16 {
        self.0 as u16
    }
    pub(super) fn same_life(self, generation: u32) -> bool {
        self.0 >> 25 == generation & 127
    }
}
