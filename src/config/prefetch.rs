//! What is raised ahead of its use, and at what cost.

use super::{error, range};
use crate::error::{ConfigError, Status};
use crate::limits;

/// Prefetching: what is expected, and what that may cost. All off by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// Whether the blocks of a conversation are raised before its next request is due.
    pub turns: bool,
    /// Whether sequences and strides are followed: who reads every n-th block in the order of their first insertion.
    pub sequences: bool,
    /// Whether it is learnt which block follows which.
    pub successors: bool,
    /// Conversations remembered.
    pub conversations_count: u64,
    /// Successors remembered.
    pub successors_count: u64,
    /// Least probability of being used, in thousandths, at which a block is raised: of a conversation's, at all; of the
    /// next ones of a pattern, then.
    pub confidence_permille: u64,
    /// Most bytes of blocks that were raised and not used yet.
    pub bytes: u64,
    /// Most bytes raised in a second, and a burst of as many; 0 is no bound.
    pub bytes_per_second: u64,
}

impl Prefetch {
    /// None at all.
    pub const OFF: Self = Self {
        turns: false,
        sequences: false,
        successors: false,
        conversations_count: 4096,
        successors_count: 65_536,
        confidence_permille: 290,
        bytes: 0,
        bytes_per_second: 0,
    };

    /// Bit of [`Prefetch::turns`] in a mode from outside.
    pub const TURNS: u64 = 1;
    /// Bit of [`Prefetch::sequences`].
    pub const SEQUENCES: u64 = 2;
    /// Bit of [`Prefetch::successors`].
    pub const SUCCESSORS: u64 = 4;

    /// Sets what a mode from outside asks for; `None` if it has other bits.
    pub fn with_mode(self, mode: u64) -> Option<Self> {
        (mode & !(Self::TURNS | Self::SEQUENCES | Self::SUCCESSORS) == 0).then_some(Self {
            turns: mode & Self::TURNS != 0,
            sequences: mode & Self::SEQUENCES != 0,
            successors: mode & Self::SUCCESSORS != 0,
            ..self
        })
    }

    /// Whether anything is expected at all.
    pub const fn is_on(&self) -> bool {
        self.turns || self.sequences || self.successors
    }

    /// Most bytes raised and not used yet: what is asked for, or an eighth of the memory tier.
    pub const fn bytes_of(&self, cpu_bytes: u64) -> u64 {
        match self.bytes {
            0 => cpu_bytes / 8,
            bytes => bytes,
        }
    }

    pub(super) fn validate(&self, cpu_bytes: u64, has_file_tier: bool) -> Result<(), ConfigError> {
        range(
            "prefetch_conversations_count",
            self.conversations_count,
            1,
            limits::PREFETCH_CONVERSATIONS_COUNT_MAX,
        )?;
        range(
            "prefetch_successors_count",
            self.successors_count,
            4,
            limits::PREFETCH_SUCCESSORS_COUNT_MAX,
        )?;
        range("prefetch_confidence_permille", self.confidence_permille, 1, 1000)?;
        range("prefetch_bytes", self.bytes, 0, cpu_bytes)?;
        range(
            "prefetch_bytes_per_second",
            self.bytes_per_second,
            0,
            limits::CPU_BYTES_MAX,
        )?;
        if self.is_on() && !has_file_tier {
            return Err(ConfigError {
                status: Status::Conflict,
                reason: "blocks are raised from a file tier; configure one, or no prefetching",
                ..error("prefetch", 1, 0, 0)
            });
        }
        Ok(())
    }
}

impl Default for Prefetch {
    fn default() -> Self {
        Self::OFF
    }
}
