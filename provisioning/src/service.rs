use std::sync::Arc;

use actix::Addr;
use parking_lot::RwLock;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SharedRandom;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::{Batch, Store, StoreError};
use tessera_token::key::SecretKey;
use tessera_token::proof::DerivationKeys;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Change;

use crate::admission::Admission;
use crate::audit::actor::{AuditActor, ChainPending};
use crate::audit::{Entry, Pending};
use crate::clock::ServiceClock;
use crate::config::ProvisioningConfig;
use crate::issue::actor::{IssuerActor, KeysMoved};
use crate::keys::files::KeyFolder;
use crate::metrics::ServiceMetrics;
use crate::nonce::Nonces;
use crate::refused::Refused;
use crate::registry::Actor;
use crate::tables::Tables;
use crate::trust::actor::{Publish, TrustActor};
use crate::trust::hub::Hub;

/// Everything a request handler may use.
pub(crate) struct Service {
    pub(crate) config: ProvisioningConfig,
    /// That of `time`.
    pub(crate) clock: SharedClock,
    pub(crate) time: Arc<ServiceClock>,
    pub(crate) random: SharedRandom,
    pub(crate) store: Store,
    pub(crate) tables: Tables,
    pub(crate) key_folder: KeyFolder,
    pub(crate) root: Arc<SecretKey>,
    pub(crate) nonces: Nonces,
    pub(crate) admission: Admission,
    pub(crate) pending: Pending,
    /// The first one makes the keys of new symmetric tokens; none by default.
    pub(crate) derivation: RwLock<DerivationKeys>,
    pub(crate) issuer: Addr<IssuerActor>,
    pub(crate) audit: Addr<AuditActor>,
    pub(crate) trust: Addr<TrustActor>,
    pub(crate) hub: Hub,
    pub(crate) metrics: ServiceMetrics,
    pub(crate) registry: Metrics,
    pub(crate) stop: Stop,
}

/// Whether a change that rests on what was read could be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tried<T> {
    /// Written and durable.
    Done(T),
    /// Another change got in between: read again and try again.
    Again,
}

impl<T> Tried<T> {
    pub(crate) fn map<U>(self, with: impl FnOnce(T) -> U) -> Tried<U> {
        match self {
            Self::Done(value) => Tried::Done(with(value)),
            Self::Again => Tried::Again,
        }
    }
}

impl Service {
    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.unix()
    }

    /// An audit entry of now.
    pub(crate) fn entry(&self, by: &Actor, action: &str, tenant: &str, subject: &str) -> Entry {
        Entry::new(self.now().get(), by, action, tenant, subject)
    }

    /// Writes a change and its audit entry.
    pub(crate) async fn write(&self, mut batch: Batch, entry: Entry) -> Result<Tried<()>, Refused> {
        self.note(&mut batch, &entry);
        match self.store.commit(batch).await {
            Ok(()) => {
                self.noted(&entry);
                Ok(Tried::Done(()))
            }
            Err(StoreError::Conflict { .. }) => Ok(Tried::Again),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a change that verifiers must hear of, its events and its audit entry.
    pub(crate) async fn publish(
        &self,
        changes: Vec<Change>,
        mut batch: Batch,
        entry: Entry,
    ) -> Result<Tried<()>, Refused> {
        self.note(&mut batch, &entry);
        let keys_moved = changes.iter().any(|change| matches!(change, Change::Key(_)));
        let tried = self.trust.send(Publish { changes, batch }).await??;
        if tried == Tried::Done(()) {
            self.noted(&entry);
            if keys_moved {
                self.issuer.send(KeysMoved).await?;
            }
        }
        Ok(tried)
    }

    pub(crate) fn note(&self, batch: &mut Batch, entry: &Entry) {
        self.pending.add(&self.tables, batch, self.clock.unix_millis(), entry);
    }

    pub(crate) fn noted(&self, entry: &Entry) {
        tracing::info!(
            actor = %entry.actor,
            action = %entry.action,
            tenant = %entry.tenant,
            subject = %entry.subject,
            "change"
        );
        // When the mailbox is full the actor is at work and finds this entry too; the sweeper asks again anyway.
        let _ = self.audit.try_send(ChainPending);
    }
}
