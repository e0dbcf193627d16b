//! Why the service did not start.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use tessera_runtime::derivation::DerivationFileError;
use tessera_runtime::metrics::MetricsError;
use tessera_runtime::pkcs11::ModuleError;
use tessera_runtime::secret::SecretFileError;
use tessera_runtime::store::StoreError;
use tessera_runtime::tls::TlsError;
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::trust::TrustError;

use crate::records::keys::State;

/// Why the service did not start. Nothing is listening then.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The operator's: a setting that cannot be.
    Config(&'static str),
    /// Two brokers of push refresh have one verifier name.
    PushName {
        /// The name.
        name: String,
        /// Both.
        brokers: [String; 2],
    },
    /// A broker of push refresh stands in the settings twice.
    PushTwice(String),
    /// A folder or file of the service.
    Io(PathBuf, std::io::Error),
    /// A key or token file.
    Secret(SecretFileError),
    /// The store; [`StoreError::Locked`] when the service runs already.
    Store(StoreError),
    /// Certificate and key.
    Tls(TlsError),
    /// The authorities for receivers of webhooks cannot be read.
    Webhooks(String),
    /// HTTP in clear was asked for beyond this machine, and nothing says that this is meant.
    InClear(SocketAddr),
    /// The address cannot be bound.
    Bind(SocketAddr, std::io::Error),
    /// The operating system gave no randomness.
    Random,
    /// Two services in one registry of metrics.
    Metrics(MetricsError),
    /// The keys on disk are not those of the store.
    Keys,
    /// The store is there, and its root key is not.
    RootLost(PathBuf),
    /// The file of the root links is not good.
    RootLinksFile(PathBuf, TrustError),
    /// The links in the file are others than those of the database.
    RootLines(PathBuf),
    /// The folder knows another root key than the last one of the links.
    RootBehind(PathBuf),
    /// A link between root sets is not good.
    RootLink(TrustError),
    /// The security module of issuer keys.
    Module(ModuleError),
    /// Issuer keys that are in use have no seed.
    SeedsLost(Vec<LostSeed>),
    /// The folder holds keys or tokens of a service, and its store is gone.
    StoreLost(PathBuf),
    /// The database holds a service, and there is no file with its key.
    DatabaseKeyMissing(PathBuf),
    /// Seeds in the database are not sealed to the key in the file.
    DatabaseKey,
    /// The folder belongs to a service, and the database holds none.
    DatabaseEmpty(PathBuf),
    /// The database has less than a process on this folder has acknowledged.
    DatabaseOlder(String),
    /// The folder has a database of its own, and another one is named.
    TwoStores(PathBuf),
    /// A move of the database to a server has begun and not ended.
    Moving(PathBuf),
    /// The database of the folder was moved to a server.
    MovedAway(PathBuf),
    /// The database on the server holds another service.
    DatabaseTaken,
    /// The folder holds no service.
    NotFounded(PathBuf),
    /// The file of derivation keys.
    Derivation(DerivationFileError),
    /// The process was told to stop while the clock still showed a time before the release.
    Clock,
    /// A fault on our side.
    Internal,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(what) => f.write_str(what),
            Self::PushName { name, brokers: [one, other] } => write!(
                f,
                "push.brokers: {one} and {other} have one verifier name, {name:?}: each could show the password of this \
                 service at the other. Give each broker a name of its own (--verifier), and name it behind #"
            ),
            Self::PushTwice(broker) => {
                write!(f, "push.brokers: {broker} is named twice: name each broker once")
            }
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Secret(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Tls(error) => write!(f, "HTTPS: {error}"),
            Self::Webhooks(why) => write!(f, "webhooks: {why}"),
            Self::InClear(addr) => write!(
                f,
                "provisioning would speak HTTP in clear at {addr}, beyond this machine: give it a certificate \
                 (--https-cert and --https-key), listen on 127.0.0.1 behind a proxy that speaks TLS, or allow it with \
                 --http-in-clear"
            ),
            Self::Bind(addr, error) => write!(f, "cannot listen on {addr}: {error}"),
            Self::Random => f.write_str("the operating system gave no randomness"),
            Self::Metrics(error) => error.fmt(f),
            Self::Keys => f.write_str(
                "the root key on disk is not the one of the store: put keys and store of one service together",
            ),
            Self::RootLost(path) => write!(
                f,
                "{}: the root key is missing. Restore it from a backup (docs/backup.md). If it is lost for good, an offline \
                 root replaces it: `tessera root request --seed-lost` (docs/keys.md). Without an offline root every broker \
                 and agent has to be pinned anew",
                path.display()
            ),
            Self::RootLinksFile(path, TrustError::Root) => write!(
                f,
                "{}: these root links are of another service: put keys, links and store of one service together",
                path.display()
            ),
            Self::RootLinksFile(path, error) => write!(
                f,
                "{}: the file of the root links is not good ({error}): restore it from a backup. A database that lost \
                 nothing writes it again when it is removed",
                path.display()
            ),
            Self::RootLines(path) => write!(
                f,
                "{}: the root links of this folder and those of the database part: each accepted another change of the \
                 roots. Verifiers follow one of them: restore the database that belongs to this folder (docs/keys.md)",
                path.display()
            ),
            Self::RootBehind(path) => write!(
                f,
                "{}: another root key was the last to sign here, and its links are lost: restore root.links and the keys \
                 from a backup of after the change of the root (docs/keys.md)",
                path.display()
            ),
            Self::RootLink(TrustError::Order) => f.write_str(
                "the link does not begin at the present roots: another change was accepted meanwhile. Make a new request",
            ),
            Self::RootLink(TrustError::Signature) => f.write_str(
                "the link lacks a signature, or has one that is wrong: have it signed with `tessera root sign`",
            ),
            Self::RootLink(TrustError::Root) => f.write_str(
                "the links to the present root key are lost, or of another service: restore a backup (docs/backup.md)",
            ),
            Self::RootLink(TrustError::TooLarge) => f.write_str(
                "the roots were changed as often as verifiers follow (docs/limits.md, ROOT_LINKS): every broker and agent has \
                 to be pinned anew, to a new service in a new folder",
            ),
            Self::RootLink(error) => write!(f, "the root link is not good: {error}"),
            Self::Module(error) => write!(f, "issuer keys: {error}"),
            Self::SeedsLost(lost) => seeds_lost(f, lost),
            Self::StoreLost(path) => write!(
                f,
                "{}: there is no store, but keys or tokens of a service lie beside it: it was deleted or moved, or its \
                 first start was cut off. Restore a backup (docs/backup.md), or start once with --accept-loss: then \
                 everything but the root key is made anew",
                path.display()
            ),
            Self::DatabaseKeyMissing(path) => write!(
                f,
                "{}: the key of the database is missing: copy the file from a process that has it, or restore it from a \
                 backup. Seeds in the database cannot be read without it",
                path.display()
            ),
            Self::DatabaseKey => f.write_str(
                "the root key in the database cannot be opened by the key in database.key: use the file of a process of \
                 this database",
            ),
            Self::DatabaseEmpty(path) => write!(
                f,
                "the database holds no service, and {} belongs to one: name its database with --database, or restore \
                 that with pg_restore. A new service begins in a new folder",
                path.display()
            ),
            Self::DatabaseOlder(what) => write!(
                f,
                "the database is older than what was acknowledged from this folder: {what}. Restore a newer dump. If \
                 this one has to do, mark it (tessera store mark-restored), or start once with --accept-loss: numbers and \
                 epochs then go on above the lost ones"
            ),
            Self::TwoStores(path) => write!(
                f,
                "{}: this folder has a database of its own, and --database names another: move it there first (tessera \
                 store move --help), or use a new folder",
                path.display()
            ),
            Self::Moving(path) => write!(
                f,
                "{}: the move of this database to a server has begun: end it by the same tessera store move, or give it \
                 up by removing this file",
                path.display()
            ),
            Self::MovedAway(path) => write!(
                f,
                "{}: its database was moved to a server: name it with --database. A new service begins in a new folder",
                path.display()
            ),
            Self::DatabaseTaken => {
                f.write_str("the database on the server holds another service: name one that is empty")
            }
            Self::NotFounded(path) => write!(
                f,
                "{}: no service was founded here: give the folder of one with --data",
                path.display()
            ),
            Self::Derivation(error) => error.fmt(f),
            Self::Clock => f.write_str("stopped while waiting for the clock to be set"),
            Self::Internal => f.write_str("internal fault at start"),
        }
    }
}

/// Seeds that are named in one message.
const SEEDS_TOLD: usize = 8;

fn seeds_lost(f: &mut fmt::Formatter<'_>, lost: &[LostSeed]) -> fmt::Result {
    write!(f, "{} of the issuer keys in use cannot sign:", lost.len())?;
    lost.iter().take(SEEDS_TOLD).try_for_each(|seed| write!(f, "\n  {seed}"))?;
    if lost.len() > SEEDS_TOLD {
        write!(f, "\n  and {} more", lost.len() - SEEDS_TOLD)?;
    }
    if lost.iter().any(|seed| seed.in_module) {
        f.write_str(
            "\nA key in a token is in no backup: connect the token that has it, and name it with --pkcs11-module and \
             --pkcs11-token (docs/keys.md).",
        )?;
    }
    f.write_str(
        "\nRestore the files from a backup (docs/backup.md), or start once with --replace-keys: then these keys get \
         successors, and what they have signed stays good",
    )
}

impl std::error::Error for StartError {}

impl From<SecretFileError> for StartError {
    fn from(error: SecretFileError) -> Self {
        Self::Secret(error)
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An issuer key that cannot sign.
#[derive(Debug, Clone)]
pub struct LostSeed {
    pub(crate) tenant: TenantId,
    pub(crate) id: KeyId,
    pub(crate) state: State,
    /// Of the seed, in words.
    pub(crate) place: String,
    pub(crate) why: &'static str,
    /// Its place is a token of a security module.
    pub(crate) in_module: bool,
}

impl fmt::Display for LostSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Active => "active",
            _ => "next",
        };
        let Self { tenant, id, place, why, .. } = self;
        write!(f, "{place} {why} ({state} issuer key {id} of tenant {tenant})")
    }
}
