//! The answers to an import of claims, in a file: they hold the codes. Its first line is the key of the import, its tenant and
//! its list, so an import that was stopped anywhere goes on with the same file, and codes whose answers were lost come again.
//! Each answer has the mark of the list up to its line: another list is no continuation.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{json, Value};
use tessera_runtime::random::{self, SystemRandom};
use tessera_runtime::secret::owner_alone;
use tessera_token::encoding::base64url;

use super::bulk::at;
use super::source::Source;
use crate::error::Fault;

/// The member with the key.
const KEY: &str = "import_key";
/// The member with the tenant of the import.
const TENANT: &str = "tenant";
/// The member with the name of the list; of an answer, the mark of the list up to its line.
const LIST: &str = "list";
/// Bytes that are read of a file of answers: 200 for each of a million lines.
const BYTES_MOST: u64 = 256 * 1024 * 1024;

/// The file of answers.
pub(super) struct Answers {
    path: PathBuf,
    file: File,
    /// The Idempotency-Key of the import.
    pub(super) key: String,
    /// The name of the list, as the command named it at first.
    list: String,
    /// The line behind the last one that is answered in it.
    pub(super) next: u64,
    /// An answered line before the place where the import goes on, and the mark of the list up to it.
    mark: Option<(u64, String)>,
    /// Lines that it says were refused.
    pub(super) refused: u64,
}

/// A new key: 128 random bits.
pub(super) fn draw() -> Result<String, Fault> {
    let drawn = random::bytes::<16>(&SystemRandom);
    drawn.map(|drawn| base64url(&drawn)).map_err(|error| Fault::new(error.to_string()))
}

impl Answers {
    /// Begins a file that its owner alone reads, or goes on with one that is there. `from`: the line where the import goes on,
    /// when it is not the one behind the last answer.
    pub(super) fn open(
        path: &Path,
        tenant: &str,
        list: &Path,
        from: Option<u64>,
    ) -> Result<Self, Fault> {
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
            let list = list.display().to_string();
            let head = json!({ KEY: key, TENANT: tenant, LIST: list });
            write(&mut file, &head).and_then(|()| file.sync_all()).map_err(fault)?;
            let path = path.to_owned();
            return Ok(Self { path, file, key, list, next: 1, mark: None, refused: 0 });
        }
        let (head, answers) = text.split_once('\n').unwrap_or_default();
        let strange = || {
            Fault::new(format!("{}: it holds no answers to an import of claims", path.display()))
                .hint("name a new file with --answers")
        };
        let read = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
        let text = |line: &Value, name: &str| line.get(name)?.as_str().map(str::to_owned);
        let head = read(head);
        let named = (text(&head, KEY), text(&head, TENANT), text(&head, LIST));
        let (Some(key), Some(of), Some(named)) = named else { return Err(strange()) };
        let (mut next, mut refused, mut mark) = (1, 0, None::<(u64, String)>);
        for line in answers.lines() {
            let line = read(line);
            let number = line.get("line").and_then(Value::as_u64).ok_or_else(strange)?;
            next = next.max(number + 1);
            refused += u64::from(line.get("outcome").is_some_and(|word| word == "refused"));
            let is_before = from.is_none_or(|from| number < from);
            if is_before && mark.as_ref().is_none_or(|(last, _)| *last < number) {
                mark = Some((number, text(&line, LIST).ok_or_else(strange)?));
            }
        }
        if of != tenant {
            let why = format!(
                "{}: it holds answers to an import of {named} for the tenant {of}, not for {tenant}",
                path.display()
            );
            return Err(
                Fault::new(why).hint("name a new file with --answers, or the tenant with --tenant")
            );
        }
        file.set_len(whole as u64).map_err(fault)?;
        Ok(Self { path: path.to_owned(), file, key, list: named, next, mark, refused })
    }

    /// Passes the lines before `from`, and looks whether those that are answered are of this list.
    pub(super) fn pass(&self, source: &mut Source, from: u64) -> Result<(), Fault> {
        let mark = self.mark.as_ref().map(|(line, mark)| (*line, mark.as_str()));
        if source.skip(from - 1, mark)? {
            return Ok(());
        }
        let (path, list, line) = (self.path.display(), &self.list, self.next - 1);
        let why = format!(
            "{path}: it holds answers to the lines of {list} up to {line}, and {} begins with other lines",
            source.name()
        );
        Err(Fault::new(why)
            .hint("name the list that these answers belong to, or a new file with --answers"))
    }

    /// Keeps an answer, with the mark of the list up to its line.
    pub(super) fn keep(&mut self, answer: &Value, mark: &str) -> Result<(), Fault> {
        let mut answer = answer.clone();
        if let Some(members) = answer.as_object_mut() {
            members.insert(LIST.to_owned(), json!(mark));
        }
        write(&mut self.file, &answer).map_err(|error| at(&self.path, &error))
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

    use super::super::source::tests::source;
    use super::*;

    fn opened(path: &Path) -> Result<Answers, Fault> {
        Answers::open(path, "acme", Path::new("lots"), None)
    }

    #[test]
    fn a_file_of_answers_goes_on_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers");
        let mut answers = opened(&path).unwrap();
        assert_eq!((answers.next, answers.key.len()), (1, 22));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "its owner alone reads it");
        for line in [1, 2, 4] {
            answers.keep(&json!({ "line": line, "claim_code": "TSR-…" }), "m").unwrap();
        }
        answers.keep(&json!({ "line": 5, "outcome": "refused" }), "m").unwrap();
        answers.file.write_all(b"{\"line\":6,\"cl\xc3").unwrap();
        assert!(opened(&path).is_err(), "another run has it");
        let key = answers.key.clone();
        drop(answers);
        let again = opened(&path).unwrap();
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
        assert!(opened(&open).is_err());
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(opened(&link).is_err());
        assert!(opened(folder.path()).is_err());
        assert!(opened(&open).is_ok());
    }

    #[test]
    fn another_file_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        for text in [
            "{\"role\":\"sensor\"}\n",
            "x\n",
            "no line",
            "{\"import_key\":\"k\"}\n",
            "{\"import_key\":\"k\",\"tenant\":\"acme\",\"list\":\"lots\"}\n{\"role\":\"sensor\"}\n",
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(opened(&path).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    fn passes(answers: &Answers, list: &str, from: u64) -> bool {
        answers.pass(&mut source(list), from).is_ok()
    }

    #[test]
    fn answers_belong_to_their_tenant_and_their_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers");
        let mut answers = opened(&path).unwrap();
        let mut list = source("a\n\nb\nc\n");
        let piece = list.piece().unwrap();
        for line in [1, 3] {
            answers.keep(&json!({ "line": line }), piece.mark(line)).unwrap();
        }
        drop(answers);
        let other = Answers::open(&path, "other", Path::new("lots"), None).err().unwrap();
        assert!(other.to_string().contains("tenant acme"), "{other}");
        let again = opened(&path).unwrap();
        assert_eq!(again.next, 4);
        assert!(passes(&again, "a\n\nb\nc\n", 4));
        assert!(passes(&again, "a\n\nb\nd\ne\n", 4), "the rest has no answers yet");
        for other in ["x\n\nb\nc\n", "a\nb\nc\n", "a\n\nb c\n", "a\n\n", ""] {
            assert!(!passes(&again, other, 4), "{other:?}");
        }
        assert!(passes(&again, "a\n\nb\nc\nd\n", 5), "further on");
        drop(again);
        // Back to the second line, the first answer alone says where it belongs.
        let back = Answers::open(&path, "acme", Path::new("lots"), Some(2)).unwrap();
        assert!(passes(&back, "a\nx\n", 2));
        assert!(!passes(&back, "x\nx\n", 2));
    }
}
