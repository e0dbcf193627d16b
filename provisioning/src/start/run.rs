use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;

use actix::Supervisor;
use parking_lot::{Mutex, RwLock};
use tessera_runtime::clock::{Clock, SharedClock};
use tessera_runtime::derivation;
use tessera_runtime::held::HeldClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::pkcs11::Module;
use tessera_runtime::random::{self, SharedRandom};
use tessera_runtime::sql::{Batch, Database};
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;
use tessera_runtime::tls::{self, ServerTls};
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tokio::sync::{mpsc, oneshot, watch};

use super::begin::{Begin, Begun};
use super::listen::{listen, Listening};
use super::opening::{self, Place};
use super::seen;
use super::serve::serve;
use super::waiting;
use super::ProvisioningHandle;
use crate::admission::Admission;
use crate::attempts::Attempts;
use crate::audit::actor::{AuditActor, ChainPending};
use crate::audit::{Actor, Entry, Pending};
use crate::clock::ServiceClock;
use crate::config::ProvisioningConfig;
use crate::issue::actor::IssuerActor;
use crate::issue::Issuer;
use crate::keys::{in_state, tenant_of};
use crate::limits::{
    BULK, BULK_OF_TENANT, EVENT_STREAMS, EVENT_STREAMS_OF_ACCOUNT, KEPT_RUNNING, PUSH_BROKERS,
};
use crate::metrics::ServiceMetrics;
use crate::nonce::Nonces;
use crate::records::keys::State;
use crate::recovery::lift;
use crate::registry::device_keys;
use crate::room::Room;
use crate::rotation::replace_lost;
use crate::service::Service;
use crate::start_error::StartError;
use crate::strangers::Strangers;
use crate::tables::Tables;
use crate::trust::actor::{tell, TrustActor};
use crate::trust::bells::Bells;
use crate::trust::bound::BoundSnapshots;
use crate::trust::follow::Follower;
use crate::trust::ledger::Head;
use crate::trust::line::OnlineRoots;
use crate::trust::readers::Readers;
use crate::trust::restored;
use crate::trust::waiters::Waiters;
use crate::turns::Turns;
use crate::write::Attempt;

pub(crate) struct Parts {
    pub(crate) config: ProvisioningConfig,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) metrics: Metrics,
    pub(crate) stop: Stop,
}

type Ready = oneshot::Sender<Result<ProvisioningHandle, StartError>>;

/// Runs the service on a thread of its own; `ended` is dropped at its end.
pub(super) fn on_a_thread(
    parts: Parts,
    ready: Ready,
    ended: oneshot::Sender<()>,
) -> std::io::Result<()> {
    let whole = move || {
        actix_rt::System::new().block_on(run(parts, ready));
        drop(ended);
    };
    std::thread::Builder::new().name("provisioning".to_owned()).spawn(whole).map(drop)
}

/// The whole life of the service.
async fn run(parts: Parts, ready: Ready) {
    let tls = match certificates(&parts.config) {
        Ok(tls) => tls,
        Err(error) => return drop(ready.send(Err(error))),
    };
    if let Err(error) = waiting::for_a_plausible_clock(&parts, tls.clone()).await {
        return drop(ready.send(Err(error)));
    }
    let (service, handle) = match prepare(parts).await {
        Ok(prepared) => prepared,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let Listening { server, addr, inner } = match listen(&service, tls.clone()) {
        Ok(listening) => listening,
        Err(error) => {
            let _ = service.database.close().await;
            return drop(ready.send(Err(error)));
        }
    };
    tracing::info!(%addr, https = tls.is_some(), "provisioning listens");
    let (push, later) = mpsc::channel(PUSH_BROKERS);
    let handle = ProvisioningHandle { addr, inner, tls: tls.clone(), push, ..handle };
    let _ = ready.send(Ok(handle));
    let _end = End(service.stop.clone());
    if let Some(tls) = tls {
        actix_rt::spawn(tls::watch(tls, service.stop.clone()));
    }
    serve(&service, server, later).await;
    let _ = service.audit.send(ChainPending).await;
    if let Err(error) = service.time.store(&service.database, &service.tables, true).await {
        tracing::warn!(%error, "lived time not stored: rows stay a little longer");
    }
    if service.database.is_shared() {
        seen::note(&service).await;
    }
    if let Err(error) = service.database.close().await {
        tracing::error!(%error, "the database was not closed cleanly");
    }
    tracing::info!("provisioning stopped");
}

fn certificates(config: &ProvisioningConfig) -> Result<Option<Arc<ServerTls>>, StartError> {
    let files = config.https.clone();
    let loaded = files.map(|files| ServerTls::load(files.cert, files.key)).transpose();
    Ok(loaded.map_err(StartError::Tls)?.map(Arc::new))
}

/// The process must not go on without a service that it thinks it has.
struct End(Stop);

impl Drop for End {
    fn drop(&mut self) {
        if !self.0.is_stopping() {
            tracing::error!("provisioning ended by itself: the process stops");
            self.0.trigger();
        }
    }
}

pub(crate) async fn prepare(
    parts: Parts,
) -> Result<(Arc<Service>, ProvisioningHandle), StartError> {
    let place = Place::make(&parts.config.data_dir)?;
    let accept_loss = parts.config.accept_loss;
    let (settings, clock) = (parts.config.database.as_ref(), &parts.clock);
    let database = opening::open(&place, settings, accept_loss, clock, &*parts.random).await?;
    let replace_keys = parts.config.replace_keys;
    let started = async {
        let (service, handle) = build(parts, &place, database.clone()).await?;
        let loss = place.loss()?;
        if let Some(missing) = &loss {
            note_loss(&service, missing).await?;
        }
        // A rotation that was lost took the seed of the key that counts again: `--accept-loss` accepts that too.
        mend_keys(&service, &place, replace_keys, loss.is_some()).await?;
        if loss.is_some() {
            place.loss_noted()?;
        }
        Ok((service, handle))
    };
    match started.await {
        Ok(built) => Ok(built),
        Err(error) => {
            let _ = database.close().await;
            Err(error)
        }
    }
}

/// Puts it on record that the service goes on without a part of what it had.
async fn note_loss(service: &Service, missing: &str) -> Result<(), StartError> {
    tracing::error!(missing, "the store holds less than it should; this was accepted");
    let by = Actor::service();
    let entry = service.entry(&by, "store.accept-loss", "", "store").detail(missing);
    match service.write(Batch::new(), entry).await {
        Ok(Attempt::Committed(())) => Ok(()),
        _ => Err(StartError::Internal),
    }
}

/// Every issuer key in use has its seed before the first token is asked for, and no other seed is there.
async fn mend_keys(
    service: &Service,
    place: &Place,
    replace: bool,
    lossy: bool,
) -> Result<(), StartError> {
    // Seeds whose rows were lost go with the damaged database, which stays too.
    let stay = lossy || place.keeps_damaged();
    if lossy {
        give_keys(service).await?;
    }
    let survey = service.issuer_keys.survey(&service.tables).await?;
    if survey.lost.is_empty() {
        return match stay {
            true => Ok(()),
            false => service.issuer_keys.clear(&survey.named).await,
        };
    }
    if !replace && !lossy {
        return Err(StartError::SeedsLost(survey.lost));
    }
    let mut by_tenant: BTreeMap<TenantId, Vec<KeyId>> = BTreeMap::new();
    for lost in survey.lost {
        tracing::error!(%lost, "issuer key replaced");
        by_tenant.entry(lost.tenant).or_default().push(lost.id);
    }
    for (tenant, lost) in by_tenant {
        replace_lost(service, &tenant, &lost).await.map_err(|_| StartError::Internal)?;
    }
    if stay {
        return Ok(());
    }
    service.issuer_keys.clear(&service.issuer_keys.survey(&service.tables).await?.named).await
}

/// A tenant whose keys were lost gets new ones: without them no device of it gets a token.
async fn give_keys(service: &Service) -> Result<(), StartError> {
    let mut tenants = service.tables.tenants.walk(&[]);
    while let Some(page) = tenants.next().await? {
        for (key, _) in page {
            let tenant = tenant_of(&key)?;
            if in_state(&service.tables, &tenant, State::Active).await?.is_none() {
                tracing::error!(%tenant, "its issuer keys were lost: it gets new ones");
                replace_lost(service, &tenant, &[]).await.map_err(|_| StartError::Internal)?;
            }
        }
    }
    Ok(())
}

pub(super) async fn build(
    parts: Parts,
    place: &Place,
    database: Database,
) -> Result<(Arc<Service>, ProvisioningHandle), StartError> {
    let Parts { config, clock, random, metrics, stop } = parts;
    let module = module(&config, &clock).await?;
    let held = HeldClock::new(clock);
    let keys = config.derivation_key_file.as_deref();
    let keys = keys.map(|path| derivation::read(path, &config.audience)).transpose();
    let keys = keys.map_err(StartError::Derivation)?.unwrap_or_default();
    let tables = Tables::of(&database);
    let pending = Pending::from(random::number(&*random).map_err(|_| StartError::Random)?);
    let pending = Arc::new(pending);
    let begun = Begin {
        config: &config,
        place,
        database: &database,
        tables: &tables,
        random: &*random,
        pending: &pending,
        module,
        now: held.unix(),
    };
    let Begun { keys: issuer_keys, root, links, founder, first_start, key } = begun.begin().await?;
    let roots = OnlineRoots::of(&founder.public(), &links).map_err(StartError::RootLink)?;
    let roots = Arc::new(roots);
    let time = ServiceClock::open(held, &tables).await?;
    time.store(&database, &tables, false).await?;
    let clock = time.shared();
    let service_metrics = ServiceMetrics::register(&metrics).map_err(StartError::Metrics)?;
    came_back(&database, &tables, &*clock, (&pending, &service_metrics)).await?;
    let head = Head::read(&tables).await?;
    let waiters = Waiters::at(head.seq);
    let shared = database.is_shared();
    let room = Room::count(&tables, config.trust, clock.monotonic(), shared).await?;
    let nonces = match key {
        None => Nonces::own(&*random, Arc::clone(&time)).map_err(|_| StartError::Random)?,
        Some(key) => Nonces::shared(key.of_nonces(), &database, Arc::clone(&time)),
    };
    let issuer = IssuerActor {
        database: database.clone(),
        clock: clock.clone(),
        issuer: Some(Issuer::new(tables.clone(), issuer_keys.clone(), config.issue_algorithm)),
    };
    let issuer = Supervisor::start(move |_| issuer);
    let issuer_ = issuer.clone();
    let (database_, tables_, time_, root_, waiters_) =
        (database.clone(), tables.clone(), Arc::clone(&time), root.clone(), waiters.clone());
    let links_ = Arc::clone(&links);
    let bells = Bells::default();
    let (bells_, pending_) = (bells.clone(), Arc::clone(&pending));
    if shared {
        let (tables, waiters) = (tables.clone(), waiters.clone());
        let (bells, issuer, root_set) = (bells.clone(), issuer.clone(), links.len() as u64);
        let follower = Follower { tables, waiters, bells, issuer, root_set };
        actix_rt::spawn(follower.run(head, stop.clone()));
    }
    let trust = Supervisor::start(move |_| TrustActor {
        database: database_,
        tables: tables_,
        time: time_,
        root: root_,
        links: links_,
        pending: pending_,
        waiters: waiters_,
        bells: bells_,
        issuer: issuer_,
        whole: Default::default(),
        claimed: None,
        unbacked: Default::default(),
    });
    let (database_, tables_) = (database.clone(), tables.clone());
    let outward = config.webhooks.client()?;
    let chained = watch::Sender::new(());
    let told = chained.clone();
    let audit = Supervisor::start(move |_| AuditActor {
        database: database_,
        tables: tables_,
        chained: told,
    });
    let service = Service {
        nonces,
        admission: Admission::new(config.admission),
        pending,
        derivation: RwLock::new(keys),
        issuer,
        metrics: service_metrics,
        registry: metrics,
        config,
        clock,
        time,
        random,
        database,
        tables,
        issuer_keys,
        root,
        links,
        roots,
        readers_ahead: AtomicUsize::default(),
        founder,
        audit,
        trust,
        waiters,
        bells,
        bound: BoundSnapshots::default(),
        readers: Readers::default(),
        confirmed: Default::default(),
        revocations: Default::default(),
        room,
        listed: AtomicUsize::default(),
        keys_looked: Mutex::default(),
        keys_healed: Mutex::default(),
        keys_turn: tokio::sync::Mutex::new(()),
        claims_turn: tokio::sync::Mutex::new(()),
        evidence: tokio::sync::Mutex::new(()),
        strangers: Strangers::default(),
        running: Turns::new(KEPT_RUNNING, 1),
        bulk: Turns::new(BULK, BULK_OF_TENANT),
        streams: Turns::new(EVENT_STREAMS, EVENT_STREAMS_OF_ACCOUNT),
        chained,
        outward,
        attempts: Attempts::default(),
        stop,
    };
    let service = Arc::new(service);
    // Subjects that a cut off run left to be lifted are revoked again before any request is answered.
    lift::run(&service).await.map_err(|_| StartError::Internal)?;
    if shared {
        actix_rt::spawn(seen::follow(Arc::clone(&service)));
    }
    // Devices of a former version are found by their keys before any other may take one of these.
    device_keys::name_all(&service).await.map_err(|_| StartError::Internal)?;
    let handle = ProvisioningHandle {
        addr: service.config.http_addr,
        inner: None,
        tls: None,
        root: service.root.public().thumbprint(),
        founder: service.founder.public().thumbprint(),
        first_start,
        service: Arc::clone(&service),
        push: mpsc::channel(1).0,
    };
    Ok((service, handle))
}

/// The security module of issuer keys. One that does not answer at the start may have the wrong name or PIN.
async fn module(
    config: &ProvisioningConfig,
    clock: &SharedClock,
) -> Result<Option<Module>, StartError> {
    let Some(settings) = &config.pkcs11 else { return Ok(None) };
    let module = Module::open(settings.clone(), clock.clone()).map_err(StartError::Module)?;
    module.check().await.map_err(StartError::Module)?;
    tracing::info!(token = module.token(), "issuer keys are made in a security module");
    Ok(Some(module))
}

/// A copy that was marked jumps before any request is served.
async fn came_back(
    database: &Database,
    tables: &Tables,
    clock: &dyn Clock,
    (pending, metrics): (&Pending, &ServiceMetrics),
) -> Result<(), StartError> {
    loop {
        let mut batch = Batch::new();
        let jumped = restored::at_start(tables, &mut batch, clock.unix()).await?;
        let Some(restoration) = jumped else { break };
        let by = Actor::service();
        let entry = Entry::new(clock.unix().get(), &by, "trust.restored", "", "service");
        let detail = format!("a copy came back: events go on at {}", restoration.to);
        let entry = entry.detail(detail);
        pending.add(tables, &mut batch, clock.unix_millis(), &entry);
        match database.commit(batch).await {
            Ok(()) => {
                tell(&restoration);
                metrics.restorations.inc(&[restoration.why.as_str()]);
            }
            // Another process of the database starts too: the mark is gone at the next look.
            Err(StoreError::Conflict { .. }) if database.is_shared() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let count = restored::restorations(tables).await?.len();
    metrics.restored.set(&[], i64::try_from(count).unwrap_or(i64::MAX));
    Ok(())
}
