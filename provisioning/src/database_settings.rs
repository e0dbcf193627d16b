//! The database of several processes: its URL, and the file of the key to which seeds in it are sealed.

use std::fmt;
use std::path::{Path, PathBuf};

use tessera_runtime::random::{self, Random};
use tessera_runtime::secret::{read_secret_file, write_secret_file, Secret, SecretFileError};
use tessera_runtime::tls::Trust;
use tessera_token::hash::sha256;
use tessera_token::seal::OpeningKey;

use crate::start_error::StartError;

const FILE: &str = "database.key";

/// A PostgreSQL database in the place of the one in the data folder.
#[derive(Clone)]
pub struct DatabaseSettings {
    /// `postgres://user:password@host/database`, or words of libpq (`host=… user=… dbname=…`).
    pub url: Secret<String>,
    /// The authorities that may sign the certificate of its server.
    pub trust: Trust,
    /// The file of its key; `None`: `provisioning/database.key` in the data folder. Every process needs the same.
    pub key_file: Option<PathBuf>,
}

impl fmt::Debug for DatabaseSettings {
    /// The URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSettings").field("key_file", &self.key_file).finish_non_exhaustive()
    }
}

/// The key of a database: 32 random bytes that the database does not hold.
pub(crate) struct DatabaseKey(Secret<[u8; 32]>);

impl DatabaseKey {
    /// The key in its file. One is made where the database holds no service yet.
    ///
    /// # Errors
    /// [`StartError::DatabaseKeyMissing`] when the database holds a service and there is no file.
    pub(crate) fn read(
        settings: &DatabaseSettings,
        own: &Path,
        random: &dyn Random,
        is_founded: bool,
    ) -> Result<Self, StartError> {
        let path = settings.key_file.clone().unwrap_or_else(|| own.join(FILE));
        match read_secret_file(&path) {
            Ok(bytes) => {
                let bytes = bytes.expose().as_slice().try_into();
                let bytes = bytes.map_err(|_| SecretFileError::NotASecret(path))?;
                Ok(Self(Secret::new(bytes)))
            }
            Err(SecretFileError::Io(path, error))
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                if is_founded {
                    return Err(StartError::DatabaseKeyMissing(path));
                }
                let made =
                    Self(Secret::new(random::bytes(random).map_err(|_| StartError::Random)?));
                write_secret_file(&path, made.0.expose())?;
                Ok(made)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The key to which seeds are sealed.
    pub(crate) fn of_seeds(&self) -> OpeningKey {
        OpeningKey::from_random(self.derived(b"tessera-database-seeds-1"))
    }

    /// The key of the nonces of all processes.
    pub(crate) fn of_nonces(&self) -> Secret<[u8; 32]> {
        Secret::new(self.derived(b"tessera-database-nonces-1"))
    }

    /// Each purpose has a key of its own: the words stand behind a secret of fixed length.
    fn derived(&self, purpose: &[u8]) -> [u8; 32] {
        let bytes = Secret::new([self.0.expose().as_slice(), purpose].concat());
        sha256(bytes.expose())
    }
}

#[cfg(test)]
mod tests {
    use tessera_runtime::random::SeededRandom;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_never_for_a_service_that_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let url = Secret::new("postgres://u:secret@h/d".to_owned());
        let settings = DatabaseSettings { url, trust: Trust::default(), key_file: None };
        assert!(!format!("{settings:?}").contains("secret"));
        let random = SeededRandom::predictable(1);
        let read = |founded| DatabaseKey::read(&settings, folder.path(), &random, founded);
        assert!(matches!(read(true), Err(StartError::DatabaseKeyMissing(_))));
        let made = read(false).unwrap();
        let again = read(true).unwrap();
        assert_eq!(made.0.expose(), again.0.expose());
        assert_eq!(made.of_seeds().public(), again.of_seeds().public());
        assert_ne!(made.of_nonces().expose(), made.0.expose());
    }
}
