//! Tables: whatever bytes are given as tables, they are refused or their sections lie within them, and codecs that take
//! them encode and decode without reading out of bounds. The checksum is made right, or nothing would get past it.
#![no_main]

mod codecs;
mod input;

use codecs::{geometry, tables};
use input::Input;
use kvcache::codec::{BlockCodec, CodecChoice, CodecKind, Isa, Scratch, Tables};
use kvcache::layout::Geometry;
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::Xxh3;

/// Lines of memory.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// Calls with the bytes at a multiple of 64, nothing behind them.
fn aligned(bytes: &[u8], body: impl FnOnce(&[u8])) {
    let lines = vec![Line([0; 64]); bytes.len().div_ceil(64)];
    let mut lines = std::mem::ManuallyDrop::new(lines);
    let pointer = lines.as_mut_ptr().cast::<u8>();
    // SAFETY: the lines have at least as many bytes; nobody else has them.
    let place = unsafe { std::slice::from_raw_parts_mut(pointer, bytes.len()) };
    place.copy_from_slice(bytes);
    body(place);
    drop(std::mem::ManuallyDrop::into_inner(lines));
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() >= 128 {
        let length = bytes.len() as u64;
        bytes[8..16].copy_from_slice(&length.to_le_bytes());
        let mut hasher = Xxh3::new();
        hasher.update(&bytes[..120]);
        hasher.update(&bytes[128..]);
        bytes[120..128].copy_from_slice(&hasher.digest().to_le_bytes());
    }
    bytes
}

/// Encodes and decodes with tables that are what they like; answers are errors or numbers.
fn used(geometry: &Geometry, opened: Tables<'_>, kind: CodecKind) {
    let mut oracle = None;
    for isa in Isa::all() {
        let choice = CodecChoice::all(kind);
        let Ok(codec) = BlockCodec::new(geometry, &choice, Some(opened), isa) else {
            return;
        };
        let block: Vec<u8> = (0..geometry.block_bytes()).map(|at| (at * 7) as u8 & 0x3F).collect();
        let (mut code, mut memory) = (vec![0; codec.code_bytes_max()], vec![0; codec.scratch_bytes()]);
        let scratch = &mut Scratch::new(&mut memory);
        let encoded = codec.encode(&block, 3, CodecKind::Raw, &mut code, scratch);
        let mut decoded = vec![0; block.len()];
        if let Ok(bytes) = encoded
            && codec.decode(&code[..bytes], &mut decoded, scratch).is_ok()
        {
            codecs::assert_finite(
                geometry,
                &decoded,
                |plane| code[32 + 8 * plane + 4] > CodecKind::Lz as u8,
                0,
            );
        }
        let result = encoded.map(|bytes| (code[..bytes].to_vec(), decoded));
        let first = oracle.get_or_insert_with(|| result.clone());
        assert!(*first == result, "{kind:?} {} differs", isa.name());
    }
}

fuzz_target!(init: { tables(&geometry(0)); }, |data: &[u8]| {
    let mut input = Input(data);
    let geometry = geometry(input.byte());
    let (kind, mode) = (input.byte(), input.byte());
    let kind = if kind.is_multiple_of(2) {
        CodecKind::Vq
    } else {
        CodecKind::Xc
    };
    let bytes = if mode % 4 == 0 {
        input.0.to_vec()
    } else {
        // Good tables with a few bytes changed, the first ones more often.
        let mut bytes = tables(&geometry).bytes().to_vec();
        for _ in 0..1 + mode / 16 {
            let at = input.word() as usize;
            let range = if input.byte().is_multiple_of(2) {
                1024
            } else {
                usize::MAX
            };
            let length = bytes.len();
            bytes[at % length.min(range)] = input.byte();
        }
        bytes
    };
    let bytes = if mode % 8 == 7 { bytes } else { sealed(bytes) };
    aligned(&bytes, |bytes| {
        if let Ok(opened) = Tables::open(bytes) {
            assert_eq!(opened.info().bytes, bytes.len() as u64);
            used(&geometry, opened, kind);
        }
    });
});
