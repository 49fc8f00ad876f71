//! Which of several policies does best, by their hits on the same accesses, window by window.
//!
//! Hits of one request come and go together, so how many accesses make a difference certain depends on the workload.
//! What is asked is therefore how much the difference varies from window to window: another policy is followed once its
//! lead in the windows since it was last behind is [`CERTAINTY`] times the standard error of that lead, and one worth
//! a change. The same test leads back, which is the hysteresis: where two are as good as each other nothing happens.
//!
//! `hazard` learns, and in small it learns more slowly. While it is followed its own hits on the sampled keys count,
//! not those of its shadow; later those of its shadow, times what the two were to each other then.

use super::{HAZARD, MEMBERS};
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Half words: accesses of the window, hits of the one that is followed, and of `hazard` and its shadow while that was
/// it; by policy hits of the window, and over the windows of late how many they are, hits of the one that is followed,
/// the lead and its square.
pub(super) const WORDS: usize = 4 + 5 * MEMBERS;

/// What a window counts for in comparison with the one after it.
const FADE: f32 = 15.0 / 16.0;
/// Fewest windows, as they count, that a lead must be seen in: six.
const WINDOWS_MIN: f32 = 4.5;
/// Standard errors that a lead must have.
const CERTAINTY: f32 = 4.0;
/// What a window counts for in comparison with the one after it where `hazard` is compared with its shadow.
const FADE_LEARNT: f32 = 63.0 / 64.0;
/// Most that `hazard` can be better than its shadow, or worse.
const LEARNT_MAX: f32 = 2.0;
/// Least lead worth a change, of the hits of the policy that is followed.
const LEAD_MIN: f32 = 1.0 / 200.0;

/// The counts; all-zero is none.
#[derive(Clone, Copy)]
pub(super) struct Contest<'m> {
    cells: &'m [AtomicU32],
}

const LARGE: usize = 0;
const SMALL: usize = 1;
/// From here on a change forgets everything.
const ACCESSES: usize = 2;
const OWN: usize = 3;
const HITS: usize = 4;
const WINDOWS: usize = HITS + MEMBERS;
const LATE: usize = WINDOWS + MEMBERS;
const LEADS: usize = LATE + MEMBERS;
const SQUARES: usize = LEADS + MEMBERS;

impl<'m> Contest<'m> {
    /// Over [`WORDS`] half words.
    pub(super) fn new(cells: &'m [AtomicU32]) -> Self {
        Self { cells }
    }

    fn get(self, at: usize) -> f32 {
        f32::from_bits(self.cells[at].load(Relaxed))
    }

    fn set(self, at: usize, value: f32) {
        self.cells[at].store(value.to_bits(), Relaxed);
    }

    /// Adds to what the windows before this one count for.
    fn fade(self, at: usize, value: f32) -> f32 {
        let sum = self.get(at) * FADE + value;
        self.set(at, sum);
        sum
    }

    fn add(self, at: usize, count: u32) {
        self.cells[at].store(self.cells[at].load(Relaxed).saturating_add(count), Relaxed);
    }

    /// Counts accesses.
    pub(super) fn accessed(self, count: u32) {
        self.add(ACCESSES, count);
    }

    /// Counts hits of a policy among them.
    pub(super) fn hit(self, member: usize, count: u32) {
        self.add(HITS + member, count);
    }

    /// Counts hits of the policy that is followed, not of its shadow.
    pub(super) fn hit_itself(self, count: u32) {
        self.add(OWN, count);
    }

    /// Accesses of the window so far.
    pub(super) fn accesses(self) -> u32 {
        self.cells[ACCESSES].load(Relaxed)
    }

    /// Ends a window in which `active` was followed; answers which policy to follow if that is another one from now on.
    pub(super) fn close(self, active: usize) -> Option<usize> {
        let mut hits: [f32; MEMBERS] = core::array::from_fn(|member| self.cells[HITS + member].swap(0, Relaxed) as f32);
        let own = self.cells[OWN].swap(0, Relaxed) as f32;
        if active == HAZARD {
            self.set(LARGE, self.get(LARGE) * FADE_LEARNT + own);
            self.set(SMALL, self.get(SMALL) * FADE_LEARNT + hits[HAZARD]);
            hits[HAZARD] = own;
        } else if self.get(SMALL) > 0.0 {
            hits[HAZARD] *= (self.get(LARGE) / self.get(SMALL)).clamp(1.0 / LEARNT_MAX, LEARNT_MAX);
        }
        self.cells[ACCESSES].store(0, Relaxed);
        let mut best = None;
        for member in (0..MEMBERS).filter(|&member| member != active) {
            let lead = hits[member] - hits[active];
            let windows = self.fade(WINDOWS + member, 1.0);
            let late = self.fade(LATE + member, hits[active]);
            let leads = self.fade(LEADS + member, lead);
            let squares = self.fade(SQUARES + member, lead * lead);
            if leads < 0.0 {
                for of in [WINDOWS, LATE, LEADS, SQUARES] {
                    self.set(of + member, 0.0);
                }
                continue;
            }
            if is_sure(windows, late, leads, squares) && best.is_none_or(|(most, _)| leads > most) {
                best = Some((leads, member));
            }
        }
        let (_, member) = best?;
        self.cells[ACCESSES..].iter().for_each(|cell| cell.store(0, Relaxed));
        Some(member)
    }
}

/// Whether leads with this sum and this sum of squares, over so many windows, are one to go by.
fn is_sure(windows: f32, late: f32, leads: f32, squares: f32) -> bool {
    let mean = leads / windows;
    let variance = (squares / windows - mean * mean).max(0.0);
    windows >= WINDOWS_MIN
        && leads > late * LEAD_MIN
        && leads > 0.0
        && mean * mean * windows > CERTAINTY * CERTAINTY * variance
}
