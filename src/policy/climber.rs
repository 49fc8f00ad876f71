//! Moving thresholds while the cache runs: a hill climber that tries one step, looks, goes back, and steps again only
//! if that was better.
//!
//! Whoever has one judges **windows**: stretches of use, each with a reward for the threshold whose turn it is. A try
//! takes three groups of [`GROUP`] windows: at home, a step away, at home again, with a window between them that is not
//! looked at. What drifts is seen at home on both sides, so that a load that gets easier is not taken for a good step.
//! The step is **kept** if its group is better than both others, by more than twice the standard error of the
//! difference and by more than [`HYSTERESIS`]; else it is **taken back**. A window that is worse than that by
//! [`ALARM`] times ends the try at once. After a step that was taken back the next try goes the other way, and each
//! threshold rests the longer the more often in a row that happened.
//!
//! Limits are absolute and relative to what was configured ([`Threshold::confidence`], [`Threshold::admission_loss`]);
//! whatever the rewards, no value leaves them, and a threshold that is off never moves.

/// Windows of a group.
const GROUP: u32 = 6;
/// What a step has to gain, of rewards between -1 and 1.
const HYSTERESIS: f32 = 0.005;
/// How many times the margin a single window may be worse before the try ends.
const ALARM: f32 = 4.0;
/// Windows of rest after a step that was taken back, and at most.
const REST: u32 = 8;
const REST_MAX: u32 = 128;
/// How many thresholds there are.
const THRESHOLDS: usize = 2;
/// The least probability at which something is raised ahead of its use.
pub(crate) const CONFIDENCE: usize = 0;
/// The hits that admission may cost.
pub(crate) const ADMISSION_LOSS: usize = 1;

/// A threshold in thousandths, and within what limits it may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    value: u32,
    min: u32,
    max: u32,
    upwards: bool,
    rest: u32,
    rest_next: u32,
}

impl Threshold {
    /// One that never moves.
    pub const fn fixed(permille: u32) -> Self {
        Self::within(permille, permille, permille)
    }

    const fn within(value: u32, min: u32, max: u32) -> Self {
        Self {
            value,
            min: if min < value { min } else { value },
            max: if max > value { max } else { value },
            upwards: false,
            rest: 0,
            rest_next: REST,
        }
    }

    /// The confidence of prefetching: from half to twice what was configured, within 100 and 950, but never away from
    /// what was configured beyond those.
    pub const fn confidence(permille: u32) -> Self {
        let (min, max) = (permille / 2, permille.saturating_mul(2));
        Self::within(
            permille,
            if min < 100 { 100 } else { min },
            if max > 950 { 950 } else { max },
        )
    }

    /// What admission may lose: from a quarter to twice what was configured, within 5 and 200, but never away from what
    /// was configured beyond those.
    pub const fn admission_loss(permille: u32) -> Self {
        let (min, max) = (permille / 4, permille.saturating_mul(2));
        Self::within(
            permille,
            if min < 5 { 5 } else { min },
            if max > 200 { 200 } else { max },
        )
    }

    /// The present value.
    pub const fn permille(&self) -> u32 {
        self.value
    }

    /// The smallest and the largest that it may become.
    pub const fn limits(&self) -> (u32, u32) {
        (self.min, self.max)
    }

    /// A step by a quarter up, or back down again, within the limits. Where there is none that way, the other way.
    fn step(&mut self) -> Option<u32> {
        for _ in 0..2 {
            let wide = u64::from(self.value);
            let next = match self.upwards {
                true => (wide * 5).div_ceil(4).min(u64::from(self.max)) as u32,
                false => (wide * 4 / 5).max(u64::from(self.min)) as u32,
            };
            if next != self.value {
                return Some(next);
            }
            self.upwards = !self.upwards;
        }
        None
    }
}

/// Rewards of a group of windows.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    count: u32,
    mean: f32,
    /// Sum of the squares of what is off the mean (Welford, 1962).
    squares: f32,
}

impl Group {
    fn add(&mut self, reward: f32) {
        self.count += 1;
        let off = reward - self.mean;
        self.mean += off / self.count as f32;
        self.squares += off * (reward - self.mean);
    }

    fn is_full(&self) -> bool {
        self.count >= GROUP
    }
}

/// Where a try stands.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// At home, before the step.
    Before,
    /// A step away.
    Away,
    /// At home again.
    After,
}

/// What came of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A step is being tried.
    Tried,
    /// The threshold is home again; what becomes of the step is not yet decided.
    Home,
    /// The step was better and stays.
    Kept,
    /// It was not, or is not certain to be: the threshold is what it was.
    TakenBack,
}

/// The climber. Plain data, 150 bytes or so; one caller at a time. Allocates nothing.
///
/// ```
/// use kvcache::policy::{Climber, Threshold};
///
/// let mut climber = Climber::new([Threshold::confidence(500), Threshold::fixed(50)]);
/// for _ in 0..1000 {
///     // Rewards that are best at 300.
///     let away = climber.permille(0) as f32 - 300.0;
///     climber.window(-(away / 1000.0).abs());
/// }
/// assert!((240..=400).contains(&climber.permille(0)) && climber.permille(1) == 50);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Climber {
    thresholds: [Threshold; THRESHOLDS],
    turn: usize,
    phase: Phase,
    /// Whether the next window is passed over, since the value has just changed.
    settling: bool,
    /// The value to come back to.
    home: u32,
    before: Group,
    away: Group,
    after: Group,
}

impl Climber {
    /// At rest where it was configured.
    pub const fn new(thresholds: [Threshold; THRESHOLDS]) -> Self {
        const EMPTY: Group = Group {
            count: 0,
            mean: 0.0,
            squares: 0.0,
        };
        Self {
            thresholds,
            turn: 0,
            phase: Phase::Before,
            settling: false,
            home: thresholds[0].value,
            before: EMPTY,
            away: EMPTY,
            after: EMPTY,
        }
    }

    /// The present value of a threshold, in thousandths.
    pub fn permille(&self, threshold: usize) -> u32 {
        self.thresholds.get(threshold).map_or(0, Threshold::permille)
    }

    /// The threshold that the next window's reward is for; `None` while all rest or are off.
    pub fn turn(&self) -> Option<usize> {
        let threshold = self.thresholds.get(self.turn)?;
        (threshold.rest == 0 && threshold.min != threshold.max).then_some(self.turn)
    }

    /// A window is over, with a reward for the threshold whose turn it is: from -1 to 1, more is better; anything else
    /// is brought there. While all rest, the reward is not looked at.
    pub fn window(&mut self, reward: f32) -> Option<Outcome> {
        let resting = self.turn().is_none();
        for threshold in &mut self.thresholds {
            threshold.rest = threshold.rest.saturating_sub(1);
        }
        if resting {
            self.next_turn();
            return None;
        }
        if core::mem::take(&mut self.settling) {
            return None;
        }
        let reward = if reward.is_finite() {
            reward.clamp(-1.0, 1.0)
        } else {
            0.0
        };
        match self.phase {
            Phase::Before => {
                self.before.add(reward);
                if !self.before.is_full() {
                    return None;
                }
                let threshold = self.thresholds.get_mut(self.turn)?;
                self.home = threshold.value;
                threshold.value = threshold.step()?;
                (self.phase, self.settling) = (Phase::Away, true);
                Some(Outcome::Tried)
            }
            Phase::Away => {
                let margin = margin_squared(&[self.before], 1.0 + 1.0 / GROUP as f32);
                let worse = self.before.mean - reward;
                if worse > 0.0 && worse * worse > ALARM * ALARM * margin {
                    self.go_home();
                    return Some(self.decide(false));
                }
                self.away.add(reward);
                if !self.away.is_full() {
                    return None;
                }
                self.go_home();
                (self.phase, self.settling) = (Phase::After, true);
                Some(Outcome::Home)
            }
            Phase::After => {
                self.after.add(reward);
                if !self.after.is_full() {
                    return None;
                }
                let home = (self.before.mean + self.after.mean) / 2.0;
                let gain = self.away.mean - home;
                let margin = margin_squared(&[self.before, self.away, self.after], 1.5 / GROUP as f32);
                let better = gain > 0.0
                    && gain * gain > margin
                    && self.away.mean > self.before.mean
                    && self.away.mean > self.after.mean;
                Some(self.decide(better))
            }
        }
    }

    fn go_home(&mut self) {
        let home = self.home;
        if let Some(threshold) = self.thresholds.get_mut(self.turn) {
            threshold.value = home.clamp(threshold.min, threshold.max);
        }
    }

    /// Ends a try, at home.
    fn decide(&mut self, better: bool) -> Outcome {
        if let Some(threshold) = self.thresholds.get_mut(self.turn) {
            if better {
                threshold.value = threshold.step().unwrap_or(threshold.value);
                threshold.rest_next = REST;
            } else {
                threshold.upwards = !threshold.upwards;
                threshold.rest = threshold.rest_next;
                threshold.rest_next = (threshold.rest_next * 2).min(REST_MAX);
            }
        }
        (self.before, self.away, self.after) = (Group::default(), Group::default(), Group::default());
        self.phase = Phase::Before;
        self.settling = true;
        self.next_turn();
        if better { Outcome::Kept } else { Outcome::TakenBack }
    }

    /// Gives the turn to the next threshold that may move.
    fn next_turn(&mut self) {
        for step in 1..=THRESHOLDS {
            let next = (self.turn + step) % THRESHOLDS;
            let ready = self
                .thresholds
                .get(next)
                .is_some_and(|it| it.rest == 0 && it.min != it.max);
            if ready {
                self.turn = next;
                return;
            }
        }
    }
}

/// The square of what chance explains, twice the standard error, where a difference of means has so much of the
/// windows' variance; no less than the hysteresis.
fn margin_squared(groups: &[Group], share: f32) -> f32 {
    let squares: f32 = groups.iter().map(|group| group.squares).sum();
    let freedom: u32 = groups.iter().map(|group| group.count.saturating_sub(1)).sum();
    let variance = squares / freedom.max(1) as f32;
    (4.0 * variance * share).max(HYSTERESIS * HYSTERESIS)
}

#[cfg(all(test, not(loom)))]
#[path = "climber/tests.rs"]
mod tests;
