//! What a tier file says about itself in its first bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a tier file before its first segment.
pub const SUPERBLOCK_AREA_BYTES: u64 = 64 << 10;
const MAGIC: &[u8; 8] = b"KVCTIER1";
const BYTES: usize = 4096;
/// Where the two copies lie.
const OFFSETS: [u64; 2] = [0, SUPERBLOCK_AREA_BYTES / 2];

/// The identity of a tier file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Most bytes of a block.
    pub block_bytes: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// How many there are.
    pub segments_count: u64,
}

impl Superblock {
    /// Reads the first copy that verifies.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::InvalidData`] where neither copy verifies.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut page = [0; BYTES];
        for offset in OFFSETS {
            if file.read_exact_at(&mut page, offset).is_ok()
                && let Some(superblock) = Self::parse(&page)
            {
                return Ok(superblock);
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "not a tier file"))
    }

    fn parse(page: &[u8; BYTES]) -> Option<Self> {
        let (covered, checksum) = page.split_last_chunk::<8>()?;
        if !page.starts_with(MAGIC) || xxh3_64(covered) != u64::from_le_bytes(*checksum) {
            return None;
        }
        let number = |offset: usize| Some(u64::from_le_bytes(*page.get(offset..)?.first_chunk()?));
        Some(Self {
            block_bytes: number(72)?,
            segment_bytes: number(80)?,
            segments_count: number(88)?,
        })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        let segments = self.segments_count.saturating_mul(self.segment_bytes);
        segments.saturating_add(SUPERBLOCK_AREA_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The first page of a tier file, written by hand.
    fn page() -> [u8; BYTES] {
        let mut page = [0; BYTES];
        page[..8].copy_from_slice(MAGIC);
        for (offset, number) in [(72, 65536_u64), (80, 16 << 20), (88, 63)] {
            page[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = xxh3_64(&page[..BYTES - 8]);
        page[BYTES - 8..].copy_from_slice(&checksum.to_le_bytes());
        page
    }

    #[test]
    fn either_copy_will_do_and_neither_is_no_tier_file() {
        let path = std::env::temp_dir().join(format!("kvcache-superblock-{}", std::process::id()));
        let mut bytes = vec![0; 64 << 10];
        let expected = Superblock {
            block_bytes: 65536,
            segment_bytes: 16 << 20,
            segments_count: 63,
        };
        for (first, second, found) in [
            (page(), page(), true),
            ([7; BYTES], page(), true),
            (page(), [0; BYTES], true),
            ([0; BYTES], [0; BYTES], false),
        ] {
            bytes[..BYTES].copy_from_slice(&first);
            bytes[32 << 10..][..BYTES].copy_from_slice(&second);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(Superblock::read(&path).ok(), found.then_some(expected));
        }
        let mut flipped = page();
        flipped[73] ^= 1;
        assert_eq!(Superblock::parse(&flipped), None);
        assert_eq!(expected.file_bytes(), (64 << 10) + 63 * (16 << 20));
        fs::remove_file(path).unwrap();
    }
}
