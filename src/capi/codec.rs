//! Codecs: keys and values in fewer bytes.
//!
//! A codec encodes a block of a geometry (chapter Geometry), plane by plane: the keys and the values of each layer by
//! themselves, each in a codec of its own if you like. The code of a block says what it is; it is decoded whole or one
//! layer alone, on any machine, to the same bytes.
//!
//! ```c
//! kvc_geometry_t geometry = KVC_GEOMETRY_INIT;
//! geometry.layers_count = 32, geometry.kv_heads_count = 8, geometry.head_dim = 128;
//! geometry.tokens_per_block = 16, geometry.dtype = KVC_DTYPE_BF16;
//! kvc_codec_config_t config = KVC_CODEC_CONFIG_INIT;
//! config.geometry = &geometry;
//! config.codec_key = KVC_CODEC_T4, config.codec_value = KVC_CODEC_T3;
//!
//! kvc_codec_description_t sizes = KVC_CODEC_DESCRIPTION_INIT;
//! kvc_codec_describe(&config, &sizes, NULL);
//! void *code = malloc(sizes.code_bytes_max), *scratch = malloc(sizes.scratch_bytes);
//!
//! kvc_codec_t *codec;
//! kvc_codec_open(&config, &codec, NULL);
//! uint64_t bytes;
//! kvc_codec_encode(codec, block, sizes.block_bytes, position, KVC_CODEC_RAW, code, sizes.code_bytes_max,
//!                  scratch, sizes.scratch_bytes, &bytes);
//! kvc_codec_decode(codec, code, bytes, block, sizes.block_bytes, scratch, sizes.scratch_bytes);
//! kvc_codec_close(codec);
//! ```
//!
//! - `KVC_CODEC_RAW`: the bytes. `KVC_CODEC_LZ`: lossless, the exponents compressed.
//! - `KVC_CODEC_F8`, 8 bits an element: E4M3, for exchange with devices. `KVC_CODEC_I8`, 8.13 bits: integers, a scale
//!   per vector.
//! - `KVC_CODEC_N4`, 4.5 bits: rotated, 16 levels. `KVC_CODEC_T4`, `KVC_CODEC_T3`, `KVC_CODEC_T2`, about 4.1, 3.1 and
//!   2.1 bits: rotated, coded along a trellis.
//! - `KVC_CODEC_VQ`, about 2.1 bits, and `KVC_CODEC_XC`, at the rate you ask for: they need tables (chapter Tables of
//!   codecs) that were trained on keys and values of the model.
//!
//! Codecs take elements of 16 bits (`KVC_DTYPE_F16`, `KVC_DTYPE_BF16`); all but raw, lz and f8 take heads of 32 to 256
//! elements in steps of 16. What a codec decodes is finite: a NaN becomes 0, an infinity the largest finite number of
//! its sign; raw and lz keep them. No code makes the library read or write out of bounds. One that was damaged is
//! refused with `KVC_E_DAMAGED` or decodes to finite numbers that are not the right ones: keep a checksum beside codes
//! that travel, as the file tiers do.
//!
//! Encoding and decoding allocate nothing and make no system calls; the memory that they work in (scratch) is the
//! caller's, one for each thread. Its content does not matter. It may begin anywhere.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`]; `growable!` and the assertions below see to the layouts. Besides:
//!
//! - **C1** `codec_tables` of a configuration stay where they are and as they are until the codec is closed: lent by
//!   the caller, as its documentation says.
//! - **C2** `kvc_codec_close` has the codec for itself, as I3 has it for engines.

pub(super) mod choice;
mod registry;
pub(super) mod tables;

use core::ffi::{c_char, c_void};

use super::arguments::{bytes, output, values_mut};
use super::config::{Refusal, kvc_error_t, name, refusing};
use super::growable::{growable, read, target};
use super::guard::plain;
use super::version::kvc_status_t;
use crate::codec::{BlockCodeInfo, BlockCodec, BlockCodecFacts, CodecKind, Isa, Scratch, Tables};
use crate::error::Status;
use crate::layout::Geometry;
use choice::kvc_codec_config_t;
use registry::with_codec;
use std::boxed::Box;

/// A codec for blocks of one geometry. Made by `kvc_codec_open`, ended by `kvc_codec_close`.
///
/// Only ever used by pointer, and never dereferenced: see Handles and values.
pub struct kvc_codec_t {
    _private: (),
}

/// What a codec makes of a block. Initialise with `KVC_CODEC_DESCRIPTION_INIT`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_codec_description_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Most bytes of the code of a block: what a slot for one must have.
    pub code_bytes_max: u64,
    /// Bytes of memory that encoding and decoding take.
    pub scratch_bytes: u64,
    /// Thousandths of a bit per element of a block without exact tokens, everything counted: exact where `fixed_rate`
    /// is 1, else the rate asked for with xc and the most with lz.
    pub millibits: u64,
    /// 1 if every block without exact tokens has a code of the same length, else 0.
    pub fixed_rate: u64,
    /// 1 if a decoded block is the block that was encoded, bit by bit, else 0.
    pub exact: u64,
    /// 1 if `kvc_codec_open` needs tables, else 0.
    pub tables_needed: u64,
    /// Relative error to be expected of the coarsest plane, in thousandths: the root of the squared error over the
    /// squared norm.
    pub error_nominal_permille: u64,
    /// The instructions that this machine has for it, with a closing NUL byte: `"portable"`, `"avx2"`, `"avx512"`. The
    /// codes do not depend on it.
    pub instructions_name: [c_char; 32],
}

/// What the code of a block says about itself. Initialise with `KVC_CODEC_INFO_INIT`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_codec_info_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// The coarsest codec of its planes.
    pub codec: u64,
    /// The coarsest codec that the block had gone through before it was encoded.
    pub codec_before: u64,
    /// Planes: layers times keys and values.
    pub planes_count: u64,
    /// Tokens at the beginning of the block that are kept exactly.
    pub exact_tokens: u64,
    /// Place of the block's first token in its sequence.
    pub position: u64,
    /// Digest of the tables that it was encoded with; 0 for none.
    pub tables_digest: u64,
}

growable!(kvc_codec_description_t = 104, kvc_codec_info_t = 56);

impl kvc_codec_config_t {
    /// The geometry.
    ///
    /// # Safety
    /// I1 for the geometry.
    unsafe fn geometry(&self) -> Result<Geometry, Refusal> {
        // SAFETY: I1, asked of the caller.
        let geometry = unsafe { read(self.geometry) }.map_err(Err)?;
        geometry.checked().map_err(Ok)
    }

    /// The tables, checked; `None` where there are none.
    ///
    /// # Safety
    /// I1 for the tables, for as long as what is returned is used.
    unsafe fn tables<'t>(&self) -> Result<Option<Tables<'t>>, Refusal> {
        if self.codec_tables.is_null() && self.codec_tables_bytes == 0 {
            return Ok(None);
        }
        // SAFETY: I1, asked of the caller.
        let tables = unsafe { bytes(self.codec_tables, self.codec_tables_bytes) }.map_err(Err)?;
        Tables::open(tables)
            .map(Some)
            .map_err(|status| Ok(self::tables::refusal("codec_tables", status)))
    }
}

impl kvc_codec_description_t {
    fn new(facts: &BlockCodecFacts) -> Self {
        Self {
            struct_size: 0,
            block_bytes: facts.block_bytes as u64,
            code_bytes_max: facts.code_bytes_max as u64,
            scratch_bytes: facts.scratch_bytes as u64,
            millibits: facts.millibits,
            fixed_rate: facts.is_fixed_rate.into(),
            exact: facts.is_exact.into(),
            tables_needed: facts.needs_tables.into(),
            error_nominal_permille: facts.error_nominal_permille,
            instructions_name: name(Isa::detect().name()),
        }
    }
}

impl kvc_codec_info_t {
    fn new(info: &BlockCodeInfo) -> Self {
        Self {
            struct_size: 0,
            codec: info.kind as u64,
            codec_before: info.loss as u64,
            planes_count: info.planes_count as u64,
            exact_tokens: info.exact_tokens as u64,
            position: info.position,
            tables_digest: info.tables_digest,
        }
    }
}

/// The name of a codec, `"t3"` for one; `"unknown"` for a number that means nothing.
///
/// Threads: any, at once.
///
/// Memory: lent for as long as the library is loaded; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn kvc_codec_name(codec: u64) -> *const c_char {
    let mut name = c"unknown";
    plain(|| {
        if let Some(kind) = CodecKind::from_code(codec) {
            name = match kind {
                CodecKind::Raw => c"raw",
                CodecKind::Lz => c"lz",
                CodecKind::F8 => c"f8",
                CodecKind::I8 => c"i8",
                CodecKind::N4 => c"n4",
                CodecKind::T4 => c"t4",
                CodecKind::T3 => c"t3",
                CodecKind::T2 => c"t2",
                CodecKind::Vq => c"vq",
                CodecKind::Xc => c"xc",
            };
        }
        Ok(())
    });
    name.as_ptr()
}

/// Says what a codec of this configuration needs and what it makes of a block. Obtains nothing.
///
/// Tables are not needed to know, and not looked at.
///
/// Threads: any, at once.
///
/// Memory: `config`, its geometry, `description_out` and `error_out` are borrowed; `error_out` may be NULL.
///
/// Statuses: `KVC_OK`; `KVC_E_CONFIG` and `KVC_E_CONFLICT` with the field, the value and the permitted range in
/// `error_out`, also for a geometry that the codec can't take; `KVC_E_UNSUPPORTED` for lz in a library without it;
/// `KVC_E_NULL`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_describe(
    config: *const kvc_codec_config_t,
    description_out: *mut kvc_codec_description_t,
    error_out: *mut kvc_error_t,
) -> kvc_status_t {
    // SAFETY: I1, asked of the caller, here and below.
    unsafe {
        refusing(error_out, || {
            let config = read(config).map_err(Err)?;
            let description_out = target(description_out).map_err(Err)?;
            let facts = BlockCodecFacts::new(&config.geometry()?, &config.choice().map_err(Ok)?).map_err(Ok)?;
            description_out.write(&kvc_codec_description_t::new(&facts));
            Ok(())
        })
    }
}

/// Opens a codec. It needs no engine.
///
/// Reads all of the tables once, to check them.
///
/// See also: `kvc_codec_describe`, `kvc_codec_close`.
///
/// Threads: any, at once.
///
/// Memory: `config`, its geometry, `codec_out` and `error_out` are borrowed; `error_out` may be NULL. `codec_tables` of
/// the configuration are lent by the caller until `kvc_codec_close`, and must not change. Allocates less than 4 KiB.
///
/// Statuses: `KVC_OK`; `KVC_E_CONFIG` and `KVC_E_CONFLICT` with the field, the value and the permitted range in
/// `error_out`, also for a geometry that the codec can't take, and for tables that are missing or of another model;
/// under the field `codec_tables`, `KVC_E_ARGUMENT` where they are misaligned, `KVC_E_DAMAGED`, and `KVC_E_UNSUPPORTED`
/// for another version; `KVC_E_UNSUPPORTED` for lz in a library without it; `KVC_AGAIN` when 1024 codecs are open;
/// `KVC_E_NULL`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_open(
    config: *const kvc_codec_config_t,
    codec_out: *mut *mut kvc_codec_t,
    error_out: *mut kvc_error_t,
) -> kvc_status_t {
    // SAFETY: I1, asked of the caller, here and below; C1 for the tables.
    unsafe {
        refusing(error_out, || {
            let config = read(config).map_err(Err)?;
            if codec_out.is_null() {
                return Err(Err(Status::Null));
            }
            if !codec_out.is_aligned() {
                return Err(Err(Status::Argument));
            }
            let (geometry, choice) = (config.geometry()?, config.choice().map_err(Ok)?);
            let codec = BlockCodec::new(&geometry, &choice, config.tables()?, Isa::detect()).map_err(Ok)?;
            let codec = registry::insert(Box::new(codec)).map_err(|_| Err(Status::Again))?;
            codec_out.write(codec);
            Ok(())
        })
    }
}

/// Closes a codec.
///
/// The handle is wrong from then on: `KVC_E_HANDLE`.
///
/// Threads: no other call on this codec, and none afterwards.
///
/// Memory: `codec_tables` of the configuration are the caller's again.
///
/// Statuses: `KVC_OK`; `KVC_E_NULL`; `KVC_E_HANDLE` for what is no open codec.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_close(codec: *mut kvc_codec_t) -> kvc_status_t {
    plain(|| registry::close(codec))
}

/// Encodes a block.
///
/// `position` is the place of the block's first token in its sequence, from 0: it says which tokens are kept exactly,
/// and xc undoes rotary embeddings by it. `codec_before` is the coarsest codec that the block went through before
/// (`KVC_CODEC_...`), `KVC_CODEC_RAW` if none: the code says so later.
///
/// `code_bytes_max` of the description is always enough for a code, `scratch_bytes` for the scratch. A plane whose code
/// would be no shorter than the plane is kept as it is.
///
/// Threads: any, at once, each with its own scratch.
///
/// Memory: all pointers are borrowed; none of the memory overlaps. The content of `scratch` is lost.
///
/// Statuses: `KVC_OK`; `bytes_out` receives the length of the code. `KVC_E_ARGUMENT` when `block_bytes` is not the
/// block of the geometry, and for a `codec_before` that is no codec; `KVC_E_TOO_SMALL` when the code does not fit into
/// `capacity_bytes`, or the scratch is too small; `KVC_E_NULL`; `KVC_E_HANDLE`. After an error what is in `code_out` is
/// undefined.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_encode(
    codec: *const kvc_codec_t,
    block: *const c_void,
    block_bytes: u64,
    position: u64,
    codec_before: u64,
    code_out: *mut c_void,
    capacity_bytes: u64,
    scratch: *mut c_void,
    scratch_bytes: u64,
    bytes_out: *mut u64,
) -> kvc_status_t {
    // SAFETY: I1 and C2, asked of the caller, here and below.
    unsafe {
        with_codec(codec, |codec| {
            let before = CodecKind::from_code(codec_before).ok_or(Status::Argument)?;
            let (block, bytes_out) = (bytes(block, block_bytes)?, output(bytes_out)?);
            let code = values_mut(code_out.cast::<u8>(), capacity_bytes)?;
            let scratch = values_mut(scratch.cast::<u8>(), scratch_bytes)?;
            let written = codec.encode(block, position, before, code, &mut Scratch::new(scratch))?;
            bytes_out.write(written as u64);
            Ok(())
        })
    }
}

/// Decodes a block.
///
/// The codec may be another than the one that encoded it, as long as the geometry is the same and it has the tables
/// that the code needs: the code says how each plane was encoded.
///
/// Threads: any, at once, each with its own scratch.
///
/// Memory: all pointers are borrowed; none of the memory overlaps. The content of `scratch` is lost.
///
/// Statuses: `KVC_OK`; `KVC_E_DAMAGED` for what is no code of a block of this geometry; `KVC_E_UNSUPPORTED` for another
/// version, and where the codec has not the tables that the code needs; `KVC_E_ARGUMENT` when `block_bytes` is not the
/// block of the geometry; `KVC_E_TOO_SMALL` when the scratch is too small; `KVC_E_NULL`; `KVC_E_HANDLE`. After an error
/// what is in `block_out` is undefined.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_decode(
    codec: *const kvc_codec_t,
    code: *const c_void,
    code_bytes: u64,
    block_out: *mut c_void,
    block_bytes: u64,
    scratch: *mut c_void,
    scratch_bytes: u64,
) -> kvc_status_t {
    // SAFETY: I1 and C2, asked of the caller, here and below.
    unsafe {
        with_codec(codec, |codec| {
            let code = bytes(code, code_bytes)?;
            let block = values_mut(block_out.cast::<u8>(), block_bytes)?;
            let scratch = values_mut(scratch.cast::<u8>(), scratch_bytes)?;
            codec.decode(code, block, &mut Scratch::new(scratch)).map(drop)
        })
    }
}

/// Decodes one layer alone. As `kvc_codec_decode`, but `layer_out` receives this layer only.
///
/// Takes the time of this layer, not of the block. `code` is still the whole code.
///
/// Threads: any, at once, each with its own scratch.
///
/// Memory: as `kvc_codec_decode`.
///
/// Statuses: as `kvc_codec_decode`; `KVC_E_ARGUMENT` when `layer_bytes` is not a layer of the geometry, and for a layer
/// that it does not have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_decode_layer(
    codec: *const kvc_codec_t,
    code: *const c_void,
    code_bytes: u64,
    layer: u64,
    layer_out: *mut c_void,
    layer_bytes: u64,
    scratch: *mut c_void,
    scratch_bytes: u64,
) -> kvc_status_t {
    // SAFETY: I1 and C2, asked of the caller, here and below.
    unsafe {
        with_codec(codec, |codec| {
            let code = bytes(code, code_bytes)?;
            let target = values_mut(layer_out.cast::<u8>(), layer_bytes)?;
            let scratch = values_mut(scratch.cast::<u8>(), scratch_bytes)?;
            let mut scratch = Scratch::new(scratch);
            codec.decode_layer(code, layer as usize, target, &mut scratch).map(drop)
        })
    }
}

/// Says what a code is, without decoding it.
///
/// Threads: any, at once.
///
/// Memory: all pointers are borrowed.
///
/// Statuses: `KVC_OK`; `KVC_E_DAMAGED` and `KVC_E_UNSUPPORTED` as `kvc_codec_decode`; `KVC_E_NULL`; `KVC_E_HANDLE`;
/// `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_codec_inspect(
    codec: *const kvc_codec_t,
    code: *const c_void,
    code_bytes: u64,
    info_out: *mut kvc_codec_info_t,
) -> kvc_status_t {
    // SAFETY: I1 and C2, asked of the caller, here and below.
    unsafe {
        with_codec(codec, |codec| {
            let info_out = target(info_out)?;
            let info = codec.inspect(bytes(code, code_bytes)?)?;
            info_out.write(&kvc_codec_info_t::new(&info));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
