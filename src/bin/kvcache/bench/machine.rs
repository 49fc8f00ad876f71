//! Where the figures come from.

use std::fs;
use std::io;
use std::thread;

use kvcache::copy::Copier;
use serde::Serialize;

/// The machine, as far as it decides the figures.
#[derive(Serialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub processor: String,
    /// Processors that this process may use.
    pub processors_count: usize,
    /// The kernel's release.
    pub kernel: String,
    /// What the kernel says about transparent huge pages, its choice in brackets.
    pub huge_pages_policy: String,
    /// Bytes on huge pages while a million blocks were resident; 0 where the kernel gave none.
    pub huge_pages_bytes: u64,
    /// How the library streams here.
    pub copier: &'static str,
}

/// Describes this machine.
///
/// # Errors
/// The system's.
pub fn describe(huge_pages_bytes: u64) -> io::Result<Machine> {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line =
        |file: &str| fs::read_to_string(file).map_or_else(|_| String::from("unknown"), |text| text.trim().into());
    Ok(Machine {
        processor: processors
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or_else(
                || std::env::consts::ARCH.into(),
                |name| name.trim_start_matches([' ', '\t', ':']).into(),
            ),
        processors_count: thread::available_parallelism()?.get(),
        kernel: line("/proc/sys/kernel/osrelease"),
        huge_pages_policy: line("/sys/kernel/mm/transparent_hugepage/enabled"),
        huge_pages_bytes,
        copier: Copier::detect().name(),
    })
}

/// Bytes of this process that lie on huge pages at present.
pub fn huge_pages_bytes() -> u64 {
    fs::read_to_string("/proc/self/smaps_rollup")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("AnonHugePages:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(0, |kib| kib << 10)
}
