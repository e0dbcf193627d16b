//! Faults of a device, as values. The order of the variants is the order of explanation: of two troubles the
//! earlier one is the cause.

use tessera_simulators::mqtt::Obstacle;
use tessera_token::refusal::RefusalCode;

/// A fault of a step.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Trouble {
    /// The address of the broker, in words.
    Address(String),
    /// A file for TLS cannot be used.
    TlsFile(String),
    /// The folder, or a file in it, cannot be used: what happened, and what to do.
    Folder(String, String),
    /// Others than the owner can get at this path, which has this mode.
    Open(String, u32),
    /// The client id is no id.
    ClientIdBad,
    /// The client id is another device's than the one that proves itself.
    ClientIdForeign(String),
    /// The file with the password cannot be used.
    PasswordFile(String),
    /// The password has not the form of token and proof.
    PasswordForm(RefusalCode),
    /// The password holds a token with `cnf` and no proof.
    PasswordUnproved,
    /// Provisioning refuses the device for good.
    Standing(RefusalCode),
    /// The token, of the password or of the folder.
    Token(Bearer, TokenFault),
    /// The kept clock was wrong by so many seconds (positive: behind), and is corrected.
    KeptClock(i64),
    /// The proof in the password.
    Proof(ProofFault),
    /// Nothing of MQTT was said.
    Unreachable(Obstacle, String),
    /// The broker refuses for now or for a limit.
    Broker(BrokerFault),
    /// The broker refused the CONNECT, and this explains it.
    Refused(Reason),
    /// The topic is no topic name, in words.
    TopicBad(String, String),
    /// The filter is no filter, in words.
    FilterBad(String, String),
    /// The broker refused the publish.
    Publish(Act),
    /// The broker refused the subscription.
    Subscribe(Act),
    /// Provisioning refuses for now.
    ServiceBusy(RefusalCode),
    /// The certificate of provisioning is not trusted, or there is no TLS, in words.
    ServiceTls(String),
    /// Provisioning does not answer, in words.
    ServiceAway(String),
}

/// Where a token is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Bearer {
    /// In the password that was given.
    Password,
    /// In the folder.
    Folder,
}

/// A fault of a token that its device can see.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum TokenFault {
    /// No token of ours.
    Malformed,
    /// Of this tenant, and not of the one that the folder names.
    Tenant(String),
    /// Of this device, and not of the one that the folder names.
    Device(String),
    /// It names another key than the folder holds.
    Key,
    /// For the first audience, while provisioning now issues for the second.
    Audience(String, String),
    /// It expired so many seconds ago.
    Expired(u64),
    /// It is not valid for another so many seconds.
    NotYet(u64),
    /// An epoch has moved on.
    Epoch(RefusalCode),
}

/// A fault of a connect proof that its device can see.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum ProofFault {
    /// Made for this client id.
    ClientId(String),
    /// Made for a verifier of this name.
    Verifier(String),
    /// Made by the key of this folder, which is not the one in the token.
    FolderKey,
    /// By no key, client id and verifier that is known here.
    Unknown,
    /// Made so many seconds ago (negative: for a time to come).
    Stale(i64),
}

/// Answer of a broker to a peer that has proved nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum BrokerFault {
    /// Too many attempts or connections.
    Busy,
    /// It cannot judge now.
    NotReady,
    /// The device or its tenant holds as much as it may.
    Share,
    /// Another version of MQTT, another method, or a reason that no broker of ours gives for a password.
    Foreign(String),
}

/// The explanation of a CONNECT that was refused as not authorised.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Reason {
    /// The password was used: another one of the same token is taken.
    PasswordUsed,
    /// A later proof of this key and client id was used: another client id is taken. Whether the counter file was lost.
    PlaceUsed(bool),
    /// A new token is taken: the present one was revoked by its hash.
    TokenRevoked(Bearer),
    /// A new token is taken, which another issuer key signed.
    IssuerKey(Bearer),
    /// A new token that is bound to the key of the device is taken, the one with a symmetric key is not.
    SymmetricKey,
    /// A new token that is bound to the key of the device is taken, the one without a key is not.
    BearerToken,
    /// The key is taken by a challenge, and the clock of the broker differs by so many seconds (positive: it is ahead).
    /// Whether provisioning set the clock of this device.
    Clock(i64, bool),
    /// The key is taken by a challenge, no proof for this verifier name is. Whether the name was given.
    Verifier(String, bool),
    /// Nothing of this provisioning is taken. The audience.
    NotOurs(String),
    /// No experiment could tell.
    Unknown,
}

/// A publish or a subscription that was refused.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Act {
    /// The topic or filter.
    pub(super) name: String,
    /// The reason that the broker gave, or how the connection ended.
    pub(super) told: String,
    /// The rights of the token on the whole; empty when it has none of this kind.
    pub(super) rights: Vec<String>,
    /// Whether the token covers it all the same.
    pub(super) covered: bool,
    /// Whether a new token covers it.
    pub(super) by_new: bool,
}
