use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::key::{SecretKey, Thumbprint};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

use super::{AuthzInfo, Upload};
use crate::admission::Prefix;
use crate::limits::{AUTHZ_INFO_TOKENS, AUTHZ_INFO_TOKENS_PER_PREFIX, HALF_OPEN};

const NOW: UnixSeconds = UnixSeconds::new(1_000);

fn from(number: u32) -> Prefix {
    Prefix::of(IpAddr::V4(Ipv4Addr::from_bits(number << 8)))
}

fn key(number: u64) -> Thumbprint {
    let mut bytes = *SecretKey::from_seed(&[1; 32]).public().thumbprint().as_bytes();
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Thumbprint::from_bytes(bytes)
}

fn upload(number: u64, issued: u64, expires: u64) -> Upload {
    upload_of("acme", number, issued, expires)
}

fn upload_of(tenant: &str, number: u64, issued: u64, expires: u64) -> Upload {
    let claims = Claims {
        tenant: tenant.parse().unwrap(),
        device: format!("d-{number}").parse().unwrap(),
        audience: "mqtt".parse().unwrap(),
        expires: UnixSeconds::new(expires),
        not_before: None,
        issued: UnixSeconds::new(issued),
        serial: Serial::from_counter(issued),
        confirmation: None,
        scope: Scope::new(Vec::new()).unwrap(),
        epochs: Epochs::default(),
    };
    Upload {
        holder: (claims.tenant.clone(), claims.device.clone()),
        key: key(number),
        age: claims.age(),
        expires: claims.expires,
    }
}

/// The bytes that are kept are the time of issue.
fn keep(
    authz: &AuthzInfo,
    upload: Upload,
    from: Prefix,
    now: UnixSeconds,
) -> Result<(), RefusalCode> {
    let token = Bytes::from(upload.age.issued().get().to_string());
    authz.keep(token, upload, from, now)
}

impl AuthzInfo {
    fn of(&self, number: u64, now: UnixSeconds) -> Option<Bytes> {
        self.of_key(&key(number), &format!("d-{number}"), None, now)
    }
}

#[test]
fn the_newest_token_of_a_device_stays_until_it_expires() {
    let authz = AuthzInfo::new(true, HALF_OPEN);
    assert_eq!(keep(&authz, upload(1, 10, 2_000), from(1), NOW), Ok(()));
    assert_eq!(keep(&authz, upload(1, 20, 3_000), from(2), NOW), Ok(()));
    assert_eq!(keep(&authz, upload(1, 10, 2_000), from(1), NOW), Err(RefusalCode::TokenOlder));
    assert_eq!(keep(&authz, upload(1, 20, 3_000), from(2), NOW), Ok(()), "the same once more");
    assert_eq!(authz.of(1, NOW).as_deref(), Some(&b"20"[..]));
    assert_eq!(authz.of_device("d-1", NOW).as_deref(), Some(&b"20"[..]));
    assert_eq!(authz.of_key(&key(1), "d-2", None, NOW), None, "the key of another device");
    assert_eq!(authz.of(1, UnixSeconds::new(3_000)), None);
    assert_eq!(authz.of_device("d-1", UnixSeconds::new(3_000)), None);
    assert_eq!((authz.of(2, NOW), authz.of_device("d-2", NOW)), (None, None));
    // Another key of the same device: the newer token counts, whichever key it names.
    let former = Upload { key: key(2), ..upload(1, 10, 2_000) };
    assert_eq!(keep(&authz, former, from(3), NOW), Err(RefusalCode::TokenOlder));
    let next = Upload { key: key(2), ..upload(1, 30, 4_000) };
    assert_eq!(keep(&authz, next, from(3), NOW), Ok(()));
    assert_eq!(authz.of(1, NOW), None);
    assert_eq!(authz.of_key(&key(2), "d-1", None, NOW).as_deref(), Some(&b"30"[..]));
    assert_eq!(authz.of_device("d-1", NOW).as_deref(), Some(&b"30"[..]));
}

/// An issuer of one tenant can name the key of another tenant's device.
#[test]
fn a_token_of_another_tenant_takes_the_place_of_none() {
    let authz = AuthzInfo::new(true, HALF_OPEN);
    assert_eq!(keep(&authz, upload(1, 10, 2_000), from(1), NOW), Ok(()));
    // Another device of that tenant with the same key.
    let foreign = Upload { key: key(1), ..upload_of("evil", 2, 20, 3_000) };
    assert_eq!(keep(&authz, foreign, from(2), NOW), Ok(()));
    assert_eq!(authz.of(1, NOW).as_deref(), Some(&b"10"[..]));
    assert_eq!(authz.of_device("d-1", NOW).as_deref(), Some(&b"10"[..]));
    // One of the same name: which is meant says the tenant.
    assert_eq!(keep(&authz, upload_of("evil", 1, 20, 3_000), from(2), NOW), Ok(()));
    assert_eq!((authz.of(1, NOW), authz.of_device("d-1", NOW)), (None, None));
    let of = |tenant| authz.of_key(&key(1), "d-1", Some(tenant), NOW);
    assert_eq!(of("acme").as_deref(), Some(&b"10"[..]));
    assert_eq!(of("evil").as_deref(), Some(&b"20"[..]));
    assert_eq!(of("other"), None);
    // When one has expired, the other is meant.
    assert_eq!(authz.of(1, UnixSeconds::new(2_000)).as_deref(), Some(&b"20"[..]));
}

#[test]
fn a_token_that_finds_no_room_leaves_the_one_that_its_device_has() {
    let authz = AuthzInfo::new(true, HALF_OPEN);
    assert_eq!(keep(&authz, upload(0, 10, 2_000), from(1), NOW), Ok(()));
    for number in 1..=AUTHZ_INFO_TOKENS_PER_PREFIX as u64 {
        assert_eq!(keep(&authz, upload(number, 10, 2_000), from(2), NOW), Ok(()));
    }
    let full = Err(RefusalCode::LimitReached);
    assert_eq!(keep(&authz, upload(0, 20, 3_000), from(2), NOW), full);
    assert_eq!(authz.of(0, NOW).as_deref(), Some(&b"10"[..]));
    assert_eq!(authz.of_device("d-0", NOW).as_deref(), Some(&b"10"[..]));
    // A token that replaces one of the same prefix needs no further room.
    assert_eq!(keep(&authz, upload(1, 20, 3_000), from(2), NOW), Ok(()));
    assert_eq!(authz.of(1, NOW).as_deref(), Some(&b"20"[..]));
    assert_eq!(keep(&authz, upload(0, 20, 3_000), from(1), NOW), Ok(()));
    assert_eq!(authz.of(0, NOW).as_deref(), Some(&b"20"[..]));
}

#[test]
fn one_prefix_and_all_together_have_their_limits() {
    let authz = AuthzInfo::new(true, HALF_OPEN);
    let each = AUTHZ_INFO_TOKENS_PER_PREFIX as u64;
    for number in 0..AUTHZ_INFO_TOKENS as u64 {
        let source = from((number / each) as u32);
        assert_eq!(keep(&authz, upload(number, 10, 2_000 + number), source, NOW), Ok(()));
    }
    let next = || upload(u64::MAX, 10, 9_000_000);
    assert_eq!(keep(&authz, next(), from(77), NOW), Err(RefusalCode::LimitReached));
    assert_eq!(authz.of(u64::MAX, NOW), None);
    // An expired token makes room, in total and for its prefix.
    let later = UnixSeconds::new(2_000);
    assert_eq!(keep(&authz, next(), from(1), later), Err(RefusalCode::LimitReached));
    assert_eq!(keep(&authz, next(), from(0), later), Ok(()));
    assert_eq!(
        keep(&authz, upload(u64::MAX - 1, 10, 9_000), from(78), later),
        Err(RefusalCode::LimitReached)
    );
}
