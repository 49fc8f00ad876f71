//! Transform coder: principal components, one step for a whole page, entropy coding with tables from calibration.
//!
//! The rotary embedding of keys is undone, the mean is taken off, and the channels of a group of heads are turned onto
//! their principal components. All coefficients are rounded to multiples of one step. A row (one token, one group) is
//! coded by itself or as the difference to a row of an earlier token of the page. A gain per row tells how large its
//! coefficients are; with it, each coefficient's calibrated scale says with which table it is coded.
//!
//! The encoder takes the finest step with which the plane fits its budget. `docs/codecs/xc.md` has the format.

mod decode;
mod encode;
mod entropy;
mod kernel;
mod rope;
mod section;
#[cfg(feature = "train")]
pub(super) mod train;

#[cfg(all(test, feature = "train"))]
mod tests;

use super::isa::Isa;
use super::plane::{Plane, Settings};
use super::scratch::Scratch;
use super::tables::Tables;
use crate::error::Status;
use section::{STEP_ONE, Section};

/// Bytes before the words: the number of the step.
const CODE_HEADER_BYTES: usize = 2;
/// Instead of a step: every element is its channel's mean.
const EMPTY: u16 = u16::MAX;
/// How many tokens back a row may refer at most.
const LAG_MAX: usize = 1024;

/// Bits of a lag less one, for a row of this token.
const fn lag_bits(token: usize) -> u32 {
    let lags = if token > LAG_MAX { LAG_MAX } else { token };
    if lags <= 1 { 0 } else { (lags - 1).ilog2() + 1 }
}

/// The levels of all coefficients at a step, in half octaves from the scale of class 0 on.
#[inline(always)]
fn row_levels(section: &Section<'_>, step: i32, levels: &mut [i8]) {
    for (level, scale) in levels.iter_mut().zip(section.levels) {
        let steps = i32::from(*scale) - (step - STEP_ONE) + 5 * 32 + 8;
        *level = (steps >> 4).clamp(-100, 100) as i8;
    }
}

/// Encodes a plane within its budget; see [`Section::budget`].
pub(super) fn encode(
    isa: Isa,
    tables: &Tables<'_>,
    settings: &Settings,
    plane: &Plane,
    input: &[u8],
    code: &mut [u8],
    scratch: &mut Scratch<'_>,
) -> Result<usize, Status> {
    let section = Section::open(tables, plane.layer, plane.plane)?;
    let job = encode::Encode {
        section,
        rope: tables.info().rope,
        plane: *plane,
        millibits: settings.xc_millibits,
        input,
        code,
        scratch: scratch.lend(),
    };
    kernel::run(isa, job)
}

/// Decodes a plane.
pub(super) fn decode(
    isa: Isa,
    tables: &Tables<'_>,
    plane: &Plane,
    code: &[u8],
    output: &mut [u8],
    scratch: &mut Scratch<'_>,
) -> Result<(), Status> {
    let section = Section::open(tables, plane.layer, plane.plane)?;
    let job = decode::Decode {
        section,
        rope: tables.info().rope,
        plane: *plane,
        code,
        output,
        scratch: scratch.lend(),
    };
    kernel::run(isa, job)
}
