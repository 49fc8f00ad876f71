//! Thresholds that move while the engine runs: what a window of use was worth, for the climber
//! ([`crate::policy::Climber`]) that judges it.
//!
//! | threshold | reward of a window | a window lasts for, at least |
//! | --- | --- | --- |
//! | confidence of prefetching | (raised in time - raised in vain) / (raised in time + raised on demand) | 1024 blocks asked for, 32 raises that were used or wasted |
//! | loss by admission | found below / (found below + found nowhere) - written / (written + refused) / 8 | 1024 blocks asked for, 256 that left memory |
//!
//! A block that is raised in vain counts as much as one raised in time. Of the writes, eight hundredths of all that
//! leaves memory are worth a hundredth of what memory did not have.

use super::pump::Pump;
use crate::config::Config;
use crate::engine::Engine;
use crate::metrics::Counter;
use crate::policy::{ADMISSION_LOSS, CONFIDENCE, Climber, Outcome, Threshold};
use crate::sync::atomic::Ordering;

/// Milliseconds between two looks at the counters.
const LOOK_MS: u64 = 100;
/// Blocks asked for in a window, at least.
const ASKED_MIN: u64 = 1024;
/// Blocks raised ahead of which it is known in a window what became of them, at least.
const RESOLVED_MIN: u64 = 32;
/// Blocks that left memory in a window, at least.
const DEPARTED_MIN: u64 = 256;
/// Shares of writes that are worth a share of hits.
const WRITES_PER_HIT: f32 = 8.0;

/// What was counted since the engine was opened, or in a window.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    asked: u64,
    nowhere: u64,
    below: u64,
    raised: u64,
    raised_ahead: u64,
    used: u64,
    wasted: u64,
    written: u64,
    refused: u64,
}

impl Seen {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            asked: self.asked.wrapping_sub(earlier.asked),
            nowhere: self.nowhere.wrapping_sub(earlier.nowhere),
            below: self.below.wrapping_sub(earlier.below),
            raised: self.raised.wrapping_sub(earlier.raised),
            raised_ahead: self.raised_ahead.wrapping_sub(earlier.raised_ahead),
            used: self.used.wrapping_sub(earlier.used),
            wasted: self.wasted.wrapping_sub(earlier.wasted),
            written: self.written.wrapping_sub(earlier.written),
            refused: self.refused.wrapping_sub(earlier.refused),
        }
    }

    /// Whether this is enough of a window for the threshold whose turn it is.
    fn is_whole(&self, turn: Option<usize>) -> bool {
        self.asked >= ASKED_MIN
            && match turn {
                Some(CONFIDENCE) => self.used + self.wasted >= RESOLVED_MIN,
                Some(_) => self.written + self.refused >= DEPARTED_MIN,
                None => true,
            }
    }

    fn reward(&self, turn: Option<usize>) -> f32 {
        let share = |part: f32, whole: u64| if whole == 0 { 0.0 } else { part / whole as f32 };
        match turn {
            Some(CONFIDENCE) => {
                let demanded = self.raised.saturating_sub(self.raised_ahead);
                share(self.used as f32 - self.wasted as f32, self.used + demanded)
            }
            Some(_) => {
                share(self.below as f32, self.below + self.nowhere)
                    - share(self.written as f32, self.written + self.refused) / WRITES_PER_HIT
            }
            None => 0.0,
        }
    }
}

/// The climber and its present window.
pub(super) struct Tuning {
    climber: Climber,
    since: Seen,
    /// When the counters are looked at next.
    look_ms: u64,
}

impl Tuning {
    /// `None` where it is off.
    pub(super) fn new(config: &Config) -> Option<Self> {
        // The configuration's own bounds are far below what these numbers hold.
        let confidence = config.prefetch.confidence_permille as u32;
        let loss = config.admission_loss_permille as u32;
        config.tuning.then(|| Self {
            climber: Climber::new([
                if config.prefetch.is_on() {
                    Threshold::confidence(confidence)
                } else {
                    Threshold::fixed(confidence)
                },
                if config.admits_by_reuse() {
                    Threshold::admission_loss(loss)
                } else {
                    Threshold::fixed(loss)
                },
            ]),
            since: Seen::default(),
            look_ms: 0,
        })
    }
}

impl Engine<'_> {
    /// The confidence of prefetching at present.
    pub(in crate::engine) fn confidence_permille(&self) -> u64 {
        // Relaxed, here and below: a number.
        match self.control.confidence_permille.load(Ordering::Relaxed) {
            0 => self.config.prefetch.confidence_permille,
            permille => permille,
        }
    }

    /// What admission may cost at present.
    pub(in crate::engine) fn admission_loss_permille(&self) -> u64 {
        match self.control.admission_loss_permille.load(Ordering::Relaxed) {
            0 => self.config.admission_loss_permille,
            permille => permille,
        }
    }

    fn seen(&self) -> Seen {
        let sum = |counters: &[Counter]| {
            let totals = counters.iter().map(|&counter| self.counters.total(counter));
            totals.fold(0, u64::wrapping_add)
        };
        let nowhere = sum(&[Counter::GetMisses, Counter::AcquireMisses]);
        Seen {
            asked: sum(&[Counter::GetHits, Counter::Acquires]).wrapping_add(nowhere),
            nowhere,
            below: sum(&[Counter::NvmeHits, Counter::DiskHits]),
            raised: sum(&[Counter::Raises]),
            raised_ahead: sum(&[Counter::Prefetches]),
            used: sum(&[Counter::PrefetchesUsed]),
            wasted: sum(&[Counter::PrefetchesWasted]),
            // What comes from memory comes to the first tier that there is.
            written: sum(&[match self.config.nvme.bytes {
                0 => Counter::DiskWrites,
                _ => Counter::NvmeWrites,
            }]),
            refused: sum(&[Counter::WritesRefused]),
        }
    }

    /// Judges a window that is over, and moves what is to be moved. The pump's turn is the caller's.
    pub(super) fn tune(&self, pump: &mut Pump<'_>) {
        let Some(tuning) = &mut pump.tuning else { return };
        let now_ms = self.coarse_ns() / 1_000_000;
        if now_ms < tuning.look_ms {
            return;
        }
        tuning.look_ms = now_ms + LOOK_MS;
        let (seen, turn) = (self.seen(), tuning.climber.turn());
        let window = seen.since(&tuning.since);
        if !window.is_whole(turn) {
            return;
        }
        tuning.since = seen;
        let counter = match tuning.climber.window(window.reward(turn)) {
            None => return,
            Some(Outcome::Home) => None,
            Some(Outcome::Tried) => Some(Counter::TuningTried),
            Some(Outcome::Kept) => Some(Counter::TuningKept),
            Some(Outcome::TakenBack) => Some(Counter::TuningTakenBack),
        };
        if let Some(counter) = counter {
            self.counters.add(self.stripe(), counter, 1);
        }
        let permille = |threshold| u64::from(tuning.climber.permille(threshold));
        pump.filter.set_loss_permille(permille(ADMISSION_LOSS));
        let (confidence, loss) = (&self.control.confidence_permille, &self.control.admission_loss_permille);
        confidence.store(permille(CONFIDENCE), Ordering::Relaxed);
        loss.store(permille(ADMISSION_LOSS), Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_what_the_table_says() {
        let window = Seen {
            asked: 2000,
            nowhere: 600,
            below: 200,
            raised: 150,
            raised_ahead: 100,
            used: 50,
            wasted: 30,
            written: 100,
            refused: 300,
        };
        assert_eq!(window.reward(Some(CONFIDENCE)), 20.0 / 100.0);
        assert_eq!(window.reward(Some(ADMISSION_LOSS)), 0.25 - 0.25 / 8.0);
        assert_eq!(
            (window.reward(None), Seen::default().reward(Some(CONFIDENCE))),
            (0.0, 0.0)
        );
        assert_eq!(Seen::default().reward(Some(ADMISSION_LOSS)), 0.0);
        let vain = Seen {
            used: 1,
            wasted: 40,
            ..window
        };
        assert!(vain.reward(Some(CONFIDENCE)) < 0.0);
    }

    #[test]
    fn a_window_is_over_when_it_says_something_of_the_threshold_whose_turn_it_is() {
        let window = Seen {
            asked: ASKED_MIN,
            used: RESOLVED_MIN,
            ..Seen::default()
        };
        assert!(window.is_whole(Some(CONFIDENCE)) && window.is_whole(None) && !window.is_whole(Some(ADMISSION_LOSS)));
        let window = Seen {
            asked: ASKED_MIN,
            refused: DEPARTED_MIN,
            ..Seen::default()
        };
        assert!(window.is_whole(Some(ADMISSION_LOSS)) && !window.is_whole(Some(CONFIDENCE)));
        assert!(
            !Seen {
                asked: ASKED_MIN - 1,
                ..window
            }
            .is_whole(Some(ADMISSION_LOSS))
        );
    }

    #[test]
    fn what_is_off_is_fixed() {
        let mut config = Config::default();
        assert!(Tuning::new(&config).is_none());
        config.tuning = true;
        let fixed = |tuning: Option<Tuning>| tuning.map(|tuning| tuning.climber.turn());
        assert_eq!(fixed(Tuning::new(&config)), Some(None));
        config.prefetch.turns = true;
        assert_eq!(fixed(Tuning::new(&config)), Some(Some(CONFIDENCE)));
        config.prefetch.turns = false;
        config.nvme.admission = crate::config::Admission::Reuse;
        assert_eq!(fixed(Tuning::new(&config)), Some(None), "there is no such tier");
    }
}
