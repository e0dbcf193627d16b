//! An agent, started: store, trust synchronisation, validator and behaviour tracking as one.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_runtime::boxed::Boxed;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::derivation;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SharedRandom;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::{Store, StoreError};

use crate::actor_thread;
use crate::behaviour::{BehaviourActor, Observer};
use crate::config::AgentConfig;
use crate::delivery::{Alerts, Delivery, Rules, Uses};
pub use crate::error::AgentError;
use crate::ledger::Ledger;
use crate::sync::{Source, SyncActor};
use crate::trust::Trust;
use crate::validator::Validator;

#[cfg(feature = "testing")]
pub mod driven;
mod opened;
#[cfg(test)]
mod tests;
mod upkeep;

use opened::Opened;

/// A running agent. Its tasks end with the [`Stop`] it was started with; its store is closed by [`Agent::close`].
pub struct Agent {
    validator: Validator,
    observer: Observer,
    trust: Arc<Trust>,
    ledger: Arc<Ledger>,
    store: Store,
}

impl Agent {
    /// Opens the store, reads trust back, and starts the actors. It is usable at once: without trust data it refuses
    /// every device with `trust_missing`.
    ///
    /// # Errors
    /// [`AgentError`]. Damaged trust data is no error: it is left out and fetched again.
    pub fn start<'a>(
        config: AgentConfig,
        clock: SharedClock,
        random: SharedRandom,
        metrics: &'a Metrics,
        stop: &'a Stop,
    ) -> Boxed<'a, Result<Self, AgentError>> {
        Box::pin(Self::begin(config, clock, random, metrics, stop))
    }

    async fn begin(
        config: AgentConfig,
        clock: SharedClock,
        random: SharedRandom,
        metrics: &Metrics,
        stop: &Stop,
    ) -> Result<Self, AgentError> {
        let derivation = config.derivation_key_file.as_deref();
        let derivation = derivation.map(|path| derivation::read(path, &config.audience));
        let derivation = derivation.transpose().map_err(AgentError::Derivation)?;
        let hand_over_random = Arc::clone(&random);
        let opened = Opened::open(&config, &clock, random, metrics)?;
        let Opened { agent, core, parts, namesake } = opened;
        let source = |feed| Source::new(feed, Arc::clone(&clock), Arc::clone(&namesake));
        let source = config.feed.as_ref().map(source).transpose().map_err(AgentError::Feed)?;
        let url = config.feed.as_ref().map_or("", |feed| feed.server.url.as_str());
        let core = core.of(url);
        let core = Arc::new(Mutex::new(core));
        actor_thread::run("agent-trust", stop, move || SyncActor {
            core: Arc::clone(&core),
            source: source.clone(),
        })?;
        if let Some(feed) = &config.feed {
            let handed = |error| AgentError::Feed(error);
            let alerts = Alerts(Arc::clone(parts.kept()));
            let (named, drawn) = (Arc::clone(&namesake), Arc::clone(&hand_over_random));
            let delivery = Delivery::new(alerts, feed, named, drawn).map_err(handed)?;
            stop.spawn("agent alerts", delivery.run(stop.clone()));
            let book = Arc::clone(parts.inventory());
            let told = metrics.counter(
                "tessera_inventory_told_total",
                "Devices whose topics were told to provisioning",
                &[],
            );
            let told = told.map_err(AgentError::Metrics)?;
            let uses = Uses::new(book, Arc::clone(&clock), hand_over_random.as_ref(), told);
            let uses = uses.map_err(AgentError::Random)?;
            let (named, drawn) = (Arc::clone(&namesake), Arc::clone(&hand_over_random));
            let delivery = Delivery::new(uses, feed, named, drawn).map_err(handed)?;
            stop.spawn("agent inventory", delivery.run(stop.clone()));
            let counts = Rules::new(Arc::clone(&agent.trust), hand_over_random.as_ref());
            let counts = counts.map_err(AgentError::Random)?;
            let delivery =
                Delivery::new(counts, feed, namesake, hand_over_random).map_err(handed)?;
            stop.spawn("agent rule counts", delivery.run(stop.clone()));
        }
        let parts = Arc::new(Mutex::new(parts));
        actor_thread::run("agent-behaviour", stop, move || BehaviourActor(Arc::clone(&parts)))?;
        upkeep::start(Arc::clone(&agent.ledger), Arc::clone(&agent.trust), stop);

        let validator = &agent.validator;
        validator.set_derivation_keys(derivation.unwrap_or_default());
        if let Some(path) = config.derivation_key_file {
            let judge = validator.clone();
            let take = move |keys| judge.set_derivation_keys(keys);
            let watch = derivation::watch(path, config.audience, stop.clone(), take);
            stop.spawn("agent derivation keys", watch);
        }
        Ok(agent)
    }

    /// The validator.
    pub fn validator(&self) -> &Validator {
        &self.validator
    }

    /// Where sessions tell what they see.
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// The trust data.
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
