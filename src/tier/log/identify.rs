//! Whose file it is: superblocks, or failing those a segment's header; what is asked compared with what is there.

use super::format::{FORMAT_VERSION, PAGE, Page, SUPERBLOCK_B_OFFSET, SegmentHeader, Shape, Superblock, is_zero};
use super::open::Blocking;
use super::record::file_seed;
use super::{Log, OpenRefusal};

/// What the file turned out to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// Nothing, or something that is to be overwritten.
    New {
        /// Whether there may be remains of something else.
        remains: bool,
    },
    /// A tier of this shape.
    Tier {
        /// When it was made.
        created: u64,
        /// Which copies of the superblock have to be written again.
        rewrite: [bool; 2],
        /// Copies that did not verify, or differ.
        damaged: u64,
    },
}

/// What the places say that were looked at when no superblock verified.
struct Probe {
    header: Option<SegmentHeader>,
    /// Something is there that does not verify.
    foreign: bool,
    /// Something can't be read, with the error number.
    unreadable: Option<i32>,
}

impl Log<'_> {
    /// Finds out, without writing anything.
    pub(super) fn identify(&mut self, blocking: &Blocking, overwrite: bool) -> Result<Found, OpenRefusal> {
        let mut copies = [Page::Bad; 2];
        let mut unfinished = true;
        let mut unreadable = None;
        for (copy, offset) in copies.iter_mut().zip([0, SUPERBLOCK_B_OFFSET]) {
            if self.read_now(blocking.scratch, offset, PAGE as u64)? {
                let page = self.frames.range(blocking.scratch, 0..PAGE);
                *copy = Superblock::decode(page);
                unfinished &= Superblock::is_unfinished(page);
            } else {
                unreadable = Some(self.frames.state(blocking.scratch).os_error);
            }
        }
        let refusal = match copies {
            [Page::Good(first), _] | [_, Page::Good(first)] => {
                match self.mismatch(first.version, Some(first.tier), &first.shape) {
                    None => return Ok(self.found(first, copies)),
                    refusal => refusal,
                }
            }
            _ => {
                let probe = self.probe(blocking)?;
                match probe.header {
                    Some(header) => match self.mismatch(header.version, None, &header.shape) {
                        None => {
                            self.adopt(header.shape.file_id);
                            let damaged = copies.iter().filter(|copy| **copy != Page::Zero).count() as u64;
                            return Ok(Found::Tier {
                                created: header.unix_seconds,
                                rewrite: [true; 2],
                                damaged: damaged.max(1),
                            });
                        }
                        refusal => refusal,
                    },
                    // What can't be read may be anything.
                    None if let Some(os_error) = unreadable.or(probe.unreadable) => {
                        return Err(OpenRefusal::Io { os_error });
                    }
                    // A crash while a new file got its superblocks.
                    None if unfinished && !probe.foreign => return Ok(Found::New { remains: false }),
                    None => Some(OpenRefusal::Foreign),
                }
            }
        };
        match refusal {
            Some(refusal) if !overwrite => Err(refusal),
            _ => Ok(Found::New { remains: true }),
        }
    }

    /// A tier with superblock `first`; both copies are looked at.
    fn found(&mut self, first: Superblock, copies: [Page<Superblock>; 2]) -> Found {
        self.adopt(first.shape.file_id);
        let wanted = self.superblock(first.created);
        let differs = |copy: &Page<Superblock>| match copy {
            // A count of segments that differs is a file that was growing.
            Page::Good(copy) => {
                let mut grown = *copy;
                grown.shape.segments_count = wanted.shape.segments_count;
                grown != wanted
            }
            _ => true,
        };
        Found::Tier {
            created: first.created,
            rewrite: copies.map(|copy| copy != Page::Good(wanted)),
            damaged: copies.iter().filter(|copy| differs(copy)).count() as u64,
        }
    }

    /// The superblock of this file.
    pub(super) fn superblock(&self, created: u64) -> Superblock {
        Superblock {
            version: FORMAT_VERSION,
            tier: self.identity.tier as u32,
            shape: self.shape,
            created,
        }
    }

    fn adopt(&mut self, file_id: [u8; 16]) {
        self.shape.file_id = file_id;
        self.file_seed = file_seed(&file_id);
    }

    /// The first field in which the file differs from what was asked for.
    fn mismatch(&self, version: u32, tier: Option<u32>, holds: &Shape) -> Option<OpenRefusal> {
        let asked = &self.shape;
        let digest = |shape: &Shape| u64::from_be_bytes(super::format::take(&shape.geometry_digest, 0));
        let tier_asked = self.identity.tier as u32;
        let tier_holds = tier.unwrap_or(tier_asked);
        // Digests that differ only behind their first eight bytes differ all the same.
        let digest_differs = holds.geometry_digest != asked.geometry_digest;
        let fewer = holds.segments_count < asked.segments_count;
        let fields = [
            (
                "version",
                u64::from(version),
                u64::from(FORMAT_VERSION),
                version != FORMAT_VERSION,
            ),
            (
                "tier",
                u64::from(tier_holds),
                u64::from(tier_asked),
                tier_holds != tier_asked,
            ),
            ("geometry", digest(holds), digest(asked), digest_differs),
            (
                "block_bytes",
                holds.block_bytes,
                asked.block_bytes,
                holds.block_bytes != asked.block_bytes,
            ),
            (
                "segment_bytes",
                holds.segment_bytes,
                asked.segment_bytes,
                holds.segment_bytes != asked.segment_bytes,
            ),
            (
                "part_bytes",
                holds.part_bytes,
                asked.part_bytes,
                holds.part_bytes != asked.part_bytes,
            ),
            (
                "segments_count",
                holds.segments_count,
                asked.segments_count,
                holds.segments_count != asked.segments_count && !fewer,
            ),
        ];
        fields
            .into_iter()
            .find(|(_, _, _, differs)| *differs)
            .map(|(field, holds, asked, _)| OpenRefusal::Mismatch { field, holds, asked })
    }

    /// Looks for a segment's header.
    fn probe(&mut self, blocking: &Blocking) -> Result<Probe, OpenRefusal> {
        let mut probe = Probe {
            header: None,
            foreign: false,
            unreadable: None,
        };
        for index in 0..self.layout.segments_count {
            let start = self.segment_start(index as u32);
            if start >= self.device_end() {
                break;
            }
            if !self.read_now(blocking.scratch, start, PAGE as u64)? {
                probe.unreadable = Some(self.frames.state(blocking.scratch).os_error);
                continue;
            }
            let page = self.frames.range(blocking.scratch, 0..PAGE);
            match SegmentHeader::decode(page) {
                Page::Good(header) if u64::from(header.index) == index && header.shape.is_sane() => {
                    probe.header = Some(header);
                    break;
                }
                Page::Good(_) | Page::Bad => probe.foreign |= !is_zero(page),
                Page::Zero => {}
            }
        }
        Ok(probe)
    }
}
