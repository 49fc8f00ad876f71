//! What the program asks of processor and kernel directly: the only rooms with unsafe code.

pub mod allocator;
pub mod clock;
pub mod device;
pub mod memory;
pub mod process;
pub mod seccomp;
