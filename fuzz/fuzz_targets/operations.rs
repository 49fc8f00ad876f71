//! Sequences of operations on an engine and on the naive model of the property tests.
//!
//! The first eight bytes choose the engine, each eight bytes after them an operation.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::run::{Setup, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (words, _) = data.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    if let [setup, operations @ ..] = words.as_slice() {
        run(&Setup::decode(*setup), operations);
    }
});
