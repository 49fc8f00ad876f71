//! Blocks: damage, nasty elements, tables and geometries that do not fit.

use super::*;
use crate::codec::tables::tests::Aligned;
use crate::codec::tables::{Rope, Section, TablesInfo, TablesWriter};
use proptest::prelude::*;
use std::boxed::Box;

/// Changes bytes of a good code and says what decoding answers.
fn damaged(codec: &BlockCodec<'_>, code: &[u8], change: impl Fn(&mut Vec<u8>)) -> Option<Status> {
    let mut code = code.to_vec();
    change(&mut code);
    let answer = decode(codec, &code);
    if let Ok(block) = &answer {
        assert_finite(codec.geometry(), block);
    }
    let bytes = code.len().max(codec.geometry().block_bytes());
    assert!(within(codec, &code, bytes) == answer);
    let inspected = codec.inspect(&code).map(drop);
    assert!(inspected.is_ok() || inspected == answer.clone().map(drop));
    answer.err()
}

#[test]
fn damage_to_the_header_and_the_directory_is_seen() {
    let geometry = geometry();
    let choice = CodecChoice {
        exact_tokens: 2,
        ..CodecChoice::all(CodecKind::I8)
    };
    let codec = codec(&geometry, &choice);
    let code = encode(&codec, &block(&geometry, 11), 0);
    let put = |at: usize, bytes: &'static [u8]| {
        damaged(&codec, &code, move |code| {
            code[at..at + bytes.len()].copy_from_slice(bytes)
        })
    };
    let damage = Some(Status::Damaged);
    assert_eq!(damaged(&codec, &code, |_| {}), None);
    for at in [0, 1] {
        assert_eq!(put(at, b"x"), damage);
    }
    for version in [b"\0", b"\x02", b"\xFF"] {
        assert_eq!(put(2, version), Some(Status::Unsupported));
    }
    assert_eq!((put(3, &[9]), put(3, &[10]), put(3, &[255])), (None, damage, damage));
    for planes in [[0; 4], [5, 0, 0, 0], [7, 0, 0, 0], [6, 0, 0, 1], [255; 4]] {
        assert_eq!(
            damaged(&codec, &code, |code| code[4..8].copy_from_slice(&planes)),
            damage
        );
    }
    // More tokens than there are, or another number than the lengths of the codes are for.
    for tokens in [
        [9, 0, 0, 0],
        [0, 0, 0, 1],
        [255; 4],
        [0, 0, 0, 0],
        [3, 0, 0, 0],
        [8, 0, 0, 0],
    ] {
        assert_eq!(
            damaged(&codec, &code, |code| code[8..12].copy_from_slice(&tokens)),
            damage
        );
    }
    for at in 12..16 {
        assert_eq!(put(at, &[1]), damage);
    }
    // The place and the digest are not this codec's affair.
    assert_eq!((put(16, &[255; 8]), put(24, &[255; 8])), (None, None));
    for plane in 0..6 {
        let at = BLOCK_CODE_HEADER_BYTES + plane * BLOCK_CODE_ENTRY_BYTES;
        let bytes = u32::from_le_bytes(code[at..at + 4].try_into().unwrap());
        let exact = 2 * geometry.token_bytes() as u32;
        let most = geometry.plane_bytes() as u32;
        for wrong in [0, exact - 1, bytes - 1, bytes + 1, most, most + 1, u32::MAX] {
            let change = |code: &mut Vec<u8>| code[at..at + 4].copy_from_slice(&wrong.to_le_bytes());
            assert_eq!(damaged(&codec, &code, change), damage, "{plane} {wrong}");
        }
        for kind in [10, 11, 255] {
            assert_eq!(damaged(&codec, &code, |code| code[at + 4] = kind), damage);
        }
        for kind in [CodecKind::Raw, CodecKind::F8, CodecKind::N4, CodecKind::T3] {
            assert_eq!(
                damaged(&codec, &code, |code| code[at + 4] = kind as u8),
                damage,
                "{kind:?}"
            );
        }
        for kind in [CodecKind::Vq, CodecKind::Xc] {
            let answer = damaged(&codec, &code, |code| code[at + 4] = kind as u8);
            assert_eq!(answer, Some(Status::Unsupported));
        }
        for flags in [4, 8, 128, 255] {
            assert_eq!(damaged(&codec, &code, |code| code[at + 5] = flags), damage);
        }
        for reserved in [6, 7] {
            assert_eq!(damaged(&codec, &code, |code| code[at + reserved] = 1), damage);
        }
    }
    // Two planes of one sum.
    let swapped = damaged(&codec, &code, |code| {
        code[BLOCK_CODE_HEADER_BYTES] += 1;
        code[BLOCK_CODE_HEADER_BYTES + BLOCK_CODE_ENTRY_BYTES] -= 1;
    });
    assert_eq!(swapped, damage);
}

#[test]
fn a_code_that_is_cut_off_or_goes_on_is_seen() {
    let geometry = geometry();
    let block = block(&geometry, 12);
    for kind in kinds() {
        let codec = codec(&geometry, &CodecChoice::all(kind));
        let code = encode(&codec, &block, 0);
        for bytes in (0..code.len())
            .step_by(7)
            .chain(0..100)
            .chain(code.len() - 70..code.len())
        {
            assert_eq!(codec.inspect(&code[..bytes]), Err(Status::Damaged), "{kind:?} {bytes}");
            assert_eq!(decode(&codec, &code[..bytes]), Err(Status::Damaged), "{kind:?} {bytes}");
        }
        let mut longer = code.clone();
        longer.push(0);
        assert_eq!(decode(&codec, &longer), Err(Status::Damaged));
    }
}

#[test]
fn a_code_of_another_geometry_is_seen() {
    let geometry = geometry();
    let code = encode(
        &codec(&geometry, &CodecChoice::all(CodecKind::I8)),
        &block(&geometry, 13),
        0,
    );
    for other in [
        geometry_of(LAYERS + 1, HEADS, DIM, TOKENS, Dtype::F16),
        geometry_of(LAYERS, HEADS + 1, DIM, TOKENS, Dtype::F16),
        geometry_of(LAYERS, HEADS, DIM + 16, TOKENS, Dtype::F16),
        geometry_of(LAYERS, HEADS, DIM, TOKENS - 1, Dtype::F16),
    ] {
        let codec = codec(&other, &CodecChoice::all(CodecKind::I8));
        assert_eq!(decode(&codec, &code), Err(Status::Damaged), "{other:?}");
    }
}

fn tables_info(layers: usize, heads: usize, dim: usize) -> TablesInfo {
    TablesInfo {
        bytes: 0,
        layers,
        planes: 2,
        heads,
        dim,
        rope: Rope::NONE,
        tokens: 1000,
        digest: 0,
    }
}

/// Tables whose sections are nothing.
fn tables_of(layers: usize, heads: usize, dim: usize, kind: CodecKind) -> Aligned {
    let mut writer = TablesWriter::new(tables_info(layers, heads, dim));
    for layer in 0..layers {
        for plane in 0..2 {
            let bytes = vec![1; 100];
            writer.add(Section {
                kind,
                layer,
                plane,
                bytes,
            });
        }
    }
    Aligned::new(&writer.finish())
}

#[test]
fn tables_must_be_there_and_fit() {
    let geometry = geometry();
    let choice = CodecChoice::all(CodecKind::Vq);
    let refused = |choice: &CodecChoice, tables: Option<&Aligned>| {
        let tables = tables.map(|tables| Tables::open(tables.bytes()).unwrap());
        let answer = BlockCodec::new(&geometry, choice, tables, Isa::Portable);
        answer.err().map(|error| (error.status, error.field, error.value))
    };
    let (conflict, config) = (Status::Conflict, Status::Config);
    assert_eq!(refused(&choice, None), Some((config, "codec_tables", 0)));
    let vq = |layers, heads, dim| tables_of(layers, heads, dim, CodecKind::Vq);
    assert_eq!(refused(&choice, Some(&vq(3, 2, 64))), None);
    assert_eq!(refused(&choice, Some(&vq(4, 2, 64))), None);
    assert_eq!(
        refused(&choice, Some(&vq(2, 2, 64))),
        Some((conflict, "layers_count", 3))
    );
    assert_eq!(
        refused(&choice, Some(&vq(3, 3, 64))),
        Some((conflict, "kv_heads_count", 2))
    );
    assert_eq!(refused(&choice, Some(&vq(3, 2, 80))), Some((conflict, "head_dim", 64)));
    let other = tables_of(3, 2, 64, CodecKind::Xc);
    assert_eq!(refused(&choice, Some(&other)), Some((conflict, "codec_tables", 0)));
    // Tables that nobody asks for do no harm.
    assert_eq!(refused(&CodecChoice::all(CodecKind::I8), Some(&vq(1, 1, 32))), None);
}

#[test]
fn a_code_made_with_other_tables_is_not_decoded() {
    let geometry = geometry();
    let (mine, other) = (tables_of(3, 2, 64, CodecKind::Vq), tables_of(4, 2, 64, CodecKind::Vq));
    let with = |tables: &'static Aligned| {
        let tables = Tables::open(tables.bytes()).unwrap();
        BlockCodec::new(&geometry, &CodecChoice::RAW, Some(tables), Isa::Portable).unwrap()
    };
    let (mine, other) = (with(Box::leak(Box::new(mine))), with(Box::leak(Box::new(other))));
    let plain = codec(&geometry, &CodecChoice::RAW);
    let block = block(&geometry, 14);
    let mut code = encode(&mine, &block, 0);
    assert_ne!(mine.inspect(&code).unwrap().tables_digest, 0);
    // As long as no plane needs them, tables do not matter.
    for codec in [&mine, &other, &plain] {
        assert!(decode(codec, &code).is_ok());
    }
    code[BLOCK_CODE_HEADER_BYTES + 4] = CodecKind::Vq as u8;
    assert_eq!(mine.inspect(&code).map(|info| info.kind), Ok(CodecKind::Vq));
    for codec in [&other, &plain] {
        assert_eq!(codec.inspect(&code), Err(Status::Unsupported));
        assert_eq!(decode(codec, &code), Err(Status::Unsupported));
    }
}

#[test]
fn a_geometry_that_a_codec_cannot_take_is_refused_with_what_it_can() {
    let refused = |geometry: &Geometry, kind| {
        let choice = CodecChoice {
            value: kind,
            ..CodecChoice::RAW
        };
        let facts = BlockCodecFacts::new(geometry, &choice).map(drop);
        let codec = BlockCodec::new(geometry, &choice, None, Isa::Portable).map(drop);
        assert!(facts == codec || kind.needs_tables());
        facts.err().map(|error| (error.field, error.value_min, error.value_max))
    };
    for kind in CodecKind::ALL.into_iter().filter(|kind| *kind != CodecKind::Raw) {
        let lz_missing = kind == CodecKind::Lz && !cfg!(feature = "zstd");
        for dtype in [Dtype::F32, Dtype::I8, Dtype::F8E4m3] {
            let expected = if lz_missing { ("codec", 0, 0) } else { ("dtype", 2, 3) };
            assert_eq!(refused(&geometry_of(2, 2, 64, 8, dtype), kind), Some(expected));
        }
        for dim in [16, 31, 40, 272, 512] {
            let any = matches!(kind, CodecKind::F8 | CodecKind::Lz) && !lz_missing;
            let answer = refused(&geometry_of(2, 2, dim, 8, Dtype::Bf16), kind);
            assert_eq!(answer.is_none(), any, "{kind:?} {dim}");
            assert!(any || lz_missing || answer == Some(("head_dim", 32, 256)));
        }
    }
    assert_eq!(refused(&geometry_of(2, 2, 7, 8, Dtype::F32), CodecKind::Raw), None);
}

#[test]
fn whatever_the_elements_are_what_is_decoded_is_finite() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let geometry = geometry_of(1, 2, 64, 4, dtype);
        let elements = geometry.block_bytes() / 2;
        let nasty = [
            0_u16, 0x8000, 0x7C00, 0xFC00, 0x7E01, 0x7F80, 0xFF80, 0x7FC1, 1, 0x8001, 0x7BFF, 0x7F7F, 0x3C00,
        ];
        let mut patterns: Vec<Vec<u16>> = nasty.iter().map(|&bits| vec![bits; elements]).collect();
        patterns.push((0..elements).map(|at| nasty[at * 7 % nasty.len()]).collect());
        patterns.push((0..elements).map(|at| (at * 40503) as u16).collect());
        patterns.push((0..elements).map(|at| if at % 64 == 9 { 0x7BFF } else { 0 }).collect());
        for pattern in patterns {
            let block: Vec<u8> = pattern.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            for kind in kinds() {
                let codec = codec(&geometry, &CodecChoice::all(kind));
                let decoded = decode(&codec, &encode(&codec, &block, 0)).unwrap();
                if kind.is_exact() {
                    assert!(decoded == block, "{kind:?}");
                } else {
                    assert_finite(&geometry, &decoded);
                }
                if pattern.iter().all(|bits| bits & 0x7FFF == 0) {
                    assert!(
                        decoded.chunks(2).all(|pair| pair[0] == 0 && pair[1] & 0x7F == 0),
                        "{kind:?}"
                    );
                }
            }
        }
    }
}

proptest! {
    /// Any damage to a code, and any bytes behind a good directory: an error or finite numbers.
    #[test]
    fn damaged_codes_are_errors_or_finite_numbers(
        kind in 0..8_usize,
        seed in any::<u64>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..20),
    ) {
        let kind = CodecKind::ALL[kind];
        prop_assume!(kinds().any(|known| known == kind));
        let geometry = geometry_of(1, 2, 48, 5, if seed % 2 == 0 { Dtype::F16 } else { Dtype::Bf16 });
        let codec = codec(&geometry, &CodecChoice::all(kind));
        let mut code = encode(&codec, &block(&geometry, seed), seed % 10);
        for (index, bits) in flips {
            let at = index.index(code.len());
            code[at] ^= bits;
        }
        if let Ok(decoded) = decode(&codec, &code)
            && !kind.is_exact()
            && !kinds_in(&code).contains(&CodecKind::Raw)
            && !kinds_in(&code).contains(&CodecKind::Lz)
        {
            assert_finite(&geometry, &decoded);
        }
    }
}
