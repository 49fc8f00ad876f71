//! Elements: whatever they are, a block is encoded into no more than was promised and decoded to finite elements, the
//! same every time and with every set of instructions; and in place it is the same, too.
#![no_main]

mod codecs;
mod input;

use codecs::{assert_finite, choice, geometry, kind_built, tables};
use input::Input;
use kvcache::codec::{BlockCodec, CodecChoice, CodecKind, Isa, Scratch};
use libfuzzer_sys::fuzz_target;

/// Elements: the input itself, with runs and with ones that are all alike.
fn elements(input: &mut Input<'_>, bytes: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(bytes + 512);
    while block.len() < bytes {
        let (kind, count) = (input.byte(), 1 + usize::from(input.byte()));
        let element = [input.byte(), input.byte()];
        match kind % 4 {
            0 => block.extend(element.repeat(count)),
            1 => block.extend((0..count as u16).flat_map(|at| {
                let bits = u16::from_le_bytes(element).wrapping_add(at.wrapping_mul(257));
                bits.to_le_bytes()
            })),
            2 => {
                let nasty = [0_u16, 0x8000, 0x7C00, 0xFC00, 0x7E01, 0x7F80, 0xFFC0, 1, 0x7BFF, 0x7F7F];
                block.extend(nasty[usize::from(element[0]) % nasty.len()].to_le_bytes().repeat(count));
            }
            _ => block.extend((0..2 * count).map(|_| input.byte())),
        }
    }
    block.truncate(bytes);
    block
}

fuzz_target!(init: { tables(&geometry(0)); }, |data: &[u8]| {
    let mut input = Input(data);
    let geometry = geometry(input.byte());
    let mut choice = choice(&mut input);
    (choice.key, choice.value) = {
        let mut kind = || CodecKind::ALL[usize::from(input.byte()) % CodecKind::ALL.len()];
        (kind(), kind())
    };
    if !kind_built(choice.key) || !kind_built(choice.value) {
        return;
    }
    let position = input.number();
    let block = elements(&mut input, geometry.block_bytes());
    let mut oracle = None;
    for isa in Isa::all() {
        let codec = BlockCodec::new(&geometry, &choice, Some(tables(&geometry)), isa).expect("it fits");
        let mut code = vec![0; codec.code_bytes_max()];
        let mut memory = vec![input.byte(); codec.scratch_bytes()];
        let scratch = &mut Scratch::new(&mut memory);
        let bytes = codec
            .encode(&block, position, CodecKind::Raw, &mut code, scratch)
            .expect("there is room for every block");
        code.truncate(bytes);
        let mut decoded = vec![0xEE; block.len()];
        let info = codec.decode(&code, &mut decoded, scratch).expect("just encoded");
        assert_eq!(
            info.exact_tokens as u64,
            choice
                .exact_tokens
                .saturating_sub(position)
                .min(geometry.shape().tokens_per_block)
        );
        let kind = |plane: usize| {
            if plane.is_multiple_of(2) {
                choice.key
            } else {
                choice.value
            }
        };
        let entry = |plane: usize| code[32 + 8 * plane + 4];
        assert_finite(
            &geometry,
            &decoded,
            |plane| entry(plane) > CodecKind::Lz as u8,
            info.exact_tokens,
        );
        let planes = block
            .chunks_exact(geometry.plane_bytes())
            .zip(decoded.chunks_exact(geometry.plane_bytes()));
        for (number, (plane, decoded)) in planes.enumerate() {
            let exact_bytes = info.exact_tokens * geometry.token_bytes();
            assert_eq!(plane[..exact_bytes], decoded[..exact_bytes]);
            assert!(!kind(number).is_exact() || plane == decoded);
        }
        // In place, by a codec that knows nothing of the choice.
        let other = BlockCodec::new(&geometry, &CodecChoice::RAW, Some(tables(&geometry)), isa).expect("it fits");
        let mut memory = vec![0; code.len().max(block.len())];
        let mut work = vec![0; codec.scratch_bytes()];
        let start = memory.len() - code.len();
        memory[start..].copy_from_slice(&code);
        other
            .decode_within(&mut memory, code.len(), &mut Scratch::new(&mut work), |_| {})
            .expect("just encoded");
        assert!(memory[..block.len()] == decoded);
        let first = oracle.get_or_insert_with(|| (code.clone(), decoded.clone()));
        assert!(*first == (code, decoded), "{} differs", isa.name());
    }
});
