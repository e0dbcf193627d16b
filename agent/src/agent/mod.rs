//! An agent, started: store, trust synchronisation, validator and behaviour tracker as one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::derivation::{self, DerivationFileError};
use tessera_runtime::http::HttpError;
use tessera_runtime::metrics::{Metrics, MetricsError};
use tessera_runtime::random::SharedRandom;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::{Store, StoreError};

use crate::behaviour::{self, BehaviourActor, Observer};
use crate::config::AgentConfig;
use crate::host;
use crate::ledger::{Ledger, LedgerMetrics, Opening};
use crate::sync::{Source, SyncCore, TrustActor};
use crate::trust::{Trust, TrustState, TrustStore, TrustStoreError, TrustTime};
use crate::validator::Validator;

#[cfg(feature = "testing")]
pub mod driven;
#[cfg(test)]
mod tests;
mod upkeep;

/// A running agent. Its tasks end with the [`Stop`] it was started with; its store is closed by [`Agent::close`].
pub struct Agent {
    validator: Validator,
    observer: Observer,
    trust: Arc<Trust>,
    ledger: Arc<Ledger>,
    store: Store,
}

/// Why an agent did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentError {
    /// Its store.
    Store(StoreError),
    /// A metric's name is taken: two agents share a registry.
    Metrics(MetricsError),
    /// The URL of the feed.
    Feed(HttpError),
    /// The file of derivation keys.
    Derivation(DerivationFileError),
    /// A thread or folder.
    Io(std::io::Error),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Metrics(error) => error.fmt(f),
            Self::Feed(error) => write!(f, "trust feed: {error}"),
            Self::Derivation(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AgentError {}

impl From<StoreError> for AgentError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<MetricsError> for AgentError {
    fn from(error: MetricsError) -> Self {
        Self::Metrics(error)
    }
}

impl From<std::io::Error> for AgentError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<behaviour::StartError> for AgentError {
    fn from(error: behaviour::StartError) -> Self {
        match error {
            behaviour::StartError::Store(error) => Self::Store(error),
            behaviour::StartError::Metrics(error) => Self::Metrics(error),
        }
    }
}

impl Agent {
    /// Opens the store, reads trust back, and starts the actors. It is usable at once: without trust data it refuses
    /// everybody with `trust_missing`.
    ///
    /// # Errors
    /// [`AgentError`]. Damaged trust data is no error: it is left out and fetched again.
    pub async fn start(
        config: AgentConfig,
        clock: SharedClock,
        random: SharedRandom,
        metrics: &Metrics,
        stop: &Stop,
    ) -> Result<Self, AgentError> {
        let derivation = config.derivation_key_file.as_deref();
        let derivation = derivation.map(|path| derivation::read(path, &config.audience));
        let derivation = derivation.transpose().map_err(AgentError::Derivation)?;
        let store = Store::open_with(&config.data_dir, &config.store_options())?;
        tell_loss(&store, metrics)?;
        let trust_store = TrustStore::new(&store, config.root_pin)?;
        let state = known_trust(&trust_store, &config)?;
        let time = TrustTime::new(Arc::clone(&clock), trust_store.time()?);
        let trust = Trust::new(state, time);
        trust.set_lapse_budget(config.not_followed_seconds);
        let url = config.feed.as_ref().map_or("", |feed| feed.server.url.as_str());
        let core = SyncCore::new(Arc::clone(&trust), trust_store, random, metrics)?.of(url);
        let source =
            config.feed.as_ref().map(|feed| Source::new(feed, Arc::clone(&clock))).transpose();
        let source = source.map_err(AgentError::Feed)?;
        let ledger_clock = Arc::clone(&clock);
        let (observer, parts) = behaviour::start(&store, config.behaviour, clock, metrics)?;
        let counted = LedgerMetrics::new(metrics)?;
        let ledger = Ledger::open(&store, opening(&store), ledger_clock, trust.now(), counted)?;
        let ledger = Arc::new(ledger);

        let core = Arc::new(Mutex::new(core));
        host::run("agent-trust", stop, move || TrustActor {
            core: Arc::clone(&core),
            source: source.clone(),
        })?;
        let parts = Arc::new(Mutex::new(parts));
        host::run("agent-behaviour", stop, move || BehaviourActor(Arc::clone(&parts)))?;
        upkeep::start(Arc::clone(&ledger), Arc::clone(&trust), stop);

        let (judged, taken) = (Arc::clone(&trust), Arc::clone(&ledger));
        let validator = Validator::new(judged, taken, store.clone(), observer.clone());
        validator.set_derivation_keys(derivation.unwrap_or_default());
        if let Some(path) = config.derivation_key_file {
            let judge = validator.clone();
            let take = move |keys| judge.set_derivation_keys(keys);
            let watch = derivation::watch(path, config.audience, stop.clone(), take);
            stop.spawn("agent derivation keys", watch);
        }
        Ok(Self { validator, observer, trust, ledger, store })
    }

    /// Who may connect.
    pub fn validator(&self) -> &Validator {
        &self.validator
    }

    /// Where sessions tell what they see.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// What is known.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// Writes a consistent copy of the store into the new folder `to`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn copy_store_to(&self, to: &Path) -> Result<(), StoreError> {
        self.store.copy_to(to)
    }

    /// Lets no device in any more, writes down which proofs were used, and closes the store: the last step, after
    /// [`Stop::finish`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn close(&self) -> Result<(), StoreError> {
        let finished = self.ledger.finish(self.trust.now());
        self.store.close()?;
        finished
    }
}

/// A copy that came back, and a store that has lost something, lack proofs that were taken.
fn opening(store: &Store) -> Opening {
    Opening { restored: store.opened().copied }
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
            tracing::error!(%refusal, "stored trust data is not used: nobody is let in before a new snapshot");
            Ok(TrustState::empty(config.audience.clone()))
        }
    }
}
