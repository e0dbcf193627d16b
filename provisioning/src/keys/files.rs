//! Seeds on disk, mode 0600 in a folder of 0700, written before any record names them and removed once none does.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use tessera_runtime::random::{self, Random};
use tessera_runtime::secret::{
    own_folder, read_secret_file, write_secret_file, Secret, SecretFileError,
};
use tessera_token::encoding::hex;
use tessera_token::key::{KeyId, SecretKey, Thumbprint};

use crate::start_error::StartError;

const ROOT: &str = "root.seed";

/// The folder of the seeds.
#[derive(Clone)]
pub(crate) struct KeyFolder(PathBuf);

impl KeyFolder {
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        own_folder(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The root key; made when there is none and `make` says so.
    pub(crate) fn root(&self, random: &dyn Random, make: bool) -> Result<SecretKey, StartError> {
        let path = self.0.join(ROOT);
        if path.exists() || !make {
            return match read(&path) {
                Err(SecretFileError::Io(path, error)) if is_gone(&error) => {
                    Err(StartError::RootLost(path))
                }
                read => Ok(read?),
            };
        }
        let key = draw(random).map_err(|_| StartError::Random)?;
        write_secret_file(&path, key.expose_seed().as_slice())?;
        Ok(key)
    }

    pub(crate) fn store_later_root(&self, root: &SecretKey) -> Result<(), SecretFileError> {
        let path = self.later_root_path(&root.public().thumbprint());
        write_secret_file(&path, root.expose_seed().as_slice())
    }

    /// A root key that links lead to.
    pub(crate) fn later_root(&self, name: &Thumbprint) -> Result<SecretKey, StartError> {
        let path = self.later_root_path(name);
        match read(&path) {
            Err(SecretFileError::Io(path, error)) if is_gone(&error) => {
                Err(StartError::RootLost(path))
            }
            read => Ok(read?),
        }
    }

    /// Puts this key in the place of the first root, whose seed is lost.
    pub(crate) fn replace_root(&self, root: &SecretKey) -> Result<(), SecretFileError> {
        write_secret_file(&self.0.join(ROOT), root.expose_seed().as_slice())
    }

    /// The files of later roots.
    pub(crate) fn later_roots(&self) -> Result<Vec<(KeyId, PathBuf)>, StartError> {
        let fail = |error| StartError::Io(self.0.clone(), error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let id = name.strip_prefix("root-").and_then(|rest| rest.strip_suffix(".seed"));
            found.extend(id.and_then(parse_id).map(|id| (id, path)));
        }
        Ok(found)
    }

    fn later_root_path(&self, name: &Thumbprint) -> PathBuf {
        self.0.join(format!("root-{}.seed", name.key_id()))
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

    /// Removes the seeds that no record of an active or next key names: a crash left them between a record and its file.
    /// The root key's stays.
    pub(crate) fn clear(&self, named: &HashSet<KeyId>) -> Result<(), StartError> {
        let fail = |error| StartError::Io(self.0.clone(), error);
        for entry in fs::read_dir(&self.0).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let id = name.strip_prefix("issuer-").and_then(|rest| rest.strip_suffix(".seed"));
            let unused = match id.map(parse_id) {
                Some(Some(id)) => !named.contains(&id),
                _ => name.contains(".seed.") && name.ends_with(".tmp"),
            };
            if unused {
                fs::remove_file(&path).map_err(|error| StartError::Io(path.clone(), error))?;
                tracing::info!(file = %path.display(), "seed removed: no key in use has it");
            }
        }
        Ok(())
    }

    pub(super) fn path(&self, id: KeyId) -> PathBuf {
        self.0.join(format!("issuer-{id}.seed"))
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

fn parse_id(text: &str) -> Option<KeyId> {
    let bytes = hex::decode(text)?;
    <[u8; 8]>::try_from(bytes).ok().map(KeyId::from_bytes)
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
