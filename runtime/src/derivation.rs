//! Derivation keys in a file that issuer and verifier of one audience share, and that may be replaced while they run.

use std::fmt;
use std::path::{Path, PathBuf};

use tessera_token::ids::Audience;
use tessera_token::proof::{DerivationKeys, DerivationKeysError};
use tokio::time::MissedTickBehavior;

use crate::limits::DERIVATION_FILE_LOOK;
use crate::secret::{read_secret_text, SecretFileError};
use crate::stop::Stop;

/// Why there are no derivation keys. Names the file, never what is in it.
#[derive(Debug)]
#[non_exhaustive]
pub enum DerivationFileError {
    /// It cannot be read, or others can read it.
    File(SecretFileError),
    /// It holds something else, or keys of another audience.
    Content(PathBuf, DerivationKeysError),
}

impl fmt::Display for DerivationFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Content(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for DerivationFileError {}

/// Reads the file: one to three lines of the audience, a space and 64 hexadecimal digits, newest first.
///
/// # Errors
/// [`DerivationFileError`].
pub fn read(path: &Path, audience: &Audience) -> Result<DerivationKeys, DerivationFileError> {
    let text = read_secret_text(path).map_err(DerivationFileError::File)?;
    let keys = DerivationKeys::parse(text.expose(), audience);
    keys.map_err(|error| DerivationFileError::Content(path.to_owned(), error))
}

/// Reads the file again every [`DERIVATION_FILE_LOOK`] until `stop`, and hands over what it holds, changed or not. A bad
/// file changes nothing: it is told once, until it is good again.
pub async fn watch(
    path: PathBuf,
    audience: Audience,
    stop: Stop,
    mut take: impl FnMut(DerivationKeys) + Send,
) {
    let mut ticks = tokio::time::interval(DERIVATION_FILE_LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    loop {
        tokio::select! {
            () = stop.stopping() => return,
            _ = ticks.tick() => {}
        }
        let (path, audience) = (path.clone(), audience.clone());
        match tokio::task::spawn_blocking(move || read(&path, &audience)).await {
            Ok(Ok(keys)) => {
                complained = false;
                take(keys);
            }
            Ok(Err(error)) => {
                if !complained {
                    tracing::error!(%error, "derivation keys not read again: the old ones stay");
                }
                complained = true;
            }
            // The runtime stops.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::secret::write_secret_file;

    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("derivation.keys");
        let audience = Audience::parse("mqtt").unwrap();
        assert!(matches!(read(&path, &audience), Err(DerivationFileError::File(_))));
        let line = |audience: &str, byte: &str| format!("{audience} {}\n", byte.repeat(32));
        write_secret_file(&path, (line("mqtt", "0a") + &line("mqtt", "0b")).as_bytes()).unwrap();
        let keys = read(&path, &audience).unwrap();
        assert_eq!(keys.ids().count(), 2);
        for (text, expected) in [
            (String::new(), DerivationKeysError::Malformed),
            (line("mqtt", "0a") + &line("other", "0b"), DerivationKeysError::Audience),
        ] {
            write_secret_file(&path, text.as_bytes()).unwrap();
            let found = read(&path, &audience).err().unwrap();
            assert!(!found.to_string().contains("0a0a"), "{found}");
            assert!(matches!(found, DerivationFileError::Content(_, error) if error == expected));
        }
    }

    #[tokio::test]
    async fn a_bad_file_changes_nothing_and_a_good_one_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("derivation.keys");
        let audience = Audience::parse("mqtt").unwrap();
        let (stop, (told, mut hear)) = (Stop::new(), tokio::sync::mpsc::channel(16));
        let write = |byte: &str| {
            write_secret_file(&path, format!("mqtt {}", byte.repeat(32)).as_bytes()).unwrap();
            read(&path, &audience).unwrap().ids().next()
        };
        let first = write("0a");
        let take = move |keys: DerivationKeys| {
            let _ = told.try_send(keys.ids().next());
        };
        let watching = tokio::spawn(watch(path.clone(), audience.clone(), stop.clone(), take));
        assert_eq!(hear.recv().await.unwrap(), first);
        write_secret_file(&path, b"rubbish").unwrap();
        // Whatever was read before the file was bad has been heard by the time the next good one is.
        let second = write("0b");
        let mut heard = Vec::new();
        while heard.last() != Some(&second) {
            heard.push(hear.recv().await.unwrap());
        }
        assert!(heard.iter().all(|id| *id == first || *id == second));
        stop.trigger();
        watching.await.unwrap();
    }
}
