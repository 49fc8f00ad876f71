//! Making durable: one sync at a time, for the flushes asked for and for segments that wait to be written again.
//!
//! A sync covers the frames that were written when it was submitted. It is never repeated for those who waited for it:
//! what the device lost then, a later sync does not bring back.

use super::Log;

/// Flushes that can be asked for before one is done; more are done together with the last.
const FLUSHES_COUNT: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum FlushStage {
    /// Its frames are under way.
    Writing,
    /// They are written; a sync is due.
    Written,
    /// Durable.
    Durable,
    /// A write or the sync failed.
    Failed,
}

#[derive(Clone, Copy)]
struct Flush {
    first: u64,
    last: u64,
    /// It covers the frames behind `previous`, up to `target`.
    previous: u64,
    target: u64,
    stage: FlushStage,
}

/// Flushes and the sync.
pub(super) struct Syncs {
    /// Every frame up to this ticket is durable.
    pub(super) durable: u64,
    /// The sync under way covers the frames up to this ticket.
    under_way: Option<u64>,
    flushes: [Flush; FLUSHES_COUNT],
    /// Number of the flush asked for last.
    number: u64,
}

impl Syncs {
    pub(super) fn new() -> Self {
        let none = Flush {
            first: 0,
            last: 0,
            previous: 0,
            target: 0,
            stage: FlushStage::Durable,
        };
        Self {
            durable: 0,
            under_way: None,
            flushes: [none; FLUSHES_COUNT],
            number: 0,
        }
    }

    /// Whether a flush is not done.
    pub(super) fn owes(&self) -> bool {
        self.under_way.is_some() || self.flushes.iter().any(Flush::is_open)
    }
}

impl Flush {
    fn is_open(&self) -> bool {
        matches!(self.stage, FlushStage::Writing | FlushStage::Written)
    }
}

impl Log<'_> {
    /// Submits what is staged, however little, and begins to make it durable. The answer is asked for with `flushed`.
    pub fn flush_begin(&mut self) -> u64 {
        self.push();
        self.syncs.number += 1;
        let number = self.syncs.number;
        let target = self.writer.ticket;
        let failed_last = self.writer.failed_last;
        let settled = target <= self.writer.written_through;
        // The places are used in turn, so that an answer is kept as long as there is room.
        let newest = (0..FLUSHES_COUNT)
            .max_by_key(|&place| self.syncs.flushes[place].last)
            .unwrap_or_default();
        let oldest = (newest + 1) % FLUSHES_COUNT;
        // What failed behind the last flush that is done was told to nobody yet.
        let last = self.syncs.flushes[newest];
        let previous = if last.is_open() { last.previous } else { last.target };
        let stage = match settled {
            false => FlushStage::Writing,
            true if failed_last > previous => FlushStage::Failed,
            true if target <= self.syncs.durable => FlushStage::Durable,
            true => FlushStage::Written,
        };
        let merged = self.syncs.flushes[oldest].is_open();
        if merged {
            let last = &mut self.syncs.flushes[newest];
            last.last = number;
            last.target = target;
            last.stage = match settled {
                false => FlushStage::Writing,
                true if failed_last > last.previous => FlushStage::Failed,
                true => FlushStage::Written,
            };
        } else {
            self.syncs.flushes[oldest] = Flush {
                first: number,
                last: number,
                previous,
                target,
                stage,
            };
        }
        if self.health.offline {
            self.flushes_fail();
        }
        number
    }

    /// Whether the flush of this number is done: `None` not yet, else whether everything appended before it is durable.
    /// An answer is kept for as many flushes as can be under way; of older ones it is no.
    pub fn flushed(&mut self, number: u64) -> Option<bool> {
        let flush = self
            .syncs
            .flushes
            .iter()
            .find(|flush| (flush.first..=flush.last).contains(&number));
        match flush.map(|flush| flush.stage) {
            Some(FlushStage::Writing | FlushStage::Written) => None,
            Some(FlushStage::Durable) => Some(true),
            Some(FlushStage::Failed) | None => Some(false),
        }
    }

    /// Takes note that the frame of this ticket is written or failed, and all before it.
    pub(super) fn flushes_settle(&mut self, ticket: u64) {
        let failed_last = self.writer.failed_last;
        for flush in &mut self.syncs.flushes {
            if flush.stage == FlushStage::Writing && flush.target <= ticket {
                flush.stage = match failed_last > flush.previous {
                    true => FlushStage::Failed,
                    false => FlushStage::Written,
                };
            }
        }
    }

    /// Begins a sync where one is due; true if one was begun.
    pub(super) fn sync_step(&mut self) -> bool {
        if self.syncs.under_way.is_some() {
            return false;
        }
        let written = self.writer.written_through;
        let durable = self.syncs.durable;
        let mut due = false;
        for flush in self
            .syncs
            .flushes
            .iter_mut()
            .filter(|flush| flush.stage == FlushStage::Written)
        {
            match flush.target <= durable {
                true => flush.stage = FlushStage::Durable,
                false => due = true,
            }
        }
        let needs = self.free.front().map_or(0, |index| self.segment_needs(index));
        due |= needs > durable && needs <= written;
        if !due || !self.frames.submit_sync() {
            return false;
        }
        self.syncs.under_way = Some(written);
        true
    }

    /// The sync came back.
    pub(super) fn sync_done(&mut self, succeeded: bool) {
        let Some(covers) = self.syncs.under_way.take() else {
            return;
        };
        if succeeded {
            self.syncs.durable = self.syncs.durable.max(covers);
        } else {
            // What was told as written may be lost, and a later sync would not say so: nothing of this device can be
            // promised any more.
            self.health.fail();
        }
        for flush in &mut self.syncs.flushes {
            if flush.stage == FlushStage::Written && flush.target <= covers {
                flush.stage = match succeeded {
                    true => FlushStage::Durable,
                    false => FlushStage::Failed,
                };
            }
        }
    }

    /// All flushes fail that are not done.
    pub(super) fn flushes_fail(&mut self) {
        for flush in self.syncs.flushes.iter_mut().filter(|flush| flush.is_open()) {
            flush.stage = FlushStage::Failed;
        }
    }
}
