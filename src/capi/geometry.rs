//! Geometry: what a key/value block consists of.
//!
//! A block without geometry is plain bytes, and most programs need no more. State geometries in the configuration to
//! gather and scatter blocks (chapter Layout) and for tiers that encode blocks. The engine knows up to 16 of them by
//! number, from 1; number 0 means plain bytes.
//!
//! # Soundness
//! The invariants are those of [`crate::capi`].

use super::arguments::output;
use super::growable::{growable, read};
use super::guard::plain;
use super::version::kvc_status_t;
use crate::error::{ConfigError, Status};
use crate::layout::{Dtype, Geometry, Shape};

/// Elements are IEEE 754 binary32.
pub const KVC_DTYPE_F32: u64 = 1;
/// Elements are IEEE 754 binary16.
pub const KVC_DTYPE_F16: u64 = 2;
/// Elements are the upper half of a binary32.
pub const KVC_DTYPE_BF16: u64 = 3;
/// Elements have 8 bits: 4 of exponent, 3 of mantissa.
pub const KVC_DTYPE_F8_E4M3: u64 = 4;
/// Elements have 8 bits: 5 of exponent, 2 of mantissa.
pub const KVC_DTYPE_F8_E5M2: u64 = 5;
/// Elements are signed integers of 8 bits.
pub const KVC_DTYPE_I8: u64 = 6;
/// Elements are unsigned integers of 8 bits, or bytes that only the engine of the model understands.
pub const KVC_DTYPE_U8: u64 = 7;

/// The dimensions of a key/value block. A block is laid out `[layer][key, value][token][head][element]`, the first
/// index being the slowest, without gaps.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct kvc_geometry_t {
    /// Bytes of this struct as the caller knows it.
    pub struct_size: u64,
    /// Layers with keys and values in the block: 1 to 1024. Required.
    pub layers_count: u64,
    /// 2 for keys and values, 1 where one vector stands for both (multi-head latent attention). 0 means 2.
    pub planes_count: u64,
    /// Heads of keys and values on this worker, not those of the queries: 1 to 1024. Required.
    pub kv_heads_count: u64,
    /// Elements of one head's vector: 1 to 65536. Required.
    pub head_dim: u64,
    /// Tokens of a block: 1 to 65536. Required.
    pub tokens_per_block: u64,
    /// Type of one element (`KVC_DTYPE_...`). Required.
    pub dtype: u64,
}

growable!(kvc_geometry_t = 56);

impl kvc_geometry_t {
    /// Checks the dimensions.
    pub(super) fn checked(&self) -> Result<Geometry, ConfigError> {
        let dtype = Dtype::from_code(self.dtype).ok_or(ConfigError::new(
            Status::Config,
            "dtype",
            self.dtype,
            KVC_DTYPE_F32,
            KVC_DTYPE_U8,
            "there is no such element type",
        ))?;
        Geometry::new(&Shape {
            layers_count: self.layers_count,
            planes_count: if self.planes_count == 0 { 2 } else { self.planes_count },
            kv_heads_count: self.kv_heads_count,
            head_dim: self.head_dim,
            tokens_per_block: self.tokens_per_block,
            dtype,
        })
    }
}

/// Computes the bytes of a block of this geometry.
///
/// Use it for `block_bytes` of the configuration.
///
/// Threads: any, at once.
///
/// Memory: `geometry` and `bytes_out` are borrowed.
///
/// Statuses: `KVC_OK`; `KVC_E_CONFIG` when a dimension is outside its range or the block would have more than 1 GiB;
/// `KVC_E_NULL`; `KVC_E_ARGUMENT` and `KVC_E_UNSUPPORTED` for `struct_size`, see Structs that grow.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvc_geometry_block_bytes(
    geometry: *const kvc_geometry_t,
    bytes_out: *mut u64,
) -> kvc_status_t {
    plain(|| {
        // SAFETY: I1, asked of the caller.
        let (geometry, bytes_out) = unsafe { (read(geometry)?, output(bytes_out)?) };
        let geometry = geometry.checked().map_err(|error| error.status)?;
        bytes_out.write(geometry.block_bytes() as u64);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_types_are_the_same_numbers_in_c() {
        let codes = [
            KVC_DTYPE_F32,
            KVC_DTYPE_F16,
            KVC_DTYPE_BF16,
            KVC_DTYPE_F8_E4M3,
            KVC_DTYPE_F8_E5M2,
            KVC_DTYPE_I8,
            KVC_DTYPE_U8,
        ];
        assert_eq!(codes.len(), Dtype::ALL.len());
        for (place, code) in codes.into_iter().enumerate() {
            assert_eq!(Dtype::from_code(code), Some(Dtype::ALL[place]));
        }
    }
}
