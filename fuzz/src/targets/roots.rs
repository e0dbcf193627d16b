//! Links between root sets: raw bytes, and a tape of changes of the roots with readers that follow them, while a thief of every
//! online root signs links of his own. The offline root is the authority from the first link on, so each reader stays in the
//! honest line, never goes back, and finds the end of the line from wherever it is.

use std::sync::OnceLock;

use tessera_token::cbor::Writer;
use tessera_token::key::{SecretKey, Thumbprint};
use tessera_token::limits::ROOT_LINKS;
use tessera_token::trust::{
    Evidence, LinkedSnapshot, RootLink, RootRequest, RootSet, RootStep, Roots, TrustError,
};

use super::numbered;
use super::world::{at, NOW};
use crate::draw::Draw;
use crate::signal::note;

/// Keys of the tape; the last two are offline roots, and the one before is none of any line.
const KEYS: usize = 8;
const OFFLINE: [usize; 2] = [6, 7];
const FOREIGN: usize = 5;
/// Changes of the roots in one tape.
const CHANGES: usize = 4;

fn key(place: usize) -> &'static SecretKey {
    static KEYS_MADE: OnceLock<Vec<SecretKey>> = OnceLock::new();
    let made = KEYS_MADE.get_or_init(|| {
        (0..KEYS).map(|place| SecretKey::from_seed(&[50 + place as u8; 32])).collect()
    });
    &made[place % KEYS]
}

fn name(place: usize) -> Thumbprint {
    key(place).public().thumbprint()
}

/// Runs one input: raw bytes, or a tape.
pub fn target(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 8 {
        0 => raw_link(rest),
        1 => raw_request(rest),
        2 => raw_snapshot(rest),
        3 => statement(rest),
        _ => follow(&mut Draw::new(rest)),
    }
}

fn raw_link(bytes: &[u8]) {
    match RootLink::from_cbor(bytes) {
        Ok(link) => {
            note(("link", link.missing().len()));
            assert_eq!(link.to_cbor(), bytes, "a link has two forms");
        }
        Err(error) => note(("link", error as u8, bytes.len().min(12))),
    }
}

fn raw_request(bytes: &[u8]) {
    match RootRequest::from_cbor(bytes) {
        Ok(request) => {
            let begins = request.begins().map(|set| set.number()).map_err(|error| error as u8);
            note(("request", request.links.len().min(5), begins));
            assert_eq!(request.to_cbor(), bytes, "a request has two forms");
            assert!(request.links.len() <= ROOT_LINKS);
        }
        Err(error) => note(("request", error as u8, bytes.len().min(12))),
    }
}

fn raw_snapshot(bytes: &[u8]) {
    match LinkedSnapshot::read(bytes) {
        Ok((links, snapshot)) => {
            note(("snapshot", links.len().min(5), snapshot.len().min(5)));
            let set = RootSet::pinned(Roots { online: name(0), offline: None });
            let _ = set.follow(&links);
        }
        Err(error) => note(("snapshot", error as u8, bytes.len().min(12))),
    }
    // Evidence of many roots is read without harm.
    if let Ok(evidence) = Evidence::from_cbor(bytes) {
        let roots: Vec<_> = (0..KEYS).map(|place| key(place).public()).collect();
        note(("evidence", evidence.verify_by(&roots).is_ok()));
    }
}

/// Any bytes as the statement of a link that bears no signature.
fn statement(payload: &[u8]) {
    let mut w = Writer::new();
    w.array(2).bytes(payload).array(0);
    let bytes = w.finish();
    match RootLink::from_cbor(&bytes) {
        Ok(link) => {
            note(("statement", link.step().compromised, link.missing().len()));
            assert_eq!(link.step().to_cbor(), payload, "a statement has two forms");
            let set = RootSet::pinned(link.step().from);
            assert!(set.step(&link).is_err(), "a link without signatures was followed");
        }
        Err(error) => note(("statement", error as u8, payload.len().min(12))),
    }
}

/// The line of the service, and the set at each place of it.
struct Line {
    links: Vec<Vec<u8>>,
    sets: Vec<RootSet>,
}

impl Line {
    /// With the link to the first offline root, which the first online root has signed.
    fn new() -> Self {
        let first = RootSet::pinned(Roots { online: name(0), offline: None });
        let mut line = Self { links: Vec::new(), sets: vec![first] };
        line.change(Roots { online: name(0), offline: Some(name(OFFLINE[0])) }, false);
        line
    }

    fn last(&self) -> RootSet {
        self.sets[self.sets.len() - 1]
    }

    /// A change that all have signed that must. The request for it is one that an offline root signs.
    fn change(&mut self, to: Roots, compromised: bool) {
        let last = self.last();
        if to == last.roots() || self.links.len() > CHANGES {
            return;
        }
        let mut link = RootLink::new(last.next(to, at(NOW), compromised));
        for place in 0..FOREIGN {
            let _ = link.sign(key(place));
        }
        let request = RootRequest { links: self.links.clone(), link: link.clone() };
        assert_eq!(request.begins(), Ok(last), "an honest request is not signed");
        for place in OFFLINE {
            let _ = link.sign(key(place));
        }
        let next = last.step(&link).expect("a whole link leads on");
        self.links.push(link.to_cbor());
        self.sets.push(next);
    }
}

fn follow(draw: &mut Draw<'_>) {
    let mut line = Line::new();
    let mut readers = [line.sets[0], line.sets[1]];
    for _ in 0..16 {
        if draw.is_empty() {
            break;
        }
        match draw.below(3) {
            0 => {
                let online = name(draw.below(FOREIGN));
                let offline = Some(name(*draw.pick(&OFFLINE)));
                line.change(Roots { online, offline }, draw.one_in(2));
            }
            1 => hear(draw, &line, &mut readers),
            _ => forge(draw, &line, &mut readers),
        }
    }
    for reader in readers {
        assert_eq!(reader.follow(&line.links), Ok(line.last()), "a reader does not find the end");
    }
    // A new reader that pins both roots of any set finds the end too. Roots that come back stand at their first place.
    for set in &line.sets {
        let pinned = RootSet::pinned(set.roots());
        let end = pinned.follow(&line.links).expect("a root of the line leads to its end");
        assert_eq!(end, line.last());
    }
    let foreign = RootSet::pinned(Roots { online: name(FOREIGN), offline: None });
    assert_eq!(foreign.follow(&line.links), Err(TrustError::Root));
}

/// A reader hears a part of the honest line.
fn hear(draw: &mut Draw<'_>, line: &Line, readers: &mut [RootSet; 2]) {
    let (from, until) = (draw.below(line.links.len() + 1), draw.below(line.links.len() + 1));
    let part = line.links.get(from..until).unwrap_or_default();
    let reader = &mut readers[draw.below(2)];
    let outcome = reader.follow(part);
    note(("hear", from, until, reader.number(), moved(reader, outcome)));
    take(line, reader, outcome);
}

/// A thief of all online roots signs a link, behind any part of the line and with any statement. He has old signatures too.
fn forge(draw: &mut Draw<'_>, line: &Line, readers: &mut [RootSet; 2]) {
    let place = draw.below(line.sets.len());
    let begins = line.sets[place];
    let to = Roots {
        online: name(draw.below(FOREIGN + 1)),
        offline: Some(name(*draw.pick(&OFFLINE))).filter(|_| !draw.one_in(3)),
    };
    let mut step: RootStep = begins.next(to, at(NOW), draw.one_in(2));
    let bent = draw.below(6);
    match bent {
        0 => step.number = u64::from(draw.u8()),
        1 => step.previous = [draw.u8(); 32],
        2 => step.from.offline = None,
        3 => step.from.online = name(draw.below(FOREIGN + 1)),
        _ => {}
    }
    let mut link = RootLink::new(step);
    for thief in 0..=FOREIGN {
        let _ = link.sign(key(thief));
    }
    // The first set has no offline root: its online root is the authority, and the link to the next is taken.
    let is_authority = place == 0 && step.from.offline.is_none();
    let mut links: Vec<Vec<u8>> = line.links.iter().take(place).cloned().collect();
    links.push(link.to_cbor());
    let request = RootRequest { links: links[..links.len() - 1].to_vec(), link };
    if let Ok(set) = request.begins() {
        assert!(line.sets.contains(&set) || step.from.offline.is_none(), "a line out of nowhere");
    }
    if draw.one_in(2) {
        links.drain(..draw.below(links.len()));
    }
    let reader = &mut readers[1];
    let outcome = reader.follow(&links);
    note(("forge", bent, place, reader.number(), is_authority, moved(reader, outcome)));
    take(line, reader, outcome);
}

/// Whether a reader goes forward; else the error.
fn moved(reader: &RootSet, outcome: Result<RootSet, TrustError>) -> Result<bool, u8> {
    outcome.map(|set| set.number() > reader.number()).map_err(|error| error as u8)
}

/// A reader that has an offline root stays in the line, and goes forward alone.
fn take(line: &Line, reader: &mut RootSet, outcome: Result<RootSet, TrustError>) {
    let Ok(next) = outcome else { return };
    assert!(next.number() >= reader.number(), "a set moved back");
    assert!(line.sets.contains(&next), "a thief of online roots moved a reader: {next:?}");
    *reader = next;
}

/// Links, requests and tapes to begin with.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut line = Line::new();
    line.change(Roots { online: name(1), offline: Some(name(OFFLINE[0])) }, true);
    let last = RootLink::from_cbor(&line.links[1]).expect("a link of the line");
    let request = RootRequest { links: line.links[..1].to_vec(), link: last.clone() };
    let statement = last.step().to_cbor();
    let linked = LinkedSnapshot::write(&line.links, vec![1, 2, 3]);
    let tape = |bytes: &[u8]| [&[4][..], bytes].concat();
    numbered(vec![
        [&[0][..], &line.links[0]].concat(),
        [&[1][..], &request.to_cbor()].concat(),
        [&[2][..], &linked].concat(),
        [&[3][..], &statement].concat(),
        tape(&[0, 1, 0, 1, 1, 0, 9, 0, 2, 1, 2, 0, 5, 1, 1, 0, 0, 1]),
        tape(&[2, 1, 3, 0, 0, 1, 5, 0, 2, 0, 5, 1, 1, 1, 2, 0, 0, 2, 2, 3, 1, 1, 1, 4]),
        tape(&[0, 2, 1, 0, 0, 3, 0, 1, 0, 4, 1, 0, 1, 0, 4, 1, 1, 2, 4, 1, 2, 2, 2, 0, 3]),
    ])
}
