//! A turn that one thread takes at a time and nobody waits for.
//!
//! **Progress.** Wait-free: taking the turn either succeeds at once or says that somebody else has it. The callers of
//! [`Turn::take`] all have another way to go on, so a thread that stops while it has the turn stops nobody.

use super::atomic::{AtomicU32, Ordering};

/// The shared word; all-zero is "free".
pub(crate) struct Turn {
    taken: AtomicU32,
}

/// The turn, given back on drop.
pub(crate) struct TurnGuard<'t> {
    turn: &'t Turn,
}

impl Turn {
    /// A free turn.
    pub(crate) fn new() -> Self {
        Self {
            taken: AtomicU32::new(0),
        }
    }

    /// Takes the turn if it is free.
    pub(crate) fn take(&self) -> Option<TurnGuard<'_>> {
        // A plain look first, so that threads that only ask do not move the line. Relaxed: the exchange decides.
        if self.taken.load(Ordering::Relaxed) != 0 {
            return None;
        }
        // Acquire: partner is the release in `drop`; what the last holder wrote is visible to this one.
        self.taken
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| TurnGuard { turn: self })
    }
}

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        // Release: partner is the acquire in `take`.
        self.turn.taken.store(0, Ordering::Release);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;

    /// A counter changed without atomicity under the turn never loses a step.
    #[test]
    fn the_turn_excludes() {
        loom::model(|| {
            let shared = Arc::new((Turn::new(), AtomicU32::new(0), AtomicU32::new(0)));
            let work = |shared: &(Turn, AtomicU32, AtomicU32)| {
                if let Some(_guard) = shared.0.take() {
                    let seen = shared.1.load(Ordering::Relaxed);
                    shared.1.store(seen + 1, Ordering::Relaxed);
                    shared.2.fetch_add(1, Ordering::Relaxed);
                }
            };
            let other = {
                let shared = shared.clone();
                loom::thread::spawn(move || work(&shared))
            };
            work(&shared);
            other.join().unwrap();
            assert_eq!(shared.1.load(Ordering::Relaxed), shared.2.load(Ordering::Relaxed));
        });
    }
}
