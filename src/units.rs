//! Numbers with units, so that an index is never taken for a count or a count for bytes.

use core::fmt;

/// A number of bytes. Displays with a binary unit (`2.0 MiB`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `count` kibibytes.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }
    /// `count` mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
    /// `count` gibibytes.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (name, shift) in UNITS {
            if self.0 >> shift != 0 {
                let tenths = (self.0 >> (shift - 10)) * 10 / 1024;
                return write!(formatter, "{}.{} {name}", tenths / 10, tenths % 10);
            }
        }
        write!(formatter, "{} B", self.0)
    }
}

/// The place of a block's entry in the block table; stays the same for as long as the block is resident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockIndex(pub u32);

/// The place of an encoded block in one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotIndex(pub u32);

/// Where bytes can lie, nearest first. The number is the bit in a residency mask and the number in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Tier {
    /// One device allocation.
    Gpu = 0,
    /// One mapping in host memory.
    Cpu = 1,
    /// One preallocated file, direct I/O.
    Nvme = 2,
    /// One preallocated file, mapped.
    Disk = 3,
    /// An existing distributed store.
    Remote = 4,
}

impl Tier {
    /// Every tier, nearest first.
    pub const ALL: [Tier; 5] = [Tier::Gpu, Tier::Cpu, Tier::Nvme, Tier::Disk, Tier::Remote];

    /// The name used by the command line and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Gpu => "gpu",
            Tier::Cpu => "cpu",
            Tier::Nvme => "nvme",
            Tier::Disk => "disk",
            Tier::Remote => "remote",
        }
    }

    /// The bit of this tier in a residency mask.
    pub const fn bit(self) -> u8 {
        1 << self as u32
    }
}

impl BlockIndex {
    /// As an index into a Rust slice.
    pub const fn usize(self) -> usize {
        self.0 as usize
    }
}

impl SlotIndex {
    /// As an index into a Rust slice.
    pub const fn usize(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn bytes_display_with_a_binary_unit() {
        for (bytes, text) in [
            (Bytes(0), "0 B"),
            (Bytes(1023), "1023 B"),
            (Bytes::kib(1), "1.0 KiB"),
            (Bytes(1536), "1.5 KiB"),
            (Bytes::mib(2), "2.0 MiB"),
            (Bytes::gib(16), "16.0 GiB"),
            (Bytes(u64::MAX), "16777215.9 TiB"),
        ] {
            assert_eq!(bytes.to_string(), text);
        }
    }
}
