//! Configuration of an agent.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::location::LocationFiles;
use serde::Deserialize;
use tessera_runtime::http::Server;
use tessera_runtime::mqtt::Address;
use tessera_runtime::secret::Secret;
use tessera_runtime::store::StoreOptions;
use tessera_runtime::tls::Trust;
use tessera_token::ids::{Audience, DeviceId, TenantId, VerifierName};
use tessera_token::key::Thumbprint;
use tessera_token::limits::{UPLINK_PAGE, UPLINK_PAGE_LEAST};
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
    /// The connection of a gateway to a broker, over which trust data comes in the place of `feed`.
    pub uplink: Option<UplinkConfig>,
    /// Seconds for which it decides all the same when it hears the feed and cannot follow it.
    pub not_followed_seconds: u64,
    /// A file of derivation keys, which it shares with the issuer: symmetric tokens are taken (RFC 9202 section 3.3.2).
    /// A gateway has none: their holder can make the key of every symmetric token of the audience.
    pub derivation_key_file: Option<PathBuf>,
    /// Go on with what is left of a store that holds less than it should.
    pub accept_loss: bool,
    /// There was a store before: an empty folder is a loss, and no first start.
    pub must_exist: bool,
    /// Files that tell where addresses are; none is needed.
    pub location: LocationFiles,
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
            uplink: None,
            not_followed_seconds: limits::TRUST_NOT_FOLLOWED_SECONDS,
            derivation_key_file: None,
            accept_loss: false,
            must_exist: false,
            location: LocationFiles::default(),
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

    /// The same as a gateway that reads trust data over a broker, of the tenant of its own device.
    pub fn with_uplink(mut self, uplink: UplinkConfig) -> Self {
        self.uplink = Some(uplink);
        self
    }

    /// The place of the feed, for the log.
    pub(crate) fn feed_place(&self) -> &str {
        match (&self.uplink, &self.feed) {
            (Some(uplink), _) => &uplink.broker,
            (None, Some(feed)) => feed.server.url.as_str(),
            (None, None) => "",
        }
    }

    /// The tenants of the feed; `None` is all.
    pub(crate) fn tenants(&self) -> Option<TenantSet> {
        match &self.uplink {
            Some(uplink) => Some(uplink.tenants.clone()),
            None => self.feed.as_ref().and_then(|feed| feed.tenants.clone()),
        }
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

/// The connection of a gateway to a broker: the gateway is a device with a key and a token of its own.
#[derive(Clone)]
pub struct UplinkConfig {
    pub(crate) broker: String,
    pub(crate) address: Address,
    /// The name of the broker in connect proofs, when it is not the audience.
    pub(crate) verifier: Option<String>,
    pub(crate) trust: Trust,
    pub(crate) folder: PathBuf,
    tenant: TenantId,
    device: DeviceId,
    pub(crate) tenants: TenantSet,
    pub(crate) page: usize,
}

/// Why there is no uplink.
#[derive(Debug)]
pub struct UplinkError(String);

impl fmt::Display for UplinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UplinkError {}

/// The members of `device.json` that are of use here.
#[derive(Deserialize)]
struct Card {
    tenant: String,
    device: String,
}

impl UplinkConfig {
    /// Takes a broker, `mqtts://host:port` or `mqtt://host:port`, behind `#` its verifier name when it has one of its own;
    /// and the folder of the device that the gateway is, as `tessera device enrol --dir` makes it.
    ///
    /// # Errors
    /// [`UplinkError`] for a broker that is none or is spoken to in clear on another machine, and a folder without a device.
    pub fn read(broker: &str, trust: Trust, folder: &Path) -> Result<Self, UplinkError> {
        let (place, verifier) = match broker.split_once('#') {
            Some((place, name)) => {
                let name = VerifierName::parse(name);
                let name = name.map_err(|error| UplinkError(format!("{broker}: {error}")))?;
                (place, Some(name.as_str().to_owned()))
            }
            None => (broker, None),
        };
        let address = Address::parse(place).ok_or_else(|| {
            UplinkError(format!(
                "{broker:?} is no broker: mqtts://host:port, and behind # its verifier name"
            ))
        })?;
        if address.is_in_clear_beyond_this_machine() && !trust.in_clear {
            return Err(UplinkError(format!(
                "{broker} would be spoken to in clear beyond this machine: use mqtts://"
            )));
        }
        let path = folder.join("device.json");
        let told = |error: &dyn fmt::Display| {
            UplinkError(format!(
                "{}: {error}; enrol the gateway first: tessera device enrol --dir {}",
                path.display(),
                folder.display()
            ))
        };
        let text = std::fs::read_to_string(&path).map_err(|error| told(&error))?;
        let card: Card = serde_json::from_str(&text).map_err(|error| told(&error))?;
        let tenant = TenantId::parse(&card.tenant).map_err(|error| told(&error))?;
        let device = DeviceId::parse(&card.device).map_err(|error| told(&error))?;
        let tenants = TenantSet::new([tenant.clone()]).map_err(|error| told(&error))?;
        let (broker, folder) = (broker.to_owned(), folder.to_owned());
        let page = UPLINK_PAGE;
        Ok(Self { broker, address, verifier, trust, folder, tenant, device, tenants, page })
    }

    /// The same with answers in pages of so many bytes, within [`UPLINK_PAGE_LEAST`] and [`UPLINK_PAGE`].
    pub fn with_page(mut self, bytes: usize) -> Self {
        self.page = bytes.clamp(UPLINK_PAGE_LEAST, UPLINK_PAGE);
        self
    }

    /// The tenant of the gateway: it verifies devices of this tenant alone.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The device that the gateway is.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The client id of its connection.
    ///
    /// It has a suffix, so that a bridge of the gateway may be connected beside it.
    pub(crate) fn client_id(&self) -> String {
        format!("{}~agent", self.device)
    }
}
