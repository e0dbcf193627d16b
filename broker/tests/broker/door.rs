//! Wrong credentials: told to behaviour tracking, counted by network, answered in steps; honest neighbours get in meanwhile.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tessera_broker::codec::{Password, QoS, ReasonCode, Version};
use tessera_broker::limits::{
    DOOR_CHECKS_PER_SECOND, DOOR_STEP, DOOR_WAITING_PER_PREFIX, GUESSES_CLOSED, GUESSES_SLOW,
};

use crate::client::{plan, Client};
use crate::world::{backend_scope, device_scope, world, World};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 31, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 31, 77);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 32, 5);

/// A CONNECT with this password from there; `None` when it was closed without a CONNACK.
async fn guess(world: &World, from: Ipv4Addr, name: &str, password: Vec<u8>) -> Option<ReasonCode> {
    let client = Client::from(world, from, Version::V5).await;
    let mut plan = plan(world, name, Version::V5);
    plan.connect.password = Some(Password::new(password.into()));
    plan.try_over(client).await.1.map(|ack| ack.reason)
}

async fn connect(world: &World, from: Ipv4Addr, name: &str, token: Vec<u8>) -> ReasonCode {
    let client = Client::from(world, from, Version::V5).await;
    let (_client, ack) = plan(world, name, Version::V5).token(token).try_over(client).await;
    ack.expect("closed without CONNACK").reason
}

/// So many CONNECTs, of which `at_once` are under way. The time goes on with them.
async fn guesses(
    world: &World,
    (count, at_once): (usize, usize),
    of: impl Fn(usize) -> (String, Vec<u8>),
) {
    let next = AtomicUsize::new(0);
    let one = || async {
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= count {
                return;
            }
            if number % 100 == 99 {
                world.clock.advance(Duration::from_millis(500));
            }
            let (name, password) = of(number);
            let reason = guess(world, ATTACKER, &name, password).await.expect("a CONNACK");
            assert!(matches!(reason, ReasonCode::NOT_AUTHORIZED | ReasonCode::SERVER_BUSY));
        }
    };
    join_all((0..at_once).map(|_| one())).await;
}

fn password(number: usize) -> Vec<u8> {
    format!("wrong, and no base64url: {number}").into_bytes()
}

/// A token of the form that the issuer's have, with a wrong signature.
fn forged(world: &World, name: &str) -> Vec<u8> {
    let mut token = world.token(name, device_scope(name));
    *token.last_mut().unwrap() ^= 1;
    token
}

fn steps(world: &World) -> (u64, u64) {
    let of = |step| world.metric(&format!(r#"tessera_broker_door_steps_total{{step="{step}"}}"#));
    (of("slow"), of("closed"))
}

fn refused(world: &World, code: &str) -> u64 {
    let line = format!(r#"tessera_broker_refusals_total{{what="connect",code="{code}"}}"#);
    let other = format!(r#"tessera_broker_refusals_total{{code="{code}",what="connect"}}"#);
    world.metric(&line) + world.metric(&other)
}

async fn listener(world: &World) -> Client {
    let mut hub = plan(world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("$tessera/alerts", QoS::AtLeastOnce).await;
    hub
}

async fn alert(hub: &mut Client) -> Value {
    serde_json::from_slice(&hub.message().await.payload).unwrap()
}

/// Once the tracker has taken in everything: a campaign is not told twice, so each has a tenant's listener of its own.
async fn all_taken(world: &World) {
    let taken = || world.metric("tessera_behaviour_observations_total");
    let mut before = u64::MAX;
    while taken() != before {
        before = taken();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stuffing_from_one_network_is_told_and_slowed_and_its_honest_neighbours_get_in() {
    let world = world().await;
    let mut hub = listener(&world).await;
    let attack = guesses(&world, (2_000, 64), |number| {
        let name = format!("user-{}", number / 2);
        let password = match number % 4 {
            0 => world.password(&name, &name, forged(&world, &name)),
            _ => password(number),
        };
        (name, password)
    });
    let neighbours = async {
        for number in 0..20 {
            let name = format!("n-{number}");
            let token = world.token(&name, device_scope(&name));
            assert_eq!(connect(&world, NEIGHBOUR, &name, token).await, ReasonCode::SUCCESS);
        }
    };
    tokio::join!(attack, neighbours);
    assert_eq!(steps(&world), (1, 1));
    assert!(world.metric(r#"tessera_broker_limits_hit_total{limit="door_waiting"}"#) > 0);
    let told = alert(&mut hub).await;
    assert_eq!(told["subject"]["campaign"], "credential_stuffing", "{told}");
    assert_eq!((told["tenant"].as_str(), told["severity"].as_str()), (Some("acme"), Some("high")));
    assert!(told["address"].as_str().unwrap().starts_with("127.0.31."), "{told}");
    assert!(told["advice"].as_str().unwrap().starts_with("tessera "), "{told}");
    // Other networks notice nothing.
    let token = world.token("d-9", device_scope("d-9"));
    assert_eq!(connect(&world, ELSEWHERE, "d-9", token).await, ReasonCode::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_old_setting_that_comes_ten_thousand_times_is_no_attack() {
    let world = world().await;
    let mut hub = listener(&world).await;
    guesses(&world, (10_000, 128), |_| ("d-1".to_owned(), b"old password".to_vec())).await;
    // A token that no issuer of today has signed, with a fresh proof each time.
    let old = forged(&world, "d-2");
    guesses(&world, (200, 32), |_| ("d-2".to_owned(), world.password("d-2", "d-2", old.clone())))
        .await;
    assert_eq!(world.metric(r#"tessera_broker_guesses_total{pair="new"}"#), 2);
    assert_eq!(world.metric(r#"tessera_broker_guesses_total{pair="again"}"#), 10_198);
    assert_eq!(steps(&world), (0, 0));
    all_taken(&world).await;
    hub.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn harvested_names_are_told() {
    let world = world().await;
    let mut hub = listener(&world).await;
    guesses(&world, (500, 64), |number| (format!("d-{number}"), b"one for all".to_vec())).await;
    let told = alert(&mut hub).await;
    assert_eq!(told["subject"]["campaign"], "credential_stuffing", "{told}");
    // Names that a stranger chose are no devices.
    assert!(told.get("devices").is_none_or(|devices| devices == &Value::Array(Vec::new())));
    assert_eq!(steps(&world).0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_a_real_device_in_wrong_credentials_change_nothing_for_it() {
    let world = world().await;
    let mut hub = listener(&world).await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    guesses(&world, (300, 64), |number| ("d-1".to_owned(), password(number))).await;
    assert_eq!(alert(&mut hub).await["subject"]["campaign"], "credential_stuffing");
    all_taken(&world).await;
    hub.quiet().await;
    device.quiet().await;
    device.goodbye().await;
    // The first try, from its own network and from that of the attacker.
    for from in [ELSEWHERE, NEIGHBOUR] {
        let token = world.token("d-1", device_scope("d-1"));
        assert_eq!(connect(&world, from, "d-1", token).await, ReasonCode::SUCCESS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_network_has_a_rate_of_checks_that_known_tokens_do_not_need() {
    let world = world().await;
    let known = world.token("n-1", device_scope("n-1"));
    assert_eq!(connect(&world, NEIGHBOUR, "n-1", known.clone()).await, ReasonCode::SUCCESS);
    let enough = (GUESSES_SLOW + GUESSES_CLOSED + 40) as usize;
    guesses(&world, (enough, 64), |number| (format!("u-{number}"), password(number))).await;
    assert_eq!(steps(&world), (1, 1));
    let tokens = DOOR_CHECKS_PER_SECOND as usize;
    let forge = |number: usize| {
        let name = format!("f-{number}");
        let token = forged(&world, &name);
        (name.clone(), world.password(&name, &name, token))
    };
    let (world, forge) = (&world, &forge);
    // The clock stands still, so that nothing is refilled.
    for part in 0..tokens.div_ceil(50) {
        let all = (part * 50..part * 50 + 50).map(|number| async move {
            let (name, password) = forge(number);
            guess(world, ATTACKER, &name, password).await
        });
        join_all(all).await;
    }
    assert_eq!(refused(world, "rate_limited"), 0);
    let (name, password) = forge(9_999);
    assert_eq!(guess(world, ATTACKER, &name, password).await, Some(ReasonCode::SERVER_BUSY));
    assert_eq!(refused(world, "rate_limited"), 1);
    assert_eq!(connect(world, NEIGHBOUR, "n-1", known).await, ReasonCode::SUCCESS);
    // A device without history here has its part of the rate.
    let new = world.token("n-2", device_scope("n-2"));
    assert_eq!(connect(world, NEIGHBOUR, "n-2", new.clone()).await, ReasonCode::SERVER_BUSY);
    world.clock.advance(Duration::from_millis(100));
    assert_eq!(connect(world, NEIGHBOUR, "n-2", new).await, ReasonCode::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_ends_by_itself() {
    let world = world().await;
    let few = GUESSES_SLOW as usize + 2;
    let pairs =
        |from: usize| move |number| (format!("u-{}", from + number), password(from + number));
    guesses(&world, (few, 8), pairs(0)).await;
    assert_eq!(steps(&world), (1, 0));
    // So many wait at once, and the next is told that the server is busy.
    let waiting = DOOR_WAITING_PER_PREFIX;
    let all = (0..=waiting).map(|_| guess(&world, ATTACKER, "u-0", password(0)));
    let busy = join_all(all).await;
    let busy = busy.into_iter().filter(|reason| *reason == Some(ReasonCode::SERVER_BUSY)).count();
    assert_eq!(busy, 1);
    world.advance(DOOR_STEP.as_secs() + 1);
    let all = (0..=waiting).map(|_| guess(&world, ATTACKER, "u-0", password(0)));
    let none = join_all(all).await;
    assert!(none.iter().all(|reason| *reason == Some(ReasonCode::NOT_AUTHORIZED)), "{none:?}");
    guesses(&world, (GUESSES_SLOW as usize - 5, 8), pairs(1_000)).await;
    assert_eq!(steps(&world), (1, 0));
    guesses(&world, (10, 8), pairs(2_000)).await;
    assert_eq!(steps(&world), (2, 0));
}
