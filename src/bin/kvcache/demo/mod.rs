//! `kvcache demo`: the main job, in a form that a person enjoys reading.
//!
//! A real trace is replayed through memory, an NVMe file and a disk file in a folder. The replay is a process of its
//! own, the program's own `replay` command; at the half it kills itself, and a second one goes on with what the files
//! hold. After that a few things that an engine in memory does, each checked.

mod memory;
mod prefix;
mod show;
mod views;

use std::error::Error;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use kvcache::config::FileTier;
use kvcache::units::{Bytes, Tier};
use kvcache::{Config, Plan};

use crate::replay::{Outcome, table};
use crate::sys::process;
use crate::tierfile;
use crate::trace::Requests;
use show::Screen;

/// The trace; see `examples/traces/README.md`. In the program, so that an installed one has it.
const TRACE: &[u8] = include_bytes!("../../../../examples/traces/mooncake-conversation-1500.jsonl.zst");
const TRACE_SOURCE: &str = "kvcache-ai/Mooncake, conversation trace, first 1500 requests, Apache-2.0";
const TRACE_NAME: &str = "trace.jsonl.zst";
const FILE_NAMES: [&str; 2] = ["nvme.kvc", "disk.kvc"];
/// Folder that is made and removed where none is given.
const FOLDER: &str = "kvcache-demo";
/// Part of the requests, in percent, after which the first process kills itself.
const KILLED_AT_PERCENT: usize = 50;
/// Sizes at which each tier has something to do: a 30th, a seventh and a half of the trace's blocks.
const SIZES: Sizes = Sizes {
    block_kib: 64,
    cpu_mib: 64,
    nvme_mib: 256,
    disk_mib: 1024,
};

struct Sizes {
    block_kib: u64,
    cpu_mib: u64,
    nvme_mib: u64,
    disk_mib: u64,
}

impl Sizes {
    /// For `kvcache replay`.
    fn arguments(&self) -> [String; 8] {
        [
            String::from("--block-bytes"),
            format!("{}KiB", self.block_kib),
            String::from("--cpu-bytes"),
            format!("{}MiB", self.cpu_mib),
            String::from("--nvme-bytes"),
            format!("{}MiB", self.nvme_mib),
            String::from("--disk-bytes"),
            format!("{}MiB", self.disk_mib),
        ]
    }

    /// What the replay makes of them.
    fn config(&self) -> Config {
        let tier = |mib: u64| FileTier {
            bytes: mib << 20,
            ..FileTier::NONE
        };
        Config {
            block_bytes: self.block_kib << 10,
            cpu_bytes: self.cpu_mib << 20,
            nvme: tier(self.nvme_mib),
            disk: tier(self.disk_mib),
            ..Config::default()
        }
    }
}

/// SIGKILL.
const SIGNAL_KILL: i32 = 9;

/// What to show.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Folder for the tier files, 1.2 GiB; they stay there [default: ./kvcache-demo, removed at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only the first so many requests of the trace
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(2..))]
    requests: Option<u16>,
}

/// Runs the demonstration.
///
/// # Errors
/// Anything that is not as it must be.
pub fn run(args: &DemoArgs) -> Result<(), Box<dyn Error>> {
    let screen = Screen::new();
    let place = Place::open(args)?;
    process::catch_interrupts();
    main_job(&screen, &place)?;
    drop(place);
    memory::run(&screen)
}

/// The folder, and what is replayed in it.
struct Place {
    folder: PathBuf,
    /// Whether all of it goes at the end.
    temporary: bool,
    /// How many requests.
    requests: Option<u16>,
}

impl Place {
    /// Makes the folder and lays the trace into it.
    fn open(args: &DemoArgs) -> Result<Self, Box<dyn Error>> {
        let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(FOLDER));
        let place = Self {
            folder,
            temporary: args.dir.is_none(),
            requests: args.requests,
        };
        if place.temporary {
            // What an earlier demonstration left that was killed itself.
            place.remove();
        }
        let write = || {
            fs::create_dir_all(&place.folder)?;
            fs::write(place.trace(), TRACE)
        };
        write().map_err(|error| format!("{}: {error}", place.folder.display()))?;
        Ok(place)
    }

    fn trace(&self) -> PathBuf {
        self.folder.join(TRACE_NAME)
    }

    /// Removes what the demonstration made, and the folder if nothing else is in it.
    fn remove(&self) {
        for name in FILE_NAMES.into_iter().chain([TRACE_NAME]) {
            // What is not there need not be removed.
            let _ = fs::remove_file(self.folder.join(name));
        }
        let _ = fs::remove_dir(&self.folder);
    }

    /// The arguments with which both processes replay.
    fn arguments(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut arguments: Vec<String> = ["replay", "--trace"].map(String::from).into();
        arguments.extend([path(&self.trace()), String::from("--dir"), path(&self.folder)]);
        arguments.extend(SIZES.arguments());
        if let Some(count) = self.requests {
            arguments.extend([String::from("--requests"), count.to_string()]);
        }
        arguments
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            self.remove();
        }
    }
}

fn main_job(screen: &Screen, place: &Place) -> Result<(), Box<dyn Error>> {
    let requests_max = place.requests.map_or(usize::MAX, usize::from);
    let requests = Requests::read(&place.trace(), requests_max)?;
    let total = requests.list().len();
    let killed_at = (total * KILLED_AT_PERCENT / 100).max(1);
    show_plan(screen, place)?;

    screen.heading("A real trace: every block with real bytes, every byte that comes back checked");
    println!("    {TRACE_SOURCE}");
    println!(
        "    {total} requests, {} blocks, {} of them different; of each the longest prefix is loaded, the rest stored",
        requests.blocks_count(),
        requests.blocks_unique()
    );
    let percent = KILLED_AT_PERCENT.to_string();
    let first = replay(place, &["--kill-at", &percent], true)?;
    println!(
        "    killed by SIGKILL after {killed_at} requests: {} blocks stored, {} loaded, {} wrong bytes",
        first.misses,
        first.hits(),
        first.wrong_bytes
    );
    println!("    its memory is gone; nothing was flushed, nothing was closed");

    screen.heading("A second process opens the files and goes on");
    let from = killed_at.to_string();
    let second = replay(place, &["--from", &from], false)?;
    println!(
        "    opened in {:.1} ms: {} blocks recovered, {} half-written records passed over",
        second.opened_ns as f64 / 1e6,
        second.recovered_blocks,
        second.damaged
    );
    println!(
        "    {} requests more: {} blocks loaded, {} wrong bytes; flushed in {:.1} ms",
        second.requests,
        second.hits(),
        second.wrong_bytes,
        second.flush_ns as f64 / 1e6
    );

    screen.heading("Both together");
    let recovered = second.recovered_blocks;
    let mut all = first;
    all.merge(&second);
    println!("{}", table(&all));

    screen.heading("The files, checked from outside");
    for name in FILE_NAMES {
        let path = place.folder.join(name);
        let report = tierfile::check_file(&path)?;
        println!("    {name:<10}{}", report.line());
        if !report.is_sound() {
            return Err(format!("{} is damaged", path.display()).into());
        }
    }
    faults(&all, total, recovered)
}

/// The replay in a process of its own; its progress is seen, what it counted comes back.
fn replay(place: &Place, more: &[&str], dies: bool) -> Result<Outcome, Box<dyn Error>> {
    let mut arguments = place.arguments();
    arguments.extend(more.iter().copied().map(String::from));
    println!("    $ kvcache {}", arguments.join(" "));
    let output = Command::new(std::env::current_exe()?)
        .args(&arguments)
        .arg("--counts")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let killed = output.status.signal() == Some(SIGNAL_KILL);
    if killed != dies || !(killed || output.status.success()) {
        return Err(format!("the replay ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn show_plan(screen: &Screen, place: &Place) -> Result<(), Box<dyn Error>> {
    screen.heading("The plan, before anything exists");
    let plan = Plan::compute(&SIZES.config())?;
    println!(
        "    memory {:>10}  {} slots of {}",
        Bytes(plan.slots_count() * plan.slot_bytes()).to_string(),
        plan.slots_count(),
        Bytes(plan.slot_bytes())
    );
    for (name, tier) in [("NVMe", Tier::Nvme), ("disk", Tier::Disk)] {
        let log = plan.log(tier);
        println!(
            "    {name:<6} {:>10}  {} segments of {}, {}/{}.kvc",
            Bytes(log.file_bytes()).to_string(),
            log.segments_count,
            Bytes(log.segment_bytes),
            place.folder.display(),
            tier.name()
        );
    }
    println!(
        "    {} of memory in all, {} of it for keys, index, states and I/O buffers: obtained once, by open",
        Bytes(plan.bytes()),
        Bytes(plan.metadata_bytes())
    );
    Ok(())
}

/// Everything that must not be.
fn faults(all: &Outcome, total: usize, recovered: u64) -> Result<(), Box<dyn Error>> {
    let [cpu, nvme, disk] = all.tiers.each_ref().map(|tier| tier.hits);
    let offline = all.tiers.iter().any(|tier| tier.offline);
    let whole = all.requests == total as u64;
    for (right, what) in [
        (all.wrong_bytes == 0, "wrong bytes"),
        (all.heap_calls_after_open == 0, "heap calls after open"),
        (all.checksum_failures == 0, "blocks that do not verify"),
        (all.io_errors == 0, "failed I/O"),
        (all.flush == "KVC_OK", "a flush that failed"),
        (!offline, "a tier offline"),
        (whole, "requests left out"),
        // A few requests fit into memory, and nothing is written then before the end.
        (total < 1000 || recovered != 0, "nothing recovered after the crash"),
        (total < 1000 || cpu.min(nvme).min(disk) != 0, "a tier without a hit"),
    ] {
        if !right {
            return Err(format!("the demonstration found a fault: {what}").into());
        }
    }
    Ok(())
}
