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
use crate::delivery::{hand_over, Door, Way};
pub use crate::error::AgentError;
use crate::ledger::Ledger;
use crate::sync::{Source, SyncActor};
use crate::trust::Trust;
use crate::uplink::Uplink;
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
        let judge = agent.validator.clone();
        let uplink = config.uplink.clone().map(|uplink| {
            let (clock, random) = (Arc::clone(&clock), Arc::clone(&hand_over_random));
            Uplink::start(uplink, clock, random, judge, stop)
        });
        let named = || Arc::clone(&namesake);
        let source = match (&uplink, &config.feed) {
            (Some(uplink), _) => Some(Source::over(uplink.clone(), named())),
            (None, Some(feed)) => {
                let source = Source::new(feed, Arc::clone(&clock), named());
                Some(source.map_err(AgentError::Feed)?)
            }
            (None, None) => None,
        };
        let core = core.of(config.feed_place());
        let core = Arc::new(Mutex::new(core));
        actor_thread::run("agent-trust", stop, move || SyncActor {
            core: Arc::clone(&core),
            source: source.clone(),
        })?;
        let door = match (uplink, &config.feed) {
            (Some(uplink), _) => Some(Door::uplink(uplink)),
            (None, Some(feed)) => Some(Door::http(feed).map_err(AgentError::Feed)?),
            (None, None) => None,
        };
        if let Some(door) = door {
            let way = Way { door, namesake: named(), random: hand_over_random, stop };
            hand_over(way, &agent.trust, &parts, Arc::clone(&clock), metrics)?;
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

    /// Reads the files of locations again, on a thread that may wait. Those of before stay when one cannot be used, and the
    /// log says so.
    pub fn reload_locations(&self) {
        let locator = self.validator.locator().filter(|locator| locator.files().any());
        let Some(locator) = locator.cloned() else { return };
        drop(tokio::task::spawn_blocking(move || match locator.reload() {
            Ok(()) => tracing::info!("location files read again"),
            Err(error) => {
                tracing::error!(%error, "location files not read: those of before stay in use")
            }
        }));
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
