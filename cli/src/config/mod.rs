//! Configuration of the servers in three steps: what a file says ([`Raw`]), joined with the command line; what holds
//! ([`Config`]); what the parts are built from.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tessera_agent::behaviour::BehaviourConfig;
use tessera_agent::location::LocationFiles;
use tessera_agent::settings::RawBehaviour;
use tessera_broker::config::RawLimits;
use tessera_broker::resumption::RawResumption;
use tessera_broker::transport::settings::RawTls;
use tessera_broker::{BrokerConfig, RawBrokerConfig};
use tessera_provisioning::{
    HttpsFiles, KeySchedule, ProvisioningConfig, RawLimits as RawProvisioningLimits,
};
use tessera_runtime::http::Server;
use tessera_runtime::log::Format;
use tessera_runtime::proxy::RawProxy;
use tessera_token::ids::{Audience, VerifierName};

use crate::args::{
    DatabaseArgs, DerivationArgs, ListenArgs, LogArgs, LogFormat, LossArgs, Pkcs11Args, Place,
    ProxyArgs, SeedsArgs, ServiceArgs,
};
use crate::error::Fault;

mod behaviour;
mod database;
mod pkcs11;
mod push;
mod show;
#[cfg(test)]
mod tests;
mod webhooks;

pub(crate) use database::RawDatabase;
pub(crate) use pkcs11::RawPkcs11;
pub(crate) use push::RawPush;
pub(crate) use show::run;
pub(crate) use webhooks::RawWebhooks;

/// Libraries that speak of every connection are asked for warnings alone.
const LOG_LEVEL: &str = "info,rumqttd=warn,actix_server=warn";
/// Ports on loopback where nothing else is said.
const MQTT: u16 = 1883;
const HTTP: u16 = 8080;
const METRICS: u16 = 9464;
const AUDIENCE: &str = "mqtt";
const TOKEN_SECONDS: u64 = 3600;
const DRAIN_SECONDS: u64 = 10;
/// Bytes of a configuration file: a mistyped path must not fill the memory.
const FILE_BYTES: u64 = 256 * 1024;

/// Contents of a configuration file. Unknown keys are refused: a typo must not switch a guard off.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    pub(crate) data: Option<PathBuf>,
    pub(crate) mqtt: Option<Place>,
    pub(crate) mqtts: Option<SocketAddr>,
    pub(crate) ws: Option<SocketAddr>,
    pub(crate) wss: Option<SocketAddr>,
    pub(crate) quic: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) http_in_clear: bool,
    pub(crate) cafile: Option<PathBuf>,
    pub(crate) https: RawHttps,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) audience: Option<String>,
    pub(crate) verifier: Option<String>,
    pub(crate) derivation_key_file: Option<PathBuf>,
    pub(crate) token_seconds: Option<u64>,
    pub(crate) drain_seconds: Option<u64>,
    pub(crate) not_followed_seconds: Option<u64>,
    pub(crate) log: RawLog,
    pub(crate) tls: RawTls,
    pub(crate) proxy: RawProxy,
    pub(crate) behaviour: RawBehaviour,
    pub(crate) broker: RawBroker,
    pub(crate) provisioning: RawProvisioning,
    /// Of the command line alone: a file would say it at every start.
    #[serde(skip)]
    pub(crate) accept_loss: bool,
    /// As `accept_loss`.
    #[serde(skip)]
    pub(crate) replace_keys: bool,
}

/// The certificate of provisioning.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawHttps {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLog {
    pub(crate) level: Option<String>,
    pub(crate) format: Option<String>,
    /// The format of the command line, in the place of `format`.
    #[serde(skip)]
    chosen: Option<Format>,
}

#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawBroker {
    ace_as_hint: Option<String>,
    ace_challenge: Option<String>,
    authz_info: Option<bool>,
    enrolment: Option<bool>,
    partner_tokens: Option<String>,
    reason_strings: Option<bool>,
    shared_for_v311: Option<bool>,
    suppress_will_on_revocation: Option<bool>,
    resumption: RawResumption,
    limits: RawLimits,
}

#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawProvisioning {
    database: RawDatabase,
    pkcs11: RawPkcs11,
    /// The address by which devices reach provisioning.
    public_origin: Option<String>,
    push: RawPush,
    webhooks: RawWebhooks,
    keys: KeySchedule,
    limits: RawProvisioningLimits,
}

/// The valid configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) mqtt: Place,
    pub(crate) mqtts: Option<SocketAddr>,
    pub(crate) ws: Option<SocketAddr>,
    pub(crate) wss: Option<SocketAddr>,
    pub(crate) quic: Option<SocketAddr>,
    pub(crate) http: SocketAddr,
    https: Option<HttpsFiles>,
    /// Whether HTTP in clear is served, and asked for, beyond this machine.
    pub(crate) http_in_clear: bool,
    /// The authorities that may sign the certificate of provisioning.
    pub(crate) cafile: Option<PathBuf>,
    pub(crate) metrics: SocketAddr,
    pub(crate) audience: Audience,
    /// The name in connect proofs; the audience, or a gateway's own, when there is none.
    pub(crate) verifier: Option<VerifierName>,
    /// The file of derivation keys (`docs/symmetric.md`); for provisioning and broker, never for a gateway.
    pub(crate) derivation_key_file: Option<PathBuf>,
    pub(crate) token_seconds: u64,
    pub(crate) drain: Duration,
    /// For how long a verifier that cannot follow the trust feed decides all the same.
    pub(crate) not_followed_seconds: u64,
    pub(crate) log: LogConfig,
    /// Whether to go on with what is left of a store.
    pub(crate) accept_loss: bool,
    replace_keys: bool,
    tls: RawTls,
    proxy: RawProxy,
    /// How odd behaviour is judged.
    pub(crate) behaviour: BehaviourConfig,
    /// Bytes of observations that are kept in files; 0 for none.
    pub(crate) record_bytes: u64,
    /// Where addresses are.
    pub(crate) location: LocationFiles,
    broker: RawBroker,
    provisioning: RawProvisioning,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    pub(crate) level: String,
    pub(crate) format: Format,
}

/// The value that a text in TOML holds, for the other rooms that read it.
pub(crate) fn from_toml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

impl Raw {
    /// Reads the file; without one, everything has its default.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, Fault> {
        let Some(path) = path else { return Ok(Self::default()) };
        let named = |why: String| Fault::new(format!("{}: {why}", path.display()));
        let size = std::fs::metadata(path).map_err(|error| named(error.to_string()))?.len();
        if size > FILE_BYTES {
            return Err(named(format!("larger than {FILE_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        from_toml(&text).map_err(named)
    }

    /// Puts what the command line says before what the file says.
    pub(crate) fn with_log(mut self, args: &LogArgs) -> Self {
        self.log.level = args.log.clone().or(self.log.level);
        let format = args.log_format.map(|format| match format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        });
        self.log.chosen = format.or(self.log.chosen);
        self
    }

    /// As [`Raw::with_log`], for the listeners.
    pub(crate) fn with_listeners(mut self, args: &ListenArgs) -> Self {
        self.mqtt = args.mqtt.or(self.mqtt);
        self.mqtts = args.mqtts.or(self.mqtts);
        self.ws = args.ws.or(self.ws);
        self.wss = args.wss.or(self.wss);
        self.quic = args.quic.or(self.quic);
        self.metrics = args.metrics.or(self.metrics);
        self.tls.cert = args.cert.clone().or(self.tls.cert);
        self.tls.key = args.key.clone().or(self.tls.key);
        self
    }

    /// As [`Raw::with_log`], for the verifier's name.
    pub(crate) fn with_verifier(mut self, name: Option<&String>) -> Self {
        self.verifier = name.cloned().or(self.verifier);
        self
    }

    /// As [`Raw::with_log`], for provisioning.
    pub(crate) fn with_service(mut self, args: &ServiceArgs) -> Self {
        self.http = args.http.or(self.http);
        self.provisioning.push.with(args);
        self.http_in_clear |= args.http_in_clear;
        self.https.cert = args.https_cert.clone().or(self.https.cert);
        self.https.key = args.https_key.clone().or(self.https.key);
        self
    }

    /// As [`Raw::with_log`], for the database of provisioning.
    pub(crate) fn with_database(mut self, args: &DatabaseArgs) -> Self {
        self.provisioning.database.with(args);
        self
    }

    /// As [`Raw::with_log`], for the security module of issuer keys.
    pub(crate) fn with_pkcs11(mut self, args: &Pkcs11Args) -> Self {
        self.provisioning.pkcs11.with(args);
        self
    }

    /// As [`Raw::with_log`], for proxies in front.
    pub(crate) fn with_proxy(mut self, args: &ProxyArgs) -> Self {
        if !args.trusted_proxy.is_empty() {
            self.proxy.trusted = args.trusted_proxy.clone();
        }
        self
    }

    /// As [`Raw::with_log`], for symmetric keys.
    pub(crate) fn with_derivation(mut self, args: &DerivationArgs) -> Self {
        self.derivation_key_file = args.derivation_keys.clone().or(self.derivation_key_file);
        self
    }

    /// As [`Raw::with_log`], for what is given after a loss.
    pub(crate) fn after_loss(mut self, loss: &LossArgs, seeds: &SeedsArgs) -> Self {
        self.accept_loss = loss.accept_loss;
        self.replace_keys = seeds.replace_keys;
        self
    }

    /// Checks everything. `data` is the default folder of the verb.
    pub(crate) fn validate(self, data: &str) -> Result<Config, Fault> {
        let audience = self.audience.as_deref().unwrap_or(AUDIENCE);
        let audience = Audience::parse(audience)
            .map_err(|error| Fault::new(format!("audience {audience:?}: {error}")))?;
        let verifier = self.verifier.as_deref().map(|name| {
            VerifierName::parse(name)
                .map_err(|error| Fault::new(format!("verifier {name:?}: {error}")))
        });
        let drain = self.drain_seconds.unwrap_or(DRAIN_SECONDS);
        if !(1..=600).contains(&drain) {
            return Err(Fault::new(format!("drain_seconds = {drain}: use 1 to 600")));
        }
        let not_followed = tessera_agent::limits::TRUST_NOT_FOLLOWED_SECONDS;
        let not_followed_seconds = self.not_followed_seconds.unwrap_or(not_followed);
        if !(10..=3600).contains(&not_followed_seconds) {
            let words = format!("not_followed_seconds = {not_followed_seconds}: use 10 to 3600");
            return Err(Fault::new(words));
        }
        let (behaviour, record_bytes) = behaviour::validate(&self.behaviour)?;
        let config = Config {
            data: self.data.unwrap_or_else(|| PathBuf::from(data)),
            mqtt: self.mqtt.unwrap_or(Place::At(loopback(MQTT))),
            mqtts: self.mqtts,
            ws: self.ws,
            wss: self.wss,
            quic: self.quic,
            http: self.http.unwrap_or(loopback(HTTP)),
            https: self.https.validate()?,
            http_in_clear: self.http_in_clear,
            cafile: self.cafile,
            metrics: self.metrics.unwrap_or(loopback(METRICS)),
            audience,
            verifier: verifier.transpose()?,
            derivation_key_file: self.derivation_key_file,
            token_seconds: self.token_seconds.unwrap_or(TOKEN_SECONDS),
            drain: Duration::from_secs(drain),
            not_followed_seconds,
            log: self.log.validate()?,
            accept_loss: self.accept_loss,
            replace_keys: self.replace_keys,
            tls: self.tls,
            proxy: self.proxy,
            behaviour,
            record_bytes,
            location: self.behaviour.location(),
            broker: self.broker,
            provisioning: self.provisioning,
        };
        config.broker(None)?;
        config.provisioning()?;
        if !(2..=tessera_token::limits::TOKEN_LIFE_SECONDS).contains(&config.token_seconds) {
            let words =
                format!("token_seconds = {}: use 2 to 2592000 (30 days)", config.token_seconds);
            return Err(Fault::new(words));
        }
        Ok(config)
    }
}

impl RawHttps {
    fn validate(self) -> Result<Option<HttpsFiles>, Fault> {
        match (self.cert, self.key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some(HttpsFiles { cert, key })),
            (None, _) => Err(Fault::new("https.cert: the certificate file is missing")),
            (_, None) => Err(Fault::new("https.key: the key file is missing")),
        }
    }
}

impl RawLog {
    fn validate(self) -> Result<LogConfig, Fault> {
        let level = self.level.unwrap_or_else(|| LOG_LEVEL.to_owned());
        let format = match (self.chosen, self.format.as_deref()) {
            (Some(chosen), _) => chosen,
            (None, None | Some("text")) => Format::Text,
            (None, Some("json")) => Format::Json,
            (None, Some(other)) => {
                return Err(Fault::new(format!("log.format {other:?}: use text or json")))
            }
        };
        check_level(&level)?;
        Ok(LogConfig { level, format })
    }
}

/// A word alone must be a level: the logger would take a mistyped one for a target and say nothing else.
fn check_level(level: &str) -> Result<(), Fault> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let known = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    let good = |part: &str| match part.split_once('=') {
        Some((target, word)) => !target.is_empty() && known(word),
        None => known(part),
    };
    match level.split(',').all(good) {
        true => Ok(()),
        false => Err(Fault::new(format!("log level {level:?}"))
            .hint(format!("use {}, or target=level,…", LEVELS.join(", ")))),
    }
}

impl Config {
    /// Provisioning's part.
    pub(crate) fn provisioning(&self) -> Result<ProvisioningConfig, Fault> {
        let mut config = ProvisioningConfig::new(&self.data, self.http)?;
        config.database = self.provisioning.database.validate()?;
        config.pkcs11 = self.provisioning.pkcs11.validate()?;
        config.push = self.provisioning.push.validate()?;
        config.webhooks = self.provisioning.webhooks.validate()?;
        config.https = self.https.clone();
        config.http_in_clear = self.http_in_clear;
        config.proxy = self.proxy.validate()?;
        config.audience = self.audience.clone();
        config.token_seconds = self.token_seconds;
        config.derivation_key_file = self.derivation_key_file.clone();
        config.accept_loss = self.accept_loss;
        config.replace_keys = self.replace_keys;
        config.public_origin = self.provisioning.public_origin.clone();
        self.provisioning.keys.check()?;
        config.keys = self.provisioning.keys;
        self.provisioning.limits.apply(&mut config)?;
        Ok(config)
    }

    /// Whether provisioning pushes tokens to the broker of the same process.
    pub(crate) fn pushes_to_self(&self) -> bool {
        self.provisioning.push.is_to_self()
    }

    /// The broker's part; `provisioning` is where it relays token requests to, once that is known.
    pub(crate) fn broker(&self, provisioning: Option<&Server>) -> Result<BrokerConfig, Fault> {
        let defaults = RawBrokerConfig::default();
        let own = &self.broker;
        let raw = RawBrokerConfig {
            mqtt: self.mqtt.address(),
            mqtts: self.mqtts,
            ws: self.ws,
            wss: self.wss,
            quic: self.quic,
            tls: self.tls.clone(),
            proxy: self.proxy.clone(),
            http: self.metrics,
            data_dir: self.data.join("broker"),
            provisioning: provisioning.map(|server| server.url.clone()),
            trust: provisioning.map(|server| server.trust.clone()).unwrap_or_default(),
            ace_as_hint: own.ace_as_hint.clone(),
            ace_challenge: own.ace_challenge.clone(),
            authz_info: own.authz_info.unwrap_or(defaults.authz_info),
            enrolment: own.enrolment.unwrap_or(defaults.enrolment),
            partner_tokens: own.partner_tokens.clone(),
            reason_strings: own.reason_strings.unwrap_or(defaults.reason_strings),
            shared_for_v311: own.shared_for_v311.unwrap_or(defaults.shared_for_v311),
            suppress_will_on_revocation: own
                .suppress_will_on_revocation
                .unwrap_or(defaults.suppress_will_on_revocation),
            resumption: own.resumption.clone(),
            limits: own.limits.clone(),
        };
        Ok(raw.validate()?)
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
