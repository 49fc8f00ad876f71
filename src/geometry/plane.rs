//! The shape of one plane: the keys or the values of one layer.

use super::{Dtype, Geometry};

/// Keys or values of one layer: `[tokens][heads][dim]`, contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneShape {
    /// The type of an element.
    pub dtype: Dtype,
    /// Tokens.
    pub tokens: usize,
    /// Heads of keys and values.
    pub heads: usize,
    /// Elements of one head's vector.
    pub dim: usize,
}

impl PlaneShape {
    /// Vectors: one for each token and head.
    pub const fn rows(&self) -> usize {
        self.tokens * self.heads
    }

    /// Elements of all vectors.
    pub const fn elements(&self) -> usize {
        self.rows() * self.dim
    }

    /// Bytes of all vectors.
    pub const fn bytes(&self) -> usize {
        self.elements() * self.dtype.bytes() as usize
    }
}

impl Geometry {
    /// The shape of each of its planes.
    pub const fn plane_shape(&self) -> PlaneShape {
        let shape = self.shape();
        PlaneShape {
            dtype: shape.dtype,
            tokens: shape.tokens_per_block as usize,
            heads: shape.kv_heads_count as usize,
            dim: shape.head_dim as usize,
        }
    }
}
