//! The lossless codec takes no memory from the C library either.
//!
//! Zstandard is written in C, so the allocator of Rust does not see what it takes. Here `malloc` itself is replaced by
//! one that counts, for the whole program.
#![cfg(all(feature = "zstd", target_os = "linux", target_env = "gnu"))]

use kvcache::codec::{CodecChoice, CodecKind, Isa, Plane, PlaneCodec, Scratch, code_bytes_max, scratch_bytes};
use kvcache::geometry::{Dtype, PlaneShape};
use std::cell::Cell;
use std::ffi::c_void;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    CALLS.with(|calls| calls.set(calls.get() + 1));
}

unsafe extern "C" {
    fn __libc_malloc(bytes: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, bytes: usize) -> *mut c_void;
    fn __libc_realloc(memory: *mut c_void, bytes: usize) -> *mut c_void;
    fn __libc_free(memory: *mut c_void);
}

#[unsafe(no_mangle)]
extern "C" fn malloc(bytes: usize) -> *mut c_void {
    count();
    // SAFETY: the C library's own, under its other name.
    unsafe { __libc_malloc(bytes) }
}

#[unsafe(no_mangle)]
extern "C" fn calloc(elements: usize, bytes: usize) -> *mut c_void {
    count();
    // SAFETY: the C library's own, under its other name.
    unsafe { __libc_calloc(elements, bytes) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(memory: *mut c_void, bytes: usize) -> *mut c_void {
    count();
    // SAFETY: the C library's own, under its other name.
    unsafe { __libc_realloc(memory, bytes) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(memory: *mut c_void) {
    count();
    // SAFETY: the C library's own, under its other name.
    unsafe { __libc_free(memory) }
}

/// Calls that this thread makes during `work`.
fn calls_of(work: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

#[test]
fn zstandard_takes_nothing() {
    let shape = PlaneShape {
        dtype: Dtype::Bf16,
        tokens: 600,
        heads: 8,
        dim: 128,
    };
    let plane = Plane {
        shape,
        layer: 0,
        plane: 0,
        position: 0,
    };
    let mut state = 1_u64;
    let mut input: Vec<u8> = (0..shape.elements())
        .flat_map(|_| {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            ((state >> 48) as u16 & 0x83FF | 0x3C00).to_le_bytes()
        })
        .collect();
    let mut code = vec![0; code_bytes_max(CodecKind::Lz, &shape)];
    let mut memory = vec![0; scratch_bytes(CodecKind::Lz, &shape)];
    let mut output = vec![0; input.len()];
    for isa in Isa::all() {
        let codec = PlaneCodec::new(CodecKind::Lz, &CodecChoice::RAW, &shape, None, isa).expect("a plane for lz");
        for repeated in [false, true] {
            if repeated {
                let (first, rest) = input.split_at_mut(4096);
                rest.chunks_exact_mut(4096)
                    .for_each(|chunk| chunk.copy_from_slice(first));
            }
            let mut scratch = Scratch::new(&mut memory);
            let calls = calls_of(|| {
                for _ in 0..3 {
                    let length = codec.encode(&plane, &input, &mut code, &mut scratch).expect("a code");
                    assert!(length < input.len());
                    codec
                        .decode(&plane, &code[..length], &mut output, &mut scratch)
                        .expect("a plane");
                    let cut = codec.decode(&plane, &code[..length / 2], &mut output, &mut scratch);
                    assert!(cut.is_err());
                }
            });
            assert_eq!(calls, 0, "{}", isa.name());
        }
    }
}

/// The count is a count: a context that is not static takes memory, and it is seen.
#[test]
fn what_zstandard_takes_would_be_seen() {
    assert!(calls_of(|| drop(zstd_safe::CCtx::create())) >= 2);
    assert!(calls_of(|| drop(vec![0_u8; 100])) >= 2);
}
