//! Opening: the logs over their devices and their memory.
//!
//! # Soundness
//! - **I1** Each part of the arena that belongs to a file tier is handed out here and nowhere else, once for each
//!   engine.
//! - **I2** A transfer buffer is reached through the store that owns it, which is part of the pump and so has one
//!   holder at a time; a device or a log writes to it only between the begin and the end of a read that the pump began,
//!   and the pump does not look at it meanwhile.
//! - **I3** The pump is part of `Lower<'m>`, which is part of `Engine<'m>`: it ends with them. Nothing borrowed from it
//!   leaves this room, so that nobody sees that its lifetime is written down as a longer one.
#![allow(unsafe_code)]

use super::admission::Budget;
use super::coder::{Coder, Quality};
use super::floor::Floors;
use super::pump::{Movement, Pump};
use super::queue::Queue;
use super::tuning::Tuning;
use super::{Devices, Face, Lower, TIERS, TierWord};
use crate::arena::Arena;
use crate::budget::{Part, Plan};
use crate::config::{Config, FieldNames};
use crate::error::{ConfigError, Status};
use crate::geometry;
use crate::policy::Reuse;
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::sync::guarded::Guarded;
use crate::sync::inbox::Inbox;
use crate::tier::log::{Identity, Log, LogCounts, LogMemory, OpenRefusal};

/// The parts of a tier, in the order of [`TIERS`].
const PARTS: [[Part; 4]; 2] = [
    [Part::NvmeWords, Part::NvmeLog, Part::NvmeFrames, Part::NvmeTransfer],
    [Part::DiskWords, Part::DiskLog, Part::DiskFrames, Part::DiskTransfer],
];

/// One tier's log and what the pump keeps beside it.
pub(super) struct Store<'m> {
    pub(super) log: Log<'m>,
    pub(super) budget: Budget,
    pub(super) movement: Movement,
    /// Segments given up, durably, since open.
    pub(super) retired_count: u32,
    /// What was counted already.
    pub(super) counted: LogCounts,
    /// Whether something was appended since the staged rest was pushed out.
    pub(super) staged: bool,
    transfer: *mut u8,
    transfer_bytes: usize,
}

// SAFETY: I2, the buffer moves between threads with the pump.
unsafe impl Send for Store<'_> {}

impl Store<'_> {
    /// Where a block on its way is read to.
    pub(super) fn transfer_address(&self) -> *mut u8 {
        self.transfer
    }

    /// The first `bytes` bytes of the block on its way.
    pub(super) fn transferred(&self, bytes: u32) -> &[u8] {
        let bytes = (bytes as usize).min(self.transfer_bytes);
        // SAFETY: I2: asked for after the read has ended; the arena's memory is initialised.
        unsafe { core::slice::from_raw_parts(self.transfer, bytes) }
    }
}

/// Lays logs over the devices and the arena; nothing is read yet.
///
/// # Errors
/// [`Status::Conflict`] for a tier without a device, or a device that is smaller than nothing at all.
///
/// # Safety
/// I1: at most once for an arena; and the devices do not outlive it.
pub(in crate::engine) unsafe fn open<'m>(
    config: &Config,
    plan: &Plan,
    arena: &Arena<'m>,
    devices: &Devices<'m>,
    now_ns: u64,
) -> Result<Option<Lower<'m>>, ConfigError> {
    let given = [devices.nvme, devices.disk];
    let mut faces = [None, None];
    let mut stores = [None, None];
    for (place, tier) in TIERS.into_iter().enumerate() {
        let layout = plan.log(tier);
        let file = if place == 0 { config.nvme } else { config.disk };
        if !layout.exists() {
            continue;
        }
        let Some(device) = given[place] else {
            return Err(ConfigError::new(
                Status::Conflict,
                FieldNames::of(TIERS[place]).path,
                0,
                0,
                0,
                "the configuration has a file tier and there is no file for it; give its path",
            ));
        };
        let [words, log, frames, transfer] = PARTS[place];
        let frames_bytes = layout.frames_count * layout.frame_stride_bytes;
        let frames = arena.address(frames);
        // SAFETY: I1 for the frames, which live as long as the device.
        unsafe { device.register(frames, frames_bytes) };
        let identity = Identity {
            tier,
            file_id: devices.file_ids[place],
            geometry_digest: geometry::digest(&config.geometries),
            unix_seconds: devices.unix_seconds,
        };
        let memory = LogMemory {
            // SAFETY: I1.
            words: unsafe { arena.exclusive(log) },
            frames,
        };
        let entries_count = plan.entries_count() as usize;
        faces[place] = Some(Face {
            words: &arena.slice::<TierWord>(words)[..entries_count],
            device,
            file,
            offline: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            limbo: AtomicU32::new(0),
            segments_free: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            quality: Quality::default(),
        });
        stores[place] = Some(Store {
            log: Log::new(device, layout, identity, file.stall_ms, memory),
            budget: Budget::new(file.endurance_bytes_per_day, true, now_ns),
            movement: Movement::Idle,
            retired_count: 0,
            counted: LogCounts::default(),
            staged: false,
            transfer: arena.address(transfer),
            transfer_bytes: layout.transfer_bytes as usize,
        });
    }
    if faces.iter().all(Option::is_none) {
        return Ok(None);
    }
    // SAFETY: I1.
    let coder = unsafe { Coder::new(config, plan, arena, devices.tables)? };
    for (place, face) in faces.iter().enumerate() {
        if let Some(face) = face {
            coder.show(place, &face.quality);
        }
    }
    let entries_count = plan.entries_count() as usize;
    // SAFETY: I1.
    let queues: &'m mut [u32] = unsafe { arena.exclusive(Part::LowerQueues) };
    let (raises, rest) = queues.split_at_mut(entries_count);
    let (writes, rest) = rest.split_at_mut(entries_count);
    let links = bytemuck_atomics(rest);
    let (raise_links, write_links) = links.split_at(entries_count);
    let control = arena.slice::<super::super::control::Control>(Part::Control);
    let control = &control[0];
    let mut filter = Reuse::new(plan.below_count());
    filter.set_loss_permille(config.admission_loss_permille);
    let pump: Pump<'m> = Pump {
        stores,
        raises: Queue::new(raises),
        writes: Queue::new(writes),
        drains_count: 0,
        filter,
        tuning: Tuning::new(config),
        making_room: false,
        write_backs: 0,
        coder,
    };
    // SAFETY: I3.
    let pump: Pump<'static> = unsafe { core::mem::transmute::<Pump<'m>, Pump<'static>>(pump) };
    Ok(Some(Lower {
        faces,
        raises: Inbox::new(&control.raises_head, raise_links),
        writes: Inbox::new(&control.writes_head, &write_links[..entries_count]),
        pump: Guarded::new(pump),
        below_count_max: plan.below_count(),
        floors: Floors::new(),
    }))
}

/// Words that are shared from now on.
fn bytemuck_atomics(words: &mut [u32]) -> &[AtomicU32] {
    let (address, count) = (words.as_mut_ptr(), words.len());
    // SAFETY: an exclusive slice of words becomes a shared one of atomics over the same words: same size, same
    // alignment, and the exclusive reference ends here.
    unsafe { core::slice::from_raw_parts(address.cast::<AtomicU32>(), count) }
}

/// What a log says of its file, in the words of a configuration.
pub(super) fn refusal(place: usize, refusal: OpenRefusal) -> ConfigError {
    let error = ConfigError::new(Status::FileMismatch, FieldNames::of(TIERS[place]).path, 0, 0, 0, "");
    match refusal {
        OpenRefusal::Mismatch { field, holds, asked } => ConfigError {
            field: match field {
                "segments_count" => FieldNames::of(TIERS[place]).bytes,
                "block_bytes" | "part_bytes" => "block_bytes",
                "segment_bytes" => FieldNames::of(TIERS[place]).segment_bytes,
                "geometry" => "geometries",
                _ => FieldNames::of(TIERS[place]).path,
            },
            value: asked,
            value_min: holds,
            value_max: holds,
            reason: match field {
                "version" => {
                    "the file has another format version than this library; ask to overwrite it, or use that one"
                }
                "geometry" => {
                    "the file holds blocks of other geometries (digests); open it with those, or ask to overwrite it"
                }
                "tier" => "the file belongs to another tier; give each tier a file of its own",
                "segments_count" => "the file holds more segments than asked for; a tier can grow and not shrink",
                _ => "the file was made with another value; open it with that, or ask to overwrite it",
            },
            ..error
        },
        OpenRefusal::Foreign => ConfigError {
            status: Status::FileForeign,
            reason: "the file holds something and is no tier; give another path, or ask to overwrite it",
            ..error
        },
        OpenRefusal::Damaged { count } => ConfigError {
            status: Status::FileDamaged,
            value: count,
            reason: "this many structures of the file did not verify, and the configuration asks for a refusal then",
            ..error
        },
        OpenRefusal::Io { os_error } => ConfigError {
            status: Status::File,
            reason: "the file could not be read or written",
            os_error,
            ..error
        },
    }
}
