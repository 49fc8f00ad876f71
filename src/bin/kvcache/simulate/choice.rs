//! The policies that can be asked for by name: the engine's, and `min`.

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::plan::PolicyName;

/// What chooses victims.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    /// A policy of the engine.
    Policy(PolicyName),
    /// The best that any choice could have done, known afterwards.
    Min,
}

const MIN: &str = "min";

impl Choice {
    /// Of what a user types.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        let mut values: Vec<PossibleValue> = PolicyName::value_variants()
            .iter()
            .filter_map(PolicyName::to_possible_value)
            .collect();
        values.push(PossibleValue::new(MIN).help("The best possible choice, known afterwards; with --metadata-only"));
        PossibleValuesParser::new(values).try_map(|name| match name.as_str() {
            MIN => Ok(Self::Min),
            name => PolicyName::from_str(name, false).map(Self::Policy),
        })
    }

    /// Everything that there is.
    pub fn all() -> Vec<Self> {
        let policies = PolicyName::value_variants().iter().copied().map(Self::Policy);
        policies.chain([Self::Min]).collect()
    }

    /// What a user types.
    pub fn name(self) -> String {
        match self {
            Self::Min => MIN.into(),
            Self::Policy(policy) => policy
                .to_possible_value()
                .map_or_else(String::new, |value| value.get_name().into()),
        }
    }

    /// Whether it is known only afterwards.
    pub fn is_min(self) -> bool {
        matches!(self, Self::Min)
    }
}
