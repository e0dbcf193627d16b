//! Which topics devices use, and what their roles could do without.

use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{json, Value};
use tessera_token::refusal::RefusalCode;

use super::devices::not_found;
use crate::inventory::{self, Advised, LineAdvice, Refusal, Verdict};
use crate::limits::ADVICE_DAYS_MOST;
use crate::records::uses::{RoleUse, Usage};
use crate::refused::Refused;
use crate::rest::auth::{By, Viewer};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::input::{id, App, Query};
use crate::rest::Answer;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/roles/{role}/uses", of_role)
            .summary("List the topics that the devices of a role used and were refused")
            .done("RoleUses")
            .refuses(&[RefusalCode::RoleUnknown]),
        Endpoint::get("/v1/tenants/{tenant}/roles/{role}/advice", advise)
            .summary("Tell which lines of a role no device used, and narrower ones for those that are too wide")
            .query(
                "days",
                "Days of use that count, 30 without it: a topic that was used last before them was not used",
                schema::from_one(ADVICE_DAYS_MOST),
            )
            .done("RoleAdvice")
            .refuses(&[RefusalCode::RoleUnknown]),
        Endpoint::get("/v1/tenants/{tenant}/devices/{device}/uses", of_device)
            .summary("List the topics that a device used and was refused since it has its role")
            .done("DeviceUses")
            .refuses(&[RefusalCode::DeviceUnknown]),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Days {
    #[serde(default)]
    days: Option<u64>,
}

pub(crate) async fn of_role(_by: By<Viewer>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, named) = path.into_inner();
    let known = inventory::of_role(&app, &id(&tenant)?, &id(&named)?).await?;
    let items: Vec<Value> = known
        .rows
        .iter()
        .map(|((usage, topic), of)| {
            json!({
                "usage": usage.as_str(), "topic": topic, "devices": of.devices, "count": of.count,
                "first": of.first, "last": of.last,
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({
        "role": named, "since": known.since, "devices_seen": known.devices_seen, "items": items,
    })))
}

pub(crate) async fn of_device(_by: By<Viewer>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, named) = path.into_inner();
    let uses = inventory::of_device(&app, &id(&tenant)?, &id(&named)?).await.map_err(not_found)?;
    let items: Vec<Value> = uses
        .lines
        .iter()
        .map(|line| {
            json!({
                "usage": line.usage.as_str(), "topic": line.topic, "count": line.count,
                "first": line.first, "last": line.last,
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "device": named, "role": uses.role, "items": items })))
}

pub(crate) async fn advise(
    _by: By<Viewer>,
    app: App,
    path: Path<(String, String)>,
    Query(Days { days }): Query<Days>,
) -> Answer {
    let days = days.unwrap_or(30);
    if !(1..=ADVICE_DAYS_MOST).contains(&days) {
        return Err(Refused::malformed(format!("days is 1 to {ADVICE_DAYS_MOST}")).into());
    }
    let (tenant, named) = path.into_inner();
    let advised = inventory::advise(&app, &id(&tenant)?, &id(&named)?, days).await?;
    let Advised { advice, since, devices_seen, devices, more_devices, not_yet } = advised;
    let lines: Vec<Value> = advice.lines.iter().map(line).collect();
    let refused: Vec<Value> = advice.refused.iter().map(refusal).collect();
    Ok(HttpResponse::Ok().json(json!({
        "role": named,
        "days": days,
        "since": since,
        "devices": devices,
        "more_devices": more_devices,
        "devices_seen": devices_seen,
        "not_yet": not_yet,
        "changes": advice.changes(),
        "lines": lines,
        "refused": refused,
        "publish": advice.proposed(Usage::Publish),
        "subscribe": advice.proposed(Usage::Subscribe),
    })))
}

fn line(of: &LineAdvice) -> Value {
    let none = Vec::new();
    let (advice, to) = match &of.verdict {
        Verdict::Keep => ("keep", &none),
        Verdict::KeepWide => ("keep_wide", &none),
        Verdict::Narrow(to) => ("narrow", to),
        Verdict::Remove => ("remove", &none),
    };
    json!({
        "permission": of.usage.as_str(), "line": of.line, "advice": advice, "to": to,
        "devices": of.devices, "count": of.count, "last": of.last,
    })
}

fn refusal(of: &Refusal) -> Value {
    let permission = match of.usage {
        Usage::Publish | Usage::PublishRefused => "publish",
        Usage::Subscribe | Usage::SubscribeRefused => "subscribe",
    };
    let RoleUse { devices, count, first, last } = of.of;
    json!({
        "permission": permission, "topic": of.topic, "devices": devices, "count": count,
        "first": first, "last": last, "nearest": of.nearest,
    })
}
