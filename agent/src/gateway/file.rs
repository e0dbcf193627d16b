//! The settings file of `tessera-agent`: the names that `tessera agent --config FILE` takes. An unknown name is refused with
//! its line: a typo must not switch a guard off.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tessera_agent::settings::RawBehaviour;

/// Bytes of a settings file: a mistyped path must not fill the memory.
const FILE_BYTES: u64 = 256 * 1024;

/// Contents of the file.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) data: Option<PathBuf>,
    pub(super) http: Option<SocketAddr>,
    pub(super) audience: Option<String>,
    pub(super) verifier: Option<String>,
    pub(super) cafile: Option<PathBuf>,
    pub(super) drain_seconds: Option<u64>,
    pub(super) not_followed_seconds: Option<u64>,
    pub(super) log: Log,
    pub(super) behaviour: RawBehaviour,
}

/// How to log.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}

impl File {
    /// Reads it. The error names the file, the line and the name.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let named = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let size = std::fs::metadata(path).map_err(|error| named(&error))?.len();
        if size > FILE_BYTES {
            return Err(named(&format!("larger than {FILE_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
        toml::from_str(&text).map_err(|error| named(&error))
    }
}
