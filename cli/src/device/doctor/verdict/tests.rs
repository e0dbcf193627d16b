use tessera_simulators::mqtt::Obstacle;

use super::super::trouble::{Act, Bearer, BrokerFault, ProofFault, Reason, TokenFault};
use super::*;

fn ward() -> Ward {
    Ward {
        dir: "d-17".into(),
        device: "d-17".into(),
        tenant: "acme".into(),
        http: "http://p:1".into(),
        mqtt: "b:1883".into(),
        client_id: "d-17".into(),
    }
}

fn act(covered: bool, by_new: bool) -> Act {
    Act {
        name: "d/x/t".into(),
        told: "not_authorized".into(),
        rights: vec!["d/d-17/telemetry".into()],
        covered,
        by_new,
    }
}

/// Every kind, its code, and a word of the cause and of the cure.
fn kinds() -> Vec<(Trouble, Option<RefusalCode>, &'static str, &'static str)> {
    use RefusalCode as C;
    let folder = |fault| Trouble::Token(Bearer::Folder, fault);
    let password = |fault| Trouble::Token(Bearer::Password, fault);
    let away = |obstacle| Trouble::Unreachable(obstacle, "why".into());
    let text = String::from;
    vec![
        (Trouble::Address(text("x is no broker")), None, "no broker", "--mqtt"),
        (Trouble::TlsFile(text("f: no PEM")), None, "no PEM", "--cafile"),
        (Trouble::Folder(text("no folder"), text("enrol first")), None, "no folder", "enrol first"),
        (Trouble::Open(text("d/device.key"), 0o640), None, "0640", "chmod 600 d/device.key"),
        (Trouble::ClientIdBad, Some(C::ClientIdInvalid), "no client id", "d-17~suffix"),
        (
            Trouble::ClientIdForeign(text("d-2")),
            Some(C::ClientIdMismatch),
            "d-2",
            "--client-id d-2",
        ),
        (Trouble::PasswordFile(text("p: gone")), None, "p: gone", "--password @FILE"),
        (
            Trouble::PasswordForm(C::CredentialMalformed),
            Some(C::CredentialMalformed),
            "base64url",
            "device password",
        ),
        (
            Trouble::PasswordForm(C::ProofMalformed),
            Some(C::ProofMalformed),
            "proof",
            "device password",
        ),
        (Trouble::PasswordUnproved, Some(C::ProofMissing), "alone", "device password"),
        (
            Trouble::Standing(C::DeviceRevoked),
            Some(C::DeviceRevoked),
            "revoked",
            "reinstate device d-17 --tenant acme",
        ),
        (
            Trouble::Standing(C::TenantSuspended),
            Some(C::TenantSuspended),
            "suspended",
            "reinstate tenant acme",
        ),
        (
            Trouble::Standing(C::ProofInvalid),
            Some(C::ProofInvalid),
            "knows no device d-17",
            "enrol",
        ),
        (
            Trouble::Standing(C::DeviceKeyMismatch),
            Some(C::DeviceKeyMismatch),
            "another key",
            "enrol",
        ),
        (
            Trouble::Standing(C::IssuerKeyMissing),
            Some(C::IssuerKeyMissing),
            "issuer key",
            "keys rotate",
        ),
        (Trouble::Standing(C::ProofNotFresh), Some(C::ProofNotFresh), "time", "clock"),
        (
            Trouble::Standing(C::CapacityReached),
            Some(C::CapacityReached),
            "hold no more",
            "operator",
        ),
        (folder(TokenFault::Malformed), Some(C::TokenMalformed), "no token", "--refresh"),
        (folder(TokenFault::Tenant(text("t"))), Some(C::IssuerMismatch), "tenant t", "--refresh"),
        (
            folder(TokenFault::Device(text("d-2"))),
            Some(C::ClientIdMismatch),
            "device d-2",
            "--refresh",
        ),
        (folder(TokenFault::Key), Some(C::ProofInvalid), "another key", "--refresh"),
        (
            folder(TokenFault::Audience(text("a"), text("b"))),
            Some(C::AudienceMismatch),
            "audience a",
            "--refresh",
        ),
        (folder(TokenFault::Expired(9)), Some(C::TokenExpired), "9 s ago", "--refresh"),
        (folder(TokenFault::NotYet(99)), Some(C::TokenNotYetValid), "99 s", "--refresh"),
        (folder(TokenFault::Epoch(C::GroupEpoch)), Some(C::GroupEpoch), "revoked", "--refresh"),
        (
            password(TokenFault::Expired(9)),
            Some(C::TokenExpired),
            "in the password",
            "device password",
        ),
        (Trouble::KeptClock(-4000), Some(C::ProofNotFresh), "66 min 40 s ahead", "connect again"),
        (
            Trouble::Proof(ProofFault::ClientId(text("d-17~2"))),
            Some(C::ProofInvalid),
            "d-17~2",
            "device password",
        ),
        (
            Trouble::Proof(ProofFault::Verifier(text("north"))),
            Some(C::ProofInvalid),
            "verifier north",
            "--verifier NAME",
        ),
        (
            Trouble::Proof(ProofFault::FolderKey),
            Some(C::ProofInvalid),
            "bound to another",
            "device password",
        ),
        (
            Trouble::Proof(ProofFault::Unknown),
            Some(C::ProofInvalid),
            "another key",
            "device password",
        ),
        (
            Trouble::Proof(ProofFault::Stale(300)),
            Some(C::ProofNotFresh),
            "5 min 0 s ago",
            "device password",
        ),
        (
            Trouble::Proof(ProofFault::Stale(-300)),
            Some(C::ProofNotFresh),
            "ahead",
            "device password",
        ),
        (away(Obstacle::Address), None, "nothing answers", "host"),
        (away(Obstacle::Source), None, "no free port", "try again"),
        (away(Obstacle::Port), None, "nothing listens", "port"),
        (away(Obstacle::Untrusted), None, "not trusted", "--cafile"),
        (away(Obstacle::WrongName), None, "another name", "name in --mqtt"),
        (away(Obstacle::Tls), None, "TLS", "listener"),
        (away(Obstacle::NoCertificate), None, "certificate of the client", "--cert"),
        (away(Obstacle::Upgrade), None, "WebSocket", "/mqtt"),
        (away(Obstacle::SpeaksTls), None, "speaks TLS", "mqtts://b:1883"),
        (away(Obstacle::SpeaksHttp), None, "HTTP", "ws://b:1883"),
        (away(Obstacle::Closed), None, "closed", "MQTT port"),
        (away(Obstacle::Silent), None, "does not answer", "MQTT port"),
        (away(Obstacle::NotMqtt), None, "no MQTT", "MQTT port"),
        (Trouble::Broker(BrokerFault::Busy), Some(C::RateLimited), "no more connects", "wait"),
        (Trouble::Broker(BrokerFault::NotReady), Some(C::NotReady), "cannot judge", "readyz"),
        (Trouble::Broker(BrokerFault::Share), Some(C::ShareUsedUp), "holds", "share"),
        (Trouble::Broker(BrokerFault::Foreign(text("Banned"))), None, "Banned", "--mqtt"),
        (
            Trouble::Refused(Reason::PasswordUsed),
            Some(C::ProofReplayed),
            "used already",
            "device password",
        ),
        (
            Trouble::Refused(Reason::PlaceUsed(true)),
            Some(C::ProofReplayed),
            "counter file was lost",
            "two minutes",
        ),
        (
            Trouble::Refused(Reason::PlaceUsed(false)),
            Some(C::ProofReplayed),
            "set back",
            "two minutes",
        ),
        (
            Trouble::Refused(Reason::TokenRevoked(Bearer::Folder)),
            Some(C::TokenRevoked),
            "revoked",
            "--refresh",
        ),
        (
            Trouble::Refused(Reason::TokenRevoked(Bearer::Password)),
            Some(C::TokenRevoked),
            "in the password",
            "new password",
        ),
        (
            Trouble::Refused(Reason::IssuerKey(Bearer::Folder)),
            Some(C::KeyNotValid),
            "issuer key",
            "--refresh",
        ),
        (
            Trouble::Refused(Reason::SymmetricKey),
            Some(C::ConfirmationKey),
            "symmetric",
            "--pop key",
        ),
        (Trouble::Refused(Reason::BearerToken), Some(C::BearerNotAllowed), "no key", "--refresh"),
        (
            Trouble::Refused(Reason::Clock(90, true)),
            Some(C::ProofNotFresh),
            "b:1883 is 90 s ahead",
            "of the broker",
        ),
        (
            Trouble::Refused(Reason::Clock(-90, false)),
            Some(C::ProofNotFresh),
            "90 s behind",
            "this machine",
        ),
        (
            Trouble::Refused(Reason::Verifier(text("mqtt"), false)),
            Some(C::ProofInvalid),
            "not the audience mqtt",
            "--verifier",
        ),
        (
            Trouble::Refused(Reason::Verifier(text("gw"), true)),
            Some(C::ProofInvalid),
            "not named gw",
            "--verifier",
        ),
        (
            Trouble::Refused(Reason::NotOurs(text("mqtt"))),
            Some(C::AudienceMismatch),
            "audience",
            "--mqtt",
        ),
        (Trouble::Refused(Reason::Unknown), None, "refuses", "log"),
        (Trouble::TopicBad(text("a/#"), text("no")), None, "no topic", "topic"),
        (Trouble::FilterBad(text("a#"), text("no")), None, "no filter", "filter"),
        (
            Trouble::Publish(act(false, false)),
            Some(C::PublishNotAuthorised),
            "d/x/t",
            "--topic d/d-17/telemetry",
        ),
        (Trouble::Publish(act(false, true)), Some(C::PublishNotAuthorised), "d/x/t", "--refresh"),
        (Trouble::Publish(act(true, true)), None, "refuses it", "log"),
        (
            Trouble::Publish(Act { told: text("quota_exceeded"), ..act(true, true) }),
            Some(C::ShareUsedUp),
            "refuses it",
            "log",
        ),
        (
            Trouble::Subscribe(act(false, false)),
            Some(C::SubscribeNotAuthorised),
            "d/x/t",
            "--subscribe",
        ),
        (
            Trouble::Subscribe(Act { rights: vec![], ..act(false, false) }),
            Some(C::SubscribeNotAuthorised),
            "not do so anywhere",
            "operator",
        ),
        (Trouble::ServiceBusy(C::RateLimited), Some(C::RateLimited), "for now", "wait"),
        (Trouble::ServiceTls(text("no authority")), None, "no authority", "TESSERA_CAFILE"),
        (Trouble::ServiceAway(text("why")), None, "http://p:1", "reachable"),
    ]
}

#[test]
fn every_kind_has_one_cause_and_one_thing_to_do() {
    for (trouble, code, cause, remedy) in kinds() {
        let found = Verdict::of(std::slice::from_ref(&trouble), &[], &ward());
        assert!(!found.well && found.code == code, "{trouble:?}: {found:?}");
        assert!(
            found.cause.contains(cause) && found.remedy.contains(remedy),
            "{trouble:?}: {found:?}"
        );
        assert!(!found.cause.contains('\n') && !found.cause.contains("; do:"), "{found:?}");
        let code = code.map_or(String::new(), |code| format!("{code}: "));
        assert!(found.cause.starts_with(&code), "{found:?}");
    }
}

#[test]
fn the_first_in_the_order_of_explanation_is_the_cause() {
    // The list has the kinds in that order: whatever is found beside it, the earlier one explains.
    let mut all: Vec<Trouble> = kinds().into_iter().map(|(trouble, ..)| trouble).collect();
    all.dedup_by_key(|trouble| std::mem::discriminant(trouble));
    for pair in all.windows(2) {
        let both: Vec<Trouble> = pair.iter().rev().cloned().collect();
        let first = &both[1..];
        assert_eq!(Verdict::of(&both, &[], &ward()), Verdict::of(first, &[], &ward()), "{both:?}");
    }
}

#[test]
fn nothing_that_a_stranger_says_steers_the_terminal() {
    let away = Trouble::ServiceAway("x\u{1b}[2Jy\r\n z\u{9b}".into());
    let found = Verdict::of(&[away], &[], &ward());
    assert!(
        found.cause.contains("x?[2Jy z?") && !found.cause.contains(char::is_control),
        "{found:?}"
    );
}

#[test]
fn a_device_that_is_well_needs_nothing() {
    let found = Verdict::of(&[], &[], &ward());
    assert!(found.well && found.code.is_none());
    assert_eq!((found.cause.as_str(), found.remedy.as_str()), ("none", "nothing"));
    let found = Verdict::of(&[], &["the counter file was lost".into()], &ward());
    assert!(found.well && found.cause.contains("counter"), "{found:?}");
}

#[test]
fn a_token_that_cannot_be_renewed_names_the_service() {
    let expired = Trouble::Token(Bearer::Folder, TokenFault::Expired(9));
    let away = Trouble::ServiceAway("connection refused".into());
    let found = Verdict::of(&[expired, away], &[], &ward());
    assert_eq!(found.code, Some(RefusalCode::TokenExpired));
    assert!(found.cause.contains("http://p:1") && found.remedy.contains("reachable"), "{found:?}");
}
