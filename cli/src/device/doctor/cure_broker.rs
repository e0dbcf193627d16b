//! Cause and cure of what the broker, or the way to it, shows.

use tessera_simulators::mqtt::Obstacle;
use tessera_token::refusal::RefusalCode;

use super::cure::refresh;
use super::trouble::{Act, Bearer, BrokerFault, Reason};
use super::verdict::{Cure, Ward};

pub(super) fn unreachable(obstacle: Obstacle, why: &str, ward: &Ward) -> Cure {
    let at = &ward.mqtt;
    let bare = at.split_once("://").map_or(at.as_str(), |(_, rest)| rest);
    let (cause, remedy) = match obstacle {
        Obstacle::Address => (
            format!("nothing answers at {at} ({why})"),
            "correct the host in --mqtt, or mend the network in between".to_owned(),
        ),
        Obstacle::Source => (
            format!("this machine has no free port to connect from ({why})"),
            "end some of its connections, or try again in a minute".to_owned(),
        ),
        Obstacle::Port => (
            format!("nothing listens at {at} ({why})"),
            "start the broker, or correct the port in --mqtt".to_owned(),
        ),
        Obstacle::Untrusted => (
            format!("the certificate of {at} is not trusted: {why}"),
            "name the authority that signed it: --cafile FILE".to_owned(),
        ),
        Obstacle::WrongName => (
            format!("the certificate of {at} is for another name: {why}"),
            "use a name in --mqtt that stands in the certificate".to_owned(),
        ),
        Obstacle::Tls => (
            format!("{at} does not speak TLS that is spoken here: {why}"),
            "give the port of a TLS listener, or mqtt:// (ws://) for one in clear".to_owned(),
        ),
        Obstacle::NoCertificate => (
            format!("{at} asks for a certificate of the client"),
            "show one: --cert FILE --key FILE".to_owned(),
        ),
        Obstacle::Upgrade => (
            format!("no WebSocket for MQTT at {at}: {why}"),
            "give the path of the broker's WebSocket, /mqtt, or the port of another \
                listener"
                .to_owned(),
        ),
        Obstacle::SpeaksTls => (
            format!("{at} speaks TLS, and was spoken to in clear"),
            format!("use --mqtt mqtts://{bare} (or wss://)"),
        ),
        Obstacle::SpeaksHttp => (
            format!("{at} speaks HTTP, and no MQTT"),
            format!("use the MQTT port of the broker, or --mqtt ws://{bare} for a WebSocket"),
        ),
        Obstacle::Closed => (
            format!("{at} took the CONNECT and closed the connection without an answer ({why})"),
            "see that it is the MQTT port of the broker; when it is, wait a minute: it may bound \
                this address"
                .to_owned(),
        ),
        Obstacle::Silent => (
            format!("{at} took the connection and does not answer CONNECT ({why})"),
            "see that it is the MQTT port of the broker, and that the broker is not \
                overloaded"
                .to_owned(),
        ),
        Obstacle::NotMqtt => (
            format!("{at} answers with something that is no MQTT ({why})"),
            "give the MQTT port of the broker to --mqtt".to_owned(),
        ),
    };
    Cure::new(None, cause, remedy)
}

pub(super) fn told(fault: &BrokerFault, ward: &Ward) -> Cure {
    let at = &ward.mqtt;
    match fault {
        BrokerFault::Busy => Cure::new(
            RefusalCode::RateLimited,
            format!("{at} takes no more connects now, from this network or in all"),
            "wait a minute and connect again, at longer intervals",
        ),
        BrokerFault::NotReady => Cure::new(
            RefusalCode::NotReady,
            format!("{at} cannot judge now: it stops, came back from a crash (proof_undecided), or \
                has no trust data (trust_missing, trust_not_followed)"),
            "connect again in a few seconds; when it stays so, /readyz of the broker names the part",
        ),
        BrokerFault::Share => Cure::new(
            RefusalCode::ShareUsedUp,
            "the device or its tenant holds as much as it may at the broker",
            "end persistent sessions or retained messages of the device, or raise its share",
        ),
        BrokerFault::Foreign(reason) => Cure::new(
            None,
            format!("{at} refuses with {reason}, which Tessera does not answer to a password"),
            "see that --mqtt is the broker of Tessera",
        ),
    }
}

pub(super) fn refused(reason: &Reason, ward: &Ward) -> Cure {
    let Ward { dir, client_id, http, mqtt, .. } = ward;
    let whose = |bearer: &Bearer| match bearer {
        Bearer::Password => "the token in the password",
        Bearer::Folder => "the token",
    };
    let renew = |bearer: &Bearer| match bearer {
        Bearer::Password => format!("{}, then make a new password", refresh(ward)),
        Bearer::Folder => refresh(ward),
    };
    match reason {
        Reason::PasswordUsed => Cure::new(
            RefusalCode::ProofReplayed,
            "the password was used already, or a later one of this client id was",
            format!("make a new password for each CONNECT: tessera device password --dir {dir}"),
        ),
        Reason::PlaceUsed(lost) => {
            let why = match lost {
                true => "the counter file was lost",
                false => "a clock was set back, or a copy of this folder is in use",
            };
            Cure::new(
                RefusalCode::ProofReplayed,
                format!("a later proof of this key and client id {client_id} was used: {why}"),
                "connect again in two minutes, and use the folder on one machine alone",
            )
        }
        Reason::TokenRevoked(bearer) => Cure::new(
            RefusalCode::TokenRevoked,
            format!("{} was revoked; a new one is taken", whose(bearer)),
            renew(bearer),
        ),
        Reason::IssuerKey(bearer) => Cure::new(
            RefusalCode::KeyNotValid,
            format!("the broker does not take the issuer key of {}: it was withdrawn, or is of \
                another provisioning (key_unknown); a new token is taken", whose(bearer)),
            renew(bearer),
        ),
        Reason::SymmetricKey => Cure::new(
            RefusalCode::ConfirmationKey,
            "the broker does not take the symmetric key of the token: its derivation key was \
                withdrawn, or the token was revoked",
            format!("{} --pop key", refresh(ward)),
        ),
        Reason::BearerToken => Cure::new(
            RefusalCode::BearerNotAllowed,
            "the token is bound to no key, and the tenant does not allow that (or the token was \
                revoked)",
            refresh(ward),
        ),
        Reason::Clock(late, set) => {
            let (by, remedy) = match set {
                true => ("the time of provisioning", "set the clock of the broker".to_owned()),
                false => (
                    "the clock of this device",
                    format!("set the clock of this machine, or make {http} reachable: its token \
                        sets the clock"),
                ),
            };
            let span = super::cure::off(late.saturating_neg());
            let cause = format!("the clock of {mqtt} is {span} by {by}");
            Cure::new(RefusalCode::ProofNotFresh, cause, remedy)
        }
        Reason::Verifier(name, given) => Cure::new(
            RefusalCode::ProofInvalid,
            match given {
                true => format!("the verifier of {mqtt} is not named {name}: the broker knows token \
                    and key, and takes no proof for that name"),
                false => format!("the verifier of {mqtt} has a name of its own, which is not the \
                    audience {name}: the broker knows token and key, and takes no proof for that name"),
            },
            "ask its operator for the name (`verifier`), and give it: --verifier NAME",
        ),
        Reason::NotOurs(audience) => Cure::new(
            RefusalCode::AudienceMismatch,
            format!("{mqtt} takes no token of {http}: it has another audience than {audience}, or \
                follows another provisioning (key_unknown)"),
            format!("correct --mqtt; or set `audience` of the broker to {audience} and its \
                root.thumbprint to the one of {http}"),
        ),
        Reason::Unknown => Cure::new(
            None,
            format!("{mqtt} refuses the connection, and all that this device can see is well: \
                another audience or verifier name, other trust data, or trust data that are too old \
                (trust_stale)"),
            "read the code of the refusal in the log of the broker",
        ),
    }
}

pub(super) fn bad_name(kind: &str, name: &str, why: &str) -> Cure {
    Cure::new(None, format!("{name:?} is no {kind}: {why}"), format!("correct the {kind}"))
}

pub(super) fn publish(act: &Act, ward: &Ward) -> Cure {
    right(RefusalCode::PublishNotAuthorised, act, "publish to", "--topic", ward)
}

pub(super) fn subscribe(act: &Act, ward: &Ward) -> Cure {
    right(RefusalCode::SubscribeNotAuthorised, act, "subscribe to", "--subscribe", ward)
}

/// A right that is not there, or an act within the rights that was refused all the same.
fn right(code: RefusalCode, act: &Act, verb: &str, option: &str, ward: &Ward) -> Cure {
    let Act { name, told, rights, covered, by_new } = act;
    if *covered {
        let cause = format!("the token may {verb} {name}, and the broker refuses it ({told})");
        let code = (told == "quota_exceeded").then_some(RefusalCode::ShareUsedUp);
        return Cure::new(code, cause, "read the code of the refusal in the log of the broker");
    }
    let may = match rights.as_slice() {
        [] => "it may not do so anywhere".to_owned(),
        rights => format!("it may {verb} {}", rights.join(", ")),
    };
    let cause = format!("the token may not {verb} {name} ({may})");
    let remedy = match (by_new, rights.first()) {
        (true, _) => refresh(ward),
        (false, Some(first)) => format!(
            "use a right of the token, as {option} {first}, or let an \
            operator add the topic to the role of {}",
            ward.device
        ),
        (false, None) => format!("let an operator add the topic to the role of {}", ward.device),
    };
    Cure::new(code, cause, remedy)
}
