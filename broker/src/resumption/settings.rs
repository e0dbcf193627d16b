use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tessera_token::limits::TOKEN_LIFE_SECONDS;

use crate::config_error::ConfigError;
use crate::limits::{TICKET_ROTATION, TICKET_ROTATION_LEAST};

/// The resumption secret as a file has it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawResumption {
    /// Whether devices that proved their key over TLS get a secret by which the next CONNECT is cheap.
    pub enabled: bool,
    /// Seconds after which a new ticket key takes over. A secret is good for one to two times as long, and never longer
    /// than its token.
    pub rotate_every: u64,
    /// A file of ticket keys that nodes of a cluster share: up to three lines of 64 hexadecimal digits, the first one
    /// for new secrets. Readable by its owner alone. Without it the broker makes its own keys.
    pub ticket_key_file: Option<PathBuf>,
}

impl Default for RawResumption {
    fn default() -> Self {
        Self { enabled: true, rotate_every: TICKET_ROTATION, ticket_key_file: None }
    }
}

/// Where ticket keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketSettings {
    /// No secret is handed out and none is accepted.
    Off,
    /// Made here.
    Own {
        /// Seconds between two keys.
        rotate_every: u64,
    },
    /// From a file that others read too.
    Shared(PathBuf),
}

impl RawResumption {
    pub(crate) fn validate(self) -> Result<TicketSettings, ConfigError> {
        let within = TICKET_ROTATION_LEAST..=TOKEN_LIFE_SECONDS;
        if !within.contains(&self.rotate_every) {
            let problem = format!(
                "{} is not within {TICKET_ROTATION_LEAST} and {TOKEN_LIFE_SECONDS} seconds",
                self.rotate_every
            );
            return Err(ConfigError { key: "resumption.rotate_every", problem });
        }
        Ok(match (self.enabled, self.ticket_key_file) {
            (false, None) => TicketSettings::Off,
            (false, Some(_)) => {
                let problem = "is not used while resumption.enabled is false".to_owned();
                return Err(ConfigError { key: "resumption.ticket_key_file", problem });
            }
            (true, None) => TicketSettings::Own { rotate_every: self.rotate_every },
            (true, Some(path)) => TicketSettings::Shared(path),
        })
    }
}
