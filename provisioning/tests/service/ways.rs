//! Devices enrol by other means than a claim for one device: counted claims, listed keys, group keys and the decision of an
//! operator. Certificates stand in `certificates.rs`.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpError, Method, Request, ACE_CBOR, JSON};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::key::SecretKey;
use tessera_token::messages::{device_secret, EnrolRequest, Means, TokenAnswer};
use tessera_token::proof::SymmetricKey;
use tessera_token::refusal::RefusalCode;

use crate::enrol::claims;
use crate::world::{problem, Device, Forced, World};

const TENANT: &str = "/v1/tenants/default";

/// The same key once more.
fn same(key: &SecretKey) -> SecretKey {
    SecretKey::from_seed(&key.expose_seed())
}

impl World {
    /// Changes a record of any revision.
    pub async fn put(&self, path: &str, body: Value) -> Result<Value, HttpError> {
        let request = Request::new(Method::Put, path).body(JSON, body.to_string().into_bytes());
        let request = request.header("if-match", "*");
        Ok(self.operator.send(request).await?.json().unwrap())
    }

    /// Lets the default group take these ways.
    pub async fn take(&self, ways: &[&str]) {
        let path = format!("{TENANT}/groups/default/ways");
        self.put(&path, json!({ "ways": ways })).await.unwrap();
    }

    pub async fn enrol_by(
        &self,
        device: &Device,
        means: &Means<'_>,
    ) -> Result<TokenAnswer, RefusalCode> {
        let nonce = self.nonce().await;
        let request =
            EnrolRequest::sign_by(&device.key, &device.tenant, &device.id, means, &nonce).unwrap();
        self.ask("/v1/enrol", request.to_cbor()).await
    }

    async fn items(&self, what: &str) -> Vec<Value> {
        self.get(&format!("{TENANT}/{what}")).await["items"].as_array().unwrap().clone()
    }

    async fn list_key(&self, device: &Device) -> Value {
        let body = json!({
            "device": device.id.as_str(), "role": "sensor",
            "key": base64url(device.key.public().as_bytes()),
        });
        self.post(&format!("{TENANT}/listed-keys"), body).await
    }

    async fn actions(&self) -> Vec<String> {
        let entries = self.get("/v1/audit?limit=1000").await;
        let entries = entries["items"].as_array().unwrap().iter();
        entries.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_group_takes_claims_alone_until_an_operator_says_so() {
    let world = World::new().await;
    let path = format!("{TENANT}/groups/default/ways");
    assert_eq!(world.get(&path).await["ways"], json!(["claim"]));
    let device = Device::new("a");
    let body = json!({ "device": "a", "role": "sensor", "key": base64url(device.key.public().as_bytes()) });
    let refused = world.operator.post_json(&format!("{TENANT}/listed-keys"), &body).await;
    assert_eq!(problem(refused), (403, "way_not_taken".to_owned()));
    let set = world.put(&path, json!({ "ways": ["key", "claim", "key"] })).await.unwrap();
    assert_eq!(set["ways"], json!(["claim", "key"]));
    world.list_key(&device).await;
    // A claim that was made before is refused while the group does not take it, and is not used up.
    let claim = world.claim(json!({})).await;
    world.take(&[]).await;
    assert_eq!(world.enrol(&Device::new("b"), &claim).await.err(), Some(RefusalCode::WayNotTaken));
    assert_eq!(world.enrol_by(&device, &Means::Key).await.err(), Some(RefusalCode::WayNotTaken));
    let world = world.restart().await;
    world.take(&["claim"]).await;
    world.enrol(&Device::new("b"), &claim).await.unwrap();
    for wrong in [json!({ "ways": ["none"] }), json!({ "ways": "claim" }), json!({})] {
        let outcome = world.put(&path, wrong).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()));
    }
    let other = world.put(&format!("{TENANT}/groups/none/ways"), json!({ "ways": [] })).await;
    assert_eq!(problem(other), (404, "group_unknown".to_owned()));
}

#[tokio::test]
async fn a_counted_claim_enrols_so_many_devices_of_its_pattern() {
    let world = World::new().await;
    let claim = world.claim(json!({ "uses": 3, "pattern": "press-*" })).await;
    assert_eq!(
        world.enrol(&Device::new("saw-1"), &claim).await.err(),
        Some(RefusalCode::ClaimMismatch)
    );
    let devices: Vec<Device> = (1..=4).map(|n| Device::new(&format!("press-{n}"))).collect();
    let typed = claim.replace('-', " ").to_lowercase();
    for device in &devices[..3] {
        world.enrol(device, &typed).await.unwrap();
        // A lost answer takes no further use.
        world.enrol(device, &claim).await.unwrap();
    }
    assert_eq!(world.enrol(&devices[3], &claim).await.err(), Some(RefusalCode::ClaimUsed));
    assert_eq!(
        world.enrol(&Device::new("press-1"), &claim).await.err(),
        Some(RefusalCode::DeviceKeyMismatch)
    );
    let shown = &world.items("claims").await[0];
    assert_eq!(
        (&shown["uses"], &shown["used"], &shown["state"]),
        (&json!(3), &json!(3), &json!("used"))
    );
    assert_eq!(shown["pattern"], "press-*");
    let world = world.restart().await;
    world.advance(40 * 24 * 3600);
    world.enrol(&devices[0], &claim).await.unwrap();
    // A deleted device has used its place up.
    world.operator.delete_any(&format!("{TENANT}/devices/press-2?force=true")).await.unwrap();
    assert_eq!(world.enrol(&devices[1], &claim).await.err(), Some(RefusalCode::ClaimUsed));
    for wrong in [
        json!({ "uses": 0 }),
        json!({ "uses": 100_001 }),
        json!({ "pattern": "a**" }),
        json!({ "pattern": "a*", "device": "a1" }),
        json!({ "uses": 2, "device": "a" }),
    ] {
        let mut body = json!({ "role": "sensor" });
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let outcome = world.operator.post_json(&format!("{TENANT}/claims"), &body).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{wrong}");
    }
}

#[tokio::test]
async fn a_counted_claim_that_is_deleted_is_closed_for_others() {
    let world = World::new().await;
    let claim = world.claim(json!({ "uses": 3 })).await;
    let first = Device::new("a");
    world.enrol(&first, &claim).await.unwrap();
    let id = world.items("claims").await[0]["claim"].as_str().unwrap().to_owned();
    let path = format!("{TENANT}/claims/{id}");
    assert_eq!(world.operator.delete_any(&path).await.unwrap().status, 204);
    assert_eq!(world.enrol(&Device::new("b"), &claim).await.err(), Some(RefusalCode::ClaimUsed));
    world.enrol(&first, &claim).await.unwrap();
    assert_eq!(problem(world.operator.delete_any(&path).await), (409, "claim_used".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_devices_at_once_never_exceed_the_count() {
    let world = std::sync::Arc::new(World::new().await);
    let claim = world.claim(json!({ "uses": 5 })).await;
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let (world, claim) = (world.clone(), claim.clone());
            tokio::spawn(async move { world.enrol(&Device::new(&format!("d-{n}")), &claim).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap().map(drop));
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5, "{outcomes:?}");
    assert_eq!(world.items("devices").await.len(), 5);
    assert_eq!(world.items("claims").await[0]["used"], 5);
}

#[tokio::test]
async fn a_listed_key_enrols_its_device_once() {
    let world = World::new().await;
    world.take(&["claim", "key"]).await;
    let device = Device::new("a");
    assert_eq!(world.enrol_by(&device, &Means::Key).await.err(), Some(RefusalCode::NotEntitled));
    let listed = world.list_key(&device).await;
    assert_eq!(listed["thumbprint"], base64url(device.key.public().thumbprint().as_bytes()));
    assert_eq!(world.list_key(&device).await, listed, "the same once more");
    // Another key of the same id, and the same key under another id.
    assert_eq!(
        world.enrol_by(&Device::new("a"), &Means::Key).await.err(),
        Some(RefusalCode::NotEntitled)
    );
    let renamed =
        Device { id: Device::new("b").id, key: same(&device.key), tenant: device.tenant.clone() };
    assert_eq!(world.enrol_by(&renamed, &Means::Key).await.err(), Some(RefusalCode::NotEntitled));
    let first = world.enrol_by(&device, &Means::Key).await.unwrap();
    assert_eq!(claims(&first.access_token).confirmation, Some(device.key.public()));
    let world = world.restart().await;
    let second = world.enrol_by(&device, &Means::Key).await.unwrap();
    assert_ne!(claims(&first.access_token).serial, claims(&second.access_token).serial);
    assert_eq!(world.items("listed-keys").await[0]["state"], "used");
    assert_eq!(world.get(&format!("{TENANT}/devices/a")).await["claim"], "listed key");
    // A revoked device gets nothing, and a deleted one has used its entry up.
    world.post(&format!("{TENANT}/devices/a/revoke"), json!({})).await;
    assert_eq!(world.enrol_by(&device, &Means::Key).await.err(), Some(RefusalCode::DeviceRevoked));
    world.operator.delete_any(&format!("{TENANT}/devices/a?force=true")).await.unwrap();
    assert_eq!(
        world.enrol_by(&device, &Means::Key).await.err(),
        Some(RefusalCode::EntitlementUsed)
    );
    let path = format!("{TENANT}/listed-keys/a");
    assert_eq!(world.operator.delete(&path).await.unwrap().status, 204);
    assert_eq!(problem(world.operator.delete(&path).await), (404, "not_found".to_owned()));
    assert_eq!(world.enrol_by(&device, &Means::Key).await.err(), Some(RefusalCode::NotEntitled));
    world.list_key(&device).await;
    world.enrol_by(&device, &Means::Key).await.unwrap();
    let actions = world.actions().await;
    for action in ["listed_key.add", "listed_key.delete", "group.ways", "device.enrol"] {
        assert!(actions.iter().any(|one| one == action), "{action}");
    }
}

#[tokio::test]
async fn a_key_belongs_to_one_device_of_its_tenant_and_never_to_the_service() {
    let world = World::new().await;
    world.take(&["claim", "key", "approval"]).await;
    let (first, _) = world.enrolled("a").await;
    let second =
        Device { id: Device::new("b").id, key: same(&first.key), tenant: first.tenant.clone() };
    let claim = world.claim(json!({})).await;
    assert_eq!(world.enrol(&second, &claim).await.err(), Some(RefusalCode::AlreadyExists));
    world.list_key(&second).await;
    assert_eq!(world.enrol_by(&second, &Means::Key).await.err(), Some(RefusalCode::AlreadyExists));
    // The claim was not used up.
    world.enrol(&Device::new("c"), &claim).await.unwrap();
    // Free again with its device.
    world.operator.delete_any(&format!("{TENANT}/devices/a?force=true")).await.unwrap();
    world.enrol_by(&second, &Means::Key).await.unwrap();
    for weak in [[vec![1], vec![0; 31]].concat(), vec![0; 32], vec![0xff; 32], vec![4; 65]] {
        let body = json!({ "device": "w", "role": "sensor", "key": base64url(&weak) });
        let outcome = world.operator.post_json(&format!("{TENANT}/listed-keys"), &body).await;
        assert_eq!(problem(outcome), (400, "confirmation_key".to_owned()));
    }
    // The keys of the service, as files of its folder.
    if crate::postgres::has_no_files() {
        return;
    }
    let mut tried = 0;
    for file in std::fs::read_dir(world.dir.path().join("provisioning/keys")).unwrap() {
        let seed = std::fs::read(file.unwrap().path()).unwrap();
        let key = SecretKey::from_seed(&seed.try_into().unwrap());
        let device = Device { key, ..Device::new("own") };
        let claim = world.claim(json!({})).await;
        assert_eq!(world.enrol(&device, &claim).await.err(), Some(RefusalCode::ConfirmationKey));
        tried += 1;
    }
    assert_eq!(tried, 3, "the root key, the active and the next issuer key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_devices_that_enrol_one_key_at_once_one_gets_it() {
    let world = std::sync::Arc::new(World::new().await);
    for round in 0..5 {
        let key = Device::new("x").key;
        let mut tasks = Vec::new();
        for n in 0..4 {
            let (world, key) = (world.clone(), same(&key));
            let claim = world.claim(json!({})).await;
            let device = Device { key, ..Device::new(&format!("d-{round}-{n}")) };
            tasks.push(tokio::spawn(async move { world.enrol(&device, &claim).await.map(drop) }));
        }
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        let used = outcomes.iter().filter(|one| **one == Err(RefusalCode::AlreadyExists)).count();
        assert_eq!(used, 3, "{outcomes:?}");
    }
}

fn key_of(answer: &Value) -> SymmetricKey {
    SymmetricKey::from_bytes(&from_base64url(answer["key"].as_str().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_secret_of_a_group_key_enrols_a_listed_id_once() {
    let world = World::new().await;
    world.take(&["group_key"]).await;
    let path = format!("{TENANT}/group-keys");
    let made = world.post(&path, json!({ "group_key": "line", "role": "sensor" })).await;
    let group_key = key_of(&made);
    assert!(world.items("group-keys").await[0]["key"].is_null(), "it is shown once");
    let (device, other) = (Device::new("a"), Device::new("b"));
    let secret = device_secret(&group_key, &device.id);
    let by = Means::GroupKey(&secret);
    assert_eq!(
        world.enrol_by(&device, &by).await.err(),
        Some(RefusalCode::NotEntitled),
        "no id listed"
    );
    let ids = format!("{path}/line/devices");
    assert_eq!(world.post(&ids, json!({ "devices": ["a", "b", "a"] })).await["added"], 2);
    assert_eq!(world.post(&ids, json!({ "devices": ["a", "b"] })).await["added"], 0);
    // The secret of another id, the group key itself, and a key that is none.
    for wrong in [&secret, &group_key, &SymmetricKey::from_bytes(&[1; 32]).unwrap()] {
        let outcome = world.enrol_by(&other, &Means::GroupKey(wrong)).await;
        assert_eq!(outcome.err(), Some(RefusalCode::NotEntitled));
    }
    world.enrol_by(&device, &by).await.unwrap();
    let world = world.restart().await;
    world.enrol_by(&device, &by).await.unwrap();
    assert_eq!(
        world.enrol_by(&Device::new("a"), &by).await.err(),
        Some(RefusalCode::DeviceKeyMismatch)
    );
    let listed = world.items("group-keys/line/devices").await;
    assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&json!("used"), &json!("open")));
    world.operator.delete_any(&format!("{TENANT}/devices/a?force=true")).await.unwrap();
    assert_eq!(
        world.enrol_by(&Device::new("a"), &by).await.err(),
        Some(RefusalCode::EntitlementUsed)
    );
    assert_eq!(world.operator.delete(&format!("{ids}/a")).await.unwrap().status, 204);
    assert_eq!(world.enrol_by(&device, &by).await.err(), Some(RefusalCode::NotEntitled));
    assert_eq!(world.operator.delete(&format!("{path}/line")).await.unwrap().status, 204);
    let secret = device_secret(&group_key, &other.id);
    let outcome = world.enrol_by(&other, &Means::GroupKey(&secret)).await;
    assert_eq!(outcome.err(), Some(RefusalCode::NotEntitled));
}

#[tokio::test]
async fn a_group_key_is_rotated_with_both_keys_in_use() {
    let world = World::new().await;
    world.take(&["group_key"]).await;
    let path = format!("{TENANT}/group-keys");
    let own = [7; 48];
    let body = json!({ "group_key": "line", "role": "sensor", "key": base64url(&own) });
    let made = world.post(&path, body).await;
    assert!(made["key"].is_null(), "the operator has it");
    world.post(&format!("{path}/line/devices"), json!({ "devices": ["a", "b", "c", "d"] })).await;
    let former = SymmetricKey::from_bytes(&own).unwrap();
    let rotated = world.post(&format!("{path}/line/rotate"), json!({})).await;
    assert_eq!(rotated["secondary"], true);
    let newer = key_of(&rotated);
    // A second rotation would end the secrets of the former key, which are in the field.
    let again = world.operator.post_json(&format!("{path}/line/rotate"), &json!({})).await;
    assert_eq!(problem(again), (409, "already_exists".to_owned()));
    let enrol = async |name: &str, key: &SymmetricKey| {
        let device = Device::new(name);
        let secret = device_secret(key, &device.id);
        world.enrol_by(&device, &Means::GroupKey(&secret)).await.map(drop)
    };
    enrol("a", &former).await.unwrap();
    enrol("b", &newer).await.unwrap();
    assert_eq!(world.operator.delete(&format!("{path}/line/secondary")).await.unwrap().status, 200);
    assert_eq!(enrol("c", &former).await, Err(RefusalCode::NotEntitled));
    enrol("d", &newer).await.unwrap();
    world.post(&format!("{path}/line/rotate"), json!({})).await;
    for wrong in [base64url(&[7; 31]), base64url(&[7; 65]), "?".to_owned()] {
        let body = json!({ "group_key": "x", "role": "sensor", "key": wrong });
        let outcome = problem(world.operator.post_json(&path, &body).await);
        assert_eq!(outcome, (400, "request_malformed".to_owned()));
    }
    if crate::postgres::has_no_files() {
        return;
    }
    // No key in clear is at rest, nor in the audit log.
    assert_eq!(world.stop().await, Vec::<String>::new());
    let mut bytes = Vec::new();
    let mut folders = vec![world.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => bytes.extend(std::fs::read(path).unwrap()),
            }
        }
    }
    assert!(bytes.len() > 10_000);
    for key in [&former, &newer] {
        let clear = key.expose_bytes();
        let text = base64url(clear);
        assert!(!bytes.windows(clear.len()).any(|part| part == clear));
        assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()));
    }
}

/// A source that was wrong too often is not heard: a right secret is refused too until its rate allows a guess.
#[tokio::test]
async fn guesses_at_a_secret_are_bounded() {
    let world = World::with(|config| config.admission.wrong.burst = 5).await;
    world.take(&["group_key"]).await;
    let path = format!("{TENANT}/group-keys");
    let made = world.post(&path, json!({ "group_key": "line", "role": "sensor" })).await;
    world.post(&format!("{path}/line/devices"), json!({ "devices": ["a"] })).await;
    let device = Device::new("a");
    for guess in 0..8 {
        let wrong = SymmetricKey::from_bytes(&[guess; 32]).unwrap();
        let told = world.enrol_by(&device, &Means::GroupKey(&wrong)).await.err();
        let expected = if guess < 5 { RefusalCode::NotEntitled } else { RefusalCode::RateLimited };
        assert_eq!(told, Some(expected), "{guess}");
    }
    let secret = device_secret(&key_of(&made), &device.id);
    let by = Means::GroupKey(&secret);
    assert_eq!(world.enrol_by(&device, &by).await.err(), Some(RefusalCode::RateLimited));
    world.advance(1);
    world.enrol_by(&device, &by).await.unwrap();
}

async fn approval_of(world: &World, device: &str) -> Option<Value> {
    let items = world.items("approvals").await;
    items.into_iter().find(|one| one["device"] == device)
}

#[tokio::test]
async fn an_operator_approves_a_device_that_asked() {
    let world = World::new().await;
    world.take(&["claim", "approval"]).await;
    let device = Device::new("a");
    let ask = async |device: &Device| world.enrol_by(device, &Means::Approval).await.map(drop);
    assert_eq!(ask(&device).await, Err(RefusalCode::ApprovalPending));
    assert_eq!(ask(&device).await, Err(RefusalCode::ApprovalPending));
    let waiting = approval_of(&world, "a").await.unwrap();
    assert_eq!(waiting["state"], "waiting");
    assert_eq!(waiting["thumbprint"], base64url(device.key.public().thumbprint().as_bytes()));
    assert_eq!(world.items("approvals").await.len(), 1, "one row for one device and key");
    let id = waiting["approval"].as_str().unwrap();
    let path = format!("{TENANT}/approvals/{id}");
    let unknown =
        world.operator.post_json(&format!("{path}/approve"), &json!({ "role": "none" })).await;
    assert_eq!(problem(unknown), (404, "role_unknown".to_owned()));
    world.post(&format!("{path}/approve"), json!({ "role": "sensor" })).await;
    // Another key of the same id is another request.
    assert_eq!(ask(&Device::new("a")).await, Err(RefusalCode::ApprovalPending));
    let world = world.restart().await;
    let first = world.enrol_by(&device, &Means::Approval).await.unwrap();
    assert_eq!(claims(&first.access_token).confirmation, Some(device.key.public()));
    world.enrol_by(&device, &Means::Approval).await.unwrap();
    assert_eq!(world.get(&format!("{TENANT}/devices/a")).await["claim"], format!("approval {id}"));
    // The other key waits for nothing: the id is taken, and that is not told.
    let other = Device::new("a");
    assert_eq!(
        world.enrol_by(&other, &Means::Approval).await.err(),
        Some(RefusalCode::ApprovalPending)
    );
    let asks = world.items("approvals").await;
    assert_eq!(asks.len(), 1, "{asks:?}");
    assert!(world.actions().await.iter().any(|one| one == "approval.approve"));
}

#[tokio::test]
async fn an_operator_refuses_and_forgets_a_request() {
    let world = World::new().await;
    world.take(&["approval"]).await;
    let device = Device::new("a");
    let ask = async || world.enrol_by(&device, &Means::Approval).await.map(drop);
    assert_eq!(ask().await, Err(RefusalCode::ApprovalPending));
    let id = approval_of(&world, "a").await.unwrap()["approval"].as_str().unwrap().to_owned();
    let path = format!("{TENANT}/approvals/{id}");
    assert_eq!(world.post(&format!("{path}/refuse"), json!({})).await["state"], "refused");
    assert_eq!(ask().await, Err(RefusalCode::ApprovalRefused));
    assert_eq!(world.operator.delete(&path).await.unwrap().status, 204);
    assert_eq!(world.items("approvals").await.len(), 0);
    assert_eq!(ask().await, Err(RefusalCode::ApprovalPending));
    // An undecided request is over after three days, and the device asks anew.
    world.advance(3 * 24 * 3600);
    assert_eq!(ask().await, Err(RefusalCode::ApprovalPending));
    let anew = approval_of(&world, "a").await.unwrap();
    assert_eq!(anew["asked"], world.now().get());
}

/// Everything that a stranger sees of a refusal.
async fn shown(
    world: &World,
    device: &Device,
    means: &Means<'_>,
) -> (u16, Vec<u8>, Option<String>) {
    let nonce = world.nonce().await;
    let request =
        EnrolRequest::sign_by(&device.key, &device.tenant, &device.id, means, &nonce).unwrap();
    match world.stranger.post("/v1/enrol", ACE_CBOR, request.to_cbor()).await {
        Err(HttpError::Status { response, .. }) => {
            let retry = response.header("retry-after").map(str::to_owned);
            (response.status, response.body.to_vec(), retry)
        }
        _ => panic!("not refused"),
    }
}

#[tokio::test]
async fn strangers_get_one_answer_whatever_exists() {
    let world = World::with(|config| config.admission.wrong.burst = 1_000_000).await;
    world.take(&["claim", "key", "group_key", "approval"]).await;
    world.enrolled("known").await;
    world.list_key(&Device::new("listed")).await;
    let path = format!("{TENANT}/group-keys");
    world.post(&path, json!({ "group_key": "line", "role": "sensor" })).await;
    world.post(&format!("{path}/line/devices"), json!({ "devices": ["id"] })).await;
    for (tenant, suspended) in [("closed", false), ("suspended", true)] {
        world.post("/v1/tenants", json!({ "tenant": tenant })).await;
        if suspended {
            let ways = format!("/v1/tenants/{tenant}/groups/default/ways");
            world.put(&ways, json!({ "ways": ["key", "approval"] })).await.unwrap();
            world.post(&format!("/v1/tenants/{tenant}/revoke"), json!({})).await;
        }
    }
    let secret = SymmetricKey::from_bytes(&[1; 32]).unwrap();
    for means in [Means::Key, Means::GroupKey(&secret), Means::Approval] {
        let mut answers = Vec::new();
        for (tenant, name) in [
            ("default", "known"),
            ("default", "unknown"),
            ("default", "listed"),
            ("default", "id"),
            ("closed", "known"),
            ("suspended", "known"),
            ("nothing", "known"),
        ] {
            answers.push(shown(&world, &Device::of(tenant, name), &means).await);
        }
        assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
        assert_eq!(answers[0].0, 403);
        assert_eq!(answers[0].2.is_some(), matches!(means, Means::Approval));
    }
    // Only the tenant that takes approvals has rows, and none of them is of a known device.
    let waiting = world.items("approvals").await;
    let waiting: Vec<_> = waiting.iter().map(|one| one["device"].as_str().unwrap()).collect();
    assert_eq!(waiting.len(), 3, "{waiting:?}");
    assert!(!waiting.contains(&"known"));
}

#[tokio::test]
async fn a_nonce_asks_for_approval_once_wherever_it_is_shown() {
    let world = World::new().await;
    world.take(&["approval"]).await;
    for tenant in ["default", "nothing"] {
        let device = Device::of(tenant, "a");
        let nonce = world.nonce().await;
        let request = EnrolRequest::sign_by(
            &device.key,
            &device.tenant,
            &device.id,
            &Means::Approval,
            &nonce,
        );
        let request = request.unwrap().to_cbor();
        let told = world.ask("/v1/enrol", request.clone()).await.err();
        assert_eq!(told, Some(RefusalCode::ApprovalPending));
        assert_eq!(world.ask("/v1/enrol", request).await.err(), Some(RefusalCode::NonceInvalid));
    }
}

#[tokio::test]
async fn one_source_cannot_fill_the_queue() {
    let world = World::with(|config| config.admission.wrong.burst = 1_000_000).await;
    world.take(&["claim", "approval"]).await;
    let ask =
        async |n: i32| world.enrol_by(&Device::new(&format!("d-{n}")), &Means::Approval).await;
    // Each answer waits for its time; few at once, as each writes the count of the tenant.
    for first in (0..110).step_by(5) {
        for told in futures_util::future::join_all((first..first + 5).map(ask)).await {
            assert_eq!(told.err(), Some(RefusalCode::ApprovalPending));
        }
    }
    let waiting = world.get(&format!("{TENANT}/approvals?limit=1000")).await;
    let waiting = waiting["items"].as_array().unwrap().clone();
    assert_eq!(waiting.len(), 100);
    // A place that becomes free is taken again.
    let id = waiting[0]["approval"].as_str().unwrap();
    world.operator.delete(&format!("{TENANT}/approvals/{id}")).await.unwrap();
    let last = Device::new("last");
    let _ = world.enrol_by(&last, &Means::Approval).await;
    assert!(approval_of(&world, "last").await.is_some());
    let _ = world.enrol_by(&Device::new("more"), &Means::Approval).await;
    assert!(approval_of(&world, "more").await.is_none());
}

#[tokio::test]
async fn a_role_that_an_entry_gives_is_kept_and_one_that_needs_attributes_is_for_claims() {
    let world = World::new().await;
    world.take(&["claim", "key", "group_key", "approval"]).await;
    let role = |name: &str| format!("{TENANT}/roles/{name}");
    let define = async |name: &str, publish: &str| {
        let body = json!({ "class": "device", "publish": [publish] }).to_string().into_bytes();
        let path = role(name);
        let new = Request::new(Method::Put, &path).body(JSON, body);
        world.operator.send(new.header("if-none-match", "*")).await.unwrap();
    };
    define("meter", "m/{device}").await;
    let device = Device::new("a");
    let key = base64url(device.key.public().as_bytes());
    let listed = json!({ "device": "a", "role": "meter", "key": key });
    world.post(&format!("{TENANT}/listed-keys"), listed).await;
    let in_use = (409, "role_in_use".to_owned());
    assert_eq!(problem(world.operator.delete_any(&role("meter")).await), in_use);
    world.operator.delete(&format!("{TENANT}/listed-keys/a")).await.unwrap();
    let named = json!({ "group_key": "line", "role": "meter" });
    world.post(&format!("{TENANT}/group-keys"), named).await;
    assert_eq!(problem(world.operator.delete_any(&role("meter")).await), in_use);
    world.operator.delete(&format!("{TENANT}/group-keys/line")).await.unwrap();
    world.operator.delete_any(&role("meter")).await.unwrap();
    define("placed", "{attr.site}/{device}").await;
    let listed = json!({ "device": "a", "role": "placed", "key": key });
    let refused = world.operator.post_json(&format!("{TENANT}/listed-keys"), &listed).await;
    assert_eq!(problem(refused), (422, "attribute_missing".to_owned()));
}

#[tokio::test]
async fn a_counted_claim_gives_a_device_another_key_where_its_group_allows_it() {
    let world = World::new().await;
    let (_, _) = world.enrolled("press-1").await;
    let group = Request::new(Method::Patch, "/v1/tenants/default/groups/default");
    let group = group.body(JSON, br#"{"reenrol":"group"}"#.to_vec()).header("if-match", "*");
    world.operator.send(group).await.unwrap();
    let claim = world.claim(json!({ "uses": 2, "pattern": "press-*" })).await;
    let renewed = Device::new("press-1");
    world.enrol(&renewed, &claim).await.unwrap();
    // The same once more uses nothing up; another key is a second use by the same device.
    world.enrol(&renewed, &claim).await.unwrap();
    let again = Device::new("press-1");
    assert_eq!(world.enrol(&again, &claim).await.err(), Some(RefusalCode::ClaimUsed));
    world.enrol(&Device::new("press-2"), &claim).await.unwrap();
    let third = world.enrol(&Device::new("press-3"), &claim).await;
    assert_eq!(third.err(), Some(RefusalCode::ClaimUsed));
    world.refresh(&renewed).await.unwrap();
}

#[tokio::test]
async fn a_claim_renews_no_key_where_its_group_takes_no_claims_any_more() {
    let world = World::new().await;
    world.enrolled("a").await;
    let group = Request::new(Method::Patch, "/v1/tenants/default/groups/default");
    let group = group.body(JSON, br#"{"reenrol":"group"}"#.to_vec()).header("if-match", "*");
    world.operator.send(group).await.unwrap();
    let claim = world.claim(json!({ "uses": 2 })).await;
    world.take(&["key"]).await;
    let other = Device::new("a");
    assert_eq!(world.enrol(&other, &claim).await.err(), Some(RefusalCode::WayNotTaken));
    world.take(&["claim"]).await;
    world.enrol(&other, &claim).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counted_claim_is_closed_also_while_devices_use_it() {
    let world = World::new().await;
    let made =
        world.post(&format!("{TENANT}/claims"), json!({ "role": "sensor", "uses": 1000 })).await;
    let (code, id) = (made["claims"][0]["code"].as_str(), made["claims"][0]["claim"].as_str());
    let (code, path) = (code.unwrap(), format!("{TENANT}/claims/{}", id.unwrap()));
    let tag = world.operator.get(&path).await.unwrap().header("etag").unwrap().to_owned();
    let devices: Vec<Device> = (0..24).map(|n| Device::new(&format!("d-{n}"))).collect();
    let enrol = async |device: &Device| world.enrol(device, code).await.map(drop);
    let uses = futures_util::future::join_all(devices.iter().map(enrol));
    let close = async {
        world.enrol(&Device::new("first"), code).await.unwrap();
        // A use is no change of the claim: what was read before still holds.
        let request = Request::new(Method::Delete, &path).header("if-match", tag.clone());
        world.operator.send(request).await
    };
    let (_, closed) = tokio::join!(uses, close);
    assert_eq!(closed.unwrap().status, 204);
    assert_eq!(world.enrol(&Device::new("late"), code).await.err(), Some(RefusalCode::ClaimUsed));
}

#[tokio::test]
async fn ids_of_a_deleted_group_key_go_to_another_and_its_name_takes_none_over() {
    let world = World::new().await;
    world.take(&["group_key"]).await;
    let path = format!("{TENANT}/group-keys");
    let make = async |name: &str| {
        world.operator.post_json(&path, &json!({ "group_key": name, "role": "sensor" })).await
    };
    let list = async |name: &str| {
        let of = format!("{path}/{name}/devices");
        world.operator.post_json(&of, &json!({ "devices": ["a", "b"] })).await
    };
    let enrol = async |name: &str, key: &SymmetricKey| {
        let device = Device::new(name);
        let secret = device_secret(key, &device.id);
        world.enrol_by(&device, &Means::GroupKey(&secret)).await.map(drop)
    };
    let former = key_of(&make("old").await.unwrap().json().unwrap());
    list("old").await.unwrap();
    enrol("a", &former).await.unwrap();
    let newer = key_of(&make("new").await.unwrap().json().unwrap());
    assert_eq!(problem(list("new").await), (409, "already_exists".to_owned()));
    world.operator.delete(&format!("{path}/old")).await.unwrap();
    assert_eq!(enrol("b", &former).await, Err(RefusalCode::NotEntitled));
    // A key of the same name would give the old list other rights.
    assert_eq!(problem(make("old").await), (409, "already_exists".to_owned()));
    let moved: Value = list("new").await.unwrap().json().unwrap();
    assert_eq!(moved["added"], 2);
    enrol("b", &newer).await.unwrap();
    // The entry of `a` was used by the former key.
    assert_eq!(enrol("a", &newer).await, Err(RefusalCode::DeviceKeyMismatch));
    make("old").await.unwrap();
}
