//! Memory for an engine: on a page, full of what must not matter.

/// Bytes that an engine can be opened in.
pub struct Memory {
    bytes: Vec<u8>,
}

const PAGE_BYTES: usize = 4096;
/// What fresh memory holds: an engine that relies on zeros anywhere is found out.
const DIRT: u8 = 0xa5;

impl Memory {
    /// Room for a plan of `bytes` bytes.
    pub fn new(bytes: u64) -> Self {
        Self {
            bytes: vec![DIRT; bytes as usize + PAGE_BYTES],
        }
    }

    /// The bytes from the first whole page on.
    pub fn page_aligned(&mut self) -> &mut [u8] {
        let before = self.bytes.as_ptr().align_offset(PAGE_BYTES);
        let room = self.bytes.len() - PAGE_BYTES;
        &mut self.bytes[before..][..room]
    }
}
