//! Issuer keys in a security module, by SoftHSM: their whole life, and each way in which the module may fail.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_provisioning::ProvisioningConfig;
use tessera_runtime::pkcs11::testing::{HeldBack, SoftHsm, SoftToken};
use tessera_runtime::secret::write_secret_file;
use tessera_token::chain::KeyState;
use tessera_token::encoding::from_base64url;
use tessera_token::key::PublicKey;
use tessera_token::presented::Presented;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Change;

use crate::feed::Reader;
use crate::several::two_with;
use crate::world::{problem, Device, World};

const PIN: &str = "canary-pin-58213";
const KEYS: &str = "/v1/tenants/default/keys";

/// One of this process: a module reads its configuration once.
static HSM: LazyLock<(tempfile::TempDir, SoftHsm)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let hsm = SoftHsm::in_folder(folder.path());
    hsm.take_process();
    (folder, hsm)
});

/// The token of the test with two processes, whose configuration is a function.
static SHARED: LazyLock<SoftToken> = LazyLock::new(|| token("shared"));

fn token(label: &str) -> SoftToken {
    HSM.1.token(label, PIN)
}

fn by(token: &SoftToken) -> impl FnOnce(&mut ProvisioningConfig) {
    let settings = token.settings();
    move |config| {
        config.pkcs11 = Some(settings);
        config.sweep_every = Duration::from_millis(20);
    }
}

/// Time of this machine: for calls that take as long as they take.
fn monotonic() -> Duration {
    static CLOCK: LazyLock<tessera_runtime::clock::SharedClock> =
        LazyLock::new(tessera_runtime::clock::SystemClock::shared);
    CLOCK.monotonic()
}

async fn keys(world: &World) -> BTreeMap<String, Value> {
    let listed = world.get(KEYS).await;
    let items = listed["items"].as_array().unwrap().clone();
    items.into_iter().map(|key| (key["state"].as_str().unwrap().to_owned(), key)).collect()
}

fn is_in(key: &Value, token: &SoftToken) -> bool {
    key["module"]["token"] == json!(token.label)
}

/// Whether the key that was listed has signed these bytes.
fn signed_by(key: &Value, access_token: &[u8]) -> bool {
    let x = from_base64url(key["x"].as_str().unwrap()).unwrap();
    let public = PublicKey::from_bytes(&x).unwrap();
    Presented::read(access_token).unwrap().is_signed_by(&public)
}

async fn rotate(world: &World) {
    world.post(&format!("{KEYS}/rotate"), json!({})).await;
}

async fn compromise(world: &World, key: &Value) {
    let path = format!("{KEYS}/{}/compromise", key["key"].as_str().unwrap());
    world.post(&path, json!({})).await;
}

async fn ready(world: &World) -> Result<(), Value> {
    match world.stranger.get("/readyz").await {
        Ok(_) => Ok(()),
        Err(tessera_runtime::http::HttpError::Status { response, .. }) => {
            Err(response.json().unwrap())
        }
        Err(error) => panic!("{error}"),
    }
}

async fn issued(world: &World) -> usize {
    let text = String::from_utf8(world.stranger.get("/metrics").await.unwrap().body).unwrap();
    let counts = text.lines().filter(|line| line.starts_with("tessera_provisioning_issued_total"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

async fn until<F: Future<Output = bool>>(mut done: impl FnMut() -> F) {
    let told = async {
        while !done().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
}

/// A refresh that gets a token, however long the module may not be opened again.
async fn refreshed(world: &World, device: &Device) -> Vec<u8> {
    for _ in 0..60 {
        if let Ok(answer) = world.refresh(device).await {
            return answer.access_token;
        }
        world.advance(1);
    }
    panic!("no token: {:?}", ready(world).await);
}

#[tokio::test]
async fn module_keys_sign_from_the_first_start_over_rotations_cuts_and_restarts() {
    let token = token("life");
    let world = World::with(by(&token)).await;
    let first = keys(&world).await;
    assert!(is_in(&first["active"], &token) && is_in(&first["next"], &token), "{first:?}");
    assert_eq!(token.object_files().len(), 2, "private halves alone");
    let (device, answer) = world.enrolled("a").await;
    assert!(signed_by(&first["active"], &answer.access_token));
    let mut reader = Reader::snapshot(&world).await;
    rotate(&world).await;
    let states = reader.read(&world).await.into_iter().map(|change| match change {
        Change::Key(key) => key.state,
        other => panic!("{other:?}"),
    });
    assert_eq!(states.collect::<Vec<_>>(), [KeyState::Next, KeyState::Active, KeyState::Retiring]);
    let second = keys(&world).await;
    assert_eq!(second["active"]["key"], first["next"]["key"]);
    assert_eq!(token.object_files().len(), 2, "the one that signs no more is destroyed");
    let by_second = world.refresh(&device).await.unwrap().access_token;
    assert!(signed_by(&second["active"], &by_second));
    compromise(&world, &second["active"]).await;
    let third = keys(&world).await;
    assert_eq!(third["active"]["key"], second["next"]["key"]);
    assert_eq!(token.object_files().len(), 2);
    let world = world.restart_as(by(&token)).await;
    assert_eq!(keys(&world).await, third);
    let by_third = world.refresh(&device).await.unwrap().access_token;
    assert!(signed_by(&third["active"], &by_third));
    // Another tenant has keys of its own there.
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    assert_eq!(token.object_files().len(), 4);
    if !crate::postgres::has_no_files() {
        let seeds = std::fs::read_dir(world.dir.path().join("provisioning/keys")).unwrap();
        let names: Vec<_> = seeds.map(|seed| seed.unwrap().file_name()).collect();
        assert_eq!(names, ["root.seed"]);
    }
    assert!(world.stop().await.is_empty());
    assert_eq!(found_below(world.dir.path(), PIN.as_bytes()), Vec::<String>::new());
}

/// The files below the folder that hold these bytes.
fn found_below(folder: &std::path::Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path).unwrap().windows(bytes.len()).any(|part| part == bytes) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn an_installation_with_seeds_moves_into_the_module_by_rotations() {
    let token = token("moves");
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let before = keys(&world).await;
    let world = world.restart_as(by(&token)).await;
    assert_eq!(keys(&world).await, before);
    assert!(signed_by(&before["active"], &world.refresh(&device).await.unwrap().access_token));
    rotate(&world).await;
    let between = keys(&world).await;
    assert!(between["active"]["module"].is_null() && is_in(&between["next"], &token));
    rotate(&world).await;
    let after = keys(&world).await;
    assert!(is_in(&after["active"], &token) && is_in(&after["next"], &token));
    assert!(signed_by(&after["active"], &world.refresh(&device).await.unwrap().access_token));
    // Back again: not in silence.
    let told = world.refused().await;
    assert!(told.contains("the settings name none") && told.contains("--pkcs11-module"), "{told}");
    let world = world.restart_as(|config| config.replace_keys = true).await;
    let back = keys(&world).await;
    assert!(back["active"]["module"].is_null() && back["next"]["module"].is_null(), "{back:?}");
    assert!(signed_by(&back["active"], &world.refresh(&device).await.unwrap().access_token));
}

#[tokio::test]
async fn a_module_that_is_away_issues_nothing_blocks_no_cut_and_signs_again_when_it_is_back() {
    let token = token("away");
    let world = World::with(by(&token)).await;
    let (device, _) = world.enrolled("a").await;
    let before = keys(&world).await;
    assert_eq!(ready(&world).await, Ok(()));
    let (tokens, objects) = (issued(&world).await, token.object_files());
    token.take_out();
    for _ in 0..3 {
        assert_eq!(world.refresh(&device).await.err(), Some(RefusalCode::NotReady));
        world.advance(2);
    }
    let told = ready(&world).await.unwrap_err();
    let reasons = told["reasons"].to_string();
    assert!(reasons.contains("issuer") && reasons.contains("no_token"), "{told}");
    let rotated = world.operator.post_json(&format!("{KEYS}/rotate"), &json!({})).await;
    assert_eq!(problem(rotated), (503, "not_ready".to_owned()));
    let made = world.operator.post_json("/v1/tenants", &json!({ "tenant": "acme" })).await;
    assert_eq!(problem(made), (503, "not_ready".to_owned()));
    assert_eq!(keys(&world).await, before);
    // A stolen key is cut all the same; its successor comes with the module.
    compromise(&world, &before["active"]).await;
    let cut = keys(&world).await;
    assert_eq!(cut["compromised"]["key"], before["active"]["key"]);
    assert_eq!(cut["active"]["key"], before["next"]["key"]);
    assert!(!cut.contains_key("next"), "{cut:?}");
    assert_eq!(issued(&world).await, tokens, "nothing was issued");
    token.put_in();
    assert_eq!(token.object_files(), objects);
    let access_token = refreshed(&world, &device).await;
    assert!(signed_by(&cut["active"], &access_token));
    until(async || {
        world.advance(1);
        keys(&world).await.contains_key("next")
    })
    .await;
    assert!(is_in(&keys(&world).await["next"], &token));
    until(async || ready(&world).await.is_ok()).await;
    // The object of the key that was cut is destroyed once the token is back.
    until(async || token.object_files().len() == 2).await;
    // Also found by the service itself, without a request.
    token.take_out();
    until(async || {
        world.advance(1);
        ready(&world).await.is_err()
    })
    .await;
    token.put_in();
    until(async || {
        world.advance(1);
        ready(&world).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_wrong_pin_module_or_token_is_told_at_the_start() {
    let token = token("start");
    let dir = tempfile::tempdir().unwrap();
    let clock = tessera_runtime::clock::ManualClock::at(tessera_token::time::UnixSeconds::new(
        crate::world::START,
    ));
    let told = async |settings: tessera_runtime::pkcs11::ModuleSettings| {
        let change = |config: &mut ProvisioningConfig| config.pkcs11 = Some(settings);
        match crate::world::try_start(dir.path(), &clock, change).await {
            Ok(_) => panic!("it started"),
            Err(error) => error.to_string(),
        }
    };
    let mut other = token.settings();
    other.token = "none".to_owned();
    assert!(told(other).await.contains("no token with the label \"none\""));
    let mut other = token.settings();
    other.module = "/none/module.so".into();
    assert!(told(other).await.contains("cannot be loaded"));
    let mut other = token.settings();
    other.sessions = 0;
    assert!(told(other).await.contains("pkcs11.sessions must be 1 to 64"));
    write_secret_file(&token.pin_file, b"wrong-pin-1").unwrap();
    let refused = told(token.settings()).await;
    assert!(refused.contains("refused the PIN") && !refused.contains("wrong-pin-1"), "{refused}");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&token.pin_file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(told(token.settings()).await.contains("chmod 600"));
    // Nothing of these starts stands in the way.
    std::fs::set_permissions(&token.pin_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    write_secret_file(&token.pin_file, PIN.as_bytes()).unwrap();
    assert!(token.object_files().is_empty());
    let (handle, stop) = crate::world::start(dir.path(), &clock, by(&token)).await;
    let world = World::around(dir, clock, handle, stop);
    world.enrolled("a").await;
}

#[tokio::test]
async fn a_key_object_that_was_removed_issues_nothing_and_is_named_at_the_next_start() {
    let token = token("removed");
    let world = World::with(by(&token)).await;
    let (device, _) = world.enrolled("a").await;
    let tokens = issued(&world).await;
    for object in token.object_files() {
        std::fs::remove_file(object).unwrap();
    }
    assert_eq!(world.refresh(&device).await.err(), Some(RefusalCode::Internal));
    assert_eq!(issued(&world).await, tokens);
    let active = keys(&world).await["active"].clone();
    let told = world.refused_as(by(&token)).await;
    let object = active["module"]["object"].as_str().unwrap();
    assert!(told.contains(object) && told.contains("is missing"), "{told}");
    let settings = token.settings();
    let world = world
        .restart_as(move |config| {
            config.pkcs11 = Some(settings);
            config.replace_keys = true;
        })
        .await;
    assert!(signed_by(
        &keys(&world).await["active"],
        &world.refresh(&device).await.unwrap().access_token
    ));
}

#[tokio::test]
async fn another_token_is_not_taken_for_the_one_of_the_keys() {
    let (token, another) = (token("mine"), token("another"));
    let world = World::with(by(&token)).await;
    let told = world.refused_as(by(&another)).await;
    assert!(told.contains("is in another token than the settings name"), "{told}");
    assert!(another.object_files().is_empty());
    let world = world.restart_as(by(&token)).await;
    world.enrolled("a").await;
}

#[tokio::test]
async fn many_devices_get_tokens_at_once_while_keys_rotate() {
    let token = token("many");
    let world = World::with(by(&token)).await;
    let mut devices = Vec::new();
    for number in 0..24 {
        devices.push(world.enrolled(&format!("d{number}")).await.0);
    }
    let ask = async |device: &Device| {
        let mut tokens = Vec::new();
        for _ in 0..4 {
            tokens.push(world.refresh(device).await.unwrap().access_token);
        }
        tokens
    };
    let turn = async {
        for _ in 0..3 {
            rotate(&world).await;
        }
    };
    let all = futures_util::future::join_all(devices.iter().map(ask));
    let (tokens, ()) = futures_util::future::join(all, turn).await;
    let listed = world.get(KEYS).await;
    let listed = listed["items"].as_array().unwrap();
    for access_token in tokens.into_iter().flatten() {
        assert!(listed.iter().any(|key| signed_by(key, &access_token)));
    }
    // An object that could not be destroyed at once is destroyed by the next look.
    until(async || token.object_files().len() == 2).await;
}

/// The token is made by the key that signs when the module gets to it.
#[tokio::test]
async fn a_rotation_that_takes_the_key_of_a_token_in_the_making_has_its_successor_sign() {
    let folder = tempfile::tempdir().unwrap();
    let Some(held_back) = HeldBack::in_folder(folder.path()) else { return };
    let token = token("taken");
    let settings = held_back.settings(&token);
    let world = World::with(|config| config.pkcs11 = Some(settings)).await;
    let (device, _) = world.enrolled("a").await;
    // The module answers as it does for an object that is gone, or as for one that goes in this moment.
    for code in [None, Some(0x68)] {
        let before = keys(&world).await;
        held_back.hold_next();
        let turn = async {
            until(async || held_back.holds()).await;
            rotate(&world).await;
            held_back.release(code);
        };
        let (answer, ()) = tokio::join!(world.refresh(&device), turn);
        let after = keys(&world).await;
        assert_eq!(after["active"]["key"], before["next"]["key"]);
        assert!(signed_by(&after["active"], &answer.unwrap().access_token));
        assert_eq!(ready(&world).await, Ok(()));
    }
    assert_eq!(token.object_files().len(), 2);
}

/// Both keys are cut while no successor can be made. The tenant has none then, and gets new ones with the module.
#[tokio::test]
async fn keys_that_are_cut_without_a_successor_are_cut_and_come_back_with_the_module() {
    let token = token("cut");
    let world = World::with(by(&token)).await;
    let (device, _) = world.enrolled("a").await;
    let before = keys(&world).await;
    token.take_out();
    for state in ["next", "active"] {
        compromise(&world, &before[state]).await;
    }
    let listed = world.get(KEYS).await;
    let states: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|key| &key["state"]).collect();
    assert_eq!(states, ["compromised", "compromised"]);
    assert_eq!(world.refresh(&device).await.err(), Some(RefusalCode::IssuerKeyMissing));
    let told = ready(&world).await.unwrap_err();
    assert!(told["reasons"].to_string().contains("no_token"), "{told}");
    token.put_in();
    let access_token = refreshed(&world, &device).await;
    let after = keys(&world).await;
    assert!(is_in(&after["active"], &token) && signed_by(&after["active"], &access_token));
    until(async || {
        world.advance(1);
        ready(&world).await.is_ok() && keys(&world).await.contains_key("next")
    })
    .await;
}

/// A module that never returns from a signature: requests are refused in time, tenants with seeds go on, an operator cuts a
/// key, and the service stops.
#[tokio::test]
async fn a_module_that_hangs_refuses_in_time_and_holds_no_other_tenant_and_no_stop() {
    let folder = tempfile::tempdir().unwrap();
    let Some(held_back) = HeldBack::in_folder(folder.path()) else { return };
    let token = token("hangs");
    let world = World::new().await;
    let (by_seed, _) = world.enrolled("a").await;
    let settings = held_back.settings(&token);
    let world = world.restart_as(|config| config.pkcs11 = Some(settings)).await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let role = json!({ "class": "device", "publish": ["d/{device}"] });
    let role_path = "/v1/tenants/acme/roles/sensor";
    crate::world::Forced::put_over(&world.operator, role_path, &role).await.unwrap();
    let made = world.post("/v1/tenants/acme/claims", json!({ "role": "sensor" })).await;
    let device = Device::of("acme", "b");
    world.enrol(&device, made["claims"][0]["code"].as_str().unwrap()).await.unwrap();
    let acme = world.get("/v1/tenants/acme/keys").await["items"].as_array().unwrap().clone();
    let active = acme.iter().find(|key| key["state"] == "active").unwrap();
    assert!(is_in(active, &token), "{active}");

    held_back.hang();
    let call = tessera_runtime::limits::PKCS11_CALL;
    let began = monotonic();
    let asked = futures_util::future::join_all((0..8).map(|_| world.refresh(&device)));
    let seeds = async {
        // While they wait.
        for _ in 0..8 {
            world.refresh(&by_seed).await.unwrap();
        }
        monotonic() - began
    };
    let (refused, seeds) = tokio::join!(asked, seeds);
    assert!(refused.into_iter().all(|answer| answer.err() == Some(RefusalCode::NotReady)));
    assert!(monotonic() - began < call * 2, "{:?}", monotonic() - began);
    assert!(seeds < call, "{seeds:?}");
    // No thread of the module is left: no request waits for one.
    let began = monotonic();
    assert_eq!(world.refresh(&device).await.err(), Some(RefusalCode::NotReady));
    let path = format!("/v1/tenants/acme/keys/{}/compromise", active["key"].as_str().unwrap());
    world.post(&path, json!({})).await;
    world.refresh(&by_seed).await.unwrap();
    assert!(monotonic() - began < call, "{:?}", monotonic() - began);
    let told = ready(&world).await.unwrap_err();
    assert!(told["reasons"].to_string().contains("(late)"), "{told}");
    let began = monotonic();
    assert_eq!(world.stop().await, Vec::<String>::new());
    assert!(monotonic() - began < Duration::from_secs(20), "{:?}", monotonic() - began);
    held_back.go_on();
}

#[tokio::test]
async fn processes_of_one_database_share_the_token_of_a_module() {
    let configured = |config: &mut ProvisioningConfig| config.pkcs11 = Some(SHARED.settings());
    let Some(two) = two_with(configured).await else { return };
    let first = keys(&two.one).await;
    assert!(is_in(&first["active"], &SHARED));
    assert_eq!(SHARED.object_files().len(), 2);
    let (device, answer) = two.one.enrolled("a").await;
    assert!(signed_by(&first["active"], &answer.access_token));
    let by_other = two.other.refresh(&device).await.unwrap().access_token;
    assert!(signed_by(&first["active"], &by_other));
    rotate(&two.one).await;
    let second = keys(&two.one).await;
    for at in [&two.other, &two.one] {
        let access_token = at.refresh(&device).await.unwrap().access_token;
        assert!(signed_by(&second["active"], &access_token));
    }
    assert_eq!(SHARED.object_files().len(), 2);
}
