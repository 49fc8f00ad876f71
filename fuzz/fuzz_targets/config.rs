//! Configurations: a refusal names a field and a range that the value is outside of, a plan adds up, and an engine
//! opened in memory of the planned size works. What is too large to open is planned only.
#![no_main]

mod input;

use std::cell::RefCell;

use input::Input;
use kvcache::block::PutInfo;
use kvcache::config::{Config, HugePages, PolicyKind, Prefault};
use kvcache::copy::Temperature;
use kvcache::error::ConfigError;
use kvcache::geometry::{Dtype, Geometry, Shape};
use kvcache::units::Tier;
use kvcache::{Clock, Engine, Key, Plan, Status};
use libfuzzer_sys::fuzz_target;

const PAGE_BYTES: usize = 4096;
/// The largest plan that is opened.
const OPEN_BYTES_MAX: u64 = 4 << 20;

thread_local! {
    static MEMORY: RefCell<Vec<u8>> = RefCell::new(vec![0; OPEN_BYTES_MAX as usize + PAGE_BYTES]);
}

/// Mostly a small valid configuration with a field or a few changed.
fn config(input: &mut Input<'_>) -> Config {
    let mut config = Config {
        block_bytes: 1 + u64::from(input.byte()),
        cpu_bytes: 64 * (1 + u64::from(input.byte())),
        policy: PolicyKind::ALL[usize::from(input.byte()) % PolicyKind::ALL.len()],
        pins_count: 16,
        stripes_count: 2,
        lanes_count: 2,
        lane_depth: 4,
        events_count: 16,
        ..Config::default()
    };
    for _ in 0..input.byte() % 4 {
        let field = input.byte();
        let number = input.number();
        match field % 21 {
            0 => config.block_bytes = number,
            1 => config.cpu_bytes = number,
            2 => config.pins_count = number,
            3 => config.stripes_count = number,
            4 => config.lanes_count = number,
            5 => config.lane_depth = number,
            6 => config.events_count = number,
            7 => config.workers_count = number,
            8 => config.pin_expiry_ms = number,
            9 => config.reservation_expiry_ms = number,
            10 => config.hash_seed = number,
            11 => config.latency_sample_count = number,
            12 => config.clock_ticks = number.is_multiple_of(2),
            13 => config.huge_pages = HugePages::from_code(number).unwrap_or_default(),
            14 => config.prefault = Prefault::from_code(number).unwrap_or_default(),
            15 => config.write_wait_ms = number,
            16 => (config.slots_free_low_permille, config.slots_free_high_permille) = (number, input.number()),
            20 => config.importance_count = number,
            19 => config.dedup = number.is_multiple_of(2),
            17 | 18 => {
                let file = if field % 21 == 17 {
                    &mut config.nvme
                } else {
                    &mut config.disk
                };
                file.bytes = number;
                match input.byte() % 8 {
                    0 => file.segment_bytes = input.number(),
                    1 => file.blocks_count = input.number(),
                    2 => file.depth = input.number(),
                    3 => file.endurance_bytes_per_day = input.number(),
                    4 => file.promotion_hits = input.number(),
                    5 => file.stall_ms = input.number(),
                    _ => {}
                }
            }
            _ => {
                let shape = Shape {
                    layers_count: input.number(),
                    planes_count: input.number(),
                    kv_heads_count: input.number(),
                    head_dim: input.number(),
                    tokens_per_block: input.number(),
                    dtype: Dtype::U8,
                };
                let place = number as usize % config.geometries.len();
                config.geometries[place] = match Geometry::new(&shape) {
                    Ok(geometry) => Some(geometry),
                    Err(refusal) => {
                        check_refusal(&refusal);
                        None
                    }
                };
            }
        }
    }
    config
}

fn check_refusal(refusal: &ConfigError) {
    assert!(!refusal.field.is_empty() && !refusal.reason.is_empty());
    assert!(
        [Status::Config, Status::Conflict].contains(&refusal.status),
        "{refusal}"
    );
    assert!(refusal.value_min <= refusal.value_max, "{refusal}");
    let power_of_two = refusal.reason.contains("power of two") && !refusal.value.is_power_of_two();
    let unaligned = refusal.reason.contains("multiple of 4096") && !refusal.value.is_multiple_of(4096);
    let outside = !(refusal.value_min..=refusal.value_max).contains(&refusal.value);
    assert!(
        outside || power_of_two || unaligned || refusal.status == Status::Conflict,
        "{refusal}"
    );
}

fn check_plan(config: &Config, plan: &Plan) {
    let mut offset = 0;
    for component in plan.components() {
        assert_eq!((component.offset, component.offset % PAGE_BYTES as u64), (offset, 0));
        assert!(
            component
                .count
                .checked_mul(component.bytes_each)
                .is_some_and(|bytes| bytes <= component.bytes)
        );
        offset = offset.checked_add(component.bytes).expect("the plan fits into 64 bits");
    }
    assert_eq!(plan.bytes(), offset);
    assert!(plan.slots_count() >= 1 && plan.slot_bytes() >= config.block_bytes);
    assert!(plan.slots_count() * plan.slot_bytes() <= config.cpu_bytes);
    assert!(config.cpu_bytes - plan.slots_count() * plan.slot_bytes() < plan.slot_bytes());
    assert!(plan.entries_count() >= plan.blocks_count());
    for (file, tier) in [(config.nvme, Tier::Nvme), (config.disk, Tier::Disk)] {
        let layout = plan.log(tier);
        assert_eq!(layout.exists(), file.bytes != 0);
        assert_eq!(plan.file_bytes(tier), layout.file_bytes());
        assert!(plan.file_bytes(tier) <= file.bytes);
        assert!(!layout.exists() || (layout.segments_count >= 4 && layout.segment_bytes > config.block_bytes));
    }
    assert_eq!(
        plan.metadata_bytes() + plan.buffers_bytes() + plan.slots_bytes(),
        plan.bytes()
    );
    assert_eq!(Plan::compute(config).as_ref(), Ok(plan), "a pure function");
}

/// Fills the engine once over and looks at what it holds.
fn use_engine(config: &Config, plan: &Plan, memory: &mut [u8]) {
    let engine = Engine::new(config, memory, Clock::Ticks).expect("the memory is as planned");
    let bytes = config.block_bytes.min(64) as usize;
    let key = |number: u64| Key::from_words([number, 0, 0, 0]);
    let count = plan.slots_count().min(100) + 10;
    for number in 0..count {
        engine
            .put(&key(number), &[number as u8; 64][..bytes], &PutInfo::default())
            .expect("there is room, or a victim");
    }
    let mut resident = 0;
    for number in 0..count {
        let mut target = [0xee; 64];
        if engine.get(&key(number), &mut target, Temperature::Auto) == Ok(bytes as u64) {
            assert_eq!(target[..bytes], [number as u8; 64][..bytes]);
            resident += 1;
        }
    }
    assert_eq!(resident, count.min(plan.slots_count()));
    assert_eq!(engine.stats().blocks_resident, resident);
    engine.tick(1, |_| {});
    assert!(engine.is_idle());
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let config = config(&mut input);
    let plan = match Plan::compute(&config) {
        Ok(plan) => plan,
        Err(refusal) => {
            check_refusal(&refusal);
            return;
        }
    };
    check_plan(&config, &plan);
    if plan.bytes() > OPEN_BYTES_MAX || plan.below_count() != 0 {
        return;
    }
    MEMORY.with_borrow_mut(|memory| {
        let before = memory.as_ptr().align_offset(PAGE_BYTES);
        let memory = &mut memory[before..];
        // Too little first, and then exactly what was planned.
        let refused = Engine::new(&config, &mut memory[..plan.bytes() as usize - 1], Clock::Ticks);
        assert!(refused.is_err_and(|refusal| refusal.field == "memory_bytes"));
        use_engine(&config, &plan, &mut memory[..plan.bytes() as usize]);
    });
});
