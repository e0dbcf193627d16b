//! Roles, groups and devices of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{json, Value};
use tessera_behaviour::truth::Truth;
use tessera_runtime::random::SeededRandom;
use tessera_token::refusal::RefusalCode;

use super::plan::{Plan, PlayError};
use super::stage::Stage;
use crate::device::life::{Device, Habits};
use crate::fleet::{Kind, Yard};
use crate::load::own_roles;
use crate::mqtt::Version;
use crate::operator::{segment, tenant_path};

/// The device that reads the alerts.
const WATCHER: &str = "watcher";

/// The devices of a world, in its order, and the names of all devices of the run.
pub(super) struct Cast {
    /// One for each device of the world; nothing for one that could not enrol.
    pub(super) devices: Vec<Option<Device>>,
    pub(super) watcher: Device,
    /// The place of each device by its name in the world.
    pub(super) places: BTreeMap<String, usize>,
}

/// The names of all devices that a run may enrol.
pub(super) fn ids(plan: &Plan, truth: &[Truth]) -> Vec<String> {
    let devices = truth.iter().filter_map(|line| match line {
        Truth::Device { device, .. } => Some(plan.named(device)),
        _ => None,
    });
    devices.chain([watcher_id(plan)]).collect()
}

fn watcher_id(plan: &Plan) -> String {
    format!("{}{WATCHER}", plan.prefix)
}

/// Makes roles and groups, and enrols all devices of the world.
pub(super) async fn enrol(stage: &Stage, truth: &[Truth]) -> Result<Cast, PlayError> {
    let plan = &stage.plan;
    let roles = own_roles(&plan.prefix);
    for (role, body) in roles.iter().zip(bodies()) {
        let path = tenant_path(plan.tenant.as_str(), &format!("roles/{}", segment(role)));
        let made = plan.operator.put(&path, &body).await;
        made.map_err(|error| PlayError::Operator(format!("the role {role}"), error))?;
    }
    let [own, service, watching] = roles.as_slice() else {
        return Err(PlayError::NoDevices(BTreeMap::new()));
    };
    let yard = Yard {
        api: stage.world.api.clone(),
        operator: plan.operator.clone(),
        clock: Arc::clone(&stage.clock),
        random: Arc::new(SeededRandom::predictable(plan.seed)),
    };
    let habits =
        Habits { version: Version::V5, verifier: plan.verifier.clone(), ..Habits::default() };
    let watcher = watcher_id(plan);
    let watcher = yard
        .enrol_single(&plan.tenant, watching, &watcher, habits.clone(), stage.tally())
        .await
        .map_err(PlayError::Fleet)?;
    let mut places = BTreeMap::new();
    let mut groups: BTreeMap<(u64, bool), Vec<(usize, String)>> = BTreeMap::new();
    for line in truth {
        let Truth::Device { device, persona, group, .. } = line else { continue };
        let is_service = plan.scenario.personas.get(persona).is_some_and(|one| one.service);
        let place = places.len();
        places.insert(device.clone(), place);
        groups.entry((*group, is_service)).or_default().push((place, plan.named(device)));
    }
    let mut devices: Vec<Option<Device>> = places.iter().map(|_| None).collect();
    for ((group, is_service), members) in groups {
        let group = Plan::group(group);
        make_group(plan, &group).await?;
        let kind = Kind {
            tenant: plan.tenant.clone(),
            role: if is_service { service.clone() } else { own.clone() },
            prefix: plan.prefix.clone(),
            count: members.len(),
            skewed: false,
            both_versions: false,
            group: Some(group),
            habits: habits.clone(),
        };
        let ids: Vec<String> = members.iter().map(|(_, id)| id.clone()).collect();
        let enrolled = yard.enrol_named(&kind, &ids, stage.tally()).await;
        let by_id: BTreeMap<&str, usize> =
            members.iter().map(|(place, id)| (id.as_str(), *place)).collect();
        for device in enrolled.map_err(PlayError::Fleet)? {
            let place = by_id.get(device.identity.device.as_str()).copied();
            if let Some(slot) = place.and_then(|place| devices.get_mut(place)) {
                *slot = Some(device);
            }
        }
    }
    if devices.iter().all(Option::is_none) {
        return Err(PlayError::NoDevices(stage.tally().failures_by_code()));
    }
    Ok(Cast { devices, watcher, places })
}

/// The roles of devices, of services, and of the reader of alerts.
fn bodies() -> [Value; 3] {
    let own = |suffixes: &[&str]| -> Vec<String> {
        suffixes.iter().map(|suffix| format!("d/{{device}}/{suffix}")).collect()
    };
    [
        json!({
            "class": "device",
            "publish": own(&["telemetry", "state", "event", "log"]),
            "subscribe": own(&["cmd", "cfg"]),
        }),
        json!({
            "class": "service",
            "publish": ["d/+/cmd"],
            "subscribe": ["d/+/cmd", "d/{device}/cfg"],
        }),
        json!({ "class": "service", "publish": [], "subscribe": ["$tessera/alerts"] }),
    ]
}

async fn make_group(plan: &Plan, group: &str) -> Result<(), PlayError> {
    let path = tenant_path(plan.tenant.as_str(), "groups");
    match plan.operator.create(&path, &json!({ "group": group })).await {
        Err(error) if error.code() != Some(RefusalCode::AlreadyExists) => {
            Err(PlayError::Operator(format!("the group {group}"), error))
        }
        _ => Ok(()),
    }
}
