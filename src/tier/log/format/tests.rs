//! The format's bytes are fixed: those that these tests hold were put together by another program, from the tables of
//! `docs/format.md`, with another implementation of the checksum.

use super::super::record::{RecordHeader, SegmentPlace, TableEntry, part_checksum, parts_checksum, record_bytes};
use super::super::scan::Scan;
use super::super::tests::{Random, info};
use super::*;
use std::vec;
use std::vec::Vec;

fn shape() -> Shape {
    Shape {
        file_id: *b"0123456789abcdef",
        geometry_digest: core::array::from_fn(|at| at as u8),
        block_bytes: 2 << 20,
        segment_bytes: 64 << 20,
        segments_count: 1599,
        part_bytes: 128 << 10,
    }
}

fn superblock() -> Superblock {
    Superblock {
        version: FORMAT_VERSION,
        tier: 2,
        shape: shape(),
        created: 1_700_000_000,
    }
}

fn segment_header() -> SegmentHeader {
    SegmentHeader {
        version: FORMAT_VERSION,
        index: 5,
        sequence: 77,
        record_sequence: 4242,
        shape: shape(),
        bytes_written: 1 << 40,
        unix_seconds: 1_700_000_001,
        needed_from: 70,
        durable_through: 75,
        under_way_bytes: 6 << 20,
    }
}

fn footer() -> Footer {
    Footer {
        version: FORMAT_VERSION,
        count: 31,
        index: 5,
        sequence: 77,
        table_offset: 0x1234_5000,
        table_bytes: 31 * 136,
        table_checksum: 0x0123_4567_89ab_cdef,
    }
}

fn record_header() -> RecordHeader {
    RecordHeader {
        tombstone: false,
        copy: true,
        record_sequence: 4243,
        segment_sequence: 77,
        payload_bytes: 2 << 20,
        geometry_tag: *b"geometry",
        table_checksum: 0xfeed_beef_0bad_cafe,
        info: info(3, 2 << 20),
    }
}

/// The bytes up to the last that is not zero, as hexadecimal digits.
fn digits(bytes: &[u8]) -> std::string::String {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes[..end].iter().map(|byte| std::format!("{byte:02x}")).collect()
}

#[test]
fn bytes_are_what_they_were() {
    let mut page = [0xff; PAGE];
    let checksum = |page: &[u8; PAGE]| word(page, PAGE - 8);
    superblock().encode(&mut page);
    assert_eq!(
        digits(&page[..PAGE - 8]),
        concat!(
            "4b5643544945523101000000001000003031323334353637383961626364656602000000000000000001020304050607",
            "08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f000020000000000000000004000000003f06000000000000",
            "000002000000000000f15365",
        )
    );
    assert_eq!(checksum(&page), 0xc7d7_ede0_fd60_ecf7);
    segment_header().encode(&mut page);
    assert_eq!(
        digits(&page[..PAGE - 8]),
        concat!(
            "4b56435345474d3101000000050000004d00000000000000921000000000000030313233343536373839616263646566",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00002000000000000000000400000000",
            "3f060000000000000000020000000000000000000001000001f153650000000046000000000000004b00000000000000",
            "000060",
        )
    );
    assert_eq!(checksum(&page), 0x34ec_fcbe_f73b_5972);
    footer().encode(&mut page);
    assert_eq!(
        digits(&page[..PAGE - 8]),
        concat!(
            "4b5643464f4f5431010000001f00000005000000000000004d0000000000000000503412000000007810000000000000",
            "efcdab8967452301",
        )
    );
    assert_eq!(checksum(&page), 0xb243_c5bb_b445_ebd9);
    let mark = OpeningMark {
        file_id: shape().file_id,
        first_sequence: 99,
    };
    mark.encode(&mut page);
    assert_eq!(
        digits(&page),
        "4b56434f50454e31303132333435363738396162636465666300000000000000931de62e33cdad16"
    );
    let record = record_header().encode(0x1122_3344_5566_7788, 0x0001_0040);
    assert_eq!(
        digits(&record),
        concat!(
            "4b5643520100010093100000000000004d000000000000000300000000000000fcffffffffffffff8001000000000000",
            "2a0000000000000000002000000020000100000032000300000000000003000063000000100003000500000000000000",
            "67656f6d657472790000000000000000fecaad0befbeedfe650ca786940494ab",
        )
    );
    assert_eq!(part_checksum(b"part", 4243, 2), 0xd297_ba53_3114_97e4);
    assert_eq!(parts_checksum(&[1, 2, 3, 4, 5, 6, 7, 8]), 0x16f2_17ea_1623_2297);
}

#[test]
fn pages_come_back_and_no_flipped_bit_does() {
    let mut page = [0; PAGE];
    superblock().encode(&mut page);
    assert_eq!(Superblock::decode(&page), Page::Good(superblock()));
    assert_eq!(SegmentHeader::decode(&page), Page::Bad);
    segment_header().encode(&mut page);
    assert_eq!(SegmentHeader::decode(&page), Page::Good(segment_header()));
    footer().encode(&mut page);
    assert_eq!(Footer::decode(&page), Page::Good(footer()));
    let mut encoded = [[0; PAGE]; 3];
    superblock().encode(&mut encoded[0]);
    segment_header().encode(&mut encoded[1]);
    footer().encode(&mut encoded[2]);
    for bit in 0..PAGE * 8 {
        for (kind, page) in encoded.iter_mut().enumerate() {
            page[bit / 8] ^= 1 << (bit % 8);
            match kind {
                0 => assert_eq!(Superblock::decode(page), Page::Bad),
                1 => assert_eq!(SegmentHeader::decode(page), Page::Bad),
                _ => assert_eq!(Footer::decode(page), Page::Bad),
            }
            page[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert_eq!(Superblock::decode(&[0; PAGE]), Page::Zero);
    assert_eq!(Superblock::decode(&[]), Page::Bad);
}

#[test]
fn a_record_verifies_only_in_its_place_and_its_file() {
    let header = record_header();
    let bytes = header.encode(7, 65536 + 4096);
    assert_eq!(RecordHeader::decode(&bytes, 7, 65536 + 4096), Some(header));
    assert_eq!(RecordHeader::decode(&bytes, 7, 65536 + 4096 + 64), None);
    assert_eq!(RecordHeader::decode(&bytes, 8, 65536 + 4096), None);
    assert_eq!(RecordHeader::decode(&bytes[..127], 7, 65536 + 4096), None);
    for bit in 0..128 * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(RecordHeader::decode(&flipped, 7, 65536 + 4096), None);
    }
}

#[test]
fn parts_can_not_be_exchanged() {
    let part = [9; 4096];
    assert_ne!(part_checksum(&part, 5, 0), part_checksum(&part, 5, 1));
    assert_ne!(part_checksum(&part, 5, 1), part_checksum(&part, 6, 1));
}

#[test]
fn sizes_of_records() {
    for (payload, part, bytes) in [
        (0, 1024, 128),
        (1, 1024, 128 + 64 + 64),
        (64, 1024, 128 + 64 + 64),
        (1024, 1024, 128 + 64 + 1024),
        (9 * 1024, 1024, 128 + 128 + 9 * 1024),
        (2 << 20, 128 << 10, 128 + 128 + (2 << 20)),
    ] {
        assert_eq!(record_bytes(payload, part), bytes, "{payload}");
    }
}

/// A scan over anything ends, stays within the segment, and gives no record twice.
#[test]
fn a_scan_of_anything_ends() {
    let mut random = Random(3);
    for round in 0..300 {
        let place = SegmentPlace {
            start: 65536,
            end: 65536 + 64 * 1024,
            sequence: 5,
            file_seed: 9,
            part_bytes: 1024,
            block_bytes: 20_000,
        };
        let mut segment: Vec<u8> = vec![0; 64 * 1024];
        if round % 2 == 0 {
            segment.fill_with(|| random.next() as u8);
        }
        let mut written = Vec::new();
        let mut at = 4096;
        while at + 4096 + 3500 < segment.len() {
            let header = RecordHeader {
                payload_bytes: random.below(3000) as u32,
                segment_sequence: if random.chance(80) { 5 } else { 4 },
                record_sequence: 1 + at as u64,
                ..record_header()
            };
            let offset = 65536 + at as u64;
            segment[at..at + 128].copy_from_slice(&header.encode(9, offset));
            if random.chance(10) {
                segment[at + random.below(128) as usize] ^= 4;
            } else if header.segment_sequence == 5 {
                written.push(offset);
            }
            at += record_bytes(u64::from(header.payload_bytes), 1024) as usize;
            if random.chance(20) {
                at = at.next_multiple_of(4096);
            }
        }
        let mut scan = Scan::new(place);
        let mut found = Vec::new();
        while let Some(position) = scan.wants() {
            let from = position as usize - 65536;
            let to = (from + 128 + random.below(9000) as usize).min(segment.len());
            while let Some(TableEntry { offset, .. }) = scan.next(&segment[from..to], position) {
                found.push(offset);
            }
        }
        assert_eq!(found, written);
    }
}
