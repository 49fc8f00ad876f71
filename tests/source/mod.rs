//! The repository's own files as text, for the tests that hold the sources to their rules.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub struct Source {
    /// Its path from the root, with `/`.
    pub path: String,
    pub text: String,
}

impl Source {
    /// A file that a test makes up.
    #[allow(dead_code)] // not every test that reads sources makes some up
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// The lines that are code, with their numbers: without comments, without the contents of strings, and without the
    /// modules that only tests have.
    #[allow(dead_code)] // as above
    pub fn code(&self) -> Vec<(usize, String)> {
        let mut lines = Vec::new();
        let mut test_end: Option<String> = None;
        let mut tests_next = false;
        for (number, line) in (1..).zip(self.text.lines()) {
            if let Some(end) = &test_end {
                if line == end {
                    test_end = None;
                }
                continue;
            }
            let trimmed = line.trim_start();
            if trimmed.starts_with("#[cfg(") && has_word(trimmed, "test") {
                tests_next = true;
            } else if tests_next && !trimmed.starts_with("#[") {
                tests_next = false;
                let module = trimmed.starts_with("mod ") || trimmed.starts_with("pub(crate) mod ");
                if module && trimmed.ends_with('{') {
                    let indent = &line[..line.len() - trimmed.len()];
                    test_end = Some(format!("{indent}}}"));
                    continue;
                }
            }
            lines.push((number, without_comment(line)));
        }
        lines
    }
}

/// Whether `word` stands in `line` as a word of its own.
pub fn has_word(line: &str, word: &str) -> bool {
    let part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

fn without_comment(line: &str) -> String {
    let mut code = String::new();
    let (mut in_string, mut escaped) = (false, false);
    for (at, character) in line.char_indices() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = character == '\\' && !escaped;
        } else if line[at..].starts_with("//") {
            break;
        } else {
            // A quote in quotes is a character.
            in_string = character == '"' && !line[..at].ends_with('\'');
            code.push(character);
        }
    }
    code
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `folder` whose name ends in one of `endings`.
pub fn files(folder: &str, endings: &[&str]) -> Vec<Source> {
    let mut folders = vec![root().join(folder)];
    let mut paths: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the folder can be read").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let built = ["target", "corpus", "artifacts", ".git"].contains(&name.as_deref().unwrap_or_default());
            if path.is_dir() && !built {
                folders.push(path);
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.into_iter().map(|path| read(&path)).collect()
}

fn read(path: &Path) -> Source {
    let below = path.strip_prefix(root()).expect("it is in the repository");
    Source {
        path: below.to_string_lossy().replace('\\', "/"),
        text: fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    }
}
