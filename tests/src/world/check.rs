//! Asks a site for everything that was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{json, Value};
use tessera_token::hash::sha256;

use super::{Client, Device, Facts, Outcome};
use crate::mqtt::Mqtt;
use crate::site::{rest, Watch};

/// A request or a proof that is older than this is refused for its age, which would prove nothing.
const FRESH_SECONDS: u64 = 50;
/// Devices of each kind that are tried over the network; the rest is looked up in the lists.
const TRIED: usize = 4;
/// How long a device that is in the right may be made to wait after a stop that was not clean.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the next message of a queue may take.
const NEXT: Duration = Duration::from_secs(3);

/// Findings of a check.
#[derive(Default)]
pub struct Checked {
    /// One line for each fact that does not hold.
    pub lost: Vec<String>,
    /// How many facts were asked for.
    pub asked: usize,
    /// The longest that a device in the right had to wait.
    pub waited: Duration,
    /// The longest that a revocation was not followed yet.
    pub followed: Duration,
    /// Persistent sessions that were read empty.
    pub drained: Vec<String>,
    follow: Duration,
}

impl Checked {
    fn expect(&mut self, holds: bool, line: impl FnOnce() -> String) {
        self.asked += 1;
        if !holds {
            self.lost.push(line());
        }
    }

    /// A CONNECT that must be accepted before long.
    fn admitted(&mut self, what: &str, mut ask: impl FnMut() -> Outcome<Mqtt>) -> Option<Mqtt> {
        let watch = Watch::start();
        self.asked += 1;
        loop {
            let outcome = ask();
            let code = outcome.code();
            if let Outcome::Done(session) = outcome {
                self.waited = self.waited.max(watch.passed());
                return Some(session);
            }
            if watch.passed() > PATIENCE {
                self.lost.push(format!("{what} is refused for good: {code}"));
                return None;
            }
            rest(Duration::from_millis(250));
        }
    }
}

/// Everything. `follow` is the time in which verifiers must have heard of the last revocations: none after a start, since
/// a ready verifier knows them; some where they went on while provisioning was away.
pub fn check(facts: &Facts, client: &Client, follow: Duration) -> Checked {
    let mut checked = Checked { follow, ..Checked::default() };
    // Checks that depend on the age of a proof go first.
    proofs(facts, client, &mut checked);
    refreshes(facts, client, &mut checked);
    revocations(facts, client, &mut checked);
    devices(facts, client, &mut checked);
    rows(facts, client, &mut checked);
    audit(facts, client, &mut checked);
    retained(facts, client, &mut checked);
    kept(facts, client, &mut checked);
    honest(facts, client, &mut checked);
    checked
}

fn is_fresh(at: u64, client: &Client) -> bool {
    client.now().get().saturating_sub(at) < FRESH_SECONDS
}

fn proofs(facts: &Facts, client: &Client, checked: &mut Checked) {
    let fresh = facts.used.iter().rev().filter(|used| is_fresh(used.at, client));
    for used in fresh.take(4 * TRIED) {
        let again = match used.agent {
            true => client.validate_with(&used.client, &used.password).code(),
            false => client.connect_with(&used.client, &used.password, true).code(),
        };
        let place = if used.agent { "agent" } else { "broker" };
        checked.expect(again != "done", || {
            format!("a used proof of {} is good again at the {place}", used.client)
        });
    }
}

fn refreshes(facts: &Facts, client: &Client, checked: &mut Checked) {
    let fresh = facts.refreshes.iter().rev().filter(|refresh| is_fresh(refresh.at, client));
    for refresh in fresh.take(3 * TRIED) {
        let again = client.refresh(&refresh.request);
        let code = again.code();
        let same = again.done().is_some_and(|token| token == refresh.token);
        checked.expect(same, || {
            format!("the refresh of {} is answered otherwise: {code}", refresh.device)
        });
    }
}

fn revocations(facts: &Facts, client: &Client, checked: &mut Checked) {
    let gone = facts.revoked.iter().map(|id| (id, true));
    let tokens = facts.revoked_tokens.iter().map(|id| (id, false));
    let last: Vec<_> = gone.rev().take(TRIED).chain(tokens.rev().take(TRIED)).collect();
    for (id, whole) in last {
        let Some(device) = facts.devices.get(id) else { continue };
        refused(device, whole, client, checked);
    }
}

/// A device, or its token, that must be refused everywhere.
fn refused(device: &Device, whole: bool, client: &Client, checked: &mut Checked) {
    let id = &device.id;
    let what = if whole { "revoked" } else { "with a revoked token" };
    let watch = Watch::start();
    let ended = |ask: &dyn Fn() -> String| Watch::until(checked.follow, || ask() != "done");
    let broker = ended(&|| client.connect(device, true).code());
    let agent = ended(&|| client.validate(device).code());
    checked.followed = checked.followed.max(watch.passed());
    checked.expect(broker.is_some(), || format!("{id}, {what}, is accepted by the broker"));
    checked.expect(agent.is_some(), || format!("{id}, {what}, is accepted by the agent"));
    if whole {
        let request = client.refresh_request(device, b"after the end");
        let code = client.refresh(&request).code();
        checked.expect(code == "device_revoked", || format!("{id}, {what}, asks: {code}"));
    }
}

fn listed(path: &str, client: &Client, checked: &mut Checked) -> Vec<Value> {
    match client.list(path) {
        Ok(items) => items,
        Err(error) => {
            checked.lost.push(error);
            Vec::new()
        }
    }
}

fn devices(facts: &Facts, client: &Client, checked: &mut Checked) {
    let items = listed("/v1/tenants/default/devices", client, checked);
    let by_id: BTreeMap<&str, &Value> =
        items.iter().filter_map(|item| Some((item["device"].as_str()?, item))).collect();
    for (id, device) in &facts.devices {
        let item = by_id.get(id.as_str());
        let thumbprint = item.and_then(|item| item["thumbprint"].as_str());
        let same = thumbprint == Some(device.thumbprint().as_str());
        checked.expect(same, || match item {
            None => format!("{id} is not enrolled"),
            Some(_) => format!("{id} has another key"),
        });
        if facts.revoked.contains(id) {
            let state = item.and_then(|item| item["state"].as_str());
            checked.expect(state == Some("revoked"), || format!("{id} is {state:?}, not revoked"));
        }
    }
}

fn rows(facts: &Facts, client: &Client, checked: &mut Checked) {
    let mut lists: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for row in &facts.rows {
        if !lists.contains_key(row.path.as_str()) {
            let items = listed(&row.path, client, checked);
            let names = items.iter().filter_map(|item| item[&row.member].as_str());
            lists.insert(&row.path, names.map(str::to_owned).collect());
        }
        let found = lists.get(row.path.as_str()).is_some_and(|names| names.contains(&row.name));
        checked.expect(found, || format!("{} {} is not in {}", row.member, row.name, row.path));
    }
}

fn audit(facts: &Facts, client: &Client, checked: &mut Checked) {
    let items = listed("/v1/audit", client, checked);
    let mut previous = None;
    for (place, item) in items.iter().enumerate() {
        let follows = item["seq"].as_u64() == Some(place as u64 + 1)
            && previous.is_none_or(|hash| item["previous"] == hash);
        if !follows {
            checked.lost.push(format!("the audit log does not follow at entry {}", place + 1));
            break;
        }
        previous = Some(item["hash"].clone());
    }
    let told = |item: &Value| {
        Some((item["action"].as_str()?.to_owned(), item["subject"].as_str()?.to_owned()))
    };
    let found: BTreeSet<(String, String)> = items.iter().filter_map(told).collect();
    for entry in &facts.audit {
        checked.expect(found.contains(entry), || {
            format!("the audit log holds no {} of {}", entry.0, entry.1)
        });
    }
}

/// Retained messages that the broker hands to one subscription (`docs/limits.md`).
const RETAINED_PER_LOOKUP: usize = 10_000;

fn retained(facts: &Facts, client: &Client, checked: &mut Checked) {
    let Some(backend) = &facts.backend else { return };
    if facts.retained.is_empty() {
        return;
    }
    let Some(mut session) = checked.admitted("the backend", || client.connect(backend, true))
    else {
        return;
    };
    let mut found = BTreeMap::new();
    if session.subscribe("d/+/telemetry", 1).is_ok() {
        // Others may come too: of a publisher whose acknowledgement got lost.
        let mut missing: BTreeSet<&str> = facts.retained.keys().map(String::as_str).collect();
        while !missing.is_empty() {
            let Ok(Some(message)) = session.message(NEXT) else { break };
            missing.remove(message.topic.as_str());
            found.insert(message.topic, message.text.parse::<u64>().unwrap_or(0));
        }
        // One subscription is handed so many at most: the others are asked for by their own names.
        let missing = missing.into_iter().filter(|_| found.len() >= RETAINED_PER_LOOKUP);
        let missing: Vec<String> = missing.map(str::to_owned).collect();
        for topic in missing {
            if session.subscribe(&topic, 1).is_err() {
                break;
            }
            if let Ok(Some(message)) = session.message(NEXT) {
                found.insert(message.topic, message.text.parse::<u64>().unwrap_or(0));
            }
        }
    }
    for (topic, number) in &facts.retained {
        let now = found.get(topic);
        checked.expect(now.is_some_and(|now| now >= number), || {
            format!("the retained message of {topic} is {now:?}, it was {number}")
        });
    }
}

fn kept(facts: &Facts, client: &Client, checked: &mut Checked) {
    for (id, waiting) in &facts.kept {
        let Some(device) = facts.devices.get(id) else { continue };
        let Some(mut session) = checked.admitted(id, || client.connect(device, false)) else {
            continue;
        };
        checked.expect(session.present, || format!("the persistent session of {id} is gone"));
        let mut missing: BTreeSet<&str> = waiting.iter().map(String::as_str).collect();
        while !missing.is_empty() {
            let Ok(Some(message)) = session.message(NEXT) else { break };
            missing.remove(message.text.as_str());
        }
        checked.asked += waiting.len();
        if !missing.is_empty() {
            let (lost, all) = (missing.len(), waiting.len());
            checked.lost.push(format!("{lost} of {all} QoS 1 messages for {id} are gone"));
        }
        checked.drained.push(id.clone());
        session.close();
    }
}

/// Devices in the right are served.
fn honest(facts: &Facts, client: &Client, checked: &mut Checked) {
    let good = facts.devices.values().rev().filter(|device| {
        matches!(device.purpose, super::Purpose::Connect) && device.id.starts_with('r')
    });
    for device in good.take(1) {
        if let Some(session) = checked.admitted(&device.id, || client.connect(device, true)) {
            session.close();
        }
        let watch = Watch::start();
        let mut code = String::new();
        let served = Watch::until(PATIENCE, || {
            code = client.validate(device).code();
            code == "done"
        });
        checked.waited = checked.waited.max(watch.passed());
        checked.expect(served.is_some(), || format!("the agent refuses {}: {code}", device.id));
        renewed(device, client, checked);
    }
}

/// The keys that sign now, and those that are to sign next, are there: their tokens are accepted.
fn renewed(device: &Device, client: &Client, checked: &mut Checked) {
    for when in ["now", "after a rotation"] {
        if when != "now" {
            let rotated = client.ask("/v1/tenants/default/keys/rotate", &json!({})).code();
            checked.expect(rotated == "done", || format!("keys do not rotate: {rotated}"));
        }
        let nonce = sha256(&client.password(device, when));
        let token = client.refresh(&client.refresh_request(device, &nonce[..16]));
        let code = token.code();
        checked.expect(code == "done", || format!("{} gets no token {when}: {code}", device.id));
        if let Some(token) = token.done() {
            let device = Device { token, ..device.clone() };
            let what = format!("the token of {when}");
            if let Some(session) = checked.admitted(&what, || client.connect(&device, true)) {
                session.close();
            }
        }
    }
}
