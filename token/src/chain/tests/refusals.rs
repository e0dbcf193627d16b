use super::world::*;
use crate::chain::{
    admit, grant_revoked, publisher_revoked, still_holds, verify, Attempt, KeyState,
};
use crate::claims::{CNF, EPOCHS, EXP, IAT, ISS, NBF, SCOPE, SUB};
use crate::hash::TokenHash;
use crate::issue::issue;
use crate::key::{Algorithm, PublicKey, SecretKey};
use crate::proof::{Credential, Presented, Proof};
use crate::refusal::RefusalCode::{self, *};
use crate::scope::{Permission, Scope};
use crate::time::UnixSeconds;
use crate::token_identity::TokenIdentity;

fn refused(world: &World, attempt: &Attempt) -> RefusalCode {
    admit(attempt, world, now()).unwrap_err().code
}

#[track_caller]
fn token_is(token: &[u8], code: RefusalCode) {
    assert_eq!(refused(&World::new(), &attempt(token)), code);
}

#[track_caller]
fn world_says(change: impl FnOnce(&mut World), code: RefusalCode) {
    let mut world = World::new();
    let token = token_of(&claims());
    change(&mut world);
    assert_eq!(refused(&world, &attempt(&token)), code);
}

#[test]
fn a_good_token_with_proof_is_admitted() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EdDsa] {
        let token = issue(&claims(), algorithm, &issuer()).unwrap();
        let admission = admit(&attempt(&token), &World::new(), now()).unwrap();
        assert_eq!(admission.client_id.as_str(), "s-0042");
        assert_eq!(admission.grant.device().as_str(), "s-0042");
        assert_eq!(admission.grant.token_hash(), TokenHash::of(&token));
        let used = admission.proof_use.unwrap();
        assert_eq!((used.key, used.place.counter()), (device_key().public().thumbprint(), 1));
        assert_eq!(u64::from(used.place.second()), NOW);
        assert_eq!(still_holds(&admission.grant, &World::new(), now()), Ok(()));
    }
}

#[test]
fn unknown_claims_are_ignored() {
    let token = bent(|list| {
        set(
            list,
            38,
            item(|w| {
                w.uint(3);
            }),
        );
        // Keys must stay in deterministic order: 38 sorts before the private label.
        list.sort_by_key(|(l, _)| {
            item(|w| {
                w.int(*l);
            })
        });
    });
    assert!(admit(&attempt(&token), &World::new(), now()).is_ok());
}

#[test]
fn stage_1_shape() {
    let good = token_of(&claims());
    token_is(b"", TokenMalformed);
    token_is(&[0xd8; 4097], TokenTooLarge);
    token_is(&good[3..], TokenForm);
    token_is(&good[2..], TokenForm);
    let mut nested = vec![0xd8, 0x3d];
    nested.extend(&good);
    token_is(&nested, TokenForm);
    let mut long_tag = vec![0xd9, 0x00, 0x3d];
    long_tag.extend(&good[2..]);
    assert!(matches!(refused(&World::new(), &attempt(&long_tag)), TokenForm | TokenMalformed));
    let mut mac0 = good.clone();
    mac0[2] = 0xd1;
    token_is(&mac0, TokenForm);
    token_is(b"eyJhbGciOiJFZERTQSJ9.e30.AAAA", TokenMalformed);
    for end in 1..good.len() {
        assert_eq!(
            refused(&World::new(), &attempt(&good[..end])),
            match end {
                1..=3 => TokenForm,
                _ => TokenMalformed,
            },
            "prefix {end}"
        );
    }
    let mut trailing = good.clone();
    trailing.push(0);
    token_is(&trailing, TokenMalformed);
    let mut indefinite = good.clone();
    indefinite[3] = 0x9f;
    indefinite.push(0xff);
    token_is(&indefinite, TokenForm);
    // Three instead of four, and five instead of four.
    let mut three = good.clone();
    three[3] = 0x83;
    token_is(&three, TokenForm);
}

#[test]
fn stage_1_payload_encoding() {
    let sign = |payload: &[u8]| craft(&good_header(), &[0xa0], payload, &issuer());
    token_is(&sign(b""), TokenMalformed);
    token_is(&sign(&[0x80]), ClaimsMalformed);
    let good = claims().to_cbor();
    let mut twice = items(&claims());
    twice.insert(1, twice[0].clone());
    token_is(&sign(&map(&twice)), TokenMalformed);
    let mut unsorted = items(&claims());
    unsorted.swap(0, 1);
    token_is(&sign(&map(&unsorted)), TokenMalformed);
    let mut wide = good.clone();
    wide.splice(1..2, [0x18, 0x01]);
    token_is(&sign(&wide), TokenMalformed);
    let mut trailing = good.clone();
    trailing.push(0xf6);
    token_is(&sign(&trailing), TokenMalformed);
    // exp as tag 1, as bignum, as half-float NaN and infinity, as text.
    token_is(&bent(|l| set(l, EXP, vec![0xc1, 0x1a, 0x70, 0, 0, 0])), TokenMalformed);
    token_is(&bent(|l| set(l, EXP, vec![0xc2, 0x41, 0x70])), TokenMalformed);
    token_is(&bent(|l| set(l, EXP, vec![0xf9, 0x7e, 0x00])), ClaimsMalformed);
    token_is(&bent(|l| set(l, EXP, vec![0xf9, 0x7c, 0x00])), ClaimsMalformed);
    token_is(
        &bent(|l| {
            set(
                l,
                EXP,
                item(|w| {
                    w.text("2030");
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                EXP,
                item(|w| {
                    w.int(-1);
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(&bent(|l| set(l, 100, [vec![0x81; 12], vec![0x00]].concat())), TokenMalformed);
    token_is(
        &bent(|l| set(l, 100, vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        TokenMalformed,
    );
}

#[test]
fn stage_1_header() {
    let payload = claims().to_cbor();
    let sign =
        |protected: &[u8], unprotected: &[u8]| craft(protected, unprotected, &payload, &issuer());
    let kid = issuer().public().key_id();
    let kid = kid.as_bytes();
    token_is(&sign(b"", &[0xa0]), TokenHeader);
    token_is(&sign(&[0xa0], &[0xa0]), TokenHeader);
    let alg_only = item(|w| {
        w.map(1).int(1).int(-19);
    });
    let kid_only = item(|w| {
        w.map(1).int(4).bytes(kid);
    });
    token_is(&sign(&alg_only, &[0xa0]), TokenHeader);
    token_is(&sign(&kid_only, &[0xa0]), TokenHeader);
    token_is(&sign(&alg_only, &kid_only), TokenHeader);
    token_is(&sign(&kid_only, &alg_only), TokenHeader);
    token_is(&sign(&good_header(), &alg_only), TokenHeader);
    for (alg, code) in [
        (-7, AlgorithmNotAllowed),
        (-9, AlgorithmNotAllowed),
        (5, AlgorithmNotAllowed),
        (4, AlgorithmNotAllowed),
        (-48, AlgorithmNotAllowed),
    ] {
        let got = refused(&World::new(), &attempt(&sign(&header(alg, kid), &[0xa0])));
        assert!(got == code || got == TokenHeader, "alg {alg}: {got}");
    }
    let none = item(|w| {
        w.map(2).int(1).text("none").int(4).bytes(kid);
    });
    assert!(matches!(
        refused(&World::new(), &attempt(&sign(&none, &[0xa0]))),
        AlgorithmNotAllowed | TokenHeader
    ));
    let crit = item(|w| {
        w.map(3).int(1).int(-19).int(2).array(1).int(100).int(4).bytes(kid);
    });
    token_is(&sign(&crit, &[0xa0]), TokenHeader);
    let empty_crit = item(|w| {
        w.map(3).int(1).int(-19).int(2).array(0).int(4).bytes(kid);
    });
    token_is(&sign(&empty_crit, &[0xa0]), TokenHeader);
    let extra = item(|w| {
        w.map(3).int(1).int(-19).int(4).bytes(kid).int(100).int(0);
    });
    token_is(&sign(&extra, &[0xa0]), TokenHeader);
    let twice = item(|w| {
        w.map(3).int(1).int(-19).int(1).int(-8).int(4).bytes(kid);
    });
    token_is(&sign(&twice, &[0xa0]), TokenHeader);
    let indefinite = [vec![0xbf], good_header()[1..].to_vec(), vec![0xff]].concat();
    token_is(&sign(&indefinite, &[0xa0]), TokenHeader);
    token_is(&sign(&header(-19, &kid[..7]), &[0xa0]), TokenHeader);
    token_is(&sign(&header(-19, &[&kid[..], &[0]].concat()), &[0xa0]), TokenHeader);
    // A detached payload is never an empty one.
    let mut detached = vec![0xd8, 0x3d, 0xd2];
    detached.extend(item(|w| {
        w.array(4).bytes(&good_header()).map(0).raw(&[0xf6]).bytes(&[0; 64]);
    }));
    token_is(&detached, TokenForm);
}

#[test]
fn stage_2_key() {
    world_says(|w| w.trusted_at = None, TrustMissing);
    world_says(|w| w.keys.clear(), KeyUnknown);
    let stranger = SecretKey::from_seed(&[9; 32]);
    token_is(&issue(&claims(), Algorithm::Ed25519, &stranger).unwrap(), KeyUnknown);
    world_says(|w| w.key().state = KeyState::Retired, KeyNotValid);
    world_says(|w| w.key().state = KeyState::Compromised, KeyNotValid);
    world_says(|w| w.key().not_after = now(), KeyNotValid);
    world_says(|w| w.key().not_before = now().plus(61), KeyNotValid);
}

#[test]
fn stage_3_cheap_claims_come_before_the_signature() {
    // Each of these also has a broken signature: the cheap claim must speak first.
    let spoil = |mut token: Vec<u8>| {
        *token.last_mut().unwrap() ^= 1;
        token
    };
    let mut c = claims();
    c.tenant = crate::ids::TenantId::parse("rival").unwrap();
    token_is(&spoil(token_of(&c)), IssuerMismatch);
    c.tenant = crate::ids::TenantId::parse("nobody").unwrap();
    token_is(&spoil(token_of(&c)), IssuerMismatch);
    let mut c = claims();
    c.audience = crate::ids::Audience::parse("other").unwrap();
    token_is(&spoil(token_of(&c)), AudienceMismatch);
    let mut c = claims();
    c.expires = now();
    token_is(&spoil(token_of(&c)), TokenExpired);
    for (label, code) in [
        (ISS, ClaimsMalformed),
        (3, ClaimsMalformed),
        (EXP, ClaimsMalformed),
        (EPOCHS, ClaimsMalformed),
        (SUB, ClaimsMalformed),
    ] {
        token_is(&spoil(without(label)), code);
    }
    token_is(
        &bent(|l| {
            set(
                l,
                3,
                item(|w| {
                    w.array(1).text("mqtt");
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                3,
                item(|w| {
                    w.array(0);
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                ISS,
                item(|w| {
                    w.bytes(b"acme");
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                EPOCHS,
                item(|w| {
                    w.array(3).uint(0).uint(0).uint(0);
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                EPOCHS,
                item(|w| {
                    w.array(5).uint(1).uint(1).uint(1).uint(1).uint(1);
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                EPOCHS,
                item(|w| {
                    w.array(4).uint(0).uint(0).uint(0).int(-1);
                }),
            )
        }),
        ClaimsMalformed,
    );
    world_says(|w| w.acme().suspended = true, TenantSuspended);
    world_says(
        |w| {
            w.tenants.remove("acme");
        },
        IssuerMismatch,
    );
}

#[test]
fn epochs_stand_each_on_its_own() {
    // A truth table: a token passes iff none of the three counters has moved past it.
    for bits in 0..64u64 {
        let at = |i: u64| (bits >> i) & 1;
        let mut c = claims();
        c.epochs.tenant = at(0);
        c.epochs.group = at(1);
        c.epochs.device = at(2);
        let mut world = World::new();
        world.acme().epoch = at(3);
        world.group_epoch = at(4);
        world.device_epoch = at(5);
        let expected = if at(0) < at(3) {
            Err(TenantEpoch)
        } else if at(1) < at(4) {
            Err(GroupEpoch)
        } else if at(2) < at(5) {
            Err(DeviceEpoch)
        } else {
            Ok(())
        };
        let got = admit(&attempt(&token_of(&c)), &world, now()).map(drop).map_err(|r| r.code);
        assert_eq!(got, expected, "{bits:06b}");
    }
}

#[test]
fn stage_4_signature() {
    let good = token_of(&claims());
    let start = good.len() - 64;
    for bit in 0..512 {
        let mut flipped = good.clone();
        flipped[start + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refused(&World::new(), &attempt(&flipped)), SignatureInvalid, "bit {bit}");
    }
    // Claims changed under an untouched signature.
    let mut other = claims();
    other.device = crate::ids::DeviceId::parse("s-0043").unwrap();
    let mut forged = token_of(&other);
    forged[start..].copy_from_slice(&good[start..]);
    token_is(&forged, SignatureInvalid);
    // Signed by the rival's key under our kid.
    token_is(
        &craft(&good_header(), &[0xa0], &claims().to_cbor(), &other_issuer()),
        SignatureInvalid,
    );
    // Signed by the device itself.
    token_is(&craft(&good_header(), &[0xa0], &claims().to_cbor(), &device_key()), SignatureInvalid);
    for length in [0usize, 32, 63, 65] {
        let mut w = crate::cbor::Writer::new();
        w.array(4).bytes(&good_header()).map(0).bytes(&claims().to_cbor()).bytes(&vec![7; length]);
        token_is(&[vec![0xd8, 0x3d, 0xd2], w.finish()].concat(), SignatureInvalid);
    }
}

#[test]
fn stage_5_claims() {
    for label in [IAT, 7, SCOPE] {
        token_is(&without(label), ClaimsMalformed);
    }
    token_is(
        &bent(|l| {
            set(
                l,
                SUB,
                item(|w| {
                    w.text("a/b");
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                SUB,
                item(|w| {
                    w.text("#");
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                SUB,
                item(|w| {
                    w.text("");
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                7,
                item(|w| {
                    w.bytes(b"");
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                7,
                item(|w| {
                    w.bytes(&[1; 17]);
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                7,
                item(|w| {
                    w.uint(7);
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                IAT,
                item(|w| {
                    w.uint(NOW + 61);
                }),
            )
        }),
        TokenNotYetValid,
    );
    let nbf = bent(|l| {
        l.push((
            NBF,
            item(|w| {
                w.uint(NOW + 61);
            }),
        ));
        l.sort_by_key(|(l, _)| {
            item(|w| {
                w.int(*l);
            })
        });
    });
    token_is(&nbf, TokenNotYetValid);
    token_is(
        &bent(|l| {
            set(
                l,
                IAT,
                item(|w| {
                    w.uint(NOW - 31 * 86_400);
                }),
            )
        }),
        TokenLifetime,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                EXP,
                item(|w| {
                    w.uint(NOW + 31 * 86_400);
                }),
            )
        }),
        TokenLifetime,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                SCOPE,
                item(|w| {
                    w.text("d/#");
                }),
            )
        }),
        ClaimsMalformed,
    );
    token_is(
        &bent(|l| {
            set(
                l,
                SCOPE,
                item(|w| {
                    w.bytes(b"d/#");
                }),
            )
        }),
        ScopeMalformed,
    );
    let bad_filter = item(|w| {
        w.array(1).array(2).text("a#").array(1).text("pub");
    });
    token_is(
        &bent(|l| {
            set(
                l,
                SCOPE,
                item(|w| {
                    w.bytes(&bad_filter);
                }),
            )
        }),
        ScopeMalformed,
    );
}

#[test]
fn stage_5_confirmation_keys() {
    let cnf = |key: Vec<u8>| {
        bent(|l| {
            set(
                l,
                CNF,
                item(|w| {
                    w.map(1).int(1).raw(&key);
                }),
            )
        })
    };
    let okp = |x: &[u8]| {
        item(|w| {
            w.map(3).int(1).int(1).int(-1).int(6).int(-2).bytes(x);
        })
    };
    let mut identity = [0u8; 32];
    identity[0] = 1;
    token_is(&cnf(okp(&identity)), ConfirmationKey);
    token_is(&cnf(okp(&[0; 32])), ConfirmationKey);
    token_is(&cnf(okp(&[0xff; 32])), ConfirmationKey);
    for length in (0..=64).filter(|l| *l != 32) {
        token_is(&cnf(okp(&vec![5; length])), ConfirmationKey);
    }
    let public = device_key().public();
    let private = item(|w| {
        w.map(4)
            .int(1)
            .int(1)
            .int(-1)
            .int(6)
            .int(-2)
            .bytes(public.as_bytes())
            .int(-4)
            .bytes(&[3; 32]);
    });
    token_is(&cnf(private), ConfirmationKey);
    // RFC 9052 section 7.1: a key whose key_ops leave out `verify` verifies nothing.
    let for_ops = |ops: &[u8]| {
        item(|w| {
            w.map(4).int(1).int(1).int(4).raw(ops);
            w.int(-1).int(6).int(-2).bytes(public.as_bytes());
        })
    };
    for (ops, good) in [
        (&[0x81, 2][..], true),
        (&[0x82, 1, 2], true),
        (&[0x82, 2, 0x61, b'x'], true),
        (&[0x81, 1], false),
        (&[0x80], false),
        (&[0x82, 1, 7], false),
        (&[0x81, 0x66, b'v', b'e', b'r', b'i', b'f', b'y'], false),
        (&[2], false),
        (&[0x81, 0x80], false),
    ] {
        match good {
            true => assert!(
                admit(&attempt(&cnf(for_ops(ops))), &World::new(), now()).is_ok(),
                "{ops:?}"
            ),
            false => token_is(&cnf(for_ops(ops)), ConfirmationKey),
        }
    }
    let symmetric = item(|w| {
        w.map(2).int(1).int(4).int(-1).bytes(&[1; 32]);
    });
    token_is(&cnf(symmetric), ConfirmationKey);
    let x25519 = item(|w| {
        w.map(3).int(1).int(1).int(-1).int(4).int(-2).bytes(public.as_bytes());
    });
    token_is(&cnf(x25519), ConfirmationKey);
    token_is(
        &bent(|l| {
            set(
                l,
                CNF,
                item(|w| {
                    w.map(0);
                }),
            )
        }),
        ConfirmationKey,
    );
    let both = item(|w| {
        w.map(2).int(1).raw(&public.to_cose_key()).int(2).array(0);
    });
    token_is(&bent(|l| set(l, CNF, both)), ConfirmationKey);
    token_is(
        &bent(|l| {
            set(
                l,
                CNF,
                item(|w| {
                    w.text("key");
                }),
            )
        }),
        ClaimsMalformed.min(ConfirmationKey).max(ConfirmationKey),
    );
}

#[test]
fn stage_6_and_7_revocation_and_staleness() {
    let token = token_of(&claims());
    world_says(|w| w.revoked.push(TokenHash::of(&token)), TokenRevoked);
    world_says(|w| w.trusted_at = Some(now().minus(24 * 3600 + 1)), TrustStale);
    // A service with a wildcard may rest on ten minutes only, a device on a day.
    let mut world = World::new();
    world.trusted_at = Some(now().minus(601));
    assert!(admit(&attempt(&token), &world, now()).is_ok());
    let mut c = claims();
    c.scope = Scope::new(vec![entry("d/+/cmd", Permission::Publish)]).unwrap();
    assert_eq!(refused(&world, &attempt(&token_of(&c))), TrustStale);
}

#[test]
fn stage_8_proof() {
    let token = token_of(&claims());
    let world = World::new();
    let bare = Attempt::new(Credential { token: token.clone(), proof: None }, "s-0042");
    assert_eq!(refused(&world, &bare), ProofMissing);
    let by = |key: &SecretKey, time: u64| attempt_as(&token, "s-0042", key, time, 1);
    assert_eq!(refused(&world, &by(&SecretKey::from_seed(&[8; 32]), NOW)), ProofInvalid);
    assert_eq!(refused(&world, &by(&issuer(), NOW)), ProofInvalid);
    assert_eq!(refused(&world, &by(&device_key(), NOW - 61)), ProofNotFresh);
    assert_eq!(refused(&world, &by(&device_key(), NOW + 61)), ProofNotFresh);
    assert!(admit(&by(&device_key(), NOW - 60), &world, now()).is_ok());
    // A proof made for another client id, another token of the same device, another counter.
    let mut moved = attempt_as(&token, "s-0042~b", &device_key(), NOW, 1);
    moved.client_id = "s-0042".into();
    assert_eq!(refused(&world, &moved), ProofInvalid);
    let mut newer = claims();
    newer.serial = crate::ids::Serial::from_counter(4712);
    let mut swapped = attempt(&token_of(&newer));
    swapped.presented.token = token.clone();
    assert_eq!(refused(&world, &swapped), ProofInvalid);
    let mut counted = attempt(&token);
    if let Proof::Connect(proof) = &mut counted.presented.proof {
        proof.counter += 1;
    }
    assert_eq!(refused(&world, &counted), ProofInvalid);
    // The refusal names whose token it was, not who came.
    let refusal = admit(&bare, &world, now()).unwrap_err();
    assert_eq!(refusal.subject.unwrap().device.as_str(), "s-0042");
}

#[test]
fn stage_8_bearer() {
    let mut c = claims();
    c.confirmation = None;
    let token = token_of(&c);
    let bare = Attempt::new(Credential { token: token.clone(), proof: None }, "s-0042");
    let mut world = World::new();
    assert_eq!(refused(&world, &bare), BearerNotAllowed);
    world.acme().bearer = true;
    let admission = admit(&bare, &world, now()).unwrap();
    assert_eq!(admission.proof_use, None);
    assert_eq!(refused(&world, &attempt(&token)), BearerNotAllowed);
    // A token with cnf needs its proof in a bearer tenant too.
    let bound = Attempt::new(Credential { token: token_of(&claims()), proof: None }, "s-0042");
    assert_eq!(refused(&world, &bound), ProofMissing);
    // The tenant takes it back: the live grant ends.
    world.acme().bearer = false;
    assert_eq!(still_holds(&admission.grant, &world, now()), Err(BearerNotAllowed));
}

#[test]
fn stage_9_client_id() {
    let token = token_of(&claims());
    let world = World::new();
    let with = |id: &str| {
        admit(&attempt_as(&token, id, &device_key(), NOW, 1), &world, now())
            .map(drop)
            .map_err(|r| r.code)
    };
    assert_eq!(with("s-0042~1"), Ok(()));
    for other in ["s-0043", "s-004", "s-0042x", "S-0042"] {
        assert_eq!(with(other), Err(ClientIdMismatch), "{other}");
    }
    for bad in [
        "",
        "s-0042~",
        "s-0042~a~b",
        "s-0042/x",
        "+",
        "#",
        "s-0042\u{0}",
        ".*",
        "~s-0042",
        "s-0042~é",
    ] {
        assert_eq!(with(bad), Err(ClientIdInvalid), "{bad}");
    }
}

#[test]
fn a_key_whose_time_has_not_come_or_is_over_withdraws_nothing() {
    let token = token_of(&claims());
    let grant = admit(&attempt(&token), &World::new(), now()).unwrap().grant;
    let judged = |change: &dyn Fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        (still_holds(&grant, &world, now()).err(), grant_revoked(&grant, &world))
    };
    assert_eq!(judged(&|_| {}), (None, None));
    let late = UnixSeconds::new(NOW + 40 * 86_400);
    assert_eq!(judged(&|w| w.key().not_before = late), (Some(KeyNotValid), None));
    assert_eq!(judged(&|w| w.key().not_after = now()), (Some(KeyNotValid), None));
    // By what was signed it is withdrawn all the same.
    for state in [KeyState::Retired, KeyState::Compromised] {
        let (code, why) = judged(&|w| {
            w.key().not_before = late;
            w.key().state = state;
        });
        assert_eq!((code, why), (Some(KeyNotValid), Some(KeyNotValid)));
    }
    let (_, why) = judged(&|w| {
        w.key().not_before = late;
        w.revoked.push(grant.token_hash());
    });
    assert_eq!(why, Some(TokenRevoked));
}

#[test]
fn a_grant_ends_with_what_it_rests_on() {
    let token = token_of(&claims());
    let grant = admit(&attempt(&token), &World::new(), now()).unwrap().grant;
    let ends = |change: &dyn Fn(&mut World), code| {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(still_holds(&grant, &world, now()), Err(code));
    };
    ends(&|w| w.acme().epoch = 1, TenantEpoch);
    ends(&|w| w.group_epoch = 1, GroupEpoch);
    ends(&|w| w.device_epoch = 1, DeviceEpoch);
    ends(&|w| w.acme().suspended = true, TenantSuspended);
    ends(&|w| w.key().state = KeyState::Compromised, KeyNotValid);
    ends(&|w| w.keys.clear(), KeyNotValid);
    ends(&|w| w.revoked.push(grant.token_hash()), TokenRevoked);
    let later = UnixSeconds::new(NOW + 3000);
    assert_eq!(still_holds(&grant, &World::new(), later), Err(TokenExpired));
    // Trust data that are too old cannot tell; their certain statements are told first.
    ends(&|w| w.trusted_at = Some(now().minus(24 * 3600 + 1)), TrustStale);
    ends(
        &|w| {
            w.trusted_at = Some(now().minus(1));
            w.acme().staleness.command = 0;
        },
        TrustStale,
    );
    ends(&|w| w.trusted_at = None, TrustMissing);
    ends(&|w| w.refuses = Some(TrustNotFollowed), TrustNotFollowed);
    ends(&|w| (w.refuses, w.device_epoch) = (Some(TrustNotFollowed), 1), DeviceEpoch);
}

#[test]
fn a_verifier_that_cannot_follow_decides_nothing() {
    world_says(|w| w.refuses = Some(TrustNotFollowed), TrustNotFollowed);
    world_says(|w| w.refuses = Some(TrustMissing), TrustMissing);
}

#[test]
fn what_was_published_is_taken_back_by_a_withdrawal_alone() {
    let token = token_of(&claims());
    let grant = admit(&attempt(&token), &World::new(), now()).unwrap().grant;
    let published = TokenIdentity::of(&grant);
    let says = |change: &dyn Fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        publisher_revoked(&published, &world)
    };
    assert_eq!(says(&|w| w.acme().epoch = 1), Some(TenantEpoch));
    assert_eq!(says(&|w| w.acme().suspended = true), Some(TenantSuspended));
    assert_eq!(says(&|w| drop(w.tenants.remove("acme"))), Some(IssuerMismatch));
    assert_eq!(says(&|w| w.group_epoch = 1), Some(GroupEpoch));
    assert_eq!(says(&|w| w.device_epoch = 1), Some(DeviceEpoch));
    assert_eq!(says(&|w| w.key().state = KeyState::Compromised), Some(KeyNotValid));
    assert_eq!(says(&|w| w.revoked.push(published.token)), Some(TokenRevoked));
    // Time, rotation and what a tenant allows from now on say nothing of what was accepted before.
    assert_eq!(says(&|_| ()), None);
    assert_eq!(says(&|w| w.key().state = KeyState::Retired), None);
    assert_eq!(says(&|w| w.key().not_after = now()), None);
    assert_eq!(says(&|w| w.keys.clear()), None);
    assert_eq!(says(&|w| w.revoked.push(TokenHash::of(b"another"))), None);
}

#[test]
fn renewal_keeps_subject_and_key() {
    let world = World::new();
    let held = admit(&attempt(&token_of(&claims())), &world, now()).unwrap().grant;
    let renew = |c: &crate::claims::Claims| {
        verify(&token_of(c), &world, now()).unwrap().renew(&held).map(drop)
    };
    assert_eq!(renew(&claims()), Ok(()));
    let mut other = claims();
    other.device = crate::ids::DeviceId::parse("s-0043").unwrap();
    assert_eq!(renew(&other), Err(ClientIdMismatch));
    let mut rekeyed = claims();
    rekeyed.confirmation = Some(SecretKey::from_seed(&[8; 32]).public());
    assert_eq!(renew(&rekeyed), Err(ConfirmationKey));
    rekeyed.confirmation = None;
    assert_eq!(renew(&rekeyed), Err(ConfirmationKey));
}

#[test]
fn passwords_are_taken_apart() {
    let token = token_of(&claims());
    let Presented { token, proof: Proof::Connect(proof) } = attempt(&token).presented else {
        panic!("no connect proof")
    };
    let credential = Credential { token, proof: Some(proof) };
    let token = credential.token.clone();
    let raw = credential.to_password();
    assert_eq!(raw.len(), token.len() + 74);
    assert_eq!(Credential::from_password(&raw), Ok(credential.clone()));
    let text = crate::encoding::base64url(&raw);
    assert_eq!(Credential::from_password(text.as_bytes()), Ok(credential));
    for (bad, code) in [
        (b"".to_vec(), CredentialMissing),
        (b"hunter2".to_vec(), CredentialMalformed),
        (b"hunter22".to_vec(), TokenMalformed),
        (b"hunter 2".to_vec(), TokenMalformed),
        (text.as_bytes()[..text.len() - 1].to_vec(), ProofMalformed),
        (raw[..raw.len() - 1].to_vec(), ProofMalformed),
        ([raw.clone(), vec![0]].concat(), ProofMalformed),
        (vec![0xd8; 5601], TokenTooLarge),
        (token[..token.len() - 1].to_vec(), TokenMalformed),
    ] {
        let got = Credential::from_password(&bad).unwrap_err();
        assert!(
            got == code || (code == ProofMalformed && got == CredentialMalformed),
            "{bad:02x?}: {got}"
        );
    }
}

#[test]
fn public_keys_of_every_length_survive() {
    for length in 0..=64 {
        let _ = PublicKey::from_bytes(&vec![9; length]);
    }
}
