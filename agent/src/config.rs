//! Configuration of an agent.

use std::path::PathBuf;

use tessera_runtime::http::Server;
use tessera_runtime::secret::Secret;
use tessera_runtime::store::StoreOptions;
use tessera_token::ids::Audience;
use tessera_token::key::Thumbprint;
use tessera_token::trust::TenantSet;

use crate::behaviour::BehaviourConfig;
use crate::limits;
use crate::verifier::Verifier;

/// An agent's configuration, valid by construction.
#[derive(Clone)]
pub struct AgentConfig {
    /// The folder of its store; made when it is missing.
    pub data_dir: PathBuf,
    /// The name that this verifier answers to in `aud`.
    pub audience: Audience,
    /// The name that a connect proof must be made for.
    pub verifier: Verifier,
    /// It answers other programs of its machine, and serves no devices itself.
    pub gateway: bool,
    /// The thumbprint of the root key: what all trust rests on.
    pub root_pin: Thumbprint,
    /// The thumbprint of the offline root key, when it is pinned too: then no link is taken without it.
    pub offline_pin: Option<Thumbprint>,
    /// Where trust data comes from; `None` works from the store alone.
    pub feed: Option<FeedConfig>,
    /// Seconds for which it decides all the same when it hears the feed and cannot follow it.
    pub not_followed_seconds: u64,
    /// A file of derivation keys, which it shares with the issuer: symmetric tokens are taken (RFC 9202 section 3.3.2).
    /// A gateway has none: their holder can make the key of every symmetric token of the audience.
    pub derivation_key_file: Option<PathBuf>,
    /// Go on with what is left of a store that holds less than it should.
    pub accept_loss: bool,
    /// There was a store before: an empty folder is a loss, and no first start.
    pub must_exist: bool,
    /// When behaviour is told.
    pub behaviour: BehaviourConfig,
    /// Bytes of observations that are kept in files beside the store; 0 for none.
    pub record_bytes: u64,
}

impl AgentConfig {
    /// A configuration with the defaults for everything else.
    pub fn new(data_dir: impl Into<PathBuf>, audience: Audience, root_pin: Thumbprint) -> Self {
        Self {
            data_dir: data_dir.into(),
            audience,
            verifier: Verifier::default(),
            gateway: false,
            root_pin,
            offline_pin: None,
            feed: None,
            not_followed_seconds: limits::TRUST_NOT_FOLLOWED_SECONDS,
            derivation_key_file: None,
            accept_loss: false,
            must_exist: false,
            behaviour: BehaviourConfig::default(),
            record_bytes: 0,
        }
    }

    /// How its store is opened.
    pub(crate) fn store_options(&self) -> StoreOptions {
        let (accept_loss, must_exist) = (self.accept_loss, self.must_exist);
        StoreOptions { accept_loss, must_exist, ..StoreOptions::default() }
    }

    /// The same with a source of trust data.
    pub fn with_feed(mut self, server: impl Into<Server>, token: Secret<String>) -> Self {
        let server = server.into();
        self.feed = Some(FeedConfig { server, token, tenants: None });
        self
    }

    /// The same as a verifier of these tenants alone; without a source of trust data it changes nothing.
    pub fn of_tenants(mut self, tenants: TenantSet) -> Self {
        if let Some(feed) = &mut self.feed {
            feed.tenants = Some(tenants);
        }
        self
    }
}

/// The trust feed of a provisioning service.
#[derive(Clone)]
pub struct FeedConfig {
    /// Its URL, and the trust settings for it.
    pub server: Server,
    /// The token of an operator account with role `feed`.
    pub token: Secret<String>,
    /// The tenants of that account; `None` is all. Trust data for others are refused: over HTTP in clear a foreign token
    /// would otherwise make this a verifier of its tenants.
    pub tenants: Option<TenantSet>,
}
