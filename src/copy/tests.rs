//! Every copier against a loop over bytes.
//!
//! # Soundness
//! The invariants are those of the parent module; the buffers are the tests' own.

use super::*;
use std::format;
use std::vec;
use std::vec::Vec;

const GUARD: u8 = 0xA5;
const GUARD_BYTES: usize = 128;

/// The oracle.
fn copy_naive(source: &[u8], target: &mut [u8]) {
    for (byte, &value) in target.iter_mut().zip(source) {
        *byte = value;
    }
}

/// A buffer whose byte `offset` lies at an address that is 0 modulo 64.
struct Aligned {
    bytes: Vec<u8>,
    offset: usize,
}

impl Aligned {
    fn new(bytes: usize) -> Self {
        let bytes = vec![GUARD; bytes + 64];
        let offset = bytes.as_ptr().addr().wrapping_neg() % 64;
        Self { bytes, offset }
    }

    fn at(&mut self, first: usize, bytes: usize) -> &mut [u8] {
        &mut self.bytes[self.offset + first..][..bytes]
    }
}

/// Bytes that tell their place (a period that is prime to every power of two).
fn fill(bytes: &mut [u8]) {
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = (place % 251) as u8;
    }
}

fn check(copier: Copier, bytes: usize, source_shift: usize, target_shift: usize, temperature: Temperature) {
    let room = bytes + 64 + 2 * GUARD_BYTES;
    let (mut source, mut target, mut expected) = (Aligned::new(room), Aligned::new(room), Aligned::new(room));
    fill(source.at(0, room));
    let source = &*source.at(GUARD_BYTES + source_shift, bytes);
    copier.copy_slice(source, target.at(GUARD_BYTES + target_shift, bytes), temperature);
    copy_naive(source, expected.at(GUARD_BYTES + target_shift, bytes));
    assert!(
        target.at(0, room) == expected.at(0, room),
        "{} copies {bytes} bytes wrongly from {source_shift} to {target_shift} modulo 64, {temperature:?}",
        copier.name()
    );
}

/// The streaming path itself at every size, also those that `method` would not stream.
fn check_stream(copier: Copier, bytes: usize, source_shift: usize, target_shift: usize) {
    let room = bytes + 64 + 2 * GUARD_BYTES;
    let (mut source, mut target, mut expected) = (Aligned::new(room), Aligned::new(room), Aligned::new(room));
    fill(source.at(0, room));
    let source = &*source.at(GUARD_BYTES + source_shift, bytes);
    let slice = target.at(GUARD_BYTES + target_shift, bytes);
    match copier.stream {
        None => slice.copy_from_slice(source),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: I2, two slices of this length; I3, the fence follows.
        Some(Stream::Avx2(avx2)) => unsafe { avx2.stream(source.as_ptr(), slice.as_mut_ptr(), bytes) },
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: I2, two slices of this length; I3, the fence follows.
        Some(Stream::Avx512(avx512)) => unsafe { avx512.stream(source.as_ptr(), slice.as_mut_ptr(), bytes) },
    }
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    x86_64::fence();
    copy_naive(source, expected.at(GUARD_BYTES + target_shift, bytes));
    assert!(
        target.at(0, room) == expected.at(0, room),
        "{} streams {bytes} bytes wrongly from {source_shift} to {target_shift} modulo 64",
        copier.name()
    );
}

#[test]
fn every_small_size_at_changing_alignments() {
    let step = if cfg!(miri) { 97 } else { 1 };
    for copier in Copier::available() {
        for bytes in (0..=4100).step_by(step) {
            // 64 is prime to 5 and 11: over the sizes every pair of alignments comes up.
            for round in 0..4 {
                let (source_shift, target_shift) = ((bytes * 5 + round * 17) % 64, (bytes / 3 * 11 + round * 29) % 64);
                check(copier, bytes, source_shift, target_shift, Temperature::Cold);
                check_stream(copier, bytes, source_shift, target_shift);
            }
            check(copier, bytes, bytes % 64, 0, Temperature::Hot);
        }
    }
}

#[test]
fn every_alignment_of_both_sides() {
    let step = if cfg!(miri) { 13 } else { 1 };
    for copier in Copier::available() {
        for source_shift in (0..64).step_by(step) {
            for target_shift in (0..64).step_by(step) {
                for bytes in [63, 64, 65, 191, 1000] {
                    check_stream(copier, bytes, source_shift, target_shift);
                }
            }
        }
    }
}

#[test]
fn sizes_around_the_interleaved_pages_and_the_thresholds() {
    if cfg!(miri) {
        return;
    }
    for copier in Copier::available() {
        for middle in [
            COLD_BYTES_MIN,
            4096,
            4 * 4096,
            8 * 4096,
            16 * 4096 + 777,
            AUTO_BYTES_MIN,
            2 << 20,
        ] {
            for bytes in [middle - 65, middle - 1, middle, middle + 1, middle + 64, middle + 127] {
                let shifts: &[_] = if bytes < 1 << 18 {
                    &[(0, 0), (1, 0), (0, 63), (33, 31)]
                } else {
                    &[(1, 63)]
                };
                for &(source_shift, target_shift) in shifts {
                    for temperature in [Temperature::Auto, Temperature::Hot, Temperature::Cold] {
                        check(copier, bytes, source_shift, target_shift, temperature);
                    }
                }
            }
        }
    }
}

#[test]
fn rows_of_a_batch() {
    for copier in Copier::available() {
        for (row_bytes, source_stride, target_stride) in
            [(256, 256, 512), (100, 130, 100), (2048, 2048, 2048), (7, 9, 64)]
        {
            let rows_count = 9;
            let mut source = vec![0; rows_count * source_stride];
            fill(&mut source);
            let mut target = vec![GUARD; rows_count * target_stride];
            let mut expected = target.clone();
            let batch = copier.batch(COLD_BYTES_MIN, Temperature::Cold);
            // SAFETY: I2, both vectors hold so many rows.
            unsafe {
                batch.copy_rows(
                    source.as_ptr(),
                    source_stride,
                    target.as_mut_ptr(),
                    target_stride,
                    row_bytes,
                    rows_count,
                );
            }
            drop(batch);
            for row in 0..rows_count {
                copy_naive(
                    &source[row * source_stride..][..row_bytes],
                    &mut expected[row * target_stride..][..row_bytes],
                );
            }
            assert_eq!(target, expected);
        }
    }
}

#[test]
fn the_method_follows_size_and_temperature() {
    for copier in Copier::available() {
        let stream = match copier.name() {
            "portable" => "memcpy".into(),
            name => format!("stream {name}"),
        };
        for (bytes, temperature, method) in [
            (AUTO_BYTES_MIN - 1, Temperature::Auto, "memcpy"),
            (AUTO_BYTES_MIN, Temperature::Auto, &*stream),
            (COLD_BYTES_MIN - 1, Temperature::Cold, "memcpy"),
            (COLD_BYTES_MIN, Temperature::Cold, &*stream),
            (usize::MAX, Temperature::Hot, "memcpy"),
        ] {
            assert_eq!(copier.method(bytes, temperature), method, "{bytes} {temperature:?}");
        }
    }
    assert_eq!(Copier::portable().name(), "portable");
    assert_eq!(Copier::default(), Copier::detect());
    assert_eq!(Copier::available().next(), Some(Copier::detect()));
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[test]
fn both_ways_to_ask_the_processor_agree() {
    assert_eq!(cpuid::avx2(), std::is_x86_feature_detected!("avx2"));
    assert_eq!(cpuid::avx512(), std::is_x86_feature_detected!("avx512f"));
    let has = std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
        && std::is_x86_feature_detected!("bmi2");
    assert_eq!(cpuid::avx2_f16c(), has);
    let has = has
        && std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512cd")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512vbmi");
    assert_eq!(cpuid::avx512_vbmi(), has);
}

#[test]
fn two_threads_see_streamed_bytes_behind_a_release_store() {
    use core::sync::atomic::{AtomicUsize, Ordering};

    let bytes = if cfg!(miri) { 4096 } else { 1 << 18 };
    for copier in Copier::available() {
        let mut target = vec![0; bytes];
        let address = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let (target, address) = (&mut target, &address);
            scope.spawn(move || {
                let source = vec![7; bytes];
                copier.copy_slice(&source, target, Temperature::Cold);
                // Release: pairs with the acquire load below; the bytes come before it.
                address.store(target.as_mut_ptr().expose_provenance(), Ordering::Release);
            });
            scope.spawn(move || {
                let pointer = loop {
                    // Acquire: pairs with the release store above.
                    match address.load(Ordering::Acquire) {
                        0 => std::thread::yield_now(),
                        found => break core::ptr::with_exposed_provenance::<u8>(found),
                    }
                };
                // SAFETY: the writer published the vector with all its bytes and writes it no more.
                let seen = unsafe { core::slice::from_raw_parts(pointer, bytes) };
                assert!(seen.iter().all(|&byte| byte == 7));
            });
        });
    }
}

#[test]
#[should_panic(expected = "the same length")]
fn slices_of_different_lengths_are_refused() {
    Copier::portable().copy_slice(&[1, 2], &mut [0; 3], Temperature::Auto);
}

#[test]
fn any_address_may_be_prefetched() {
    prefetch(&0_u64);
    prefetch(core::ptr::null::<u64>());
    prefetch(core::ptr::without_provenance::<u8>(usize::MAX));
}
