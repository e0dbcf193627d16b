//! Payloads of the feed byte by byte, signed over whatever they are: nothing but what we would write is read.

use std::fmt::Debug;

use tessera_token::cbor::Writer;
use tessera_token::chain::StalenessBudget;
use tessera_token::key::{PublicKey, SecretKey};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{
    Change, Event, EventHash, Evidence, Feed, FeedNonce, Heartbeat, Snapshot, TrustError,
};

use crate::signal::note;
use crate::targets::world::{at, keys, tenant, NOW};

/// Opens `payload` as a message of the kind.
pub(super) fn target(kind: u8, payload: &[u8]) {
    match kind {
        0 => signed(payload, "tessera-trust-event-1", Event::open, Event::sign),
        1 => {
            signed(payload, "tessera-trust-heartbeat-1", Heartbeat::open, Heartbeat::sign);
            let sign =
                |read: &(Heartbeat, FeedNonce), root: &SecretKey| read.0.answer(&read.1, root);
            signed(payload, "tessera-trust-heartbeat-2", Heartbeat::open_answer, sign);
        }
        2 => snapshot(payload),
        _ => {
            feed(payload);
            evidence(payload);
        }
    }
}

fn signed<T: PartialEq + Debug>(
    payload: &[u8],
    kind: &str,
    open: fn(&[u8], &PublicKey) -> Result<T, TrustError>,
    sign: fn(&T, &SecretKey) -> Result<Vec<u8>, RefusalCode>,
) {
    let root = &keys().root;
    let bytes = seal(payload, kind, root);
    assert!(open(&bytes, &keys().other_root.public()).is_err(), "opened with another root key");
    assert!(open(&seal(payload, "other", root), &root.public()).is_err(), "another kind passed");
    match open(&bytes, &root.public()) {
        Ok(message) => {
            note((kind, payload.len().min(80)));
            let again = sign(&message, root).expect("what was read can be signed");
            assert_eq!(again, bytes, "{message:?} has two forms");
        }
        Err(error) => note((kind, error as u8, payload.len().min(12))),
    }
}

fn snapshot(payload: &[u8]) {
    let root = &keys().root;
    let pin = root.public().thumbprint();
    let sealed = seal(payload, "tessera-trust-snapshot-1", root);
    let mut w = Writer::new();
    w.array(2).raw(&root.public().to_cose_key()).bytes(&sealed);
    let bytes = w.finish();
    match Snapshot::open(&bytes, &pin) {
        Ok((message, key)) => {
            note(("snapshot", message.state.len().min(5)));
            assert!(key == root.public());
            assert_eq!(message.sign(root).expect("it can be signed"), bytes, "two forms");
        }
        Err(error) => note(("snapshot", error as u8, payload.len().min(12))),
    }
    // As it came from a stranger, without any signature.
    assert!(Snapshot::open(payload, &pin).is_err(), "an unsigned snapshot was opened");
}

fn feed(bytes: &[u8]) {
    match Feed::from_cbor(bytes) {
        Ok(feed) => {
            note(("feed", feed.events.len().min(5)));
            assert_eq!(feed.to_cbor(), bytes, "a feed has two forms");
        }
        Err(error) => note(("feed", error as u8, bytes.len().min(12))),
    }
}

/// Nothing is evidence that the root key did not sign.
fn evidence(bytes: &[u8]) {
    match Evidence::from_cbor(bytes) {
        Ok(evidence) => {
            note(("evidence", evidence.events.len().min(5)));
            assert_eq!(evidence.to_cbor(), bytes, "evidence has two forms");
            assert!(
                evidence.verify(&keys().other_root.public()).is_err(),
                "no other root signed that"
            );
            note(("shown", evidence.verify(&keys().root.public()).is_ok()));
        }
        Err(error) => note(("evidence", error as u8, bytes.len().min(12))),
    }
}

/// A COSE_Sign1 with `kind` as external_aad.
fn seal(payload: &[u8], kind: &str, root: &SecretKey) -> Vec<u8> {
    let mut w = Writer::new();
    w.map(2).int(1).int(-19).int(4).bytes(root.public().key_id().as_bytes());
    let protected = w.finish();
    w.array(4).text("Signature1").bytes(&protected).bytes(kind.as_bytes()).bytes(payload);
    let signature = root.sign(&w.finish());
    w.array(4).bytes(&protected).map(0).bytes(payload).bytes(&signature);
    w.finish()
}

/// The payload of each kind.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let root = &keys().root;
    let staleness = StalenessBudget::default();
    let trust = tessera_token::chain::TenantTrust {
        tenant: tenant("acme"),
        epoch: 7,
        suspended: false,
        bearer: true,
        staleness,
    };
    let change = Change::Tenant(trust);
    let head = EventHash::from_bytes([7; 32]);
    let event = Event { seq: 3, previous: head, time: at(NOW), change: change.clone() };
    let beat = Heartbeat { seq: 3, head, time: at(NOW) };
    let nonce = FeedNonce::from_bytes([3; 16]);
    let snapshot =
        Snapshot { seq: 3, head, time: at(NOW), valid_until: at(NOW + 9), state: vec![change] };
    let signed = event.sign(root).expect("an event can be signed");
    let feed = Feed { events: vec![vec![1, 2], vec![3]], heartbeat: vec![4] };
    let sealed = snapshot.sign(root).expect("a snapshot can be signed");
    let sealed = sealed.get(45..).unwrap_or_default();
    vec![
        [vec![0], payload_of(&signed)].concat(),
        [vec![1], payload_of(&beat.sign(root).expect("a heartbeat can be signed"))].concat(),
        [vec![1], payload_of(&beat.answer(&nonce, root).expect("it can be signed"))].concat(),
        [vec![3], Evidence { events: vec![signed.clone()], ..Evidence::default() }.to_cbor()]
            .concat(),
        [vec![2], payload_of(sealed)].concat(),
        [vec![3], feed.to_cbor()].concat(),
    ]
}

/// The third member of a COSE_Sign1.
fn payload_of(sealed: &[u8]) -> Vec<u8> {
    let read: Option<ciborium::Value> = ciborium::from_reader(sealed).ok();
    let parts = read.and_then(|value| value.into_array().ok()).unwrap_or_default();
    parts.get(2).and_then(ciborium::Value::as_bytes).cloned().unwrap_or_default()
}
