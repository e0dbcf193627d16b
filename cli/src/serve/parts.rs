//! Provisioning and broker, started from a configuration.

use std::path::Path;

use tessera_agent::verifier::Verifier;
use tessera_agent::{Agent, AgentConfig};
use tessera_broker::config::RelayToken;
use tessera_broker::{Broker, BrokerHandle};
use tessera_provisioning::{Provisioning, ProvisioningHandle};
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::secret::{own_folder, read_secret_text, Secret};
use tessera_runtime::stop::Stop;
use tessera_token::key::Thumbprint;

use super::founded;
use crate::config::Config;
use crate::fault::Fault;
use crate::secrets::read_thumbprint;

/// Where trust comes from.
pub(crate) struct Feed {
    pub(crate) url: String,
    pub(crate) token: Secret<String>,
    pub(crate) root: Thumbprint,
}

impl Feed {
    /// From a token file and a thumbprint, which may stand in a file itself.
    pub(crate) fn read(url: &str, token: &Path, root: &str) -> Result<Self, Fault> {
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            token: read_secret_text(token)?,
            root: read_thumbprint(root)?,
        })
    }

    /// The agent's part of a configuration.
    pub(super) fn agent(&self, data: &Path, config: &Config) -> AgentConfig {
        let mut agent = AgentConfig::new(data, config.audience.clone(), self.root)
            .with_feed(self.url.clone(), self.token.clone());
        agent.accept_loss = config.accept_loss;
        agent.must_exist = founded::is_there(&config.data);
        if let Some(name) = &config.verifier {
            agent.verifier = Verifier::Named(name.clone());
        }
        agent.not_followed_seconds = config.not_followed_seconds;
        agent
    }
}

/// A running broker and what it decides by.
pub(crate) struct BrokerPart {
    pub(crate) agent: Agent,
    pub(crate) handle: BrokerHandle,
}

/// The metrics of one server, with the log lines of the process that are not written.
pub(super) fn counted() -> Result<Metrics, Fault> {
    let metrics = Metrics::new();
    tessera_runtime::log::count_in(&metrics)?;
    Ok(metrics)
}

/// Starts provisioning; it makes its folder.
pub(crate) async fn start_provisioning(
    config: &Config,
    clock: &SharedClock,
    stop: &Stop,
) -> Result<ProvisioningHandle, Fault> {
    let started = Provisioning::start(
        config.provisioning()?,
        clock.clone(),
        SystemRandom::shared(),
        counted()?,
        stop.clone(),
    );
    Ok(started.await?)
}

/// Starts the agent and the broker on it.
pub(crate) async fn start_broker(
    config: &Config,
    feed: &Feed,
    clock: &SharedClock,
    stop: &Stop,
) -> Result<BrokerPart, Fault> {
    let metrics = counted()?;
    let mut agent_config = feed.agent(&config.data.join("agent"), config);
    agent_config.derivation_key_file = config.derivation_key_file.clone();
    let random = SystemRandom::shared();
    let agent = Agent::start(agent_config, clock.clone(), random, &metrics, stop).await?;
    let mut settings = config.broker(&feed.url)?;
    settings.accept_loss = config.accept_loss;
    settings.relay_token = RelayToken(Some(feed.token.clone()));
    settings.must_exist = founded::is_there(&config.data);
    let handle = Broker::start(settings, &agent, clock.clone(), &metrics, stop).await?;
    founded::note(&config.data)?;
    Ok(BrokerPart { agent, handle })
}

/// Writes a copy of provisioning's store below the folder.
pub(super) fn copy_provisioning(service: &ProvisioningHandle, to: &Path) -> Result<(), String> {
    own_folder(&to.join("provisioning")).map_err(|error| error.to_string())?;
    service.copy_store_to(&to.join("provisioning/store")).map_err(|error| error.to_string())
}

impl BrokerPart {
    /// Reads the certificates again; the broker logs how it went.
    pub(super) fn reload_certificates(&self) {
        let _ = self.handle.reload_certificates();
    }

    /// The lines of `run.json`.
    pub(super) fn places(&self) -> Vec<(&'static str, String)> {
        let listening = self.handle.listening().iter();
        listening.map(|(transport, address)| (transport.as_str(), address.to_string())).collect()
    }

    /// What a person is told about where to connect.
    pub(super) fn told(&self) -> String {
        let mut told = String::new();
        for (name, address) in self.places() {
            told.push_str(&format!("{name:<13} {address}\n"));
        }
        told
    }

    /// Writes copies of both stores below the folder.
    pub(super) fn copy_stores(&self, to: &Path) -> Result<(), String> {
        let words = |error: tessera_runtime::store::StoreError| error.to_string();
        self.agent.copy_store_to(&to.join("agent")).map_err(words)?;
        own_folder(&to.join("broker")).map_err(|error| error.to_string())?;
        self.handle.copy_store_to(&to.join("broker/sessions")).map_err(words)
    }

    /// Closes what is left after the tasks have ended.
    pub(crate) fn close(&self) {
        if let Err(error) = self.agent.close() {
            tracing::error!(%error, "the agent's store was not closed cleanly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_in_both_spellings_and_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("feed.token");
        tessera_runtime::secret::write_secret_file(&token, b"t\n").unwrap();
        let file = folder.path().join("root.thumbprint");
        std::fs::write(&file, format!("{}\n", "ab".repeat(32))).unwrap();
        let url64 = tessera_token::text::base64url(&[0xab; 32]);
        for root in ["ab".repeat(32), url64, file.display().to_string()] {
            let feed = Feed::read("http://x:1/", &token, &root).unwrap();
            assert_eq!(feed.root.as_bytes(), &[0xab; 32]);
            assert_eq!((feed.url.as_str(), feed.token.expose().as_str()), ("http://x:1", "t"));
        }
        assert!(Feed::read("http://x:1", &token, "nonsense").is_err());
        assert!(Feed::read("http://x:1", Path::new("/none"), &"ab".repeat(32)).is_err());
    }
}
