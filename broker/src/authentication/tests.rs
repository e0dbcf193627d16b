use std::sync::mpsc::sync_channel;

use tessera_token::chain::{
    Attempt, IssuerKey, KeyState, Screened, StalenessBudget, TenantTrust, TrustView,
};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, KeyId, SecretKey};
use tessera_token::proof::{Presented, Proof};
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;
use tokio::sync::oneshot;

use super::pool::{Dispatcher, Job};

const NOW: UnixSeconds = UnixSeconds::new(1_790_000_000);

/// One tenant with one key.
struct Known {
    audience: Audience,
    tenant: TenantTrust,
    keys: [IssuerKey; 1],
}

impl TrustView for Known {
    fn audience(&self) -> &Audience {
        &self.audience
    }
    fn issuer_keys(&self, _: KeyId) -> &[IssuerKey] {
        &self.keys
    }
    fn tenant(&self, _: &str) -> Option<&TenantTrust> {
        Some(&self.tenant)
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

fn screened() -> Screened {
    let (tenant, audience) = (TenantId::parse("t").unwrap(), Audience::parse("mqtt").unwrap());
    let key = SecretKey::from_seed(&[1; 32]);
    let claims = Claims {
        tenant: tenant.clone(),
        device: DeviceId::parse("d").unwrap(),
        audience: audience.clone(),
        expires: NOW.plus(60),
        not_before: None,
        issued: NOW,
        serial: Serial::from_counter(1),
        confirmation: None,
        scope: Scope::new(Vec::new()).unwrap(),
        epochs: Epochs::default(),
    };
    let token = issue(&claims, Algorithm::Ed25519, &key).unwrap();
    let known = Known {
        audience,
        tenant: TenantTrust {
            tenant: tenant.clone(),
            epoch: 0,
            suspended: false,
            bearer: true,
            staleness: StalenessBudget::default(),
        },
        keys: [IssuerKey {
            tenant,
            key: key.public(),
            not_before: NOW,
            not_after: NOW.plus(60),
            state: KeyState::Active,
        }],
    };
    let presented = Presented { token, proof: Proof::None };
    Screened::new(Attempt::new(presented, "d"), &known, NOW).unwrap()
}

fn job() -> Job {
    let (reply, _) = oneshot::channel();
    Job::Connect { screened: Box::new(screened()), tickets: Default::default(), reply }
}

#[test]
fn queues_take_turns_and_a_full_one_is_passed_over() {
    let (first, one) = sync_channel(1);
    let (second, two) = sync_channel(2);
    let dispatcher = Dispatcher::new(vec![first, second]);
    for _ in 0..3 {
        assert!(dispatcher.dispatch(()).is_ok());
    }
    assert!(dispatcher.dispatch(()).is_err());
    assert_eq!((one.try_iter().count(), two.try_iter().count()), (1, 2));
    drop(one);
    assert!(dispatcher.dispatch(()).is_ok());
    assert_eq!(two.try_iter().count(), 1);
}

#[test]
fn without_workers_nobody_gets_in() {
    assert!(Dispatcher::new(Vec::new()).dispatch(()).is_err());
}

#[test]
fn what_no_queue_takes_is_refused_at_once() {
    let verdict = actix_rt::System::new().block_on(async {
        let actor = super::start_actor(&super::Workers::none());
        let (reply, verdict) = oneshot::channel();
        let job =
            Job::Connect { screened: Box::new(screened()), tickets: Default::default(), reply };
        actor.try_send(job).unwrap();
        verdict.await.unwrap()
    });
    assert_eq!(verdict.unwrap_err().code, tessera_token::refusal::RefusalCode::LimitReached);
}

#[test]
fn a_full_mailbox_refuses() {
    actix_rt::System::new().block_on(async {
        let actor = super::start_actor(&super::Workers::none());
        tokio::task::yield_now().await;
        // The actor has no turn in between: all of these wait.
        let taken = (0..10 * crate::limits::AUTHENTICATION_MAILBOX)
            .take_while(|_| actor.try_send(job()).is_ok())
            .count();
        assert!(taken <= crate::limits::AUTHENTICATION_MAILBOX + 1, "{taken}");
    });
}

#[test]
fn suspects_have_few_places_and_others_need_none() {
    let places = tokio::sync::Semaphore::new(crate::limits::AUTHENTICATION_SUSPECTS);
    let held: Vec<_> = (0..crate::limits::AUTHENTICATION_SUSPECTS)
        .map(|_| super::place(&places, true).unwrap())
        .collect();
    let busy = tessera_token::refusal::RefusalCode::LimitReached;
    assert_eq!(super::place(&places, true).err(), Some(busy));
    assert!(super::place(&places, false).unwrap().is_none());
    drop(held);
    assert!(super::place(&places, true).is_ok());
}
