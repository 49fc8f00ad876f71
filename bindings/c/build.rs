//! Gives the shared library its SONAME, so that programs ask for the binary interface they were linked with.

fn main() {
    // While the major version is 0, minor versions are different interfaces: both are in the name.
    let soname = format!(
        "libkvcache.so.{}.{}",
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR")
    );
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{soname}");
    println!("cargo::rerun-if-changed=build.rs");
}
