//! The settings of webhooks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tessera_provisioning::WebhookSettings;
use tessera_runtime::http::Outward;
use tessera_runtime::proxy::Source;
use tessera_runtime::tls::Trust;

use crate::error::Fault;

/// As a file has them.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawWebhooks {
    pub(super) ports: Option<Vec<u16>>,
    networks: Vec<String>,
    pub(super) cafile: Option<PathBuf>,
    in_clear: bool,
}

impl RawWebhooks {
    pub(crate) fn validate(&self) -> Result<WebhookSettings, Fault> {
        let parse = |text: &String| {
            Source::parse(text).ok_or_else(|| {
                Fault::new(format!("provisioning.webhooks.networks: {text:?} is no network"))
                    .hint("use an address, or address/bits such as 10.20.0.0/16")
            })
        };
        let places = Outward {
            ports: self.ports.clone().unwrap_or(Outward::default().ports),
            networks: self.networks.iter().map(parse).collect::<Result<_, _>>()?,
            in_clear: self.in_clear,
        };
        let trust = Trust { cafile: self.cafile.clone(), in_clear: self.in_clear };
        Ok(WebhookSettings { places, trust })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_parsed_and_ports_have_a_default() {
        let raw: RawWebhooks = toml::from_str("networks = [\"10.0.0.0/8\"]").unwrap();
        let settings = raw.validate().unwrap();
        assert_eq!(settings.places.ports, [443]);
        assert!(settings.places.allows("10.1.2.3".parse().unwrap()));
        assert!(!settings.places.allows("192.168.0.1".parse().unwrap()));
        let wrong: RawWebhooks = toml::from_str("networks = [\"10.0.0.0/99\"]").unwrap();
        assert!(wrong.validate().err().unwrap().to_string().contains("is no network"));
        assert!(toml::from_str::<RawWebhooks>("port = [1]").is_err());
    }
}
