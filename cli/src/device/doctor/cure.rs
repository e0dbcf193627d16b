//! Cause and cure of each trouble; those of the broker stand in [`cure_broker`].

use tessera_token::refusal::RefusalCode;

use super::cure_broker;
use super::trouble::{Bearer, ProofFault, TokenFault, Trouble};
use super::verdict::{Cure, Ward};
use crate::time;

/// The cause and the cure of one trouble.
pub(super) fn of(trouble: &Trouble, ward: &Ward) -> Cure {
    match trouble {
        Trouble::Address(why) => Cure::new(
            None,
            why.clone(),
            "give --mqtt as host:port, mqtts://host:port, ws://host:port or wss://host:port",
        ),
        Trouble::TlsFile(why) => {
            Cure::new(None, why.clone(), "give a readable PEM file to --cafile, --cert and --key")
        }
        Trouble::Folder(why, remedy) => Cure::new(None, why.clone(), remedy.clone()),
        Trouble::Open(path, mode) => open(path, *mode),
        Trouble::ClientIdBad => Cure::new(
            RefusalCode::ClientIdInvalid,
            format!("{:?} is no client id", ward.client_id),
            format!("use {0} or {0}~suffix", ward.device),
        ),
        Trouble::ClientIdForeign(owner) => Cure::new(
            RefusalCode::ClientIdMismatch,
            format!("the client id {} is not one of {owner}", ward.client_id),
            format!("connect with --client-id {owner} or {owner}~suffix"),
        ),
        Trouble::PasswordFile(why) => Cure::new(
            None,
            why.clone(),
            "give a file of your own to --password @FILE, with mode 600",
        ),
        Trouble::PasswordForm(code) => Cure::new(*code, code.words(), new_password(ward)),
        Trouble::PasswordUnproved => Cure::new(
            RefusalCode::ProofMissing,
            "the password is a token alone, and the token is bound to a key",
            new_password(ward),
        ),
        Trouble::Standing(code) => standing(*code, ward),
        Trouble::Token(bearer, fault) => token(*bearer, fault, ward),
        Trouble::KeptClock(late) => Cure::new(
            RefusalCode::ProofNotFresh,
            format!("the clock that this folder kept was {}; it is corrected now", off(*late)),
            "connect again: the folder has the correction, and a new token",
        ),
        Trouble::Proof(fault) => proof(fault, ward),
        Trouble::ServiceBusy(code) => Cure::new(
            *code,
            format!("provisioning refuses for now: {}", code.words()),
            "wait a minute and ask again",
        ),
        Trouble::ServiceTls(why) => Cure::new(
            None,
            format!("provisioning at {} is not reached over TLS: {why}", ward.http),
            format!(
                "name the authority that signed its certificate: `cafile` in {}/device.json, or \
                the variable TESSERA_CAFILE",
                ward.dir
            ),
        ),
        Trouble::ServiceAway(why) => Cure::new(
            None,
            format!("provisioning at {} does not answer as it should ({why})", ward.http),
            format!("make {} reachable before the token expires", ward.http),
        ),
        Trouble::Unreachable(obstacle, why) => cure_broker::unreachable(*obstacle, why, ward),
        Trouble::Broker(fault) => cure_broker::told(fault, ward),
        Trouble::Refused(reason) => cure_broker::refused(reason, ward),
        Trouble::TopicBad(name, why) => cure_broker::bad_name("topic", name, why),
        Trouble::FilterBad(name, why) => cure_broker::bad_name("filter", name, why),
        Trouble::Publish(act) => cure_broker::publish(act, ward),
        Trouble::Subscribe(act) => cure_broker::subscribe(act, ward),
    }
}

fn open(path: &str, mode: u32) -> Cure {
    let wanted = if std::path::Path::new(path).is_dir() { "700" } else { "600" };
    Cure::new(
        None,
        format!("{path} has mode {mode:04o}: others can read it, or what is in it"),
        format!("chmod {wanted} {path} (and enrol with a new key if others may have read it)"),
    )
}

/// In words: by how much a clock is wrong; positive is behind.
pub(super) fn off(late: i64) -> String {
    let side = if late > 0 { "behind" } else { "ahead" };
    format!("{} {side}", time::span(late.unsigned_abs()))
}

/// The command that makes a password.
fn new_password(ward: &Ward) -> String {
    let more = match ward.client_id == ward.device {
        true => String::new(),
        false => format!(" --client-id {}", ward.client_id),
    };
    format!(
        "make a new password for each CONNECT: tessera device password --dir {}{more}",
        ward.dir
    )
}

pub(super) fn refresh(ward: &Ward) -> String {
    format!("tessera device token --refresh --dir {}", ward.dir)
}

fn standing(code: RefusalCode, ward: &Ward) -> Cure {
    let Ward { device, tenant, http, .. } = ward;
    let again =
        "enrol again into a new folder, or ask for another key: tessera device enrol --help, \
                 tessera device rekey --help";
    let (cause, remedy) = match code {
        RefusalCode::DeviceRevoked => (
            format!("an operator revoked device {device} of tenant {tenant}"),
            format!(
                "an operator reinstates it: tessera reinstate device {device} --tenant {tenant}"
            ),
        ),
        RefusalCode::DeviceSuspended => (
            format!("an operator suspended device {device} of tenant {tenant}"),
            format!(
                "an operator reinstates it: tessera reinstate device {device} --tenant {tenant}"
            ),
        ),
        RefusalCode::GroupSuspended => (
            format!("an operator suspended the group of device {device} of tenant {tenant}"),
            format!(
                "an operator reinstates it: tessera reinstate group GROUP --tenant {tenant} \
                (`tessera devices {device}` names the group)"
            ),
        ),
        RefusalCode::TenantSuspended => (
            format!("tenant {tenant} is suspended"),
            format!("an operator reinstates it: tessera reinstate tenant {tenant}"),
        ),
        RefusalCode::ProofInvalid | RefusalCode::DeviceUnknown | RefusalCode::TenantUnknown => (
            format!(
                "{http} knows no device {device} of tenant {tenant} with the key of this folder"
            ),
            format!("take the folder that holds its key, {again}"),
        ),
        RefusalCode::DeviceKeyMismatch => {
            (format!("device {device} is enrolled with another key"), again.to_owned())
        }
        RefusalCode::IssuerKeyMissing => (
            code.words().to_owned(),
            format!("an operator makes one: tessera keys rotate --tenant {tenant}"),
        ),
        RefusalCode::ProofNotFresh => (
            format!("{http} refuses the time of the request, and gave no nonce to sign instead"),
            "set the clock of this machine".to_owned(),
        ),
        other => (
            format!("provisioning refuses: {}", other.words()),
            format!("ask an operator of {http}"),
        ),
    };
    Cure::new(code, cause, remedy)
}

fn token(bearer: Bearer, fault: &TokenFault, ward: &Ward) -> Cure {
    let (what, remedy) = match bearer {
        Bearer::Password => ("the token in the password", new_password(ward)),
        Bearer::Folder => ("the token", refresh(ward)),
    };
    let (code, cause) = match fault {
        TokenFault::Malformed => {
            (RefusalCode::TokenMalformed, format!("{what} is no token of Tessera"))
        }
        TokenFault::Tenant(tenant) => (
            RefusalCode::IssuerMismatch,
            format!("{what} is of tenant {tenant}, and this folder of tenant {}", ward.tenant),
        ),
        TokenFault::Device(device) => (
            RefusalCode::ClientIdMismatch,
            format!("{what} is of device {device}, and this folder of device {}", ward.device),
        ),
        TokenFault::Key => (
            RefusalCode::ProofInvalid,
            format!("{what} is bound to another key than the one in this folder"),
        ),
        TokenFault::Audience(held, fresh) => (
            RefusalCode::AudienceMismatch,
            format!("{what} is for the audience {held}, and provisioning issues for {fresh} now"),
        ),
        TokenFault::Expired(ago) => {
            (RefusalCode::TokenExpired, format!("{what} expired {} ago", time::span(*ago)))
        }
        TokenFault::NotYet(wait) => (
            RefusalCode::TokenNotYetValid,
            format!("{what} is valid in {} only: a clock is wrong", time::span(*wait)),
        ),
        TokenFault::Epoch(code) => (*code, format!("{what} was revoked: {}", code.words())),
    };
    Cure::new(code, cause, remedy)
}

fn proof(fault: &ProofFault, ward: &Ward) -> Cure {
    let cause = match fault {
        ProofFault::ClientId(made) => {
            format!("the proof in the password is for client id {made}, and {} is tried",
                ward.client_id)
        }
        ProofFault::Verifier(made) => {
            let cause = format!(
                "the proof in the password is for the verifier {made}, and another one is tried"
            );
            let remedy = format!(
                "make the password for the name that the broker has: tessera device password \
                    --verifier NAME --dir {}",
                ward.dir
            );
            return Cure::new(RefusalCode::ProofInvalid, cause, remedy);
        }
        ProofFault::FolderKey => {
            "the key of this folder made the proof, and the token in the password is bound to \
                another".to_owned()
        }
        ProofFault::Unknown => format!(
            "the proof in the password was made by another key, or for another client id than {} or \
                another verifier",
            ward.client_id
        ),
        ProofFault::Stale(ago) => {
            let span = time::span(ago.unsigned_abs());
            let cause = match *ago > 0 {
                true => format!("the password was made {span} ago, and is good for 60 s"),
                false => format!("the password is for a time {span} ahead, and is good within 60 s"),
            };
            return Cure::new(RefusalCode::ProofNotFresh, cause, new_password(ward));
        }
    };
    Cure::new(RefusalCode::ProofInvalid, cause, new_password(ward))
}

impl TokenFault {
    /// Whether a new token mends it.
    pub(super) fn needs_provisioning(&self) -> bool {
        !matches!(self, Self::Key)
    }
}
