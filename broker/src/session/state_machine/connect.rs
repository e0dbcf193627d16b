//! A connection begins: CONNECT was accepted, the machine takes it (MQTT 5 sections 3.1, 3.2).

use std::time::Duration;

use hashbrown::HashMap;
use tessera_token::refusal::RefusalCode;

use super::alias::Aliases;
use super::release::Received;
use super::{Context, Flight, Machine, Will};
use crate::codec::{ConnAck, Connect, Properties, PropertyId, ReasonCode, Recipient, Version};
use crate::limits::{IN_FLIGHT, TOPIC_ALIASES};
use crate::session::policy::SessionPolicy;

impl Default for Machine {
    fn default() -> Self {
        Self {
            to: Recipient::any(Version::V5),
            keep_alive: None,
            last_packet: Duration::ZERO,
            expiry: 0,
            expiry_at_connect: 0,
            expiry_most: 0,
            problem_info: true,
            aliases: None,
            last_topic: None,
            out_aliases: None,
            flight: Flight::default(),
            received: Received::default(),
            subscriptions: HashMap::new(),
            last_subscription: 0,
            will: None,
            outbox: None,
            commit: 0,
        }
    }
}

impl Machine {
    /// Begins a new connection and returns its CONNACK. Messages that the last connection left unacknowledged are sent
    /// again.
    ///
    /// # Errors
    /// `will_not_authorised`: nothing was changed.
    pub fn attach(
        &mut self,
        connect: &Connect,
        cx: Context<'_>,
        session_present: bool,
    ) -> Result<ConnAck, RefusalCode> {
        let will = check_will(connect, cx)?;
        let p = &connect.properties;
        self.to = Recipient::of(connect);
        self.will = will;
        self.last_packet = cx.monotonic;
        self.aliases = None;
        self.last_topic = None;
        self.out_aliases = Aliases::up_to(p.short(PropertyId::TopicAliasMaximum).unwrap_or(0));
        self.problem_info = p.flag(PropertyId::RequestProblemInfo).unwrap_or(true);
        let window = p.short(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX);
        self.flight.attach(window.min(IN_FLIGHT), cx.policy.queue_bytes);
        self.expiry = granted_expiry(connect, cx.policy);
        self.expiry_at_connect = self.expiry;
        self.expiry_most = cx.policy.session_expiry;
        let keep_alive = granted_keep_alive(connect, cx.policy);
        self.keep_alive =
            (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1500));
        Ok(ConnAck {
            session_present,
            reason: ReasonCode::SUCCESS,
            properties: told(connect, cx.policy),
        })
    }
}

/// The properties of a CONNACK that accepts.
pub(crate) fn told(connect: &Connect, policy: &SessionPolicy) -> Properties {
    if connect.version == Version::V311 {
        return Properties::new();
    }
    let max_packet = u32::try_from(policy.max_packet).unwrap_or(u32::MAX);
    let (expiry, keep_alive) =
        (granted_expiry(connect, policy), granted_keep_alive(connect, policy));
    let mut told = Properties::build()
        .number(PropertyId::ReceiveMaximum, u32::from(policy.receive_maximum))
        .number(PropertyId::MaximumPacketSize, max_packet)
        .number(PropertyId::TopicAliasMaximum, u32::from(TOPIC_ALIASES));
    if connect.properties.number(PropertyId::SessionExpiry).unwrap_or(0) != expiry {
        told = told.number(PropertyId::SessionExpiry, expiry);
    }
    if connect.keep_alive != keep_alive {
        told = told.number(PropertyId::ServerKeepAlive, u32::from(keep_alive));
    }
    told.finish().unwrap_or_default()
}

/// Whether the will of a CONNECT is within the rights; asked before anything is changed.
///
/// # Errors
/// `will_not_authorised`.
pub fn check_will(connect: &Connect, cx: Context<'_>) -> Result<Option<Box<Will>>, RefusalCode> {
    let Some(asked) = &connect.will else { return Ok(None) };
    let will = Will::of(asked)?;
    cx.rights.will(&will.topic)?;
    Ok(Some(Box::new(will)))
}

/// 3.1.1 knows no expiry: a session that is not clean is kept for as long as the policy allows.
pub(crate) fn granted_expiry(connect: &Connect, policy: &SessionPolicy) -> u32 {
    let wanted = match connect.version {
        Version::V5 => connect.properties.number(PropertyId::SessionExpiry).unwrap_or(0),
        Version::V311 if connect.clean_start => 0,
        Version::V311 => u32::MAX,
    };
    wanted.min(policy.session_expiry)
}

/// A 3.1.1 client cannot be told another value, so its own holds.
fn granted_keep_alive(connect: &Connect, policy: &SessionPolicy) -> u16 {
    match (connect.version, connect.keep_alive) {
        (Version::V311, wanted) => wanted,
        (Version::V5, 0) => policy.keep_alive,
        (Version::V5, wanted) => wanted.min(policy.keep_alive),
    }
}
