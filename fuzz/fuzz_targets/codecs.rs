//! Geometries, settings and tables for the targets of codecs.
#![allow(dead_code, reason = "each target uses a part of it")]

use std::sync::OnceLock;

use crate::input::Input;
use kvcache::codec::train::{Samples, train};
use kvcache::codec::{BlockCodec, CodecChoice, CodecKind, Isa, Rope, RopePairs, Scratch, Tables};
use kvcache::layout::{Dtype, Geometry, Shape};

/// Layers, heads, elements of a head, tokens, type: small ones, so that many run in a second.
pub const GEOMETRIES: [(u64, u64, u64, u64, Dtype); 6] = [
    (1, 1, 32, 1, Dtype::F16),
    (2, 2, 64, 4, Dtype::F16),
    (1, 3, 48, 5, Dtype::Bf16),
    (1, 1, 256, 2, Dtype::Bf16),
    (1, 2, 80, 3, Dtype::F16),
    (1, 1, 128, 17, Dtype::Bf16),
];

/// One of [`GEOMETRIES`].
pub fn geometry(number: u8) -> Geometry {
    let (layers_count, kv_heads_count, head_dim, tokens_per_block, dtype) =
        GEOMETRIES[usize::from(number) % GEOMETRIES.len()];
    Geometry::new(&Shape {
        layers_count,
        planes_count: 2,
        kv_heads_count,
        head_dim,
        tokens_per_block,
        dtype,
    })
    .expect("they are good")
}

/// Settings beyond the kind.
pub fn choice(input: &mut Input<'_>) -> CodecChoice {
    let bits = input.byte();
    CodecChoice {
        trellis_states: if bits & 1 == 0 { 256 } else { 64 },
        key_mean: bits & 2 != 0,
        xc_millibits: [500, 1660, 2300, 6000][usize::from(bits >> 2 & 3)],
        exact_tokens: u64::from(bits >> 4 & 3),
        ..CodecChoice::RAW
    }
}

/// Tables for a geometry, trained once: ahead of the first run, since it takes seconds.
pub fn tables(geometry: &Geometry) -> Tables<'static> {
    static TABLES: OnceLock<Vec<(Geometry, Tables<'static>)>> = OnceLock::new();
    let all = TABLES.get_or_init(|| {
        let geometries = (0..GEOMETRIES.len() as u8).map(self::geometry);
        geometries.map(|geometry| (geometry, trained(&geometry))).collect()
    });
    let found = all.iter().find(|(other, _)| other == geometry);
    found.expect("it is one of them").1
}

fn trained(geometry: &Geometry) -> Tables<'static> {
    const TOKENS: usize = 256;
    let shape = geometry.shape();
    let (heads, dim) = (shape.kv_heads_count as usize, shape.head_dim as usize);
    let mut state = 1_u64;
    let mut plane = || -> Vec<u8> {
        let mut element = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            // A sign, an exponent near that of 1, any fraction.
            let bits = match shape.dtype {
                Dtype::Bf16 => 0x3F00 | (state >> 40 & 0x807F) as u16,
                _ => 0x3800 | (state >> 40 & 0x87FF) as u16,
            };
            bits.to_le_bytes()
        };
        (0..TOKENS * heads * dim).flat_map(|_| element()).collect()
    };
    let planes: Vec<[Vec<u8>; 2]> = (0..shape.layers_count).map(|_| [plane(), plane()]).collect();
    let samples = Samples {
        dtype: shape.dtype,
        heads,
        dim,
        sequence_tokens: TOKENS,
        layers: planes.iter().map(|[keys, values]| [&keys[..], &values[..]]).collect(),
        rope: Some(Rope {
            pairs: RopePairs::Half,
            theta: 10000.0,
            dim,
        }),
    };
    let tables = train(&samples, &[CodecKind::Vq, CodecKind::Xc]).expect("the samples are good");
    Tables::open(aligned(&tables)).expect("just trained")
}

/// Memory at a multiple of 64 bytes, for as long as the program runs.
pub fn aligned(bytes: &[u8]) -> &'static [u8] {
    let room = vec![0; bytes.len() + 64].leak();
    let skip = room.as_ptr().align_offset(64);
    let target = &mut room[skip..skip + bytes.len()];
    target.copy_from_slice(bytes);
    target
}

/// Whether the library does this codec.
pub fn kind_built(kind: CodecKind) -> bool {
    static BUILT: OnceLock<[bool; CodecKind::ALL.len()]> = OnceLock::new();
    BUILT.get_or_init(|| {
        CodecKind::ALL.map(|kind| {
            let geometry = geometry(0);
            let choice = CodecChoice::all(kind);
            let Ok(codec) = BlockCodec::new(&geometry, &choice, Some(tables(&geometry)), Isa::Portable) else {
                return false;
            };
            let (mut code, mut memory) = (vec![0; codec.code_bytes_max()], vec![0; codec.scratch_bytes()]);
            let block = vec![0; geometry.block_bytes()];
            let scratch = &mut Scratch::new(&mut memory);
            codec.encode(&block, 0, CodecKind::Raw, &mut code, scratch).is_ok()
        })
    })[kind as usize]
}

/// No element is infinite or not a number.
pub fn assert_plane_finite(dtype: Dtype, plane: &[u8]) {
    let mask = if dtype == Dtype::Bf16 { 0x7F80 } else { 0x7C00 };
    for pair in plane.chunks_exact(2) {
        let bits = u16::from_le_bytes([pair[0], pair[1]]);
        assert_ne!(bits & mask, mask, "{bits:#06x} is not finite");
    }
}

/// The same for the planes of a block that are in question, behind the exact tokens.
pub fn assert_finite(geometry: &Geometry, block: &[u8], wanted: impl Fn(usize) -> bool, exact_tokens: usize) {
    let planes = block.chunks_exact(geometry.plane_bytes()).enumerate();
    for (_, plane) in planes.filter(|(number, _)| wanted(*number)) {
        assert_plane_finite(geometry.shape().dtype, &plane[exact_tokens * geometry.token_bytes()..]);
    }
}
