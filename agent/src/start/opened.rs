//! The parts of an agent, before any of its tasks runs.

use std::sync::Arc;

use crate::location::Locator;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::{self, SharedRandom};
use tessera_runtime::store::Store;
use tessera_token::trust::Roots;

use super::Agent;
use crate::behaviour::{self, BehaviourParts, Recording};
use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::ledger::{Ledger, LedgerMetrics, Opening};
use crate::namesake::Namesake;
use crate::sync::SyncCore;
use crate::trust::{Trust, TrustState, TrustStore, TrustStoreError, TrustTime};
use crate::validator::Validator;

/// The folder of recorded observations, in that of the store.
const RECORD_FOLDER: &str = "observations";

pub(super) struct Opened {
    pub(super) agent: Agent,
    /// The core that follows the trust feed.
    pub(super) core: SyncCore,
    /// The parts that keep the behaviour profiles.
    pub(super) parts: BehaviourParts,
    /// The watch over the verifier's name.
    pub(super) namesake: Arc<Namesake>,
}

impl Opened {
    /// Opens the store and reads back trust, used proofs and profiles.
    pub(super) fn open(
        config: &AgentConfig,
        clock: &SharedClock,
        random: SharedRandom,
        metrics: &Metrics,
    ) -> Result<Self, AgentError> {
        let store = Store::open_with(&config.data_dir, &config.store_options())?;
        tell_loss(&store, metrics)?;
        let roots = Roots { online: config.root_pin, offline: config.offline_pin };
        let trust_store = TrustStore::pinning(&store, roots)?;
        let tenants = config.tenants();
        let mut state = known_trust(&trust_store, config)?;
        if let Some(tenants) = &tenants {
            // Stored data may be of more tenants, until the next snapshot.
            state.narrow_to(tenants);
        }
        let time = TrustTime::new(Arc::clone(clock), trust_store.time()?);
        let trust = Trust::new(state, time);
        trust.set_lapse_budget(config.not_followed_seconds);
        let namesake = namesake(config, &store, &random, clock, metrics)?;
        let behaviour = config.behaviour.clone();
        let known = Arc::clone(&trust);
        let announced = Box::new(move || Arc::clone(known.load().announced()));
        let record = (config.record_bytes > 0)
            .then(|| Recording::new(config.data_dir.join(RECORD_FOLDER), config.record_bytes));
        let locator = Locator::open(config.location.clone()).map_err(AgentError::Location)?;
        let (observer, mut parts) = behaviour::start(
            &store,
            behaviour,
            Arc::clone(clock),
            &random,
            announced,
            record,
            metrics,
        )?;
        let mut core = SyncCore::new(Arc::clone(&trust), trust_store, random, metrics)?;
        if config.feed.is_some() || config.uplink.is_some() {
            core = core.of_tenants(tenants);
        }
        // A copy that came back, and a store that has lost something, lack proofs that were taken.
        let opening = Opening { restored: store.opened().copied };
        let counted = LedgerMetrics::new(metrics)?;
        let ledger = Ledger::open(&store, opening, Arc::clone(clock), trust.now(), counted)?;
        let ledger = Arc::new(ledger);
        let (judged, taken) = (Arc::clone(&trust), Arc::clone(&ledger));
        let named = Arc::clone(&namesake);
        let validator = Validator::new(judged, taken, store.clone(), observer.clone(), named);
        parts.locate_by(locator.clone());
        validator.set_locator(locator);
        let agent = Agent { validator, observer, trust, ledger, store };
        Ok(Self { agent, core, parts, namesake })
    }
}

/// The name of the verifier, and the watch over it.
fn namesake(
    config: &AgentConfig,
    store: &Store,
    random: &SharedRandom,
    clock: &SharedClock,
    metrics: &Metrics,
) -> Result<Arc<Namesake>, AgentError> {
    let name = config.verifier.name(&config.audience, store, random.as_ref())?;
    let reader = random::bytes(random.as_ref()).map_err(AgentError::Random)?;
    let namesake = Namesake::new(name, reader, Arc::clone(clock), metrics)?;
    Ok(Arc::new(if config.gateway { namesake.of_gateway() } else { namesake }))
}

/// A loss that was accepted is not gone: it stays in the metric for as long as this process runs.
fn tell_loss(store: &Store, metrics: &Metrics) -> Result<(), AgentError> {
    let losses = metrics.gauge(
        "tessera_agent_store_loss_accepted",
        "1 when this process goes on with a store that held less than it should",
        &[],
    )?;
    losses.set(&[], i64::from(store.opened().accepted.is_some()));
    if let Some(loss) = &store.opened().accepted {
        tracing::error!(%loss, "the store holds less than it should; this was accepted");
    }
    Ok(())
}

fn known_trust(store: &TrustStore, config: &AgentConfig) -> Result<TrustState, AgentError> {
    match store.load(config.audience.clone()) {
        Ok(state) => Ok(state),
        Err(TrustStoreError::Store(error)) => Err(error.into()),
        Err(TrustStoreError::Refused(refusal)) => {
            tracing::error!(%refusal, "stored trust data is not used: no client is let in before a new snapshot");
            Ok(TrustState::empty(config.audience.clone()))
        }
    }
}
