//! The answers to an import of claims, in a file: they hold the codes. Its first line is the key of the import, so an import
//! that was stopped anywhere goes on with the same file, and codes whose answers were lost come again.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{json, Value};
use tessera_runtime::random::{self, SystemRandom};
use tessera_token::encoding::base64url;

use super::bulk::at;
use crate::error::Fault;

/// The member with the key.
const KEY: &str = "import_key";
/// Bytes that are read of a file of answers: 200 for each of a million lines.
const BYTES_MOST: u64 = 256 * 1024 * 1024;

/// The file of answers.
pub(super) struct Answers {
    path: PathBuf,
    file: File,
    /// The Idempotency-Key of the import.
    pub(super) key: String,
    /// The line behind the last one that is answered in it.
    pub(super) next: u64,
}

/// A new key: 128 random bits.
pub(super) fn draw() -> Result<String, Fault> {
    let drawn = random::bytes::<16>(&SystemRandom);
    drawn.map(|drawn| base64url(&drawn)).map_err(|error| Fault::new(error.to_string()))
}

impl Answers {
    /// Begins a file that its owner alone reads, or goes on with one that is there.
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        let fault = |error| at(path, &error);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(fault)?;
        let mut text = String::new();
        (&file).take(BYTES_MOST).read_to_string(&mut text).map_err(fault)?;
        if text.is_empty() {
            let key = draw()?;
            let head = json!({ KEY: key });
            writeln!(file, "{head}").and_then(|()| file.sync_all()).map_err(fault)?;
            return Ok(Self { path: path.to_owned(), file, key, next: 1 });
        }
        // A stop may have cut the last line.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let (head, answers) =
            text.get(..whole).and_then(|text| text.split_once('\n')).unwrap_or_default();
        let strange = || {
            Fault::new(format!("{}: it holds no answers to an import of claims", path.display()))
                .hint("name a new file with --answers")
        };
        let member =
            |line: &str, name: &str| serde_json::from_str::<Value>(line).ok()?.get(name).cloned();
        let key = member(head, KEY).and_then(|key| key.as_str().map(str::to_owned));
        let key = key.ok_or_else(strange)?;
        let mut next = 1;
        for line in answers.lines() {
            let number = member(line, "line").and_then(|number| number.as_u64());
            next = next.max(number.ok_or_else(strange)? + 1);
        }
        file.set_len(whole as u64).map_err(fault)?;
        file.seek(SeekFrom::End(0)).map_err(fault)?;
        Ok(Self { path: path.to_owned(), file, key, next })
    }

    /// Keeps an answer.
    pub(super) fn keep(&mut self, answer: &Value) -> Result<(), Fault> {
        writeln!(self.file, "{answer}").map_err(|error| at(&self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_of_answers_goes_on_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers");
        let mut answers = Answers::open(&path).unwrap();
        assert_eq!((answers.next, answers.key.len()), (1, 22));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "its owner alone reads it");
        for line in [1, 2, 4] {
            answers.keep(&json!({ "line": line, "claim_code": "TSR-…" })).unwrap();
        }
        write!(answers.file, "{{\"line\":5,\"cl").unwrap();
        let again = Answers::open(&path).unwrap();
        assert_eq!((again.next, &again.key), (5, &answers.key));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn another_file_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        for text in [
            "{\"role\":\"sensor\"}\n",
            "x\n",
            "no line",
            "{\"import_key\":\"k\"}\n{\"role\":\"sensor\"}\n",
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(Answers::open(&path).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
