//! The parts of a simulated run.

#![allow(dead_code)]

pub mod run;
pub mod world;
