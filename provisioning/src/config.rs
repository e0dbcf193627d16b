use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tessera_runtime::http::server::ServerLimits;
use tessera_runtime::pkcs11::ModuleSettings;
use tessera_runtime::proxy::ProxySettings;
use tessera_token::ids::Audience;
use tessera_token::key::Algorithm;
use tessera_token::limits::TOKEN_LIFE_SECONDS;

use crate::database_settings::DatabaseSettings;
use crate::key_schedule::KeySchedule;
use crate::limits::{self, AdmissionLimits};
use crate::push_settings::PushSettings;
use crate::room::TrustLimits;
use crate::start_error::StartError;
use crate::webhook_settings::WebhookSettings;

/// Decisions of an operator about one provisioning service.
#[derive(Debug, Clone)]
pub struct ProvisioningConfig {
    /// The folder of the service. It holds `operator.token`, `feed.token`, `root.thumbprint` and `provisioning/`.
    pub data_dir: PathBuf,
    /// A token of a security module in which issuer keys are made, in the place of seeds.
    pub pkcs11: Option<ModuleSettings>,
    /// A database that several processes share, in the place of the one in the folder.
    pub database: Option<DatabaseSettings>,
    /// Where to listen; port 0 takes a free one.
    pub http_addr: SocketAddr,
    /// Certificate and key: then HTTPS is spoken there, and nothing else.
    pub https: Option<HttpsFiles>,
    /// Whether HTTP in clear may be spoken beyond this machine.
    pub http_in_clear: bool,
    /// With HTTPS: whether to answer in clear on a free port of 127.0.0.1 too, for the broker of the same process.
    pub inner: bool,
    /// Balancers and proxies in front: the listener `http`.
    pub proxy: ProxySettings,
    /// The audience of all tokens: the name of the broker or cluster.
    pub audience: Audience,
    /// Life of a token in seconds where its role names none.
    pub token_seconds: u64,
    /// The algorithm number in the tokens' header: -19, or -8 for verifiers that do not know RFC 9864.
    pub issue_algorithm: Algorithm,
    /// When issuer keys are rotated without an operator.
    pub keys: KeySchedule,
    /// A file of derivation keys, which it shares with the broker of the audience: devices may ask for tokens that are
    /// bound to a symmetric key (RFC 9202 section 3.3.2). Without it no device gets one.
    pub derivation_key_file: Option<PathBuf>,
    /// The address by which devices reach the service, such as `https://id.example.com`: the issuer in its metadata.
    pub public_origin: Option<String>,
    /// Brokers to which the next tokens of connected devices are pushed.
    pub push: PushSettings,
    /// The places that webhooks may call.
    pub webhooks: WebhookSettings,
    /// How often peers may ask.
    pub admission: AdmissionLimits,
    /// Go on with what is left of a store that holds less than it should, or make everything but the root key anew when it
    /// is gone; audited as `store.accept-loss`.
    pub accept_loss: bool,
    /// Give successors to issuer keys whose seeds are missing; audited as `key.replace`.
    pub replace_keys: bool,
    /// The most of what verifiers must hold; never more than the default, which is what they can.
    pub trust: TrustLimits,
    /// Open claims of one tenant.
    pub open_claims: u64,
    /// Threads that answer HTTP.
    pub workers: usize,
    /// Time between two removals of what has expired.
    pub sweep_every: Duration,
    /// Time for a request's head.
    pub head_time: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once.
    pub connections_per_address: usize,
    /// Time given to running requests when the service stops; whole seconds.
    pub drain: Duration,
}

/// The files of a server's certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl ProvisioningConfig {
    /// The defaults: audience `mqtt`, tokens of one hour, two workers.
    pub fn new(data_dir: impl Into<PathBuf>, http_addr: SocketAddr) -> Result<Self, StartError> {
        let audience = Audience::parse("mqtt").map_err(|_| StartError::Config("audience"))?;
        Ok(Self {
            data_dir: data_dir.into(),
            pkcs11: None,
            database: None,
            http_addr,
            https: None,
            http_in_clear: false,
            inner: false,
            proxy: ProxySettings::default(),
            audience,
            token_seconds: 3600,
            issue_algorithm: Algorithm::default(),
            keys: KeySchedule::default(),
            derivation_key_file: None,
            public_origin: None,
            push: PushSettings::default(),
            webhooks: WebhookSettings::default(),
            admission: AdmissionLimits::default(),
            accept_loss: false,
            replace_keys: false,
            trust: TrustLimits::default(),
            open_claims: limits::OPEN_CLAIMS,
            workers: 2,
            sweep_every: limits::SWEEP_EVERY,
            head_time: limits::HEAD_TIMEOUT,
            connections: limits::CONNECTIONS,
            connections_per_address: limits::CONNECTIONS_PER_ADDRESS,
            drain: limits::DRAIN,
        })
    }

    pub(crate) fn server_limits(&self) -> ServerLimits {
        ServerLimits {
            workers: self.workers,
            connections: self.connections,
            per_peer: self.connections_per_address,
            head: self.head_time,
            idle: limits::KEEP_ALIVE,
            request: limits::REQUEST_TIME,
            drain: self.drain,
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        if !(limits::TOKEN_SECONDS_LEAST..=TOKEN_LIFE_SECONDS).contains(&self.token_seconds) {
            return Err(StartError::Config("token life must be 2 s to 30 days"));
        }
        if !(1..=64).contains(&self.workers) {
            return Err(StartError::Config("workers must be 1 to 64"));
        }
        if self.public_origin.as_ref().is_some_and(|origin| !is_origin(origin)) {
            return Err(StartError::Config(
                "public_origin must be https:// and a host, with a port or without: https://id.example.com",
            ));
        }
        let here = self.http_addr.ip().to_canonical().is_loopback();
        if self.https.is_none() && !here && !self.http_in_clear {
            return Err(StartError::InClear(self.http_addr));
        }
        if self.connections == 0 || self.connections_per_address == 0 {
            return Err(StartError::Config("connections must be above 0"));
        }
        if !(1..=limits::OPEN_CLAIMS_MOST).contains(&self.open_claims) {
            return Err(StartError::Config("open claims of a tenant must be 1 to 10,000,000"));
        }
        if self.sweep_every.is_zero() {
            return Err(StartError::Config("the time between sweeps must be above 0"));
        }
        self.push.check(&self.audience)?;
        self.webhooks.check()?;
        self.keys.check()?;
        if let Some(settings) = &self.pkcs11 {
            settings.check().map_err(StartError::Config)?;
        }
        if !self.trust.fit_verifiers() {
            return Err(StartError::Config("the trust limits must be what verifiers can hold"));
        }
        let AdmissionLimits {
            proved,
            proved_total,
            anonymous,
            anonymous_total,
            wrong,
            relayed,
            device,
        } = self.admission;
        let rates = [proved, proved_total, anonymous, anonymous_total, wrong, relayed, device];
        match rates.iter().any(|rate| rate.per_second == 0 || rate.burst == 0) {
            true => Err(StartError::Config("admission rates must be above 0")),
            false => Ok(()),
        }
    }
}

/// Scheme, host and perhaps a port, and nothing behind them. HTTP in clear is for this machine alone.
fn is_origin(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<actix_web::http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let scheme = match uri.scheme_str() {
        Some("https") => "https",
        Some("http") if is_here => "http",
        _ => return false,
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let is_plain = !authority.contains('@') && !host.is_empty();
    is_plain && origin == format!("{scheme}://{authority}")
}

#[cfg(test)]
mod tests {
    use super::is_origin;

    #[test]
    fn an_origin_is_scheme_and_host() {
        for good in [
            "https://id.example.com",
            "https://id.example.com:8443",
            "http://127.0.0.1:80",
            "http://[::1]:80",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for wrong in [
            "",
            "id.example.com",
            "https://",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "http://a",
            "HTTPS://a",
            "https://a#b",
        ] {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
