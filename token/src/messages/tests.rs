use super::*;
use crate::hash::sha256;
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::SecretKey;
use crate::refusal::RefusalCode;
use crate::scope::Scope;
use crate::time::UnixSeconds;

fn ids() -> (TenantId, DeviceId) {
    (TenantId::parse("acme").unwrap(), DeviceId::parse("s-1").unwrap())
}

#[test]
fn enrolment_is_signed_over_everything() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    let request = EnrolRequest::sign(&key, &tenant, &device, "TSR-1", &[1; 32]);
    let read = EnrolRequest::from_cbor(&request.to_cbor()).unwrap();
    assert!(read == request);
    assert_eq!(read.verify(), Ok(key.public()));
    let changes: [fn(&mut EnrolRequest); 4] = [
        |r| r.tenant = TenantId::parse("rival").unwrap(),
        |r| r.device = DeviceId::parse("s-2").unwrap(),
        |r| r.claim = "TSR-2".into(),
        |r| r.nonce = vec![2; 32],
    ];
    for change in changes {
        let mut other = request.clone();
        change(&mut other);
        assert_eq!(other.verify(), Err(RefusalCode::ProofInvalid));
    }
    let mut rekeyed = request.clone();
    rekeyed.key = SecretKey::from_seed(&[5; 32]).public().as_bytes().to_vec();
    assert_eq!(rekeyed.verify(), Err(RefusalCode::ProofInvalid));
    rekeyed.key = vec![0; 32];
    assert_eq!(rekeyed.verify(), Err(RefusalCode::ConfirmationKey));
}

#[test]
fn token_requests_are_signed_over_everything() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    let at = UnixSeconds::new(1_790_000_000);
    let request = TokenRequest::sign(&key, &tenant, &device, at, &[1; 16], false);
    let read = TokenRequest::from_cbor(&request.to_cbor()).unwrap();
    assert_eq!(read, request);
    assert!(read.verifies(&key.public()));
    let changes: [fn(&mut TokenRequest); 5] = [
        |r| r.tenant = TenantId::parse("rival").unwrap(),
        |r| r.device = DeviceId::parse("s-2").unwrap(),
        |r| r.time = r.time.plus(1),
        |r| r.nonce = vec![2; 16],
        |r| r.bearer = true,
    ];
    for change in changes {
        let mut other = request.clone();
        change(&mut other);
        assert!(!other.verifies(&key.public()));
    }
}

#[test]
fn answers_read_back() {
    let at = UnixSeconds::new(1_790_000_000);
    let token = TokenAnswer {
        access_token: vec![1, 2, 3],
        expires_in: 60,
        bearer: false,
        audience: Audience::parse("mqtt").unwrap(),
        scope: Scope::default(),
        server_time: at,
    };
    assert_eq!(TokenAnswer::from_cbor(&token.to_cbor()), Ok(token));
    let refusal = RefusalAnswer::new(AceError::InvalidClient, RefusalCode::DeviceRevoked, at);
    assert_eq!(RefusalAnswer::from_cbor(&refusal.to_cbor()), Ok(refusal));
    let nonce = NonceAnswer { nonce: sha256(b"n").to_vec(), expires_in: 60, server_time: at };
    assert_eq!(NonceAnswer::from_cbor(&nonce.to_cbor()), Ok(nonce));
}

#[test]
fn every_prefix_and_every_flip_is_survived() {
    let (tenant, device) = ids();
    let key = SecretKey::from_seed(&[4; 32]);
    let at = UnixSeconds::new(1_790_000_000);
    let enrol = EnrolRequest::sign(&key, &tenant, &device, "TSR-1", &[1; 32]).to_cbor();
    let token = TokenRequest::sign(&key, &tenant, &device, at, &[1; 16], false).to_cbor();
    for end in 0..enrol.len() {
        assert!(EnrolRequest::from_cbor(&enrol[..end]).is_err());
    }
    for end in 0..token.len() {
        assert!(TokenRequest::from_cbor(&token[..end]).is_err());
    }
    for bit in 0..enrol.len() * 8 {
        let mut bent = enrol.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let good = EnrolRequest::from_cbor(&bent).is_ok_and(|r| r.verify().is_ok());
        assert!(!good, "bit {bit}");
    }
}
