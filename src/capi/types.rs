//! Values: keys, blocks, pins, lanes, tickets.
//!
//! These are small structs that are copied freely. Pairs of index and generation name something inside the engine; a
//! pair whose thing is gone is `KVC_E_STALE` wherever it is used. A pair of zeros names nothing.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]; `mirror!` asserts the layouts.

use super::arguments::mirror;
use crate::block::{BlockRef, PinRef};
use crate::engine::{LaneRef, TicketRef};
use crate::key::Key;

/// An open engine. Made by `kvc_engine_open`, ended by `kvc_close`.
///
/// Only ever used by pointer, and never dereferenced: see Handles and values.
pub struct kvc_engine_t {
    _private: (),
}

/// The name of a block: 32 opaque bytes, compared whole. Any 32 bytes are a valid key.
///
/// Bring your own or derive them: see the chapter Keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct kvc_key_t {
    /// The bytes, in the order in which they are stored and hashed.
    pub bytes: [u8; 32],
}

/// A block that is or was resident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct kvc_block_t {
    /// Place in the block table.
    pub index: u32,
    /// How often the place was used.
    pub generation: u32,
}

/// A pin that keeps a block where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct kvc_pin_t {
    /// Place in the pin table.
    pub index: u32,
    /// How often the place was used.
    pub generation: u32,
}

/// A lane: one producer's private queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct kvc_lane_t {
    /// Place in the lane table.
    pub index: u32,
    /// How often the place was used.
    pub generation: u32,
}

/// A submitted operation of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct kvc_ticket_t {
    /// Place in the lane's ticket table.
    pub index: u32,
    /// How often the place was used.
    pub generation: u32,
}

/// Memory of devices. Reserved: no tier of this kind exists yet.
pub const KVC_TIER_GPU: u32 = 0;
/// Memory of the host.
pub const KVC_TIER_CPU: u32 = 1;
/// A file, or a block device, that is read and written past the page cache.
pub const KVC_TIER_NVME: u32 = 2;
/// A file that is read and written through the page cache, for slow and network disks.
pub const KVC_TIER_DISK: u32 = 3;
/// A store on another machine. Reserved: no tier of this kind exists yet.
pub const KVC_TIER_REMOTE: u32 = 4;
/// How many kinds of tiers there are: tiers are numbers below this.
pub const KVC_TIERS_COUNT: u32 = 5;

mirror!(kvc_key_t = Key { bytes });
mirror!(kvc_block_t = BlockRef { index, generation });
mirror!(kvc_pin_t = PinRef { index, generation });
mirror!(kvc_lane_t = LaneRef { index, generation });
mirror!(kvc_ticket_t = TicketRef { index, generation });

/// By value, as lanes and tickets are passed.
impl From<kvc_lane_t> for LaneRef {
    fn from(lane: kvc_lane_t) -> Self {
        Self {
            index: lane.index,
            generation: lane.generation,
        }
    }
}

/// By value, as lanes and tickets are passed.
impl From<kvc_ticket_t> for TicketRef {
    fn from(ticket: kvc_ticket_t) -> Self {
        Self {
            index: ticket.index,
            generation: ticket.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Tier;

    #[test]
    fn tiers_are_the_same_numbers_in_c() {
        let tiers = [
            KVC_TIER_GPU,
            KVC_TIER_CPU,
            KVC_TIER_NVME,
            KVC_TIER_DISK,
            KVC_TIER_REMOTE,
        ];
        assert_eq!(tiers.len(), KVC_TIERS_COUNT as usize);
        for (place, tier) in tiers.into_iter().enumerate() {
            assert_eq!(tier, Tier::ALL[place] as u32);
        }
        assert_eq!(Tier::ALL.len(), KVC_TIERS_COUNT as usize);
    }
}
