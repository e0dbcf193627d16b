//! Why something was refused: one stable code, the same in log, metric, audit and test.

use core::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal : $words:literal,)*) => {
        /// Why a token, a proof, a request or a packet was refused.
        ///
        /// A refusal is a value, not an error: it is expected, counted and told in words. The text
        /// of [`RefusalCode::as_str`] never changes meaning between versions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum RefusalCode { $($(#[$doc])* $variant,)* }

        impl RefusalCode {
            /// Every code, in the order of declaration.
            pub const ALL: &'static [RefusalCode] = &[$(Self::$variant,)*];

            /// The stable code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// One sentence for a person who has to mend it.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)* }
            }

            /// The code with this text.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    // 1 size and shape
    /// No password, or an empty one.
    CredentialMissing = "credential_missing": "the password must hold the token and its proof; a user name alone is no credential",
    /// The password is neither raw CBOR nor base64url text.
    CredentialMalformed = "credential_malformed": "the password is neither the raw bytes nor base64url text of token and proof",
    /// MQTT 5 Authentication Data that is not laid out as RFC 9431 says.
    AuthDataMalformed = "auth_data_malformed": "the authentication data is not laid out as RFC 9431 says",
    /// Longer than 4 KiB.
    TokenTooLarge = "token_too_large": "the token is longer than 4 KiB",
    /// Not deterministic CBOR, too deep, duplicate keys, trailing bytes.
    TokenMalformed = "token_malformed": "the token is not deterministic CBOR",
    /// CBOR, but not `61(18([protected, {}, payload, signature]))`.
    TokenForm = "token_form": "the token is not a CWT in COSE_Sign1 in the one accepted form (d8 3d d2 84, all headers protected)",
    /// A header that is not understood, or `alg`/`kid` missing or of the wrong type.
    TokenHeader = "token_header": "the protected header must hold exactly alg and kid",
    // 2 key
    /// `alg` is not one this key may use.
    AlgorithmNotAllowed = "algorithm_not_allowed": "the algorithm in the header is not the one of the issuer key",
    /// No issuer key has this kid.
    KeyUnknown = "key_unknown": "no issuer key with this kid is trusted here",
    /// The issuer key is not yet valid, retired or compromised.
    KeyNotValid = "key_not_valid": "the issuer key is outside its validity or was withdrawn",
    // 3 cheap claims
    /// `iss` is missing, unknown or not the tenant that owns the key.
    IssuerMismatch = "issuer_mismatch": "the issuer is not the tenant that owns the signing key",
    /// `aud` is not this verifier.
    AudienceMismatch = "audience_mismatch": "the token is meant for another audience",
    /// `exp` has passed.
    TokenExpired = "token_expired": "the token has expired: refresh it with the device key",
    /// The tenant's epoch has moved on.
    TenantEpoch = "tenant_epoch": "all tokens of the tenant issued before now were revoked: refresh",
    /// The group's epoch has moved on.
    GroupEpoch = "group_epoch": "all tokens of the group issued before now were revoked: refresh",
    /// The device's epoch has moved on.
    DeviceEpoch = "device_epoch": "all tokens of this device issued before now were revoked",
    /// The tenant is suspended.
    TenantSuspended = "tenant_suspended": "the tenant is suspended",
    // 4 signature
    /// The signature does not verify.
    SignatureInvalid = "signature_invalid": "the issuer's signature does not verify",
    // 5 all claims
    /// The payload is no claims map, or a claim is missing or of the wrong type.
    ClaimsMalformed = "claims_malformed": "a required claim is missing or has the wrong type",
    /// `nbf` or `iat` lies in the future.
    TokenNotYetValid = "token_not_yet_valid": "the token is not valid yet: check the clocks",
    /// `exp` is not after `iat`, or the life is longer than allowed.
    TokenLifetime = "token_lifetime": "the token's lifetime is not acceptable",
    /// The key in `cnf` is unusable: wrong type, private, small order or with torsion, or a name that means nothing here.
    ConfirmationKey = "confirmation_key": "the key in cnf is not an acceptable public key, nor the name of a key that is known here",
    /// The scope is no AIF-MQTT or holds an invalid filter.
    ScopeMalformed = "scope_malformed": "the scope is not AIF-MQTT with valid topic filters",
    // 6 revocation
    /// The token's hash is on the revocation list.
    TokenRevoked = "token_revoked": "this token was revoked",
    // 7 staleness
    /// The trust data is older than the policy allows for this class.
    TrustStale = "trust_stale": "the verifier's trust data is too old to decide",
    /// The verifier has no trust data, or none that a heartbeat ever confirmed by answering its nonce.
    TrustMissing = "trust_missing": "the verifier has no trust data yet",
    /// The verifier cannot follow the trust feed, and the time for which it decides all the same is over.
    TrustNotFollowed = "trust_not_followed": "the verifier cannot follow the trust feed: its log and its readiness say why",
    // 8 proof
    /// A token with `cnf` came without a proof.
    ProofMissing = "proof_missing": "the token is bound to a key, and no proof of that key was given",
    /// The proof has the wrong length or layout.
    ProofMalformed = "proof_malformed": "the proof has the wrong length or layout",
    /// The proof's time is outside the window.
    ProofNotFresh = "proof_not_fresh": "the proof's time is more than 60 s from the broker's: check the device clock",
    /// The proof's signature does not verify.
    ProofInvalid = "proof_invalid": "the proof was not made by the key in the token, or for another client id, token or verifier name",
    /// The proof's place is not above the last one seen of this key and client id.
    ProofReplayed = "proof_replayed": "this proof or a later one was already used: make a new one for each CONNECT, and count up within one second",
    /// The verifier no longer knows which proofs of that second were used: it was stopped without notice, or its clock was set.
    ProofUndecided = "proof_undecided": "the server cannot tell whether this proof was used before, after a crash or a wrong clock: make a new one in a few seconds",
    /// A connection that was let in by less than the key of its token asks for more.
    KeyNotProved = "key_not_proved": "this connection was let in without a proof of the device's key, so nothing is renewed on it: connect with a proof by the key",
    /// The ticket key behind the resumption secret that let the connection in is no longer accepted.
    TicketKeyWithdrawn = "ticket_key_withdrawn": "the ticket key behind the resumption secret is no longer accepted: connect with a proof by the key",
    /// The challenge of RFC 9431 is not offered on this connection, by setting.
    ChallengeNotAllowed = "challenge_not_allowed": "the challenge of RFC 9431 is not offered on this connection: prove the key over the TLS exporter, or by the method tessera-ace-1",
    /// The token is older than the one whose place it is to take.
    TokenOlder = "token_older": "the token is older than the present one: hand in the newest",
    /// A partner token where none is accepted, or over a connection that others can read.
    PartnerNotAccepted = "partner_not_accepted": "partner tokens are not accepted on this connection: use TLS, and ask the operator for the broker's setting partner_tokens",
    /// A partner token that is not good now.
    PartnerTokenInvalid = "partner_token_invalid": "the partner token is unknown, has ended, or its device may not connect: ask the operator for a new one",
    /// A bearer token where the tenant does not allow it.
    BearerNotAllowed = "bearer_not_allowed": "this tenant does not accept bearer tokens",
    // 9 client id
    /// The client id is no id of ours.
    ClientIdInvalid = "client_id_invalid": "the client id must be the device id, or the device id, ~ and a suffix",
    /// The client id is not the token's subject.
    ClientIdMismatch = "client_id_mismatch": "the client id belongs to another device than the token",
    // on the session
    /// A publish outside the scope.
    PublishNotAuthorised = "publish_not_authorised": "the scope does not allow publishing to this topic",
    /// A subscription outside the scope.
    SubscribeNotAuthorised = "subscribe_not_authorised": "no single scope entry covers this filter",
    /// A will outside the scope.
    WillNotAuthorised = "will_not_authorised": "the scope does not allow publishing the will",
    /// A delivery that the scope no longer covers.
    DeliveryNotAuthorised = "delivery_not_authorised": "the scope no longer covers this message",
    /// A rule of the tenant refuses it.
    RuleDenied = "rule_denied": "a rule of the tenant refuses it: `tessera rule list` shows the rules",
    /// The device is quarantined.
    Quarantined = "quarantined": "the device is quarantined: it reaches its token and its status alone, until an operator releases it or the time is over",
    /// The device must prove its key anew.
    StepUpRequired = "step_up_required": "the device must prove its key anew: connect with a proof by the key, no resumption secret and no bearer token",
    /// A bound of the broker or service was reached.
    LimitReached = "limit_reached": "a limit was reached: slow down",
    /// A device holds as much as one device may, or a tenant as much as one tenant may.
    ShareUsedUp = "share_used_up": "the device or its tenant holds as much as it may: remove something first",
    /// Too many attempts from one address or in total.
    RateLimited = "rate_limited": "too many attempts: wait and try again",
    /// The server is stopping or not ready.
    NotReady = "not_ready": "the server is not ready",
    /// The server's clock is wrong.
    ClockWrong = "clock_wrong": "the server's clock is wrong: set it; service comes back by itself once it is right",
    /// A rule is to be enforced that was never tried.
    RuleNotTried = "rule_not_tried": "the rule was not tried: put it in shadow for an hour, or test it against recorded observations first, or say now with a reason",
    /// The request is not well formed.
    RequestMalformed = "request_malformed": "the request is not well formed",
    /// The authentication method is not supported.
    MethodNotSupported = "method_not_supported": "the authentication method is not supported",
    // provisioning
    /// The service does not offer symmetric keys.
    SymmetricNotOffered = "symmetric_not_offered": "this service gives no tokens that are bound to a symmetric key",
    /// The answer would tell a secret on a connection that others can read.
    ChannelInClear = "channel_in_clear": "a symmetric key is told to the signer of its request alone: send answer_key",
    /// The enrolment nonce is unknown, used or expired.
    NonceInvalid = "nonce_invalid": "the nonce is unknown, used or expired: fetch a new one",
    /// The claim code is unknown or expired.
    ClaimUnknown = "claim_unknown": "the claim code is unknown or expired",
    /// The claim code was used by another device or key.
    ClaimUsed = "claim_used": "the claim code was used already",
    /// The claim code is bound to another device id.
    ClaimMismatch = "claim_mismatch": "the claim code is meant for another device",
    /// A claim code came to a broker on a connection that others can read.
    ClaimInClear = "claim_in_clear": "a claim code is a secret: connect over TLS, or to a listener on a loopback address",
    /// Nothing entitles the device to enrol by this way.
    NotEntitled = "not_entitled": "nothing entitles this device to enrol by this way: check the tenant, the device id, the key and the way",
    /// The entry of a list enrolled a device before, or another key.
    EntitlementUsed = "entitlement_used": "the entitlement of this device was used already: an operator must add it anew",
    /// The group does not take this way of enrolment.
    WayNotTaken = "way_not_taken": "the group does not take this way of enrolment: an operator sets the ways of a group",
    /// An operator refused the device.
    ApprovalRefused = "approval_refused": "an operator refused this device",
    /// The certificates cannot be used.
    CertificateInvalid = "certificate_invalid": "the certificate, its chain or the signature by its key cannot be accepted",
    /// The certificate is on the deny list of the tenant.
    CertificateDenied = "certificate_denied": "an operator denied this certificate",
    /// The device id is enrolled with another key.
    DeviceKeyMismatch = "device_key_mismatch": "the device is enrolled with another key",
    /// No such device.
    DeviceUnknown = "device_unknown": "no such device is enrolled",
    /// A grant type that the token endpoint does not have.
    GrantTypeUnsupported = "grant_type_unsupported": "the grant type is neither client_credentials nor refresh_token",
    /// A profile of ACE that no verifier has.
    ProfileIncompatible = "profile_incompatible": "the verifiers here speak the ACE profile mqtt_tls alone",
    /// A request for rights beyond the role.
    ScopeNotAllowed = "scope_not_allowed": "the role of the device does not give the scope that was asked for",
    /// The refresh token is unknown, ended or expired.
    RefreshTokenInvalid = "refresh_token_invalid": "the refresh token is unknown, ended or expired: prove the device key for a new one",
    /// The refresh token was used before, by another request.
    RefreshTokenReused = "refresh_token_reused": "the refresh token was used before by another request, so it was ended: prove the device key for a new one",
    /// A role that gives no refresh tokens.
    RefreshNotAllowed = "refresh_not_allowed": "the role of the device gives no refresh tokens",
    /// The device is revoked.
    DeviceRevoked = "device_revoked": "the device is revoked: an operator must reinstate it",
    /// The device is suspended.
    DeviceSuspended = "device_suspended": "the device is suspended: an operator must reinstate it",
    /// The group of the device is suspended.
    GroupSuspended = "group_suspended": "the group of the device is suspended: an operator must reinstate it",
    /// An operator must approve the device, or the new key of one that has lost its own.
    ApprovalPending = "approval_pending": "an operator must approve this device key: ask again later with the same key",
    /// The tenant does not exist.
    TenantUnknown = "tenant_unknown": "no such tenant",
    /// The tenant has no active issuer key.
    IssuerKeyMissing = "issuer_key_missing": "the tenant has no issuer key that signs: an operator must rotate one in",
    /// The role does not exist.
    RoleUnknown = "role_unknown": "no such role",
    /// The role's templates break a rule.
    RoleInvalid = "role_invalid": "the role may not hold these rights",
    /// Devices or claims have the role.
    RoleInUse = "role_in_use": "devices, open claims or entries of other ways have this role: give them another one first",
    /// The role names an attribute that the device does not have.
    AttributeMissing = "attribute_missing": "the role names an attribute that the device does not have: an operator must set it",
    /// The group does not exist.
    GroupUnknown = "group_unknown": "no such group",
    /// The thing exists already.
    AlreadyExists = "already_exists": "it exists already",
    /// A change that does not say on which revision it rests.
    PreconditionRequired = "precondition_required": "the change must say what it rests on: read first, and send the ETag as If-Match",
    /// The record is not of the revision on which the change rests.
    PreconditionFailed = "precondition_failed": "the record is not as the change expects it: read it again; nothing was changed",
    /// The Idempotency-Key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused": "this Idempotency-Key was used with another body: take a new key for a new request",
    /// A request with this Idempotency-Key is being done.
    IdempotencyKeyBusy = "idempotency_key_busy": "a request with this Idempotency-Key is being done: ask again for its answer",
    /// Nothing by this name.
    NotFound = "not_found": "nothing by this name",
    /// The events that a verifier asks for are no longer kept.
    TrustGone = "trust_gone": "these events are no longer kept: take the snapshot",
    /// A verifier stands on another past than the service, or beyond it.
    TrustBeyond = "trust_beyond": "this service does not know that event: show what you know at /v1/trust/known",
    /// The path is known, the method is not one of its own.
    MethodNotAllowed = "method_not_allowed": "this path does not have the method; the header Allow lists those that it has",
    /// Verifiers could not hold what was asked for.
    CapacityReached = "capacity_reached": "verifiers can hold no more of these; nothing was changed",
    /// The operator token is missing or wrong.
    OperatorUnknown = "operator_unknown": "the operator token is missing or wrong",
    /// The operator lacks the role.
    OperatorNotAllowed = "operator_not_allowed": "this operator may not do this",
    /// A fault on our side; nothing was changed.
    Internal = "internal": "a fault on the server's side; nothing was changed",
}

impl RefusalCode {
    /// Whether the verifier cannot tell, for want of trust data that are fresh: nothing was withdrawn.
    pub const fn cannot_tell(self) -> bool {
        matches!(self, Self::TrustMissing | Self::TrustNotFollowed | Self::TrustStale)
    }

    /// Whether a restriction beside the rights of the token is the cause: a rule, or a restraint. The device does what its
    /// token allows, so it is no behaviour of it.
    pub const fn is_of_a_restriction(self) -> bool {
        matches!(self, Self::RuleDenied | Self::Quarantined | Self::StepUpRequired)
    }

    /// Whether the server is the cause: its state, its clock or its bounds. Such a refusal says nothing about the peer.
    /// `rate_limited` is not one of them: the peer itself asked too often.
    pub const fn is_of_the_server(self) -> bool {
        let is_bound =
            matches!(self, Self::LimitReached | Self::ShareUsedUp | Self::CapacityReached);
        let is_fault = matches!(self, Self::Internal | Self::ClockWrong | Self::IssuerKeyMissing);
        let is_state = matches!(self, Self::NotReady | Self::ProofUndecided) || self.cannot_tell();
        is_bound || is_fault || is_state
    }

    /// Whether the credential itself was wrong: one that no issuer made, or a key that was not proved. Tokens that were good
    /// once (expired, revoked, of a retired key) and settings of the verifier are no guesses.
    pub const fn is_of_a_guess(self) -> bool {
        let is_shape = matches!(
            self,
            Self::CredentialMissing
                | Self::CredentialMalformed
                | Self::AuthDataMalformed
                | Self::TokenTooLarge
                | Self::TokenMalformed
                | Self::TokenForm
                | Self::TokenHeader
        );
        let is_token = matches!(
            self,
            Self::AlgorithmNotAllowed
                | Self::KeyUnknown
                | Self::IssuerMismatch
                | Self::SignatureInvalid
                | Self::PartnerTokenInvalid
        );
        let is_proof = matches!(
            self,
            Self::ProofMissing | Self::ProofMalformed | Self::ProofInvalid | Self::ClientIdMismatch
        );
        let is_claim = matches!(self, Self::ClaimUnknown | Self::ClaimUsed | Self::ClaimMismatch);
        is_shape || is_token || is_proof || is_claim
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for RefusalCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_server_say_nothing_about_the_peer() {
        let of_the_server: Vec<&str> = RefusalCode::ALL
            .iter()
            .filter(|code| code.is_of_the_server())
            .map(|code| code.as_str())
            .collect();
        let expected = [
            "trust_stale",
            "trust_missing",
            "trust_not_followed",
            "proof_undecided",
            "limit_reached",
            "share_used_up",
            "not_ready",
            "clock_wrong",
            "issuer_key_missing",
            "capacity_reached",
            "internal",
        ];
        assert_eq!(of_the_server, expected);
    }

    #[test]
    fn guesses_are_no_fault_of_the_server_and_no_token_that_was_good_once() {
        let guesses = RefusalCode::ALL.iter().filter(|code| code.is_of_a_guess());
        assert_eq!(guesses.clone().count(), 19);
        assert!(guesses.clone().all(|code| !code.is_of_the_server()));
        let once_good = [
            RefusalCode::TokenExpired,
            RefusalCode::TokenRevoked,
            RefusalCode::DeviceEpoch,
            RefusalCode::KeyNotValid,
            RefusalCode::BearerNotAllowed,
            RefusalCode::RateLimited,
        ];
        assert!(once_good.iter().all(|code| !code.is_of_a_guess()));
    }

    #[test]
    fn codes_are_distinct_and_parse_back() {
        for (i, code) in RefusalCode::ALL.iter().enumerate() {
            assert_eq!(RefusalCode::parse(code.as_str()), Some(*code));
            assert!(RefusalCode::ALL.iter().skip(i + 1).all(|c| c.as_str() != code.as_str()));
        }
    }
}
