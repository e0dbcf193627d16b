use std::collections::{HashMap, HashSet};

use tessera_runtime::random::{number, SeededRandom};
use tessera_token::key::SecretKey;

use super::{is_before_restoration, step, successor, FamilyKey, Step};
use crate::records::families::{FamilyRecord, Place, Used};

const WORLDS: u64 = 300;
const ACTS: u64 = 120;

fn begun(line: u64) -> FamilyRecord {
    FamilyRecord {
        tenant: "t".to_owned(),
        device: "d".to_owned(),
        scope: None,
        audience: "mqtt".to_owned(),
        epoch: 0,
        created: 1,
        ends: 2,
        place: Place { line, number: 1 },
        used: None,
        live: Vec::new(),
    }
}

fn rotated(row: &FamilyRecord, shown: Place, nonce_hash: [u8; 32], floor: u64) -> FamilyRecord {
    let used = Used { place: shown, nonce_hash, answer: Vec::new(), ends: 9 };
    FamilyRecord { place: successor(row, shown, floor), used: Some(used), ..row.clone() }
}

/// A family as a person would keep it: the list of tokens that were given, each with the nonce that used it. It knows nothing
/// of places.
#[derive(Clone)]
struct Model {
    given: Vec<Place>,
    used: HashMap<usize, u8>,
}

impl Model {
    fn expected(&self, shown: usize, nonce: u8) -> Step {
        let last = self.given.len() - 1;
        match self.used.get(&shown) {
            None if shown == last => Step::Next,
            Some(known) if *known == nonce && shown + 1 == last => Step::Again,
            _ => Step::Reused,
        }
    }
}

/// Devices and thieves show any token that was ever given, with nonces of few values; replies are lost, since the same request
/// comes again; the service restarts, since nothing but the row is kept.
#[test]
fn rotation_is_that_of_a_list_of_tokens() {
    for seed in 0..WORLDS {
        let random = SeededRandom::predictable(seed);
        let draw = |below: usize| usize::try_from(number(&random).unwrap()).unwrap() % below;
        let (mut row, mut floor) = (begun(0), 0);
        let mut model = Model { given: vec![row.place], used: HashMap::new() };
        for act in 0..ACTS {
            let late = model.given.len().saturating_sub(3);
            let shown = match draw(4) {
                0 => draw(model.given.len()),
                _ => late + draw(model.given.len() - late),
            };
            let nonce = u8::try_from(draw(3)).unwrap();
            let (place, hash) = (model.given[shown], [nonce; 32]);
            let found = step(&row, place, &hash);
            assert_eq!(found, model.expected(shown, nonce), "seed {seed} act {act}");
            if found == Step::Next {
                row = rotated(&row, place, hash, floor);
                model.used.insert(shown, nonce);
                model.given.push(row.place);
            }
            // The floor rises at other occasions too.
            floor += u64::from(draw(10) == 0);
        }
        let each: HashSet<_> = model.given.iter().map(|place| (place.line, place.number)).collect();
        assert_eq!(each.len(), model.given.len(), "each token has one place");
    }
}

/// An older copy comes back, perhaps more than once: no place is given twice over all lines, the newest token goes on, and all
/// that it follows are used.
#[test]
fn a_copy_that_comes_back_gives_no_token_twice() {
    for seed in 0..WORLDS {
        let random = SeededRandom::predictable(seed);
        let draw = |below: usize| usize::try_from(number(&random).unwrap()).unwrap() % below;
        let (mut row, mut floor) = (begun(0), 0);
        let mut given = vec![row.place];
        let mut copies = vec![row.clone()];
        for act in 0..ACTS {
            match draw(6) {
                0 => copies.push(row.clone()),
                1 => {
                    row = copies[draw(copies.len())].clone();
                    // Later than every floor before, as the time is.
                    floor = 1_000 + act;
                    assert!(is_before_restoration(&row, floor));
                }
                _ => {
                    let newest = *given.last().unwrap();
                    let found = step(&row, newest, &[0; 32]);
                    assert!(matches!(found, Step::Next | Step::Beyond), "{found:?}");
                    if found == Step::Beyond {
                        assert!(is_before_restoration(&row, floor), "seed {seed} act {act}");
                    }
                    row = rotated(&row, newest, [0; 32], floor);
                    assert!(!is_before_restoration(&row, floor));
                    for old in &given {
                        assert_eq!(step(&row, *old, &[1; 32]), Step::Reused);
                        assert!(row.place > *old);
                    }
                    given.push(row.place);
                }
            }
        }
        let key = FamilyKey::of(&SecretKey::from_seed(&[1; 32]));
        let texts = given.iter().map(|place| key.make(&[7; 16], *place).expose().clone());
        assert_eq!(texts.collect::<HashSet<_>>().len(), given.len());
    }
}
