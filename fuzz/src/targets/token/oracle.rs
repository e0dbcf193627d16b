//! A second opinion: the rules of an access token, written from `ARCHITECTURE.md` and the RFCs, over a tree of
//! `ciborium`. It knows only whether a token may pass, not which refusal comes first.

use ciborium::value::Value;
use tessera_token::chain::{IssuerKey, KeyState, TrustView};
use tessera_token::hash::{sha256, TokenHash};
use tessera_token::key::{KeyId, PublicKey};
use tessera_token::proof::Credential;

use crate::targets::cbor::strict;
use crate::targets::world::{World, AUDIENCE};

/// Facts of an admitted token.
pub(super) struct Facts {
    pub(super) tenant: String,
    pub(super) device: String,
    pub(super) expires: u64,
    pub(super) bound: bool,
}

type Verdict<T> = Result<T, &'static str>;

fn must(holds: bool, else_why: &'static str) -> Verdict<()> {
    holds.then_some(()).ok_or(else_why)
}

/// Whether the attempt may pass, or what is wrong with it.
pub(super) fn judge(
    credential: &Credential,
    client_id: &str,
    world: &World,
    now: u64,
) -> Verdict<Facts> {
    let token = &credential.token;
    let parts = open(token)?;
    let key = signer(&parts, world).ok_or("no issuer signed it")?;
    must(matches!(key.state, KeyState::Next | KeyState::Active | KeyState::Retiring), "key state")?;
    must(now.saturating_add(60) >= key.not_before.get() && now < key.not_after.get(), "key time")?;

    let claims = strict_map(&parts.payload)?;
    let (tenant, device) = names(&claims).ok_or("names")?;
    must(tenant == key.tenant.as_str(), "issuer")?;
    must(id(&device, 64, true) && id(&tenant, 32, false), "ids")?;
    must(text(&claims, 3).as_deref() == Some(AUDIENCE), "audience")?;
    let expires = uint(&claims, 4).ok_or("exp")?;
    let issued = uint(&claims, 6).ok_or("iat")?;
    must(now < expires, "expired")?;
    must(issued <= now.saturating_add(60), "issued in the future")?;
    must(expires > issued && expires - issued <= 30 * 86_400, "life")?;
    if let Some(nbf) = get(&claims, 5) {
        must(number(nbf).is_some_and(|nbf| nbf <= now.saturating_add(60)), "not before")?;
    }
    let serial = get(&claims, 7).and_then(Value::as_bytes).ok_or("cti")?;
    must((1..=16).contains(&serial.len()), "cti")?;

    let trust = world.tenants.get(&tenant).ok_or("tenant")?;
    must(!trust.suspended, "suspended")?;
    let [t, number, g, d] = epochs(&claims).ok_or("epochs")?;
    must(t >= trust.epoch, "tenant epoch")?;
    must(g >= world.group_epoch(&trust.tenant, number), "group epoch")?;
    must(d >= world.device_epoch(&trust.tenant, &device), "device epoch")?;
    must(!world.revoked.contains(&TokenHash::of(token)), "revoked")?;

    let scope = scope(get(&claims, 9).and_then(Value::as_bytes).ok_or("scope")?)?;
    let budget = scope.iter().fold(trust.staleness.telemetry, |budget, (filter, receives)| {
        let wild = filter.contains(['+', '#']);
        match (wild, *receives) {
            (true, _) => budget.min(trust.staleness.actuation),
            (false, true) => budget.min(trust.staleness.command),
            (false, false) => budget,
        }
    });
    let trusted_at = world.trusted_at.ok_or("no trust")?.get();
    must(now.saturating_sub(trusted_at) <= budget, "stale")?;

    let bound = match get(&claims, 8) {
        Some(cnf) => {
            let key = confirmation(cnf).ok_or("cnf")?;
            proved(credential, client_id, &key, now)?;
            true
        }
        None => {
            must(trust.bearer && credential.proof.is_none(), "bearer")?;
            false
        }
    };
    let (subject, suffix) = match client_id.split_once('~') {
        Some((subject, suffix)) => (subject, Some(suffix)),
        None => (client_id, None),
    };
    must(subject == device && suffix.is_none_or(|suffix| id(suffix, 23, true)), "client id")?;
    Ok(Facts { tenant, device, expires, bound })
}

/// Tenant and device of a token that one of the known issuers really signed.
pub(super) fn signed_names(token: &[u8], world: &World) -> Option<(String, String)> {
    let parts = open(token).ok()?;
    signer(&parts, world)?;
    let map = ciborium::from_reader::<Value, _>(&parts.payload[..]).ok()?.into_map().ok()?;
    names(&map)
}

struct Parts {
    protected: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    kid: KeyId,
}

fn open(token: &[u8]) -> Verdict<Parts> {
    must(token.len() <= 4096, "length")?;
    must(token.starts_with(&[0xd8, 0x3d, 0xd2, 0x84]), "form")?;
    let value: Value = ciborium::from_reader(&token[3..]).map_err(|_| "no CBOR")?;
    must(strict(&token[3..]), "not deterministic")?;
    let Ok(
        [Value::Bytes(protected), Value::Map(unprotected), Value::Bytes(payload), Value::Bytes(signature)],
    ) = <[Value; 4]>::try_from(value.into_array().map_err(|_| "no array")?)
    else {
        return Err("parts");
    };
    must(unprotected.is_empty(), "unprotected")?;
    let header = strict_map(&protected)?;
    must(header.len() == 2, "header")?;
    let alg = get(&header, 1).and_then(Value::as_integer).map(i128::from);
    must(matches!(alg, Some(-19 | -8)), "alg")?;
    let kid = get(&header, 4).and_then(Value::as_bytes).ok_or("kid")?;
    let kid = KeyId::from_bytes(kid[..].try_into().map_err(|_| "kid")?);
    Ok(Parts { protected, payload, signature, kid })
}

fn signer<'w>(parts: &Parts, world: &'w World) -> Option<&'w IssuerKey> {
    let signed = encoded(&Value::Array(vec![
        Value::Text("Signature1".to_owned()),
        Value::Bytes(parts.protected.clone()),
        Value::Bytes(Vec::new()),
        Value::Bytes(parts.payload.clone()),
    ]));
    world.issuer_keys(parts.kid).iter().find(|key| key.key.verifies(&signed, &parts.signature))
}

type Map = Vec<(Value, Value)>;

/// A map in deterministic CBOR whose keys are labels.
fn strict_map(bytes: &[u8]) -> Verdict<Map> {
    let value: Value = ciborium::from_reader(bytes).map_err(|_| "no CBOR")?;
    must(strict(bytes), "not deterministic")?;
    let map = value.into_map().map_err(|_| "no map")?;
    must(labelled(&map), "labels")?;
    Ok(map)
}

/// Labels of CWT and COSE are integers or text (RFC 8392 section 1.1, RFC 9052 section 1.4).
fn labelled(map: &Map) -> bool {
    map.iter().all(|(key, _)| matches!(key, Value::Integer(_) | Value::Text(_)))
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).expect("a vector takes everything");
    out
}

fn get(map: &Map, label: i64) -> Option<&Value> {
    map.iter().find(|(key, _)| *key == Value::Integer(label.into())).map(|(_, value)| value)
}

fn number(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|n| u64::try_from(n).ok())
}

fn uint(map: &Map, label: i64) -> Option<u64> {
    get(map, label).and_then(number)
}

fn text(map: &Map, label: i64) -> Option<String> {
    get(map, label).and_then(Value::as_text).map(str::to_owned)
}

fn names(map: &Map) -> Option<(String, String)> {
    Some((text(map, 1)?, text(map, 2)?))
}

/// `[A-Za-z0-9][A-Za-z0-9._:-]*`
fn id(text: &str, most: usize, colon: bool) -> bool {
    text.len() <= most
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c) || (colon && c == ':'))
}

fn epochs(map: &Map) -> Option<[u64; 4]> {
    let counters = get(map, -65537)?.as_array()?;
    let mut all = [0; 4];
    for (to, from) in all.iter_mut().zip(counters) {
        *to = number(from)?;
    }
    (counters.len() <= 4 && counters.last().is_none_or(|last| number(last) != Some(0)))
        .then_some(all)
}

/// The filters, and whether each may receive.
fn scope(aif: &[u8]) -> Verdict<Vec<(String, bool)>> {
    let value: Value = ciborium::from_reader(aif).map_err(|_| "scope")?;
    must(strict(aif), "scope")?;
    let entries = value.into_array().map_err(|_| "scope")?;
    must(entries.len() <= 64, "scope entries")?;
    entries.iter().map(entry).collect::<Option<_>>().ok_or("scope entry")
}

fn entry(value: &Value) -> Option<(String, bool)> {
    let [filter, words] = <&[Value; 2]>::try_from(&value.as_array()?[..]).ok()?;
    let filter = filter.as_text()?;
    let words: Option<Vec<&str>> = words.as_array()?.iter().map(Value::as_text).collect();
    let receives = match words?[..] {
        ["pub"] => false,
        ["sub"] | ["pub", "sub"] | ["sub", "pub"] => true,
        _ => return None,
    };
    let levels: Vec<&str> = filter.split('/').collect();
    let placed = levels.iter().enumerate().all(|(at, level)| match *level {
        "+" => true,
        "#" => at + 1 == levels.len(),
        other => !other.contains(['+', '#']),
    });
    let good = placed
        && !filter.is_empty()
        && filter.len() <= 1024
        && levels.len() <= 32
        && !filter.chars().any(char::is_control);
    good.then(|| (filter.to_owned(), receives))
}

fn confirmation(cnf: &Value) -> Option<PublicKey> {
    let cnf = cnf.as_map()?;
    // A key by reference needs a registry, and this world has none.
    if [2, 3, 5].iter().any(|label| get(cnf, *label).is_some()) {
        return None;
    }
    let key = get(cnf, 1)?.as_map()?;
    if !labelled(cnf) || !labelled(key) {
        return None;
    }
    let int = |label| get(key, label).and_then(Value::as_integer).map(i128::from);
    let plain = int(1) == Some(1) && int(-1) == Some(6) && get(key, -4).is_none();
    let alg = get(key, 3).is_none() || matches!(int(3), Some(-19 | -8));
    let x = get(key, -2)?.as_bytes()?;
    PublicKey::from_bytes(x).ok().filter(|_| plain && alg)
}

fn proved(credential: &Credential, client_id: &str, key: &PublicKey, now: u64) -> Verdict<()> {
    let proof = credential.proof.as_ref().ok_or("no proof")?;
    let time = proof.time.get();
    must(time.abs_diff(now) <= 60, "proof time")?;
    let message = encoded(&Value::Array(vec![
        Value::Text("tessera-connect-1".to_owned()),
        Value::Text(AUDIENCE.to_owned()),
        Value::Text(client_id.to_owned()),
        Value::Bytes(sha256(&credential.token).to_vec()),
        Value::Integer(time.min(u64::from(u32::MAX)).into()),
        Value::Integer(proof.counter.into()),
    ]));
    let mut tail = credential.to_password().split_off(credential.token.len());
    let signature = tail.split_off(tail.len() - 64);
    must(key.verifies(&message, &signature), "proof")
}
