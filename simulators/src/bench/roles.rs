//! The devices of a run: enrolled once, through the same calls as any device.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::SeededRandom;
use tessera_runtime::secret::Secret;
use tessera_token::ids::TenantId;
use tessera_token::key::Thumbprint;
use tessera_token::messages::TokenKind;

use super::crowd::Crowd;
use super::error::BenchError;
use super::limits;
use super::stage::Stage;
use crate::device::api::DeviceApi;
use crate::device::life::Habits;
use crate::fleet::{Kind, Yard};
use crate::operator::{tenant_path, OperatorClient};
use crate::report::Tally;

/// The topic that a thousand subscribers have in common; the role of fan-out may use no other.
pub(super) const FAN_TOPIC: &str = "bench/all";

/// Where the system under test is, and how much is wanted of it.
#[derive(Clone)]
pub struct Site {
    /// `http://host:port` of provisioning.
    pub http: String,
    /// The feed token: ten thousand devices enrol from one address, whose own rate would take minutes.
    pub feed_token: Secret<String>,
    /// The thumbprint of its root key.
    pub root: Thumbprint,
    /// An operator of it.
    pub operator: OperatorClient,
    /// The tenant.
    pub tenant: TenantId,
    /// Devices.
    pub clients: usize,
    /// Sessions at the upper end of `growth`; 0 when that is not measured.
    pub sessions: usize,
    /// Rounds, which need devices to revoke.
    pub rounds: usize,
    /// Seconds for which a rate is measured.
    pub seconds: f64,
    /// How long `wear` watches the disk of a quiet system.
    pub quiet: Duration,
    /// Devices of one `import`.
    pub imported: usize,
    /// Whether revocations are measured.
    pub revocations: bool,
    /// Whether symmetric tokens are measured.
    pub symmetric: bool,
}

/// Devices of the role `sensor` that are enrolled, those to revoke apart.
pub(super) fn devices(site: &Site) -> usize {
    site.clients.max(growing(site))
}

/// Those who stay at the upper end, and those who come and go.
fn growing(site: &Site) -> usize {
    site.sessions + limits::SPREAD.min(site.sessions / 2)
}

/// Enrols all devices.
pub(super) async fn enrol(site: &Site, clock: &SharedClock) -> Result<Stage, BenchError> {
    let api = DeviceApi::relaying(&site.http, site.feed_token.clone())
        .map_err(|error| BenchError::new(error.to_string()))?;
    let random = Arc::new(SeededRandom::predictable(1));
    let yard = Yard {
        api: api.clone(),
        operator: site.operator.clone(),
        clock: Arc::clone(clock),
        random,
    };
    let path = tenant_path(site.tenant.as_str(), "roles/bench-fan");
    let role = json!({ "class": "service", "publish": [FAN_TOPIC], "subscribe": [FAN_TOPIC] });
    site.operator.put(&path, &role).await?;
    let crowd_of = |role: &'static str, prefix: &'static str, count: usize, token: TokenKind| {
        let yard = yard.clone();
        async move { enrol_role(&yard, &site.tenant, role, prefix, count, token, clock).await }
    };
    let crowd = |role, prefix, count| crowd_of(role, prefix, count, TokenKind::Key);
    let victims = if site.revocations { limits::REVOKED * site.rounds } else { 0 };
    let all = crowd("sensor", "d", devices(site)).await?;
    // The same devices, with other tokens.
    let symmetric = if site.symmetric { site.clients } else { 0 };
    let symmetric = crowd_of("sensor", "d", symmetric, TokenKind::Symmetric).await?;
    Ok(Stage {
        clock: Arc::clone(clock),
        operator: site.operator.clone(),
        tenant: site.tenant.clone(),
        seconds: site.seconds,
        quiet: site.quiet,
        imported: site.imported,
        api,
        http: site.http.clone(),
        feed_token: site.feed_token.clone(),
        root: site.root,
        devices: all.part(site.clients),
        growth: all.part(growing(site)),
        symmetric,
        backend: crowd("backend", "backend", 1).await?,
        fans: crowd("bench-fan", "fan", limits::SPREAD.min(site.clients) + 1).await?,
        victims: crowd("sensor", "victim", victims).await?,
    })
}

async fn enrol_role(
    yard: &Yard,
    tenant: &TenantId,
    role: &str,
    prefix: &str,
    count: usize,
    token: TokenKind,
    clock: &SharedClock,
) -> Result<Crowd, BenchError> {
    let kind = Kind {
        tenant: tenant.clone(),
        role: role.to_owned(),
        prefix: prefix.to_owned(),
        count,
        skewed: false,
        both_versions: false,
        group: None,
        habits: Habits { token, ..Habits::default() },
    };
    let tally = Arc::new(Tally::default());
    let devices = yard.enrol(&kind, &tally).await?;
    if devices.len() < count {
        return Err(BenchError::new(format!("{} of {count} {role}s enrolled", devices.len())));
    }
    Ok(Crowd::new(&devices, clock))
}
