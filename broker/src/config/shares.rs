//! The shares of devices, of tenants and of all together, as configured.

use super::{within, ConfigError, RawLimits};
use crate::limits;
use crate::shares::{Most, ShareLimits};

/// How many sessions there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionLimits {
    /// In all.
    pub all: usize,
    /// Of one tenant.
    pub tenant: usize,
    /// Of one device.
    pub device: usize,
    /// Of one device, those that outlive their connection.
    pub kept_of_device: usize,
}

/// How many retained messages there may be, and how many bytes of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetainedLimits {
    /// In all.
    pub all: (usize, usize),
    /// Of one tenant.
    pub tenant: (usize, usize),
    /// Of one publisher.
    pub device: (usize, usize),
}

impl RawLimits {
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
        // The lane bounds the rest itself.
        let of = |device, tenant| Most { device, tenant, all: usize::MAX };
        let links = limits::FLEET_LINKS_PER_DEVICE.max(wildcards);
        Ok(ShareLimits {
            queued_bytes,
            subscriptions,
            links: of(links, limits::FLEET_LINKS_PER_TENANT),
            logs: of(wildcards, usize::MAX),
            middle_logs: of(limits::FLEET_MIDDLE_LOGS.0, limits::FLEET_MIDDLE_LOGS.1),
            large_logs: of(limits::FLEET_LARGE_LOGS.0, limits::FLEET_LARGE_LOGS.1),
        })
    }
}
