//! The settings of a database that several provisioning processes share.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};
use tessera_provisioning::DatabaseSettings;
use tessera_runtime::tls::Trust;

use crate::args::DatabaseArgs;
use crate::error::Fault;
use crate::secrets::text_or_file;

/// As a file has them.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDatabase {
    url: Option<Url>,
    key_file: Option<PathBuf>,
    pub(super) cafile: Option<PathBuf>,
    in_clear: bool,
}

/// The URL, which may hold a password: it is never printed.
#[derive(Deserialize, Clone)]
struct Url(String);

impl Url {
    /// As it may be printed.
    fn shown(&self) -> &str {
        match self.0.starts_with('@') {
            true => &self.0,
            false => "(not shown)",
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl RawDatabase {
    /// Puts what the command line says before what the file says.
    pub(crate) fn with(&mut self, args: &DatabaseArgs) {
        self.url = args.database.clone().map(Url).or(self.url.take());
        self.key_file = args.database_key.clone().or(self.key_file.take());
        self.cafile = args.database_cafile.clone().or(self.cafile.take());
        self.in_clear |= args.database_in_clear;
    }

    /// The settings; `None` when no URL is given.
    pub(crate) fn validate(&self) -> Result<Option<DatabaseSettings>, Fault> {
        let Some(Url(given)) = &self.url else {
            return match (&self.key_file, &self.cafile) {
                (None, None) => Ok(None),
                _ => Err(Fault::new("provisioning.database.url is missing").hint(
                    "name the database with --database, or leave out its key and its authorities",
                )),
            };
        };
        let url = text_or_file(given).map_err(|fault| fault.at("provisioning.database.url"))?;
        let trust = Trust { cafile: self.cafile.clone(), in_clear: self.in_clear };
        Ok(Some(DatabaseSettings { url, trust, key_file: self.key_file.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_never_printed() {
        let raw: RawDatabase = toml::from_str("url = \"postgres://u:secret@h/d\"").unwrap();
        let shown = serde_json::to_string(&raw).unwrap();
        assert!(!shown.contains("secret") && !format!("{raw:?}").contains("secret"), "{shown}");
        assert_eq!(raw.validate().unwrap().unwrap().url.expose(), "postgres://u:secret@h/d");
    }

    #[test]
    fn a_key_without_a_database_is_told() {
        let raw: RawDatabase = toml::from_str("key_file = \"k\"").unwrap();
        assert!(raw.validate().err().unwrap().to_string().contains("database.url is missing"));
    }
}
