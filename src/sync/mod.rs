//! Atomics and the lock-free structures that are built of nothing else.
//!
//! Everything here borrows its storage, addresses by index and compiles against `loom` (`make loom`), which explores
//! the interleavings of the models that stand beside each structure.

pub(crate) mod atomic;
pub(crate) mod free_list;
pub(crate) mod guarded;
pub(crate) mod inbox;
pub(crate) mod ring;
pub(crate) mod thread;
pub(crate) mod turn;
