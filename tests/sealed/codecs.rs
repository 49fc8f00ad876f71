//! The codecs under the sealed allocator.

use super::*;

/// The memory that a thread encodes and decodes in.
struct CodecDesk {
    code: Vec<u8>,
    decoded: Vec<u8>,
    scratch: Vec<u8>,
}

/// Codecs for all kinds that this build has, in all sets of instructions.
fn codecs(geometry: &Geometry) -> Vec<BlockCodec<'static>> {
    let tables = codec_tables(geometry);
    let mut codecs = Vec::new();
    for kind in CodecKind::ALL {
        let choice = CodecChoice {
            exact_tokens: 2,
            ..CodecChoice::all(kind)
        };
        if kind.needs_tables() && tables.is_none() {
            continue;
        }
        for isa in Isa::all() {
            codecs.push(BlockCodec::new(geometry, &choice, tables, isa).expect("every codec takes this geometry"));
        }
    }
    codecs
}

/// Elements as keys and values could be.
fn elements(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut element = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (0x3800 | (state >> 40 & 0x87FF) as u16).to_le_bytes()
    };
    (0..bytes / 2).flat_map(|_| element()).collect()
}

#[cfg(not(feature = "train"))]
fn codec_tables(_: &Geometry) -> Option<Tables<'static>> {
    None
}

#[cfg(feature = "train")]
fn codec_tables(geometry: &Geometry) -> Option<Tables<'static>> {
    use kvcache::codec::Rope;
    use kvcache::codec::train::{Samples, train};

    let shape = geometry.shape();
    let row_bytes = (shape.kv_heads_count * shape.head_dim * 2) as usize;
    let plane = elements(512 * row_bytes);
    let samples = Samples {
        dtype: shape.dtype,
        heads: shape.kv_heads_count as usize,
        dim: shape.head_dim as usize,
        sequence_tokens: 512,
        layers: vec![[&plane[..], &plane[..]]; shape.layers_count as usize],
        rope: Some(Rope::NONE),
    };
    let trained = train(&samples, &[CodecKind::Vq, CodecKind::Xc]).expect("the samples are good");
    let room = vec![0; trained.len() + 64].leak();
    let skip = room.as_ptr().align_offset(64);
    let target = &mut room[skip..skip + trained.len()];
    target.copy_from_slice(&trained);
    Some(Tables::open(target).expect("just trained"))
}

pub fn run_sealed_codecs() {
    let geometry = Geometry::new(&Shape {
        layers_count: 2,
        planes_count: 2,
        kv_heads_count: 2,
        head_dim: 64,
        tokens_per_block: 8,
        dtype: Dtype::F16,
    })
    .expect("it is in range");
    let codecs = codecs(&geometry);
    let block = elements(geometry.block_bytes());
    let most = |bytes: fn(&BlockCodec<'static>) -> usize| codecs.iter().map(bytes).max().expect("there are some");
    let desks = [(); THREADS_COUNT as usize].map(|()| {
        Mutex::new(CodecDesk {
            code: vec![0; most(|codec| codec.code_bytes_max())],
            decoded: vec![0; geometry.block_bytes()],
            scratch: vec![0; most(|codec| codec.scratch_bytes())],
        })
    });
    let operations = sealed(THREADS_COUNT, |thread, desk| {
        let mut work = desks[thread as usize].lock().expect("no panics");
        let work = &mut *work;
        for position in 0..20 {
            for codec in &codecs {
                let scratch = &mut Scratch::new(&mut work.scratch);
                let bytes = codec.encode(&block, position, CodecKind::Raw, &mut work.code, scratch);
                let code = &work.code[..bytes.expect("there is room")];
                codec.decode(code, &mut work.decoded, scratch).expect("just encoded");
                let layer = &mut work.decoded[..geometry.layer_bytes()];
                codec.decode_layer(code, 1, layer, scratch).expect("just encoded");
                assert_eq!(codec.inspect(&code[..40]), Err(Status::Damaged));
                let refused = codec.decode(&code[..code.len() - 1], &mut work.decoded, scratch);
                assert_eq!(refused, Err(Status::Damaged));
                desk.operations += 5;
            }
        }
    });
    assert!(
        operations >= 20 * 5 * THREADS_COUNT * CodecKind::ALL.len() as u64 / 2,
        "{operations}"
    );
    println!("{operations} operations, {} codecs", codecs.len());
}
