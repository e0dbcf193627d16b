//! Tokens and trust data that differ from good ones in a few places.

use tessera_token::cbor::{Reader, Writer};
use tessera_token::chain::KeyState;
use tessera_token::hash::TokenHash;
use tessera_token::key::SecretKey;

use super::item;
use crate::draw::{interesting, Draw};
use crate::targets::world::{at, claims, keys, World, NOW};

/// The pairs of the claims map: label as encoded, value as encoded.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

const LABELS: [i64; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, -65537];

/// A token signed over whatever its parts became.
pub(super) fn token(draw: &mut Draw<'_>) -> Vec<u8> {
    let mut pairs = good_pairs();
    for _ in 0..draw.below(4) {
        bend_pairs(draw, &mut pairs);
    }
    let payload = if draw.one_in(32) { draw.bytes(200).to_vec() } else { map_of(&pairs) };
    let (protected, unprotected) = header(draw);
    let key: &SecretKey = if draw.one_in(16) { &keys().rival } else { &keys().issuer };
    let mut token = seal(&protected, &unprotected, &payload, key);
    if draw.one_in(12) {
        rub(draw, &mut token);
    }
    token
}

/// A COSE_Sign1 with the tags of a CWT, signed by `key`.
fn seal(protected: &[u8], unprotected: &[u8], payload: &[u8], key: &SecretKey) -> Vec<u8> {
    let signed = item(|w| {
        w.array(4).text("Signature1").bytes(protected).bytes(b"").bytes(payload);
    });
    let signature = key.sign(&signed);
    let mut token = vec![0xd8, 0x3d, 0xd2];
    token.extend(item(|w| {
        w.array(4).bytes(protected).raw(unprotected).bytes(payload).bytes(&signature);
    }));
    token
}

/// A token with nothing bent but, perhaps, its claims.
pub(super) fn plain(payload: &[u8], key: &SecretKey) -> Vec<u8> {
    let kid = key.public().key_id();
    let protected = item(|w| {
        w.map(2).int(1).int(-19).int(4).bytes(kid.as_bytes());
    });
    seal(&protected, &[0xa0], payload, key)
}

/// Changes bytes behind the signer's back.
fn rub(draw: &mut Draw<'_>, token: &mut Vec<u8>) {
    let at = usize::from(draw.u16()) % token.len();
    match draw.below(4) {
        0 => token.truncate(at),
        1 => token.push(draw.u8()),
        2 => token.extend(std::iter::repeat_n(0, 4096)),
        _ => token[at] ^= 1 << draw.below(8),
    }
}

fn header(draw: &mut Draw<'_>) -> (Vec<u8>, Vec<u8>) {
    let kid = match draw.below(16) {
        15 => keys().rival.public().key_id().as_bytes().to_vec(),
        14 => draw.bytes(10).to_vec(),
        _ => keys().issuer.public().key_id().as_bytes().to_vec(),
    };
    let alg = match draw.below(16) {
        15 => -8,
        14 => -7,
        13 => interesting(draw, 0) as i64,
        _ => -19,
    };
    let protected = match draw.below(16) {
        15 => item(|w| {
            w.map(3).int(1).int(alg).int(4).bytes(&kid).int(5).bytes(&[0; 8]);
        }),
        14 => item(|w| {
            w.map(2).int(4).bytes(&kid).int(1).int(alg);
        }),
        13 => item(|w| {
            w.map(1).int(1).int(alg);
        }),
        12 => draw.bytes(24).to_vec(),
        _ => item(|w| {
            w.map(2).int(1).int(alg).int(4).bytes(&kid);
        }),
    };
    let unprotected = match draw.below(16) {
        15 => vec![0xa1, 0x04, 0x41, 0x00],
        14 => vec![0x80],
        _ => vec![0xa0],
    };
    (protected, unprotected)
}

fn good_pairs() -> Pairs {
    let cbor = claims().to_cbor();
    let mut r = Reader::new(&cbor);
    let pairs = r.map().expect("a map");
    (0..pairs)
        .map(|_| (r.item().expect("a label").to_vec(), r.item().expect("a value").to_vec()))
        .collect()
}

fn map_of(pairs: &Pairs) -> Vec<u8> {
    let mut w = Writer::new();
    w.map(pairs.len());
    for (label, value) in pairs {
        w.raw(label).raw(value);
    }
    w.finish()
}

fn bend_pairs(draw: &mut Draw<'_>, pairs: &mut Pairs) {
    let label = item(|w| {
        w.int(*draw.pick(&LABELS));
    });
    let place = pairs.iter().position(|(l, _)| *l == label);
    match (draw.below(8), place) {
        (0, Some(place)) => drop(pairs.remove(place)),
        (1, Some(place)) => pairs.push(pairs[place].clone()),
        (2, _) if !pairs.is_empty() => {
            let (a, b) = (draw.below(pairs.len()), draw.below(pairs.len()));
            pairs.swap(a, b);
        }
        (3, _) => pairs.push((any_item(draw, 0), any_item(draw, 0))),
        (4, Some(place)) => pairs[place].1 = any_item(draw, 0),
        (_, Some(place)) => pairs[place].1 = fitting(draw, &label),
        (_, None) => {
            pairs.push((label.clone(), fitting(draw, &label)));
            if draw.one_in(2) {
                pairs.sort();
            }
        }
    }
    if draw.one_in(2) {
        pairs.sort();
    }
}

/// A value of the right type for the label, and often an acceptable one.
fn fitting(draw: &mut Draw<'_>, label: &[u8]) -> Vec<u8> {
    match label {
        [1] => text(draw, &["acme", "rival", "", "a:b", "nobody"]),
        [2] => text(draw, &["s-0042", "s-0043", "", "a/b", "s-0042~b"]),
        [3] => text(draw, &["mqtt", "other", "", "much-too-long-an-audience"]),
        [4] => uint(draw, NOW + 1),
        [5] => uint(draw, NOW + 60),
        [6] => uint(draw, NOW + 60),
        [7] => {
            let serial = draw.bytes(20).to_vec();
            item(|w| {
                w.bytes(&serial);
            })
        }
        [8] => confirmation(draw),
        [9] => scope(draw),
        _ => epochs(draw),
    }
}

fn text(draw: &mut Draw<'_>, of: &[&str]) -> Vec<u8> {
    let chosen = *draw.pick(of);
    item(|w| {
        w.text(chosen);
    })
}

fn uint(draw: &mut Draw<'_>, near: u64) -> Vec<u8> {
    let value = interesting(draw, near);
    item(|w| {
        w.uint(value);
    })
}

fn confirmation(draw: &mut Draw<'_>) -> Vec<u8> {
    let key = match draw.below(5) {
        0 => keys().other_device.public().to_cose_key(),
        1 => {
            let mut x = [0u8; 32];
            let drawn = draw.bytes(32);
            x[..drawn.len()].copy_from_slice(drawn);
            item(|w| {
                w.map(3).int(1).int(1).int(-1).int(6).int(-2).bytes(&x);
            })
        }
        2 => item(|w| {
            w.map(3).int(1).int(2).int(-1).int(1).int(-2).bytes(&[1; 32]);
        }),
        3 => any_item(draw, 0),
        _ => keys().device.public().to_cose_key(),
    };
    let member = *draw.pick(&[1, 1, 1, 2, 3]);
    item(|w| {
        w.map(1).int(member).raw(&key);
    })
}

fn scope(draw: &mut Draw<'_>) -> Vec<u8> {
    const FILTERS: [&str; 10] =
        ["d/s-0042/#", "+/x", "#", "a//b", "a#", "", "$SYS/#", "a/+/b", "d/s-0042/cmd", "+a"];
    let entries = draw.below(70);
    let aif = item(|w| {
        w.array(entries);
        for _ in 0..entries {
            let filter: &str = draw.pick::<&str>(&FILTERS);
            w.array(2).text(filter);
            match draw.below(6) {
                0 => w.array(2).text("pub").text("pub"),
                1 => w.array(0),
                2 => w.array(2).text("sub").text("pub"),
                3 => w.array(1).text("sub"),
                _ => w.array(1).text("pub"),
            };
        }
    });
    if draw.one_in(8) {
        return aif;
    }
    item(|w| {
        w.bytes(&aif);
    })
}

fn epochs(draw: &mut Draw<'_>) -> Vec<u8> {
    let counters = draw.below(6);
    item(|w| {
        w.array(counters);
        for near in [2, 7, 3, 4, 0, 0].into_iter().take(counters) {
            w.uint(interesting(draw, near));
        }
    })
}

/// Any item, strict or not.
fn any_item(draw: &mut Draw<'_>, depth: usize) -> Vec<u8> {
    let choice = if depth > 9 { draw.below(5) } else { draw.below(10) };
    match choice {
        0 => uint(draw, 23),
        1 => {
            let value = interesting(draw, 23) as i64;
            item(|w| {
                w.int(-1 - (value & i64::MAX));
            })
        }
        2 => {
            let bytes = draw.bytes(24).to_vec();
            item(|w| {
                w.bytes(&bytes);
            })
        }
        3 => text(draw, &["", "a", "ä", "iss"]),
        4 => draw
            .pick(&[
                [0xf4].as_slice(),
                &[0xf6],
                &[0xf9, 0x7e, 0],
                &[0xf0],
                &[0x18, 1],
                &[0x9f, 0xff],
            ])
            .to_vec(),
        5 => vec![0xc1, 0x00],
        6 | 7 => {
            let inner = any_item(draw, depth + 1);
            item(|w| {
                w.array(1).raw(&inner);
            })
        }
        8 => {
            let (a, b) = (any_item(draw, depth + 1), any_item(draw, depth + 1));
            item(|w| {
                w.map(1).raw(&a).raw(&b);
            })
        }
        _ => draw.bytes(6).to_vec(),
    }
}

/// Moves what the verifier knows.
pub(super) fn world(draw: &mut Draw<'_>, world: &mut World, token: &[u8]) {
    for _ in 0..draw.below(4) {
        match draw.below(13) {
            0 => world.acme(|t| t.epoch = interesting(draw, 2)),
            1 => world.acme(|t| t.suspended = true),
            2 => world.acme(|t| t.bearer = true),
            3 => drop(world.groups.insert(("acme".to_owned(), 7), interesting(draw, 3))),
            4 => drop(
                world
                    .devices
                    .insert(("acme".to_owned(), "s-0042".to_owned()), interesting(draw, 4)),
            ),
            5 => drop(world.revoked.insert(TokenHash::of(token))),
            6 => world.trusted_at = Some(at(interesting(draw, NOW - 86_400))),
            7 => world.trusted_at = None,
            8 => world.issuer().state = *draw.pick(&KeyState::ALL),
            9 => world.issuer().not_before = at(interesting(draw, NOW + 60)),
            10 => world.issuer().not_after = at(interesting(draw, NOW)),
            11 => world.acme(|t| t.staleness.actuation = interesting(draw, 600)),
            _ => drop(world.tenants.remove("acme")),
        }
    }
}
