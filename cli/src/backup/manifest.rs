//! `manifest.json`: what a backup holds. It is written last, so a backup without it is not whole.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::tree;
use crate::error::Fault;

pub(crate) const NAME: &str = "manifest.json";
const FORMAT: &str = "tessera-backup-1";
/// Bytes of a manifest: a backup has hundreds of files, not thousands.
const BYTES: u64 = 64 * 1024 * 1024;

#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: String,
    /// Of the program that made it.
    pub(super) version: String,
    /// Seconds since 1970.
    pub(super) made: u64,
    /// The stores in it.
    pub(super) stores: Vec<String>,
    /// Whether seeds, ticket keys and tokens are in it.
    pub(super) keys: bool,
    files: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Entry {
    bytes: u64,
    sha256: String,
}

impl Manifest {
    /// Looks at every file below the folder.
    pub(super) fn of(
        folder: &Path,
        made: u64,
        stores: Vec<String>,
        keys: bool,
    ) -> Result<Self, Fault> {
        let mut files = BTreeMap::new();
        for name in tree::files(folder)? {
            let (bytes, sha256) = tree::digest(&folder.join(&name))?;
            files.insert(name, Entry { bytes, sha256 });
        }
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Self { format: FORMAT.to_owned(), version, made, stores, keys, files })
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), Fault> {
        tree::write(&folder.join(NAME), &format!("{}\n", serde_json::to_string_pretty(self)?))
    }

    /// Reads the manifest of a whole backup.
    pub(super) fn read(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join(NAME);
        let found = std::fs::metadata(&path).map_err(|_| {
            Fault::new(format!("{}: not a whole backup: it has no {NAME}", folder.display())).hint(
                "the manifest is written last; a backup that broke off has none: take another one",
            )
        })?;
        if found.len() > BYTES {
            return Err(Fault::new(format!("{}: too large", path.display())));
        }
        let text = std::fs::read_to_string(&path).map_err(tree::named(&path))?;
        let manifest: Self = serde_json::from_str(&text)
            .map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
        match manifest.format == FORMAT {
            true => Ok(manifest),
            false => Err(Fault::new(format!(
                "{}: made by version {} in the format {:?}, which this version does not know",
                path.display(),
                manifest.version,
                manifest.format
            ))),
        }
    }

    /// The files, when all of them are there as they were, and no others.
    pub(super) fn check(&self, folder: &Path) -> Result<Vec<&str>, Fault> {
        let present = tree::files(folder)?;
        let extra = present.iter().find(|name| *name != NAME && !self.files.contains_key(*name));
        if let Some(extra) = extra {
            return Err(bad(folder, extra, "is not in the manifest"));
        }
        for (name, entry) in &self.files {
            let plain =
                Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
            if !plain {
                return Err(bad(folder, name, "is no path inside of a backup"));
            }
            if present.binary_search(name).is_err() {
                return Err(bad(folder, name, "is missing"));
            }
            if tree::digest(&folder.join(name))? != (entry.bytes, entry.sha256.clone()) {
                return Err(bad(folder, name, "is not as it was when the backup was made"));
            }
        }
        Ok(self.files.keys().map(String::as_str).collect())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).fold(0, u64::saturating_add)
    }

    pub(super) fn count(&self) -> usize {
        self.files.len()
    }
}

fn bad(folder: &Path, name: &str, why: &str) -> Fault {
    Fault::new(format!("{}: this backup cannot be used: {name} {why}", folder.display()))
        .hint("take another one; nothing was restored")
}
