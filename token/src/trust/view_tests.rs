use super::*;
use crate::hash::TokenHash;
use crate::ids::{DeviceId, TenantId};
use crate::limits;
use crate::time::UnixSeconds;
use alloc::format;
use alloc::vec;

fn root() -> SecretKey {
    SecretKey::from_seed(&[6; 32])
}

fn stranger() -> SecretKey {
    SecretKey::from_seed(&[9; 32])
}

const AT: UnixSeconds = UnixSeconds::new(1_790_000_000);

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn set(names: &[&str]) -> TenantSet {
    TenantSet::new(names.iter().map(|name| tenant(name))).unwrap()
}

fn moved(of: &str, epoch: u64) -> Change {
    let device = DeviceId::parse("s-1").unwrap();
    Change::Device(DeviceEpoch { tenant: tenant(of), device, epoch, at: AT })
}

/// Events of these tenants, the first with number 1.
fn line(of: &[&str]) -> Vec<Vec<u8>> {
    let mut events: Vec<Vec<u8>> = Vec::new();
    for (seq, name) in (1..).zip(of) {
        let previous = events.last().map(|last| EventHash::of(last)).unwrap_or_default();
        let event = Event { seq, previous, time: AT, change: moved(name, seq) };
        events.push(event.sign(&root()).unwrap());
    }
    events
}

fn view(events: &[Vec<u8>], tenants: &TenantSet, included: &[usize]) -> View {
    View {
        tenants: tenants.id(),
        after: 0,
        after_head: EventHash::default(),
        seq: events.len() as u64,
        head: EventHash::of(events.last().unwrap()),
        time: AT,
        included: included.iter().map(|place| EventHash::of(&events[*place])).collect(),
    }
}

#[test]
fn a_set_is_sorted_and_bounded_and_has_one_name() {
    let one = set(&["b", "a", "b"]);
    assert_eq!((one.to_string(), one.iter().count()), ("a b".into(), 2));
    assert_eq!(one.id(), set(&["a", "b"]).id());
    assert_ne!(one.id(), set(&["a"]).id());
    assert_ne!(set(&["ab"]).id(), set(&["a", "b"]).id());
    assert!(one.contains(&tenant("a")) && !one.contains(&tenant("ab")));
    assert_eq!(TenantSet::new([]), Err(TrustError::Malformed));
    let many = |n: usize| TenantSet::new((0..n).map(|n| tenant(&format!("t{n}"))));
    assert!(many(limits::FEED_TENANTS).is_ok());
    assert_eq!(many(limits::FEED_TENANTS + 1), Err(TrustError::TooLarge));
}

#[test]
fn a_view_reads_back_for_the_root_key_only_and_passes_for_no_other_kind() {
    let events = line(&["a", "b", "a"]);
    let made = view(&events, &set(&["a"]), &[0, 2]);
    let signed = made.sign(&root()).unwrap();
    assert_eq!(View::open(&signed, &root().public()), Ok(made));
    assert_eq!(View::open(&signed, &stranger().public()), Err(TrustError::Signature));
    for bit in 0..signed.len() * 8 {
        let mut bent = signed.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(View::open(&bent, &root().public()).is_err(), "bit {bit}");
    }
    assert_eq!(Event::open(&signed, &root().public()), Err(TrustError::Signature));
    assert_eq!(Heartbeat::open(&signed, &root().public()), Err(TrustError::Signature));
    assert_eq!(View::open(&events[0], &root().public()), Err(TrustError::Signature));
}

#[test]
fn a_view_leads_somewhere_and_is_bounded() {
    let events = line(&["a", "b"]);
    let good = view(&events, &set(&["a"]), &[0]);
    let opened = |change: fn(&mut View)| {
        let mut bent = good.clone();
        change(&mut bent);
        View::open(&bent.sign(&root()).unwrap(), &root().public()).err()
    };
    assert_eq!(opened(|_| {}), None);
    assert_eq!(opened(|view| view.seq = 0), Some(TrustError::Order));
    assert_eq!(opened(|view| view.after = 3), Some(TrustError::Order));
    assert_eq!(opened(|view| view.included = vec![view.head; 3]), Some(TrustError::Order));
    let many = |n: usize, view: &mut View| {
        view.seq = u64::MAX;
        view.included = vec![view.head; n];
    };
    let mut full = good.clone();
    many(limits::EVENTS_PER_ANSWER, &mut full);
    assert_eq!(View::open(&full.sign(&root()).unwrap(), &root().public()), Ok(full.clone()));
    many(limits::EVENTS_PER_ANSWER + 1, &mut full);
    let error = View::open(&full.sign(&root()).unwrap(), &root().public());
    assert!(matches!(error, Err(TrustError::TooLarge | TrustError::Malformed)), "{error:?}");
}

/// Reads the events as a reader does; the numbers of those that were good.
fn follow(view: &View, events: &[Vec<u8>], of: &TenantSet) -> (Vec<u64>, Option<TrustError>) {
    let (mut taken, mut after) = (Vec::new(), view.after);
    for (place, bytes) in events.iter().enumerate() {
        match view.included(place, after, bytes, of, &root().public()) {
            Ok(event) => after = event.seq,
            Err(error) => return (taken, Some(error)),
        }
        taken.push(after);
    }
    (taken, None)
}

#[test]
fn included_events_are_the_named_ones_in_their_order() {
    let events = line(&["a", "b", "a", "a"]);
    let of = set(&["a"]);
    let made = view(&events, &of, &[0, 2, 3]);
    let answer = |places: &[usize]| -> Vec<Vec<u8>> {
        places.iter().map(|place| events[*place].clone()).collect()
    };
    assert_eq!(follow(&made, &answer(&[0, 2, 3]), &of), (vec![1, 3, 4], None));
    let order = Some(TrustError::Order);
    // Left out, twice, in another order, and one that the view does not name.
    assert_eq!(follow(&made, &answer(&[0, 3]), &of), (vec![1], order));
    assert_eq!(follow(&made, &answer(&[0, 0, 2, 3]), &of), (vec![1], order));
    assert_eq!(follow(&made, &answer(&[2, 0, 3]), &of), (vec![], order));
    assert_eq!(follow(&made, &answer(&[0, 1, 2, 3]), &of), (vec![1], order));
    assert_eq!(follow(&made, &answer(&[0, 2, 3, 3]), &of), (vec![1, 3, 4], order));
    // The root key itself would have to sign these.
    let twice = view(&events, &of, &[0, 0]);
    assert_eq!(follow(&twice, &answer(&[0, 0]), &of), (vec![1], order));
    let back = view(&events, &of, &[2, 0]);
    assert_eq!(follow(&back, &answer(&[2, 0]), &of), (vec![3], order));
    let beyond = View { seq: 2, ..view(&events, &of, &[2]) };
    assert_eq!(follow(&beyond, &answer(&[2]), &of), (vec![], order));
    let other_head = View { head: EventHash::of(b"other"), ..made.clone() };
    assert_eq!(follow(&other_head, &answer(&[0, 2, 3]), &of), (vec![1, 3], order));
    // An event of another tenant, and one without a good signature.
    let foreign = view(&events, &of, &[1]);
    assert_eq!(follow(&foreign, &answer(&[1]), &of), (vec![], Some(TrustError::Tenants)));
    let event = Event { seq: 1, previous: EventHash::default(), time: AT, change: moved("a", 1) };
    let forged = event.sign(&stranger()).unwrap();
    let named = View { included: vec![EventHash::of(&forged)], ..made };
    assert_eq!(follow(&named, &[forged], &of), (vec![], Some(TrustError::Signature)));
}

#[test]
fn a_snapshot_of_some_tenants_is_none_of_all_and_the_other_way_round() {
    let pin = root().public().thumbprint();
    let snapshot = |state: Vec<Change>| Snapshot {
        seq: 7,
        head: EventHash::of(b"head"),
        time: AT,
        valid_until: AT.plus(60),
        state,
    };
    let bound = |state| BoundSnapshot { tenants: set(&["a", "c"]), snapshot: snapshot(state) };
    let good = bound(vec![moved("a", 1), moved("c", 1)]);
    let signed = good.sign(&root()).unwrap();
    assert_eq!(BoundSnapshot::open(&signed, &pin), Ok((good.clone(), root().public())));
    assert_eq!(Snapshot::open(&signed, &pin), Err(TrustError::Signature));
    let all = good.snapshot.sign(&root()).unwrap();
    assert_eq!(BoundSnapshot::open(&all, &pin).unwrap_err(), TrustError::Signature);
    let foreign = bound(vec![moved("a", 1), moved("b", 1)]).sign(&root()).unwrap();
    assert_eq!(BoundSnapshot::open(&foreign, &pin).unwrap_err(), TrustError::Tenants);
    for end in 0..signed.len() {
        assert!(BoundSnapshot::open(&signed[..end], &pin).is_err());
    }
    assert_eq!(BoundSnapshot::open(&good.sign(&stranger()).unwrap(), &pin), Err(TrustError::Root));
}

#[test]
fn answers_of_both_kinds_read_back_and_are_told_apart() {
    let feed = Feed { events: vec![vec![1], vec![2, 3]], heartbeat: vec![4] };
    assert_eq!(FeedAnswer::from_cbor(&feed.to_cbor()), Ok(FeedAnswer::All(feed.clone())));
    let bound = BoundFeed { view: vec![5], feed: feed.clone() };
    assert_eq!(FeedAnswer::from_cbor(&bound.to_cbor()), Ok(FeedAnswer::Bound(bound.clone())));
    // A reader of an earlier version takes it for nothing.
    assert_eq!(Feed::from_cbor(&bound.to_cbor()), Err(TrustError::Malformed));
    let many = Feed { events: vec![vec![]; 1001], heartbeat: vec![] };
    let many = BoundFeed { view: vec![], feed: many };
    assert!(FeedAnswer::from_cbor(&many.to_cbor()).is_err());
    for end in 0..bound.to_cbor().len() {
        assert!(FeedAnswer::from_cbor(&bound.to_cbor()[..end]).is_err());
    }
}

#[test]
fn views_and_snapshots_of_some_tenants_are_evidence() {
    let events = line(&["a", "b", "a"]);
    let of = set(&["a"]);
    let made = view(&events, &of, &[0, 2]);
    let snapshot = Snapshot {
        seq: 0,
        head: EventHash::default(),
        time: AT,
        valid_until: AT.plus(60),
        state: vec![moved("a", 9)],
    };
    let bound = BoundSnapshot { tenants: of, snapshot };
    let evidence = Evidence {
        snapshot: bound.sign(&root()).unwrap(),
        events: vec![events[0].clone(), events[2].clone()],
        heartbeat: Vec::new(),
        views: vec![made.sign(&root()).unwrap()],
    };
    let read = Evidence::from_cbor(&evidence.to_cbor()).unwrap();
    assert_eq!(read, evidence);
    let shown = read.verify(&root().public()).unwrap();
    assert_eq!((shown.seq, shown.head), (3, made.head));
    assert_eq!(shown.changes, [moved("a", 9), moved("a", 1), moved("a", 3)]);
    let alone = Evidence { views: evidence.views.clone(), ..Evidence::default() };
    assert_eq!(alone.verify(&root().public()).unwrap().seq, 3);
    let forged = Evidence { views: vec![made.sign(&stranger()).unwrap()], ..evidence.clone() };
    assert_eq!(forged.verify(&root().public()), Err(TrustError::Signature));
    let foreign = Evidence { snapshot: bound.sign(&stranger()).unwrap(), ..evidence };
    assert_eq!(foreign.verify(&root().public()), Err(TrustError::Root));
    let empty = Evidence::default().to_cbor();
    assert_eq!(empty, [0x83, 0x40, 0x80, 0x40], "the bytes of readers of all tenants stay");
}

#[test]
fn a_change_names_its_tenant_and_the_signer_reads_its_own_events() {
    let events = line(&["a", "b"]);
    let names: Vec<_> =
        events.iter().map(|e| Event::unverified(e).unwrap().change.tenant().to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(Event::unverified(b"rubbish"), Err(TrustError::Malformed));
    let token = RevokedToken {
        token: TokenHash::of(b"t"),
        tenant: tenant("c"),
        device: DeviceId::parse("s-1").unwrap(),
        expires: AT,
    };
    assert_eq!(Change::Token(token).tenant(), &tenant("c"));
}
