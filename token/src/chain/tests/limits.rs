//! The limits of a credential that no other table reaches.

use super::world::*;
use crate::chain::admit;
use crate::claims::{CNF, SCOPE};
use crate::ids::{Audience, ClientId, DeviceId, TenantId};
use crate::limits;
use crate::refusal::RefusalCode;
use crate::scope::{Permission, Scope};

fn refused(token: &[u8], world: &World) -> Option<RefusalCode> {
    admit(&attempt(token), world, now()).err().map(|refusal| refusal.code)
}

#[test]
fn keys_of_one_kid_are_tried_up_to_a_number() {
    let token = token_of(&claims());
    let kid = issuer().public().key_id();
    for (others, expected) in [
        (limits::KEYS_PER_KID - 1, None),
        (limits::KEYS_PER_KID, Some(RefusalCode::SignatureInvalid)),
    ] {
        let mut world = World::new();
        let mut wrong = world.key().clone();
        wrong.key = other_issuer().public();
        let keys = world.keys.get_mut(&kid).unwrap();
        keys.splice(0..0, vec![wrong; others]);
        assert_eq!(refused(&token, &world), expected, "{others}");
    }
}

#[test]
fn a_scope_has_so_many_entries() {
    let of = |count: usize| {
        let entries = (0..count).map(|n| entry(&format!("t/{n}"), Permission::Publish));
        Scope::new(entries.collect())
    };
    let most = of(limits::SCOPE_ENTRIES).unwrap();
    assert!(of(limits::SCOPE_ENTRIES + 1).is_err());
    assert_eq!(
        refused(&token_of(&crate::claims::Claims { scope: most, ..claims() }), &World::new()),
        None
    );
    // One more, in a token that an issuer has signed all the same.
    let more = item(|w| {
        w.array(limits::SCOPE_ENTRIES + 1);
        for n in 0..=limits::SCOPE_ENTRIES {
            w.array(2).text(&format!("t/{n}")).array(1).text("pub");
        }
    });
    let token = bent(|list| {
        set(
            list,
            SCOPE,
            item(|w| {
                w.bytes(&more);
            }),
        )
    });
    assert_eq!(refused(&token, &World::new()), Some(RefusalCode::ScopeMalformed));
}

#[test]
fn a_token_has_so_many_items_and_levels_in_it() {
    // In the order of deterministic CBOR: before the labels below zero.
    let with = |value: Vec<u8>| {
        bent(|list| {
            let place = list.iter().position(|(label, _)| *label < 0).unwrap_or(list.len());
            list.insert(place, (70_000, value));
        })
    };
    let flat = |count: usize| {
        item(|w| {
            w.array(count);
            for _ in 0..count {
                w.int(0);
            }
        })
    };
    assert_eq!(refused(&with(flat(900)), &World::new()), None);
    assert!(refused(&with(flat(limits::CBOR_ITEMS)), &World::new()).is_some());
    let deep = |levels: usize| [vec![0x81; levels], vec![0]].concat();
    assert_eq!(refused(&with(deep(limits::CBOR_DEPTH - 1)), &World::new()), None);
    assert!(refused(&with(deep(limits::CBOR_DEPTH)), &World::new()).is_some());
}

#[test]
fn a_key_id_in_cnf_has_so_many_bytes() {
    let with = |length: usize| {
        let cnf = item(|w| {
            w.map(1).int(3).bytes(&vec![7; length]);
        });
        bent(|list| set(list, CNF, cnf))
    };
    let key = crate::pop::SymmetricKey::from_bytes(&[5; 32]).unwrap();
    for length in [limits::CNF_KID_BYTES, limits::CNF_KID_BYTES + 1] {
        let mut world = World::new();
        world.symmetric_key = Some((vec![7; length], key.clone()));
        let code = refused(&with(length), &world);
        // The key is found for the first: only the proof, which is a signature, does not fit it.
        let found = code == Some(RefusalCode::ProofInvalid);
        assert_eq!(found, length == limits::CNF_KID_BYTES, "{length}: {code:?}");
    }
}

#[test]
fn ids_have_a_length() {
    let of = |length: usize| "a".repeat(length);
    assert!(DeviceId::parse(&of(limits::ID_CHARS)).is_ok());
    assert!(DeviceId::parse(&of(limits::ID_CHARS + 1)).is_err());
    assert!(TenantId::parse(&of(limits::TENANT_CHARS)).is_ok());
    assert!(TenantId::parse(&of(limits::TENANT_CHARS + 1)).is_err());
    assert!(Audience::parse(&of(limits::AUDIENCE_BYTES)).is_ok());
    assert!(Audience::parse(&of(limits::AUDIENCE_BYTES + 1)).is_err());
    let suffixed = |length: usize| format!("{}~{}", of(limits::ID_CHARS), of(length));
    assert!(ClientId::parse(&suffixed(limits::CLIENT_SUFFIX_CHARS)).is_ok());
    assert!(ClientId::parse(&suffixed(limits::CLIENT_SUFFIX_CHARS + 1)).is_err());
    // [MQTT-3.1.3-5]: 23 letters and digits are a client id.
    assert!(ClientId::parse("0123456789abcXYZabcdefg").is_ok());
}
