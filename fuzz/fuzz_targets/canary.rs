//! A target that must fail: whoever smoke-runs the fuzzers sees that they find what is there to be found.
//!
//! It reads one byte past a buffer, once three bytes of the input are right. Coverage leads a fuzzer there in seconds,
//! chance does not; and only a sanitizer sees the read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if data.len() == 8 && data[0] == b'k' && data[3] == b'v' && data[6] == b'c' {
        let copy = data.to_vec();
        // SAFETY: none; that is the point.
        std::hint::black_box(unsafe { copy.as_ptr().add(std::hint::black_box(copy.len())).read_volatile() });
    }
});
