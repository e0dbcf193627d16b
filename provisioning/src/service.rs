use std::future::Future;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;

use actix::Addr;
use parking_lot::{Mutex, RwLock};
use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::OutwardClient;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SharedRandom;
use tessera_runtime::sql::{Batch, Database, Key};
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::proof::DerivationKeys;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Change;
use tokio::sync::watch;

use crate::admission::{Admission, Source};
use crate::attempts::Attempts;
use crate::audit::actor::{AuditActor, ChainPending};
use crate::audit::{Actor, Entry, Pending};
use crate::clock::ServiceClock;
use crate::config::ProvisioningConfig;
use crate::issue::actor::IssuerActor;
use crate::issue::{self, Issued, Order};
use crate::keys::issuers::IssuerKeys;
use crate::metrics::ServiceMetrics;
use crate::nonce::Nonces;
use crate::refused::Refused;
use crate::room::{Hold, Load, Purpose, Room};
use crate::strangers::Strangers;
use crate::tables::Tables;
use crate::trust::actor::{Publish, TrustActor};
use crate::trust::bells::Bells;
use crate::trust::bound::BoundSnapshots;
use crate::trust::confirmed::Confirmed;
use crate::trust::line::OnlineRoots;
use crate::trust::readers::Readers;
use crate::trust::waiters::Waiters;
use crate::trust::waiting::Waiting;
use crate::turns::Turns;
use crate::write::Attempt;

/// Everything a request handler may use.
pub(crate) struct Service {
    pub(crate) config: ProvisioningConfig,
    /// That of `time`.
    pub(crate) clock: SharedClock,
    pub(crate) time: Arc<ServiceClock>,
    pub(crate) random: SharedRandom,
    pub(crate) database: Database,
    pub(crate) tables: Tables,
    pub(crate) issuer_keys: IssuerKeys,
    /// The root key that signs.
    pub(crate) root: Arc<SecretKey>,
    /// The links that lead from the first root key to it.
    pub(crate) links: Arc<Vec<Vec<u8>>>,
    /// The online roots of these links.
    pub(crate) roots: Arc<OnlineRoots>,
    /// By how many root sets a reader was ahead.
    pub(crate) readers_ahead: AtomicUsize,
    /// The first root key: refresh tokens are made by it.
    pub(crate) founder: Arc<SecretKey>,
    pub(crate) nonces: Nonces,
    pub(crate) admission: Admission,
    pub(crate) pending: Arc<Pending>,
    /// The first one makes the keys of new symmetric tokens; none by default.
    pub(crate) derivation: RwLock<DerivationKeys>,
    pub(crate) issuer: Addr<IssuerActor>,
    pub(crate) audit: Addr<AuditActor>,
    pub(crate) trust: Addr<TrustActor>,
    pub(crate) waiters: Waiters,
    pub(crate) bells: Bells,
    pub(crate) bound: BoundSnapshots,
    pub(crate) readers: Readers,
    pub(crate) confirmed: Confirmed,
    pub(crate) revocations: Waiting,
    pub(crate) room: Arc<Room>,
    /// Findings that are listed, as far as the evidence that is looked at knows.
    pub(crate) listed: AtomicUsize,
    /// How far the table of issuer keys was looked through for those that have ended.
    pub(crate) keys_looked: Mutex<Option<Key>>,
    /// How far it was looked through for those that a wrong clock has dated, or that end soon.
    pub(crate) keys_healed: Mutex<Option<Key>>,
    /// Held while the keys of a tenant take a step: steps at once would only take it from each other.
    pub(crate) keys_turn: tokio::sync::Mutex<()>,
    /// Held while claims are made: each changes the count of its tenant.
    pub(crate) claims_turn: tokio::sync::Mutex<()>,
    /// Held while evidence of verifiers is written.
    pub(crate) evidence: tokio::sync::Mutex<()>,
    pub(crate) strangers: Strangers,
    /// Requests with an Idempotency-Key that are being done, by their scopes.
    pub(crate) running: Turns,
    /// Of imports and exports.
    pub(crate) bulk: Turns,
    /// Streams of events, by the shares of their accounts.
    pub(crate) streams: Turns,
    /// Calls the receivers of webhooks.
    pub(crate) outward: OutwardClient,
    /// Changes when entries of the audit log were chained.
    pub(crate) chained: watch::Sender<()>,
    pub(crate) attempts: Attempts,
    pub(crate) metrics: ServiceMetrics,
    pub(crate) registry: Metrics,
    pub(crate) stop: Stop,
}

impl Service {
    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.unix()
    }

    /// Charges a request of a device that has proved its key to the device and to its source.
    ///
    /// # Errors
    /// `rate_limited`; then nothing was done.
    pub(crate) fn charge(
        &self,
        source: &Source,
        tenant: &TenantId,
        device: &DeviceId,
    ) -> Result<(), RefusalCode> {
        let device = format!("{tenant}/{device}");
        match self.admission.proved(source, &device, self.clock.monotonic()) {
            true => Ok(()),
            false => Err(RefusalCode::RateLimited),
        }
    }

    /// An audit entry of now.
    pub(crate) fn entry(&self, by: &Actor, action: &str, tenant: &str, subject: &str) -> Entry {
        Entry::new(self.now().get(), by, action, tenant, subject)
    }

    /// Writes a change and its audit entry.
    pub(crate) async fn write(
        &self,
        mut batch: Batch,
        entry: Entry,
    ) -> Result<Attempt<()>, Refused> {
        self.note(&mut batch, &entry);
        let tried = self.write_unnoted(batch).await?;
        if tried == Attempt::Committed(()) {
            self.noted(&entry);
        }
        Ok(tried)
    }

    /// As [`Service::write`], for a change of which no operator need be told.
    pub(crate) async fn write_unnoted(&self, batch: Batch) -> Result<Attempt<()>, Refused> {
        match self.database.commit(batch).await {
            Ok(()) => Ok(Attempt::Committed(())),
            Err(StoreError::Conflict { .. }) => Ok(Attempt::Conflict),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a token by the key that signs for its tenant now. It must not leave before its record is committed.
    pub(crate) async fn issue(&self, order: Order) -> Result<Issued, Refused> {
        issue::issue(&self.tables, &self.issuer, order).await
    }

    /// Room for what verifiers will have to hold.
    ///
    /// # Errors
    /// `capacity_reached`.
    pub(crate) async fn room_for(
        &self,
        tenant: &str,
        load: Load,
        purpose: Purpose,
    ) -> Result<Hold, Refused> {
        self.room.catch_up(&self.tables).await?;
        let full = match self.room.hold(tenant, load, purpose) {
            Ok(hold) => return Ok(hold),
            Err(full) => full,
        };
        if self.room.is_count_due(self.clock.monotonic()) {
            self.room.recount(&self.tables).await?;
            if let Ok(hold) = self.room.hold(tenant, load, purpose) {
                return Ok(hold);
            }
        }
        self.metrics.limits_hit.inc(&[full.what]);
        tracing::warn!(
            limit = full.what,
            most = full.most,
            tenant,
            share = full.of_others,
            "verifiers can hold no more of these"
        );
        Err(full.into())
    }

    /// Writes a change of one tenant that verifiers must hear of, its events and its audit entry.
    ///
    /// # Errors
    /// `capacity_reached` when verifiers could not hold it; then nothing is written.
    pub(crate) async fn publish(
        &self,
        changes: Vec<Change>,
        batch: Batch,
        entry: Entry,
    ) -> Result<Attempt<()>, Refused> {
        let load = Load::of(&self.tables, &changes).await?;
        let tenant = changes.first().map_or("", |change| change.tenant().as_str());
        let hold = self.room_for(tenant, load, Purpose::of(&changes)).await?;
        self.publish_within(hold, changes, batch, entry).await
    }

    /// As [`Service::publish`], for a change that has its room already.
    pub(crate) async fn publish_within(
        &self,
        hold: Hold,
        changes: Vec<Change>,
        mut batch: Batch,
        entry: Entry,
    ) -> Result<Attempt<()>, Refused> {
        self.note(&mut batch, &entry);
        let tried = self.trust.send(Publish { changes, batch, hold }).await??;
        // Another task wrote it.
        tessera_runtime::sql::forget();
        if tried == Attempt::Committed(()) {
            self.noted(&entry);
        }
        Ok(tried)
    }

    /// Does `work` to its end, also when the caller goes: the future of a request is dropped when its connection breaks.
    pub(crate) async fn to_its_end<T: 'static>(
        work: impl Future<Output = Result<T, Refused>> + 'static,
    ) -> Result<T, Refused> {
        actix_rt::spawn(work).await.map_err(|_| Refused::from(RefusalCode::Internal))?
    }

    /// Writes an entry alone, from code that does not wait.
    pub(crate) fn note_blocking(&self, entry: &Entry) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        self.note(&mut batch, entry);
        self.database.commit_blocking(batch)?;
        self.noted(entry);
        Ok(())
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
