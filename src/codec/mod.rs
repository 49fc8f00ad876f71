//! Codecs: how a tier encodes the keys and values of a block.
//!
//! A block with a geometry is `layers x planes` *planes*, each `[tokens][heads][dim]` elements of 16 bits. Each plane
//! is encoded by itself, so that keys and values, and single layers, can have codecs of their own and one layer can be
//! decoded alone. [`BlockCodec`] does whole blocks, [`PlaneCodec`] single planes.
//!
//! | codec | bits per element (128 channels) | what it is |
//! | --- | ---: | --- |
//! | `raw` | 16 | the bytes |
//! | `lz` | 11 (bf16), 13.8 (fp16) | lossless: byte planes, the exponents compressed |
//! | `f8` | 8 | E4M3, for exchange with GPU engines |
//! | `i8` | 8.125 | integers, a scale per vector |
//! | `n4` | 4.5 | rotated, 16 levels, a scale per 32 channels |
//! | `t4` `t3` `t2` | 4.1, 3.1, 2.1 | rotated, trellis-coded |
//! | `vq` | 2.1 | codebooks trained on samples |
//! | `xc` | 1 to 3 | transform coder, calibrated |
//!
//! `docs/codecs/` has a page on each: the format byte by byte, its source, its quality, when to use it.
//!
//! # What all of them promise
//! - Nothing is allocated: memory to work in is the caller's, of the size that [`scratch_bytes`] says.
//! - The portable version is the definition. Those for AVX2 and AVX-512 give the same codes and the same decoded bytes.
//! - Decoded elements are finite. What is not finite in the input is read as: a NaN as 0, an infinity as the largest
//!   finite number of its sign. Only `raw` and `lz` keep them.
//! - A code that is damaged is refused ([`Status::Damaged`](crate::Status::Damaged)) or decodes to finite numbers;
//!   nothing is read or written out of bounds.
//!
//! # Threads
//! Codecs are values without state: any number of threads may use one at once, each with its own scratch.

mod block;
mod isa;
mod number;
mod plane;
mod quality;
mod scratch;
mod tables;
#[cfg(feature = "train")]
pub mod train;

mod f8;
mod i8;
mod lz;
mod n4;
mod rotate;
mod trellis;
mod vq;
mod xc;

pub use crate::budget::{block_scratch_bytes, code_bytes_max, scratch_bytes};
pub use crate::config::{CodecChoice, CodecKind, LayerCodec};
pub use block::{BlockCodeInfo, BlockCodec, BlockCodecFacts};
pub use isa::Isa;
pub use plane::{Plane, PlaneCodec};
pub use quality::relative_error_ppm;
pub use scratch::Scratch;
pub use tables::{Rope, RopePairs, TABLES_ALIGNMENT_BYTES, Tables, TablesInfo};
#[cfg(feature = "std")]
pub use tables::{Section, TablesWriter, file_bytes as tables_file_bytes, load as tables_load};
