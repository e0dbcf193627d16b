//! Settings in three steps: what a file says ([`RawBrokerConfig`]), what holds ([`BrokerConfig`]), what is built.

mod raw_limits;
mod relay;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use tessera_runtime::http::{is_url, Server};
use tessera_runtime::proxy::{ProxySettings, RawProxy};
use tessera_runtime::tls::Trust;

use crate::limits;
use crate::resumption::{RawResumption, TicketSettings};
use crate::shares::ShareLimits;
use crate::transport::settings::{Listen, RawTls, TlsSettings, Transport};

pub use crate::admission::AdmissionLimits;
pub use crate::challenges::{AceChallenge, ChallengeLimits};
pub use crate::config_error::ConfigError;
pub use crate::partners::PartnerTokens;
pub use crate::registry::SessionLimits;
pub use crate::routing::retained::RetainedLimits;
pub use crate::session::SessionPolicy;
pub use raw_limits::RawLimits;
pub use relay::RelayToken;

/// The settings as a file has them. Unknown keys are refused; what is left out has its default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawBrokerConfig {
    /// Where MQTT is spoken over plain TCP; in a file `address:port` or `off`.
    #[serde(deserialize_with = "address_or_off")]
    pub mqtt: Option<SocketAddr>,
    /// Where MQTT is spoken over TLS.
    pub mqtts: Option<SocketAddr>,
    /// Where MQTT is spoken over WebSocket.
    pub ws: Option<SocketAddr>,
    /// Where MQTT is spoken over WebSocket inside TLS.
    pub wss: Option<SocketAddr>,
    /// Where MQTT is spoken over QUIC, a UDP port.
    pub quic: Option<SocketAddr>,
    /// Certificates, and what clients prove by theirs.
    pub tls: RawTls,
    /// Listeners behind a balancer.
    pub proxy: RawProxy,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http: SocketAddr,
    /// A folder for what the broker keeps.
    pub data_dir: PathBuf,
    /// The provisioning service to which token requests are relayed, `https://host:port`; without it they are refused
    /// with `not_ready`.
    pub provisioning: Option<String>,
    /// The trust settings for that service.
    #[serde(skip)]
    pub trust: Trust,
    /// Hint on the authorization server, sent to clients of the method `ace` without a valid token (RFC 9431
    /// `ace_as_hint`): a JSON object with the member `AS`. Nothing unless set.
    pub ace_as_hint: Option<String>,
    /// Where the challenge of RFC 9431 lets in: `never`, `clear_only` (default) or `always`. It is bound to nothing, so
    /// over TLS, where the exporter or the method `tessera-ace-1` proves the same to this very broker, it is not
    /// needed.
    pub ace_challenge: Option<String>,
    /// Whether TLS connections without any credential may publish tokens to `authz-info` (RFC 9431 section 2.2.2), for
    /// a later connection whose handshake key is the one in the token.
    pub authz_info: bool,
    /// Whether devices with a claim code and no token may enrol over MQTT, by way of `provisioning`.
    pub enrolment: bool,
    /// Where partner tokens are accepted: `off` (default), `encrypted` (over TLS and QUIC) or `in_clear`
    /// (everywhere). Provisioning is asked about each.
    pub partner_tokens: Option<String>,
    /// Whether MQTT 5 clients that proved their key get a Reason String with each refusal.
    pub reason_strings: bool,
    /// Whether MQTT 3.1.1 clients may use `$share/…`, which their standard does not know: to it that is an ordinary
    /// filter.
    pub shared_for_v311: bool,
    /// Whether the will of a revoked device is suppressed.
    pub suppress_will_on_revocation: bool,
    /// The resumption secret.
    pub resumption: RawResumption,
    /// Limits that differ from the built-in ones.
    pub limits: RawLimits,
}

impl Default for RawBrokerConfig {
    fn default() -> Self {
        Self {
            mqtt: Some(SocketAddr::from(([127, 0, 0, 1], 1883))),
            mqtts: None,
            ws: None,
            wss: None,
            quic: None,
            tls: RawTls::default(),
            proxy: RawProxy::default(),
            http: SocketAddr::from(([127, 0, 0, 1], 9883)),
            data_dir: PathBuf::from("."),
            provisioning: None,
            trust: Trust::default(),
            ace_as_hint: None,
            ace_challenge: None,
            authz_info: false,
            enrolment: false,
            partner_tokens: None,
            reason_strings: true,
            shared_for_v311: false,
            suppress_will_on_revocation: true,
            resumption: RawResumption::default(),
            limits: RawLimits::default(),
        }
    }
}

/// Settings that hold.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where MQTT is spoken, at least one.
    pub listen: Vec<Listen>,
    /// Certificates; there when a listener needs them.
    pub tls: Option<TlsSettings>,
    /// The balancers and proxies that may name the address of a peer.
    pub proxy: ProxySettings,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http: SocketAddr,
    /// A folder for what the broker keeps.
    pub data_dir: PathBuf,
    /// Go on with what is left of a store that holds less than it should.
    pub accept_loss: bool,
    /// There was a store before: an empty folder is a loss, and no first start.
    pub must_exist: bool,
    /// Where token requests go.
    pub provisioning: Option<Server>,
    /// The broker's own credential there, an account with role `feed`.
    pub relay_token: RelayToken,
    /// Token requests of one device a second.
    pub token_requests_per_second: u32,
    /// The hint on the authorization server for clients without a valid token.
    pub ace_as_hint: Option<Arc<str>>,
    /// Where the challenge of RFC 9431 lets in.
    pub ace_challenge: AceChallenge,
    /// How many challenges of either method there are in a second.
    pub challenges: ChallengeLimits,
    /// Whether strangers may publish tokens.
    pub authz_info: bool,
    /// Whether devices with a claim code may enrol.
    pub enrolment: bool,
    /// Where partner tokens are accepted.
    pub partner_tokens: PartnerTokens,
    /// Where ticket keys come from.
    pub resumption: TicketSettings,
    /// Admission.
    pub admission: AdmissionLimits,
    /// Sessions.
    pub session: SessionPolicy,
    /// Sessions.
    pub sessions: SessionLimits,
    /// Retained messages.
    pub retained: RetainedLimits,
    /// The shares of devices and tenants in the rest.
    pub shares: ShareLimits,
    /// Verification actors, a thread each.
    pub verification_workers: usize,
}

impl RawBrokerConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first one that cannot hold.
    pub fn validate(self) -> Result<BrokerConfig, ConfigError> {
        let l = &self.limits;
        let provisioning = self.provisioning.as_deref().map(service_url).transpose()?;
        let provisioning = provisioning.map(|url| Server::new(url, self.trust.clone()));
        let proxy = self
            .proxy
            .validate()
            .map_err(|error| ConfigError { key: error.key, problem: error.problem })?;
        let listen = self.listen(&proxy)?;
        self.check_enrolment(&listen)?;
        let tls = self.tls.clone().validate()?;
        if tls.is_none() && listen.iter().any(|one| one.transport.is_tls()) {
            let problem = "mqtts, wss and quic need a certificate".to_owned();
            return Err(ConfigError { key: "tls.cert", problem });
        }
        Ok(BrokerConfig {
            listen,
            tls,
            proxy,
            http: self.http,
            data_dir: self.data_dir.clone(),
            accept_loss: false,
            must_exist: false,
            provisioning,
            relay_token: RelayToken::default(),
            token_requests_per_second: within(
                "limits.token_requests_per_second",
                l.token_requests_per_second,
                1,
                1_000_000,
            )?,
            ace_as_hint: self.ace_as_hint.as_deref().map(hint).transpose()?,
            ace_challenge: self
                .ace_challenge
                .as_deref()
                .map_or(Ok(AceChallenge::ClearOnly), AceChallenge::parse)?,
            challenges: l.challenges()?,
            authz_info: self.authz_info,
            enrolment: self.enrolment,
            partner_tokens: self.partner_tokens()?,
            resumption: self.resumption.clone().validate()?,
            admission: l.admission()?,
            session: self.session()?,
            sessions: l.sessions()?,
            retained: l.retained()?,
            shares: l.shares()?,
            verification_workers: workers(l.verification_workers)?,
        })
    }
}

impl RawBrokerConfig {
    /// A switch that lets no device in is a mistake.
    fn check_enrolment(&self, listen: &[Listen]) -> Result<(), ConfigError> {
        let is_private =
            |one: &Listen| one.transport.is_tls() || one.address.ip().to_canonical().is_loopback();
        if !self.enrolment || listen.iter().any(is_private) {
            return Ok(());
        }
        let problem =
            "a claim code is a secret, and all listeners are in clear beyond this machine: \
                       set mqtts, wss or quic, or a loopback address";
        Err(ConfigError { key: "enrolment", problem: problem.to_owned() })
    }

    fn partner_tokens(&self) -> Result<PartnerTokens, ConfigError> {
        let accepts = self.partner_tokens.as_deref().map(PartnerTokens::parse).transpose()?;
        Ok(accepts.unwrap_or(PartnerTokens::Off))
    }

    fn session(&self) -> Result<SessionPolicy, ConfigError> {
        let l = &self.limits;
        Ok(SessionPolicy {
            max_packet: within(
                "limits.max_packet",
                l.max_packet,
                limits::MAX_PACKET_BEFORE_AUTH,
                limits::MAX_PACKET_MOST,
            )?,
            receive_maximum: within("limits.receive_maximum", l.receive_maximum, 1, u16::MAX)?,
            queue_messages: within("limits.queue_messages", l.queue_messages, 1, 1_000_000)?,
            queue_bytes: within("limits.queue_bytes", l.queue_bytes, 1024, 1024 * 1024 * 1024)?,
            subscriptions: within("limits.subscriptions", l.subscriptions, 1, 100_000)?,
            session_expiry: within("limits.session_expiry", l.session_expiry, 0, u32::MAX - 1)?,
            keep_alive: within("limits.keep_alive", l.keep_alive, 1, u16::MAX)?,
            reason_strings: self.reason_strings,
            shared_for_v311: self.shared_for_v311,
            suppress_will_on_revocation: self.suppress_will_on_revocation,
        })
    }

    fn listen(&self, proxy: &ProxySettings) -> Result<Vec<Listen>, ConfigError> {
        let addresses = [self.mqtt, self.mqtts, self.ws, self.wss, self.quic];
        let listen: Vec<_> = Transport::ALL
            .into_iter()
            .zip(addresses)
            .filter_map(|(transport, address)| {
                let proxied = proxy.expects(transport.as_str());
                address.map(|address| Listen { transport, address, proxied })
            })
            .collect();
        match listen.is_empty() {
            true => Err(ConfigError { key: "mqtt", problem: "nothing is listened on".to_owned() }),
            false => Ok(listen),
        }
    }
}

fn address_or_off<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    let address = (text != "off").then(|| text.parse()).transpose();
    address.map_err(|_| {
        let problem = format!("{text:?} is no address:port, such as 127.0.0.1:1883, nor `off`");
        serde::de::Error::custom(problem)
    })
}

/// Bytes of a hint: it travels in every CONNACK that refuses.
const HINT_BYTES: usize = 1024;

fn hint(text: &str) -> Result<Arc<str>, ConfigError> {
    let parsed = serde_json::from_str::<serde_json::Value>(text).ok();
    match parsed.is_some_and(|hint| hint.get("AS").is_some_and(|at| at.is_string()))
        && text.len() <= HINT_BYTES
    {
        true => Ok(text.into()),
        false => {
            let problem = format!("{text:?} is no JSON object with the member AS");
            Err(ConfigError { key: "ace_as_hint", problem })
        }
    }
}

fn service_url(url: &str) -> Result<String, ConfigError> {
    let base = url.trim_end_matches('/');
    let has_scheme = base.starts_with("https://") || base.starts_with("http://");
    if has_scheme && is_url(base) {
        return Ok(base.to_owned());
    }
    let problem = format!("{url:?} is no URL such as https://provisioning.example:8443");
    Err(ConfigError { key: "provisioning", problem })
}

fn within<N: PartialOrd + fmt::Display + Copy>(
    key: &'static str,
    value: N,
    least: N,
    most: N,
) -> Result<N, ConfigError> {
    if value < least || value > most {
        return Err(ConfigError {
            key,
            problem: format!("{value} is not within {least} and {most}"),
        });
    }
    Ok(value)
}

/// 0 means one for each processor.
fn workers(wanted: usize) -> Result<usize, ConfigError> {
    match wanted {
        0 => Ok(std::thread::available_parallelism().map_or(2, usize::from)),
        n => within("limits.verification_workers", n, 1, 256),
    }
}

#[cfg(test)]
mod tests;
