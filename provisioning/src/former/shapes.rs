//! Rows of the key-value store of former versions: CBOR by field names. A field that was added later has a default.

use std::collections::BTreeSet;

use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use crate::records::keys::State;
use crate::records::operators::OperatorRole;
use crate::records::{Confirmation, RoleClass, Staleness};

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Deserialize)]
        #[cfg_attr(test, derive(Serialize))]
        pub(super) struct $name { $($(#[$attribute])* pub(super) $field: $kind,)* })*
    };
}

shapes! {
    /// tenant
    Tenant {
        epoch: u64,
        suspended: bool,
        bearer: bool,
        next_group: u64,
        created: u64,
        #[serde(default)]
        confirmation: Confirmation,
        #[serde(default)]
        keys_published: bool,
        #[serde(default)]
        staleness: Option<Staleness>,
    }
    /// tenant 0 role
    Role {
        class: RoleClass,
        publish: Vec<String>,
        subscribe: Vec<String>,
        token_seconds: Option<u64>,
    }
    /// tenant 0 group
    Group {
        number: u64,
        epoch: u64,
        created: u64,
    }
    /// tenant 0 SHA-256(code)
    Claim {
        role: String,
        group: String,
        device: Option<String>,
        created: u64,
        expires: u64,
        by: String,
        used: Option<Use>,
    }
    /// The use of a claim.
    Use {
        device: String,
        #[serde(with = "super::octets")]
        thumbprint: [u8; 32],
        at: u64,
    }
    /// tenant 0 device
    Device {
        role: String,
        group: String,
        #[serde(with = "super::octets::any")]
        key: Vec<u8>,
        epoch: u64,
        revoked: bool,
        enrolled: u64,
        claim: String,
    }
    /// tenant 0 token hash
    Issued {
        device: String,
        serial: u64,
        issued: u64,
        expires: u64,
        #[serde(with = "super::octets")]
        key_id: [u8; 8],
    }
    /// tenant 0 device: the answers of its refreshes
    Refreshes {
        answers: Vec<Answer>,
    }
    /// The answer of a refresh.
    Answer {
        #[serde(with = "super::octets::any")]
        nonce: Vec<u8>,
        iat: u64,
        bearer: bool,
        until: u64,
        #[serde(with = "super::octets::any")]
        token: Vec<u8>,
        #[serde(with = "super::octets::any")]
        scope: Vec<u8>,
        #[serde(default, with = "super::octets::any")]
        kid: Vec<u8>,
    }
    /// tenant 0 key id
    IssuerKey {
        #[serde(with = "super::octets")]
        public: [u8; 32],
        state: State,
        created: u64,
        not_before: u64,
        not_after: u64,
        since: u64,
    }
    /// SHA-256(token)
    Account {
        name: String,
        roles: BTreeSet<OperatorRole>,
        #[serde(default)]
        tenants: Tenants,
        created: u64,
    }
    /// tenant 0 device
    Moved {
        epoch: u64,
        at: u64,
    }
    /// expiry, token hash
    Revoked {
        tenant: String,
        device: String,
    }
    /// tenant 0 kind 0 subject
    Finding {
        kind: String,
        tenant: String,
        subject: String,
        epoch: u64,
        done: String,
        at: u64,
    }
    /// milliseconds, counter
    Entry {
        at: u64,
        actor: String,
        action: String,
        tenant: String,
        subject: String,
        detail: String,
    }
    /// number
    Chained {
        entry: Entry,
        #[serde(with = "super::octets")]
        previous: [u8; 32],
        #[serde(with = "super::octets")]
        hash: [u8; 32],
    }
    /// `trust_head` and `audit_head`
    Head {
        seq: u64,
        #[serde(with = "super::octets")]
        hash: [u8; 32],
        #[serde(default)]
        start: u64,
        #[serde(with = "super::octets", default)]
        start_hash: [u8; 32],
    }
    /// `lived`
    Lived {
        began: u64,
        lived: u64,
        #[serde(default)]
        former: u64,
    }
}

/// The tenants of an account; one without them is of all.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(super) enum Tenants {
    #[default]
    All,
    These(BTreeSet<String>),
}
