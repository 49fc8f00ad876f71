//! What lies below memory: which blocks are written down, copied up, moved on and given up.
//!
//! ```text
//!                     memory                        first file tier                   second file tier
//!   put ──▶ resident ──write back, write through──▶ located ──given up with its segment──▶ located ──▶ gone
//!              ▲  │                                    │ ▲ hit there: written again            │
//!              │  └── evicted: only its slot ──▶ below │ └──────────┘                          │
//!              └──────────────── raised, and stays ────┴───────────────────────────────────────┘
//! ```
//! Each file tier is a [`Log`](crate::tier::log::Log) over a device. The **pump** moves everything on: it takes what
//! the devices have done, begins reads and writes, makes room ahead of need, gives up the oldest segments. One thread
//! at a time is the pump, whoever comes and finds its turn free: a tick, a worker, a caller that waits. Others leave
//! word in two inboxes, one for blocks to be raised and one for blocks to be written or forgotten.
//!
//! # Who may free an entry
//! As long as a tier's word says that a block lies in the tier, or that a write, a read or a move of it is under way,
//! its entry is freed by the pump alone. Removing such a block makes it `Removed` and leaves word; the pump writes a
//! tombstone first, so that the block is not found again when the file is opened. The crossing is Dekker's, as with
//! pins: whoever lets go of the last pin or the last word looks at the other afterwards.
//!
//! # Lock order
//! The policy's turn and the pump's are both only ever tried, never waited for.

mod admission;
mod coder;
mod floor;
mod flush;
mod pump;
mod queue;
mod raise;
mod recover;
mod segment;
mod store;
#[cfg(all(test, not(loom)))]
mod tests;
mod tuning;
mod word;
mod write;

use super::Engine;
use crate::block::BlockRef;
use crate::block::entry::{Phase, State};
use crate::codec::Tables;
use crate::config::FileTier;
use crate::metrics::{Counter, EventKind};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::guarded::Guarded;
use crate::sync::inbox::Inbox;
use crate::tier::device::Device;
use crate::units::Tier;

pub use coder::CodecState;
use coder::Quality;
use floor::Floors;
pub(super) use flush::FlushState;
use pump::Pump;
pub(super) use raise::Asked;
pub(super) use store::open;
pub(crate) use word::TierWord;
use word::{TOLD_LATE, UNBURIED};

/// The file tiers, nearest first; places in this array are used as numbers of tiers in this room.
const TIERS: [Tier; 2] = [Tier::Nvme, Tier::Disk];

/// The devices below the file tiers, for those that the configuration has.
#[derive(Clone, Copy)]
pub struct Devices<'m> {
    /// The NVMe tier's.
    pub nvme: Option<&'m dyn Device>,
    /// The disk tier's.
    pub disk: Option<&'m dyn Device>,
    /// Random bytes that tell the files from all others, for those that are new.
    pub file_ids: [[u8; 16]; 2],
    /// Wall time in seconds, noted in the files.
    pub unix_seconds: u64,
    /// Tables of the codecs that need them.
    pub tables: Option<Tables<'m>>,
}

impl Devices<'_> {
    /// No file tier.
    pub const NONE: Self = Self {
        nvme: None,
        disk: None,
        file_ids: [[0; 16]; 2],
        unix_seconds: 0,
        tables: None,
    };
}

/// A file tier at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTierState {
    /// How its device does its work: `io_uring`, `pread`, `mmap`.
    pub io_name: &'static str,
    /// Whether its device failed or stalled, and it is not used any more.
    pub offline: bool,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Segments of the file.
    pub segments_count: u64,
    /// Segments that hold nothing.
    pub segments_free: u64,
    /// Most blocks that the plan has room for in this tier.
    pub blocks_count_max: u64,
    /// Blocks that lie in this tier.
    pub blocks: u64,
    /// Bytes handed to the device since open.
    pub bytes_written: u64,
    /// What its codec does.
    pub codec: CodecState,
}

/// What left the tier with its segment could still be found.
const LIMBO_SEGMENT: u32 = 1;
/// A record could be found whose write or read failed, or that found no place when the file was opened. Nobody knows
/// when its segment is given up, so that this stays until the file is opened anew.
const LIMBO_REMAINS: u32 = 2;

/// What every thread may use of a tier.
pub(super) struct Face<'m> {
    words: &'m [TierWord],
    device: &'m dyn Device,
    file: FileTier,
    /// 1 once the tier is offline.
    offline: AtomicU32,
    /// 1 while something is under way.
    busy: AtomicU32,
    /// Not 0 while something could be found in the file when it is opened of which nothing is known here: whatever is
    /// removed then needs a tombstone, too. Bits: [`LIMBO_SEGMENT`], [`LIMBO_REMAINS`].
    limbo: AtomicU32,
    segments_free: AtomicU64,
    blocks: AtomicU64,
    bytes_written: AtomicU64,
    quality: Quality,
}

/// The file tiers of an engine.
pub(super) struct Lower<'m> {
    faces: [Option<Face<'m>>; 2],
    raises: Inbox<'m>,
    writes: Inbox<'m>,
    /// The pump's own; with a lifetime of its own, so that an engine can be lent for less than `'m` (`store.rs`, I3).
    pump: Guarded<Pump<'static>>,
    /// Most blocks that may lie in file tiers only.
    below_count_max: u64,
    floors: Floors,
}

impl<'m> Lower<'m> {
    fn face(&self, tier: usize) -> Option<&Face<'m>> {
        self.faces.get(tier)?.as_ref()
    }

    /// The tiers that exist and work.
    fn working(&self) -> impl Iterator<Item = (usize, &Face<'m>)> {
        let faces = self.faces.iter().enumerate();
        faces.filter_map(|(tier, face)| Some((tier, face.as_ref()?)).filter(|(_, face)| !face.is_offline()))
    }

    /// Whether a tier that works has the block.
    fn located(&self, index: u32, generation: u32) -> bool {
        self.working()
            .any(|(_, face)| face.word(index).location(generation).is_some())
    }

    /// Whether any tier has the block, or something of it is under way.
    fn holds(&self, index: u32, generation: u32) -> bool {
        let mut faces = self.faces.iter().flatten();
        faces.any(|face| face.word(index).holds(generation))
    }

    /// Whether something of the block is under way.
    fn busy(&self, index: u32, generation: u32, flags: u64) -> bool {
        let mut faces = self.faces.iter().flatten();
        faces.any(|face| face.word(index).is(generation, flags))
    }

    /// Mask of the tiers that have the block.
    fn mask(&self, index: u32, generation: u32) -> u8 {
        self.working()
            .filter(|(_, face)| face.word(index).location(generation).is_some())
            .fold(0, |mask, (tier, _)| mask | TIERS[tier].bit())
    }
}

impl Face<'_> {
    fn word(&self, index: u32) -> &TierWord {
        &self.words[index as usize]
    }

    fn is_offline(&self) -> bool {
        // Relaxed: a flag that is never taken back.
        self.offline.load(Ordering::Relaxed) != 0
    }
}

/// The counters of a file tier.
struct TierCounters {
    hits: Counter,
    writes: Counter,
    write_bytes: Counter,
    file_bytes: Counter,
    read_bytes: Counter,
    reinserts: Counter,
    evictions: Counter,
}

const COUNTERS: [TierCounters; 2] = [
    TierCounters {
        hits: Counter::NvmeHits,
        writes: Counter::NvmeWrites,
        write_bytes: Counter::NvmeWriteBytes,
        file_bytes: Counter::NvmeFileBytes,
        read_bytes: Counter::NvmeReadBytes,
        reinserts: Counter::NvmeReinserts,
        evictions: Counter::NvmeEvictions,
    },
    TierCounters {
        hits: Counter::DiskHits,
        writes: Counter::DiskWrites,
        write_bytes: Counter::DiskWriteBytes,
        file_bytes: Counter::DiskFileBytes,
        read_bytes: Counter::DiskReadBytes,
        reinserts: Counter::DiskReinserts,
        evictions: Counter::DiskEvictions,
    },
];

impl Engine<'_> {
    /// The state of a file tier; `None` where there is none.
    pub fn file_tier(&self, tier: Tier) -> Option<FileTierState> {
        let place = TIERS.iter().position(|&other| other == tier)?;
        let face = self.lower.as_ref()?.face(place)?;
        let layout = self.plan.log(tier);
        Some(FileTierState {
            io_name: face.device.name(),
            offline: face.is_offline(),
            file_bytes: layout.file_bytes(),
            segments_count: layout.segments_count,
            // Relaxed, here and below: figures.
            segments_free: face.segments_free.load(Ordering::Relaxed),
            blocks_count_max: layout.blocks_count,
            blocks: face.blocks.load(Ordering::Relaxed),
            bytes_written: face.bytes_written.load(Ordering::Relaxed),
            codec: face.quality.state(),
        })
    }

    /// Whether a file tier has something under way, or something to begin.
    pub fn io_under_way(&self) -> bool {
        self.lower.as_ref().is_some_and(|lower| {
            let busy = |face: &Face<'_>| face.busy.load(Ordering::Relaxed) != 0;
            !lower.raises.is_empty() || !lower.writes.is_empty() || lower.faces.iter().flatten().any(busy)
        })
    }

    /// Waits until a device may have done something, at most `timeout_ns`.
    pub fn io_wait(&self, timeout_ns: u64) {
        let Some(lower) = &self.lower else { return };
        // Relaxed: whichever is busy at present.
        let mut busy = lower.faces.iter().flatten();
        if let Some(face) = busy.find(|face| face.busy.load(Ordering::Relaxed) != 0) {
            face.device.wait(timeout_ns);
        }
        if matches!(self.clock, super::Clock::Ticks)
            && let Some(mut pump) = lower.pump.take()
        {
            // The engine's time stands still while a caller waits; the devices' patience must not.
            pump.waited(timeout_ns);
        }
    }

    /// Mask of the tiers that have a block in this state.
    pub(super) fn tiers_mask(&self, index: u32, state: crate::block::entry::State) -> u8 {
        let memory = if state.is_resident() { Tier::Cpu.bit() } else { 0 };
        match &self.lower {
            Some(lower) => memory | lower.mask(index, state.generation()),
            None => memory,
        }
    }

    /// Whether a file tier keeps the entry from being freed by anybody but the pump.
    pub(super) fn lower_holds(&self, index: u32, generation: u32) -> bool {
        self.lower.as_ref().is_some_and(|lower| lower.holds(index, generation))
    }

    /// Leaves word that an entry is to be freed, where a file tier keeps it. False where none does.
    pub(super) fn lower_frees(&self, index: u32, generation: u32) -> bool {
        match &self.lower {
            Some(lower) if lower.holds(index, generation) => {
                lower.writes.put(index);
                true
            }
            _ => false,
        }
    }

    /// Takes note that a record of this block may be in the file of a tier, and nothing here says so any more: if the
    /// block is removed, or one that is put under its key later, a tombstone is needed nevertheless. Before the tier
    /// lets go of the block.
    fn remains(&self, face: &Face<'_>, index: u32, generation: u32) {
        // SeqCst: partner is the load in `lower_bury`. Whoever removes the block either sees this, or has taken it by
        // the time of the next look.
        face.limbo.fetch_or(LIMBO_REMAINS, Ordering::SeqCst);
        let state = self.entries[index as usize].state_ordered();
        if state.generation() == generation && !is_untaken(state) {
            face.word(index).set(generation, UNBURIED);
        }
    }

    /// Tells that a block is in a tier. A remover may have told before that it is gone: then it is told once more that
    /// it left the tier, when its tombstone is written.
    fn tell_stored(&self, face: &Face<'_>, place: usize, index: u32, generation: u32) {
        let entry = &self.entries[index as usize];
        let block = BlockRef { index, generation };
        self.event(EventKind::Stored, entry.key(), block, TIERS[place]);
        if !is_untaken(entry.state_ordered()) {
            face.word(index).set(generation, TOLD_LATE);
        }
    }

    /// Leaves word that a block is to be written down.
    pub(super) fn lower_write(&self, index: u32) {
        if let Some(lower) = &self.lower {
            lower.writes.put(index);
        }
    }

    /// Leaves word that a block is being removed which a file tier holds, or may still have in its file. Before the
    /// block is gone from the index, so that the tombstone comes before whatever is put under the key next.
    pub(super) fn lower_bury(&self, index: u32, generation: u32) -> bool {
        match &self.lower {
            Some(lower) => {
                for face in lower.faces.iter().flatten() {
                    // SeqCst: partners are the exchanges in `segment.rs` and `remains`, before a location is forgotten.
                    // Whoever removes the block either still sees the location or sees this.
                    if face.limbo.load(Ordering::SeqCst) != 0 && !face.is_offline() {
                        face.word(index).set(generation, UNBURIED);
                    }
                }
                let held = lower.holds(index, generation);
                if held {
                    lower.writes.put(index);
                }
                held
            }
            None => false,
        }
    }
}

/// Whether nobody has taken the block to remove it, so that whoever does tells it after what is told now.
fn is_untaken(state: State) -> bool {
    !matches!(
        state.phase(),
        Phase::Claimed | Phase::Condemned | Phase::Removed | Phase::Doomed
    )
}
