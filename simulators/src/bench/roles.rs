//! The devices of a run: enrolled once, through the same calls as any device.

use std::sync::Arc;

use serde_json::json;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::SeededRandom;
use tessera_token::ids::TenantId;

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
    /// An operator of it.
    pub operator: OperatorClient,
    /// The tenant.
    pub tenant: TenantId,
    /// Devices.
    pub clients: usize,
    /// Rounds, which need devices to revoke.
    pub rounds: usize,
    /// Seconds for which a rate is measured.
    pub seconds: f64,
    /// Whether revocations are measured.
    pub revocations: bool,
}

/// Enrols everybody.
pub(super) async fn enrol(site: &Site, clock: &SharedClock) -> Result<Stage, BenchError> {
    let api = DeviceApi::new(&site.http).map_err(|error| BenchError::new(error.to_string()))?;
    let random = Arc::new(SeededRandom::predictable(1));
    let yard = Yard { api, operator: site.operator.clone(), clock: Arc::clone(clock), random };
    let path = tenant_path(site.tenant.as_str(), "roles/bench-fan");
    let role = json!({ "class": "service", "publish": [FAN_TOPIC], "subscribe": [FAN_TOPIC] });
    site.operator.put(&path, &role).await?;
    let crowd = |role: &'static str, prefix: &'static str, count: usize| {
        let yard = yard.clone();
        async move { enrol_role(&yard, &site.tenant, role, prefix, count, clock).await }
    };
    let victims = if site.revocations { limits::REVOKED * site.rounds } else { 0 };
    Ok(Stage {
        clock: Arc::clone(clock),
        operator: site.operator.clone(),
        tenant: site.tenant.clone(),
        seconds: site.seconds,
        devices: crowd("sensor", "d", site.clients).await?,
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
    clock: &SharedClock,
) -> Result<Crowd, BenchError> {
    let kind = Kind {
        tenant: tenant.clone(),
        role: role.to_owned(),
        prefix: prefix.to_owned(),
        count,
        skewed: false,
        both_versions: false,
        habits: Habits::default(),
    };
    let tally = Arc::new(Tally::default());
    let devices = yard.enrol(&kind, &tally).await?;
    if devices.len() < count {
        return Err(BenchError::new(format!("{} of {count} {role}s enrolled", devices.len())));
    }
    Ok(Crowd::new(&devices, clock))
}
