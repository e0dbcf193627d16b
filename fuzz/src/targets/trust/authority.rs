//! The service's side of the feed, honest or bent.

use tessera_token::chain::{IssuerKey, KeyState, StalenessBudget, TenantTrust};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{GroupId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::trust::{
    Change, DeviceEpoch, Event, EventHash, Feed, FeedNonce, GroupEpoch, Heartbeat, RevokedToken,
    Snapshot,
};

use crate::draw::Draw;
use crate::targets::world::{at, device, keys, tenant, NOW};

/// The nonce of the verifier.
pub(in crate::targets) const NONCE: FeedNonce = FeedNonce::from_bytes([5; 16]);
pub(in crate::targets) const TENANTS: [&str; 2] = ["acme", "rival"];
pub(in crate::targets) const DEVICES: [&str; 3] = ["d-1", "d-2", "d-3"];
/// The device whose epochs may be so old that they are forgotten.
pub(in crate::targets) const AGED: usize = 2;

pub(in crate::targets) fn issuers() -> [&'static SecretKey; 2] {
    [&keys().issuer, &keys().rival]
}

/// All that was ever said, in order.
pub(in crate::targets) struct Authority {
    events: Vec<Vec<u8>>,
    changes: Vec<Change>,
}

impl Authority {
    pub(in crate::targets) fn new() -> Self {
        let mut authority = Self { events: Vec::new(), changes: Vec::new() };
        for (name, key) in TENANTS.into_iter().zip(issuers()) {
            authority.say(Change::Tenant(trust(name, 0, false)));
            authority.say(Change::Key(issuer_key(name, key, KeyState::Active)));
        }
        authority
    }

    pub(in crate::targets) fn seq(&self) -> u64 {
        self.events.len() as u64
    }

    pub(in crate::targets) fn head_at(&self, seq: u64) -> EventHash {
        let place = usize::try_from(seq).ok().and_then(|seq| seq.checked_sub(1));
        place.and_then(|place| self.events.get(place)).map(|e| EventHash::of(e)).unwrap_or_default()
    }

    fn say(&mut self, change: Change) {
        let event = self.event(self.seq() + 1, self.head_at(self.seq()), change.clone());
        self.events.push(event.sign(&keys().root).expect("an event can be signed"));
        self.changes.push(change);
    }

    fn event(&self, seq: u64, previous: EventHash, change: Change) -> Event {
        Event { seq, previous, time: at(NOW - 100 + seq), change }
    }

    /// Says something new.
    pub(in crate::targets) fn change(&mut self, draw: &mut Draw<'_>) {
        let change = any_change(draw);
        self.say(change);
    }

    /// A snapshot, whether it is good, and until when.
    pub(in crate::targets) fn snapshot(&self, draw: &mut Draw<'_>) -> (Vec<u8>, bool, u64) {
        let seq = match draw.below(4) {
            3 => self.seq().saturating_sub(u64::from(draw.u8() & 3)),
            _ => self.seq(),
        };
        let valid_until = NOW + u64::from(draw.u8());
        let snapshot = self.snapshot_at(seq, valid_until);
        let bend = draw.below(8);
        let key = if bend == 7 { &keys().other_root } else { &keys().root };
        let mut bytes = snapshot.sign(key).expect("a snapshot can be signed");
        if bend == 6 {
            let place = usize::from(draw.u16()) % bytes.len();
            bytes[place] ^= 1 << draw.below(8);
        }
        (bytes, bend < 6, valid_until)
    }

    pub(in crate::targets) fn snapshot_at(&self, seq: u64, valid_until: u64) -> Snapshot {
        let state = self.changes.iter().take(seq as usize).cloned().collect();
        Snapshot {
            seq,
            head: self.head_at(seq),
            time: at(NOW - 100 + seq),
            valid_until: at(valid_until),
            state,
        }
    }

    /// The signed events behind a number, each with its number and the tenant that it concerns.
    pub(in crate::targets) fn events_behind(
        &self,
        after: u64,
    ) -> impl Iterator<Item = (u64, &Vec<u8>, &TenantId)> {
        let behind = self.events.iter().zip(&self.changes).enumerate().skip(after as usize);
        behind.map(|(at, (event, change))| (at as u64 + 1, event, change.tenant()))
    }

    pub(in crate::targets) fn honest_snapshot(&self) -> Vec<u8> {
        let snapshot = self.snapshot_at(self.seq(), NOW + 1000);
        snapshot.sign(&keys().root).expect("a snapshot can be signed")
    }

    pub(in crate::targets) fn honest_feed(&self, after: u64) -> Feed {
        let events = self.events.iter().skip(after as usize).cloned().collect();
        Feed { events, heartbeat: self.heartbeat(self.seq(), self.head_at(self.seq())) }
    }

    pub(in crate::targets) fn heartbeat(&self, seq: u64, head: EventHash) -> Vec<u8> {
        self.answer(seq, head, &NONCE)
    }

    fn answer(&self, seq: u64, head: EventHash, nonce: &FeedNonce) -> Vec<u8> {
        let beat = Heartbeat { seq, head, time: at(NOW) };
        beat.answer(nonce, &keys().root).expect("a heartbeat can be signed")
    }

    /// A recorded answer: a heartbeat that answers no nonce, or another.
    fn recorded(&self, first: bool) -> Vec<u8> {
        let (seq, head) = (self.seq(), self.head_at(self.seq()));
        let beat = Heartbeat { seq, head, time: at(NOW) };
        match first {
            true => beat.sign(&keys().root).expect("a heartbeat can be signed"),
            false => self.answer(seq, head, &FeedNonce::from_bytes([1; 16])),
        }
    }

    /// An answer of the feed, and how many of its events are good for a reader at `after`.
    pub(in crate::targets) fn feed(&self, draw: &mut Draw<'_>, after: u64) -> (Feed, usize) {
        let start = match draw.below(8) {
            7 => after.saturating_sub(1),
            6 => after + 1,
            _ => after,
        };
        let mut feed = self.honest_feed(start);
        let mut good = if start == after { feed.events.len() } else { 0 };
        if draw.one_in(3) && !feed.events.is_empty() {
            let place = draw.below(feed.events.len());
            good = good.min(place);
            self.bend(draw, &mut feed, place, start);
        }
        if draw.one_in(4) {
            feed.heartbeat = match draw.below(6) {
                4 => self.recorded(true),
                5 => self.recorded(false),
                0 => self.heartbeat(self.seq() + 1, EventHash::default()),
                1 => self.heartbeat(self.seq(), EventHash::default()),
                2 => feed.events.first().cloned().unwrap_or_default(),
                _ => draw.bytes(40).to_vec(),
            };
        }
        (feed, good)
    }

    fn bend(&self, draw: &mut Draw<'_>, feed: &mut Feed, place: usize, start: u64) {
        let seq = start + place as u64 + 1;
        let change = any_change(draw);
        let event = self.event(seq, self.head_at(seq - 1), change);
        let event = match draw.below(6) {
            0 => Event { seq: seq + 1, ..event }.sign(&keys().root),
            1 => Event { previous: EventHash::from_bytes([9; 32]), ..event }.sign(&keys().root),
            2 => event.sign(&keys().other_root),
            3 => Ok(self.heartbeat(seq, self.head_at(seq))),
            4 => {
                feed.events.truncate(place);
                return;
            }
            _ => {
                let event = &mut feed.events[place];
                let at = usize::from(draw.u16()) % event.len();
                event[at] ^= 1 << draw.below(8);
                return;
            }
        };
        feed.events[place] = event.expect("an event can be signed");
    }
}

fn trust(name: &str, epoch: u64, suspended: bool) -> TenantTrust {
    let staleness = StalenessBudget::default();
    TenantTrust { tenant: tenant(name), epoch, suspended, bearer: false, staleness }
}

fn issuer_key(name: &str, key: &SecretKey, state: KeyState) -> IssuerKey {
    let (not_before, not_after) = (at(NOW - 1000), at(NOW + 86_400));
    IssuerKey { tenant: tenant(name), key: key.public(), not_before, not_after, state }
}

fn any_change(draw: &mut Draw<'_>) -> Change {
    let who = draw.below(2);
    let name = TENANTS[who];
    match draw.below(5) {
        0 => Change::Tenant(trust(name, u64::from(draw.u8()), draw.one_in(4))),
        1 => Change::Key(issuer_key(name, issuers()[who], *draw.pick(&KeyState::ALL))),
        2 => Change::Group(GroupEpoch {
            tenant: tenant(name),
            group: GroupId::parse("g").expect("a group id"),
            number: u64::from(draw.u8() & 3),
            epoch: u64::from(draw.u8()),
            announced_until: draw.one_in(4).then(|| at(NOW + u64::from(draw.u16()))),
        }),
        3 => {
            let which = draw.below(DEVICES.len());
            let old = if which == AGED { 31 * 86_400 } else { 0 };
            Change::Device(DeviceEpoch {
                tenant: tenant(name),
                device: device(DEVICES[which]),
                epoch: u64::from(draw.u8()),
                at: at(NOW - old + u64::from(draw.u16()) * 60),
            })
        }
        _ => Change::Token(RevokedToken {
            token: TokenHash::of(&[draw.u8() & 7]),
            tenant: tenant(name),
            device: device(draw.pick::<&str>(&DEVICES)),
            expires: at(NOW - 200 + u64::from(draw.u8())),
        }),
    }
}
