//! `POST /v1/evidence`: a broker or gateway tells what its devices do.

use actix_web::HttpResponse;
use serde::Deserialize;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::topic::TopicFilter;

use super::auth::{Among, Feed};
use super::endpoint::{schema, Endpoint};
use super::input::{id, App, Json, Query};
use super::report;
use super::trust::{as_of, OfTenant, OF_TENANT};
use super::Answer;
use crate::inventory::{self, Told, ToldUse};
use crate::limits::{COUNT_MOST, EVIDENCE_ITEMS, EVIDENCE_USES};
use crate::records::uses::Usage;
use crate::refused::Refused;
use crate::service::Service;

/// The endpoints of this resource.
pub(super) fn table() -> Vec<Endpoint> {
    vec![Endpoint::post("/v1/evidence", take)
        .summary("Tell which topics devices use and are refused: for brokers and gateways")
        .query("tenant", OF_TENANT, schema::tenant())
        .body("EvidenceReport")
        .empty(204, "In the inventory, durably; each number of a line once")
        .refuses(&[RefusalCode::LimitReached, RefusalCode::TenantUnknown])]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    /// The name of the row of numbers, 16 hexadecimal digits.
    line: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    number: u64,
    tenant: String,
    device: String,
    uses: Vec<Use>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Use {
    operation: Operation,
    topic: String,
    count: u64,
    /// The refusal code, when it was refused.
    #[serde(default)]
    code: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Publish,
    Subscribe,
}

pub(super) async fn take(
    by: Among<Feed>,
    app: App,
    Query(query): Query<OfTenant>,
    Json(report): Json<Report>,
) -> Answer {
    let Report { line, items } = report;
    report::check(&line, items.iter().map(|item| item.number), EVIDENCE_ITEMS)?;
    let told: Vec<Told> = items.into_iter().map(read).collect::<Result<_, _>>()?;
    let by = as_of(by.operator(), query.tenant.as_deref())?;
    let (actor, tenants) = (by.actor(), by.tenants);
    let done = async move { inventory::take(&app, &actor, &tenants, &line, &told).await };
    Service::to_its_end(done).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn read(item: Item) -> Result<Told, Refused> {
    let (tenant, device): (TenantId, DeviceId) = (id(&item.tenant)?, id(&item.device)?);
    if item.uses.len() > EVIDENCE_USES {
        return Err(Refused::malformed(format!("uses has at most {EVIDENCE_USES} topics")));
    }
    let uses = item.uses.into_iter().map(read_use).collect::<Result<Vec<_>, Refused>>()?;
    let uses = uses.into_iter().flatten().collect();
    Ok(Told { number: item.number, tenant, device, uses })
}

/// A topic that no role can name is passed over, and so is a refusal of which this version knows nothing.
fn read_use(one: Use) -> Result<Option<ToldUse>, Refused> {
    if one.count > COUNT_MOST {
        return Err(Refused::malformed(format!("count is at most {COUNT_MOST}")));
    }
    let usage = match (one.operation, one.code.as_deref()) {
        (Operation::Publish, None) => Usage::Publish,
        (Operation::Subscribe, None) => Usage::Subscribe,
        (_, Some(code)) if RefusalCode::parse(code).is_none() => return Ok(None),
        (Operation::Publish, Some(_)) => Usage::PublishRefused,
        (Operation::Subscribe, Some(_)) => Usage::SubscribeRefused,
    };
    let topic = one.topic;
    let is_good = TopicFilter::parse(&topic).is_ok();
    Ok(is_good.then_some(ToldUse { usage, topic, count: one.count }))
}
