//! What is wrong with a trace, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A place in a trace and what is wrong there.
#[derive(Debug)]
pub struct TraceError {
    path: PathBuf,
    /// From 1; 0 is the file as a whole.
    line_number: u64,
    /// From 1; 0 is the line as a whole.
    column: usize,
    reason: String,
}

impl TraceError {
    /// A line that is wrong as a whole; line 0 is the file.
    pub fn at(path: &Path, line_number: u64, reason: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line_number,
            column: 0,
            reason: reason.into(),
        }
    }

    /// A file that can't be read, or can't be decompressed.
    pub fn io(path: &Path, line_number: u64, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => String::from("the compressed file is cut off here"),
            _ => error.to_string(),
        };
        Self::at(path, line_number, reason)
    }

    /// A line that is no request. `ended`: whether a line feed follows it.
    pub fn json(path: &Path, line_number: u64, ended: bool, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // The place is this type's business: the parser knows only of one line.
        let reason = match text.rfind(" at line ") {
            Some(end) => &text[..end],
            None => &text,
        };
        let reason = match (error.is_eof(), ended) {
            (true, false) => format!("the file is cut off in this line ({reason})"),
            (true, true) => format!("the line is cut off ({reason})"),
            (false, _) => String::from(reason),
        };
        Self {
            column: error.column(),
            ..Self::at(path, line_number, reason)
        }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path.display())?;
        if self.line_number != 0 {
            write!(formatter, ":{}", self.line_number)?;
        }
        if self.column != 0 {
            write!(formatter, ":{}", self.column)?;
        }
        write!(formatter, ": {}", self.reason)
    }
}

impl std::error::Error for TraceError {}
