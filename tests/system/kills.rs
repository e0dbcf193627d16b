//! `kill -9` at random instants: what was acknowledged is there, and the stores open again.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tessera_runtime::random::{Random, SeededRandom};
use tessera_tests::api::Api;
use tessera_tests::process::{tessera, Process};
use tessera_token::ids::DeviceId;
use tessera_token::key::SecretKey;

const KILLS: usize = 50;
const WORKERS: u64 = 4;

/// Facts that the service has acknowledged so far.
#[derive(Default)]
struct Acknowledged {
    /// Device to thumbprint of its key.
    enrolled: BTreeMap<String, (u64, String)>,
    /// Device, nonce, and the token that answered it.
    refreshed: Vec<(String, Vec<u8>, Vec<u8>)>,
    revoked: Vec<String>,
    /// Tokens that were handed out, to see that no serial comes twice.
    tokens: Vec<Vec<u8>>,
}

struct Service {
    process: Process,
    api: Api,
}

fn start(folder: &TempDir) -> Service {
    let data = folder.path().join("data");
    let mut process = Process::start(
        Command::new(tessera()).args(["provision", "--http", "127.0.0.1:0", "--data"]).arg(&data),
    );
    process.line("ready", |line| line == "ready");
    let run: Value =
        serde_json::from_slice(&std::fs::read(data.join("run.json")).unwrap()).unwrap();
    let token = std::fs::read_to_string(data.join("operator.token")).unwrap();
    let api = Api::new(run["http"].as_str().unwrap().parse().unwrap(), token.trim());
    Service { process, api }
}

fn key_of(device: &str, number: u64) -> SecretKey {
    let mut seed = [0u8; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    seed[8] = device.len() as u8;
    SecretKey::from_seed(&seed)
}

fn serial(token: &[u8]) -> Vec<u8> {
    // cti is claim 7, a byte string: found by reading the claims, not by offset.
    tessera_tests::api::serial_of(token)
}

/// One worker: it enrols, refreshes and sometimes revokes, until the service is killed.
async fn work(
    api: &Api,
    numbers: &AtomicUsize,
    seen: &Mutex<Acknowledged>,
    acks: &AtomicUsize,
    kill_at: usize,
) {
    while acks.load(Ordering::SeqCst) < kill_at {
        let number = numbers.fetch_add(1, Ordering::SeqCst) as u64;
        let name = format!("k-{number}");
        let (device, key) = (DeviceId::parse(&name).unwrap(), key_of(&name, number));
        let Ok(claims) = api.claims("sensor", 1).await else { return };
        let Ok(answer) = api.enrol(&key, &device, &claims[0]).await else { return };
        let thumbprint = tessera_token::encoding::base64url(key.public().thumbprint().as_bytes());
        {
            let mut seen = seen.lock().unwrap();
            seen.enrolled.insert(name.clone(), (number, thumbprint));
            seen.tokens.push(answer.access_token);
        }
        acks.fetch_add(1, Ordering::SeqCst);
        let nonce = number.to_be_bytes().to_vec();
        let Ok(answer) = api.refresh(&key, &device, &nonce).await else { return };
        {
            let mut seen = seen.lock().unwrap();
            seen.tokens.push(answer.access_token.clone());
            seen.refreshed.push((name.clone(), nonce, answer.access_token));
        }
        acks.fetch_add(1, Ordering::SeqCst);
        if number.is_multiple_of(3) {
            if api.revoke(&device).await.is_err() {
                return;
            }
            seen.lock().unwrap().revoked.push(name);
            acks.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_in_fifty_kills() {
    let seed = 20_261_123;
    println!("seed {seed}");
    let random = SeededRandom::predictable(seed);
    let folder = TempDir::new().unwrap();
    let numbers = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Acknowledged::default()));
    for round in 0..KILLS {
        let mut service = start(&folder);
        let mut byte = [0u8];
        random.fill(&mut byte).unwrap();
        let kill_at = 1 + usize::from(byte[0] % 24);
        let acks = Arc::new(AtomicUsize::new(0));
        let api = Arc::new(service.api);
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (api, numbers, seen, acks) =
                    (api.clone(), numbers.clone(), seen.clone(), acks.clone());
                tokio::spawn(async move { work(&api, &numbers, &seen, &acks, kill_at).await })
            })
            .collect();
        // The kill falls while the other workers are in the middle of something.
        while acks.load(Ordering::SeqCst) < kill_at && !workers.iter().all(|w| w.is_finished()) {
            tokio::task::yield_now().await;
        }
        service.process.kill();
        for worker in workers {
            worker.await.unwrap();
        }
        assert!(acks.load(Ordering::SeqCst) > 0, "round {round} did nothing");
    }
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    check(&start(&folder).api, &seen).await;
}

async fn check(api: &Api, seen: &Acknowledged) {
    assert!(seen.enrolled.len() > KILLS && seen.revoked.len() > 10, "too little was done");
    println!(
        "{} enrolled, {} refreshed, {} revoked over {KILLS} kills",
        seen.enrolled.len(),
        seen.refreshed.len(),
        seen.revoked.len()
    );
    for (name, (_, thumbprint)) in &seen.enrolled {
        let record = api.device(&DeviceId::parse(name).unwrap()).await.unwrap();
        assert_eq!(record["thumbprint"], **thumbprint, "{name} lost its key");
        if seen.revoked.contains(name) {
            assert_eq!(record["state"], "revoked", "{name} came back to life");
            assert!(record["epoch"].as_u64().unwrap() >= 1);
        }
    }
    for name in &seen.revoked {
        let (number, _) = &seen.enrolled[name];
        let device = DeviceId::parse(name).unwrap();
        let refused = api.refresh(&key_of(name, *number), &device, &[9; 16]).await.unwrap_err();
        assert_eq!(refused.code(), Some("device_revoked"), "{name}");
    }
    let mut serials: Vec<Vec<u8>> = seen.tokens.iter().map(|t| serial(t)).collect();
    let all = serials.len();
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), all, "a serial was used twice");
    // Every acknowledged token is known to the service: it can be revoked by its name.
    for (name, _, token) in &seen.refreshed {
        api.revoke_token(token).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
