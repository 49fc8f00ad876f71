//! Lossless: two planes of bytes, the one with the exponents compressed.
//!
//! Each element is rotated left by one bit, so that the exponent is on top and the sign at the bottom. The upper bytes
//! of all elements are the *high plane*: the exponent of bf16; the exponent and three bits of the mantissa of fp16. The
//! lower bytes are the *low plane*, which looks like noise, unless rows repeat.
//!
//! A code, little-endian:
//!
//! | at | bytes | content |
//! | ---: | ---: | --- |
//! | 0 | 1 | 1: the low plane is compressed; 2: the high plane is |
//! | 1 | 3 | 0 |
//! | 4 | 4 | bytes of the low plane's code |
//! | 8 | | the low plane's code: a Zstandard frame, or the plane as it is |
//! | | | the high plane's code, likewise, to the end |

#[cfg(feature = "zstd")]
mod all;
#[cfg(feature = "zstd")]
mod coder;
#[cfg(all(feature = "zstd", target_arch = "x86_64", not(miri)))]
mod x86_64;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(feature = "zstd")]
pub(super) use coder::{decode, encode};

#[cfg(not(feature = "zstd"))]
mod absent {
    //! What a build without Zstandard answers.

    use crate::codec::isa::Isa;
    use crate::codec::scratch::Scratch;
    use crate::error::Status;
    use crate::geometry::PlaneShape;

    pub(in crate::codec) fn encode(
        _: Isa,
        _: &PlaneShape,
        _: &[u8],
        _: &mut [u8],
        _: &mut Scratch<'_>,
    ) -> Result<usize, Status> {
        Err(Status::Unsupported)
    }

    pub(in crate::codec) fn decode(
        _: Isa,
        _: &PlaneShape,
        _: &[u8],
        _: &mut [u8],
        _: &mut Scratch<'_>,
    ) -> Result<(), Status> {
        Err(Status::Unsupported)
    }
}

#[cfg(not(feature = "zstd"))]
pub(super) use absent::{decode, encode};

#[cfg(all(test, feature = "zstd"))]
mod tests;
