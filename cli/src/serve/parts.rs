//! Provisioning and broker, started from a configuration.

use std::path::Path;

use tessera_agent::config::UplinkConfig;
use tessera_agent::verifier::Verifier;
use tessera_agent::{Agent, AgentConfig};
use tessera_broker::config::RelayToken;
use tessera_broker::{Broker, BrokerHandle};
use tessera_provisioning::{Provisioning, ProvisioningHandle};
use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::Server;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::secret::{own_folder, read_secret_text, Secret};
use tessera_runtime::stop::Stop;
use tessera_token::key::Thumbprint;
use tessera_token::limits::FEED_TENANTS;
use tessera_token::trust::TenantSet;

use super::founded;
use crate::args::{AgentFeedArgs, FeedArgs};
use crate::config::Config;
use crate::error::Fault;
use crate::secrets::read_thumbprint;

/// Where trust comes from.
pub(crate) struct Feed {
    pub(crate) server: Server,
    pub(crate) token: Secret<String>,
    pub(crate) root: Thumbprint,
    /// The offline root key, when it is pinned too.
    pub(crate) offline_root: Option<Thumbprint>,
    /// The tenants of the token's account; `None` is all.
    pub(crate) tenants: Option<TenantSet>,
}

impl Feed {
    /// From a token file and a thumbprint, which may stand in a file itself. The command line goes before the settings.
    pub(crate) fn read(args: &FeedArgs, config: &Config) -> Result<Self, Fault> {
        let mut trust = args.trust.trust();
        trust.cafile = args.trust.cafile.clone().or(config.cafile.clone()).or(trust.cafile);
        trust.in_clear |= config.http_in_clear;
        let server = Server::new(args.provisioning.trim_end_matches('/'), trust);
        let tenants = match args.feed_tenants.as_slice() {
            [] => None,
            tenants => Some(TenantSet::new(tenants.iter().cloned()).map_err(|_| {
                Fault::new(format!("--feed-tenant names more than {FEED_TENANTS} tenants"))
            })?),
        };
        Ok(Self {
            server,
            token: read_secret_text(&args.feed_token)?,
            root: read_thumbprint(&args.root)?,
            offline_root: args.offline_root.as_deref().map(read_thumbprint).transpose()?,
            tenants,
        })
    }

    /// The agent's part of a configuration.
    pub(super) fn agent(&self, data: &Path, config: &Config) -> AgentConfig {
        if self.server.is_in_clear() {
            tracing::warn!(
                url = self.server.url,
                "provisioning is asked in clear beyond this machine: tokens can be read on the way"
            );
        }
        let agent = agent_with(data, (self.root, self.offline_root), config);
        let agent = agent.with_feed(self.server.clone(), self.token.clone());
        match &self.tenants {
            Some(tenants) => agent.of_tenants(tenants.clone()),
            None => agent,
        }
    }
}

/// An agent that pins these root keys, without a source of trust.
fn agent_with(
    data: &Path,
    (root, offline_root): (Thumbprint, Option<Thumbprint>),
    config: &Config,
) -> AgentConfig {
    let mut agent = AgentConfig::new(data, config.audience.clone(), root);
    agent.offline_pin = offline_root;
    agent.accept_loss = config.accept_loss;
    agent.must_exist = founded::is_there(&config.data);
    if let Some(name) = &config.verifier {
        agent.verifier = Verifier::Named(name.clone());
    }
    agent.behaviour = config.behaviour.clone();
    agent.record_bytes = config.record_bytes;
    agent.location = config.location.clone();
    agent.not_followed_seconds = config.not_followed_seconds;
    agent
}

/// The agent of a gateway: its trust comes from provisioning, or over a broker.
pub(super) fn gateway(args: &AgentFeedArgs, config: &Config) -> Result<AgentConfig, Fault> {
    let data = config.data.join("agent");
    if let Some(feed) = args.of_provisioning() {
        return Ok(Feed::read(&feed, config)?.agent(&data, config));
    }
    let (Some(broker), Some(device)) = (&args.uplink, &args.device) else {
        return Err(Fault::new("neither --provisioning nor --uplink says where trust comes from"));
    };
    let mut trust = args.trust.trust();
    trust.cafile = args.trust.cafile.clone().or(config.cafile.clone()).or(trust.cafile);
    trust.in_clear |= config.http_in_clear;
    let uplink = UplinkConfig::read(broker, trust, device);
    let uplink = uplink.map_err(|error| Fault::new(error.to_string()))?;
    let offline = args.offline_root.as_deref().map(read_thumbprint).transpose()?;
    let roots = (read_thumbprint(&args.root)?, offline);
    Ok(agent_with(&data, roots, config).with_uplink(uplink))
}

/// A running broker and what it decides by.
pub(crate) struct BrokerPart {
    pub(crate) agent: Agent,
    pub(crate) handle: BrokerHandle,
}

/// The metrics of one server, with the log lines of the process that are not written.
pub(super) fn counted() -> Result<Metrics, Fault> {
    let metrics = Metrics::of_server(env!("CARGO_PKG_VERSION"))?;
    tessera_runtime::log::count_in(&metrics)?;
    Ok(metrics)
}

/// Starts provisioning; it makes its folder.
pub(crate) async fn start_provisioning(
    config: &Config,
    inner: bool,
    clock: &SharedClock,
    stop: &Stop,
) -> Result<ProvisioningHandle, Fault> {
    let mut settings = config.provisioning()?;
    settings.inner = inner;
    let started = Provisioning::start(
        settings,
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
    let mut settings = config.broker(Some(&feed.server))?;
    settings.accept_loss = config.accept_loss;
    settings.relay_token = RelayToken(Some(feed.token.clone()));
    settings.must_exist = founded::is_there(&config.data);
    let handle = Broker::start(settings, &agent, clock.clone(), &metrics, stop).await?;
    founded::note(&config.data)?;
    Ok(BrokerPart { agent, handle })
}

/// Reads the certificate of provisioning again; it logs how it went.
pub(super) fn reload_certificates(service: &ProvisioningHandle) {
    let _ = service.reload_certificates();
}

/// Writes a copy of provisioning's store below the folder.
pub(super) fn copy_provisioning(service: &ProvisioningHandle, to: &Path) -> Result<(), String> {
    own_folder(&to.join("provisioning")).map_err(|error| error.to_string())?;
    service.copy_store_to(&to.join("provisioning/store")).map_err(|error| error.to_string())
}

impl BrokerPart {
    /// Reads the certificates and the files of locations again; the log says how it went.
    pub(super) fn reload_files(&self) {
        let _ = self.handle.reload_certificates();
        self.agent.reload_locations();
    }

    /// The lines of `run.json`.
    pub(super) fn places(&self) -> Vec<(&'static str, String)> {
        let listening = self.handle.listening().iter();
        listening.map(|(transport, address)| (transport.as_str(), address.to_string())).collect()
    }

    /// The addresses, for the reader of the terminal.
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

    fn args(token: &Path, root: &str) -> FeedArgs {
        FeedArgs {
            provisioning: "http://x:1/".to_owned(),
            trust: Default::default(),
            feed_token: token.to_owned(),
            feed_tenants: Vec::new(),
            root: root.to_owned(),
            offline_root: None,
        }
    }

    fn read(token: &Path, root: &str) -> Result<Feed, Fault> {
        let args = args(token, root);
        let raw = crate::config::Raw { cafile: Some("ca.pem".into()), ..Default::default() };
        Feed::read(&args, &raw.validate("d")?)
    }

    #[test]
    fn a_root_in_both_spellings_and_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("feed.token");
        tessera_runtime::secret::write_secret_file(&token, b"t\n").unwrap();
        let file = folder.path().join("root.thumbprint");
        std::fs::write(&file, format!("{}\n", "ab".repeat(32))).unwrap();
        let url64 = tessera_token::encoding::base64url(&[0xab; 32]);
        for root in ["ab".repeat(32), url64, file.display().to_string()] {
            let feed = read(&token, &root).unwrap();
            assert_eq!(feed.root.as_bytes(), &[0xab; 32]);
            let shown = (feed.server.url.as_str(), feed.token.expose().as_str());
            assert_eq!(shown, ("http://x:1", "t"));
            assert_eq!(feed.server.trust.cafile.as_deref(), Some(Path::new("ca.pem")));
        }
        assert!(read(&token, "nonsense").is_err());
        assert!(read(Path::new("/none"), &"ab".repeat(32)).is_err());
    }
    #[test]
    fn tenants_of_the_feed_are_said_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("feed.token");
        tessera_runtime::secret::write_secret_file(&token, b"t\n").unwrap();
        let config = crate::config::Raw::default().validate("d").unwrap();
        let with = |tenants: usize| {
            let name = |n: usize| format!("t{n}").parse().unwrap();
            let feed_tenants = (0..tenants).rev().map(name).collect();
            let args = FeedArgs { feed_tenants, ..args(&token, &"ab".repeat(32)) };
            let feed = Feed::read(&args, &config).map_err(|fault| fault.to_string())?;
            let agent = feed.agent(Path::new("d"), &config);
            Ok::<_, String>(agent.feed.unwrap().tenants.map(|tenants| tenants.to_string()))
        };
        assert_eq!(with(0), Ok(None));
        assert_eq!(with(2), Ok(Some("t0 t1".to_owned())));
        assert!(with(FEED_TENANTS).is_ok());
        assert!(with(FEED_TENANTS + 1).unwrap_err().contains("--feed-tenant"));
    }
}
