//! Faults of other brokers that no other test here covers. The table is `docs/lessons-coverage.md`.

use std::collections::BTreeMap;
use std::path::Path;

use tessera_broker::codec::{Properties, QoS, ReasonCode, Version};

use crate::client::{plan, retained, until, VERSIONS};
use crate::world::{backend_scope, device_scope, scope, world, world_in, NOW};

const TOKEN: &str = "$tessera/token";

/// CVE-2018-12550: an empty list of rights allows nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_scope_allows_nothing() {
    let world = world().await;
    for version in VERSIONS {
        let mut client = plan(&world, "d-1", version).scope(scope(&[])).open().await;
        for filter in ["#", "+", "d/d-1/cmd", "$share/g/#", "$SYS/#", "$tessera/alerts"] {
            assert!(client.subscribe(filter, QoS::AtMostOnce).await.is_error(), "{filter}");
        }
        client.publish("d/d-1/telemetry", QoS::AtMostOnce, b"x").await;
        client.ended_with(ReasonCode::NOT_AUTHORIZED).await;
        let willing = plan(&world, "d-1", version).scope(scope(&[]));
        let willing = willing.will("d/d-1/status", Properties::new());
        assert_eq!(willing.refused().await, ReasonCode::NOT_AUTHORIZED);
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// NanoMQ 2333: a CONNECT that fails changes no byte of what is stored, whatever it asks for.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_connect_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let world = world_in(folder.path(), NOW, |_| {}).await;
    let mut victim = plan(&world, "d-1", Version::V5).kept(600).open().await;
    victim.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    victim.send(&retained("d/d-1/status", b"up")).await;
    victim.acked().await;
    victim.goodbye().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.publish_acked("d/d-1/cmd", b"waits").await;
    let stored = folder.path().join("sessions");
    let before = files(&stored);
    assert!(before.values().any(|bytes| bytes.windows(5).any(|five| five == b"waits")));
    for version in VERSIONS {
        let thief = || world.token("thief", device_scope("thief"));
        let clean = plan(&world, "thief", version).token(thief()).client_id("d-1");
        assert_eq!(clean.refused().await, ReasonCode::NOT_AUTHORIZED);
        let forbidden = plan(&world, "d-1", version).will("d/d-2/status", Properties::new());
        assert_eq!(forbidden.refused().await, ReasonCode::NOT_AUTHORIZED);
        let mut kept = plan(&world, "thief", version).token(thief()).client_id("d-1").kept(0);
        kept = kept.will("d/d-1/status", Properties::new());
        assert_eq!(kept.refused().await, ReasonCode::NOT_AUTHORIZED);
    }
    assert!(files(&stored) == before, "something was written");
    let (mut victim, ack) = plan(&world, "d-1", Version::V5).kept(600).try_open().await;
    assert!(ack.unwrap().session_present);
    assert_eq!(&victim.message().await.payload[..], b"waits");
}

/// mochi 503, aedes 769: a will is authorised at CONNECT and once more when it is published.
#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_authorised_again_when_it_is_published() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/d-1/status", QoS::AtMostOnce).await;
    let refused = r#"tessera_broker_refusals_total{code="will_not_authorised",what="will"}"#;
    for version in VERSIONS {
        let willing = plan(&world, "d-1", version).will("d/d-1/status", Properties::new());
        let mut client = willing.open().await;
        let narrow = world.token("d-1", scope(&[("pub", "d/d-1/telemetry")]));
        client.subscribe(TOKEN, QoS::AtMostOnce).await;
        client.subscribe("$tessera/status", QoS::AtMostOnce).await;
        client.message().await;
        client.publish(TOKEN, QoS::AtMostOnce, &narrow).await;
        // Its status is told anew once the token is in force.
        client.message().await;
        let before = world.metric(refused);
        drop(client);
        until(|| world.metric(refused) > before).await;
        hub.quiet().await;
    }
}

/// GHSA-jx8g-9g95-6322: a shared subscription ends with the right to its filter, and the others get its share.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_subscription_ends_with_the_right() {
    let world = world().await;
    let rights = || scope(&[("sub", "jobs/#"), ("sub", "news")]);
    let mut hub = plan(&world, "hub", Version::V5).scope(scope(&[("pub", "#")])).open().await;
    let mut members = Vec::new();
    for name in ["w-1", "w-2"] {
        let mut one = plan(&world, name, Version::V5).scope(rights()).open().await;
        for filter in ["$share/g/jobs/#", "$share/h/jobs/1", "news"] {
            assert!(!one.subscribe(filter, QoS::AtLeastOnce).await.is_error());
        }
        members.push(one);
    }
    let narrow = world.token("w-1", scope(&[("sub", "news")]));
    members[0].subscribe("$tessera/status", QoS::AtMostOnce).await;
    members[0].message().await;
    members[0].publish(TOKEN, QoS::AtMostOnce, &narrow).await;
    members[0].message().await;
    for n in 0..6u8 {
        hub.publish_acked("jobs/1", &[n]).await;
    }
    hub.publish_acked("news", b"last").await;
    let mut got = Vec::new();
    while got.len() < 12 {
        let message = members[1].message().await;
        if &*message.topic == "jobs/1" {
            got.push(message.payload[0]);
        }
    }
    got.sort_unstable();
    assert_eq!(got, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(&*members[0].message().await.topic, "news");
    members[0].quiet().await;
}
