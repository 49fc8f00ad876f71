//! The block: its entry, its life, and the pins that hold it in place.

pub(crate) mod entry;
pub(crate) mod facts;
pub(crate) mod pins;

#[cfg(all(test, loom))]
mod model;

pub use facts::PutInfo;

/// A block that is or was resident: place and generation. A reused place has another generation, so that an old
/// reference is told from a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct BlockRef {
    /// Place in the block table.
    pub index: u32,
    /// How often the place was used.
    pub generation: u32,
}

/// A pin that holds a block: place in the pin table and generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PinRef {
    /// Place in the pin table.
    pub index: u32,
    /// How often the place was used.
    pub generation: u32,
}
