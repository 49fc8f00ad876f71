//! Codes: whatever bytes are given as the code of a block or of a plane, the answer is an error or finite elements, the
//! same for every set of instructions, and nothing is read or written out of bounds.
//!
//! Codes lie in memory of exactly their length, so that the address sanitizer sees one byte read behind them.
#![no_main]

mod codecs;
mod input;

use codecs::{assert_finite, choice, geometry, kind_built, tables};
use input::Input;
use kvcache::Status;
use kvcache::codec::{
    BlockCodec, CodecChoice, CodecKind, Isa, Plane, PlaneCodec, Scratch, code_bytes_max, scratch_bytes,
};
use libfuzzer_sys::fuzz_target;

/// The rest of the input, made long enough by repeating it.
fn stretched(input: &Input<'_>, bytes: usize) -> Vec<u8> {
    input.0.iter().copied().chain([0]).cycle().take(bytes).collect()
}

/// A code whose directory is right and whose planes are anything.
fn with_directory(input: &mut Input<'_>, codec: &BlockCodec<'_>) -> Vec<u8> {
    let shape = codec.geometry().plane_shape();
    let planes = codec.planes_count();
    let exact_tokens = usize::from(input.byte()) % (shape.tokens + 2);
    let mut code = vec![0; 32 + 8 * planes];
    code[..4].copy_from_slice(&[b'K', b'B', 1, input.byte() % 11]);
    code[4..8].copy_from_slice(&(planes as u32).to_le_bytes());
    code[8..12].copy_from_slice(&(exact_tokens as u32).to_le_bytes());
    code[16..24].copy_from_slice(&input.number().to_le_bytes());
    code[24..32].copy_from_slice(&tables(codec.geometry()).info().digest.to_le_bytes());
    let mut total = 0;
    for plane in 0..planes {
        let kind = input.byte() % 10;
        let rest = kvcache::geometry::PlaneShape {
            tokens: shape.tokens.saturating_sub(exact_tokens),
            ..shape
        };
        let most = CodecKind::from_code(kind.into()).map_or(0, |kind| code_bytes_max(kind, &rest));
        let exact_bytes = (shape.bytes() - rest.bytes()).min(shape.bytes());
        // Mostly the length that codes of a fixed rate have.
        let length = match input.byte() {
            0..=199 => exact_bytes + most.min(rest.bytes()),
            other => exact_bytes + most * usize::from(other - 200) / 60,
        };
        let at = 32 + 8 * plane;
        code[at..at + 4].copy_from_slice(&(length as u32).to_le_bytes());
        (code[at + 4], code[at + 5]) = (kind, input.byte() % 5);
        total += length;
    }
    code.extend(stretched(input, total));
    code
}

fn block(input: &mut Input<'_>) {
    let geometry = geometry(input.byte());
    let tables = tables(&geometry);
    let codec = |isa| BlockCodec::new(&geometry, &CodecChoice::all(CodecKind::Vq), Some(tables), isa).expect("it fits");
    let code = if input.byte().is_multiple_of(4) {
        input.0.to_vec()
    } else {
        with_directory(input, &codec(Isa::Portable))
    }
    .into_boxed_slice();
    let layer = usize::from(input.byte()) % geometry.shape().layers_count as usize;
    let mut oracle = None;
    for isa in Isa::all() {
        let codec = codec(isa);
        let mut memory = vec![0; codec.scratch_bytes()];
        let mut output = vec![0xEE; geometry.block_bytes()];
        let scratch = &mut Scratch::new(&mut memory);
        let inspected = codec.inspect(&code);
        let answer = codec.decode(&code, &mut output, scratch);
        let mut alone = vec![0xEE; geometry.layer_bytes()];
        let layer_answer = codec.decode_layer(&code, layer, &mut alone, scratch);
        match answer {
            Ok(info) => {
                assert_eq!((inspected, layer_answer), (Ok(info), Ok(info)));
                assert_eq!(alone, output[geometry.layer_range(layer)]);
                assert_finite(
                    &geometry,
                    &output,
                    |plane| {
                        let kind = code[32 + 8 * plane + 4];
                        kind > CodecKind::Lz as u8
                    },
                    info.exact_tokens,
                );
            }
            Err(status) => assert!(
                [Status::Damaged, Status::Unsupported].contains(&status),
                "{status} {}",
                isa.name()
            ),
        }
        let result = answer.map(|info| (info, output));
        let first = oracle.get_or_insert_with(|| result.clone());
        assert!(*first == result, "{} differs", isa.name());
    }
}

fn plane(input: &mut Input<'_>) {
    let geometry = geometry(input.byte());
    let kind = CodecKind::ALL[usize::from(input.byte()) % CodecKind::ALL.len()];
    if !kind_built(kind) {
        return;
    }
    let choice = choice(input);
    let shape = geometry.plane_shape();
    let plane = Plane {
        shape,
        layer: usize::from(input.byte()) % geometry.shape().layers_count as usize,
        plane: usize::from(input.byte() % 2),
        position: input.number(),
    };
    let length = match input.byte() {
        0..=99 => code_bytes_max(kind, &shape),
        _ => (input.number() as usize).min(code_bytes_max(kind, &shape) + 1),
    };
    let code = stretched(input, length).into_boxed_slice();
    let mut oracle = None;
    for isa in Isa::all() {
        let codec = PlaneCodec::new(kind, &choice, &shape, Some(tables(&geometry)), isa).expect("it fits");
        let mut memory = vec![0; scratch_bytes(kind, &shape) + 64];
        let mut output = vec![0xEE; shape.bytes()];
        let answer = codec.decode(&plane, &code, &mut output, &mut Scratch::new(&mut memory));
        if answer.is_ok() && !kind.is_exact() {
            codecs::assert_plane_finite(shape.dtype, &output);
        }
        assert!(
            answer != Err(Status::TooSmall) && answer != Err(Status::Argument),
            "{answer:?}"
        );
        let result = answer.map(|()| output);
        let first = oracle.get_or_insert_with(|| result.clone());
        assert!(*first == result, "{kind:?} {} differs", isa.name());
    }
}

fuzz_target!(init: { tables(&geometry(0)); }, |data: &[u8]| {
    let mut input = Input(data);
    if input.byte().is_multiple_of(2) {
        block(&mut input);
    } else {
        plane(&mut input);
    }
});
