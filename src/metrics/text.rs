//! A bounded text writer over borrowed bytes.

use core::fmt;

/// Writes text into `&mut [u8]` and counts what did not fit, so that a caller learns how large the buffer must be.
///
/// A piece that does not fit whole is left out, and so is everything after it: what was written is always a prefix
/// of the text and valid UTF-8. Writing never fails; [`BoundedText::is_complete`] says whether everything is there. An
/// empty buffer only measures.
#[derive(Debug)]
pub struct BoundedText<'b> {
    buffer: &'b mut [u8],
    bytes_written: usize,
    bytes_needed: u64,
}

impl<'b> BoundedText<'b> {
    /// A writer that fills `buffer` from its first byte. No NUL byte is added.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            bytes_written: 0,
            bytes_needed: 0,
        }
    }

    /// The length of the whole text in bytes, also of what did not fit.
    pub const fn bytes_needed(&self) -> u64 {
        self.bytes_needed
    }

    /// How many bytes of the buffer hold text.
    pub const fn bytes_written(&self) -> usize {
        self.bytes_written
    }

    /// Whether the whole text is in the buffer.
    pub const fn is_complete(&self) -> bool {
        self.bytes_written as u64 == self.bytes_needed
    }

    /// The text written so far, as bytes of valid UTF-8.
    pub fn written(&self) -> &[u8] {
        &self.buffer[..self.bytes_written]
    }
}

impl fmt::Write for BoundedText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let target = self
            .buffer
            .get_mut(self.bytes_written..)
            .and_then(|rest| rest.get_mut(..text.len()));
        if let Some(target) = target
            && self.bytes_written as u64 == self.bytes_needed
        {
            target.copy_from_slice(text.as_bytes());
            self.bytes_written += text.len();
        }
        self.bytes_needed = self.bytes_needed.saturating_add(text.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn the_need_does_not_depend_on_the_room_and_what_is_written_is_a_prefix() {
        const TEXT: &str = "one, two, 3, vier";
        for room in 0..TEXT.len() + 3 {
            let mut buffer = [0xff; 32];
            let mut text = BoundedText::new(&mut buffer[..room]);
            for piece in ["one", ", two", ", 3", ", vier"] {
                text.write_str(piece).unwrap();
            }
            assert_eq!(text.bytes_needed(), TEXT.len() as u64);
            assert_eq!(text.is_complete(), room >= TEXT.len());
            assert!(TEXT.as_bytes().starts_with(text.written()));
            assert_eq!(text.written().len(), text.bytes_written());
            let bytes_written = text.bytes_written();
            assert!(buffer[bytes_written..].iter().all(|byte| *byte == 0xff));
        }
    }

    #[test]
    fn a_piece_that_fits_after_one_that_did_not_is_left_out_too() {
        let mut buffer = [0; 4];
        let mut text = BoundedText::new(&mut buffer);
        text.write_str("ab").unwrap();
        text.write_str("zürich").unwrap();
        text.write_str("c").unwrap();
        assert_eq!((text.written(), text.bytes_needed()), (&b"ab"[..], 10));
    }

    #[test]
    fn an_empty_text_is_complete_in_no_room() {
        let mut text = BoundedText::new(&mut []);
        text.write_str("").unwrap();
        assert!(text.is_complete());
    }
}
