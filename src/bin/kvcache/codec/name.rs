//! Names of codecs as people write them: `t4`, `t4-64` for the trellis of 64 states, `xc-2.3` for a rate.

use std::str::FromStr;

use clap::ValueEnum;
use kvcache::codec::{CodecChoice, CodecKind, Isa};
use kvcache::layout::Dtype;

/// A codec with its settings.
#[derive(Clone, Debug)]
pub struct Codec {
    /// As it was written.
    pub name: String,
    /// Which one.
    pub kind: CodecKind,
    /// How; keys and values in this codec.
    pub choice: CodecChoice,
}

impl Codec {
    /// A codec as it is without settings.
    pub fn plain(kind: CodecKind) -> Self {
        Self {
            name: kind.name().into(),
            kind,
            choice: CodecChoice::all(kind),
        }
    }

    /// Whether it is one of the trellis coders.
    pub fn is_trellis(&self) -> bool {
        matches!(self.kind, CodecKind::T4 | CodecKind::T3 | CodecKind::T2)
    }
}

impl FromStr for Codec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            let names: Vec<&str> = CodecKind::ALL.iter().map(|kind| kind.name()).collect();
            format!(
                "there is no such codec; there are {}; with settings: t4-64 (64 states), t4-mean (means taken off the \
                 keys), xc-2.3 (bits)",
                names.join(", ")
            )
        };
        let found = CodecKind::ALL
            .into_iter()
            .filter_map(|kind| Some((kind, text.strip_prefix(kind.name())?)));
        let (kind, settings) = found.max_by_key(|(kind, _)| kind.name().len()).ok_or_else(unknown)?;
        let mut codec = Self {
            name: text.into(),
            ..Self::plain(kind)
        };
        // `xc3` as well as `xc-3`.
        let settings = match kind {
            CodecKind::Xc if !settings.is_empty() && !settings.starts_with('-') => format!("-{settings}"),
            _ => settings.into(),
        };
        if settings.is_empty() {
            return Ok(codec);
        }
        for setting in settings.strip_prefix('-').ok_or_else(unknown)?.split('-') {
            match setting {
                "64" if codec.is_trellis() => codec.choice.trellis_states = 64,
                "256" if codec.is_trellis() => codec.choice.trellis_states = 256,
                "mean" if codec.is_trellis() => codec.choice.key_mean = true,
                bits if kind == CodecKind::Xc => codec.choice.xc_millibits = millibits(bits)?,
                _ => return Err(unknown()),
            }
        }
        Ok(codec)
    }
}

/// Reads a rate in bits per element.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn millibits(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(bits) if (0.5..=6.0).contains(&bits) => Ok((bits * 1000.0).round() as u64),
        _ => Err(format!("{text} is no rate; xc takes 0.5 to 6 bits per element")),
    }
}

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Element {
    /// IEEE 754 binary16
    F16,
    /// The upper half of a binary32
    Bf16,
}

impl From<Element> for Dtype {
    fn from(element: Element) -> Self {
        match element {
            Element::F16 => Self::F16,
            Element::Bf16 => Self::Bf16,
        }
    }
}

/// Reads the name of an instruction set that this machine has.
///
/// # Errors
/// Which ones it has.
pub fn isa(text: &str) -> Result<Isa, String> {
    Isa::all().find(|isa| isa.name() == text).ok_or_else(|| {
        let names: Vec<&str> = Isa::all().map(Isa::name).collect();
        format!("this machine has {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_settings_are_read() {
        for kind in CodecKind::ALL {
            let codec: Codec = kind.name().parse().unwrap();
            assert_eq!((codec.kind, codec.choice), (kind, CodecChoice::all(kind)));
        }
        let choice = |text: &str| text.parse::<Codec>().unwrap().choice;
        assert_eq!(choice("t4-64").trellis_states, 64);
        assert_eq!(
            (choice("t2-64-mean").trellis_states, choice("t2-64-mean").key_mean),
            (64, true)
        );
        for (text, millibits) in [
            ("xc", 2300),
            ("xc3", 3000),
            ("xc-3.0", 3000),
            ("xc-1.66", 1660),
            ("xc2.3", 2300),
        ] {
            assert_eq!(choice(text).xc_millibits, millibits, "{text}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for text in [
            "", "t", "t5", "T4", "t44", "t4-", "t4-128", "i8-64", "raw-mean", "xc-", "xc-0", "xc--1", "xc-nan", "xc-7",
            "xc-inf", "xcx", "lzma", "vq2",
        ] {
            assert!(text.parse::<Codec>().is_err(), "{text}");
        }
    }
}
