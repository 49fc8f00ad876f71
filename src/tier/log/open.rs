//! Opening: identify, recover, repair. The only part of the log that waits for its device.

use super::format::{OPENING_OFFSETS, OpeningMark, PAGE, SUPERBLOCK_B_OFFSET};
use super::identify::Found;
use super::lend::{Back, REAP_COUNT, Stage, Use};
use super::{Log, LogCounts, OpenRefusal, OpenReport, Recovered};

/// Waits without anything coming back before opening gives up. Each is a hundredth of the longest stall, or less where
/// the device returns early: so it is ten stalls at most.
const WAITS_MAX: u32 = 1000;
/// Error number of a device that does not answer (`ETIMEDOUT`).
const TIMED_OUT: i32 = 110;
/// Error number of a transfer that failed for no reason given (`EIO`).
const FAILED: i32 = 5;

/// Frames for reads that are waited for.
pub(super) struct Blocking {
    /// For headers.
    pub(super) scratch: u32,
    /// For payload.
    pub(super) second: u32,
}

impl Log<'_> {
    /// Identifies the file, makes a new one its superblock, shows every record in order. Blocks; for opening only, and
    /// once. `overwrite` makes the file new where it would be refused as foreign or as a mismatch.
    ///
    /// # Errors
    /// [`OpenRefusal`]; the file is as it was then, unless the device failed while it was repaired, and what was shown
    /// does not count.
    pub fn open(
        &mut self,
        overwrite: bool,
        damage_refuse: bool,
        show: &mut dyn FnMut(&Recovered),
    ) -> Result<OpenReport, OpenRefusal> {
        let blocking = match (self.frames.take(Use::Read), self.frames.take(Use::Read)) {
            (Some(scratch), Some(second)) => Blocking { scratch, second },
            _ => return Err(OpenRefusal::Io { os_error: FAILED }),
        };
        let mut report = OpenReport::default();
        match self.identify(&blocking, overwrite)? {
            Found::New { remains } => {
                self.frames.give(blocking.scratch);
                let scratch = self.frames.take(Use::Write).unwrap_or(blocking.scratch);
                if remains {
                    self.wipe(scratch)?;
                }
                self.superblocks_write(scratch, [true; 2], self.identity.unix_seconds)?;
                self.frames.give(scratch);
                report.created = true;
                self.segments_new();
                self.frames.give(blocking.second);
            }
            Found::Tier {
                created,
                rewrite,
                damaged,
            } => {
                report.damaged = damaged;
                self.recover(&blocking, &mut report, show)?;
                if damage_refuse && report.damaged != 0 {
                    return Err(OpenRefusal::Damaged { count: report.damaged });
                }
                let Some(out) = self.frames.take(Use::Write) else {
                    return Err(OpenRefusal::Io { os_error: FAILED });
                };
                self.superblocks_write(out, rewrite, created)?;
                self.tables_mend(&blocking, out)?;
                // What an earlier run wrote and never made durable is from now on.
                self.opening_write(out)?;
                self.sync_now()?;
                for frame in [out, blocking.scratch, blocking.second] {
                    self.frames.give(frame);
                }
            }
        }
        self.counts = LogCounts::default();
        Ok(report)
    }

    /// Writes copies of the superblock, one durable before the other is begun: the second first, so that a new file
    /// that was never finished has none at its start.
    fn superblocks_write(&mut self, scratch: u32, rewrite: [bool; 2], created: u64) -> Result<(), OpenRefusal> {
        let mut page = [0; PAGE];
        self.superblock(created).encode(&mut page);
        for (wanted, offset) in [(rewrite[1], SUPERBLOCK_B_OFFSET), (rewrite[0], 0)] {
            if wanted {
                self.write_now(scratch, offset, &page)?;
                self.sync_now()?;
            }
        }
        Ok(())
    }

    /// Writes down which sequences this opening uses.
    fn opening_write(&mut self, scratch: u32) -> Result<(), OpenRefusal> {
        let mut page = [0; PAGE];
        let mark = OpeningMark {
            file_id: self.shape.file_id,
            first_sequence: self.writer.segment_sequence,
        };
        mark.encode(&mut page);
        for offset in OPENING_OFFSETS {
            self.write_now(scratch, offset, &page)?;
        }
        Ok(())
    }

    /// Zeroes what could be taken for segments of the new file.
    fn wipe(&mut self, scratch: u32) -> Result<(), OpenRefusal> {
        let page = [0; PAGE];
        for offset in OPENING_OFFSETS {
            self.write_now(scratch, offset, &page)?;
        }
        for index in 0..self.layout.segments_count {
            let start = self.segment_start(index as u32);
            let footer = start + self.layout.segment_bytes - PAGE as u64;
            for offset in [start, footer] {
                if offset + PAGE as u64 <= self.device_end() {
                    self.write_now(scratch, offset, &page)?;
                }
            }
        }
        self.sync_now()
    }

    /// Reads into a frame and waits. What lies beyond the device is zero. False if it can't be read.
    pub(super) fn read_now(&mut self, frame: u32, offset: u64, bytes: u64) -> Result<bool, OpenRefusal> {
        if !self.read_prepare(frame, offset, bytes) {
            return Ok(true);
        }
        self.enqueue(frame);
        self.wait_for(frame)
    }

    /// Prepares a frame to be read; false if nothing of it is on the device. Begins anew with every call.
    pub(super) fn read_prepare(&mut self, frame: u32, offset: u64, bytes: u64) -> bool {
        let there = self.device_end().saturating_sub(offset).min(bytes);
        let memory = self.frames.bytes_mut(frame);
        if let Some(beyond) = memory.get_mut(there as usize..bytes as usize) {
            beyond.fill(0);
        }
        let state = self.frames.state_mut(frame);
        state.offset = offset;
        state.bytes = there as u32;
        state.moved = 0;
        state.attempts = 0;
        let stage = if there == 0 { Stage::Done } else { Stage::Open };
        self.frames.set_stage(frame, stage);
        there != 0
    }

    /// Writes a page and waits.
    pub(super) fn write_now(&mut self, frame: u32, offset: u64, bytes: &[u8; PAGE]) -> Result<(), OpenRefusal> {
        if let Some(target) = self.frames.bytes_mut(frame).get_mut(..PAGE) {
            target.copy_from_slice(bytes);
        }
        let state = self.frames.state_mut(frame);
        state.offset = offset;
        state.bytes = PAGE as u32;
        state.moved = 0;
        state.attempts = 0;
        self.frames.set_stage(frame, Stage::Open);
        self.enqueue(frame);
        match self.wait_for(frame)? {
            true => Ok(()),
            false => Err(OpenRefusal::Io {
                os_error: self.frames.state(frame).os_error,
            }),
        }
    }

    /// Waits until a frame's request is settled; whether it succeeded.
    pub(super) fn wait_for(&mut self, frame: u32) -> Result<bool, OpenRefusal> {
        let mut waits = 0;
        while self.frames.stage(frame) == Stage::Open {
            self.submit_queued();
            self.wait_step(&mut waits)?;
        }
        if self.health.is_failing() {
            let os_error = self.frames.state(frame).os_error;
            self.health.offline = true;
            return Err(OpenRefusal::Io { os_error });
        }
        Ok(self.frames.stage(frame) == Stage::Done)
    }

    fn sync_now(&mut self) -> Result<(), OpenRefusal> {
        let mut waits = 0;
        while !self.frames.submit_sync() {
            self.wait_step(&mut waits)?;
        }
        let errors = self.counts.io_errors;
        while self.frames.under_way() != 0 {
            self.wait_step(&mut waits)?;
        }
        match self.counts.io_errors == errors {
            true => Ok(()),
            false => Err(OpenRefusal::Io { os_error: FAILED }),
        }
    }

    fn wait_step(&mut self, waits: &mut u32) -> Result<(), OpenRefusal> {
        let mut backs = [Back {
            frame: None,
            result: Ok(0),
        }; REAP_COUNT];
        let count = self.frames.reap(&mut backs);
        for back in backs.iter().take(count) {
            self.settle(back);
        }
        if count != 0 {
            *waits = 0;
            return Ok(());
        }
        *waits += 1;
        if *waits > WAITS_MAX {
            self.health.offline = true;
            return Err(OpenRefusal::Io { os_error: TIMED_OUT });
        }
        let most = self.health.stall_ns() / 100;
        self.device().wait(most.clamp(1_000_000, 100_000_000));
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
