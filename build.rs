//! Refuses targets that the engine's layout is not made for, and tells the program what it was built with.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let (width, endian) = (
        variable("CARGO_CFG_TARGET_POINTER_WIDTH"),
        variable("CARGO_CFG_TARGET_ENDIAN"),
    );
    if width != "64" || endian != "little" {
        println!("cargo::error=kvcache needs a 64-bit little-endian target; this one is {width}-bit {endian}-endian");
    }
    println!("cargo::rustc-env=KVC_BUILD_TARGET={}", variable("TARGET"));
    println!("cargo::rustc-env=KVC_BUILD_PROFILE={}", variable("PROFILE"));
}
