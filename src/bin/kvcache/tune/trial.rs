//! What is tried: tiers with their policy and admission, and what prefetching adds to them.

use crate::plan::PolicyName;
use crate::replay::AdmissionName;
use crate::simulate::prefetch::{Ahead, Settings};
use crate::simulate::stream::Request;
use crate::simulate::tiers::Tiers;
use crate::simulate::{Memory, admission};
use crate::trace::TraceError;

use super::field::{Field, Part, Runner, Tally};

/// What the second tier takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The filter.
    pub admission: AdmissionName,
    /// Hits that admission by reuse may cost, in thousandths.
    pub loss_permille: u64,
}

/// The tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The policy, of both.
    pub policy: PolicyName,
    /// Blocks of the first.
    pub blocks: u32,
    /// Blocks of the second; 0 for none.
    pub below_blocks: u32,
    /// What it takes.
    pub rule: Rule,
}

/// What prefetching may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Blocks raised and not used yet, of the first tier's; 0 is no prefetching.
    pub room_blocks: u32,
    /// Least probability, in thousandths.
    pub confidence_permille: u32,
}

/// One thing to try.
#[derive(Clone, Copy, Debug)]
pub enum Trial {
    /// Hits and writes of the tiers.
    Tiers(Setup),
    /// What is in a first tier of so many blocks when it is asked for, with everything below it; what is raised has
    /// places of its own out of those.
    Ahead(PolicyName, u32, Budget),
}

impl Runner for Tiers<'_> {
    fn request(&mut self, request: &Request, fingerprints: &[u64]) {
        self.step(request, fingerprints);
    }

    fn tally(&self) -> Tally {
        let score = self.score();
        let ahead = self.ahead().unwrap_or_default();
        Tally {
            accesses: score.accesses,
            hits: score.hits + ahead.used,
            tokens: score.tokens,
            prefix_tokens: score.prefix_tokens,
            writes: self.below().map_or(0, |below| below.writes),
            raised: ahead.raised,
            wasted: ahead.wasted,
        }
    }
}

impl Trial {
    /// Goes through a part of the trace.
    ///
    /// # Errors
    /// What is wrong with a line.
    pub fn run(&self, field: &Field, part: Part) -> Result<Vec<Tally>, TraceError> {
        match *self {
            Self::Tiers(setup) => {
                let near = Memory::new(setup.policy, setup.blocks);
                let below = (setup.below_blocks != 0).then(|| Memory::new(setup.policy, setup.below_blocks));
                let mut tiers = Tiers::new(near.shadow(), field.block_tokens);
                if let Some(below) = &below {
                    let rule = match setup.rule.admission {
                        AdmissionName::Reuse => admission::reuse(setup.below_blocks, setup.rule.loss_permille),
                        name => admission::admission(name, setup.below_blocks),
                    };
                    tiers = tiers.with_below(setup.blocks, below.shadow(), rule);
                }
                field.walk(part, &mut tiers)
            }
            Self::Ahead(policy, blocks, budget) => {
                let near = Memory::new(policy, blocks.saturating_sub(budget.room_blocks).max(1));
                let mut tiers = Tiers::new(near.shadow(), field.block_tokens);
                if budget.room_blocks != 0 {
                    tiers = tiers.with_ahead(Ahead::new(Settings {
                        room_blocks: budget.room_blocks,
                        accesses: field.all.accesses,
                        confidence_permille: budget.confidence_permille,
                    }));
                }
                field.walk(part, &mut tiers)
            }
        }
    }
}
