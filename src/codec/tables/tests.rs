//! Tables: what was put in comes out; damage, other versions and other models are told apart; files.

use super::*;
use crate::geometry::Dtype;
use bytemuck::{Pod, Zeroable};
use std::path::PathBuf;
use std::vec::Vec;
use std::{env, format, fs, process, vec};

/// A cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes at a multiple of 64.
pub(in crate::codec) struct Aligned {
    lines: Vec<Line>,
    length: usize,
}

impl Aligned {
    pub(in crate::codec) fn new(bytes: &[u8]) -> Self {
        let lines = vec![Line([0; 64]); bytes.len().div_ceil(64)];
        let mut aligned = Self {
            lines,
            length: bytes.len(),
        };
        aligned.bytes_mut().copy_from_slice(bytes);
        aligned
    }

    pub(in crate::codec) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.length]
    }
}

const INFO: TablesInfo = TablesInfo {
    bytes: 0,
    layers: 3,
    planes: 2,
    heads: 2,
    dim: 64,
    rope: Rope {
        pairs: RopePairs::Half,
        theta: 10000.0,
        dim: 32,
    },
    tokens: 12345,
    digest: 0,
};

/// The bytes of each section are its codec, layer and plane.
fn section(kind: CodecKind, layer: usize, plane: usize) -> Section {
    let length = 1 + 37 * layer + 64 * plane;
    let byte = kind as u8 ^ (layer as u8) << 4 ^ (plane as u8) << 7;
    Section {
        kind,
        layer,
        plane,
        bytes: vec![byte; length],
    }
}

fn all() -> impl Iterator<Item = (CodecKind, usize, usize)> {
    let kinds = [CodecKind::Xc, CodecKind::Vq].into_iter();
    kinds.flat_map(|kind| {
        (0..3)
            .rev()
            .flat_map(move |layer| (0..2).map(move |plane| (kind, layer, plane)))
    })
}

fn written() -> Vec<u8> {
    let mut writer = TablesWriter::new(INFO);
    all().for_each(|(kind, layer, plane)| writer.add(section(kind, layer, plane)));
    writer.finish()
}

/// Changes bytes and has the checksum follow.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Option<Status> {
    let mut bytes = written();
    change(&mut bytes);
    let sum = checksum(&bytes);
    bytes[CHECKSUM_AT..CHECKSUM_AT + 8].copy_from_slice(&sum.to_le_bytes());
    Tables::open(Aligned::new(&bytes).bytes()).err()
}

#[test]
fn what_was_put_in_comes_out() {
    let bytes = Aligned::new(&written());
    let tables = Tables::open(bytes.bytes()).unwrap();
    let info = TablesInfo {
        bytes: bytes.bytes().len() as u64,
        digest: tables.info().digest,
        ..INFO
    };
    assert_eq!(*tables.info(), info);
    assert_ne!(info.digest, 0);
    for (kind, layer, plane) in all() {
        let found = tables.section(kind, layer, plane).unwrap();
        assert_eq!(found, section(kind, layer, plane).bytes);
        assert!(found.as_ptr().addr().is_multiple_of(TABLES_ALIGNMENT_BYTES));
    }
    for (kind, layer, plane) in [
        (CodecKind::Vq, 3, 0),
        (CodecKind::Vq, 0, 2),
        (CodecKind::T2, 0, 0),
        (CodecKind::Raw, 0, 0),
        (CodecKind::Xc, usize::MAX, 0),
    ] {
        assert_eq!(tables.section(kind, layer, plane), None);
    }
    assert!(tables.has(CodecKind::Vq) && tables.has(CodecKind::Xc) && !tables.has(CodecKind::T3));
}

#[test]
fn tables_without_sections_are_tables() {
    let bytes = Aligned::new(&TablesWriter::new(INFO).finish());
    assert_eq!(bytes.bytes().len(), HEADER_BYTES);
    let tables = Tables::open(bytes.bytes()).unwrap();
    assert!(!tables.has(CodecKind::Vq) && tables.section(CodecKind::Vq, 0, 0).is_none());
}

#[test]
fn each_changed_bit_is_seen() {
    let mut bytes = Aligned::new(&written());
    for at in 0..bytes.bytes().len() {
        for bit in 0..8 {
            bytes.bytes_mut()[at] ^= 1 << bit;
            let expected = if (4..8).contains(&at) {
                Status::Unsupported
            } else {
                Status::Damaged
            };
            assert_eq!(Tables::open(bytes.bytes()).err(), Some(expected), "{at} {bit}");
            bytes.bytes_mut()[at] ^= 1 << bit;
        }
    }
    assert!(Tables::open(bytes.bytes()).is_ok());
}

#[test]
fn tables_that_are_cut_off_or_go_on_are_seen() {
    let bytes = written();
    for length in 0..bytes.len() {
        let answer = Tables::open(Aligned::new(&bytes[..length]).bytes()).err();
        assert_eq!(answer, Some(Status::Damaged), "{length}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(Tables::open(Aligned::new(&longer).bytes()).err(), Some(Status::Damaged));
    assert_eq!(forged(|bytes| bytes.push(0)), Some(Status::Damaged));
}

#[test]
fn misaligned_tables_are_refused() {
    let bytes = written();
    let mut room = vec![0; bytes.len() + 128];
    let skip = room.as_ptr().align_offset(TABLES_ALIGNMENT_BYTES);
    for off in [1, 2, 8, 32, 63] {
        let place = &mut room[skip + off..skip + off + bytes.len()];
        place.copy_from_slice(&bytes);
        assert_eq!(Tables::open(place).err(), Some(Status::Argument), "{off}");
    }
}

#[test]
fn a_header_or_directory_that_makes_no_sense_is_seen_whatever_its_checksum() {
    let put = |at: usize, word: u64, length: usize| {
        forged(move |bytes| bytes[at..at + length].copy_from_slice(&word.to_le_bytes()[..length]))
    };
    let damaged = Some(Status::Damaged);
    assert_eq!(forged(|_| {}), None);
    assert_eq!(put(40, 3, 4), damaged, "pairs");
    for theta in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(put(32, theta.to_bits(), 8), damaged);
    }
    assert_eq!(
        (put(44, 31, 4), put(44, 66, 4), put(44, 64, 4)),
        (damaged, damaged, None)
    );
    for sections in [13, 1 << 20, u64::from(u32::MAX)] {
        assert_eq!(put(56, sections, 4), damaged, "{sections}");
    }
    let length = written().len() as u64;
    for entry in (HEADER_BYTES..HEADER_BYTES + 12 * ENTRY_BYTES).step_by(ENTRY_BYTES) {
        for start in [
            0,
            64,
            1,
            63,
            length.next_multiple_of(64),
            1 << 63,
            u64::MAX - 63,
            u64::MAX,
        ] {
            assert_eq!(put(entry + 8, start, 8), damaged, "{start}");
        }
        assert_eq!(
            put(entry, 0, 4),
            if entry == HEADER_BYTES { None } else { damaged },
            "order"
        );
        assert_eq!(
            put(entry, u64::from(u32::MAX), 4).is_some(),
            entry != HEADER_BYTES + 11 * ENTRY_BYTES
        );
        for bytes in [length, 1 << 63, u64::MAX] {
            assert_eq!(put(entry + 16, bytes, 8), damaged, "{bytes}");
        }
    }
}

#[test]
fn another_model_is_told_what_the_tables_are_for() {
    let bytes = Aligned::new(&written());
    let tables = Tables::open(bytes.bytes()).unwrap();
    let shape = PlaneShape {
        dtype: Dtype::F16,
        tokens: 7,
        heads: 2,
        dim: 64,
    };
    assert_eq!(tables.fits(CodecKind::Vq, &shape), Ok(()));
    let refused = |kind, shape: PlaneShape| {
        let error = tables.fits(kind, &shape).unwrap_err();
        assert_eq!((error.status, error.value_min), (Status::Conflict, error.value_max));
        (error.field, error.value, error.value_min)
    };
    let heads = PlaneShape { heads: 3, ..shape };
    assert_eq!(refused(CodecKind::Vq, heads), ("kv_heads_count", 3, 2));
    let dim = PlaneShape { dim: 128, ..shape };
    assert_eq!(refused(CodecKind::Xc, dim), ("head_dim", 128, 64));
    assert_eq!(refused(CodecKind::T2, shape), ("codec_tables", 0, 1));
}

/// A folder of its own for each test, which is removed again.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("kvcache-tables-{}-{name}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn names(&self) -> Vec<std::ffi::OsString> {
        fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn tables_are_saved_and_loaded_and_replaced_in_one_step() {
    let folder = Folder::new("saved");
    let path = folder.0.join("model.kvct");
    let bytes = Aligned::new(&written());
    let tables = Tables::open(bytes.bytes()).unwrap();
    fs::write(&path, "what was here before").unwrap();
    // Of a process that ended while it wrote.
    fs::write(folder.0.join(format!("model.kvct.part-{}-0", process::id())), "").unwrap();
    tables.save(&path).unwrap();
    assert_eq!(folder.names().len(), 2, "nothing is left beside it");
    assert_eq!(file_bytes(&path), Ok(bytes.bytes().len() as u64));
    for room in [0, 1000] {
        let mut memory = Aligned::new(&vec![0xCC; bytes.bytes().len() + room]);
        let loaded = load(&path, memory.bytes_mut()).unwrap();
        assert_eq!(loaded.info(), tables.info());
        assert!(memory.bytes().starts_with(bytes.bytes()));
        assert!(memory.bytes()[bytes.bytes().len()..].iter().all(|byte| *byte == 0xCC));
    }
}

#[test]
fn what_is_no_file_of_tables_is_told_apart() {
    let folder = Folder::new("refused");
    let path = folder.0.join("model.kvct");
    let bytes = written();
    let length = bytes.len();
    let refused = |content: Option<&[u8]>, room: usize, skip: usize| {
        let _ = fs::remove_file(&path);
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let mut memory = Aligned::new(&vec![0; room + skip]);
        let error = load(&path, &mut memory.bytes_mut()[skip..]).unwrap_err();
        (error.status, error.value_min, error.os_error)
    };
    assert_eq!(refused(None, length, 0), (Status::File, 0, libc::ENOENT));
    let short = (Status::TooSmall, length as u64, 0);
    assert_eq!(
        (refused(Some(&bytes), length - 1, 0), refused(Some(&bytes), 0, 0)),
        (short, short)
    );
    assert_eq!(refused(Some(&bytes), length, 8), (Status::Argument, 0, 0));
    for foreign in [&b""[..], b"K", b"PK\x03\x04", &[7; 5000]] {
        assert_eq!(refused(Some(foreign), length, 0), (Status::FileForeign, 0, 0));
    }
    let damaged = (Status::Damaged, 0, 0);
    for cut in [4, 100, 128, length - 1] {
        assert_eq!(refused(Some(&bytes[..cut]), length, 0), damaged, "{cut}");
    }
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(refused(Some(&changed), length, 0), damaged);
    changed.clone_from(&bytes);
    changed[4] = 2;
    assert_eq!(refused(Some(&changed), length, 0), (Status::Unsupported, 0, 0));
    changed.clone_from(&bytes);
    changed[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(refused(Some(&changed), length, 0), damaged);
    fs::remove_file(&path).unwrap();
    assert_eq!(file_bytes(&folder.0).unwrap_err().status, Status::FileForeign);

    let aligned = Aligned::new(&bytes);
    let tables = Tables::open(aligned.bytes()).unwrap();
    let nowhere = folder.0.join("no").join("model.kvct");
    let error = tables.save(&nowhere).unwrap_err();
    assert_eq!(
        (error.status, error.field, error.os_error),
        (Status::File, "path", libc::ENOENT)
    );
    assert_eq!(tables.save(std::path::Path::new("/")).unwrap_err().status, Status::File);
    // A folder is not replaced, and nothing is left beside it.
    let taken = folder.0.join("taken");
    fs::create_dir(&taken).unwrap();
    assert_eq!(tables.save(&taken).unwrap_err().status, Status::File);
    assert_eq!(folder.names(), ["taken"]);
}
