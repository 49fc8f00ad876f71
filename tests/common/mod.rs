//! What the tests of the engine and the fuzzers share: memory to open in, contents that follow from keys, operations
//! that follow from numbers, and the model.

// Each test uses the part that it needs.
#![allow(dead_code)]

pub mod contents;
pub mod keys;
pub mod lanes;
pub mod memory;
pub mod model;
pub mod operation;
pub mod run;
