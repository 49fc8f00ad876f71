//! Traces of requests as people publish them: one JSON object a line, plain or zstd, the form of Mooncake.
//!
//! | field | what |
//! | --- | --- |
//! | `timestamp` | when the request came, in milliseconds from the start |
//! | `input_length`, `output_length` | tokens of the prompt and of the answer |
//! | `hash_ids` | a number for each block of the prompt, in order |
//! | `session` | the conversation, a number; may be missing |
//!
//! Other fields are ignored. A file is read line by line, whatever its size; what is kept is the caller's choice.

mod error;
mod requests;
mod scan;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use error::TraceError;
pub use requests::{Request, Requests, block_tokens};

/// What a zstd file begins with.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Largest window of a zstd file, as a power of two: `zstd --long=31` and everything below it.
const ZSTD_WINDOW_LOG_MAX: u32 = 31;
/// Longest line: what is longer is no request.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Line {
    /// When the request came: milliseconds from the start.
    pub timestamp: f64,
    /// Tokens of the prompt.
    pub input_length: u64,
    /// Tokens of the answer. Nothing reads it yet but the check that it is there.
    pub output_length: u64,
    /// The blocks of the prompt, in order.
    pub hash_ids: Vec<u64>,
    /// The conversation.
    #[serde(default)]
    pub session: Option<u64>,
}

/// A trace that is being read.
pub struct Reader {
    path: PathBuf,
    input: Box<dyn BufRead>,
    line_number: u64,
    buffer: Vec<u8>,
}

impl Reader {
    /// Opens a file, and finds out from its first bytes whether it is compressed.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let at_file = |error| TraceError::io(path, 0, &error);
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(at_file)?);
        let input: Box<dyn BufRead> = if file.fill_buf().map_err(at_file)?.starts_with(&ZSTD_MAGIC) {
            let mut decoder = zstd::Decoder::with_buffer(file).map_err(at_file)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(at_file)?;
            Box::new(BufReader::with_capacity(1 << 20, decoder))
        } else {
            Box::new(file)
        };
        Ok(Self {
            path: path.to_owned(),
            input,
            line_number: 0,
            buffer: Vec::new(),
        })
    }

    /// Reads the next request into `line`, whose memory is used again; `false` at the end. Empty lines are passed over.
    ///
    /// # Errors
    /// What is wrong with the line, with its number.
    pub fn read(&mut self, line: &mut Line) -> Result<bool, TraceError> {
        loop {
            self.buffer.clear();
            self.line_number += 1;
            let mut rest = self.input.by_ref().take(LINE_BYTES_MAX);
            rest.read_until(b'\n', &mut self.buffer)
                .map_err(|error| TraceError::io(&self.path, self.line_number, &error))?;
            if self.buffer.is_empty() {
                return Ok(false);
            }
            let ended = self.buffer.ends_with(b"\n");
            if !ended && self.buffer.len() as u64 == LINE_BYTES_MAX {
                return Err(TraceError::at(
                    &self.path,
                    self.line_number,
                    "the line is longer than 64 MiB",
                ));
            }
            let text = self.buffer.trim_ascii();
            if text.is_empty() {
                continue;
            }
            if !scan::scan(text, line) {
                *line = serde_json::from_slice(text)
                    .map_err(|error| TraceError::json(&self.path, self.line_number, ended, &error))?;
            }
            return Ok(true);
        }
    }
}
