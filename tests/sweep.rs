//! Sweeps over a small script on an engine with two file tiers: the power goes at each of its writes, and each of its
//! requests fails in each of the ways in which a request can fail.

mod common;
mod swept;
#[path = "simulated/world.rs"]
#[allow(dead_code)]
mod world;

use common::memory::Memory;
use kvcache::config::WritePolicy;
use kvcache::tier::device::IoKind;
use kvcache::tier::fault::{Fault, FaultAt, FaultCounts, FaultRates};
use kvcache::{Config, Plan};
use swept::device::Watched;
use swept::script::{Known, Run, TIERS, config};
use world::{Simulated, Storage};

const EIO: i32 = 5;
/// Decides delays and order: short delays, any order, sectors of 512 bytes.
const SEED: u64 = 8;

/// Runs `work` over two fresh devices.
fn with_devices<R>(config: &Config, seed: u64, work: impl FnOnce(&Plan, [&Simulated<'_>; 2]) -> R) -> R {
    let plan = Plan::compute(config).unwrap();
    let [mut nvme, mut disk] = TIERS.map(|tier| {
        let layout = plan.log(tier);
        Storage::new(layout.file_bytes(), layout.frames_count as usize)
    });
    let (nvme, disk) = (
        nvme.device(seed, FaultRates::default()),
        disk.device(seed + 1, FaultRates::default()),
    );
    work(&plan, [&nvme, &disk])
}

fn watched<'d, 'm>([nvme, disk]: [&'d Simulated<'m>; 2]) -> [Watched<'d, 'm>; 2] {
    [Watched::new(nvme, disk), Watched::new(disk, nvme)]
}

/// Both devices lose power, and get it back.
fn crash(devices: [&Simulated<'_>; 2], seed: u64) {
    for (place, device) in devices.into_iter().enumerate() {
        device.device().inject(None);
        device.device().device().crash(seed ^ place as u64);
        device.device().forget();
    }
}

/// Runs the script with the power going at write number `count` of the device `place`. Whether it went.
fn power_off(write_policy: WritePolicy, place: usize, count: u64) -> bool {
    let config = config(write_policy);
    with_devices(&config, SEED, |plan, devices| {
        let case = format!("{write_policy:?}, {:?} off after {count}", TIERS[place]);
        let sims = devices.map(|device| device.device().device());
        sims[place].power_off_after(count);
        let mut memory = Memory::new(plan.bytes());
        let mut known = Known::default();
        let watched = watched(devices);
        let mut went = false;
        match Run::open(&config, memory.page_aligned(), &watched, Known::default(), &case) {
            Ok(mut run) => {
                run.script(|| {
                    went = sims.iter().any(|sim| sim.is_off());
                    went
                });
                known = run.known;
            }
            Err(refusal) => {
                went = true;
                assert!(sims.iter().any(|sim| sim.is_off()), "{case}: {refusal}");
            }
        }
        // Twice: what opening repaired is there for good.
        for life in 0..2 {
            crash(devices, count * 31 + life);
            let mut memory = Memory::new(plan.bytes());
            let case = format!("{case}, life {life}");
            let mut run = Run::open(&config, memory.page_aligned(), &watched, known, &case)
                .unwrap_or_else(|refusal| panic!("{case}: {refusal}"));
            run.expect_known();
            run.goes_on();
            assert!(!run.is_offline(0) && !run.is_offline(1), "{case}");
            known = run.known;
        }
        went
    })
}

#[test]
fn the_power_may_go_at_any_write() {
    for write_policy in [WritePolicy::Back, WritePolicy::Through] {
        for (place, tier) in TIERS.into_iter().enumerate() {
            let mut writes = 0;
            while power_off(write_policy, place, writes) {
                writes += 1;
                assert!(writes < 2000, "the script has no end");
            }
            println!("{write_policy:?}: {writes} writes and syncs of the {tier:?} tier",);
            assert!(writes > 15, "the script is too short to prove anything: {writes}");
        }
    }
}

/// Faults that a device owns up to: what was said to be durable is.
const HONEST: [Fault; 5] = [
    Fault::Error(EIO),
    Fault::ErrorDone(EIO),
    Fault::Short,
    Fault::Stall,
    Fault::Delay(40),
];

/// Faults that only checksums see.
const LIES: [Fault; 4] = [Fault::Flip, Fault::Torn, Fault::Misdirected, Fault::Lost];

/// How a run with faults went.
struct Faulty {
    counts: FaultCounts,
    offline: bool,
}

/// Runs the script with `fault` from request `number` of its kind on of the device `place`.
fn faulty(place: usize, kind: Option<IoKind>, fault: Fault, number: u64, count: u64) -> Faulty {
    let config = config(WritePolicy::Back);
    with_devices(&config, SEED, |plan, devices| {
        let case = format!(
            "{:?}: {fault:?} of {kind:?} from {number}, {count} of them",
            TIERS[place]
        );
        devices[place].device().inject(Some(FaultAt {
            kind,
            number,
            count,
            fault,
        }));
        let honest = HONEST.contains(&fault);
        let mut memory = Memory::new(plan.bytes());
        let watched = watched(devices);
        let mut known = Known::default();
        let mut offline = false;
        match Run::open(&config, memory.page_aligned(), &watched, Known::default(), &case) {
            Ok(mut run) => {
                run.script(|| false);
                run.memory_serves();
                run.pass_time();
                run.memory_serves();
                run.read_all();
                run.pass_time();
                offline = run.is_offline(place);
                assert!(!run.is_offline(1 - place), "{case}: the other tier went offline");
                assert_eq!(run.offline_events[place], u64::from(offline), "{case}");
                assert_eq!(run.offline_events[1 - place], 0, "{case}");
                known = run.known;
            }
            Err(refusal) => assert!(refusal.status.is_error(), "{case}: {refusal}"),
        }
        let counts = devices[place].device().counts();
        if counts.stalls != 0 && !known.there.is_empty() {
            assert!(offline, "{case}: a request that never comes back, and nothing of it");
        }
        crash(devices, number);
        let mut memory = Memory::new(plan.bytes());
        let case = format!("{case}, reopened");
        if !honest {
            known = Known::default();
        }
        match Run::open(&config, memory.page_aligned(), &watched, known, &case) {
            Ok(mut run) if honest => run.expect_known(),
            Ok(mut run) => run.read_all(),
            // Of many lies some hit both copies of what identifies the file.
            Err(refusal) => assert!(!honest && count > 1, "{case}: {refusal}"),
        }
        Faulty { counts, offline }
    })
}

/// Sweeps `fault` over all requests of a kind of both devices; how many runs, and how many ended with the tier offline.
fn sweep(kind: Option<IoKind>, fault: Fault, count: u64) -> (u64, u64) {
    let (mut runs, mut offline) = (0, 0);
    for place in 0..TIERS.len() {
        for number in 0.. {
            assert!(number < 4000, "the script has no end");
            let run = faulty(place, kind, fault, number, count);
            runs += 1;
            offline += u64::from(run.offline);
            let FaultCounts {
                reads, writes, syncs, ..
            } = run.counts;
            let requests = match kind {
                None => reads + writes + syncs,
                Some(IoKind::Read) => reads,
                Some(IoKind::Write) => writes,
                Some(IoKind::Sync) => syncs,
            };
            if requests <= number {
                break;
            }
        }
    }
    println!("{fault:?} of {kind:?}, {count} in a row: {runs} runs, {offline} ended offline");
    (runs, offline)
}

#[test]
fn any_one_request_may_fail() {
    for fault in HONEST.into_iter().chain(LIES) {
        let (runs, offline) = sweep(None, fault, 1);
        assert!(runs > 100, "the script is too short to prove anything: {runs}");
        // One request that never comes back ends a tier. One that fails does so only where it is a sync: nobody knows
        // then what is in the file.
        let ends = [Fault::Stall, Fault::Error(EIO), Fault::ErrorDone(EIO)].contains(&fault);
        assert!(offline == 0 || ends, "{fault:?}: {offline}");
        assert!(offline != 0 || fault != Fault::Stall, "{fault:?}: {offline}");
    }
}

#[test]
fn a_device_may_fail_for_good_at_any_request() {
    for fault in [Fault::Error(EIO), Fault::Short, Fault::Stall, Fault::Lost] {
        let (runs, offline) = sweep(None, fault, u64::MAX);
        assert!(runs > 50, "{runs}");
        assert_eq!(offline == 0, fault == Fault::Lost, "{fault:?}: {offline}");
    }
}

/// A device that has become read-only, or that reads nothing any more, or that makes nothing durable.
#[test]
fn a_device_may_lose_one_of_its_abilities() {
    for kind in [IoKind::Read, IoKind::Write, IoKind::Sync] {
        for fault in [Fault::Error(EIO), Fault::Stall] {
            let (runs, offline) = sweep(Some(kind), fault, u64::MAX);
            assert!(runs > 10 && offline != 0, "{fault:?} of {kind:?}: {runs}, {offline}");
        }
    }
}
