//! The attributes of a session for rules.

use std::net::IpAddr;
use std::sync::Arc;

use tessera_agent::behaviour::SubjectKind;
use tessera_rules::attributes as rules;
use tessera_token::grant::Grant;
use tessera_token::ids::{ClientId, DeviceId, TenantId};
use tessera_token::time::UnixSeconds;

use crate::codec::{Connect, PropertyId, Version};

/// The proof that let the peer of a session in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proved {
    /// None: a bearer token or a partner token.
    Nothing,
    /// A resumption secret.
    Resumption,
    /// A signature of the device key.
    Signature,
    /// A MAC of the symmetric key of its token.
    Mac,
}

/// The attributes that stay while token and connection stay.
pub(crate) struct Facts {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    group: Arc<str>,
    kind: &'static str,
    client_id: ClientId,
    network: String,
    issued: UnixSeconds,
    expires: UnixSeconds,
    token_kind: &'static str,
    proof: &'static str,
    alg: &'static str,
}

/// The circumstances of a session that its grant does not tell.
pub(crate) struct Circumstances<'a> {
    pub(crate) client_id: &'a ClientId,
    pub(crate) group: Arc<str>,
    pub(crate) address: IpAddr,
    pub(crate) proved: Proved,
    pub(crate) is_partner: bool,
}

impl Facts {
    /// The attributes of a session with this grant.
    pub(crate) fn of(grant: &Grant, of: Circumstances<'_>) -> Self {
        let token_kind = match (grant.confirmation(), grant.derived_by()) {
            _ if of.is_partner => "partner",
            (None, _) => "bearer",
            (Some(_), Some(_)) => "symmetric",
            (Some(_), None) => "pop",
        };
        let kind = match tessera_agent::behaviour::kind(grant) {
            SubjectKind::Device => "device",
            SubjectKind::Service => "service",
        };
        Self {
            tenant: grant.tenant().clone(),
            device: grant.device().clone(),
            group: of.group,
            kind,
            client_id: of.client_id.clone(),
            network: of.address.to_canonical().to_string(),
            issued: grant.issued(),
            expires: grant.expires(),
            token_kind,
            proof: match of.proved {
                Proved::Nothing => "none",
                Proved::Resumption => "resumption",
                Proved::Signature => "signature",
                Proved::Mac => "mac",
            },
            alg: match token_kind {
                "bearer" | "partner" => "none",
                "symmetric" => "HS256",
                _ if grant.is_p256() => "ES256",
                _ => "EdDSA",
            },
        }
    }

    /// As rules ask them.
    pub(super) fn session(&self) -> rules::Session<'_> {
        rules::Session {
            tenant: self.tenant.as_str(),
            device: self.device.as_str(),
            group: &self.group,
            kind: self.kind,
            client_id: self.client_id.as_str(),
            network: &self.network,
            token_issued: Some(self.issued),
            token_expires: Some(self.expires),
            token_kind: self.token_kind,
            proof: self.proof,
            alg: self.alg,
            ..rules::Session::default()
        }
    }
}

/// The channel of a CONNECT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    /// `mqtt`, `mqtts`, `ws`, `wss` or `quic`.
    pub(crate) transport: &'static str,
    /// `none`, `1.2` or `1.3`.
    pub(crate) tls: &'static str,
}

/// The attributes of a CONNECT.
pub(super) fn connect(connect: &Connect, channel: Channel) -> rules::Connect<'_> {
    rules::Connect {
        version: match connect.version {
            Version::V311 => 4,
            Version::V5 => 5,
        },
        keep_alive: connect.keep_alive,
        clean: connect.clean_start,
        will_topic: connect.will.as_ref().map_or("", |will| &will.topic),
        user_name: connect.user_name.as_deref().unwrap_or_default(),
        properties: properties(connect),
        transport: match channel.transport {
            "ws" | "wss" => "ws",
            "quic" => "quic",
            _ => "tcp",
        },
        tls: channel.tls,
    }
}

/// Bits of `tessera_rules::attributes::schema::PROPERTIES`, in their order.
fn properties(connect: &Connect) -> u32 {
    const OF_CONNECT: [PropertyId; 9] = [
        PropertyId::SessionExpiry,
        PropertyId::ReceiveMaximum,
        PropertyId::MaximumPacketSize,
        PropertyId::TopicAliasMaximum,
        PropertyId::RequestResponseInfo,
        PropertyId::RequestProblemInfo,
        PropertyId::UserProperty,
        PropertyId::AuthMethod,
        PropertyId::AuthData,
    ];
    const OF_WILL: [PropertyId; 4] = [
        PropertyId::WillDelay,
        PropertyId::MessageExpiry,
        PropertyId::ContentType,
        PropertyId::ResponseTopic,
    ];
    let has = |all: &crate::codec::Properties, id: PropertyId| all.iter().any(|(one, _)| one == id);
    let own = OF_CONNECT.iter().map(|id| has(&connect.properties, *id));
    let will = connect.will.as_ref().map(|will| &will.properties);
    let of_will = OF_WILL.iter().map(|id| will.is_some_and(|will| has(will, *id)));
    own.chain(of_will).zip(0..).fold(0, |bits, (is_set, at)| bits | u32::from(is_set) << at)
}
