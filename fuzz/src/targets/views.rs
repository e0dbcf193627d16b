//! The trust feed of a verifier of some tenants: snapshots of tenants and views, honest or altered by a sender that does
//! not hold the root key. At every step the verifier knows the same as an honest snapshot of the same place says, of its
//! own tenants alone, and it takes nothing altered.

use tessera_agent::trust::{Applied, Taken, TrustRefusal, TrustState};
use tessera_token::chain::TrustView;
use tessera_token::ids::Audience;
use tessera_token::trust::{
    BoundFeed, BoundSnapshot, EventHash, Feed, FeedAnswer, Snapshot, TenantSet, View,
};

use super::numbered;
use super::trust::authority::{issuers, Authority, AGED, DEVICES, NONCE, TENANTS};
use super::trust::nothing_moved_back;
use super::world::{at, keys, tenant, AUDIENCE, NOW};
use crate::draw::Draw;
use crate::signal::note;

/// Runs one input: raw bytes, or a tape.
pub fn target(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 8 {
        0 => raw_answer(rest),
        1 => raw_payload(rest),
        _ => follow(&mut Draw::new(rest)),
    }
}

/// An answer of either kind that is read comes back the same; nothing unsigned is taken of it.
fn raw_answer(bytes: &[u8]) {
    let Ok(answer) = FeedAnswer::from_cbor(bytes) else {
        return note(("raw answer", bytes.first(), bytes.len() / 16));
    };
    let written = match &answer {
        FeedAnswer::All(feed) => feed.to_cbor(),
        FeedAnswer::Bound(bound) => bound.to_cbor(),
    };
    assert!(FeedAnswer::from_cbor(&written).is_ok_and(|again| again == answer));
    let authority = Authority::new();
    let state = snapshot_of(&empty(), &authority, authority.seq());
    let applied = state.with_answer(&answer, &NONCE);
    note(("raw answer", applied.refused.map(TrustRefusal::as_str)));
    assert!(applied.taken == 0 && !applied.beat && !applied.moved);
}

/// Any bytes as a view and as a snapshot: read without harm.
fn raw_payload(bytes: &[u8]) {
    let root = keys().root.public();
    let view = View::open(bytes, &root).map(|view| view.included.len()).ok();
    let snapshot = BoundSnapshot::open(bytes, &root.thumbprint()).is_ok();
    note(("raw payload", view, snapshot, bytes.len() / 32));
}

fn follow(draw: &mut Draw<'_>) {
    let mut authority = Authority::new();
    let mut state = take_snapshot(draw, &empty(), &authority);
    for _ in 0..24 {
        if draw.is_empty() {
            break;
        }
        for _ in 0..draw.below(4) {
            authority.change(draw);
        }
        state = match draw.below(6) {
            0 => take_snapshot(draw, &state, &authority),
            _ => take_view(draw, &state, &authority),
        };
        knows_what_is_said(&state, &authority);
    }
    let Applied { state, refused, beat, .. } =
        state.with_answer(&answer(&authority, state.seq()), &NONCE);
    if !state.is_empty() {
        assert!(refused.is_none() && beat, "an honest answer was refused: {refused:?}");
        assert_eq!(state.seq(), authority.seq());
        knows_what_is_said(&state, &authority);
    }
}

fn empty() -> TrustState {
    TrustState::empty(Audience::parse(AUDIENCE).expect("an audience"))
}

fn own() -> TenantSet {
    TenantSet::new([tenant(TENANTS[0])]).expect("a set of one")
}

fn other() -> TenantSet {
    TenantSet::new([tenant(TENANTS[1])]).expect("a set of one")
}

fn both() -> TenantSet {
    TenantSet::new(TENANTS.map(tenant)).expect("a set of two")
}

fn bound_snapshot(authority: &Authority, seq: u64, tenants: TenantSet) -> BoundSnapshot {
    let whole = authority.snapshot_at(seq, NOW + 1000);
    let state = whole.state.into_iter().filter(|change| tenants.contains(change.tenant()));
    BoundSnapshot { snapshot: Snapshot { state: state.collect(), ..whole }, tenants }
}

/// The state after an honest snapshot of this place.
fn snapshot_of(state: &TrustState, authority: &Authority, seq: u64) -> TrustState {
    let bytes = bound_snapshot(authority, seq, own()).sign(&keys().root).expect("signed");
    let pin = keys().root.public().thumbprint();
    let taken = Taken { now: at(NOW), wall: at(NOW), heard: None };
    match state.with_snapshot_of(Some(&own()), &bytes, &pin, taken) {
        Ok(state) => state,
        Err(refusal) => panic!("an honest snapshot was refused: {refusal}"),
    }
}

fn take_snapshot(draw: &mut Draw<'_>, state: &TrustState, authority: &Authority) -> TrustState {
    let seq = authority.seq() - u64::from(draw.u8() & 1).min(authority.seq());
    let bend = draw.below(8);
    let tenants = match bend {
        1 => other(),
        2 => both(),
        _ => own(),
    };
    let good = bound_snapshot(authority, seq, tenants);
    let key = if bend == 3 { &keys().other_root } else { &keys().root };
    let mut bytes = match bend {
        4 => authority.honest_snapshot(),
        // Changes of another tenant under the own name.
        5 => BoundSnapshot { tenants: own(), ..bound_snapshot(authority, seq, both()) }
            .sign(key)
            .expect("signed"),
        _ => good.sign(key).expect("signed"),
    };
    if bend == 6 {
        let place = usize::from(draw.u16()) % bytes.len();
        bytes[place] ^= 1 << draw.below(8);
    }
    let pin = keys().root.public().thumbprint();
    let taken = Taken { now: at(NOW), wall: at(NOW), heard: None };
    match state.with_snapshot_of(Some(&own()), &bytes, &pin, taken) {
        Ok(next) => {
            note(("snapshot", bend, next.seq() == state.seq()));
            assert!(matches!(bend, 0 | 7), "a bent snapshot was taken: {bend}");
            assert!(next.seq() == seq && seq >= state.seq());
            nothing_moved_back(state, &next, true);
            next
        }
        Err(refusal) => {
            note(("snapshot", bend, refusal.as_str()));
            let older = matches!(refusal, TrustRefusal::Older | TrustRefusal::Order);
            assert!(older || !matches!(bend, 0 | 7), "a good snapshot was refused: {refusal}");
            state.clone()
        }
    }
}

fn view(authority: &Authority, after: u64, seq: u64, tenants: &TenantSet) -> View {
    let within = authority.events_behind(after).take_while(|(number, ..)| *number <= seq);
    let included = within.filter(|(.., tenant)| tenants.contains(tenant));
    View {
        tenants: tenants.id(),
        after,
        after_head: authority.head_at(after),
        seq,
        head: authority.head_at(seq),
        time: at(NOW - 100 + seq),
        included: included.map(|(_, event, _)| EventHash::of(event)).collect(),
    }
}

fn events(authority: &Authority, after: u64, tenants: &TenantSet) -> Vec<Vec<u8>> {
    let included = authority.events_behind(after).filter(|(.., tenant)| tenants.contains(tenant));
    included.map(|(_, event, _)| event.clone()).collect()
}

fn honest(authority: &Authority, after: u64) -> BoundFeed {
    let seq = authority.seq();
    let view = match seq > after {
        true => view(authority, after, seq, &own()).sign(&keys().root).expect("signed"),
        false => Vec::new(),
    };
    let heartbeat = authority.heartbeat(seq, authority.head_at(seq));
    BoundFeed { view, feed: Feed { events: events(authority, after, &own()), heartbeat } }
}

fn answer(authority: &Authority, after: u64) -> FeedAnswer {
    FeedAnswer::Bound(honest(authority, after))
}

/// An answer that was altered under way, how many of its events are good, and whether all of it is.
fn bent(draw: &mut Draw<'_>, authority: &Authority, after: u64) -> (BoundFeed, usize, bool) {
    let mut bound = honest(authority, after);
    let (count, seq) = (bound.feed.events.len(), authority.seq());
    if bound.view.is_empty() {
        // Events that no view vouches for.
        if draw.one_in(2) {
            bound.feed.events = events(authority, 0, &own());
            return (bound, 0, false);
        }
        return (bound, 0, true);
    }
    let resign = |view: View| view.sign(&keys().root).expect("signed");
    match draw.below(12) {
        1 if count > 0 => {
            let place = draw.below(count);
            bound.feed.events.remove(place);
            // An event that is the same as the next one would be taken for it.
            (bound, place, false)
        }
        2 if count > 1 => {
            let place = draw.below(count - 1);
            bound.feed.events.swap(place, place + 1);
            (bound, place, false)
        }
        3 if count > 0 => {
            let place = draw.below(count);
            let at = usize::from(draw.u16()) % bound.feed.events[place].len();
            bound.feed.events[place][at] ^= 1 << draw.below(8);
            (bound, place, false)
        }
        4 => {
            let at = usize::from(draw.u16()) % bound.view.len();
            bound.view[at] ^= 1 << draw.below(8);
            (bound, 0, false)
        }
        5 => {
            let same = view(authority, after, seq, &own());
            bound.view = same.sign(&keys().other_root).expect("signed");
            (bound, 0, false)
        }
        // Good views, for others or of another part of the feed.
        6 => {
            let tenants = if draw.one_in(2) { other() } else { both() };
            bound.view = resign(view(authority, after, seq, &tenants));
            bound.feed.events = events(authority, after, &tenants);
            (bound, 0, false)
        }
        7 if after > 0 => {
            bound.view = resign(view(authority, after - 1, seq, &own()));
            bound.feed.events = events(authority, after - 1, &own());
            (bound, 0, false)
        }
        8 => {
            bound.view = Vec::new();
            (bound, 0, count == 0)
        }
        9 => {
            bound.feed.events.extend(events(authority, 0, &other()).into_iter().take(1));
            (bound, count, false)
        }
        10 => {
            bound.view = bound.feed.heartbeat.clone();
            (bound, 0, false)
        }
        11 => {
            bound.feed.heartbeat = draw.bytes(40).to_vec();
            (bound, count, false)
        }
        _ => (bound, count, true),
    }
}

fn take_view(draw: &mut Draw<'_>, state: &TrustState, authority: &Authority) -> TrustState {
    if draw.one_in(8) {
        // An answer for readers of all tenants.
        let all = FeedAnswer::All(authority.honest_feed(state.seq()));
        let applied = state.with_answer(&all, &NONCE);
        assert!(state.is_empty() || applied.refused == Some(TrustRefusal::Tenants));
        assert!(state.is_empty() || applied.taken == 0 && !applied.beat);
        return state.clone();
    }
    let (bound, good, all) = bent(draw, authority, state.seq());
    let through = FeedAnswer::from_cbor(&bound.to_cbor());
    let answer = FeedAnswer::Bound(bound);
    assert!(through.is_ok_and(|read| read == answer), "an answer came back different");
    let applied = state.with_answer(&answer, &NONCE);
    note(("view", applied.refused.map(TrustRefusal::as_str), applied.taken.min(4), applied.beat));
    if state.is_empty() {
        assert!(applied.taken == 0 && !applied.beat && applied.refused.is_some());
        return state.clone();
    }
    assert_eq!(applied.taken, good, "{:?}", applied.refused);
    assert!(!all || applied.refused.is_none(), "{:?}", applied.refused);
    assert!(!applied.beat || applied.state.seq() == authority.seq(), "confirmed with a gap");
    assert!(applied.state.confirmed_at() == state.confirmed_at() || applied.beat);
    nothing_moved_back(state, &applied.state, false);
    applied.state
}

/// The verifier stands on the line, knows of its tenants what an honest snapshot of its place says, and of others nothing.
fn knows_what_is_said(state: &TrustState, authority: &Authority) {
    if state.is_empty() {
        return;
    }
    assert_eq!(state.head(), authority.head_at(state.seq()), "another past");
    let said = snapshot_of(&empty(), authority, state.seq());
    for name in TENANTS {
        let (id, is_own) = (tenant(name), name == TENANTS[0]);
        assert_eq!(state.tenant(name).is_some(), is_own);
        assert_eq!(state.tenant(name).map(|t| t.suspended), said.tenant(name).map(|t| t.suspended));
        for number in 0..4 {
            let epoch = state.group_epoch(&id, number);
            assert!(epoch >= said.group_epoch(&id, number) && (is_own || epoch == 0));
        }
        for device in &DEVICES[..AGED] {
            let epoch = state.device_epoch(&id, device);
            assert!(epoch >= said.device_epoch(&id, device) && (is_own || epoch == 0));
        }
    }
    let [_, foreign] = issuers();
    assert!(state.issuer_keys(foreign.public().key_id()).is_empty(), "a key of another tenant");
}

/// Raw bytes and tapes.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let authority = Authority::new();
    let root = &keys().root;
    let view = view(&authority, 0, authority.seq(), &own()).sign(root).expect("signed");
    let snapshot = bound_snapshot(&authority, authority.seq(), own()).sign(root).expect("signed");
    let mut inputs = vec![
        [vec![0], honest(&authority, 0).to_cbor()].concat(),
        [vec![0], authority.honest_feed(0).to_cbor()].concat(),
        [vec![1], view].concat(),
        [vec![1], snapshot].concat(),
    ];
    for bend in 0..12u8 {
        inputs.push([vec![2, 0, 0], [3, 0, 1, 2, 1, 1, 3, 1, bend, 5, 9].repeat(6)].concat());
        inputs.push(vec![2, bend & 1, bend % 8, 3, 1, bend, 4, 5, 1, 7, bend, 2, 2]);
    }
    numbered(inputs)
}
