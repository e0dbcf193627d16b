use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_runtime::clock::ManualClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::secret::Secret;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::Store;
use tessera_token::chain::ProofUse;
use tessera_token::ids::ClientId;
use tessera_token::key::Thumbprint;
use tessera_token::proof::Place;
use tessera_token::refusal::RefusalCode;

use crate::testing::*;
use crate::trust::TrustEffect;
use crate::verifier::Verifier;
use crate::{Agent, AgentConfig};

const PATIENCE: Duration = Duration::from_secs(10);

async fn start(folder: &std::path::Path, world: &World, url: Option<String>, stop: &Stop) -> Agent {
    let mut config = AgentConfig::new(folder, audience(), world.pin());
    if let Some(url) = url {
        config = config.with_feed(url, Secret::new("feed-token".to_owned()));
    }
    let clock = ManualClock::at(at(NOW));
    let random = SystemRandom::shared();
    Agent::start(config, clock, random, &Metrics::new(), stop).await.unwrap()
}

async fn end(agent: &Agent, stop: &Stop) {
    let left = stop.finish(PATIENCE).await;
    assert!(left.is_empty(), "{left:?}");
    agent.close().unwrap();
}

#[tokio::test]
async fn a_proof_for_one_verifier_of_a_feed_is_no_proof_at_another() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = Arc::new(Mutex::new(World::new()));
    let service = FeedService::start(Arc::clone(&world)).await;
    let start = async |folder: &std::path::Path, which: Verifier, stop: &Stop| {
        let mut config = AgentConfig::new(folder, audience(), World::new().pin())
            .with_feed(service.url(), Secret::new("feed-token".to_owned()));
        config.verifier = which;
        let (clock, random) = (ManualClock::at(at(NOW)), SystemRandom::shared());
        let agent = Agent::start(config, clock, random, &Metrics::new(), stop).await.unwrap();
        let mut effects = agent.validator().trust_effects();
        while agent.validator().ready().is_err() {
            tokio::time::timeout(PATIENCE, effects.recv()).await.unwrap().unwrap();
        }
        agent
    };
    let stop = Stop::new();
    let broker = start(one.path(), Verifier::Audience, &stop).await;
    let gateway = start(two.path(), Verifier::Own, &stop).await;
    assert_eq!(broker.validator().verifier().as_str(), audience().as_str());
    let name = gateway.validator().verifier().as_str().to_owned();
    assert_ne!(name, audience().as_str());
    let (token, world) = (world.lock().token(), World::new());
    let admits = async |agent: &Agent, password: &[u8]| {
        agent.validator().admit(password, DEVICE).await.map(drop).map_err(|refusal| refusal.code)
    };
    // A proof that was used at the broker is refused at the gateway, and in the other order too.
    let for_broker = world.password(&token, NOW, 1);
    assert_eq!(admits(&broker, &for_broker).await, Ok(()));
    assert_eq!(admits(&gateway, &for_broker).await, Err(RefusalCode::ProofInvalid));
    let for_gateway = world.credential_for(&name, &token, NOW, 2).to_password();
    assert_eq!(admits(&broker, &for_gateway).await, Err(RefusalCode::ProofInvalid));
    assert_eq!(admits(&gateway, &for_gateway).await, Ok(()));
    assert_eq!(admits(&gateway, &for_gateway).await, Err(RefusalCode::ProofReplayed));
    let left = stop.finish(PATIENCE).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn trust_arrives_a_revocation_reaches_subscribers_and_a_restart_works_offline() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(Mutex::new(World::new()));
    let service = FeedService::start(Arc::clone(&world)).await;
    let stop = Stop::new();
    let agent = start(folder.path(), &World::new(), Some(service.url()), &stop).await;
    let mut effects = agent.validator().trust_effects();
    while agent.validator().ready().is_err() {
        tokio::time::timeout(PATIENCE, effects.recv()).await.unwrap().unwrap();
    }
    let token = world.lock().token();
    let password = world.lock().password(&token, NOW, 1);
    let held = agent.validator().admit(&password, DEVICE).await.unwrap();

    service.event(device_change(DEVICE, 1, NOW));
    let wanted = TrustEffect::Device { tenant: tenant(), device: device(DEVICE) };
    while tokio::time::timeout(PATIENCE, effects.recv()).await.unwrap().unwrap() != wanted {}
    let ended = agent.validator().still_holds(&held.grant);
    assert_eq!(ended, Err(RefusalCode::DeviceEpoch));
    end(&agent, &stop).await;
    drop(agent);

    let stop = Stop::new();
    let agent = start(folder.path(), &World::new(), None, &stop).await;
    assert_eq!(agent.validator().ready(), Ok(()));
    let password = world.lock().password(&token, NOW, 2);
    let refusal = agent.validator().admit(&password, DEVICE).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::DeviceEpoch);
    end(&agent, &stop).await;
}

#[tokio::test]
async fn a_wrong_feed_token_brings_no_trust() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(Mutex::new(World::new()));
    let service = FeedService::start(Arc::clone(&world)).await;
    let stop = Stop::new();
    let config = AgentConfig::new(folder.path(), audience(), World::new().pin())
        .with_feed(service.url(), Secret::new("wrong".to_owned()));
    let metrics = Metrics::new();
    let clock = ManualClock::at(at(NOW));
    let agent = Agent::start(config, clock, SystemRandom::shared(), &metrics, &stop).await.unwrap();
    service.refused_once().await;
    service.refused_once().await;
    assert_eq!(agent.validator().ready(), Err(RefusalCode::TrustMissing));
    let shown = metrics.render();
    assert!(shown.contains("tessera_trust_sync_errors_total{reason=\"not_allowed\"}"), "{shown}");
    end(&agent, &stop).await;
}

#[tokio::test]
async fn a_second_agent_in_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Stop::new();
    let agent = start(folder.path(), &World::new(), None, &stop).await;
    let config = AgentConfig::new(folder.path(), audience(), World::new().pin());
    let (clock, metrics) = (ManualClock::at(at(NOW)), Metrics::new());
    let second = Agent::start(config, clock, SystemRandom::shared(), &metrics, &stop);
    assert!(matches!(second.await.err(), Some(crate::error::AgentError::Store(_))));
    end(&agent, &stop).await;
}

/// Proofs that were taken behind a copy are not in it: no proof that another may have taken meanwhile is taken again.
#[tokio::test]
async fn a_store_that_came_back_from_a_copy_counts_as_older_than_what_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (world, stop) = (World::new(), Stop::new());
    let mut round = 0;
    for (mark, decides) in [
        (false, Ok(())),
        (false, Ok(())),
        (true, Err(RefusalCode::ProofUndecided)),
        (false, Err(RefusalCode::ProofUndecided)),
    ] {
        if mark {
            Store::mark_copied(folder.path()).unwrap();
        }
        let agent = start(folder.path(), &world, None, &Stop::new()).await;
        let ahead = NOW + tessera_token::limits::PROOF_WINDOW_SECONDS;
        assert_eq!(agent.ledger.decides(at(NOW)), decides);
        round += 1;
        let client = ClientId::parse("d").unwrap();
        for (second, expected) in [(NOW, decides), (ahead, decides), (ahead + 1, Ok(()))] {
            let key = Thumbprint::from_bytes([round; 32]);
            let proof = ProofUse { key, place: Place::new(at(second), 1) };
            let taken = agent.ledger.take(proof, &client, at(NOW)).await;
            assert_eq!(taken.map(drop), expected, "{round}: {second}, of a device that was ahead");
        }
        end(&agent, &stop).await;
    }
}

#[tokio::test]
async fn a_damaged_location_file_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city");
    std::fs::write(&path, b"no such file").unwrap();
    let mut config = AgentConfig::new(folder.path().join("agent"), audience(), World::new().pin());
    config.location.city = Some(path);
    let (clock, random) = (ManualClock::at(at(NOW)), SystemRandom::shared());
    let started = Agent::start(config, clock, random, &Metrics::new(), &Stop::new()).await;
    assert!(matches!(started.err(), Some(crate::start::AgentError::Location(_))));
}
