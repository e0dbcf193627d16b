//! Start and stop of the service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SharedRandom;
use tessera_runtime::secret::Secret;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;
use tessera_runtime::tls::{ServerTls, TlsError};
use tessera_token::key::Thumbprint;
use tokio::sync::{mpsc, oneshot};

use crate::audit::Actor;
use crate::config::ProvisioningConfig;
use crate::push_settings::PushBroker;
use crate::service::Service;
use crate::start_error::StartError;
pub use check::{check_stopped, Checked};
pub use moving::{move_to_server, Moved};
pub use operator::renew as renew_operator;
pub use roots::{root_accept, root_request, OfflineRoot, RootAccepted, RootChange};
pub use stopped::{copy as copy_stopped, mark_restored, mark_restored_on};

mod begin;
mod check;
mod first_run;
mod listen;
mod mend;
mod moving;
mod opening;
mod operator;
mod roots;
mod run;
mod seen;
mod serve;
mod stopped;

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
    founder: Thumbprint,
    first_start: Option<FirstStart>,
    service: Arc<Service>,
    push: mpsc::Sender<PushBroker>,
}

/// The secrets that the very first start made, shown once.
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

    /// The thumbprint of the first root key. Links lead a verifier with a store from it to the present one.
    pub fn founding_thumbprint(&self) -> Thumbprint {
        self.founder
    }

    /// Writes a consistent copy of the store into the new folder `to`, while the service runs. Audited as `backup.make`.
    ///
    /// # Errors
    /// [`StoreError`]; the folder is then of no use.
    pub fn copy_store_to(&self, to: &Path) -> Result<(), StoreError> {
        let by = Actor::service();
        self.service.note_blocking(&self.service.entry(&by, "backup.make", "", "store"))?;
        self.service.database.copy_to(to)
    }

    /// Pushes tokens to this broker from now on, as to those of the settings. False when the service stops, or has too many
    /// to begin with.
    ///
    /// # Errors
    /// [`StartError::PushName`], [`StartError::PushTwice`]: it could be taken for one of the settings.
    pub fn push_to(&self, broker: PushBroker) -> Result<bool, StartError> {
        let config = &self.service.config;
        config.push.check_with(&broker, &config.audience)?;
        Ok(self.push.try_send(broker).is_ok())
    }

    /// The secrets that were made, when this was the first start in the folder.
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
