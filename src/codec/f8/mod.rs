//! `f8`: E4M3 of the Open Compute Project without a scale, what GPU engines mean by an `fp8` cache.
//!
//! One byte per element, in the order of the elements; `docs/codecs/f8.md` has the format.

mod all;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64;

#[cfg(test)]
mod tests;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use all as best;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86_64 as best;

use super::isa::Isa;
use crate::error::Status;
use crate::geometry::PlaneShape;

pub(super) fn encode(isa: Isa, shape: &PlaneShape, input: &[u8], code: &mut [u8]) -> Result<usize, Status> {
    let code = code.get_mut(..shape.elements()).ok_or(Status::TooSmall)?;
    best::encode(isa, shape.dtype, input, code);
    Ok(code.len())
}

pub(super) fn decode(isa: Isa, shape: &PlaneShape, code: &[u8], output: &mut [u8]) -> Result<(), Status> {
    if code.len() != shape.elements() {
        return Err(Status::Damaged);
    }
    best::decode(isa, shape.dtype, code, output);
    Ok(())
}
