//! A digest of geometries, by which a file knows whose blocks it holds.

use sha2::{Digest, Sha256};

use super::Geometry;

/// SHA-256 over `"kvcache:geometries:v1"` and, for each geometry up to the last one that is there, 1 and its six
/// dimensions (0 and six zeros for a gap) as little-endian 64-bit numbers: layers, planes, heads, head dimension,
/// tokens, code of the element type.
pub fn digest(geometries: &[Option<Geometry>]) -> [u8; 32] {
    let count = geometries.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let mut hash = Sha256::new();
    hash.update(b"kvcache:geometries:v1");
    for geometry in &geometries[..count] {
        let words = geometry.as_ref().map_or([0; 7], |geometry| {
            let shape = &geometry.shape;
            [
                1,
                shape.layers_count,
                shape.planes_count,
                shape.kv_heads_count,
                shape.head_dim,
                shape.tokens_per_block,
                shape.dtype.code(),
            ]
        });
        for word in words {
            hash.update(word.to_le_bytes());
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Dtype, Shape};

    #[test]
    fn every_dimension_and_place_counts_and_empty_places_at_the_end_do_not() {
        let shape = Shape {
            layers_count: 2,
            planes_count: 2,
            kv_heads_count: 4,
            head_dim: 8,
            tokens_per_block: 16,
            dtype: Dtype::F16,
        };
        let some = |shape: &Shape| Some(Geometry::new(shape).expect("in range"));
        let of = digest(&[some(&shape)]);
        assert_eq!(of, digest(&[some(&shape), None, None]));
        assert_eq!(digest(&[]), digest(&[None, None]));
        let changes: [fn(&mut Shape); 6] = [
            |shape| shape.layers_count = 4,
            |shape| shape.planes_count = 1,
            |shape| shape.kv_heads_count = 2,
            |shape| shape.head_dim = 4,
            |shape| shape.tokens_per_block = 8,
            |shape| shape.dtype = Dtype::Bf16,
        ];
        let mut all = std::vec![
            of,
            digest(&[]),
            digest(&[None, some(&shape)]),
            digest(&[some(&shape), some(&shape)])
        ];
        for change in changes {
            let mut other = shape;
            change(&mut other);
            all.push(digest(&[some(&other)]));
        }
        for (place, one) in all.iter().enumerate() {
            assert!(!all[..place].contains(one), "{place}");
        }
    }
}
