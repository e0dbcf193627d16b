//! Rules and restraints: what a token allows, and a tenant or an operator does not.

use std::net::Ipv4Addr;

use tessera_agent::location::{testing, LocationFiles};
use tessera_broker::codec::{Properties, QoS, ReasonCode, Version};
use tessera_rules::attributes::On;
use tessera_rules::rule::{Action, Draft, Mode, Rule, Selector};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, Restraint, RuleEntry, Step};

use crate::client::{plan, until, Client, VERSIONS};
use crate::world::{
    backend_scope, device_id, device_scope, tenant, world, world_located, World, NOW, TENANT,
};

/// A rule that is enforced for a day.
fn rule(on: On, text: &str, action: Action) -> Draft {
    let selector =
        Selector { tenant: TENANT.into(), groups: vec!["hall".into()], ..Selector::default() };
    Draft {
        id: "r".into(),
        version: 1,
        on,
        selector,
        text: text.into(),
        action,
        mode: Mode::Enforce,
        not_before: UnixSeconds::new(NOW),
        expires: UnixSeconds::new(NOW + 86_400),
        author: "maria".into(),
        reason: "a test".into(),
    }
}

fn put(world: &World, draft: Draft) {
    let (id, rule) = (draft.id.clone(), Rule::new(draft).unwrap().to_cbor());
    world.tell(Change::Rule(RuleEntry { tenant: tenant(), id, rule }));
}

fn remove(world: &World) {
    world.tell(Change::Rule(RuleEntry { tenant: tenant(), id: "r".into(), rule: Vec::new() }));
}

fn hold(world: &World, step: Step, seconds: u64) {
    let at = world.now();
    let restraint =
        Restraint { tenant: tenant(), device: device_id("d-1"), step, at, until: at.plus(seconds) };
    world.tell(Change::Restraint(restraint));
}

const TELEMETRY: &str = "d/d-1/telemetry";

/// Publishes until the answer is this one: the broker hears of a change a moment after it.
async fn becomes(device: &mut Client, payload: &[u8], is_refused: bool) {
    while (device.publish_acked(TELEMETRY, payload).await == ReasonCode::NOT_AUTHORIZED)
        != is_refused
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_refuses_what_it_picks_from_the_next_packet_on_and_nothing_else() {
    let world = world().await;
    world.name_group(5, "hall");
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    let mut other = world.token_with("d-2", crate::world::device_scope("d-2"), |claims| {
        claims.epochs.group_number = 6;
    });
    let mut other = plan(&world, "d-2", Version::V5).token(std::mem::take(&mut other)).open().await;
    let large = [0; 2000];
    assert_ne!(device.publish_acked(TELEMETRY, &large).await, ReasonCode::NOT_AUTHORIZED);
    put(&world, rule(On::Publish, "topic.startsWith(\"d/\") && bytes > 1024", Action::Deny));
    becomes(&mut device, &large, true).await;
    assert_ne!(device.publish_acked(TELEMETRY, b"small").await, ReasonCode::NOT_AUTHORIZED);
    // A message of QoS 0 is dropped, and the connection goes on: the token allows it.
    device.publish(TELEMETRY, QoS::AtMostOnce, &large).await;
    assert_ne!(device.publish_acked(TELEMETRY, b"small").await, ReasonCode::NOT_AUTHORIZED);
    assert_ne!(other.publish_acked("d/d-2/telemetry", &large).await, ReasonCode::NOT_AUTHORIZED);
    let refused = r#"tessera_broker_refusals_total{code="rule_denied",what="publish"}"#;
    assert_eq!(world.metric(refused), 2);
    assert_eq!(world.metric(r#"tessera_broker_rule_matches_total{action="deny"}"#), 1);
    assert_eq!(world.metric(r#"tessera_broker_rules{state="applied"}"#), 1);
    // Its day is over: no event has to say so.
    world.advance(86_400);
    let mut later = plan(&world, "d-1", Version::V5).client_id("d-1~b").open().await;
    assert_ne!(later.publish_acked(TELEMETRY, &large).await, ReasonCode::NOT_AUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_in_shadow_lets_everything_through() {
    let world = world().await;
    world.name_group(5, "hall");
    put(&world, Draft { mode: Mode::Shadow, ..rule(On::Publish, "bytes > 1", Action::Deny) });
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    assert_ne!(device.publish_acked(TELEMETRY, b"12").await, ReasonCode::NOT_AUTHORIZED);
    put(&world, Draft { version: 2, ..rule(On::Publish, "bytes > 1", Action::Deny) });
    becomes(&mut device, b"12", true).await;
    remove(&world);
    becomes(&mut device, b"12", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_about_connects_and_subscriptions_keep_them_out() {
    let world = world().await;
    world.name_group(5, "hall");
    put(&world, rule(On::Connect, "keep_alive > 100 && proof == \"signature\"", Action::Deny));
    for version in VERSIONS {
        let refused = plan(&world, "d-1", version).keep_alive(200).refused().await;
        assert_eq!(refused, ReasonCode::NOT_AUTHORIZED);
        plan(&world, "d-1", version).keep_alive(60).open().await.goodbye().await;
    }
    put(&world, Draft { version: 2, ..rule(On::Subscribe, "wildcard", Action::Deny) });
    let mut backend = plan(&world, "d-1", Version::V5).scope(backend_scope()).open().await;
    assert_eq!(backend.subscribe("d/#", QoS::AtLeastOnce).await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(backend.subscribe("d/d-1/telemetry", QoS::AtLeastOnce).await, ReasonCode(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_device_reaches_its_token_and_status_alone_until_it_is_over() {
    let world = world().await;
    let mut backend = plan(&world, "b", Version::V5).scope(backend_scope()).open().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.subscribe("d/d-1/cmd", QoS::AtMostOnce).await;
    backend.publish_acked("d/d-1/cmd", b"before").await;
    device.message().await;
    hold(&world, Step::Quarantine, 600);
    becomes(&mut device, b"x", true).await;
    device.publish(TELEMETRY, QoS::AtMostOnce, b"x").await;
    backend.publish_acked("d/d-1/cmd", b"meanwhile").await;
    device.quiet().await;
    assert_eq!(device.subscribe("d/d-1/cmd", QoS::AtMostOnce).await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(device.subscribe("$tessera/token", QoS::AtLeastOnce).await, ReasonCode(1));
    // So does one that connects anew.
    let mut again = plan(&world, "d-1", Version::V5).client_id("d-1~b").open().await;
    assert_eq!(again.publish_acked(TELEMETRY, b"x").await, ReasonCode::NOT_AUTHORIZED);
    world.advance(600);
    assert_ne!(again.publish_acked(TELEMETRY, b"x").await, ReasonCode::NOT_AUTHORIZED);
    backend.publish_acked("d/d-1/cmd", b"after").await;
    assert_eq!(&device.message().await.payload[..], b"after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_has_to_prove_its_key_anew_does_so_and_goes_on() {
    let world = world().await;
    world.allow_bearer();
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    world.advance(1);
    hold(&world, Step::StepUp, 600);
    device.ended_with(ReasonCode::NOT_AUTHORIZED).await;
    let mut again = plan(&world, "d-1", Version::V5).open().await;
    assert_ne!(again.publish_acked(TELEMETRY, b"x").await, ReasonCode::NOT_AUTHORIZED);
    let ended = r#"tessera_broker_refusals_total{code="step_up_required",what="session"}"#;
    assert_eq!(world.metric(ended), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_holds_a_device_back_for_its_time_and_an_operator_ends_it() {
    let world = world().await;
    world.name_group(5, "hall");
    put(&world, rule(On::Publish, "bytes == 13", Action::Quarantine));
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    let mut twin = plan(&world, "d-1", Version::V5).client_id("d-1~b").open().await;
    assert_eq!(device.publish_acked(TELEMETRY, b"0123456789abc").await, ReasonCode::NOT_AUTHORIZED);
    // Every session of the device is held back, whether its message matches or not.
    for one in [&mut device, &mut twin] {
        assert_eq!(one.publish_acked(TELEMETRY, b"x").await, ReasonCode::NOT_AUTHORIZED);
    }
    world.advance(1);
    hold(&world, Step::Released, 86_400);
    becomes(&mut twin, b"x", false).await;
    assert_eq!(twin.publish_acked(TELEMETRY, b"0123456789abc").await, ReasonCode::NOT_AUTHORIZED);
    world.advance(900);
    assert_ne!(twin.publish_acked(TELEMETRY, b"x").await, ReasonCode::NOT_AUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clamped_device_is_read_slowly_and_loses_nothing() {
    let world = world().await;
    let mut backend = plan(&world, "b", Version::V5).scope(backend_scope()).open().await;
    backend.subscribe("d/#", QoS::AtMostOnce).await;
    hold(&world, Step::Clamp, 600);
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    for number in 0..9_u8 {
        device.publish(TELEMETRY, QoS::AtMostOnce, &[number]).await;
    }
    // Five seconds of one message a second, and the one that was too many.
    for number in 0..6_u8 {
        assert_eq!(&backend.message().await.payload[..], [number]);
    }
    backend.quiet().await;
    for number in 6..9_u8 {
        world.advance(1);
        assert_eq!(&backend.message().await.payload[..], [number]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_closes_no_topic_of_the_server_and_holds_for_wills() {
    let world = world().await;
    world.name_group(5, "hall");
    let mut backend = plan(&world, "b", Version::V5).scope(backend_scope()).open().await;
    backend.subscribe("d/d-1/status", QoS::AtMostOnce).await;
    put(&world, rule(On::Publish, "bytes > 1", Action::Deny));
    put(&world, Draft { id: "s".into(), ..rule(On::Subscribe, "qos <= 2", Action::Deny) });
    let device = plan(&world, "d-1", Version::V5).will("d/d-1/status", Properties::new());
    let mut device = device.open().await;
    assert_eq!(device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(device.subscribe("$tessera/token", QoS::AtLeastOnce).await, ReasonCode(1));
    assert_eq!(device.publish_acked("$tessera/token", b"no request").await, ReasonCode::SUCCESS);
    drop(device);
    let refused = r#"tessera_broker_refusals_total{code="rule_denied",what="will"}"#;
    until(|| world.metric(refused) == 1).await;
    backend.quiet().await;
}

/// Location files with two countries on this machine.
fn located(folder: &std::path::Path) -> LocationFiles {
    let write = |name: &str, networks: &[_]| {
        let path = folder.join(name);
        std::fs::write(&path, testing::file("Test", NOW, networks)).unwrap();
        Some(path)
    };
    let place = |country| testing::city(country, (48.0, 9.0), Some(50));
    let (here, there) = ([127, 0, 41, 0].into(), [127, 0, 42, 0].into());
    LocationFiles {
        city: write("city", &[(here, 24, place("DE")), (there, 24, place("FR"))]),
        asn: write("asn", &[(there, 24, testing::asn(64_500))]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_read_the_country_and_the_system_of_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let world = world_located(located(folder.path())).await;
    world.name_group(5, "hall");
    let comes = async |third: u8| {
        let from = Client::from(&world, Ipv4Addr::new(127, 0, third, 9), Version::V5).await;
        let token = world.token("d-1", device_scope("d-1"));
        plan(&world, "d-1", Version::V5).token(token).try_over(from).await.1.unwrap().reason
    };
    let text = "country != \"\" && country != \"DE\"";
    put(&world, rule(On::Connect, text, Action::Deny));
    let (here, there, unknown) = (41, 42, 43);
    assert_eq!(comes(here).await, ReasonCode::SUCCESS);
    assert_eq!(comes(there).await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(comes(unknown).await, ReasonCode::SUCCESS);
    put(&world, Draft { version: 2, ..rule(On::Connect, "asn != 64500", Action::Deny) });
    assert_eq!(comes(there).await, ReasonCode::SUCCESS);
    assert_eq!(comes(here).await, ReasonCode::NOT_AUTHORIZED);
}
