//! Secrets in memory and in files. A [`Secret`] has no `Debug`, no `Display` and no `Serialize`.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroize;

use crate::limits::SECRET_FILE_BYTES;

/// A value that is wiped when dropped and that nothing prints by accident.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Never hand the result to a log, an error or an answer.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Why a secret file could not be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum SecretFileError {
    /// The operating system refused.
    Io(PathBuf, std::io::Error),
    /// Larger than [`SECRET_FILE_BYTES`] or not UTF-8 where text is asked for.
    NotASecret(PathBuf),
    /// Others than the owner can get at this file or folder, which has this mode: its content must be taken as known.
    Open(PathBuf, u32),
}

impl fmt::Display for SecretFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NotASecret(path) => write!(f, "{}: not a secret file", path.display()),
            Self::Open(path, mode) => {
                let wanted = if path.is_dir() { "700" } else { "600" };
                let path = path.display();
                write!(
                    f,
                    "{path} has mode {mode:04o}: others can read it, or what is in it. Replace what is secret there if \
                     they may have, then: chmod {wanted} {path}"
                )
            }
        }
    }
}

impl std::error::Error for SecretFileError {}

impl SecretFileError {
    /// Whether there was no room on the disk: the same may be done when there is some.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io(_, error) if crate::store::is_full(error))
    }
}

/// Writes `content` readable by the owner alone (mode 0600), all or nothing: a temporary file, fsync, rename, fsync of
/// the folder.
///
/// # Errors
/// [`SecretFileError::Io`]; the old file is then still there.
pub fn write_secret_file(path: &Path, content: &[u8]) -> Result<(), SecretFileError> {
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
        .and_then(|()| sync_folder(path))
        .map_err(|error| SecretFileError::Io(path.to_owned(), error))
}

/// Makes the folder, and those above it, for the owner alone (mode 0700). One that is there and that others can get at is
/// closed when it is empty.
///
/// # Errors
/// [`SecretFileError::Open`] when others can get at it and something is in it: that may be known already.
/// [`SecretFileError::Io`].
pub fn own_folder(path: &Path) -> Result<(), SecretFileError> {
    let fail = |error| SecretFileError::Io(path.to_owned(), error);
    close(path, || Ok(fs::read_dir(path).map_err(fail)?.next().is_some()))
}

/// As [`own_folder`], for a folder in which other things may lie: it is closed when none of `secrets` is in it, and when it
/// is not one that all share, such as `/tmp`.
///
/// # Errors
/// As [`own_folder`].
pub fn own_folder_of(path: &Path, secrets: &[&str]) -> Result<(), SecretFileError> {
    close(path, || Ok(secrets.iter().any(|name| path.join(name).exists())))
}

fn close(
    path: &Path,
    is_used: impl FnOnce() -> Result<bool, SecretFileError>,
) -> Result<(), SecretFileError> {
    let fail = |error| SecretFileError::Io(path.to_owned(), error);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
    let found = fs::metadata(path).map_err(fail)?;
    let Err(open) = owner_alone(path, &found) else { return Ok(()) };
    let is_shared = found.permissions().mode() & 0o1000 != 0;
    match is_shared || is_used()? {
        true => Err(open),
        false => fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(fail),
    }
}

/// Reads a secret file of at most [`SECRET_FILE_BYTES`], which only its owner may be able to read.
///
/// # Errors
/// [`SecretFileError`].
pub fn read_secret_file(path: &Path) -> Result<Secret<Vec<u8>>, SecretFileError> {
    let fail = |error| SecretFileError::Io(path.to_owned(), error);
    let file = File::open(path).map_err(fail)?;
    owner_alone(path, &file.metadata().map_err(fail)?)?;
    read(path, file)
}

fn read(path: &Path, file: File) -> Result<Secret<Vec<u8>>, SecretFileError> {
    let fail = |error| SecretFileError::Io(path.to_owned(), error);
    let mut content = Vec::new();
    file.take(SECRET_FILE_BYTES + 1).read_to_end(&mut content).map_err(fail)?;
    let secret = Secret::new(content);
    match u64::try_from(secret.expose().len()) {
        Ok(length) if length <= SECRET_FILE_BYTES => Ok(secret),
        _ => Err(SecretFileError::NotASecret(path.to_owned())),
    }
}

/// Reads a secret file that holds one line of text; white space around it is dropped.
///
/// # Errors
/// [`SecretFileError`].
pub fn read_secret_text(path: &Path) -> Result<Secret<String>, SecretFileError> {
    text(path, read_secret_file(path)?)
}

/// As [`read_secret_text`], for a text that is no secret: others may be able to read the file.
///
/// # Errors
/// [`SecretFileError`].
pub fn read_public_text(path: &Path) -> Result<String, SecretFileError> {
    let file = File::open(path).map_err(|error| SecretFileError::Io(path.to_owned(), error))?;
    Ok(text(path, read(path, file)?)?.expose().clone())
}

/// Whether only the owner can get at this file or folder.
///
/// # Errors
/// [`SecretFileError::Open`] when others can.
pub fn owner_alone(path: &Path, found: &fs::Metadata) -> Result<(), SecretFileError> {
    let mode = found.permissions().mode() & 0o7777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(SecretFileError::Open(path.to_owned(), mode)),
    }
}

fn text(path: &Path, bytes: Secret<Vec<u8>>) -> Result<Secret<String>, SecretFileError> {
    let text = std::str::from_utf8(bytes.expose())
        .map_err(|_| SecretFileError::NotASecret(path.to_owned()))?;
    Ok(Secret::new(text.trim().to_owned()))
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.token");
        write_secret_file(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_secret_file(&path, b"two\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_secret_text(&path).unwrap().expose(), "two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_file_is_not_read_when_others_could() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        write_secret_file(&path, b" one\ntwo\n").unwrap();
        assert_eq!(read_secret_text(&path).unwrap().expose(), "one\ntwo");
        for mode in [0o640, 0o604, 0o610, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_secret_text(&path).err().unwrap();
            assert!(matches!(error, SecretFileError::Open(_, found) if found == mode), "{mode:o}");
            let told = error.to_string();
            let command = format!("chmod 600 {}", path.display());
            assert!(told.contains(&command) && told.contains(&format!("{mode:04o}")), "{told}");
            assert_eq!(read_public_text(&path).unwrap(), "one\ntwo");
        }
    }

    #[test]
    fn a_folder_is_made_closed_or_refused() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("a/b");
        own_folder(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&above.path().join("a"))), (0o700, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        own_folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700, "an empty one is closed");
        fs::write(path.join("x"), "x").unwrap();
        own_folder(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let told = own_folder(&path).err().unwrap().to_string();
        assert!(told.contains("0750") && told.contains("chmod 700"), "{told}");
        assert_eq!(mode(&path), 0o750, "one with something in it is refused");
        own_folder_of(&path, &["y"]).unwrap();
        assert_eq!(mode(&path), 0o700, "what is no secret does not count");
        for wrong in [0o750, 0o1777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wrong)).unwrap();
            let secret = if wrong == 0o750 { "x" } else { "y" };
            assert!(own_folder_of(&path, &[secret]).is_err(), "{wrong:o}");
        }
        assert!(matches!(own_folder(&path.join("x/y")), Err(SecretFileError::Io(..))));
    }

    #[test]
    fn a_huge_file_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        write_secret_file(&path, &vec![b'x'; 70_000]).unwrap();
        assert!(matches!(read_secret_file(&path), Err(SecretFileError::NotASecret(_))));
    }

    #[test]
    fn a_missing_folder_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/x");
        assert!(matches!(write_secret_file(&path, b"x"), Err(SecretFileError::Io(..))));
    }
}
