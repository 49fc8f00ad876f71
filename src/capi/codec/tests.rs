//! Configurations and refusals, seen from C.

use super::*;
use crate::capi::growable::{Growable, zeroed};
use crate::capi::*;
use crate::codec::{CodecChoice, LayerCodec};
use core::ffi::CStr;
use core::ptr::null_mut;
use std::string::String;
use std::vec;

fn geometry() -> kvc_geometry_t {
    kvc_geometry_t {
        struct_size: size_of::<kvc_geometry_t>() as u64,
        layers_count: 2,
        kv_heads_count: 2,
        head_dim: 64,
        tokens_per_block: 4,
        dtype: KVC_DTYPE_F16,
        ..zeroed()
    }
}

fn config(geometry: &kvc_geometry_t) -> kvc_codec_config_t {
    kvc_codec_config_t {
        struct_size: size_of::<kvc_codec_config_t>() as u64,
        geometry,
        ..zeroed()
    }
}

fn sized<T: Growable>() -> T {
    let mut value: T = zeroed();
    // SAFETY: every growable struct begins with its size.
    unsafe { (&raw mut value).cast::<u64>().write(size_of::<T>() as u64) };
    value
}

/// The status and the field of a refusal.
fn refused(config: &kvc_codec_config_t) -> (kvc_status_t, String) {
    let mut error: kvc_error_t = sized();
    let mut codec = null_mut();
    // SAFETY: everything is there, here and below.
    let status = unsafe { kvc_codec_open(config, &raw mut codec, &raw mut error) };
    assert!(codec.is_null() && error.status == i64::from(status));
    // SAFETY: the library ends its texts.
    let field = unsafe { CStr::from_ptr(error.field.as_ptr()) };
    (status, field.to_str().unwrap().into())
}

#[test]
fn codecs_are_the_same_numbers_and_names_in_c() {
    let numbers = [
        KVC_CODEC_RAW,
        KVC_CODEC_LZ,
        KVC_CODEC_F8,
        KVC_CODEC_I8,
        KVC_CODEC_N4,
        KVC_CODEC_T4,
        KVC_CODEC_T3,
        KVC_CODEC_T2,
        KVC_CODEC_VQ,
        KVC_CODEC_XC,
    ];
    assert_eq!(numbers.len(), KVC_CODECS_COUNT as usize);
    for (number, kind) in numbers.into_iter().zip(CodecKind::ALL) {
        assert_eq!(number, kind as u64);
        // SAFETY: lent for as long as the program runs.
        let name = unsafe { CStr::from_ptr(kvc_codec_name(number)) };
        assert_eq!(name.to_str(), Ok(kind.name()));
    }
    for number in [10, u64::MAX] {
        // SAFETY: as above.
        assert_eq!(unsafe { CStr::from_ptr(kvc_codec_name(number)) }, c"unknown");
    }
}

#[test]
fn zeros_are_the_defaults_and_fields_arrive_where_they_belong() {
    let geometry = geometry();
    let mut config = config(&geometry);
    assert_eq!(config.choice(), Ok(CodecChoice::RAW));
    (config.codec_key, config.codec_value) = (KVC_CODEC_T4, KVC_CODEC_I8);
    (config.exact_tokens, config.exact_layers_first, config.exact_layers_last) = (1, 2, 3);
    (config.trellis_states, config.key_mean, config.xc_millibits) = (64, 1, 1660);
    (config.error_max_permille, config.layers_count) = (4, 2);
    let layer = |layer_first, layer_last, codec_key, codec_value| kvc_codec_layer_t {
        layer_first,
        layer_last,
        codec_key,
        codec_value,
    };
    config.layers[0] = layer(5, 6, 7, 1);
    config.layers[1] = layer(1023, 1023, 2, 9);
    // Beyond `layers_count` nothing is looked at.
    config.layers[2] = layer(9, 1, 99, 99);
    let mut layers = [None; 8];
    layers[0] = Some(LayerCodec {
        layer_first: 5,
        layer_last: 6,
        key: CodecKind::T2,
        value: CodecKind::Lz,
    });
    layers[1] = Some(LayerCodec {
        layer_first: 1023,
        layer_last: 1023,
        key: CodecKind::F8,
        value: CodecKind::Xc,
    });
    let expected = CodecChoice {
        key: CodecKind::T4,
        value: CodecKind::I8,
        layers,
        exact_tokens: 1,
        exact_layers_first: 2,
        exact_layers_last: 3,
        trellis_states: 64,
        key_mean: true,
        xc_millibits: 1660,
        error_max_permille: 4,
    };
    assert_eq!(config.choice(), Ok(expected));
}

#[test]
fn each_field_out_of_its_range_is_named() {
    type Change = fn(&mut kvc_codec_config_t);
    let bad: [(&str, Change); 14] = [
        ("codec_key", |c| c.codec_key = 10),
        ("codec_value", |c| c.codec_value = u64::MAX),
        ("exact_tokens", |c| c.exact_tokens = 65536),
        ("exact_layers_first", |c| c.exact_layers_first = 1025),
        ("exact_layers_last", |c| c.exact_layers_last = 1025),
        ("trellis_states", |c| c.trellis_states = 128),
        ("key_mean", |c| c.key_mean = 2),
        ("xc_millibits", |c| c.xc_millibits = 499),
        ("error_max_permille", |c| c.error_max_permille = 1001),
        ("layers_count", |c| c.layers_count = 9),
        ("layer_first", |c| (c.layers_count, c.layers[0].layer_first) = (1, 1024)),
        ("layer_last", |c| {
            (c.layers_count, c.layers[7].layer_last) = (8, 1 << 16)
        }),
        ("codec_value", |c| (c.layers_count, c.layers[0].codec_value) = (1, 10)),
        ("codec_tables", |c| c.codec_key = KVC_CODEC_XC),
    ];
    let geometry = geometry();
    for (field, change) in bad {
        let mut config = config(&geometry);
        change(&mut config);
        assert_eq!(refused(&config), (Status::Config.code(), field.into()));
    }
    let mut reversed = config(&geometry);
    (reversed.layers_count, reversed.layers[0].layer_first) = (1, 3);
    assert_eq!(refused(&reversed), (Status::Conflict.code(), "layer_last".into()));
    let mut narrow = geometry;
    narrow.head_dim = 8;
    let mut config = config(&narrow);
    config.codec_value = KVC_CODEC_I8;
    assert_eq!(refused(&config), (Status::Config.code(), "head_dim".into()));
    narrow.head_dim = 0;
    let config = super::tests::config(&narrow);
    assert_eq!(refused(&config), (Status::Config.code(), "head_dim".into()));
}

#[test]
fn a_block_goes_through_and_handles_are_checked() {
    let geometry = geometry();
    let config = config(&geometry);
    let mut facts: kvc_codec_description_t = sized();
    let mut info: kvc_codec_info_t = sized();
    let mut codec = null_mut();
    let block = [0x3C_u8; 2 * 2 * 2 * 64 * 4 * 2];
    let mut bytes = 0;
    // SAFETY: everything is there and as long as it says.
    unsafe {
        assert_eq!(kvc_codec_describe(&raw const config, &raw mut facts, null_mut()), 0);
        assert_eq!((facts.block_bytes, facts.code_bytes_max), (4096, 4096 + 32 + 4 * 8));
        assert_eq!((facts.fixed_rate, facts.exact, facts.tables_needed), (1, 1, 0));
        assert_eq!(kvc_codec_open(&raw const config, &raw mut codec, null_mut()), 0);
        let mut code = vec![0_u8; facts.code_bytes_max as usize];
        let mut scratch = vec![0_u8; facts.scratch_bytes as usize];
        let (work, work_bytes) = (scratch.as_mut_ptr().cast(), facts.scratch_bytes);
        let capacity = facts.code_bytes_max;
        let source = block.as_ptr().cast();
        let encode = |codec, before, target: *mut u8, bytes_out| {
            let target = target.cast();
            kvc_codec_encode(
                codec, source, 4096, 7, before, target, capacity, work, work_bytes, bytes_out,
            )
        };
        let target = code.as_mut_ptr();
        assert_eq!(encode(codec, 10, target, &raw mut bytes), Status::Argument.code());
        assert_eq!(encode(codec, 0, null_mut(), &raw mut bytes), Status::Null.code());
        assert_eq!(encode(codec, 0, target, null_mut()), Status::Null.code());
        let elsewhere = codec.wrapping_byte_add(8);
        assert_eq!(encode(elsewhere, 0, target, &raw mut bytes), Status::Handle.code());
        assert_eq!(encode(null_mut(), 0, target, &raw mut bytes), Status::Null.code());
        assert_eq!(bytes, 0);
        assert_eq!(encode(codec, KVC_CODEC_T3, target, &raw mut bytes), 0);
        let source = code.as_ptr().cast();
        assert_eq!(kvc_codec_inspect(codec, source, bytes, &raw mut info), 0);
        assert_eq!(
            (info.codec, info.codec_before, info.position),
            (KVC_CODEC_RAW, KVC_CODEC_T3, 7)
        );
        let mut decoded = [0_u8; 4096];
        let target = decoded.as_mut_ptr().cast();
        assert_eq!(
            kvc_codec_decode(codec, source, bytes, target, 4096, work, work_bytes),
            0
        );
        assert!(decoded == block);
        let cut = kvc_codec_decode(codec, source, bytes - 1, target, 4096, work, work_bytes);
        assert_eq!(cut, Status::Damaged.code());
        assert_eq!(kvc_codec_close(codec), 0);
        assert_eq!(kvc_codec_close(codec), Status::Handle.code());
        assert_eq!(
            kvc_codec_inspect(codec, source, bytes, &raw mut info),
            Status::Handle.code()
        );
    }
}

#[test]
fn samples_that_make_no_sense_are_refused_with_their_field() {
    use crate::capi::{KVC_ROPE_HALF, kvc_codec_samples_t, kvc_codec_train};
    let keys = vec![0_u8; 256 * 32 * 2];
    let pointers = [keys.as_ptr().cast(); 2];
    let good = kvc_codec_samples_t {
        dtype: KVC_DTYPE_F16,
        layers_count: 2,
        kv_heads_count: 1,
        head_dim: 32,
        tokens_count: 256,
        keys: pointers.as_ptr(),
        values: pointers.as_ptr(),
        ..sized()
    };
    let mut bytes = 0;
    let mut trained = |samples: &kvc_codec_samples_t| {
        let mut error: kvc_error_t = sized();
        // SAFETY: everything is there and as long as it says.
        let status = unsafe { kvc_codec_train(samples, null_mut(), 0, &raw mut bytes, &raw mut error) };
        // SAFETY: the library ends its texts.
        let field = unsafe { CStr::from_ptr(error.field.as_ptr()) };
        (
            Status::from_code(status).unwrap(),
            String::from(field.to_str().unwrap()),
        )
    };
    assert_eq!(trained(&good), (Status::TooSmall, String::new()));
    type Change = fn(&mut kvc_codec_samples_t);
    let bad: [(&str, Change); 14] = [
        ("dtype", |s| s.dtype = 1),
        ("layers_count", |s| s.layers_count = 0),
        ("layers_count", |s| s.layers_count = 1025),
        ("kv_heads_count", |s| s.kv_heads_count = 0),
        ("head_dim", |s| s.head_dim = 40),
        ("head_dim", |s| s.head_dim = 272),
        ("tokens_count", |s| s.tokens_count = 255),
        ("sequence_tokens_count", |s| s.sequence_tokens_count = 257),
        ("codecs", |s| s.codecs = 1),
        ("rope", |s| s.rope = 4),
        ("rope_theta", |s| s.rope = KVC_ROPE_HALF),
        ("rope_theta", |s| (s.rope, s.rope_theta) = (KVC_ROPE_HALF, f64::NAN)),
        ("rope_dim", |s| {
            (s.rope, s.rope_theta, s.rope_dim) = (KVC_ROPE_HALF, 1e4, 34)
        }),
        ("rope_dim", |s| {
            (s.rope, s.rope_theta, s.rope_dim) = (KVC_ROPE_HALF, 1e4, 31)
        }),
    ];
    for (field, change) in bad {
        let mut samples = good;
        change(&mut samples);
        assert_eq!(trained(&samples), (Status::Config, field.into()));
    }
    let missing = kvc_codec_samples_t {
        keys: core::ptr::null(),
        ..good
    };
    assert_eq!(trained(&missing).0, Status::Null);
    let mut most = 0;
    // SAFETY: as above.
    let status = unsafe { kvc_codec_train_bytes_max(&raw const good, &raw mut most, null_mut()) };
    assert!(status == 0 && most > 0);
}
