//! Finds out why a device is refused. The wire tells no reason before a proof holds, so every step that the broker
//! would take is taken here first, with the device's own knowledge, and provisioning is asked for the rest. Then all
//! that was asked for is tried.
//!
//! [`home`] looks at the folder, [`service`] asks provisioning, [`token`] and [`password`] judge as a broker does,
//! [`broker`] connects, [`experiment`] explains a refusal, [`acts`] publishes and subscribes. Each fault is a [`trouble`]; [`verdict`] makes
//! one cause and one cure of all ([`cure`], [`cure_broker`]). [`visit`] keeps and tells the steps.

mod acts;
mod broker;
mod cure;
mod cure_broker;
mod experiment;
mod home;
mod password;
mod service;
mod token;
mod trouble;
mod verdict;
mod visit;

use tessera_simulators::device::credential::HeldToken;
use tessera_simulators::device::identity::Identity;
use tessera_token::claims::Claims;
use tessera_token::ids::{DeviceId, TenantId, VerifierName};
use tessera_token::key::SecretKey;
use tessera_token::proof::SymmetricKey;

use super::enrol::clock;
use super::folder::{Card, Folder};
use crate::args::{DoctorArgs, TlsArgs};
use crate::error::Outcome;
use crate::time;
use acts::Rights;
use broker::{Clocks, Door};
use password::{Meant, Proved, Shown};
use service::Fresh;
use token::Known;
use trouble::{Bearer, ProofFault, TokenFault, Trouble};
use verdict::Ward;
use visit::Visit;

pub(super) async fn run(args: DoctorArgs) -> Outcome {
    let folder = Folder::of(&args.folder);
    let ward = Ward {
        dir: folder.path().display().to_string(),
        mqtt: args.at.mqtt.clone(),
        client_id: args.client_id.clone().unwrap_or_default(),
        ..Ward::default()
    };
    let mut visit = Visit::new(ward, args.json);
    match folder.card() {
        Ok(card) => examine(&mut visit, &folder, &card, &args).await,
        Err(fault) => {
            let otherwise = "enrol first: tessera device enrol --help";
            visit.bad("folder", home::of_fault(&fault, otherwise));
        }
    }
    Ok(visit.end())
}

async fn examine(visit: &mut Visit, folder: &Folder, card: &Card, args: &DoctorArgs) {
    visit.ward.device.clone_from(&card.device);
    visit.ward.tenant.clone_from(&card.tenant);
    visit.ward.http.clone_from(&card.http);
    if args.client_id.is_none() {
        visit.ward.client_id.clone_from(&card.device);
    }
    visit.good("folder", home::who(card));
    let Some(key) = home::key(visit, folder) else { return };
    let counter_lost = home::counter(visit, folder);
    let (Ok(tenant), Ok(device)) = (TenantId::parse(&card.tenant), DeviceId::parse(&card.device))
    else {
        let remedy = "bring the file back, or enrol again into a new folder";
        let words = "device.json names no tenant or no device".to_owned();
        return visit.bad("folder", Trouble::Folder(words, remedy.to_owned()));
    };
    // The clock of what the folder has, and the one that the answer of provisioning sets.
    let (kept, told) = (clock(card), clock(card));
    let identity = Identity { tenant, device, key: key.clone() };
    let fresh = service::standing(visit, card, &identity, &told).await;
    let corrected = service::clock(visit, folder, card, &told, fresh.is_some()).await;
    let known = Known {
        tenant: &card.tenant,
        device: &card.device,
        key: &key.public(),
        fresh: fresh.as_ref().map(|fresh| &fresh.claims),
        now: told.now(),
    };
    let shown = match args.password.as_deref().map(password::read) {
        Some(Err(trouble)) => return visit.bad("password", trouble),
        Some(Ok(shown)) => Some(shown),
        None => None,
    };
    let is_corrected = corrected.is_some();
    let held = match (&shown, corrected.map_or_else(|| folder.token(), Ok)) {
        (_, Ok(held)) => Some(held),
        (Some(_), Err(_)) => None,
        (None, Err(fault)) => {
            let otherwise = cure::refresh(&visit.ward);
            visit.bad("token", home::of_fault(&fault, &otherwise));
            None
        }
    };
    let mut proof = None;
    let claims = match &shown {
        Some(shown) => {
            let same = held.as_ref().filter(|held| held.bytes == shown.credential.token);
            let symmetric = same.and_then(|held| held.key.as_ref());
            proof = judge_password(visit, shown, &known, args.at.verifier.as_ref(), symmetric);
            Some(shown.claims.clone())
        }
        None => {
            home::client_id(visit, &card.device);
            held.as_ref().and_then(|held| judge_token(visit, held, &known))
        }
    };
    let claims = claims.or_else(|| known.fresh.cloned());
    let foreign = shown.as_ref().and_then(|shown| {
        token::owner(&shown.claims, &known).or_else(|| token::foreign_key(&shown.claims, &known))
    });
    let clocks = Clocks {
        kept: if is_corrected { folder.card().map_or(kept, |card| clock(&card)) } else { kept },
        told,
        is_corrected,
    };
    let given = Given { key, counter_lost, held, fresh, shown, foreign, proof, clocks, claims };
    attempt(visit, folder, args, given).await;
}

/// Findings of the steps before the broker.
struct Given {
    key: SecretKey,
    counter_lost: bool,
    held: Option<HeldToken>,
    fresh: Option<Fresh>,
    shown: Option<Shown>,
    /// Parts of the password that are foreign to the folder.
    foreign: Option<TokenFault>,
    /// Suspected fault of its proof.
    proof: Option<ProofFault>,
    clocks: Clocks,
    claims: Option<Claims>,
}

async fn attempt(visit: &mut Visit, folder: &Folder, args: &DoctorArgs, given: Given) {
    let trust = folder.card().map(|card| card.trust()).unwrap_or_default();
    let broker = match TlsArgs::find(&args.at.mqtt) {
        Err(fault) => return visit.bad("broker", Trouble::Address(fault.words().to_owned())),
        Ok(broker) => args.at.tls.trusting(broker, trust),
    };
    let broker = match broker {
        Err(fault) => return visit.bad("broker", Trouble::TlsFile(fault.words().to_owned())),
        Ok(broker) => broker,
    };
    let Given { key, counter_lost, held, fresh, shown, foreign, proof, clocks, claims } = given;
    let new = fresh.as_ref().map(|fresh| fresh.claims.clone());
    let door = Door {
        broker,
        client_id: visit.ward.client_id.clone(),
        verifier: args.at.verifier.clone(),
        folder,
        key,
        clocks,
        token: held.or_else(|| fresh.as_ref().map(|fresh| fresh.token.clone())),
        fresh,
        shown,
        foreign,
        proof,
        v5_alone: args.v5,
        counter_lost,
    };
    let link = door.enter(visit).await;
    if let Some(held) = &claims {
        let rights = Rights { held, fresh: new.as_ref() };
        acts::run(visit, link, &args.topic, &args.subscribe, &rights).await;
    }
}

/// The token of the folder, and its claims when it can be read.
fn judge_token(visit: &mut Visit, held: &HeldToken, known: &Known<'_>) -> Option<Claims> {
    let claims = match token::read(&held.bytes) {
        Ok(claims) => claims,
        Err(fault) => {
            visit.bad("token", Trouble::Token(Bearer::Folder, fault));
            return None;
        }
    };
    let owner = token::owner(&claims, known).or_else(|| token::foreign_key(&claims, known));
    match owner.or_else(|| token::faults(&claims, known)) {
        Some(fault) => visit.bad("token", Trouble::Token(Bearer::Folder, fault)),
        None => visit.good("token", good_for(&claims, known)),
    }
    Some(claims)
}

fn good_for(claims: &Claims, known: &Known<'_>) -> String {
    let left = time::span(claims.expires.since(known.now));
    format!("for the audience {}, good for another {left}", claims.audience)
}

/// The password that was given: its token, its client id, its proof. A suspected fault of the proof counts when the
/// broker refuses it: only the broker knows its name.
fn judge_password(
    visit: &mut Visit,
    shown: &Shown,
    known: &Known<'_>,
    verifier: Option<&VerifierName>,
    symmetric: Option<&SymmetricKey>,
) -> Option<ProofFault> {
    let claims = &shown.claims;
    let words = format!("of device {} of tenant {}", claims.device, claims.tenant);
    match shown.hex {
        true => visit
            .note("password", format!("{words}, given as hexadecimal: a client sends the bytes")),
        false => visit.good("password", words),
    }
    home::client_id(visit, claims.device.as_str());
    match token::faults(claims, known) {
        Some(fault) => visit.bad("token", Trouble::Token(Bearer::Password, fault)),
        None => visit.good("token", good_for(claims, known)),
    }
    let client_id = visit.ward.client_id.clone();
    let verifier = verifier.map_or(claims.audience.as_str(), VerifierName::as_str);
    let (own, now) = (known.key, known.now);
    let meant = Meant { client_id: &client_id, verifier, own, symmetric, now };
    let made = shown.credential.proof.as_ref().map(|proof| time::utc(proof.time.get()));
    let made = made.unwrap_or_default();
    match shown.proved(&meant) {
        None => visit.good("proof", "none: a bearer token"),
        Some(Proved::Yes) => {
            let words =
                format!("by the key of the token, for {client_id} at {verifier}, of {made}");
            visit.good("proof", words);
        }
        Some(Proved::NotHere) => {
            visit.good("proof", format!("of {made}, by a secret that is not here: not checked"));
        }
        Some(Proved::No(fault)) => {
            let found = cure::of(&Trouble::Proof(fault.clone()), &visit.ward);
            visit.tried("proof", false, &found.told());
            return Some(fault);
        }
    }
    None
}
