//! Requests that prove no key: one answer, in one time, and the true reason in the house alone.

use std::time::Duration;

use serde_json::json;
use tessera_runtime::clock::SystemClock;
use tessera_runtime::http::{HttpError, ACE_CBOR};
use tessera_token::messages::{EnrolRequest, TokenKind, TokenRequest};
use tessera_token::refusal::RefusalCode;

use crate::world::{random, Device, World};

/// Everything that a stranger sees of a refusal but its time.
async fn shown(world: &World, path: &str, body: Vec<u8>) -> (u16, String, Vec<u8>) {
    match world.stranger.post(path, ACE_CBOR, body).await {
        Err(HttpError::Status { response, .. }) => {
            (response.status, response.content_type, response.body.to_vec())
        }
        _ => panic!("not refused"),
    }
}

async fn world() -> World {
    let world = World::with(|config| config.admission.wrong.burst = 1_000_000).await;
    world.enrolled("known").await;
    world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    world.post("/v1/tenants/other/revoke", json!({})).await;
    world
}

const SUBJECTS: [(&str, &str); 4] =
    [("default", "known"), ("default", "unknown"), ("other", "known"), ("nothing", "known")];

fn token_request(world: &World, (tenant, device): (&str, &str)) -> Vec<u8> {
    let Device { tenant, id, key } = Device::of(tenant, device);
    TokenRequest::sign(&key, &tenant, &id, world.now(), &random(), TokenKind::Key).to_cbor()
}

async fn enrol_request(world: &World, (tenant, device): (&str, &str)) -> Vec<u8> {
    let Device { tenant, id, key } = Device::of(tenant, device);
    let nonce = world.nonce().await;
    EnrolRequest::sign(&key, &tenant, &id, "AAAA-BBBB-CCCC-DDDD", &nonce).to_cbor()
}

#[tokio::test]
async fn strangers_get_one_answer() {
    let world = world().await;
    let mut answers = Vec::new();
    for subject in SUBJECTS {
        answers.push((
            shown(&world, "/v1/token", token_request(&world, subject)).await,
            shown(&world, "/v1/enrol", enrol_request(&world, subject).await).await,
        ));
    }
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
    // Metrics are public: they tell the same.
    let metrics = world.stranger.get("/metrics").await.unwrap().text();
    for code in ["device_unknown", "tenant_unknown", "tenant_suspended"] {
        assert!(!metrics.contains(&format!("refusals_total{{code=\"{code}\"")), "{code}");
    }
}

/// A request past the rate of wrong ones took the same work: its answer waits as long.
#[tokio::test]
async fn past_the_rate_the_time_says_nothing_either() {
    let world = World::with(|config| config.admission.wrong.burst = 2).await;
    let clock = SystemClock::shared();
    for round in 0..5 {
        let began = clock.monotonic();
        let refused = world.ask("/v1/token", token_request(&world, SUBJECTS[1])).await;
        let expected = if round < 2 { RefusalCode::ProofInvalid } else { RefusalCode::RateLimited };
        assert_eq!(refused.err(), Some(expected), "{round}");
        assert!(clock.monotonic() - began >= Duration::from_millis(20), "{round}");
    }
}

/// The true reasons reach the audit log as a sum, however many requests there were.
#[tokio::test]
async fn the_audit_log_has_a_sum_of_them() {
    let world = World::with(|config| {
        config.admission.wrong.burst = 1_000_000;
        config.sweep_every = Duration::from_millis(20);
    })
    .await;
    for n in 0..20 {
        let _ = world.refresh(&Device::new(&format!("d-{n}"))).await;
        let _ = world.refresh(&Device::of("nothing", "a")).await;
    }
    let mut told = Vec::new();
    for _ in 0..500 {
        world.advance(60);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let entries = world.get("/v1/audit?limit=1000").await;
        let entries = entries["items"].as_array().unwrap().clone();
        told = entries.into_iter().filter(|one| one["action"] == "strangers.refused").collect();
        let sum = |code: &str| -> u64 {
            let details = told.iter().flat_map(|one| one["detail"].as_str().unwrap().split(", "));
            details.filter_map(|part| part.strip_prefix(code)?.trim().parse::<u64>().ok()).sum()
        };
        if (sum("device_unknown"), sum("tenant_unknown")) == (20, 20) {
            assert!(told.len() < 20, "{told:?}");
            return;
        }
    }
    panic!("{told:?}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Medians of many requests, taken in turns, so that other load of the machine hits all alike.
#[tokio::test]
async fn times_of_strangers_say_nothing() {
    let world = world().await;
    let clock = SystemClock::shared();
    let mut times = vec![(Vec::new(), Vec::new()); SUBJECTS.len()];
    for _ in 0..25 {
        for (subject, times) in SUBJECTS.into_iter().zip(&mut times) {
            let (token, enrol) =
                (token_request(&world, subject), enrol_request(&world, subject).await);
            for (path, body, times) in
                [("/v1/token", token, &mut times.0), ("/v1/enrol", enrol, &mut times.1)]
            {
                let began = clock.monotonic();
                shown(&world, path, body).await;
                times.push(clock.monotonic() - began);
            }
        }
    }
    let bucket = tessera_provisioning::limits::REFUSAL_BUCKET;
    let medians: Vec<_> =
        times.into_iter().flat_map(|(token, enrol)| [median(token), median(enrol)]).collect();
    for median in &medians {
        assert!(*median >= bucket, "{medians:?}");
        assert!(median.abs_diff(medians[0]) < bucket / 2, "{medians:?}");
    }
}
