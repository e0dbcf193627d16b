//! One bound at a time, one below it, at it and one above it: chance alone rarely meets the very second.

use tessera_token::scope::Permission;

use super::mutate;
use crate::draw::Draw;
use crate::targets::world::{at, claims, keys, scope, World, NOW};

const DAY: u64 = 86_400;
/// How many bounds there are.
pub(super) const EDGES: u8 = 15;

/// A token at a bound, in a world that makes it one, and the time of its proof.
pub(super) fn token(draw: &mut Draw<'_>, world: &mut World) -> (Vec<u8>, u64) {
    let step = draw.below(3) as u64;
    let near = |bound: u64| bound + step - 1;
    let mut claims = claims();
    let mut proof = NOW;
    match draw.below(usize::from(EDGES)) {
        0 => claims.expires = at(near(NOW)),
        1 => claims.issued = at(near(NOW + 60)),
        2 => claims.not_before = Some(at(near(NOW + 60))),
        3 => claims.expires = at(near(claims.issued.get() + 30 * DAY)),
        4 => {
            claims.issued = at(NOW + 50);
            claims.expires = at(near(NOW + 50));
        }
        5 => world.acme(|acme| acme.epoch = near(claims.epochs.tenant)),
        6 => drop(world.groups.insert(("acme".to_owned(), 7), near(claims.epochs.group))),
        7 => {
            let name = ("acme".to_owned(), "s-0042".to_owned());
            world.devices.insert(name, near(claims.epochs.device));
        }
        8 => world.trusted_at = Some(at(NOW - near(DAY))),
        9 => world.issuer().not_before = at(near(NOW + 60)),
        10 => world.issuer().not_after = at(near(NOW)),
        11 => proof = near(NOW + 60),
        12 => proof = near(NOW - 60),
        13 => {
            claims.scope = scope(&[("a/x", Permission::Publish), ("d/#", Permission::Publish)]);
            world.trusted_at = Some(at(NOW - near(600)));
        }
        _ => {
            world.acme(|acme| acme.staleness.command = 50);
            world.trusted_at = Some(at(NOW - near(50)));
        }
    }
    (mutate::plain(&claims.to_cbor(), &keys().issuer), proof)
}
