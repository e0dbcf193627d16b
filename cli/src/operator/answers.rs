//! The answers to an import of claims, in a file: they hold the codes. Its first line is the key of the import, so an import
//! that was stopped anywhere goes on with the same file, and codes whose answers were lost come again.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{json, Value};
use tessera_runtime::random::{self, SystemRandom};
use tessera_runtime::secret::owner_alone;
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
    /// Lines that it says were refused.
    pub(super) refused: u64,
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
        let mut file = own(path)?;
        if file.metadata().map_err(fault)?.len() > BYTES_MOST {
            let why = format!("{}: it is larger than {BYTES_MOST} bytes", path.display());
            return Err(Fault::new(why).hint(
                "name a new file with --answers, and send the rest of the list with --from-line",
            ));
        }
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes).map_err(fault)?;
        // A stop may have cut the last line anywhere.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let is_new = bytes.is_empty();
        bytes.truncate(whole);
        let text = String::from_utf8_lossy(&bytes);
        if is_new {
            let key = draw()?;
            let head = json!({ KEY: key });
            write(&mut file, &head).and_then(|()| file.sync_all()).map_err(fault)?;
            return Ok(Self { path: path.to_owned(), file, key, next: 1, refused: 0 });
        }
        let (head, answers) = text.split_once('\n').unwrap_or_default();
        let strange = || {
            Fault::new(format!("{}: it holds no answers to an import of claims", path.display()))
                .hint("name a new file with --answers")
        };
        let member =
            |line: &str, name: &str| serde_json::from_str::<Value>(line).ok()?.get(name).cloned();
        let key = member(head, KEY).and_then(|key| key.as_str().map(str::to_owned));
        let key = key.ok_or_else(strange)?;
        let (mut next, mut refused) = (1, 0);
        for line in answers.lines() {
            let number = member(line, "line").and_then(|number| number.as_u64());
            next = next.max(number.ok_or_else(strange)? + 1);
            refused += u64::from(member(line, "outcome").is_some_and(|word| word == "refused"));
        }
        file.set_len(whole as u64).map_err(fault)?;
        Ok(Self { path: path.to_owned(), file, key, next, refused })
    }

    /// Keeps an answer.
    pub(super) fn keep(&mut self, answer: &Value) -> Result<(), Fault> {
        write(&mut self.file, answer).map_err(|error| at(&self.path, &error))
    }
}

/// The file, which belongs to this run alone while it lasts, and which its owner alone reads.
fn own(path: &Path) -> Result<File, Fault> {
    let fault = |error| at(path, &error);
    let is_file = |found: &Metadata| match found.is_file() {
        true => Ok(()),
        false => Err(Fault::new(format!("{}: it is no regular file", path.display()))),
    };
    // A pipe would not even open.
    if let Ok(found) = std::fs::symlink_metadata(path) {
        is_file(&found)?;
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(0o600).open(path);
    let file = file.map_err(fault)?;
    let (found, named) =
        (file.metadata().map_err(fault)?, std::fs::symlink_metadata(path).map_err(fault)?);
    is_file(&named)?;
    if (found.dev(), found.ino()) != (named.dev(), named.ino()) {
        return Err(Fault::new(format!("{}: another file took its place", path.display())));
    }
    owner_alone(path, &found).map_err(|error| Fault::new(error.to_string()))?;
    file.try_lock().map_err(|_| {
        Fault::new(format!("{}: another import writes its answers there", path.display()))
    })?;
    Ok(file)
}

/// A line in one piece.
fn write(file: &mut File, line: &Value) -> std::io::Result<()> {
    file.write_all(format!("{line}\n").as_bytes())
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
        answers.keep(&json!({ "line": 5, "outcome": "refused" })).unwrap();
        answers.file.write_all(b"{\"line\":6,\"cl\xc3").unwrap();
        assert!(Answers::open(&path).is_err(), "another run has it");
        let key = answers.key.clone();
        drop(answers);
        let again = Answers::open(&path).unwrap();
        assert_eq!((again.next, again.refused, &again.key), (6, 1, &key));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn a_file_that_others_read_or_that_is_a_link_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (open, link) = (folder.path().join("open"), folder.path().join("link"));
        std::fs::write(&open, "").unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Answers::open(&open).is_err());
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(Answers::open(&link).is_err());
        assert!(Answers::open(folder.path()).is_err());
        assert!(Answers::open(&open).is_ok());
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
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(Answers::open(&path).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
