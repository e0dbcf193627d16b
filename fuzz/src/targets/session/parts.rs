//! Parts of the broker that a session needs: made once, used by no schedule.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tessera_agent::behaviour::Observer;
use tessera_agent::{Agent, AgentConfig};
use tessera_broker::config::SessionPolicy;
use tessera_broker::routing::Routing;
use tessera_broker::RawBrokerConfig;
use tessera_runtime::clock::SystemClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::stop::Stop;
use tessera_token::ids::Audience;
use tokio::runtime::{Builder, Runtime};

use crate::targets::world::{keys, AUDIENCE};

pub(super) struct Parts {
    pub(super) routing: Arc<Routing>,
    pub(super) observer: Observer,
    pub(super) policy: SessionPolicy,
    _runtime: Runtime,
}

pub(super) fn parts() -> &'static Parts {
    static PARTS: OnceLock<Parts> = OnceLock::new();
    PARTS.get_or_init(|| {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let routing = Routing::start(runtime.handle().clone()).expect("routing");
        let observer = runtime.block_on(observer());
        let mut policy = RawBrokerConfig::default().validate().expect("the defaults hold").session;
        policy.queue_messages = 40;
        policy.session_expiry = 100;
        policy.subscriptions = 6;
        Parts { routing, observer, policy, _runtime: runtime }
    })
}

/// Only an agent makes an observer; sessions outlive it here, and what they tell is dropped.
async fn observer() -> Observer {
    let folder = tempfile::tempdir().expect("a folder");
    let audience = Audience::parse(AUDIENCE).expect("an audience");
    let config = AgentConfig::new(folder.path(), audience, keys().root.public().thumbprint());
    let stop = Stop::new();
    let clock = SystemClock::shared();
    let agent = Agent::start(config, clock, SystemRandom::shared(), &Metrics::new(), &stop).await;
    let agent = agent.unwrap_or_else(|error| panic!("no agent: {error}"));
    let observer = agent.observer().clone();
    stop.trigger();
    stop.finish(Duration::from_secs(5)).await;
    agent.close().unwrap_or_else(|error| panic!("the agent's store: {error}"));
    observer
}
