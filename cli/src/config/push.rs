//! The settings of push refresh.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tessera_provisioning::{PushBroker, PushSettings};
use tessera_runtime::tls::Trust;

use crate::args::ServiceArgs;
use crate::error::Fault;

/// The broker of the same process, in the place of an address.
const SELF: &str = "self";

/// As a file has them.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPush {
    brokers: Vec<String>,
    pub(super) per_second: Option<u32>,
    pub(super) cafile: Option<PathBuf>,
    in_clear: bool,
}

impl RawPush {
    /// Puts what the command line says before what the file says.
    pub(crate) fn with(&mut self, args: &ServiceArgs) {
        if !args.push.is_empty() {
            self.brokers = args.push.clone();
        }
    }

    /// Whether tokens are pushed to the broker of the same process.
    pub(crate) fn is_to_self(&self) -> bool {
        self.brokers.iter().any(|one| one == SELF)
    }

    /// The settings, without the broker of the same process.
    pub(crate) fn validate(&self) -> Result<PushSettings, Fault> {
        let parse = |text: &String| {
            PushBroker::parse(text).ok_or_else(|| {
                Fault::new(format!("provisioning.push.brokers: {text:?} is no broker"))
                    .hint("use mqtts://host:port, mqtt://host:port (with ?tenants=a,b and #NAME), or self with tessera up")
            })
        };
        let others = self.brokers.iter().filter(|one| *one != SELF);
        let defaults = PushSettings::default();
        Ok(PushSettings {
            brokers: others.map(parse).collect::<Result<_, _>>()?,
            per_second: self.per_second.unwrap_or(defaults.per_second),
            trust: Trust { cafile: self.cafile.clone(), in_clear: self.in_clear },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_parsed_and_self_is_told_apart() {
        let raw: RawPush =
            toml::from_str("brokers = [\"self\", \"mqtts://b1:1#b1\"]\nper_second = 7").unwrap();
        let settings = raw.validate().unwrap();
        assert!(raw.is_to_self());
        assert_eq!((settings.brokers.len(), settings.per_second), (1, 7));
        assert!(!RawPush::default().is_to_self());
        let wrong: RawPush = toml::from_str("brokers = [\"b1:1883\"]").unwrap();
        assert!(wrong.validate().err().unwrap().to_string().contains("\"b1:1883\" is no broker"));
        assert!(toml::from_str::<RawPush>("broker = []").is_err());
    }
}
