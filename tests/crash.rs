//! A process that puts, removes and flushes is killed with SIGKILL again and again: whatever it had said was flushed is
//! found when the files are opened, whatever was removed and flushed is not, and no byte is wrong.
//!
//! The process is this test itself, started again with `KVC_CRASH_FOLDER` set. For longer:
//! `KVC_CRASH_SECONDS=600 cargo test --release --test crash`.
#![cfg(all(feature = "uring", feature = "mmap"))]

#[path = "common/contents.rs"]
#[allow(dead_code)]
mod contents;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use contents::{difference, fill, mix};
use kvcache::block::PutInfo;
use kvcache::config::{FileTier, WritePolicy};
use kvcache::copy::Temperature;
use kvcache::error::Status;
use kvcache::host::Paths;
use kvcache::{Cache, Config, Key};

const BLOCK_BYTES: u64 = 100_000;
const KEYS_COUNT: u64 = 64;
const KILLS_MIN: u64 = 12;
/// Rounds after which the files are begun anew, so that there is always room for what the rounds write.
const KILLS_PER_FILE: u64 = 40;

fn config() -> Config {
    let tier = |bytes| FileTier {
        bytes,
        segment_bytes: 1 << 20,
        depth: 8,
        ..FileTier::NONE
    };
    Config {
        block_bytes: BLOCK_BYTES,
        cpu_bytes: 24 * (100 << 10),
        // Room for everything that the rounds write, so that nothing is given up for want of it.
        nvme: tier(400 << 20),
        disk: tier(32 << 20),
        write_policy: WritePolicy::Through,
        ..Config::default()
    }
}

fn open(folder: &Path) -> Cache {
    let (nvme, disk) = (folder.join("nvme.kvc"), folder.join("disk.kvc"));
    let paths = Paths {
        nvme: Some(&nvme),
        disk: Some(&disk),
        tables: None,
    };
    // A killed process's lock goes with it, if not always at once.
    for _ in 0..200 {
        match Cache::open_with(&config(), &paths) {
            Err(error) if error.status == Status::FileBusy => std::thread::sleep(Duration::from_millis(10)),
            answer => return answer.unwrap_or_else(|error| panic!("{error}")),
        }
    }
    panic!("the files stay locked");
}

fn key(number: u64) -> Key {
    Key::from_words([mix(number), number, 0, 0])
}

fn bytes(number: u64) -> usize {
    1 + (mix(number) % BLOCK_BYTES) as usize
}

/// The process that is killed: says on standard output what it is sure of.
#[test]
fn child() {
    let Some(folder) = std::env::var_os("KVC_CRASH_FOLDER") else {
        return;
    };
    let cache = open(Path::new(&folder));
    let mut said = std::io::stdout().lock();
    let mut buffer = vec![0; BLOCK_BYTES as usize];
    let mut random = mix(std::process::id().into());
    writeln!(said, "open").unwrap();
    loop {
        for _ in 0..8 {
            random = mix(random);
            let number = random % KEYS_COUNT;
            // Told before it is done: after that nobody knows.
            if random.is_multiple_of(5) {
                writeln!(said, "remove {number}").unwrap();
                cache.remove(&[key(number)]);
            } else {
                writeln!(said, "put {number}").unwrap();
                fill(&mut buffer[..bytes(number)], number);
                match cache.put(&key(number), &buffer[..bytes(number)], &PutInfo::default()) {
                    Ok(_) | Err(Status::Exists) => {}
                    Err(status) => panic!("{status}"),
                }
            }
            cache.tick(0);
        }
        cache.flush(Duration::from_secs(10)).unwrap();
        writeln!(said, "flushed").unwrap();
        said.flush().unwrap();
    }
}

/// What the child's words come to: keys that must be there, and keys that must not.
#[derive(Default)]
struct Known {
    /// The last that was said of each key before the last flush.
    settled: BTreeMap<u64, bool>,
    /// What was said since.
    open: BTreeSet<u64>,
}

impl Known {
    fn hear(&mut self, line: &str, pending: &mut BTreeMap<u64, bool>) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next().and_then(|word| word.parse().ok())) {
            (Some("put"), Some(number)) => {
                pending.insert(number, true);
                self.open.insert(number);
            }
            (Some("remove"), Some(number)) => {
                pending.insert(number, false);
                self.open.insert(number);
            }
            (Some("flushed"), _) => {
                self.settled.append(pending);
                self.open.clear();
            }
            _ => {}
        }
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_was_flushed_survives_sigkill() {
    let folder = Folder(std::env::temp_dir().join(format!("kvcache-crash-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let seconds = std::env::var("KVC_CRASH_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut known = Known::default();
    let (mut flushes, mut checked) = (0, 0);
    for round in 0.. {
        if round >= KILLS_MIN && Instant::now() >= end {
            println!("{round} kills, {flushes} flushes, {checked} keys checked");
            break;
        }
        if round % KILLS_PER_FILE == 0 {
            known = Known::default();
            for name in ["nvme.kvc", "disk.kvc"] {
                let _ = std::fs::remove_file(folder.0.join(name));
            }
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env("KVC_CRASH_FOLDER", &folder.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut pending = BTreeMap::new();
        let mut killer = None;
        for line in lines {
            // What was cut off in the middle of a word says nothing.
            let Ok(line) = line else { break };
            flushes += u64::from(line == "flushed");
            if line.contains("open") && killer.is_none() {
                let delay = Duration::from_micros(mix(round) % 150_000);
                killer = Some(std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap()
                }));
            }
            known.hear(&line, &mut pending);
        }
        child.wait().unwrap();
        killer.expect("the child opened its files").join().unwrap();
        let cache = open(&folder.0);
        let mut buffer = vec![0; BLOCK_BYTES as usize];
        for number in 0..KEYS_COUNT {
            let found = cache.get(&key(number), &mut buffer, Temperature::Auto);
            if let Ok(length) = found {
                assert_eq!(length as usize, bytes(number));
                assert_eq!(
                    difference(&buffer[..length as usize], number),
                    None,
                    "wrong bytes under {number}"
                );
            }
            if !known.open.contains(&number) {
                match known.settled.get(&number) {
                    Some(true) => assert!(found.is_ok(), "round {round}: {number} was flushed: {found:?}"),
                    Some(false) => assert_eq!(found, Err(Status::Miss), "round {round}: {number} was removed"),
                    None => {}
                }
                checked += 1;
            }
            // From here on what is there is what was found.
            known.settled.insert(number, found.is_ok());
        }
        known.open.clear();
    }
    assert!(
        flushes > 0 && checked > 100,
        "it hardly came to anything: {flushes} flushes, {checked} keys"
    );
}
