//! The tiers: where encoded blocks lie.

pub(crate) mod cpu;
pub mod device;
#[cfg(feature = "mmap")]
pub mod disk;
pub mod fault;
#[cfg(feature = "std")]
pub(crate) mod file;
pub mod log;
#[cfg(feature = "std")]
pub mod nvme;
pub mod sim;
pub mod trace;
