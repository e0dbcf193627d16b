use crate::message::{Revocations, Trusted};
use std::sync::atomic::{AtomicU64, Ordering};

use tessera_token::chain::{self, IssuerKey, KeyState, StalenessBudget, TenantTrust, TrustView};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, TenantId};
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, KeyId, SecretKey};
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::token_identity::TokenIdentity;
use tessera_token::topic::TopicFilter;

use super::*;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

/// The answers about revocation that a test gives.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) version: u64,
    pub(crate) revoked: Option<RefusalCode>,
    pub(crate) asked: AtomicU64,
    pub(crate) witnessed: Option<UnixSeconds>,
    pub(crate) absence_is_open: bool,
}

impl Told {
    /// Trust has changed, and took this back.
    pub(crate) fn revoked(code: RefusalCode) -> Self {
        Self { version: 1, revoked: Some(code), ..Self::default() }
    }
}

impl Revocations for Told {
    fn version(&self) -> u64 {
        self.version
    }

    fn revoked(&self, _: &TokenIdentity) -> Option<RefusalCode> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.revoked
    }

    fn witnessed_time(&self) -> Option<UnixSeconds> {
        self.witnessed
    }

    fn absence_is_open(&self) -> bool {
        self.absence_is_open
    }
}

#[test]
fn an_author_is_judged_once_for_each_version_of_trust() {
    let rights = rights(&[]);
    let mut told = Told::default();
    for _ in 0..3 {
        assert_eq!(rights.trusted(SubscriberId(1), Trusted::now(&told)), Ok(()));
    }
    assert_eq!(told.asked.load(Ordering::Relaxed), 1);
    told.version = 1;
    told.revoked = Some(RefusalCode::DeviceEpoch);
    assert_eq!(rights.trusted(SubscriberId(1), Trusted::now(&told)), Err(RefusalCode::DeviceEpoch));
    assert_eq!(told.asked.load(Ordering::Relaxed), 2);
    // Trust forgets an epoch once no token below it can be alive; the author is not trusted again.
    told.version = 2;
    told.revoked = None;
    assert_eq!(
        rights.trusted(SubscriberId(1), Trusted::now(&told)),
        Err(RefusalCode::TokenRevoked)
    );
}

#[test]
fn an_author_waits_for_trust_data() {
    let rights = rights(&[]);
    let mut told = Told { revoked: Some(RefusalCode::IssuerMismatch), ..Told::default() };
    assert_eq!(
        rights.trusted(SubscriberId(1), Trusted::now(&told)),
        Err(RefusalCode::IssuerMismatch)
    );
    told.version = 1;
    told.revoked = None;
    assert_eq!(rights.trusted(SubscriberId(1), Trusted::now(&told)), Ok(()));
}

#[test]
fn the_broker_speaks_without_a_token() {
    let author = Author::broker("d-1".parse().unwrap());
    let told = Told { revoked: Some(RefusalCode::DeviceEpoch), ..Told::default() };
    assert_eq!(author.revoked(&"acme".parse().unwrap(), NOW, Trusted::now(&told)), None);
}

struct Trust(Audience, TenantTrust, IssuerKey);

impl TrustView for Trust {
    fn audience(&self) -> &Audience {
        &self.0
    }
    fn issuer_keys(&self, _: KeyId) -> &[IssuerKey] {
        std::slice::from_ref(&self.2)
    }
    fn tenant(&self, _: &str) -> Option<&TenantTrust> {
        Some(&self.1)
    }
    fn group_epoch(&self, _: &TenantId, _: u64) -> u64 {
        0
    }
    fn device_epoch(&self, _: &TenantId, _: &str) -> u64 {
        0
    }
    fn token_revoked(&self, _: &TokenHash) -> bool {
        false
    }
    fn trusted_at(&self) -> Option<UnixSeconds> {
        Some(NOW)
    }
}

/// The rights of a bearer token with this scope: only the chain makes a grant, so it goes through the chain.
pub(crate) fn rights(entries: &[(&str, Permission)]) -> Rights {
    rights_of("acme", entries)
}

fn rights_of(tenant: &str, entries: &[(&str, Permission)]) -> Rights {
    let key = SecretKey::from_seed(&[4; 32]);
    let tenant = TenantId::parse(tenant).unwrap();
    let entry = |(filter, permission): &(&str, Permission)| ScopeEntry {
        filter: TopicFilter::parse(filter).unwrap(),
        permission: *permission,
    };
    let claims = Claims {
        tenant: tenant.clone(),
        device: "d-1".parse().unwrap(),
        audience: "broker".parse().unwrap(),
        expires: NOW.plus(100),
        not_before: None,
        issued: NOW,
        serial: Serial::from_counter(1),
        confirmation: None,
        scope: Scope::new(entries.iter().map(entry).collect()).unwrap(),
        epochs: Epochs::default(),
    };
    let staleness = StalenessBudget::default();
    let trust = Trust(
        claims.audience.clone(),
        TenantTrust { tenant: tenant.clone(), epoch: 0, suspended: false, bearer: true, staleness },
        IssuerKey {
            tenant,
            key: key.public(),
            not_before: NOW,
            not_after: NOW.plus(1000),
            state: KeyState::Active,
        },
    );
    let token = issue(&claims, Algorithm::Ed25519, &key).unwrap();
    let credential = tessera_token::proof::Credential { token, proof: None };
    let attempt = chain::Attempt::new(credential, "d-1");
    Rights::new(chain::admit(&attempt, &trust, NOW).unwrap().grant)
}

fn topic(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

fn wanted(text: &str) -> Subscription {
    Subscription::parse(text).unwrap()
}

#[test]
fn dollar_topics_are_closed_but_for_the_list() {
    let all = rights(&[
        ("#", Permission::Both),
        ("$SYS/#", Permission::Both),
        ("$tessera/#", Permission::Both),
    ]);
    for closed in [
        "$SYS/x",
        "$SYS",
        "$x",
        "$queue/a",
        "$tessera",
        "$tessera/x",
        "$tessera/token/x",
        "$TESSERA/token",
    ] {
        assert!(all.publish(&topic(closed), NOW).is_err(), "{closed}");
        assert!(all.subscribe(&wanted(closed), NOW).is_err(), "{closed}");
        assert!(all.receive(closed, NOW).is_err(), "{closed}");
        assert!(all.will(&topic(closed)).is_err(), "{closed}");
    }
    assert!(all.publish(&topic("$tessera/token"), NOW).is_ok());
    assert!(all.will(&topic("$tessera/token")).is_err());
    for open in ["$tessera/status", "$tessera/alerts"] {
        assert!(all.publish(&topic(open), NOW).is_err(), "{open}");
        assert!(all.subscribe(&wanted(open), NOW).is_ok(), "{open}");
    }
    for shared in ["$share/g/$tessera/token", "$share/g/$tessera/alerts", "$share/g/$SYS/x"] {
        assert!(all.subscribe(&wanted(shared), NOW).is_err(), "{shared}");
    }
}

#[test]
fn an_empty_scope_has_its_own_status_and_token_and_nothing_else() {
    let none = rights(&[]);
    assert!(none.subscribe(&wanted("$tessera/status"), NOW).is_ok());
    assert!(none.publish(&topic("$tessera/token"), NOW).is_ok());
    assert_eq!(
        none.subscribe(&wanted("$tessera/alerts"), NOW),
        Err(RefusalCode::SubscribeNotAuthorised)
    );
    assert_eq!(none.publish(&topic("a"), NOW), Err(RefusalCode::PublishNotAuthorised));
    assert_eq!(none.receive("a", NOW), Err(RefusalCode::DeliveryNotAuthorised));
    assert_eq!(none.will(&topic("a")), Err(RefusalCode::WillNotAuthorised));
}

#[test]
fn a_shared_filter_has_the_rights_of_the_filter() {
    let some = rights(&[("a/+", Permission::Subscribe)]);
    assert!(some.subscribe(&wanted("$share/g/a/b"), NOW).is_ok());
    assert!(some.subscribe(&wanted("$share/g/a/+"), NOW).is_ok());
    assert!(some.subscribe(&wanted("$share/g/a/#"), NOW).is_err());
    assert!(some.subscribe(&wanted("$share/a/b"), NOW).is_err());
}

#[test]
fn everything_but_the_will_ends_with_the_token() {
    let some = rights(&[("a", Permission::Both)]);
    let (last, over) = (NOW.plus(99), NOW.plus(100));
    assert!(some.publish(&topic("a"), last).is_ok());
    let expired = Err(RefusalCode::TokenExpired);
    assert_eq!(some.publish(&topic("a"), over), expired);
    assert_eq!(some.subscribe(&wanted("$tessera/status"), over), expired);
    assert_eq!(some.receive("a", over), expired);
    assert!(some.will(&topic("a")).is_ok());
}

/// No scope opens `$tessera/refresh`: it belongs to the tenant that provisioning keeps for itself.
#[test]
fn push_refresh_is_for_the_service_alone() {
    const REFRESH: &str = "$tessera/refresh";
    let all = Permission::Both;
    let others = [
        rights(&[]),
        rights(&[("#", all), (REFRESH, all), ("$tessera/#", all)]),
        rights_of("tessera.provisioning2", &[(REFRESH, all)]),
        rights_of("tessera", &[(REFRESH, all)]),
    ];
    for rights in others {
        assert!(rights.publish(&topic(REFRESH), NOW).is_err());
        for filter in [REFRESH, "$tessera/#", "$tessera/+", "$share/g/$tessera/refresh"] {
            assert!(rights.subscribe(&wanted(filter), NOW).is_err(), "{filter}");
        }
        assert!(rights.receive(REFRESH, NOW).is_err());
    }
    let service = rights_of("tessera.provisioning", &[]);
    assert!(service.publish(&topic(REFRESH), NOW).is_ok());
    assert!(service.subscribe(&wanted(REFRESH), NOW).is_ok());
    assert!(service.receive(REFRESH, NOW).is_ok());
    assert!(service.publish(&topic(REFRESH), NOW.plus(100)).is_err(), "its token has expired");
    for closed in ["$share/g/$tessera/refresh", "$tessera/#", "$tessera/alerts", "d/1/telemetry"] {
        assert!(service.subscribe(&wanted(closed), NOW).is_err(), "{closed}");
    }
    assert!(service.publish(&topic("d/1/cmd"), NOW).is_err());
    assert!(service.will(&topic(REFRESH)).is_err(), "no will");
}
