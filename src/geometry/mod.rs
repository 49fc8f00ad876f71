//! What a key/value block is.

use core::ops::Range;

mod digest;
mod dtype;
mod plane;

use crate::error::{ConfigError, Status};
pub use digest::digest;
pub use dtype::Dtype;
pub use plane::PlaneShape;

/// The largest block that a geometry may describe: 1 GiB.
///
/// Block sizes are kept in 32 bits elsewhere, and a block is moved as a whole: a bigger one is a sign of a mistake.
pub const BLOCK_BYTES_MAX: u64 = 1 << 30;

/// The dimensions of a block as a user states them, not yet checked. [`Geometry::new`] checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Layers that have keys and values in the block: 1 to 1024.
    pub layers_count: u64,
    /// 2 for keys and values; 1 where one vector stands for both (multi-head latent attention).
    pub planes_count: u64,
    /// Heads of keys and values on this worker (not those of the queries): 1 to 1024.
    pub kv_heads_count: u64,
    /// Elements of one head's vector: 1 to 65536.
    pub head_dim: u64,
    /// Tokens of a block: 1 to 65536.
    pub tokens_per_block: u64,
    /// The type of one element.
    pub dtype: Dtype,
}

/// The checked dimensions of a block. Every number of bytes below is at most [`BLOCK_BYTES_MAX`].
///
/// # Examples
/// ```
/// use kvcache::layout::{Dtype, Geometry, Shape};
///
/// // An 8B model: 32 layers, 8 heads of 128, 16 tokens a block.
/// let geometry = Geometry::new(&Shape {
///     layers_count: 32,
///     planes_count: 2,
///     kv_heads_count: 8,
///     head_dim: 128,
///     tokens_per_block: 16,
///     dtype: Dtype::Bf16,
/// })?;
/// assert_eq!(geometry.block_bytes(), 2 << 20);
/// assert_eq!(geometry.layer_range(1), 65536..131072);
/// # Ok::<(), kvcache::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    shape: Shape,
}

impl Geometry {
    /// Checks the dimensions.
    ///
    /// # Errors
    /// [`Status::Config`] with the field, its value and its range; the field is `block_bytes` where the dimensions
    /// are each in range but the block they make is bigger than [`BLOCK_BYTES_MAX`].
    pub fn new(shape: &Shape) -> Result<Self, ConfigError> {
        let Shape {
            layers_count,
            planes_count,
            kv_heads_count,
            head_dim,
            tokens_per_block,
            dtype,
        } = *shape;
        check(
            "layers_count",
            layers_count,
            1,
            1 << 10,
            "a block has at least one layer",
        )?;
        check(
            "planes_count",
            planes_count,
            1,
            2,
            "a block has keys and values (2) or one vector for both (1)",
        )?;
        check(
            "kv_heads_count",
            kv_heads_count,
            1,
            1 << 10,
            "a layer has at least one head",
        )?;
        check("head_dim", head_dim, 1, 1 << 16, "a head has at least one element")?;
        check(
            "tokens_per_block",
            tokens_per_block,
            1,
            1 << 16,
            "a block has at least one token",
        )?;
        // At most 10 + 1 + 10 + 16 + 16 + 2 = 55 bits: no overflow.
        let block_bytes = layers_count * planes_count * kv_heads_count * head_dim * tokens_per_block * dtype.bytes();
        check(
            "block_bytes",
            block_bytes,
            1,
            BLOCK_BYTES_MAX,
            "take fewer tokens per block",
        )?;
        Ok(Self { shape: *shape })
    }

    /// The dimensions.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Bytes of one head's vector of one token; contiguous everywhere.
    pub const fn row_bytes(&self) -> usize {
        (self.shape.head_dim * self.shape.dtype.bytes()) as usize
    }

    /// Bytes of all heads of one token in one plane (keys or values) of one layer.
    pub const fn token_bytes(&self) -> usize {
        self.shape.kv_heads_count as usize * self.row_bytes()
    }

    /// Bytes of the keys (or the values) of one layer.
    pub const fn plane_bytes(&self) -> usize {
        self.shape.tokens_per_block as usize * self.token_bytes()
    }

    /// Bytes of one layer.
    pub const fn layer_bytes(&self) -> usize {
        self.shape.planes_count as usize * self.plane_bytes()
    }

    /// Bytes of a block.
    pub const fn block_bytes(&self) -> usize {
        self.shape.layers_count as usize * self.layer_bytes()
    }

    /// The bytes of a layer within the block.
    ///
    /// # Panics
    /// When there is no such layer.
    pub const fn layer_range(&self, layer: usize) -> Range<usize> {
        assert!(
            layer < self.shape.layers_count as usize,
            "the layer is one of the geometry's"
        );
        layer * self.layer_bytes()..(layer + 1) * self.layer_bytes()
    }

    /// The bytes of one layer's keys (`plane` 0) or values (1) within the block.
    ///
    /// # Panics
    /// When there is no such layer or plane.
    pub const fn plane_range(&self, layer: usize, plane: usize) -> Range<usize> {
        assert!(
            plane < self.shape.planes_count as usize,
            "the plane is one of the geometry's"
        );
        let first = self.layer_range(layer).start + plane * self.plane_bytes();
        first..first + self.plane_bytes()
    }

    /// A number that two geometries share only if they are the same: for headers, to refuse foreign blocks.
    ///
    /// FNV-1a with 64 bits (offset basis `0xcbf29ce484222325`, prime `0x100000001b3`) over the seven numbers
    /// 1 (version of this formula), `layers_count`, `planes_count`, `kv_heads_count`, `head_dim`,
    /// `tokens_per_block`, [`Dtype::code`], each as eight bytes, little-endian. It guards against mistakes, not
    /// against an adversary.
    pub const fn digest(&self) -> u64 {
        const VERSION: u64 = 1;
        let Shape {
            layers_count,
            planes_count,
            kv_heads_count,
            head_dim,
            tokens_per_block,
            dtype,
        } = self.shape;
        let fields = [
            VERSION,
            layers_count,
            planes_count,
            kv_heads_count,
            head_dim,
            tokens_per_block,
            dtype.code(),
        ];
        let mut digest = 0xcbf2_9ce4_8422_2325_u64;
        let mut place = 0;
        while place < fields.len() * 8 {
            let byte = fields[place / 8].to_le_bytes()[place % 8];
            digest = (digest ^ byte as u64).wrapping_mul(0x100_0000_01b3);
            place += 1;
        }
        digest
    }
}

/// Refuses a value outside its range.
pub(crate) fn check(
    field: &'static str,
    value: u64,
    value_min: u64,
    value_max: u64,
    reason: &'static str,
) -> Result<(), ConfigError> {
    if (value_min..=value_max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(
        Status::Config,
        field,
        value,
        value_min,
        value_max,
        reason,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const SHAPE: Shape = Shape {
        layers_count: 32,
        planes_count: 2,
        kv_heads_count: 8,
        head_dim: 128,
        tokens_per_block: 16,
        dtype: Dtype::F16,
    };

    #[test]
    fn ranges_tile_the_block() {
        let geometry = Geometry::new(&SHAPE).unwrap();
        let mut next = 0;
        for layer in 0..32 {
            assert_eq!(geometry.layer_range(layer).start, next);
            for plane in 0..2 {
                assert_eq!(geometry.plane_range(layer, plane).start, next);
                next = geometry.plane_range(layer, plane).end;
            }
            assert_eq!(geometry.layer_range(layer).end, next);
        }
        assert_eq!(next, geometry.block_bytes());
    }

    #[test]
    fn each_field_is_refused_outside_its_range_by_name() {
        type Set = fn(&mut Shape, u64);
        let fields: [(&str, Set, u64); 5] = [
            ("layers_count", |shape, value| shape.layers_count = value, 1024),
            ("planes_count", |shape, value| shape.planes_count = value, 2),
            ("kv_heads_count", |shape, value| shape.kv_heads_count = value, 1024),
            ("head_dim", |shape, value| shape.head_dim = value, 65536),
            ("tokens_per_block", |shape, value| shape.tokens_per_block = value, 65536),
        ];
        for (field, set, value_max) in fields {
            for (value, right) in [
                (0, false),
                (1, true),
                (value_max, true),
                (value_max + 1, false),
                (u64::MAX, false),
            ] {
                let mut shape = Shape {
                    layers_count: 1,
                    planes_count: 1,
                    kv_heads_count: 1,
                    head_dim: 1,
                    tokens_per_block: 1,
                    dtype: Dtype::U8,
                };
                set(&mut shape, value);
                match Geometry::new(&shape) {
                    Ok(_) => assert!(right, "{field} {value}"),
                    Err(error) => {
                        assert!(!right, "{field} {value}");
                        assert_eq!(
                            (error.status, error.field, error.value, error.value_min, error.value_max),
                            (Status::Config, field, value, 1, value_max)
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_block_that_is_too_big_is_refused() {
        let error = Geometry::new(&Shape {
            tokens_per_block: 16384,
            ..SHAPE
        })
        .unwrap_err();
        assert_eq!((error.field, error.value), ("block_bytes", 2 << 30));
        assert!(
            Geometry::new(&Shape {
                tokens_per_block: 8192,
                ..SHAPE
            })
            .is_ok()
        );
        let biggest = Shape {
            layers_count: 1024,
            planes_count: 2,
            kv_heads_count: 1024,
            head_dim: 65536,
            tokens_per_block: 65536,
            dtype: Dtype::F32,
        };
        assert_eq!(Geometry::new(&biggest).unwrap_err().value, 1 << 55);
    }

    #[test]
    fn the_digest_keeps_its_value_and_tells_every_field() {
        let digest = |shape: &Shape| Geometry::new(shape).unwrap().digest();
        // Written down so that a change of the formula is a failure: files carry this number.
        assert_eq!(digest(&SHAPE), 0x1718_6413_4e95_6b1c, "{:#x}", digest(&SHAPE));
        let mut digests: Vec<u64> = [
            SHAPE,
            Shape {
                layers_count: 33,
                ..SHAPE
            },
            Shape {
                planes_count: 1,
                ..SHAPE
            },
            Shape {
                kv_heads_count: 4,
                ..SHAPE
            },
            Shape { head_dim: 64, ..SHAPE },
            Shape {
                tokens_per_block: 32,
                ..SHAPE
            },
            Shape {
                kv_heads_count: 16,
                head_dim: 64,
                ..SHAPE
            },
            Shape {
                dtype: Dtype::Bf16,
                ..SHAPE
            },
        ]
        .iter()
        .map(digest)
        .collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 8);
    }
}
