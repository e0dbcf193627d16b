use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::limits::ROOT_LINKS;
use crate::time::UnixSeconds;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn name(seed: u8) -> Thumbprint {
    key(seed).public().thumbprint()
}

fn roots(online: u8, offline: Option<u8>) -> Roots {
    Roots { online: name(online), offline: offline.map(name) }
}

/// A link from this set, signed by those of the keys that it asks for.
fn link(set: &RootSet, to: Roots, by: &[u8]) -> Vec<u8> {
    let mut link = RootLink::new(set.next(to, UnixSeconds::new(7), false));
    for seed in by {
        let _ = link.sign(&key(*seed));
    }
    link.to_cbor()
}

fn taken(set: &RootSet, link: &[u8]) -> Result<RootSet, TrustError> {
    set.step(&RootLink::from_cbor(link)?)
}

#[test]
fn a_link_needs_the_old_authority_and_every_new_key() {
    let alone = RootSet::pinned(roots(1, None));
    let set = taken(&alone, &link(&alone, roots(2, None), &[1, 2])).unwrap();
    assert_eq!((set.number(), set.roots()), (1, roots(2, None)));
    for by in [&[1][..], &[2], &[]] {
        assert_eq!(taken(&alone, &link(&alone, roots(2, None), by)), Err(TrustError::Signature));
    }
    // An offline root comes in by the online root and itself.
    for (by, good) in [(&[1, 9][..], true), (&[1], false), (&[9], false)] {
        assert_eq!(taken(&alone, &link(&alone, roots(1, Some(9)), by)).is_ok(), good, "{by:?}");
    }
}

#[test]
fn a_stolen_online_root_moves_no_set_with_an_offline_root() {
    let both = RootSet::pinned(roots(1, Some(9)));
    // Its own successor, another offline root, none: all that the thief of 1 can sign, with keys 5 and 6 of his own.
    for to in
        [roots(5, Some(9)), roots(1, None), roots(5, None), roots(1, Some(6)), roots(5, Some(6))]
    {
        let forged = link(&both, to, &[1, 5, 6]);
        assert_eq!(taken(&both, &forged), Err(TrustError::Signature), "{to:?}");
    }
    // The offline root alone replaces the online one, without a word of the stolen key.
    let replaced = taken(&both, &link(&both, roots(2, Some(9)), &[9, 2])).unwrap();
    assert_eq!(replaced.roots(), roots(2, Some(9)));
    // And the former online root moves nothing any more.
    let forged = link(&replaced, roots(1, Some(9)), &[1]);
    assert_eq!(taken(&replaced, &forged), Err(TrustError::Signature));
    // Another offline root needs both.
    assert!(taken(&both, &link(&both, roots(1, Some(8)), &[1, 8])).is_err());
    assert!(taken(&both, &link(&both, roots(1, Some(8)), &[1, 8, 9])).is_ok());
}

/// Six links: the line of an honest service.
fn line() -> (RootSet, Vec<Vec<u8>>, Vec<RootSet>) {
    let pinned = RootSet::pinned(roots(1, None));
    let steps: [(Roots, &[u8]); 6] = [
        (roots(2, None), &[1, 2]),
        (roots(2, Some(9)), &[2, 9]),
        (roots(3, Some(9)), &[9, 3]),
        (roots(3, Some(8)), &[9, 8, 3]),
        (roots(4, Some(8)), &[8, 4]),
        (roots(2, Some(8)), &[8, 2]),
    ];
    let (mut sets, mut links) = (vec![pinned], Vec::new());
    for (to, by) in steps {
        let set = *sets.last().unwrap();
        links.push(link(&set, to, by));
        sets.push(taken(&set, links.last().unwrap()).unwrap());
    }
    (pinned, links, sets)
}

#[test]
fn a_verifier_that_was_away_catches_up_and_a_new_one_finds_its_place() {
    let (pinned, links, sets) = line();
    let last = *sets.last().unwrap();
    for set in &sets {
        assert_eq!(set.follow(&links), Ok(last), "from {}", set.number());
    }
    assert_eq!(pinned.follow(&links[..3]), Ok(sets[3]));
    for (pins, place) in [
        (roots(3, None), 3),
        (roots(3, Some(9)), 3),
        (roots(3, Some(8)), 4),
        (roots(4, Some(8)), 5),
        (roots(2, Some(9)), 2),
    ] {
        let found = RootSet::pinned(pins).follow(&links[..place]);
        assert_eq!(found.map(|set| set.number()), Ok(place as u64), "{pins:?}");
        assert_eq!(RootSet::pinned(pins).follow(&links), Ok(last));
    }
    for foreign in [roots(5, None), roots(3, Some(6)), roots(1, Some(9))] {
        assert_eq!(RootSet::pinned(foreign).follow(&links), Err(TrustError::Root), "{foreign:?}");
    }
    assert_eq!(pinned.follow(&vec![links[0].clone(); ROOT_LINKS + 1]), Err(TrustError::TooLarge));
}

/// Any order of any links, honest, old, or forged with every key but the authority of the moment: the number never falls,
/// and every set that is reached is one of the honest line.
#[test]
fn no_sequence_of_links_moves_a_set_back_or_to_one_without_authority() {
    let (pinned, links, sets) = line();
    let mut forged = Vec::new();
    for set in &sets {
        for to in
            [roots(5, None), roots(1, None), roots(5, Some(6)), roots(2, None), roots(1, Some(6))]
        {
            let authority = set.roots().offline.unwrap_or(set.roots().online);
            let by: Vec<u8> = (1..=9).filter(|seed| name(*seed) != authority).collect();
            forged.push(link(set, to, &by));
        }
    }
    let all: Vec<&Vec<u8>> = links.iter().chain(&forged).collect();
    let mut draw = 1u64;
    let mut number = |below: usize| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) as usize % below
    };
    let mut reached = [false; 7];
    for _ in 0..300 {
        let mut set = pinned;
        for _ in 0..24 {
            let some: Vec<Vec<u8>> = match number(3) {
                0 => links[number(6)..].to_vec(),
                1 => links[..=number(6)].to_vec(),
                _ => (0..number(5)).map(|_| all[number(all.len())].clone()).collect(),
            };
            let before = set;
            set = set.follow(&some).unwrap_or(set);
            assert!(set.number() >= before.number());
            assert_eq!(set, sets[usize::try_from(set.number()).unwrap()]);
        }
        reached[usize::try_from(set.number()).unwrap()] = true;
    }
    assert!(reached[6]);
}

#[test]
fn damaged_links_are_refused() {
    let (pinned, links, _) = line();
    for at in 0..links[0].len() {
        let mut damaged = links[0].clone();
        damaged[at] ^= 1;
        assert!(pinned.follow(&[damaged]).is_err(), "{at}");
    }
    let same = RootStep {
        to: Roots { online: name(1), offline: Some(name(1)) },
        ..pinned.next(roots(1, None), UnixSeconds::new(0), false)
    };
    let mut link = RootLink::new(same);
    assert!(link.sign(&key(1)));
    assert_eq!(RootLink::from_cbor(&link.to_cbor()), Err(TrustError::Malformed));
    assert!(!link.sign(&key(5)), "it is asked of no other");
}

#[test]
fn a_snapshot_without_links_is_as_before() {
    let (_, links, _) = line();
    let snapshot = vec![0x82, 1, 2];
    assert_eq!(LinkedSnapshot::write(&[], snapshot.clone()), snapshot);
    assert_eq!(LinkedSnapshot::read(&snapshot), Ok((Vec::new(), snapshot.as_slice())));
    let linked = LinkedSnapshot::write(&links, snapshot.clone());
    assert_eq!(LinkedSnapshot::read(&linked), Ok((links, snapshot.as_slice())));
    assert!(LinkedSnapshot::read(&linked[..linked.len() - 1]).is_err());
}

#[test]
fn a_request_begins_at_the_end_of_a_line_that_began_without_an_offline_root() {
    let (zero, time) = (RootSet::pinned(roots(1, None)), UnixSeconds::new(7));
    let first = link(&zero, roots(1, Some(9)), &[1, 9]);
    let one = taken(&zero, &first).unwrap();
    let asked = |links: &[Vec<u8>], set: &RootSet, to: Roots, by: &[u8]| {
        let mut link = RootLink::new(set.next(to, time, true));
        for seed in by {
            let _ = link.sign(&key(*seed));
        }
        RootRequest { links: links.to_vec(), link }.begins()
    };
    let line = vec![first];
    assert_eq!(asked(&[], &zero, roots(1, Some(9)), &[1]), Ok(zero));
    // The old offline root and the next one sign where they are.
    assert_eq!(asked(&line, &one, roots(2, Some(8)), &[2]), Ok(one));
    assert_eq!(asked(&line, &one, roots(2, Some(9)), &[]), Err(TrustError::Signature));
    assert_eq!(asked(&[], &zero, roots(1, Some(9)), &[]), Err(TrustError::Signature));
    // Links that are left out, that lead elsewhere, or that begin with an offline root out of nowhere.
    for (links, set) in [
        (vec![], one),
        (line.clone(), zero),
        (line, taken(&one, &link(&one, roots(1, None), &[1, 9])).unwrap()),
        (vec![], RootSet::pinned(roots(1, Some(9)))),
    ] {
        assert_eq!(asked(&links, &set, roots(2, Some(9)), &[1, 2]), Err(TrustError::Order));
    }
    let both = RootSet::pinned(roots(1, Some(9)));
    let links = vec![link(&both, roots(2, Some(9)), &[2, 9])];
    let set = both.follow(&links).unwrap();
    assert_eq!(asked(&links, &set, roots(3, Some(9)), &[3]), Err(TrustError::Order));
}
