//! Limits in a settings file, and the bounds within which each may lie.

use serde::{Deserialize, Serialize};

use super::{within, ConfigError};
use crate::admission::AdmissionLimits;
use crate::challenges::ChallengeLimits;
use crate::limits;
use crate::registry::SessionLimits;
use crate::routing::retained::RetainedLimits;
use crate::shares::{Most, ShareLimits};

/// The limits that can be configured. See [`crate::limits`] for units and reasons.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the names are those of the constants in limits.rs")]
pub struct RawLimits {
    pub sockets: usize,
    pub sockets_per_prefix: usize,
    pub half_open: usize,
    pub half_open_per_prefix: usize,
    pub connects_per_second: u32,
    pub suspects_per_second: u32,
    pub challenges_per_second: u32,
    pub challenges_per_second_per_prefix: u32,
    pub max_packet: usize,
    pub receive_maximum: u16,
    pub queue_messages: usize,
    pub queue_bytes: usize,
    pub subscriptions: usize,
    pub sessions: usize,
    pub sessions_per_device: usize,
    pub session_expiry: u32,
    pub keep_alive: u16,
    pub retained_messages: usize,
    pub retained_bytes: usize,
    pub retained_per_device: usize,
    pub retained_bytes_per_device: usize,
    pub retained_per_tenant: usize,
    pub retained_bytes_per_tenant: usize,
    pub queued_bytes_per_device: usize,
    pub queued_bytes_per_tenant: usize,
    pub queued_bytes_in_all: usize,
    pub kept_sessions_per_device: usize,
    pub sessions_per_tenant: usize,
    pub subscriptions_per_device: usize,
    pub subscriptions_per_tenant: usize,
    pub wildcards_per_device: usize,
    pub verification_workers: usize,
    pub token_requests_per_second: u32,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            sockets: limits::SOCKETS,
            sockets_per_prefix: limits::SOCKETS_PER_PREFIX,
            half_open: limits::HALF_OPEN,
            half_open_per_prefix: limits::HALF_OPEN_PER_PREFIX,
            connects_per_second: limits::CONNECTS_PER_SECOND,
            suspects_per_second: limits::SUSPECTS_PER_SECOND,
            challenges_per_second: limits::CHALLENGES_PER_SECOND,
            challenges_per_second_per_prefix: limits::CHALLENGES_PER_SECOND_PER_PREFIX,
            max_packet: limits::MAX_PACKET,
            receive_maximum: limits::RECEIVE_MAXIMUM,
            queue_messages: limits::QUEUE_MESSAGES,
            queue_bytes: limits::QUEUE_BYTES,
            subscriptions: limits::SUBSCRIPTIONS,
            sessions: limits::SESSIONS,
            sessions_per_device: limits::SESSIONS_PER_DEVICE,
            session_expiry: limits::SESSION_EXPIRY,
            keep_alive: limits::KEEP_ALIVE,
            retained_messages: limits::RETAINED_MESSAGES,
            retained_bytes: limits::RETAINED_BYTES,
            retained_per_device: limits::RETAINED_PER_DEVICE.0,
            retained_bytes_per_device: limits::RETAINED_PER_DEVICE.1,
            retained_per_tenant: limits::RETAINED_PER_TENANT.0,
            retained_bytes_per_tenant: limits::RETAINED_PER_TENANT.1,
            queued_bytes_per_device: limits::QUEUED_BYTES_PER_DEVICE,
            queued_bytes_per_tenant: limits::QUEUED_BYTES_PER_TENANT,
            queued_bytes_in_all: limits::QUEUED_BYTES_IN_ALL,
            kept_sessions_per_device: limits::KEPT_SESSIONS_PER_DEVICE,
            sessions_per_tenant: limits::SESSIONS_PER_TENANT,
            subscriptions_per_device: limits::SUBSCRIPTIONS_PER_DEVICE,
            subscriptions_per_tenant: limits::SUBSCRIPTIONS_PER_TENANT,
            wildcards_per_device: limits::ROUTER_LOGS_PER_DEVICE,
            verification_workers: 0,
            token_requests_per_second: limits::TOKEN_REQUESTS_PER_SECOND,
        }
    }
}

impl RawLimits {
    pub(super) fn admission(&self) -> Result<AdmissionLimits, ConfigError> {
        Ok(AdmissionLimits {
            sockets: within("limits.sockets", self.sockets, 1, 10_000_000)?,
            sockets_per_prefix: within(
                "limits.sockets_per_prefix",
                self.sockets_per_prefix,
                1,
                10_000_000,
            )?,
            half_open: within("limits.half_open", self.half_open, 1, 1_000_000)?,
            half_open_per_prefix: within(
                "limits.half_open_per_prefix",
                self.half_open_per_prefix,
                1,
                1_000_000,
            )?,
            connects_per_second: within(
                "limits.connects_per_second",
                self.connects_per_second,
                1,
                1_000_000,
            )?,
            suspects_per_second: within(
                "limits.suspects_per_second",
                self.suspects_per_second,
                1,
                1_000_000,
            )?,
        })
    }

    pub(super) fn challenges(&self) -> Result<ChallengeLimits, ConfigError> {
        let rate = |key, value| within(key, value, 1, 1_000_000);
        Ok(ChallengeLimits {
            per_second: rate("limits.challenges_per_second", self.challenges_per_second)?,
            per_second_of_prefix: rate(
                "limits.challenges_per_second_per_prefix",
                self.challenges_per_second_per_prefix,
            )?,
        })
    }

    pub(super) fn sessions(&self) -> Result<SessionLimits, ConfigError> {
        let count = |key, value| within(key, value, 1, 10_000_000);
        Ok(SessionLimits {
            all: count("limits.sessions", self.sessions)?,
            tenant: count("limits.sessions_per_tenant", self.sessions_per_tenant)?,
            device: count("limits.sessions_per_device", self.sessions_per_device)?,
            kept_of_device: count(
                "limits.kept_sessions_per_device",
                self.kept_sessions_per_device,
            )?,
        })
    }

    pub(super) fn retained(&self) -> Result<RetainedLimits, ConfigError> {
        let messages = |key, value| within(key, value, 1, 10_000_000);
        let bytes = |key, value| within(key, value, 1024, 1 << 36);
        Ok(RetainedLimits {
            all: (
                messages("limits.retained_messages", self.retained_messages)?,
                bytes("limits.retained_bytes", self.retained_bytes)?,
            ),
            tenant: (
                messages("limits.retained_per_tenant", self.retained_per_tenant)?,
                bytes("limits.retained_bytes_per_tenant", self.retained_bytes_per_tenant)?,
            ),
            device: (
                messages("limits.retained_per_device", self.retained_per_device)?,
                bytes("limits.retained_bytes_per_device", self.retained_bytes_per_device)?,
            ),
        })
    }

    pub(super) fn shares(&self) -> Result<ShareLimits, ConfigError> {
        let bytes = |key, value| within(key, value, limits::SHARE_STEP, 1 << 40);
        let count = |key, value| within(key, value, 1, 10_000_000);
        let queued_bytes = Most {
            device: bytes("limits.queued_bytes_per_device", self.queued_bytes_per_device)?,
            tenant: bytes("limits.queued_bytes_per_tenant", self.queued_bytes_per_tenant)?,
            all: bytes("limits.queued_bytes_in_all", self.queued_bytes_in_all)?,
        };
        let subscriptions = Most {
            device: count("limits.subscriptions_per_device", self.subscriptions_per_device)?,
            tenant: count("limits.subscriptions_per_tenant", self.subscriptions_per_tenant)?,
            all: limits::SUBSCRIPTIONS_IN_ALL.max(self.subscriptions_per_tenant),
        };
        let wildcards = count("limits.wildcards_per_device", self.wildcards_per_device)?;
        // Routing bounds the rest itself.
        let of = |device, tenant| Most { device, tenant, all: usize::MAX };
        let links = limits::ROUTER_LINKS_PER_DEVICE.max(wildcards);
        Ok(ShareLimits {
            queued_bytes,
            subscriptions,
            links: of(links, limits::ROUTER_LINKS_PER_TENANT),
            logs: of(wildcards, usize::MAX),
            middle_logs: of(limits::ROUTER_MIDDLE_LOGS.0, limits::ROUTER_MIDDLE_LOGS.1),
            large_logs: of(limits::ROUTER_LARGE_LOGS.0, limits::ROUTER_LARGE_LOGS.1),
        })
    }
}
