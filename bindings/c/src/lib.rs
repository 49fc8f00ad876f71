//! Makes `libkvcache.so` and `libkvcache.a` out of the functions in `kvcache::capi`.
//!
//! A package of its own, because a `cdylib` in the root package would break `no_std` builds of everybody who depends
//! on it. There is nothing here but the re-export, which keeps the functions from being left out.

pub use kvcache_core::capi::*;
