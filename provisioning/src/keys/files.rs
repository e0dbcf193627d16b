//! Seeds on disk, mode 0600, written before any record names them.

use std::fs;
use std::path::{Path, PathBuf};

use tessera_runtime::random::{self, Random};
use tessera_runtime::secret::{read_secret_file, write_secret_file, Secret, SecretFileError};
use tessera_token::key::{KeyId, SecretKey};

use crate::start::StartError;

const ROOT: &str = "root.seed";

/// The folder of the seeds.
#[derive(Clone)]
pub(crate) struct KeyFolder(PathBuf);

impl KeyFolder {
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        fs::create_dir_all(path).map_err(|error| StartError::Io(path.to_owned(), error))?;
        Ok(Self(path.to_owned()))
    }

    /// The root key; made when there is none and `make` says so.
    pub(crate) fn root(&self, random: &dyn Random, make: bool) -> Result<SecretKey, StartError> {
        let path = self.0.join(ROOT);
        if path.exists() || !make {
            return Ok(read(&path)?);
        }
        let key = draw(random).map_err(|_| StartError::Random)?;
        write_secret_file(&path, key.expose_seed().as_slice())?;
        Ok(key)
    }

    pub(crate) fn store(&self, key: &SecretKey) -> Result<KeyId, SecretFileError> {
        let id = key.public().key_id();
        write_secret_file(&self.path(id), key.expose_seed().as_slice())?;
        Ok(id)
    }

    pub(crate) fn load(&self, id: KeyId) -> Result<SecretKey, SecretFileError> {
        read(&self.path(id))
    }

    /// Forgets the seed of a key that signs no more. A file that is gone is as good.
    pub(crate) fn forget(&self, id: KeyId) {
        if let Err(error) = fs::remove_file(self.path(id)) {
            tracing::warn!(key = %id, %error, "seed of a retired key not removed");
        }
    }

    fn path(&self, id: KeyId) -> PathBuf {
        self.0.join(format!("issuer-{id}.seed"))
    }
}

pub(crate) fn draw(random: &dyn Random) -> Result<SecretKey, random::RandomError> {
    let seed = Secret::new(random::bytes::<32>(random)?);
    Ok(SecretKey::from_seed(seed.expose()))
}

fn read(path: &Path) -> Result<SecretKey, SecretFileError> {
    let content = read_secret_file(path)?;
    let seed: &[u8; 32] = content
        .expose()
        .as_slice()
        .try_into()
        .map_err(|_| SecretFileError::NotASecret(path.to_owned()))?;
    Ok(SecretKey::from_seed(seed))
}
