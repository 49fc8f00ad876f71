//! Blocks: round trips, exact tokens, exceptions, damage.

use super::*;
use crate::codec::number;
use crate::config::LayerCodec;
use crate::geometry::{Dtype, Shape};
use std::vec;
use std::vec::Vec;

#[path = "damage/tests.rs"]
mod damage;

const LAYERS: u64 = 3;
const HEADS: u64 = 2;
const DIM: u64 = 64;
const TOKENS: u64 = 8;

fn geometry_of(layers_count: u64, kv_heads_count: u64, head_dim: u64, tokens_per_block: u64, dtype: Dtype) -> Geometry {
    Geometry::new(&Shape {
        layers_count,
        planes_count: 2,
        kv_heads_count,
        head_dim,
        tokens_per_block,
        dtype,
    })
    .unwrap()
}

fn geometry() -> Geometry {
    geometry_of(LAYERS, HEADS, DIM, TOKENS, Dtype::F16)
}

/// Codecs that need no tables.
fn kinds() -> impl Iterator<Item = CodecKind> {
    let built = |kind: &CodecKind| *kind != CodecKind::Lz || cfg!(feature = "zstd");
    CodecKind::ALL
        .into_iter()
        .filter(|kind| !kind.needs_tables())
        .filter(built)
}

fn codec<'t>(geometry: &Geometry, choice: &CodecChoice) -> BlockCodec<'t> {
    BlockCodec::new(geometry, choice, None, Isa::detect()).unwrap()
}

/// Numbers about as keys and values are: of the order of 1, a few channels larger.
fn block(geometry: &Geometry, seed: u64) -> Vec<u8> {
    let dtype = geometry.shape().dtype;
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let dim = geometry.shape().head_dim as usize;
    let elements = geometry.block_bytes() / 2;
    let value = |at: usize| {
        // The sum of uniform numbers is nearly normal.
        let sum: f32 = (0..6).map(|_| random()).sum();
        let scale = if at % dim % 13 == 5 { 6.0 } else { 1.0 };
        number::write(dtype, sum * scale).to_le_bytes()
    };
    (0..elements).flat_map(value).collect()
}

fn scratch_of(codec: &BlockCodec<'_>) -> Vec<u8> {
    vec![0xA5; codec.scratch_bytes()]
}

fn encode(codec: &BlockCodec<'_>, block: &[u8], position: u64) -> Vec<u8> {
    let mut code = vec![0xEE; codec.code_bytes_max()];
    let mut memory = scratch_of(codec);
    let scratch = &mut Scratch::new(&mut memory);
    let bytes = codec
        .encode(block, position, CodecKind::Raw, &mut code, scratch)
        .unwrap();
    code.truncate(bytes);
    code
}

fn decode(codec: &BlockCodec<'_>, code: &[u8]) -> Result<Vec<u8>, Status> {
    let mut block = vec![0x11; codec.geometry().block_bytes()];
    let mut memory = scratch_of(codec);
    codec
        .decode(code, &mut block, &mut Scratch::new(&mut memory))
        .map(|_| block)
}

fn elements(block: &[u8]) -> Vec<u16> {
    let pairs = block.chunks_exact(2);
    pairs.map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

fn is_finite(dtype: Dtype, element: u16) -> bool {
    match dtype {
        Dtype::Bf16 => element & 0x7F80 != 0x7F80,
        _ => element & 0x7C00 != 0x7C00,
    }
}

fn assert_finite(geometry: &Geometry, block: &[u8]) {
    let dtype = geometry.shape().dtype;
    let odd = elements(block).into_iter().position(|bits| !is_finite(dtype, bits));
    assert_eq!(odd, None, "an element that is not finite");
}

/// The root of the squared error over the squared norm, in thousandths.
fn error_permille(geometry: &Geometry, block: &[u8], decoded: &[u8]) -> f64 {
    let dtype = geometry.shape().dtype;
    let read = |bits| f64::from(number::read(dtype, bits));
    let pairs = elements(block).into_iter().zip(elements(decoded));
    let (mut error, mut norm) = (0.0, 0.0);
    for (from, to) in pairs {
        error += (read(from) - read(to)) * (read(from) - read(to));
        norm += read(from) * read(from);
    }
    1000.0 * (error / norm).sqrt()
}

/// The kind in each entry of the directory.
fn kinds_in(code: &[u8]) -> Vec<CodecKind> {
    let planes = u32::from_le_bytes(code[4..8].try_into().unwrap()) as usize;
    let entry = |plane| code[BLOCK_CODE_HEADER_BYTES + plane * BLOCK_CODE_ENTRY_BYTES + 4];
    (0..planes)
        .map(|plane| CodecKind::from_code(u64::from(entry(plane))).unwrap())
        .collect()
}

#[test]
fn every_codec_gives_a_block_back_about_as_well_as_it_says() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        for (heads, dim, tokens) in [(HEADS, DIM, TOKENS), (3, 32, 7), (1, 256, 3), (5, 80, 16)] {
            let geometry = geometry_of(2, heads, dim, tokens, dtype);
            let block = block(&geometry, dim);
            for kind in kinds() {
                let codec = codec(&geometry, &CodecChoice::all(kind));
                let code = encode(&codec, &block, 5);
                assert!(code.len() <= codec.code_bytes_max(), "{kind:?}");
                let decoded = decode(&codec, &code).unwrap();
                if kind.is_exact() {
                    assert!(decoded == block, "{kind:?} {dtype}");
                    continue;
                }
                assert_finite(&geometry, &decoded);
                let error = error_permille(&geometry, &block, &decoded);
                // Rounding of the elements themselves is 2 in 1000 for bf16.
                let expected = kind.error_nominal_permille() as f64 * 1.6 + 4.0;
                assert!(error <= expected && error > 0.0, "{kind:?} {dtype} {dim}: {error}");
                assert_eq!(kinds_in(&code), [kind; 4]);
            }
        }
    }
}

#[test]
fn every_set_of_instructions_makes_the_same_codes_and_bytes() {
    let geometry = geometry_of(2, 3, 96, 5, Dtype::Bf16);
    let block = block(&geometry, 3);
    for kind in kinds() {
        let choice = CodecChoice::all(kind);
        let made = |isa| {
            let codec = BlockCodec::new(&geometry, &choice, None, isa).unwrap();
            let code = encode(&codec, &block, 0);
            (decode(&codec, &code), code)
        };
        let oracle = made(Isa::Portable);
        for isa in Isa::all() {
            assert!(made(isa) == oracle, "{kind:?} {}", isa.name());
        }
    }
}

#[test]
fn what_a_code_says_about_itself_is_what_was_done() {
    let geometry = geometry();
    let block = block(&geometry, 1);
    for kind in kinds() {
        let choice = CodecChoice {
            exact_tokens: 10,
            exact_layers_first: 1,
            ..CodecChoice::all(kind)
        };
        let codec = codec(&geometry, &choice);
        let mut code = vec![0; codec.code_bytes_max()];
        let mut memory = scratch_of(&codec);
        let scratch = &mut Scratch::new(&mut memory);
        let bytes = codec.encode(&block, 8, CodecKind::T4, &mut code, scratch).unwrap();
        let info = BlockCodeInfo {
            kind,
            loss: CodecKind::T4,
            planes_count: 6,
            exact_tokens: 2,
            position: 8,
            tables_digest: 0,
        };
        assert_eq!(codec.inspect(&code[..bytes]), Ok(info));
        let mut decoded = vec![0; geometry.block_bytes()];
        assert_eq!(codec.decode(&code[..bytes], &mut decoded, scratch), Ok(info));
    }
}

#[test]
fn tokens_at_the_beginning_of_a_sequence_are_kept_exactly_and_no_others() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let geometry = geometry_of(LAYERS, HEADS, DIM, TOKENS, dtype);
        let block = block(&geometry, 2);
        for kind in kinds() {
            let choice = CodecChoice {
                exact_tokens: 11,
                ..CodecChoice::all(kind)
            };
            let codec = codec(&geometry, &choice);
            for (position, exact_tokens) in [(0, 8), (4, 7), (8, 3), (10, 1), (11, 0), (u64::MAX, 0)] {
                let code = encode(&codec, &block, position);
                assert_eq!(codec.inspect(&code).unwrap().exact_tokens, exact_tokens, "{kind:?}");
                let decoded = decode(&codec, &code).unwrap();
                let exact_bytes = exact_tokens * geometry.token_bytes();
                let planes = block
                    .chunks(geometry.plane_bytes())
                    .zip(decoded.chunks(geometry.plane_bytes()));
                for (plane, decoded) in planes {
                    assert!(plane[..exact_bytes] == decoded[..exact_bytes], "{kind:?} {position}");
                    if exact_tokens < 8 && !kind.is_exact() {
                        assert!(plane[exact_bytes..] != decoded[exact_bytes..], "{kind:?} {position}");
                    }
                }
            }
        }
    }
}

/// Where all tokens are kept the code is longest.
#[test]
fn a_slot_of_the_greatest_length_takes_every_code() {
    let geometry = geometry();
    let block = block(&geometry, 4);
    for kind in kinds() {
        for exact_tokens in [0, 1, 4, 7, 8, 30] {
            let choice = CodecChoice {
                exact_tokens,
                ..CodecChoice::all(kind)
            };
            let codec = codec(&geometry, &choice);
            let lengths = (0..TOKENS + 2).map(|position| encode(&codec, &block, position).len());
            let longest = lengths.max().unwrap();
            assert!(longest <= codec.code_bytes_max());
            if kind != CodecKind::Lz {
                assert_eq!(longest, codec.code_bytes_max(), "{kind:?} {exact_tokens}");
            }
        }
    }
}

#[test]
fn layers_are_encoded_as_the_exceptions_say() {
    use CodecKind::{F8, I8, N4, Raw};
    let geometry = geometry_of(6, HEADS, DIM, TOKENS, Dtype::F16);
    let block = block(&geometry, 5);
    let mut choice = CodecChoice {
        key: I8,
        value: N4,
        exact_layers_first: 1,
        exact_layers_last: 1,
        ..CodecChoice::RAW
    };
    let exception = |layer_first, layer_last, key, value| {
        Some(LayerCodec {
            layer_first,
            layer_last,
            key,
            value,
        })
    };
    choice.layers[0] = exception(0, 2, F8, Raw);
    choice.layers[7] = exception(2, 3, Raw, I8);
    let codec = codec(&geometry, &choice);
    let code = encode(&codec, &block, 0);
    let expected = [Raw, Raw, F8, Raw, Raw, I8, Raw, I8, I8, N4, Raw, Raw];
    assert_eq!(kinds_in(&code), expected);
    let decoded = decode(&codec, &code).unwrap();
    let planes = block
        .chunks(geometry.plane_bytes())
        .zip(decoded.chunks(geometry.plane_bytes()));
    for ((plane, decoded), kind) in planes.zip(expected) {
        assert_eq!(plane == decoded, kind == Raw, "{kind:?}");
    }
    assert_eq!(codec.inspect(&code).unwrap().kind, N4);
}

#[test]
fn a_layer_alone_is_the_layer_of_the_block() {
    let geometry = geometry();
    let block = block(&geometry, 6);
    for kind in kinds() {
        let choice = CodecChoice {
            key: kind,
            value: CodecKind::Raw,
            exact_tokens: 2,
            ..CodecChoice::RAW
        };
        let codec = codec(&geometry, &choice);
        let code = encode(&codec, &block, 0);
        let whole = decode(&codec, &code).unwrap();
        let mut memory = scratch_of(&codec);
        let mut scratch = Scratch::new(&mut memory);
        for layer in 0..LAYERS as usize {
            let mut alone = vec![0; geometry.layer_bytes()];
            codec.decode_layer(&code, layer, &mut alone, &mut scratch).unwrap();
            assert!(alone == whole[geometry.layer_range(layer)], "{kind:?} {layer}");
            let mut short = vec![0; geometry.layer_bytes() - 1];
            let answer = codec.decode_layer(&code, layer, &mut short, &mut scratch);
            assert_eq!(answer, Err(Status::Argument));
        }
        let mut alone = vec![0; geometry.layer_bytes()];
        for layer in [LAYERS as usize, usize::MAX] {
            let answer = codec.decode_layer(&code, layer, &mut alone, &mut scratch);
            assert_eq!(answer, Err(Status::Argument));
        }
    }
}

/// Decodes in memory of `bytes` with the code at its end.
fn within(codec: &BlockCodec<'_>, code: &[u8], bytes: usize) -> Result<Vec<u8>, Status> {
    let mut memory = vec![0x77; bytes];
    memory[bytes - code.len()..].copy_from_slice(code);
    let mut work = scratch_of(codec);
    let (planes, plane_bytes) = (2, codec.geometry().plane_bytes());
    let mut ready = 0;
    let done = codec.decode_within(&mut memory, code.len(), &mut Scratch::new(&mut work), |bytes| {
        ready += planes * plane_bytes;
        assert_eq!(bytes, ready);
    });
    memory.truncate(codec.geometry().block_bytes());
    assert!(done.is_err() || ready == memory.len());
    done.map(|_| memory)
}

#[test]
fn a_block_decoded_in_place_is_the_block() {
    let geometry = geometry();
    let block = block(&geometry, 7);
    for kind in kinds() {
        for exact_tokens in [0, 3, 8] {
            let choice = CodecChoice {
                key: kind,
                value: CodecKind::Raw,
                exact_tokens,
                ..CodecChoice::RAW
            };
            for choice in [choice, CodecChoice { value: kind, ..choice }] {
                let codec = codec(&geometry, &choice);
                let code = encode(&codec, &block, 0);
                let whole = decode(&codec, &code).unwrap();
                let shortest = code.len().max(block.len());
                for bytes in [shortest, shortest + 1, shortest + 4096] {
                    assert!(
                        within(&codec, &code, bytes).unwrap() == whole,
                        "{kind:?} {exact_tokens} {bytes}"
                    );
                }
            }
        }
    }
    let codec = codec(&geometry, &CodecChoice::RAW);
    let mut memory = vec![0; block.len()];
    let mut work = scratch_of(&codec);
    for (bytes, code_bytes) in [(block.len() - 1, 100), (block.len(), block.len() + 1)] {
        let scratch = &mut Scratch::new(&mut work);
        let answer = codec.decode_within(&mut memory[..bytes], code_bytes, scratch, |_| {});
        assert_eq!(answer, Err(Status::Argument));
    }
}

/// The first code after planes that gain nothing lies right behind them.
#[test]
fn a_plane_that_gains_nothing_is_kept_as_it_is() {
    // Of one token and many heads, the gains and means take more than the bits save.
    for tokens in [1, 2] {
        let geometry = geometry_of(2, 64, 32, tokens, Dtype::Bf16);
        let block = block(&geometry, 8);
        for kind in kinds() {
            let codec = codec(&geometry, &CodecChoice::all(kind));
            let code = encode(&codec, &block, 0);
            assert!(code.len() <= codec.code_bytes_max());
            let entries = kinds_in(&code);
            for (entry, plane) in entries.into_iter().zip(0..) {
                let at = BLOCK_CODE_HEADER_BYTES + plane * BLOCK_CODE_ENTRY_BYTES;
                let bytes = u32::from_le_bytes(code[at..at + 4].try_into().unwrap()) as usize;
                assert_eq!(bytes == geometry.plane_bytes(), entry == CodecKind::Raw);
                assert!(bytes <= geometry.plane_bytes());
            }
            assert_finite(&geometry, &decode(&codec, &code).unwrap());
        }
    }
}

#[test]
fn any_codec_of_the_geometry_decodes_what_needs_no_tables() {
    let geometry = geometry();
    let block = block(&geometry, 9);
    let plain = codec(&geometry, &CodecChoice::RAW);
    for kind in kinds() {
        let choice = CodecChoice {
            trellis_states: 64,
            key_mean: true,
            ..CodecChoice::all(kind)
        };
        let codec = codec(&geometry, &choice);
        let code = encode(&codec, &block, 0);
        assert!(decode(&plain, &code) == decode(&codec, &code), "{kind:?}");
        assert!(decode(&plain, &code).is_ok());
    }
}

#[test]
fn too_little_room_is_refused_and_just_enough_is_enough() {
    let geometry = geometry();
    let block = block(&geometry, 10);
    for kind in kinds() {
        let codec = codec(&geometry, &CodecChoice::all(kind));
        let code = encode(&codec, &block, 0);
        let mut work = scratch_of(&codec);
        for bytes in (0..200).chain(code.len() - 200..code.len()) {
            let mut room = vec![0; bytes];
            let scratch = &mut Scratch::new(&mut work);
            let answer = codec.encode(&block, 0, CodecKind::Raw, &mut room, scratch);
            assert_eq!(answer, Err(Status::TooSmall), "{kind:?} {bytes}");
        }
        let mut room = vec![0; code.len()];
        // Wherever the scratch begins.
        let mut longer = vec![0; codec.scratch_bytes() + 64];
        for skip in [0, 1, 33, 63] {
            let scratch = &mut Scratch::new(&mut longer[skip..skip + codec.scratch_bytes()]);
            let answer = codec.encode(&block, 0, CodecKind::Raw, &mut room, scratch);
            assert_eq!(answer, Ok(code.len()), "{kind:?}");
            assert!(room == code);
            let mut decoded = vec![0; block.len()];
            let scratch = &mut Scratch::new(&mut longer[skip..skip + codec.scratch_bytes()]);
            assert!(codec.decode(&code, &mut decoded, scratch).is_ok());
            let scratch = &mut Scratch::new(&mut longer[skip..skip + codec.scratch_bytes()]);
            let mut memory = vec![0; code.len().max(block.len())];
            let from = memory.len() - code.len();
            memory[from..].copy_from_slice(&code);
            assert!(codec.decode_within(&mut memory, code.len(), scratch, |_| {}).is_ok());
        }
        let scratch = &mut Scratch::new(&mut work[..geometry.plane_bytes() / 2]);
        let answer = codec.encode(&block, 0, CodecKind::Raw, &mut room, scratch);
        assert_eq!(answer, Err(Status::TooSmall), "{kind:?}");
    }
    let codec = codec(&geometry, &CodecChoice::RAW);
    let mut work = scratch_of(&codec);
    let mut room = vec![0; codec.code_bytes_max()];
    for bytes in [0, block.len() - 1] {
        let scratch = &mut Scratch::new(&mut work);
        let answer = codec.encode(&block[..bytes], 0, CodecKind::Raw, &mut room, scratch);
        assert_eq!(answer, Err(Status::Argument));
        let code = encode(&codec, &block, 0);
        let mut short = vec![0; bytes];
        let answer = codec.decode(&code, &mut short, &mut Scratch::new(&mut work));
        assert_eq!(answer, Err(Status::Argument));
    }
}

#[test]
fn facts_are_those_of_the_codes() {
    let geometry = geometry();
    let block = block(&geometry, 15);
    let elements = (geometry.block_bytes() / 2) as u64;
    for kind in CodecKind::ALL {
        let choice = CodecChoice {
            xc_millibits: 3000,
            ..CodecChoice::all(kind)
        };
        let Ok(facts) = BlockCodecFacts::new(&geometry, &choice) else {
            assert!(kind == CodecKind::Lz && !cfg!(feature = "zstd"));
            continue;
        };
        assert_eq!(
            (facts.needs_tables, facts.is_exact),
            (kind.needs_tables(), kind.is_exact())
        );
        assert_eq!(facts.is_fixed_rate, !matches!(kind, CodecKind::Lz | CodecKind::Xc));
        assert_eq!(facts.error_nominal_permille, kind.error_nominal_permille());
        assert_eq!(facts.block_bytes, geometry.block_bytes());
        if kind.needs_tables() {
            continue;
        }
        let codec = codec(&geometry, &choice);
        assert_eq!(facts.code_bytes_max, codec.code_bytes_max());
        assert_eq!(facts.scratch_bytes, codec.scratch_bytes());
        let bytes = encode(&codec, &block, 0).len() as u64;
        let millibits = (bytes * 8000).div_ceil(elements);
        assert!(if facts.is_fixed_rate {
            facts.millibits == millibits
        } else {
            facts.millibits >= millibits
        });
    }
    // The directory counts: 32 bytes and 8 for each of 6 planes, over 6144 elements.
    let xc = CodecChoice {
        xc_millibits: 3000,
        ..CodecChoice::all(CodecKind::Xc)
    };
    assert_eq!(BlockCodecFacts::new(&geometry, &xc).unwrap().millibits, 3000 + 105);
    // Exact layers count, exact tokens do not.
    let choice = CodecChoice {
        exact_layers_last: 1,
        exact_tokens: 4,
        ..CodecChoice::all(CodecKind::F8)
    };
    let facts = BlockCodecFacts::new(&geometry, &choice).unwrap();
    assert_eq!(facts.millibits, (2 * 8000 + 16000_u64).div_ceil(3) + 104);
    let worst = CodecChoice {
        key: CodecKind::T3,
        value: CodecKind::I8,
        ..CodecChoice::RAW
    };
    assert_eq!(
        BlockCodecFacts::new(&geometry, &worst).unwrap().error_nominal_permille,
        143
    );
    let wrong = CodecChoice {
        trellis_states: 65,
        ..CodecChoice::RAW
    };
    assert_eq!(
        BlockCodecFacts::new(&geometry, &wrong).unwrap_err().field,
        "trellis_states"
    );
}
