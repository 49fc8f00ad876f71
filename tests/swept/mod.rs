//! The parts of a sweep: devices that lose power together and are seen to hang, and a script on an engine over them.

#![allow(dead_code)]

pub mod device;
pub mod script;
