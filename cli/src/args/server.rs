use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tessera_token::ids::TenantId;

use super::Place;
use super::TrustArgs;

/// How to log.
#[derive(Args, Clone, Default)]
pub(crate) struct LogArgs {
    /// `error`, `warn`, `info`, `debug`, `trace`, or target=level,… (default: info, or what the configuration says).
    #[arg(long, value_name = "LEVEL", global = true)]
    pub(crate) log: Option<String>,
    /// How a log line looks.
    #[arg(long, value_enum, value_name = "FORMAT", global = true)]
    pub(crate) log_format: Option<LogFormat>,
    /// Two lines of JSON on the standard output: first where it listens (as in run.json), then `{"ready":true}`.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the broker listens.
#[derive(Args, Clone, Default)]
pub(crate) struct ListenArgs {
    /// Where MQTT clients connect over plain TCP; port 0 takes a free one, `off` none (default: 127.0.0.1:1883).
    #[arg(long, value_name = "ADDR")]
    pub(crate) mqtt: Option<Place>,
    /// Where MQTT clients connect over TLS, such as 0.0.0.0:8883; needs --cert and --key.
    #[arg(long, value_name = "ADDR")]
    pub(crate) mqtts: Option<SocketAddr>,
    /// Where MQTT clients connect over WebSocket, path /mqtt.
    #[arg(long, value_name = "ADDR")]
    pub(crate) ws: Option<SocketAddr>,
    /// Where MQTT clients connect over WebSocket inside TLS.
    #[arg(long, value_name = "ADDR")]
    pub(crate) wss: Option<SocketAddr>,
    /// Where MQTT clients connect over QUIC (UDP), such as 0.0.0.0:14567; needs --cert and --key.
    #[arg(long, value_name = "ADDR")]
    pub(crate) quic: Option<SocketAddr>,
    /// The certificate chain in PEM; read again on SIGHUP and when the file changes.
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// The key of the certificate in PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Metrics, health and readiness of the broker (default: 127.0.0.1:9464).
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
}

/// How provisioning is reached.
#[derive(Args, Clone, Default)]
pub(crate) struct ServiceArgs {
    /// Where provisioning listens (default: 127.0.0.1:8080). Beyond this machine it needs --https-cert.
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Speak HTTPS there, with this certificate chain in PEM; read again on SIGHUP and when the file changes.
    #[arg(long, value_name = "FILE", requires = "https_key")]
    pub(crate) https_cert: Option<PathBuf>,
    /// The key of that certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "https_cert")]
    pub(crate) https_key: Option<PathBuf>,
    /// Allow HTTP in clear beyond this machine: tokens can be read on the way.
    #[arg(long)]
    pub(crate) http_in_clear: bool,
    /// Push the next tokens of connected devices to this broker: mqtts://host:port, mqtt://host:port, #NAME behind it when
    /// the broker has a verifier name of its own, or self for the broker of `tessera up`. May be given several times.
    #[arg(long, value_name = "BROKER")]
    pub(crate) push: Vec<String>,
}

/// The balancers and proxies that may name the address of a peer.
#[derive(Args, Clone, Default)]
pub(crate) struct ProxyArgs {
    /// A proxy in front whose Forwarded and X-Forwarded-For count for HTTP and WebSocket: an address, or address/bits.
    #[arg(long, value_name = "CIDR")]
    pub(crate) trusted_proxy: Vec<String>,
}

/// The database of several provisioning processes.
#[derive(Args, Clone, Default)]
pub(crate) struct DatabaseArgs {
    /// A PostgreSQL database (15 or newer) in the place of the one in DATA, for several processes at once:
    /// postgres://user@host/name, or @FILE with that in it, which a password needs. Over TLS, but for this machine.
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,
    /// The key to which seeds in that database are sealed (default: DATA/provisioning/database.key). The first process makes
    /// it; every other one needs a copy.
    #[arg(long, value_name = "FILE")]
    pub(crate) database_key: Option<PathBuf>,
    /// The authorities that may sign the certificate of its server, a file in PEM (default: those of the system).
    #[arg(long, value_name = "FILE")]
    pub(crate) database_cafile: Option<PathBuf>,
    /// Speak to a server on another machine in clear: all that is in the database can be read on the way.
    #[arg(long)]
    pub(crate) database_in_clear: bool,
}

/// The security module of issuer keys.
#[derive(Args, Clone, Default)]
pub(crate) struct Pkcs11Args {
    /// Make issuer keys in a security module (PKCS#11), which they cannot leave: the shared library of the module, by its
    /// whole path. Keys that are there stay where they are, until rotations have replaced them.
    #[arg(long, value_name = "FILE")]
    pub(crate) pkcs11_module: Option<PathBuf>,
    /// The label of the token in that module.
    #[arg(long, value_name = "LABEL")]
    pub(crate) pkcs11_token: Option<String>,
    /// A file with the PIN of the token's user, readable by its owner alone (default: the variable TESSERA_PKCS11_PIN). It
    /// is read at each login.
    #[arg(long, value_name = "FILE")]
    pub(crate) pkcs11_pin_file: Option<PathBuf>,
}

/// After a loss.
#[derive(Args, Clone, Default)]
pub(crate) struct LossArgs {
    /// Go on with what is left of a store that holds less than it should (a start without this says what is missing).
    /// Acknowledged data that are missing stay lost: a backup may hold more. Logged, and at provisioning audited.
    #[arg(long)]
    pub(crate) accept_loss: bool,
}

/// After a loss of seeds.
#[derive(Args, Clone, Default)]
pub(crate) struct SeedsArgs {
    /// Give successors to issuer keys whose seeds are missing (a start without this names them). Their signatures
    /// stay good. Audited.
    #[arg(long)]
    pub(crate) replace_keys: bool,
}

/// The name of the verifier.
#[derive(Args, Clone, Default)]
pub(crate) struct VerifierArgs {
    /// The name that connect proofs must be made for (default: the audience): a letter or digit, then letters, digits and
    /// . _ : -, at most 64. Verifiers that share a name each take the same proof once: give each its own.
    #[arg(long, value_name = "NAME")]
    pub(crate) verifier: Option<String>,
}

/// Tokens with a symmetric key.
#[derive(Args, Clone, Default)]
pub(crate) struct DerivationArgs {
    /// A file of derivation keys, which provisioning and broker share: devices may ask for symmetric keys, and the broker
    /// takes them. One to three lines of the audience, a space and 64 hexadecimal digits; readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) derivation_keys: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera up
  tessera up --data /var/lib/tessera --mqtt 0.0.0.0:1883 --http 127.0.0.1:8080
  tessera up --mqtts 0.0.0.0:8883 --cert server.pem --key server.key
  tessera up --http 0.0.0.0:8443 --https-cert server.pem --https-key server.key
  tessera up --config tessera.toml

The first start makes the root key, an issuer key, the tenant `default` with the roles `sensor` and `backend`, and one
operator token in DATA/operator.token. SIGTERM drains and exits; SIGHUP reads the configuration and the certificates again.

Settings: `tessera config print` prints a configuration file with every key and its default, `tessera config check FILE`
checks one, and docs/settings.md explains each key.

Symmetric keys (--derivation-keys) need a file that is made like this:
  (umask 077; echo mqtt $(openssl rand -hex 32) > derivation.keys)")]
pub(crate) struct UpArgs {
    /// The folder of everything that must survive (default: ./tessera-data).
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    #[command(flatten)]
    pub(crate) verifier: VerifierArgs,
    #[command(flatten)]
    pub(crate) derivation: DerivationArgs,
    /// A configuration file in TOML; what is given on the command line goes before it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) loss: LossArgs,
    #[command(flatten)]
    pub(crate) seeds: SeedsArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera provision --data ./provisioning --http 127.0.0.1:8080
  tessera provision --data ./provisioning --new-operator
  tessera provision --data ./provisioning --http 0.0.0.0:8443 --https-cert server.pem --https-key server.key
  tessera provision --data ./one --database postgres://tessera@127.0.0.1/tessera --http 127.0.0.1:8080
  tessera provision --data ./provisioning --pkcs11-module /usr/lib/softhsm/libsofthsm2.so --pkcs11-token tessera \\
    --pkcs11-pin-file token.pin

Several processes may share one PostgreSQL database: docs/postgresql.md. With --pkcs11-module, new issuer keys are made in a
security module and sign there: docs/keys.md. A broker elsewhere needs DATA/feed.token and DATA/root.thumbprint.")]
pub(crate) struct ProvisionArgs {
    /// The folder of everything that must survive (default: ./tessera-data).
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) pkcs11: Pkcs11Args,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    #[command(flatten)]
    pub(crate) derivation: DerivationArgs,
    /// Make a new token for the account `bootstrap`, in DATA/operator.token, and end: for a token that was lost. The former
    /// token ends; audited. No server may run in the folder meanwhile.
    #[arg(long)]
    pub(crate) new_operator: bool,
    /// A configuration file in TOML (see `tessera config print`).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) loss: LossArgs,
    #[command(flatten)]
    pub(crate) seeds: SeedsArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
#[command(after_help = "Example, with provisioning on the same machine:
  tessera broker --data ./broker --provisioning http://127.0.0.1:8080 \\
    --feed-token ./provisioning/feed.token --root ./provisioning/root.thumbprint

For one tenant alone, with the token of an account that `tessera operator create gw --role feed --tenant acme` made:
  tessera broker --data ./broker --provisioning http://127.0.0.1:8080 \\
    --feed-token gw.token --feed-tenant acme --root root.thumbprint")]
pub(crate) struct BrokerArgs {
    /// The folder of the broker's own state (default: ./tessera-broker).
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    #[command(flatten)]
    pub(crate) feed: FeedArgs,
    #[command(flatten)]
    pub(crate) verifier: VerifierArgs,
    #[command(flatten)]
    pub(crate) derivation: DerivationArgs,
    /// A configuration file in TOML (see `tessera config print`).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) loss: LossArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
#[command(after_help = "Example:
  tessera agent --data ./agent --provisioning https://provisioning.example:8443 --cafile ca.pem \\
    --feed-token feed.token --root root.thumbprint --http 127.0.0.1:9465 --socket /run/tessera.sock")]
pub(crate) struct AgentArgs {
    /// A TOML file with settings (docs/settings.md); flags override it. The agent takes data, http, audience, verifier,
    /// cafile, drain_seconds, not_followed_seconds, and the sections log and behaviour from it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder of the agent's state (default: ./tessera-agent).
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where to answer over loopback HTTP (default: 127.0.0.1:9465).
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// A Unix socket to answer on as well.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The audience that tokens must name (default: mqtt).
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Option<String>,
    /// The name that connect proofs must be made for (default: gw- and 16 hexadecimal digits, drawn at the first start and
    /// told at each). A letter or digit, then letters, digits and . _ : -, at most 64; no other verifier of the feed may
    /// have it.
    #[arg(long, value_name = "NAME")]
    pub(crate) verifier: Option<String>,
    #[command(flatten)]
    pub(crate) feed: AgentFeedArgs,
    #[command(flatten)]
    pub(crate) loss: LossArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Where the trust of an agent comes from: provisioning, or a broker that carries its feed.
#[derive(Args, Clone)]
pub(crate) struct AgentFeedArgs {
    /// Provisioning, as a URL: https://, or http:// on this machine.
    #[arg(long, value_name = "URL", required_unless_present = "uplink")]
    pub(crate) provisioning: Option<String>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// A file with the token for the trust feed.
    #[arg(long, value_name = "FILE", required_unless_present = "uplink")]
    pub(crate) feed_token: Option<PathBuf>,
    /// A tenant of that token's account, when it does not belong to all. Given several times, several: all of them.
    #[arg(long = "feed-tenant", value_name = "ID")]
    pub(crate) feed_tenants: Vec<TenantId>,
    /// A broker over which trust comes in the place of provisioning: mqtts://host:port, and behind # its verifier name when
    /// it has one of its own. The gateway is a device there, whose role names $tessera/trust.
    #[arg(long, value_name = "URL", requires = "device", conflicts_with_all = ["provisioning", "feed_token", "feed_tenants"])]
    pub(crate) uplink: Option<String>,
    /// The folder of that device, as `tessera device enrol --dir` makes it.
    #[arg(long, value_name = "DIR", requires = "uplink")]
    pub(crate) device: Option<PathBuf>,
    /// The thumbprint of the root key (base64url), or a file with it.
    #[arg(long, value_name = "THUMBPRINT|FILE")]
    pub(crate) root: String,
    /// The thumbprint of the offline root key, or a file with it: then no other root key is taken without its signature.
    #[arg(long, value_name = "THUMBPRINT|FILE")]
    pub(crate) offline_root: Option<String>,
}

impl AgentFeedArgs {
    /// The feed of provisioning; `None` over a broker.
    pub(crate) fn of_provisioning(&self) -> Option<FeedArgs> {
        Some(FeedArgs {
            provisioning: self.provisioning.clone()?,
            trust: self.trust.clone(),
            feed_token: self.feed_token.clone()?,
            feed_tenants: self.feed_tenants.clone(),
            root: self.root.clone(),
            offline_root: self.offline_root.clone(),
        })
    }
}

/// Where trust comes from.
#[derive(Args, Clone)]
pub(crate) struct FeedArgs {
    /// Provisioning, as a URL: https://, or http:// on this machine.
    #[arg(long, value_name = "URL")]
    pub(crate) provisioning: String,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// A file with the token for the trust feed.
    #[arg(long, value_name = "FILE")]
    pub(crate) feed_token: PathBuf,
    /// A tenant of that token's account, when it does not belong to all. Given several times, several: all of them.
    #[arg(long = "feed-tenant", value_name = "ID")]
    pub(crate) feed_tenants: Vec<TenantId>,
    /// The thumbprint of the root key (base64url), or a file with it.
    #[arg(long, value_name = "THUMBPRINT|FILE")]
    pub(crate) root: String,
    /// The thumbprint of the offline root key, or a file with it: then no other root key is taken without its signature.
    #[arg(long, value_name = "THUMBPRINT|FILE")]
    pub(crate) offline_root: Option<String>,
}
