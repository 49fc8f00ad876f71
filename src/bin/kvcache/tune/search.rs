//! The search: one thing after the other, each from what was settled before it.
//!
//! Candidates are tried on the first part of the trace alone. The one that does best there, and no other, is then
//! compared with what it would replace on the slices that the search did not see, and taken only if it holds there. One
//! candidate a step, so that the best of many strokes of luck is not taken for a gain.

use clap::ValueEnum;

use crate::plan::PolicyName;
use crate::replay::AdmissionName;
use crate::simulate::in_parallel;
use crate::trace::TraceError;

use super::field::{Field, Part, Tally};
use super::noise::Change;
use super::trial::{Budget, Rule, Setup, Trial};

/// Doublings of a tier's size that are tried, below the largest.
const DOUBLINGS: u32 = 7;
/// A gain below this share of all tokens or blocks is not worth a change, however certain.
const GAIN_MIN: f64 = 0.001;
/// Writes that a filter has to spare to be worth a change.
const WRITES_SPARED_MIN: f64 = 0.05;
/// Share of what is raised that may be given up unused.
const WASTE_MAX: f64 = 0.5;
/// Losses that admission by reuse is tried with, in thousandths.
const LOSSES: [u64; 5] = [10, 20, 50, 100, 200];
/// Shares of the first tier that raised blocks are tried with: one of so many.
const ROOMS: [u32; 3] = [16, 8, 4];
/// Confidences that prefetching is tried with, in thousandths.
const CONFIDENCES: [u32; 3] = [290, 400, 600];

/// What bounds the search.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most blocks of the first tier.
    pub blocks_max: u32,
    /// Most blocks of the second; 0 for none.
    pub below_blocks_max: u32,
    /// What a doubling of a size has to gain, as a share of all tokens; what a filter may lose.
    pub gain_min: f64,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The tiers.
    pub setup: Setup,
    /// Prefetching.
    pub budget: Option<Budget>,
}

/// Something that was tried, on the searched part.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What it is called.
    pub name: String,
    /// Its ratio: of prefix tokens, or in the step of prefetching of blocks in memory.
    pub ratio: f64,
    /// Gain over the size before, for each doubling; sizes only.
    pub doubling: Option<f64>,
    /// Blocks written to the second tier.
    pub writes: u64,
    /// Share of what was raised that was given up unused; prefetching only.
    pub waste: Option<f64>,
}

/// How the best candidate did on the part that the search did not see.
#[derive(Clone, Copy, Debug)]
pub struct Unseen {
    /// What it would replace, slices together.
    pub before: Tally,
    /// The candidate.
    pub after: Tally,
    /// Of the ratio.
    pub ratio: Change,
    /// Of the writes, as a share of those before.
    pub writes: Change,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is changed.
    pub name: &'static str,
    /// What is counted: the ratio's name.
    pub counted: &'static str,
    /// What it was.
    pub from: String,
    /// The best candidate; what it was if there is none.
    pub to: String,
    /// All that was tried.
    pub tried: Vec<Tried>,
    /// How the candidate did, if there was one.
    pub unseen: Option<Unseen>,
    /// Whether it is taken.
    pub taken: bool,
    /// Why, or why not.
    pub reason: String,
}

const PREFIX_TOKENS: &str = "prefix_token_hit_ratio";
const IN_MEMORY: &str = "block_hit_ratio_memory";

/// A search.
pub struct Search<'f> {
    field: &'f Field,
    bounds: Bounds,
    /// What is settled.
    pub found: Found,
    /// What was done.
    pub steps: Vec<Step>,
}

/// The name that users type.
pub fn name_of(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().into())
}

fn points(share: f64) -> String {
    format!("{:+.2}", 100.0 * share)
}

/// Sizes by doubling up to the largest.
fn ladder(most: u32) -> Vec<u32> {
    let mut sizes: Vec<u32> = (0..=DOUBLINGS).rev().map(|halvings| most >> halvings).collect();
    sizes.retain(|size| *size > 0);
    sizes
}

/// The smallest size from which on no doubling gains as much as `gain_min`: its place.
fn knee(ratios: &[f64], gain_min: f64) -> usize {
    let worth = (1..ratios.len())
        .rev()
        .find(|&place| ratios[place] - ratios[place - 1] >= gain_min);
    worth.unwrap_or(0)
}

impl Rule {
    /// Everything.
    pub const ALL: Self = Self {
        admission: AdmissionName::All,
        loss_permille: kvcache::policy::Reuse::LOSS_PERMILLE,
    };

    fn name(self) -> String {
        match self.admission {
            AdmissionName::Reuse => format!("reuse, {} ‰ lost", self.loss_permille),
            name => name_of(&name),
        }
    }
}

impl<'f> Search<'f> {
    /// Begins with what the engine does by default: its policy, all the memory, no second tier, nothing ahead of use.
    pub fn new(field: &'f Field, bounds: Bounds) -> Self {
        Self {
            field,
            bounds,
            found: Found {
                setup: Setup {
                    policy: PolicyName::Hazard,
                    blocks: bounds.blocks_max,
                    below_blocks: 0,
                    rule: Rule::ALL,
                },
                budget: None,
            },
            steps: Vec::new(),
        }
    }

    /// All steps, and at last everything together against the default.
    ///
    /// # Errors
    /// What is wrong with a line.
    pub fn run(&mut self) -> Result<Unseen, TraceError> {
        let default = self.found.setup;
        self.first_tier()?;
        self.policy()?;
        if self.bounds.below_blocks_max > 0 {
            self.second_tier()?;
        }
        if self.found.setup.below_blocks > 0 {
            self.admission()?;
            self.prefetch()?;
        }
        self.compare(Trial::Tiers(default), Trial::Tiers(self.found.setup), false)
    }

    /// What was counted on the searched part.
    fn searched(&self, trials: &[Trial]) -> Result<Vec<Tally>, TraceError> {
        in_parallel(trials, |trial| {
            let tallies = trial.run(self.field, Part::Searched)?;
            Ok(tallies.first().copied().unwrap_or_default())
        })
    }

    fn compare(&self, before: Trial, after: Trial, in_memory: bool) -> Result<Unseen, TraceError> {
        let both = in_parallel(&[before, after], |trial| trial.run(self.field, Part::Whole))?;
        let [before, after] = [0, 1].map(|place: usize| &both[place][1..]);
        let ratio = |tally: &Tally| match in_memory {
            true => tally.block_hit_ratio(),
            false => tally.prefix_token_hit_ratio(),
        };
        let sum = |tallies: &[Tally]| tallies.iter().fold(Tally::default(), |sum, tally| sum.and(*tally));
        let pairs = || before.iter().zip(after);
        let writes_each = sum(before).writes as f64 / before.len().max(1) as f64;
        Ok(Unseen {
            before: sum(before),
            after: sum(after),
            ratio: Change::of(pairs().map(|(before, after)| (ratio(before), ratio(after)))),
            writes: Change::of(pairs().map(|(before, after)| {
                let of = |tally: &Tally| {
                    if writes_each > 0.0 {
                        tally.writes as f64 / writes_each
                    } else {
                        0.0
                    }
                };
                (of(before), of(after))
            })),
        })
    }

    fn nothing_better(&mut self, name: &'static str, counted: &'static str, from: String, tried: Vec<Tried>) {
        self.steps.push(Step {
            name,
            counted,
            to: from.clone(),
            from,
            tried,
            unseen: None,
            taken: false,
            reason: String::from("nothing that was tried is worth a change on the searched part"),
        });
    }

    fn first_tier(&mut self) -> Result<(), TraceError> {
        let default = self.found.setup;
        let sizes = ladder(self.bounds.blocks_max);
        let setups: Vec<Setup> = sizes.iter().map(|&blocks| Setup { blocks, ..default }).collect();
        let trials: Vec<Trial> = setups.iter().copied().map(Trial::Tiers).collect();
        let tallies = self.searched(&trials)?;
        let tried = sized(&sizes, &tallies);
        let ratios: Vec<f64> = tallies.iter().map(Tally::prefix_token_hit_ratio).collect();
        let place = knee(&ratios, self.bounds.gain_min);
        let (from, chosen) = (format!("{} blocks", default.blocks), setups[place]);
        if chosen.blocks == default.blocks {
            self.nothing_better("first tier", PREFIX_TOKENS, from, tried);
            if let Some(step) = self.steps.last_mut() {
                step.reason = String::from("the last doubling still gains, so all of it is used");
            }
            return Ok(());
        }
        let unseen = self.compare(Trial::Tiers(default), Trial::Tiers(chosen), false)?;
        let doublings = (sizes.len() - 1 - place) as f64;
        let taken = unseen.ratio.loses_at_most(self.bounds.gain_min * doublings);
        let reason = format!(
            "on the unseen part it changes hits by {} ± {:.2} points against all of it; {} may cost {:.2}",
            points(unseen.ratio.mean),
            100.0 * unseen.ratio.noise,
            if doublings == 1.0 {
                String::from("one doubling")
            } else {
                format!("{doublings} doublings")
            },
            100.0 * self.bounds.gain_min * doublings
        );
        self.settle(
            ("first tier", PREFIX_TOKENS, from),
            tried,
            unseen,
            (taken, reason),
            chosen,
        );
        Ok(())
    }

    fn policy(&mut self) -> Result<(), TraceError> {
        let settled = self.found.setup;
        // Nothing in a trace says what a block is worth to its caller.
        let tells = |policy: &&PolicyName| **policy != PolicyName::Importance;
        let policies: Vec<PolicyName> = PolicyName::value_variants().iter().filter(tells).copied().collect();
        let setups: Vec<Setup> = policies.iter().map(|&policy| Setup { policy, ..settled }).collect();
        let trials: Vec<Trial> = setups.iter().copied().map(Trial::Tiers).collect();
        let tallies = self.searched(&trials)?;
        let tried = named(policies.iter().map(name_of), &tallies);
        let from = name_of(&settled.policy);
        let best = (0..setups.len()).max_by(|&a, &b| tried[a].ratio.total_cmp(&tried[b].ratio));
        let own = policies.iter().position(|policy| *policy == settled.policy);
        match (best, own) {
            (Some(best), Some(own)) if tried[best].ratio >= tried[own].ratio + GAIN_MIN => {
                let unseen = self.compare(Trial::Tiers(settled), Trial::Tiers(setups[best]), false)?;
                let verdict = gains(&unseen, GAIN_MIN);
                self.settle(("policy", PREFIX_TOKENS, from), tried, unseen, verdict, setups[best]);
            }
            _ => self.nothing_better("policy", PREFIX_TOKENS, from, tried),
        }
        Ok(())
    }

    fn second_tier(&mut self) -> Result<(), TraceError> {
        let settled = self.found.setup;
        let mut sizes = ladder(self.bounds.below_blocks_max);
        sizes.retain(|size| *size >= settled.blocks);
        let setups: Vec<Setup> = std::iter::once(0)
            .chain(sizes.iter().copied())
            .map(|below_blocks| Setup {
                below_blocks,
                ..settled
            })
            .collect();
        let trials: Vec<Trial> = setups.iter().copied().map(Trial::Tiers).collect();
        let tallies = self.searched(&trials)?;
        let sizes: Vec<u32> = setups.iter().map(|setup| setup.below_blocks).collect();
        let tried = sized(&sizes, &tallies);
        let ratios: Vec<f64> = tallies.iter().map(Tally::prefix_token_hit_ratio).collect();
        let chosen = setups[knee(&ratios, self.bounds.gain_min)];
        let from = String::from("none");
        if chosen.below_blocks == 0 {
            self.nothing_better("second tier", PREFIX_TOKENS, from, tried);
            return Ok(());
        }
        let unseen = self.compare(Trial::Tiers(settled), Trial::Tiers(chosen), false)?;
        let verdict = gains(&unseen, self.bounds.gain_min);
        self.settle(("second tier", PREFIX_TOKENS, from), tried, unseen, verdict, chosen);
        Ok(())
    }

    fn admission(&mut self) -> Result<(), TraceError> {
        let settled = self.found.setup;
        let rule = |admission, loss_permille| Rule {
            admission,
            loss_permille,
        };
        let mut rules = vec![Rule::ALL, rule(AdmissionName::SecondHit, Rule::ALL.loss_permille)];
        rules.extend(LOSSES.map(|loss_permille| rule(AdmissionName::Reuse, loss_permille)));
        let setups: Vec<Setup> = rules.iter().map(|&rule| Setup { rule, ..settled }).collect();
        let trials: Vec<Trial> = setups.iter().copied().map(Trial::Tiers).collect();
        let tallies = self.searched(&trials)?;
        let tried = named(rules.iter().map(|rule| rule.name()), &tallies);
        let (ratio, writes) = (tried[0].ratio, tried[0].writes as f64);
        let best = (1..setups.len())
            .filter(|&place| tried[place].ratio >= ratio - self.bounds.gain_min)
            .filter(|&place| tried[place].writes as f64 <= writes * (1.0 - WRITES_SPARED_MIN))
            .min_by_key(|&place| tried[place].writes);
        let from = settled.rule.name();
        let Some(best) = best else {
            self.nothing_better("admission", PREFIX_TOKENS, from, tried);
            return Ok(());
        };
        let unseen = self.compare(Trial::Tiers(settled), Trial::Tiers(setups[best]), false)?;
        let fewer = unseen.writes.mean + unseen.writes.noise < 0.0;
        let taken =
            fewer && unseen.writes.mean <= -WRITES_SPARED_MIN && unseen.ratio.loses_at_most(self.bounds.gain_min);
        let reason = format!(
            "on the unseen part it changes writes by {:+.1} ± {:.1} % and hits by {} ± {:.2} points; {:.2} may be \
             lost, with what chance may hide",
            100.0 * unseen.writes.mean,
            100.0 * unseen.writes.noise,
            points(unseen.ratio.mean),
            100.0 * unseen.ratio.noise,
            100.0 * self.bounds.gain_min
        );
        self.settle(
            ("admission", PREFIX_TOKENS, from),
            tried,
            unseen,
            (taken, reason),
            setups[best],
        );
        Ok(())
    }

    fn prefetch(&mut self) -> Result<(), TraceError> {
        let Setup { policy, blocks, .. } = self.found.setup;
        let none = Budget {
            room_blocks: 0,
            confidence_permille: 1000,
        };
        let mut budgets = vec![none];
        for share in ROOMS {
            budgets.extend(CONFIDENCES.map(|confidence_permille| Budget {
                room_blocks: (blocks / share).max(1),
                confidence_permille,
            }));
        }
        let trials: Vec<Trial> = budgets
            .iter()
            .map(|&budget| Trial::Ahead(policy, blocks, budget))
            .collect();
        let tallies = self.searched(&trials)?;
        let name = |budget: &Budget| match budget.room_blocks {
            0 => String::from("none"),
            room => format!("{room} blocks, from {} ‰", budget.confidence_permille),
        };
        let mut tried = named(budgets.iter().map(name), &tallies);
        for (tried, tally) in tried.iter_mut().zip(&tallies) {
            tried.ratio = tally.block_hit_ratio();
            tried.waste = Some(tally.waste()).filter(|_| tally.raised > 0);
        }
        let best = (1..budgets.len())
            .filter(|&place| tallies[place].waste() <= WASTE_MAX && tried[place].ratio >= tried[0].ratio + GAIN_MIN)
            .max_by(|&a, &b| tried[a].ratio.total_cmp(&tried[b].ratio));
        let from = name(&none);
        let Some(best) = best else {
            self.nothing_better("prefetch", IN_MEMORY, from, tried);
            return Ok(());
        };
        let unseen = self.compare(trials[0], trials[best], true)?;
        let (mut taken, mut reason) = gains(&unseen, GAIN_MIN);
        let waste = unseen.after.waste();
        if taken && waste > WASTE_MAX {
            taken = false;
            reason = format!(
                "on the unseen part {:.0} % of what was raised was not used",
                100.0 * waste
            );
        }
        let to = tried[best].name.clone();
        if taken {
            self.found.budget = Some(budgets[best]);
        }
        self.steps.push(Step {
            name: "prefetch",
            counted: IN_MEMORY,
            from,
            to,
            tried,
            unseen: Some(unseen),
            taken,
            reason,
        });
        Ok(())
    }

    fn settle(
        &mut self,
        (name, counted, from): (&'static str, &'static str, String),
        tried: Vec<Tried>,
        unseen: Unseen,
        (taken, reason): (bool, String),
        chosen: Setup,
    ) {
        let to = match name {
            "first tier" => format!("{} blocks", chosen.blocks),
            "second tier" => format!("{} blocks", chosen.below_blocks),
            "policy" => name_of(&chosen.policy),
            _ => chosen.rule.name(),
        };
        if taken {
            self.found.setup = chosen;
        }
        self.steps.push(Step {
            name,
            counted,
            from,
            to,
            tried,
            unseen: Some(unseen),
            taken,
            reason,
        });
    }
}

/// Whether a gain holds, and what to say of it.
fn gains(unseen: &Unseen, gain_min: f64) -> (bool, String) {
    let Change {
        mean,
        noise,
        more,
        less,
    } = unseen.ratio;
    let found = format!(
        "{} ± {:.2} points on the unseen part, more in {more} slices and less in {less}",
        points(mean),
        100.0 * noise
    );
    match unseen.ratio.is_gain() {
        true if mean >= gain_min => (true, found),
        true => (
            false,
            format!("{found}: certain, but less than {:.2}", 100.0 * gain_min),
        ),
        false => (false, format!("{found}: no more than chance explains")),
    }
}

fn named(names: impl Iterator<Item = String>, tallies: &[Tally]) -> Vec<Tried> {
    let tried = names.zip(tallies).map(|(name, tally)| Tried {
        name,
        ratio: tally.prefix_token_hit_ratio(),
        doubling: None,
        writes: tally.writes,
        waste: None,
    });
    tried.collect()
}

/// As [`named`], of sizes each of which is twice the one before it, or the first after none.
fn sized(sizes: &[u32], tallies: &[Tally]) -> Vec<Tried> {
    let names = sizes.iter().map(|size| match size {
        0 => String::from("none"),
        size => format!("{size} blocks"),
    });
    let mut tried = named(names, tallies);
    for place in 1..tried.len() {
        tried[place].doubling = Some(tried[place].ratio - tried[place - 1].ratio);
    }
    tried
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_double_up_to_the_largest() {
        assert_eq!(ladder(1000), [7, 15, 31, 62, 125, 250, 500, 1000]);
        assert_eq!(ladder(5), [1, 2, 5]);
        assert_eq!((ladder(1), ladder(0)), (vec![1], vec![]));
    }

    #[test]
    fn the_knee_is_behind_the_last_doubling_that_is_worth_it() {
        let ratios = [0.1, 0.2, 0.205, 0.3, 0.304, 0.305];
        assert_eq!(knee(&ratios, 0.01), 3);
        assert_eq!((knee(&ratios, 0.2), knee(&ratios, 0.001)), (0, 5));
        assert_eq!((knee(&[0.5], 0.01), knee(&[], 0.01)), (0, 0));
    }

    #[test]
    fn a_gain_is_taken_only_where_it_is_certain_and_worth_it() {
        let unseen = |mean, noise| Unseen {
            before: Tally::default(),
            after: Tally::default(),
            ratio: Change {
                mean,
                noise,
                more: 11,
                less: 1,
            },
            writes: Change::of(std::iter::empty()),
        };
        assert!(gains(&unseen(0.02, 0.01), 0.01).0);
        assert!(!gains(&unseen(0.02, 0.03), 0.01).0 && !gains(&unseen(-0.02, 0.01), 0.01).0);
        assert!(!gains(&unseen(0.005, 0.001), 0.01).0);
    }
}
