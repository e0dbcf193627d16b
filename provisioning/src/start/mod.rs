//! Start and stop of the service.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::derivation::DerivationFileError;
use tessera_runtime::metrics::{Metrics, MetricsError};
use tessera_runtime::random::SharedRandom;
use tessera_runtime::secret::{Secret, SecretFileError};
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;
use tessera_runtime::tls::{ServerTls, TlsError};
use tessera_token::key::Thumbprint;
use tokio::sync::oneshot;

use crate::audit::Actor;
use crate::config::ProvisioningConfig;
pub use crate::keys::files::LostSeed;
use crate::service::Service;
pub use operator::renew as renew_operator;

mod first;
mod listen;
mod opening;
mod operator;
mod run;

#[cfg(feature = "testing")]
pub(crate) use run::{prepare, Parts};
#[cfg(test)]
mod tests;
mod waiting;

/// The provisioning service.
pub struct Provisioning;

/// A running service.
pub struct ProvisioningHandle {
    addr: SocketAddr,
    inner: Option<SocketAddr>,
    tls: Option<Arc<ServerTls>>,
    root: Thumbprint,
    first_start: Option<FirstStart>,
    service: Arc<Service>,
}

/// What the very first start made, shown once.
pub struct FirstStart {
    /// The token of the account `bootstrap`, also in `operator.token`.
    pub operator_token: Secret<String>,
}

impl ProvisioningHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL for a client on this machine that need not ask for a certificate: of the inner listener, if there is one.
    pub fn inner_url(&self) -> String {
        format!("http://{}", reachable(self.inner.unwrap_or(self.addr)))
    }

    /// `https` or `http`, as it is spoken where it listens.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() {
            "https"
        } else {
            "http"
        }
    }

    /// Reads certificate and key again, for connections from now on; without HTTPS nothing happens. The files are also
    /// looked at every few seconds.
    ///
    /// # Errors
    /// [`TlsError`]; then the old ones stay in use.
    pub fn reload_certificates(&self) -> Result<(), TlsError> {
        self.tls.as_deref().map_or(Ok(()), ServerTls::reload)
    }

    /// The thumbprint that brokers and agents pin.
    pub fn root_thumbprint(&self) -> Thumbprint {
        self.root
    }

    /// Writes a consistent copy of the store into the new folder `to`, while the service runs. Audited as `backup.make`.
    ///
    /// # Errors
    /// [`StoreError`]; the folder is then of no use.
    pub fn copy_store_to(&self, to: &Path) -> Result<(), StoreError> {
        let by = Actor("service".to_owned());
        self.service.note_blocking(&self.service.entry(&by, "backup.make", "", "store"))?;
        self.service.store.copy_to(to)
    }

    /// What was made, when this was the first start in the folder.
    pub fn first_start(&self) -> Option<&FirstStart> {
        self.first_start.as_ref()
    }
}

/// An address to connect to: "everywhere" is listened on, never connected to.
pub fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

/// Why the service did not start. Nothing is listening then.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The operator's: a setting that cannot be.
    Config(&'static str),
    /// A folder or file of the service.
    Io(PathBuf, std::io::Error),
    /// A key or token file.
    Secret(SecretFileError),
    /// The store; [`StoreError::Locked`] when the service runs already.
    Store(StoreError),
    /// Certificate and key.
    Tls(TlsError),
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
    /// Issuer keys that are in use have no seed.
    SeedsLost(Vec<LostSeed>),
    /// The folder holds keys or tokens of a service, and its store is gone.
    StoreLost(PathBuf),
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
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Secret(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Tls(error) => write!(f, "HTTPS: {error}"),
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
                "{}: the root key is missing. Brokers and agents pin it: restore it from a backup (docs/backup.md)",
                path.display()
            ),
            Self::SeedsLost(lost) => seeds_lost(f, lost),
            Self::StoreLost(path) => write!(
                f,
                "{}: there is no store, but keys or tokens of a service lie beside it: it was deleted or moved, or its \
                 first start was cut off. Restore a backup (docs/backup.md), or start once with --accept-loss: then \
                 everything but the root key is made anew",
                path.display()
            ),
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

impl Provisioning {
    /// Opens or founds the service in its folder and serves until `stop`. It runs on threads of its own, so that any
    /// runtime may call this. [`Stop::finish`] waits for it under the name `provisioning`.
    ///
    /// # Errors
    /// [`StartError`]; nothing is listening then.
    pub async fn start(
        config: ProvisioningConfig,
        clock: SharedClock,
        random: SharedRandom,
        metrics: Metrics,
        stop: Stop,
    ) -> Result<ProvisioningHandle, StartError> {
        config.check()?;
        let (ready, started) = oneshot::channel();
        let (ended, end) = oneshot::channel::<()>();
        let parts = run::Parts { config, clock, random, metrics, stop: stop.clone() };
        run::on_a_thread(parts, ready, ended)
            .map_err(|error| StartError::Io(PathBuf::from("thread"), error))?;
        let handle = started.await.map_err(|_| StartError::Internal)??;
        stop.spawn("provisioning", async move {
            let _ = end.await;
        });
        Ok(handle)
    }
}
