use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use tessera_runtime::tls::{Identity, Trust};
use tessera_simulators::mqtt::Broker;
use tessera_token::ids::VerifierName;
use tessera_token::messages::TokenKind;

use super::{DeviceProxyArgs, HttpArg};
use crate::error::Fault;

#[derive(Subcommand)]
pub(crate) enum DeviceCommand {
    /// Make a key, enrol it, and keep both with the first token in a folder.
    Enrol(EnrolArgs),
    /// Show the public key of a device and its thumbprint; make the key when there is none.
    Key(KeyArgs),
    /// Show what the token says; with --refresh, get a new one first.
    Token(TokenArgs),
    /// Print a refresh token, for a device that cannot sign.
    RefreshToken(RefreshTokenArgs),
    /// Give the device another key; the former one is good for nothing then.
    Rekey(RekeyArgs),
    /// Print a password for one CONNECT.
    Password(PasswordArgs),
    /// Connect over MQTT, subscribe, and publish the lines of the standard input.
    Connect(ConnectArgs),
    /// Find out, step by step, why a device is refused.
    Doctor(DoctorArgs),
    /// Let MQTT clients of this machine, which cannot sign, connect as the device.
    Proxy(DeviceProxyArgs),
}

/// The folder of one device.
#[derive(Args, Clone)]
pub(crate) struct FolderArgs {
    /// The folder of the device (else: the variable TESSERA_DEVICE_DIR, or the current folder).
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Args)]
#[command(
    after_help = "Examples, one for each way of enrolment (`tessera group ways` shows those that a group takes):
  tessera device enrol --device d-17 --claim CODE             `tessera claim create` made the code
  tessera device enrol --device d-17 --manufacturer-key       `tessera listed-key add` listed the key of the folder
  tessera device enrol --device d-17 --device-secret @secret  `tessera group-key derive` made the secret
  tessera device enrol --cert d-17.pem --cert-key d-17.key    `tessera authority add` added the authority
  tessera device enrol --device d-17 --approval --wait 600    an operator decides: `tessera approval list`

The folder then holds the key (device.key, readable by you alone), the token and the proof counter. The key never
leaves it. Enrolling again with the same folder is safe: a lost answer can be asked for again."
)]
pub(crate) struct EnrolArgs {
    #[command(flatten)]
    pub(crate) http: HttpArg,
    /// The tenant.
    #[arg(long, value_name = "ID", default_value = "default")]
    pub(crate) tenant: String,
    /// The device id, which becomes the MQTT client id (with --cert: the common name of the certificate).
    #[arg(long, value_name = "ID", required_unless_present = "cert")]
    pub(crate) device: Option<String>,
    #[command(flatten)]
    pub(crate) means: MeansArgs,
    /// The folder to keep it in (default: a folder by the name of the device).
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The means that entitle the device. One of them is required.
#[derive(Args)]
#[command(group(ArgGroup::new("means").required(true).args(
    ["claim", "manufacturer_key", "group_key_file", "device_secret", "cert", "approval"])))]
pub(crate) struct MeansArgs {
    /// The claim code, or @FILE with it. Dashes, blanks and case do not matter.
    #[arg(long, value_name = "CODE|@FILE")]
    pub(crate) claim: Option<String>,
    /// The device key is on the list of the operator. With FILE, the folder takes that key: a seed as 64 hexadecimal digits.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub(crate) manufacturer_key: Option<Option<PathBuf>>,
    /// The group key in a file, as base64url: the secret of the device is derived from it. For tests; a device has its
    /// own secret alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) group_key_file: Option<PathBuf>,
    /// The secret of the device as base64url, or @FILE with it.
    #[arg(long, value_name = "SECRET|@FILE")]
    pub(crate) device_secret: Option<String>,
    /// The certificate of the manufacturer, in PEM, with those between it and the authority behind it.
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    pub(crate) cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) cert_key: Option<PathBuf>,
    /// Ask an operator.
    #[arg(long)]
    pub(crate) approval: bool,
    /// Ask again for so many seconds while no operator has decided.
    #[arg(long, value_name = "SECONDS", requires = "approval", default_value_t = 0)]
    pub(crate) wait: u64,
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera device key --dir d-17
  tessera device key --dir d-17 --thumbprint
The operator lists the key with `tessera listed-key add`, or compares the thumbprint before `tessera approval approve`.")]
pub(crate) struct KeyArgs {
    /// The folder of the device, made when it is not there.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The thumbprint alone.
    #[arg(long, conflicts_with = "json")]
    pub(crate) thumbprint: bool,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The proof of possession of a token.
#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub(crate) enum PopArg {
    /// A signature by the key of the device.
    Key,
    /// An HMAC by a symmetric key that comes with the token.
    Hmac,
}

impl PopArg {
    /// The token to ask for.
    pub(crate) fn kind(self) -> TokenKind {
        match self {
            Self::Key => TokenKind::Key,
            Self::Hmac => TokenKind::Symmetric,
        }
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera device token --dir d-17
  tessera device token --dir d-17 --refresh
  tessera device token --dir d-17 --refresh --pop hmac

With --pop hmac the service makes a symmetric key for this one token and tells it with it, where derivation keys are set
(see `tessera up --help`): passwords are then shorter, and the broker checks them without a device's signature. The
request is signed by the device key as ever; both are kept in the folder.")]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Get a new token with the device key first.
    #[arg(long)]
    pub(crate) refresh: bool,
    /// The proof of the new token (default: what proves the present one).
    #[arg(long, value_enum, value_name = "HOW", requires = "refresh")]
    pub(crate) pop: Option<PopArg>,
    /// Ask for a token without key binding; the tenant must allow it.
    #[arg(long, requires = "refresh", conflicts_with = "pop")]
    pub(crate) bearer: bool,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Example (the operator allows it by `tessera role set … --refresh-tokens` and `tessera tenant bearer`):
  tessera device refresh-token --dir d-17

The refresh token is a secret: each use gives a bearer token and the next refresh token, until it rests for 30 days. It is
shown once and not kept in the folder. docs/refresh.md shows its use with curl."
)]
pub(crate) struct RefreshTokenArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// As JSON, with the access token.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera device rekey --dir d-17
  tessera device rekey --dir d-17 --lost
  tessera device rekey --lost --http https://provisioning.example --device d-17 --dir d-17-new

The present key and the new one sign the request. With --lost the new one signs alone, and an operator must approve it
(`tessera rekey approve`): give the same command again then. The new key is kept in device.key.next before it is shown to
the service, so a lost answer can be asked for again. Stop `tessera device connect` and `tessera device proxy` of the
device before: they go by the former key.")]
pub(crate) struct RekeyArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// The present key is lost: ask an operator to approve the new one.
    #[arg(long)]
    pub(crate) lost: bool,
    /// The device id, when its folder is lost too.
    #[arg(long, value_name = "ID", requires = "lost")]
    pub(crate) device: Option<String>,
    /// The tenant, with --device.
    #[arg(long, value_name = "ID", default_value = "default")]
    pub(crate) tenant: String,
    #[command(flatten)]
    pub(crate) http: HttpArg,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:
  mosquitto_pub -i d-17 -u d-17 -P \"$(tessera device password --dir d-17)\" -t d/d-17/telemetry -m 21.5

A password is good for one CONNECT within 60 seconds: it holds the token and a proof by the device key with a counter
that never repeats. For a second connection of the same device ask for its client id: --client-id d-17~2.")]
pub(crate) struct PasswordArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// The MQTT client id: the device id, or the device id, ~ and a suffix.
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// The verifier that the password is for, when it has a name of its own (default: the audience of the token).
    #[arg(long, value_name = "NAME")]
    pub(crate) verifier: Option<VerifierName>,
    /// As hexadecimal instead of base64url.
    #[arg(long)]
    pub(crate) hex: bool,
    /// Client id, user name and password as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// TLS towards a broker.
#[derive(Args, Clone, Default)]
pub(crate) struct TlsArgs {
    /// The authorities that may sign the broker's certificate, a file in PEM (else: the one of enrolment, the variable
    /// TESSERA_CAFILE, or the authorities of the system).
    #[arg(long, value_name = "FILE")]
    pub(crate) cafile: Option<PathBuf>,
    /// A certificate to show, in PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

impl TlsArgs {
    /// The broker that `text` names, believed by `trust` where no file is given.
    pub(crate) fn broker(&self, text: &str, trust: Trust) -> Result<Broker, Fault> {
        self.trusting(Self::find(text)?, trust)
    }

    /// The broker that `text` names.
    pub(crate) fn find(text: &str) -> Result<Broker, Fault> {
        Broker::parse(text).ok_or_else(|| {
            Fault::new(format!("{text:?} is no broker"))
                .hint("use host:port, mqtts://host:port, ws://host:port or wss://host:port")
        })
    }

    /// The same with the files of TLS.
    pub(crate) fn trusting(&self, broker: Broker, trust: Trust) -> Result<Broker, Fault> {
        let trust = Trust { cafile: self.cafile.clone().or(trust.cafile), ..trust };
        let files = self.cert.clone().zip(self.key.clone());
        let identity = files.map(|(cert, key)| Identity { cert, key });
        Ok(broker.trusting(&trust, identity.as_ref())?)
    }
}

/// The broker to connect to.
#[derive(Args)]
pub(crate) struct AtArgs {
    /// The broker: host:port, or a URL that begins with mqtt://, mqtts://, ws:// or wss://.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    pub(crate) mqtt: String,
    /// The verifier behind it, when it has a name of its own (default: the audience of the token).
    #[arg(long, value_name = "NAME")]
    pub(crate) verifier: Option<VerifierName>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:
  echo 21.5 | tessera device connect --dir d-17 --topic d/d-17/telemetry
  tessera device connect --dir d-17 --test
  tessera device connect --dir d-17 --mqtt mqtts://broker.example:8883 --cafile ca.pem --test
  tessera device connect --dir d-17 --mqtt wss://broker.example --cafile ca.pem --test

It renews its token while it runs, on the same connection or over REST, keeps it in the folder,
and comes back with it when the connection is lost. It ends when its input ends and everything
is acknowledged, or when the device is refused for good.")]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) at: AtArgs,
    /// Where to publish (default: the first topic that the token allows).
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// The topic filter to subscribe to (default: everything that the token allows).
    #[arg(long, value_name = "FILTER")]
    pub(crate) subscribe: Vec<String>,
    /// Publish one test message, wait for the acknowledgement, and leave.
    #[arg(long)]
    pub(crate) test: bool,
    /// Print each message as one JSON object a line: topic, and payload as text or as base64url.
    #[arg(long)]
    pub(crate) json: bool,
    /// Speak MQTT 5 instead of 3.1.1.
    #[arg(long)]
    pub(crate) v5: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera device doctor --dir d-17
  tessera device doctor --dir d-17 --topic d/d-17/telemetry --subscribe d/d-17/cmd
  tessera device doctor --dir d-17 --mqtt mqtts://broker.example:8883 --cafile ca.pem
  tessera device doctor --dir d-17 --client-id d-17~2 --password @password.txt
  tessera device doctor --dir d-17 --json

A broker tells a refused client no reason. So each of its checks is made here first,
provisioning is asked for the standing of the device, and then all that was asked for is tried:
the connect, a test message to each --topic, each --subscribe. The last line names one cause and
one thing to do:

  cause: token_revoked: the token was revoked; do: tessera device token --refresh --dir d-17

The cause begins with a code of docs/refusals.md where there is one. The exit code is 0 when the
device is well, and 1 when it is not.

The connect takes the place of a connection of the same client id: for a device that is
connected give --client-id d-17~2. A password is good once, so one that is tried is used up.")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) at: AtArgs,
    /// The MQTT client id to connect with (default: the device id).
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// A password to look into and to try, or @FILE with it (default: a new one of the folder).
    #[arg(long, value_name = "TEXT|@FILE")]
    pub(crate) password: Option<String>,
    /// Publish a test message there; may be repeated.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Vec<String>,
    /// Subscribe to it; may be repeated.
    #[arg(long, value_name = "FILTER")]
    pub(crate) subscribe: Vec<String>,
    /// Speak MQTT 5 alone (default: MQTT 5, which tells reasons, and 3.1.1 where the broker does not speak it).
    #[arg(long)]
    pub(crate) v5: bool,
    /// One JSON object: well, steps, code, cause, do.
    #[arg(long)]
    pub(crate) json: bool,
}
