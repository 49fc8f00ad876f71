//! The tiers: where encoded blocks lie.

pub(crate) mod cpu;
