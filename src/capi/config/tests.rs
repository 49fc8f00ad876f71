//! Configurations of this version and of the first, and refusals.

use super::*;
use crate::config::CodecKind;

/// The first version's configuration, in its size, with what lies behind it poisoned.
#[test]
fn a_configuration_of_the_first_version_is_what_it_was() {
    let mut words = [u64::MAX; size_of::<kvc_config_t>() / 8];
    let first = kvc_config_t::SIZE_FIRST as usize / 8;
    for word in words.iter_mut().take(first) {
        *word = 0;
    }
    (words[0], words[1], words[2]) = (kvc_config_t::SIZE_FIRST, 64 << 10, 64 << 20);
    // SAFETY: the words are there, and what is behind `struct_size` bytes is not read.
    let config = unsafe { read(words.as_ptr().cast::<kvc_config_t>()) }.unwrap();
    assert!(config.nvme_path.is_null() && config.nvme_bytes == 0 && config.write_wait_ms == 0);
    // SAFETY: no geometries, no paths.
    let config = unsafe { config.checked() }.unwrap();
    let default = Config::default();
    assert_eq!((config.nvme, config.disk), (FileTier::NONE, FileTier::NONE));
    assert_eq!(config.write_wait_ms, default.write_wait_ms);
    assert_eq!(config.slots_free_low_permille, default.slots_free_low_permille);
    assert_eq!(config.slots_free_high_permille, default.slots_free_high_permille);
    assert_eq!(
        (config.write_policy, config.damage),
        (default.write_policy, default.damage)
    );
}

#[test]
fn fields_of_the_file_tiers_arrive_where_they_belong() {
    let mut config: kvc_config_t = zeroed();
    (config.block_bytes, config.cpu_bytes) = (1, 2);
    (config.nvme_bytes, config.nvme_segment_bytes, config.nvme_blocks_count) = (3, 4, 5);
    (
        config.nvme_depth,
        config.nvme_admission,
        config.nvme_endurance_bytes_per_day,
    ) = (6, 2, 7);
    (config.nvme_promotion_hits, config.nvme_stall_ms) = (8, 9);
    (config.disk_bytes, config.disk_segment_bytes, config.disk_blocks_count) = (13, 14, 15);
    (
        config.disk_depth,
        config.disk_admission,
        config.disk_endurance_bytes_per_day,
    ) = (16, 3, 17);
    (config.disk_promotion_hits, config.disk_stall_ms) = (18, 19);
    (
        config.write_policy,
        config.damage,
        config.io_engine,
        config.file_overwrite,
    ) = (2, 2, 3, 1);
    (config.slots_free_low_permille, config.slots_free_high_permille) = (KVC_NONE, 30);
    config.write_wait_ms = KVC_NONE;
    config.dedup = 1;
    (config.admission_loss_permille, config.tuning) = (70, 1);
    (config.nvme_path, config.disk_path) = (c"first".as_ptr(), c"second".as_ptr());
    let codec = kvc_codec_config_t {
        struct_size: size_of::<kvc_codec_config_t>() as u64,
        codec_key: 5,
        codec_value: 6,
        trellis_states: 64,
        ..zeroed()
    };
    config.disk_codec = &raw const codec;
    (config.codec_tables, config.codec_tables_bytes) = (c"tables".as_ptr().cast(), 6);
    // SAFETY: no geometries; the codec is there, and paths and tables are literals.
    let (inner, paths) = unsafe { (config.checked().unwrap(), config.paths().unwrap()) };
    let nvme = FileTier {
        bytes: 3,
        segment_bytes: 4,
        blocks_count: 5,
        depth: 6,
        admission: Admission::SecondHit,
        endurance_bytes_per_day: 7,
        promotion_hits: 8,
        stall_ms: 9,
        codec: CodecChoice::RAW,
    };
    let disk = FileTier {
        bytes: 13,
        segment_bytes: 14,
        blocks_count: 15,
        depth: 16,
        admission: Admission::Reuse,
        endurance_bytes_per_day: 17,
        promotion_hits: 18,
        stall_ms: 19,
        codec: CodecChoice {
            key: CodecKind::T4,
            value: CodecKind::T3,
            trellis_states: 64,
            ..CodecChoice::RAW
        },
    };
    assert_eq!((inner.nvme, inner.disk), (nvme, disk));
    assert_eq!(
        (inner.write_policy, inner.damage),
        (WritePolicy::Through, Damage::Refuse)
    );
    assert_eq!((inner.io_engine, inner.file_overwrite), (IoEngine::Positional, true));
    assert_eq!((inner.slots_free_low_permille, inner.slots_free_high_permille), (0, 30));
    assert_eq!((inner.write_wait_ms, inner.dedup), (0, true));
    assert_eq!((inner.admission_loss_permille, inner.tuning), (70, true));
    assert_eq!(
        (paths.nvme, paths.disk),
        (Some(Path::new("first")), Some(Path::new("second")))
    );
    assert_eq!(paths.tables, Some(&b"tables"[..]));

    type Change = fn(&mut kvc_config_t);
    let bad: [(&str, Change); 8] = [
        ("tuning", |c| c.tuning = 2),
        ("nvme_admission", |c| c.nvme_admission = 4),
        ("disk_admission", |c| c.disk_admission = 4),
        ("write_policy", |c| c.write_policy = 3),
        ("damage", |c| c.damage = 3),
        ("io_engine", |c| c.io_engine = 4),
        ("file_overwrite", |c| c.file_overwrite = 2),
        ("dedup", |c| c.dedup = 2),
    ];
    for (field, change) in bad {
        let mut changed = config;
        change(&mut changed);
        // SAFETY: as above.
        let refusal = unsafe { changed.checked() }.unwrap_err().unwrap();
        assert_eq!((refusal.field, refusal.status), (field, Status::Config));
    }
}

/// What `kvc_config_init` writes out is what zeros mean.
#[test]
fn the_defaults_written_out_are_the_defaults() {
    let mut config: kvc_config_t = zeroed();
    config.struct_size = size_of::<kvc_config_t>() as u64;
    // SAFETY: the struct is there, and as long as it says.
    assert_eq!(unsafe { kvc_config_init(&raw mut config) }, Status::Ok.code());
    assert_eq!((config.nvme_depth, config.write_wait_ms), (32, 1000));
    let empty: kvc_config_t = zeroed();
    // SAFETY: no geometries.
    let (written, zeros) = unsafe { (config.checked().unwrap(), empty.checked().unwrap()) };
    assert_eq!(std::format!("{written:?}"), std::format!("{zeros:?}"));
}
