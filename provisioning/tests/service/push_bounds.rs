//! Push refresh: the bounds for a device, for a broker and for what stands in the settings.

use tessera_provisioning::{PushBroker, StartError};
use tessera_runtime::clock::ManualClock;
use tessera_token::ids::VerifierName;
use tessera_token::messages::{PushPage, PushSession};
use tessera_token::time::UnixSeconds;

use crate::push::{pushing_to, runs, session, shows, waiting, FakeBroker, Line};
use crate::world::{try_start, Device, World, START};

/// A service that pushes to a broker, and two of its devices.
struct Pushed {
    broker: FakeBroker,
    world: World,
    line: Line,
    one: Device,
    other: Device,
}

impl Pushed {
    async fn begin() -> Self {
        let broker = FakeBroker::new().await;
        let world = World::with(broker.push()).await;
        runs(&world);
        let (one, _) = world.enrolled("d-1").await;
        let (other, _) = world.enrolled("d-2").await;
        let line = broker.line().await;
        Self { broker, world, line, one, other }
    }
}

/// After it a hundred pushes may leave in a second, for a day.
async fn has_been_large(world: &World, broker: &FakeBroker, line: &mut Line) {
    let issued = world.now();
    let brief = |number: u64| {
        let device = Device::new(&format!("former-{number}"));
        let whole =
            PushSession { issued, expires: issued.plus(2), ..session(world, 0, &device, 0) };
        PushSession { session: 10_000 + number, ..whole }
    };
    line.sessions((0..150).map(brief).collect()).await;
    shows(world, &waiting(broker, 150)).await;
    line.page(PushPage { gone: (10_000..10_150).collect(), ..PushPage::default() }).await;
    shows(world, &waiting(broker, 0)).await;
}

#[tokio::test]
async fn a_device_or_a_broker_that_wants_token_after_token_gets_a_share() {
    let Pushed { broker, world, mut line, one, other } = Pushed::begin().await;
    has_been_large(&world, &broker, &mut line).await;
    // A device connects anew each time, with a token that is nearly over.
    for round in 0..4 {
        let numbers = 16 * round..16 * (round + 1);
        let gone = (0..numbers.start).collect();
        let sessions = numbers.map(|number| session(&world, number, &one, 92)).collect();
        line.page(PushPage { sessions, gone, failed: Vec::new() }).await;
        for _ in 0..16 {
            line.token().await;
        }
    }
    let sessions = (64..80).map(|number| session(&world, number, &one, 92)).collect();
    line.page(PushPage { sessions, gone: (0..64).collect(), failed: Vec::new() }).await;
    let line_of = |limit, count| {
        format!(r#"tessera_provisioning_limits_hit_total{{limit="{limit}"}} {count}"#)
    };
    shows(&world, &line_of("pushes_of_device", 16)).await;
    line.sessions(vec![session(&world, 99, &other, 92)]).await;
    assert_eq!(line.token().await.0, 99, "another device has its own share");
    // The share outlives the connection.
    drop(line);
    let mut line = broker.line().await;
    line.sessions(vec![session(&world, 1, &one, 92)]).await;
    shows(&world, &line_of("pushes_of_device", 17)).await;
    shows(&world, r#"tessera_provisioning_issued_total{occasion="push"} 65"#).await;
}

#[tokio::test]
async fn many_sessions_of_one_device_take_a_share_of_the_places() {
    let Pushed { broker, world, mut line, one, other } = Pushed::begin().await;
    line.sessions((0..100).map(|number| session(&world, number, &one, 0)).collect()).await;
    line.sessions(vec![session(&world, 200, &other, 0)]).await;
    shows(&world, &waiting(&broker, 17)).await;
    let limit = r#"tessera_provisioning_limits_hit_total{limit="push_sessions_of_device"} 84"#;
    shows(&world, limit).await;
    // A place that is free again is taken by the next one that is told.
    line.page(PushPage { gone: vec![3], ..PushPage::default() }).await;
    shows(&world, &waiting(&broker, 16)).await;
    line.sessions(vec![session(&world, 50, &one, 0)]).await;
    shows(&world, &waiting(&broker, 17)).await;
}

#[tokio::test]
async fn a_broker_pushes_to_the_tenants_that_it_serves_alone() {
    let (ours, theirs) = (FakeBroker::new().await, FakeBroker::new().await);
    let brokers = vec![ours.named("?tenants=acme,default#b1"), theirs.named("?tenants=acme#b2")];
    let world = World::with(pushing_to(brokers)).await;
    runs(&world);
    let (device, _) = world.enrolled("d-1").await;
    let mut foreign = theirs.line().await;
    foreign.sessions(vec![session(&world, 1, &device, 92)]).await;
    shows(&world, r#"tessera_provisioning_limits_hit_total{limit="push_tenant"} 1"#).await;
    let mut own = ours.line().await;
    own.sessions(vec![session(&world, 1, &device, 92)]).await;
    assert_eq!(own.token().await.0, 1);
    shows(&world, r#"tessera_provisioning_issued_total{occasion="push"} 1"#).await;
    shows(&world, &waiting(&theirs, 0)).await;
}

#[tokio::test]
async fn two_brokers_of_one_name_are_refused_at_the_start() {
    let brokers = ["mqtt://127.0.0.1:1#b1", "mqtt://127.0.0.1:2#b1"];
    let brokers = brokers.map(|text| PushBroker::parse(text).unwrap());
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(UnixSeconds::new(START)));
    let refused = try_start(folder.path(), &clock, |config| config.push.brokers = brokers.into());
    let told = refused.await.err().unwrap().to_string();
    assert!(told.contains("\"b1\"") && told.contains("127.0.0.1:2"), "{told}");
    // The broker of the same process, which is named later.
    let broker = FakeBroker::new().await;
    let world = World::with(broker.push()).await;
    let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let (b1, b2) = (VerifierName::parse("b1").unwrap(), VerifierName::parse("b2").unwrap());
    let later = |name, port| world.handle.push_to(PushBroker::here(at(port), Some(name)));
    assert!(matches!(later(&b1, 9), Err(StartError::PushName { .. })));
    let port = broker.0.local_addr().unwrap().port();
    assert!(matches!(later(&b2, port), Err(StartError::PushTwice(_))));
    assert!(later(&b2, 9).unwrap());
}
