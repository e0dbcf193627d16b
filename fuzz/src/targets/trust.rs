//! The trust feed, with the root key inside: an authority makes snapshots, events and heartbeats, the input bends some
//! of them, and a verifier follows. Nothing unsigned or out of order is taken, nothing ever moves back, and a reader
//! that followed the events knows what the snapshot says.

pub(super) mod authority;
mod raw;

use tessera_agent::trust::{TrustRefusal, TrustState};
use tessera_token::chain::TrustView;
use tessera_token::ids::Audience;
use tessera_token::trust::{Feed, Heartbeat};

use super::numbered;
use super::world::{at, keys, tenant, AUDIENCE, NOW};
use crate::draw::Draw;
use crate::signal::note;
use authority::{Authority, DEVICES, NONCE, TENANTS};

/// Runs one input: a byte that chooses between raw bytes and a tape.
pub fn target(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 8 {
        kind @ 0..=3 => raw::target(kind, rest),
        _ => follow(&mut Draw::new(rest)),
    }
}

fn follow(draw: &mut Draw<'_>) {
    let mut authority = Authority::new();
    let empty = TrustState::empty(Audience::parse(AUDIENCE).expect("an audience"));
    let mut state = take_snapshot(draw, &empty, &mut authority);
    for _ in 0..24 {
        if draw.is_empty() {
            break;
        }
        for _ in 0..draw.below(4) {
            authority.change(draw);
        }
        state = match draw.below(6) {
            0 => take_snapshot(draw, &state, &mut authority),
            _ => take_feed(draw, &state, &authority),
        };
    }
    catch_up(&state, &authority);
}

fn take_snapshot(draw: &mut Draw<'_>, state: &TrustState, authority: &mut Authority) -> TrustState {
    let (bytes, good, valid_until) = authority.snapshot(draw);
    let now = if draw.one_in(8) { at(valid_until + u64::from(draw.u8() & 1)) } else { at(NOW) };
    let pin = keys().root.public().thumbprint();
    match state.with_snapshot(&bytes, &pin, now) {
        Ok(next) => {
            note(("snapshot", next.seq() == state.seq()));
            assert!(good, "a bent snapshot was taken");
            assert!(now.get() <= valid_until, "a snapshot was taken after its end");
            assert!(next.seq() >= state.seq(), "an older snapshot was taken");
            nothing_moved_back(state, &next, true);
            next
        }
        Err(refusal) => {
            note(("snapshot", refusal.as_str()));
            let why = matches!(
                refusal,
                TrustRefusal::Expired | TrustRefusal::Older | TrustRefusal::Order
            );
            assert!(why || !good, "a good snapshot was refused: {refusal}");
            assert!(refusal != TrustRefusal::Expired || now.get() > valid_until);
            state.clone()
        }
    }
}

fn take_feed(draw: &mut Draw<'_>, state: &TrustState, authority: &Authority) -> TrustState {
    let (feed, good) = authority.feed(draw, state.seq());
    let through = Feed::from_cbor(&feed.to_cbor());
    assert!(through.is_ok_and(|read| read == feed), "a feed came back different");
    let applied = state.with_feed(&feed, &NONCE);
    let next = applied.state;
    if let Some(refused) = applied.refused {
        note(("feed", refused.as_str(), applied.taken.min(3)));
    }
    note(("feed", applied.taken.min(6), applied.more, applied.beat));
    assert!(applied.taken <= good, "{} events were taken, {good} were good", applied.taken);
    assert!(state.is_empty() || applied.taken == good, "good events were not taken");
    assert_eq!(applied.effects.len(), applied.taken);
    assert_eq!(next.seq(), state.seq() + applied.taken as u64);
    if next.seq() > 0 && !next.is_empty() {
        assert_eq!(next.head(), authority.head_at(next.seq()), "another past");
    }
    assert!(!applied.beat || !applied.more);
    let root = keys().root.public();
    let answers = Heartbeat::open_for(&feed.heartbeat, &NONCE, &root).is_ok();
    assert!(answers || !applied.beat, "a heartbeat that answers no nonce confirmed something");
    assert!(answers || next.confirmed_at() == state.confirmed_at());
    nothing_moved_back(state, &next, false);
    next
}

/// Epochs stay or rise; keys stay or fall; what was revoked stays so (unless signed time let it go).
pub(super) fn nothing_moved_back(before: &TrustState, after: &TrustState, snapshot: bool) {
    assert!(after.trusted_at() >= before.trusted_at(), "signed time went back");
    for name in TENANTS {
        let id = tenant(name);
        if let (Some(old), Some(new)) = (before.tenant(name), after.tenant(name)) {
            assert!(new.epoch >= old.epoch, "the epoch of {name} went back");
        }
        for number in 0..4 {
            assert!(after.group_epoch(&id, number) >= before.group_epoch(&id, number));
        }
        for device in DEVICES {
            let (old, new) = (before.device_epoch(&id, device), after.device_epoch(&id, device));
            assert!(new >= old || snapshot, "the epoch of {device} went back");
        }
    }
    for key in authority::issuers() {
        let kid = key.public().key_id();
        for old in before.issuer_keys(kid) {
            let same = after.issuer_keys(kid).iter().find(|new| new.tenant == old.tenant);
            assert!(same.is_some() || snapshot, "a key vanished");
            let accepts = same.is_some_and(|new| new.state.accepts());
            assert!(old.state.accepts() || !accepts, "a key that was cut is accepted again");
        }
    }
}

/// At the end: an honest feed, and what was followed is what a newcomer reads from the snapshot.
fn catch_up(state: &TrustState, authority: &Authority) {
    if state.is_empty() {
        return;
    }
    let applied = state.with_feed(&authority.honest_feed(state.seq()), &NONCE);
    assert!(applied.refused.is_none() && applied.beat, "{:?}", applied.refused);
    let follower = applied.state;
    let empty = TrustState::empty(Audience::parse(AUDIENCE).expect("an audience"));
    let pin = keys().root.public().thumbprint();
    let newcomer = empty.with_snapshot(&authority.honest_snapshot(), &pin, at(NOW));
    let Ok(newcomer) = newcomer else { panic!("an honest snapshot was refused") };
    assert_eq!(follower.seq(), newcomer.seq());
    assert!(follower.head() == newcomer.head());
    for name in TENANTS {
        let id = tenant(name);
        assert_eq!(follower.tenant(name), newcomer.tenant(name));
        for number in 0..4 {
            assert_eq!(follower.group_epoch(&id, number), newcomer.group_epoch(&id, number));
        }
        for device in &DEVICES[..authority::AGED] {
            assert_eq!(follower.device_epoch(&id, device), newcomer.device_epoch(&id, device));
        }
    }
    note(("caught up", follower.device_count().min(3), follower.token_count().min(3)));
}

/// Raw messages of every kind, and tapes.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut inputs = raw::seeds();
    for kind in 0..5u8 {
        inputs
            .push(vec![4, 0, 0, 0, 0, 2, kind, 0, 1, 1, 1, 1, 1, 2, kind, 1, 2, 3, 4, 5, 6, 7, 8]);
        inputs.push([vec![4, 0, 0], [3, kind, 1, kind, 2, 5, 5, 5, 5].repeat(12)].concat());
    }
    for bend in 0..8u8 {
        inputs.push(vec![4, bend, 1, 2, 3, 4, 5, 6, 7, 8]);
        inputs.push([vec![4, 0, 0, 0, 0], vec![2, 3, 0, 9, 0, 0, 0, 5, bend, 1]].concat());
    }
    numbered(inputs)
}
