//! What the policy keeps of each block: four words.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Words of a block.
pub(super) const WORDS: usize = 4;

/// The policy knows the block.
const KNOWN: u16 = 1;
/// The chain went on from this block, or from one behind it, in several ways.
const SHARED: u16 = 1 << 1;
/// The chain went on from this very block in several ways.
const BRANCHED: u16 = 1 << 2;
/// It is in a list instead of the tree.
const LISTED: u16 = 1 << 3;
/// What followed it went, and is remembered as a run.
const RUN: u16 = 1 << 4;
/// How many blocks were behind it at most: 0, 1, or 2 for more; two bits.
const HEIGHT: u32 = 5;
/// How deep its chain was, in three steps; two bits.
const DEPTH: u32 = 7;
const CHILDREN_BITS: u32 = 20;
const CHILDREN_MAX: u32 = (1 << CHILDREN_BITS) - 1;

/// A block's record, unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Parent's place + 1, 0 for none.
    pub(super) parent: u32,
    /// Which life of its place the parent is.
    pub(super) parent_life: u16,
    /// Which life of its place this is.
    pub(super) life: u16,
    /// When it was last seen used, in milliseconds, and how often it had been.
    pub(super) noted_ms: u32,
    pub(super) noted_uses: u16,
    /// Which turn of its chain it came with.
    pub(super) turn: u8,
    /// What kind of block it was when that was noted.
    pub(super) kind: u8,
    /// In the tree: place among the leaves + 1, 0 for none. In a list: which.
    pub(super) position: u32,
    /// Children in the tree; where there is a run, its blocks.
    pub(super) children: u32,
    pub(super) flags: u16,
    /// In the tree: a mark of the first child and when the block came, or the fingerprint of the run. In a list: the
    /// links.
    pub(super) word: u64,
}

macro_rules! flags {
    ($($get:ident, $set:ident, $flag:ident;)+) => {
        $(
            pub(super) fn $get(&self) -> bool {
                self.flags & $flag != 0
            }
            pub(super) fn $set(&mut self, on: bool) {
                self.flags = self.flags & !$flag | if on { $flag } else { 0 };
            }
        )+
    };
}

impl Record {
    flags! {
        is_known, set_known, KNOWN;
        is_shared, set_shared, SHARED;
        is_branched, set_branched, BRANCHED;
        is_listed, set_listed, LISTED;
        has_run, set_run, RUN;
    }

    /// How many blocks were behind it at most: 0, 1, or 2 for more.
    pub(super) fn height(&self) -> u16 {
        self.flags >> HEIGHT & 3
    }

    pub(super) fn set_height(&mut self, height: u16) {
        self.flags = self.flags & !(3 << HEIGHT) | height << HEIGHT;
    }

    /// How deep its chain was, in steps.
    pub(super) fn depth_step(&self) -> u16 {
        self.flags >> DEPTH & 3
    }

    pub(super) fn set_depth_step(&mut self, step: u16) {
        self.flags = self.flags & !(3 << DEPTH) | step << DEPTH;
    }

    /// A mark of the first child, 0 for none. Only in the tree and without a run.
    pub(super) fn first_child(&self) -> u32 {
        (self.word >> 32) as u32
    }

    /// Notes the first child, and when the block came.
    pub(super) fn set_first_child(&mut self, mark: u32, born: u32) {
        self.word = u64::from(mark) << 32 | u64::from(born);
    }

    /// When the block came, in insertions. As [`Record::first_child`].
    pub(super) fn born(&self) -> u32 {
        self.word as u32
    }
}

/// All records.
#[derive(Clone, Copy)]
pub(super) struct Records<'m>(pub(super) &'m [AtomicU64]);

impl Records<'_> {
    fn words(self, index: u32) -> [u64; WORDS] {
        let at = index as usize * WORDS;
        core::array::from_fn(|word| self.0[at + word].load(Relaxed))
    }

    /// How many there are.
    pub(super) fn len(self) -> u32 {
        (self.0.len() / WORDS) as u32
    }

    pub(super) fn get(self, index: u32) -> Record {
        let [links, noted, place, word] = self.words(index);
        Record {
            parent: (links >> 32) as u32,
            parent_life: (links >> 16) as u16,
            life: links as u16,
            noted_ms: (noted >> 32) as u32,
            noted_uses: (noted >> 16) as u16,
            turn: (noted >> 8) as u8,
            kind: noted as u8,
            position: (place >> 32) as u32,
            children: (place >> 12) as u32 & CHILDREN_MAX,
            flags: place as u16 & 0xFFF,
            word,
        }
    }

    pub(super) fn set(self, index: u32, record: &Record) {
        let at = index as usize * WORDS;
        let words = [
            u64::from(record.parent) << 32 | u64::from(record.parent_life) << 16 | u64::from(record.life),
            u64::from(record.noted_ms) << 32
                | u64::from(record.noted_uses) << 16
                | u64::from(record.turn) << 8
                | u64::from(record.kind),
            u64::from(record.position) << 32
                | u64::from(record.children.min(CHILDREN_MAX)) << 12
                | u64::from(record.flags & 0xFFF),
            record.word,
        ];
        for (cell, word) in self.0[at..at + WORDS].iter().zip(words) {
            cell.store(word, Relaxed);
        }
    }

    /// Changes one.
    pub(super) fn change(self, index: u32, change: impl FnOnce(&mut Record)) {
        let mut record = self.get(index);
        change(&mut record);
        self.set(index, &record);
    }
}
