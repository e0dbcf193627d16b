use super::*;
use crate::chain::{IssuerKey, KeyState, StalenessBudget, TenantTrust};
use crate::hash::TokenHash;
use crate::ids::{DeviceId, GroupId, TenantId};
use crate::key::Thumbprint;
use crate::limits;
use crate::time::UnixSeconds;

fn root() -> SecretKey {
    SecretKey::from_seed(&[6; 32])
}

fn changes() -> Vec<Change> {
    let tenant = TenantId::parse("acme").unwrap();
    let device = DeviceId::parse("s-1").unwrap();
    let at = UnixSeconds::new(1_790_000_000);
    vec![
        Change::Tenant(TenantTrust {
            tenant: tenant.clone(),
            epoch: 3,
            suspended: false,
            bearer: true,
            staleness: StalenessBudget::default(),
        }),
        Change::Key(IssuerKey {
            tenant: tenant.clone(),
            key: SecretKey::from_seed(&[1; 32]).public(),
            not_before: at,
            not_after: at.plus(10),
            state: KeyState::Retiring,
        }),
        Change::Group(GroupEpoch {
            tenant: tenant.clone(),
            group: GroupId::parse("north").unwrap(),
            number: 2,
            epoch: 9,
            announced_until: None,
        }),
        Change::Group(GroupEpoch {
            tenant: tenant.clone(),
            group: GroupId::parse("north").unwrap(),
            number: 2,
            epoch: 0,
            announced_until: Some(at),
        }),
        Change::Device(DeviceEpoch {
            tenant: tenant.clone(),
            device: device.clone(),
            epoch: 1,
            at,
        }),
        Change::Token(RevokedToken {
            token: TokenHash::of(b"t"),
            tenant: tenant.clone(),
            device: device.clone(),
            expires: at,
        }),
        Change::DeviceKey(RegisteredKey {
            tenant: tenant.clone(),
            device: device.clone(),
            key: vec![4; 65],
        }),
        Change::Rule(RuleEntry {
            tenant: tenant.clone(),
            id: "no-commands".into(),
            rule: vec![7; limits::RULE_BYTES],
        }),
        Change::Rule(RuleEntry { tenant: tenant.clone(), id: "gone".into(), rule: Vec::new() }),
        Change::Restraint(Restraint {
            tenant,
            device,
            step: Step::Quarantine,
            at,
            until: at.plus(3600),
        }),
    ]
}

fn event(seq: u64, change: Change) -> Event {
    let time = UnixSeconds::new(1_790_000_000);
    Event { seq, previous: EventHash::of(b"before"), time, change }
}

#[test]
fn events_read_back_for_the_root_key_only() {
    for change in changes() {
        let event = event(7, change);
        let signed = event.sign(&root()).unwrap();
        assert_eq!(Event::open(&signed, &root().public()), Ok(event));
        let stranger = SecretKey::from_seed(&[9; 32]).public();
        assert_eq!(Event::open(&signed, &stranger), Err(TrustError::Signature));
        for bit in 0..signed.len() * 8 {
            let mut bent = signed.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(Event::open(&bent, &root().public()).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn one_kind_never_passes_for_another() {
    let time = UnixSeconds::new(1_790_000_000);
    let beat = Heartbeat { seq: 7, head: EventHash::default(), time };
    let signed = beat.sign(&root()).unwrap();
    assert_eq!(Heartbeat::open(&signed, &root().public()), Ok(beat));
    assert_eq!(Event::open(&signed, &root().public()), Err(TrustError::Signature));
    let event = event(1, changes().remove(0)).sign(&root()).unwrap();
    assert_eq!(Heartbeat::open(&event, &root().public()), Err(TrustError::Signature));
}

#[test]
fn a_heartbeat_answers_one_nonce_and_a_recording_answers_none() {
    let time = UnixSeconds::new(1_790_000_000);
    let (root, nonce) = (root(), FeedNonce::from_bytes([5; 16]));
    let beat = Heartbeat { seq: 7, head: EventHash::of(b"head"), time };
    let signed = beat.answer(&nonce, &root).unwrap();
    assert_eq!(Heartbeat::open_for(&signed, &nonce, &root.public()), Ok(beat.clone()));
    assert_eq!(Heartbeat::open_answer(&signed, &root.public()), Ok((beat.clone(), nonce)));
    let other = FeedNonce::from_bytes([6; 16]);
    assert_eq!(Heartbeat::open_for(&signed, &other, &root.public()), Err(TrustError::Nonce));
    let first = beat.sign(&root).unwrap();
    assert_eq!(Heartbeat::open_for(&first, &nonce, &root.public()), Err(TrustError::Nonce));
    assert_eq!(Heartbeat::open(&signed, &root.public()), Err(TrustError::Signature));
    let stranger = SecretKey::from_seed(&[9; 32]).public();
    assert_eq!(Heartbeat::open_for(&signed, &nonce, &stranger), Err(TrustError::Signature));
    for bit in 0..signed.len() * 8 {
        let mut bent = signed.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(Heartbeat::open_for(&bent, &nonce, &root.public()).is_err(), "bit {bit}");
    }
}

#[test]
fn a_nonce_is_thirty_two_digits() {
    let nonce = FeedNonce::from_bytes(core::array::from_fn(|place| place as u8 * 17));
    let text = alloc::format!("{nonce}");
    assert_eq!(text, "00112233445566778899aabbccddeeff");
    assert_eq!(text.parse(), Ok(nonce));
    for bad in ["", "0", "00112233445566778899aabbccddeefg", "00112233445566778899AABBCCDDEEFF"] {
        assert_eq!(bad.parse::<FeedNonce>(), Err(TrustError::Malformed), "{bad}");
    }
    assert!(alloc::format!("{text}00").parse::<FeedNonce>().is_err());
}

#[test]
fn evidence_is_what_the_root_key_signed() {
    let (root, at) = (root(), UnixSeconds::new(1_790_000_000));
    let all = changes();
    let snapshot = Snapshot {
        seq: 7,
        head: EventHash::of(b"head"),
        time: at,
        valid_until: at.plus(60),
        state: vec![all[0].clone()],
    };
    let next = event(8, all[3].clone()).sign(&root).unwrap();
    let beat = Heartbeat { seq: 9, head: EventHash::of(b"ninth"), time: at.plus(5) };
    let evidence = Evidence {
        snapshot: snapshot.sign(&root).unwrap(),
        events: vec![next.clone()],
        heartbeat: beat.answer(&FeedNonce::from_bytes([1; 16]), &root).unwrap(),
        views: Vec::new(),
    };
    let read = Evidence::from_cbor(&evidence.to_cbor()).unwrap();
    assert_eq!(read, evidence);
    let shown = read.verify(&root.public()).unwrap();
    assert_eq!((shown.seq, shown.head), (9, beat.head));
    let marks = [(7, snapshot.head), (8, EventHash::of(&next)), (9, beat.head)];
    assert_eq!(shown.marks, marks);
    assert_eq!(shown.changes, [all[0].clone(), all[3].clone()]);
    let without = Evidence { heartbeat: Vec::new(), ..evidence.clone() };
    let shown = without.verify(&root.public()).unwrap();
    assert_eq!((shown.seq, shown.head), (8, EventHash::of(&next)));
    // One forged part spoils the whole; nothing shows nothing.
    let stranger = SecretKey::from_seed(&[9; 32]);
    let forged = event(9, all[3].clone()).sign(&stranger).unwrap();
    let spoilt = Evidence { events: vec![next, forged], ..evidence.clone() };
    assert_eq!(spoilt.verify(&root.public()), Err(TrustError::Signature));
    assert_eq!(evidence.verify(&stranger.public()), Err(TrustError::Root));
    assert_eq!(Evidence::default().verify(&root.public()), Err(TrustError::Malformed));
}

#[test]
fn snapshots_need_the_pinned_root() {
    let time = UnixSeconds::new(1_790_000_000);
    let snapshot = Snapshot {
        seq: 7,
        head: EventHash::of(b"head"),
        time,
        valid_until: time.plus(60),
        state: changes(),
    };
    let signed = snapshot.sign(&root()).unwrap();
    let pin = root().public().thumbprint();
    assert_eq!(Snapshot::open(&signed, &pin), Ok((snapshot, root().public())));
    let other = Thumbprint::from_bytes([0; 32]);
    assert_eq!(Snapshot::open(&signed, &other).unwrap_err(), TrustError::Root);
    for end in 0..signed.len() {
        assert!(Snapshot::open(&signed[..end], &pin).is_err());
    }
}

#[test]
fn feeds_read_back() {
    let feed = Feed { events: vec![vec![1], vec![2, 3]], heartbeat: vec![4] };
    assert_eq!(Feed::from_cbor(&feed.to_cbor()), Ok(feed));
    let many = Feed { events: vec![vec![]; 1001], heartbeat: vec![] };
    assert!(Feed::from_cbor(&many.to_cbor()).is_err());
}

#[test]
fn a_registered_key_has_one_of_two_lengths() {
    for length in [0, 31, 33, 64, 66] {
        let key = RegisteredKey {
            tenant: TenantId::parse("acme").unwrap(),
            device: DeviceId::parse("s-1").unwrap(),
            key: vec![4; length],
        };
        let signed = event(7, Change::DeviceKey(key)).sign(&root()).unwrap();
        assert_eq!(Event::open(&signed, &root().public()), Err(TrustError::Malformed), "{length}");
    }
}

#[test]
fn a_key_state_is_found_by_its_number() {
    for (place, state) in (0..).zip(KeyState::ALL) {
        assert_eq!((u64::from(state.number()), KeyState::of_number(place)), (place, Some(state)));
    }
    assert_eq!(KeyState::of_number(5), None);
}
