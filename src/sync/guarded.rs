//! A value that one thread at a time may change, and nobody waits for.
//!
//! **Progress.** As [`Turn`]: taking either succeeds at once or says that somebody else has it.
//!
//! # Soundness
//! - **I1** The value is reached through a [`GuardedRef`] only, which holds the turn; the turn has one holder at a time
//!   and hands what was written over to the next (acquire and release in `turn.rs`).
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use super::turn::{Turn, TurnGuard};

/// A value and its turn.
pub(crate) struct Guarded<T> {
    turn: Turn,
    value: UnsafeCell<T>,
}

// SAFETY: I1: the value moves between threads with the turn, and is never shared.
unsafe impl<T: Send> Sync for Guarded<T> {}

/// Exclusive access; given back on drop.
pub(crate) struct GuardedRef<'g, T> {
    value: &'g mut T,
    _turn: TurnGuard<'g>,
}

impl<T> Guarded<T> {
    /// A value that nobody has.
    pub(crate) fn new(value: T) -> Self {
        Self {
            turn: Turn::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Access, if nobody else has it.
    pub(crate) fn take(&self) -> Option<GuardedRef<'_, T>> {
        let turn = self.turn.take()?;
        Some(GuardedRef {
            // SAFETY: I1, the turn is held from here until the reference is dropped.
            value: unsafe { &mut *self.value.get() },
            _turn: turn,
        })
    }
}

impl<T> Deref for GuardedRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> DerefMut for GuardedRef<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let guarded = Guarded::new(1);
        {
            let mut held = guarded.take().expect("nobody has it");
            assert!(guarded.take().is_none());
            *held += 1;
        }
        assert_eq!(guarded.take().map(|held| *held), Some(2));
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;

    /// What one holder wrote, the next one reads; two never hold it.
    #[test]
    fn what_was_written_is_handed_over() {
        loom::model(|| {
            let shared = Arc::new(Guarded::new((0, 0)));
            let add = |shared: &Guarded<(u32, u32)>| {
                if let Some(mut held) = shared.take() {
                    assert_eq!(held.0, held.1, "torn");
                    held.0 += 1;
                    held.1 += 1;
                }
            };
            let other = {
                let shared = shared.clone();
                loom::thread::spawn(move || add(&shared))
            };
            add(&shared);
            other.join().unwrap();
            let held = shared.take().expect("nobody has it");
            assert!(held.0 >= 1 && held.0 == held.1);
        });
    }
}
