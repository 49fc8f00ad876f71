//! The structs of `kvcache.h` that grow, with every `struct_size` there can be, through the C functions.
//!
//! Each struct lies in a buffer of exactly `struct_size` bytes, so that the address sanitizer sees the library read or
//! write one byte too many. A size that no struct can have comes with eight bytes, all that may be read then.
#![no_main]

mod input;

use std::mem::{offset_of, size_of};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use input::Input;
use kvcache::capi::*;
use libfuzzer_sys::fuzz_target;

/// The largest size of which the library looks at all bytes.
const STRUCT_SIZE_MAX: u64 = 16 << 10;
/// What outputs hold before.
const POISON: u64 = 0x5a5a_5a5a_5a5a_5a5a;

const OK: kvc_status_t = KVC_OK;
const ARGUMENT: kvc_status_t = KVC_E_ARGUMENT;
const UNSUPPORTED: kvc_status_t = KVC_E_UNSUPPORTED;

/// Bytes of a struct: as the library knows it, and in the first version.
#[derive(Clone, Copy)]
struct Sizes {
    known: usize,
    first: usize,
}

/// A struct that has not grown yet.
const fn same<T>() -> Sizes {
    Sizes {
        known: size_of::<T>(),
        first: size_of::<T>(),
    }
}

const CONFIG: Sizes = Sizes {
    known: size_of::<kvc_config_t>(),
    first: 176,
};
const PLAN: Sizes = Sizes {
    known: size_of::<kvc_plan_t>(),
    first: 2696,
};
const PUT_INFO: Sizes = Sizes {
    known: size_of::<kvc_put_info_t>(),
    first: 88,
};
const STATS: Sizes = Sizes {
    known: size_of::<kvc_stats_t>(),
    first: 304,
};
const TIER: Sizes = Sizes {
    known: size_of::<kvc_tier_t>(),
    first: 144,
};

/// A struct of the caller's, as long as it says.
struct Caller {
    words: Vec<u64>,
    sizes: Sizes,
}

impl Caller {
    /// A struct that says `size`, all other words from `word`.
    fn new(size: u64, sizes: Sizes, mut word: impl FnMut() -> u64) -> Self {
        let count = if size <= STRUCT_SIZE_MAX {
            size.div_ceil(8).max(1)
        } else {
            1
        };
        let mut words: Vec<u64> = (0..count).map(|_| word()).collect();
        words[0] = size;
        Self { words, sizes }
    }

    fn pointer<T>(&mut self) -> *mut T {
        self.words.as_mut_ptr().cast()
    }

    fn set(&mut self, at: usize, value: u64) {
        if let Some(word) = self.words.get_mut(at) {
            *word = value;
        }
    }

    fn size(&self) -> u64 {
        self.words[0]
    }

    /// What the size alone is answered with.
    fn size_status(&self) -> kvc_status_t {
        match self.size() {
            size if size < self.sizes.first as u64 || !size.is_multiple_of(8) => ARGUMENT,
            size if size > STRUCT_SIZE_MAX => UNSUPPORTED,
            _ => OK,
        }
    }

    fn tail_is_zero(&self) -> bool {
        self.words.iter().skip(self.sizes.known / 8).all(|word| *word == 0)
    }

    /// After a call that writes it: the size is as before, and so is everything if the call failed, or else what the
    /// library does not know.
    fn check_output(&self, size: u64, status: kvc_status_t) {
        assert_eq!(self.words[0], size);
        let untouched = if status == OK { self.sizes.known / 8 } else { 1 };
        assert!(self.words.iter().skip(untouched).all(|word| *word == POISON));
    }
}

/// Often a size near the right one.
fn size(input: &mut Input<'_>, sizes: Sizes) -> u64 {
    let known = sizes.known as u64;
    match input.byte() % 8 {
        0 | 1 => known,
        2 => sizes.first as u64,
        3 => known + 8 * u64::from(input.byte()),
        4 => known.wrapping_add(u64::from(input.byte())).wrapping_sub(128),
        5 => STRUCT_SIZE_MAX + u64::from(input.byte()) - 128,
        _ => input.number(),
    }
}

fn output(input: &mut Input<'_>, sizes: Sizes) -> Caller {
    Caller::new(size(input, sizes), sizes, || POISON)
}

/// Field values, and a tail that is mostly zero.
fn filled(input: &mut Input<'_>, sizes: Sizes) -> Caller {
    let (size, known) = (size(input, sizes), sizes.known);
    let (dense, dirty) = (input.byte(), input.byte().is_multiple_of(4));
    let mut at = 0;
    Caller::new(size, sizes, || {
        at += 1;
        let inside = at <= known / 8;
        if (inside && dense.is_multiple_of(3)) || (!inside && dirty) {
            input.number() & (u64::MAX >> 1)
        } else {
            0
        }
    })
}

/// An engine for the calls that need one.
struct Shared(*mut kvc_engine_t);
// SAFETY: the C functions take the pointer from any thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

fn engine() -> *const kvc_engine_t {
    static ENGINE: OnceLock<Shared> = OnceLock::new();
    let open = || {
        let mut config = Caller::new(CONFIG.known as u64, CONFIG, || 0);
        config.set(1, 64);
        config.set(2, 64 * 64);
        let mut engine = null_mut();
        // SAFETY: the struct is as long as it says, and the output is a pointer.
        let status = unsafe { kvc_engine_open(config.pointer(), &raw mut engine, null_mut()) };
        assert_eq!(status, OK);
        Shared(engine)
    };
    ENGINE.get_or_init(open).0
}

/// Plans, and opens where that is small.
fn config(input: &mut Input<'_>) {
    let mut config = filled(input, CONFIG);
    if input.byte().is_multiple_of(2) {
        config.set(1, 1 + u64::from(input.byte()));
        config.set(2, 64 + input.number() % (1 << 20));
    }
    // Pointers are the caller's promise: no memory, no paths, no tables, and no geometries and codecs or some that are
    // there.
    let mut geometry = filled(input, same::<kvc_geometry_t>());
    let with_geometry = input.byte().is_multiple_of(4);
    config.set(18, 0);
    config.set(19, 0);
    config.set(offset_of!(kvc_config_t, nvme_path) / 8, 0);
    config.set(offset_of!(kvc_config_t, disk_path) / 8, 0);
    config.set(offset_of!(kvc_config_t, nvme_codec) / 8, 0);
    config.set(offset_of!(kvc_config_t, codec_tables) / 8, 0);
    config.set(offset_of!(kvc_config_t, codec_tables_bytes) / 8, 0);
    let mut codec = filled(input, same::<kvc_codec_config_t>());
    let with_codec = input.byte().is_multiple_of(4);
    config.set(
        offset_of!(kvc_config_t, disk_codec) / 8,
        if with_codec { codec.pointer::<u64>() as u64 } else { 0 },
    );
    config.set(
        20,
        if with_geometry {
            geometry.pointer::<u64>() as u64
        } else {
            0
        },
    );
    config.set(21, u64::from(with_geometry));
    let (mut plan, mut error) = (output(input, PLAN), output(input, same::<kvc_error_t>()));
    let (plan_size, error_size) = (plan.size(), error.size());
    let error_out = if input.byte().is_multiple_of(4) {
        null_mut()
    } else {
        error.pointer()
    };
    // SAFETY: each struct is as long as it says or says what is refused.
    let status = unsafe { kvc_plan_compute(config.pointer(), plan.pointer(), error_out) };
    plan.check_output(plan_size, status);
    assert_eq!(error.words[0], error_size);
    assert!(
        error
            .words
            .iter()
            .skip(size_of::<kvc_error_t>() / 8)
            .all(|word| *word == POISON)
    );
    if status == OK {
        assert_eq!((config.size_status(), plan.size_status()), (OK, OK));
        assert!(config.tail_is_zero(), "an unknown field was ignored");
        assert!(error_out.is_null() || error.size_status() == OK);
        // Threads and large mappings are not what this looks for.
        if plan.words[1] < 16 << 20 && config.words[9] == 0 {
            open(&mut config);
        }
    } else if config.size_status() == OK && plan.size_status() == OK && error.size_status() == OK {
        let own = [KVC_E_CONFIG, KVC_E_CONFLICT, ARGUMENT, UNSUPPORTED, KVC_E_NULL];
        assert!(own.contains(&status), "{status}");
        assert!(config.tail_is_zero() || status == UNSUPPORTED || error_out.is_null() || status != OK);
    }
}

fn open(config: &mut Caller) {
    let mut engine = null_mut();
    // SAFETY: as in `config`.
    let status = unsafe { kvc_engine_open(config.pointer(), &raw mut engine, null_mut()) };
    if status == OK {
        // SAFETY: nobody else knows the engine.
        assert_eq!(unsafe { kvc_close(engine) }, OK);
        // SAFETY: as above; a closed engine is not touched.
        assert_eq!(unsafe { kvc_close(engine) }, KVC_E_HANDLE);
    } else {
        assert!((-305..=-200).contains(&status), "{status}");
    }
}

fn put(input: &mut Input<'_>) {
    let mut info = filled(input, PUT_INFO);
    let parent = kvc_key_t { bytes: [3; 32] };
    info.set(
        1,
        if input.byte().is_multiple_of(2) {
            &raw const parent as u64
        } else {
            0
        },
    );
    let key = kvc_key_t {
        bytes: [input.byte(); 32],
    };
    let block = [7_u8; 64];
    let bytes = u64::from(input.byte()) % 65;
    // SAFETY: as in `config`; key and block are there.
    let status = unsafe { kvc_put(engine(), &raw const key, block.as_ptr().cast(), bytes, info.pointer()) };
    match info.size_status() {
        OK if !info.tail_is_zero() => assert_eq!(status, UNSUPPORTED),
        OK => assert!(
            [OK, KVC_EXISTS, ARGUMENT, UNSUPPORTED, KVC_E_TOO_LARGE].contains(&status),
            "{status}"
        ),
        refused => assert_eq!(status, refused),
    }
    // SAFETY: as above.
    unsafe { kvc_put(engine(), &raw const key, block.as_ptr().cast(), 64, null()) };
}

/// A struct that is only written.
fn read_out(input: &mut Input<'_>) {
    let which = input.byte() % 5;
    let sizes = match which {
        0 => STATS,
        1 => same::<kvc_capacity_t>(),
        2 => same::<kvc_histogram_t>(),
        3 => TIER,
        _ => CONFIG,
    };
    let mut caller = output(input, sizes);
    let size = caller.size();
    let (operation, tier) = (input.number() as u32, input.number() as u32);
    // SAFETY: as in `config`.
    let status = unsafe {
        match which {
            0 => kvc_stats_get(engine(), caller.pointer()),
            1 => kvc_capacity_get(engine(), caller.pointer()),
            2 => kvc_histogram_get(engine(), operation, tier, caller.pointer()),
            3 => kvc_tier_get(engine(), tier, caller.pointer()),
            _ => kvc_config_init(caller.pointer()),
        }
    };
    caller.check_output(size, status);
    match caller.size_status() {
        OK => assert!(status == OK || which == 2 || which == 3, "{status}"),
        // A wrong operation may be found before a wrong size.
        refused => assert!(status == refused || (which == 2 && status == ARGUMENT), "{status}"),
    }
}

fn geometry(input: &mut Input<'_>) {
    let mut geometry = filled(input, same::<kvc_geometry_t>());
    let mut bytes = POISON;
    // SAFETY: as in `config`.
    let status = unsafe { kvc_geometry_block_bytes(geometry.pointer(), &raw mut bytes) };
    assert_eq!(bytes == POISON, status != OK);
    match geometry.size_status() {
        OK if !geometry.tail_is_zero() => assert_eq!(status, UNSUPPORTED),
        OK => assert!([OK, KVC_E_CONFIG].contains(&status), "{status}"),
        refused => assert_eq!(status, refused),
    }
}

/// A struct of which the caller has an array.
fn pins(input: &mut Input<'_>) {
    const COUNT: usize = 3;
    let key = kvc_key_t { bytes: [9; 32] };
    let mut view = kvc_view_t {
        data: null(),
        bytes: 0,
        block: kvc_block_t {
            index: 0,
            generation: 0,
        },
        pin: kvc_pin_t {
            index: 0,
            generation: 0,
        },
    };
    // SAFETY: everything is there.
    unsafe {
        kvc_put(engine(), &raw const key, [1_u8; 8].as_ptr().cast(), 8, null());
        assert_eq!(kvc_acquire(engine(), &raw const key, 0, &raw mut view), OK);
    }
    let size = size(input, same::<kvc_pin_info_t>());
    let each = if size <= STRUCT_SIZE_MAX {
        size.div_ceil(8).max(1) as usize
    } else {
        1
    };
    let mut words = vec![POISON; COUNT * each];
    words.iter_mut().step_by(each).for_each(|word| *word = size);
    let mut count = 0;
    // SAFETY: so many structs of the size that the first of them says are there.
    let status = unsafe { kvc_pins_get(engine(), words.as_mut_ptr().cast(), COUNT as u64, &raw mut count) };
    let valid = size >= size_of::<kvc_pin_info_t>() as u64 && size.is_multiple_of(8) && size <= STRUCT_SIZE_MAX;
    assert_eq!(status == OK, valid, "{status} for {size}");
    assert_eq!(count, u64::from(valid));
    assert_eq!(words[0], size);
    if valid {
        // The fields that the library does not know become zero; the other elements are undefined.
        assert!(
            words[size_of::<kvc_pin_info_t>() / 8..each]
                .iter()
                .all(|word| *word == 0)
        );
    } else {
        assert!(
            words
                .iter()
                .enumerate()
                .all(|(at, word)| *word == POISON || at.is_multiple_of(each))
        );
    }
    // SAFETY: the view is held.
    assert_eq!(unsafe { kvc_release(engine(), &raw const view) }, OK);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    match input.byte() % 8 {
        0..=2 => config(&mut input),
        3 | 4 => put(&mut input),
        5 => read_out(&mut input),
        6 => geometry(&mut input),
        _ => pins(&mut input),
    }
});
