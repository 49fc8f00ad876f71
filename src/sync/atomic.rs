//! The atomics facade: `core` in a build that runs, `loom` in one that is modelled.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Stands between two sequentially consistent operations on different words whose order other threads rely on.
///
/// Nothing in a build that runs. Loom takes such operations for acquire-release ones, which keep no such order; under
/// it this is the fence that does.
#[inline]
pub(crate) fn crossing() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}
