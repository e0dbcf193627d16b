//! Policies by which alerts are answered.

use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tessera_token::ids::{GroupId, TenantId};
use tessera_token::refusal::RefusalCode;

use crate::alerts::answers::{self, Set};
use crate::records::restraints::{Answer as Given, AnswerPolicy};
use crate::rest::auth::{By, Security, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{list_of, Answer};
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/answers", list)
            .summary("List the policies by which alerts are answered")
            .paged()
            .done("AnswerPolicies"),
        Endpoint::put("/v1/tenants/{tenant}/answers", set)
            .summary(
                "Set the answers to alerts about the devices of a group, or of the tenant: note, \
                clamp, step_up, quarantine, end",
            )
            .body("NewAnswerPolicy")
            .done("AnswerPolicy")
            .refuses(&[RefusalCode::GroupUnknown]),
        Endpoint::delete("/v1/tenants/{tenant}/answers", remove)
            .summary("Answer alerts no more: of the tenant")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::delete("/v1/tenants/{tenant}/answers/{group}", remove_of_group)
            .summary("Answer alerts about a group no more by its own policy")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Serialize)]
struct PolicyView {
    group: Option<String>,
    low: Given,
    moderate: Given,
    high: Given,
    seconds: u64,
    devices_an_hour: u64,
    shadow: bool,
    changed: u64,
    by: String,
}

impl PolicyView {
    fn new(group: String, policy: AnswerPolicy) -> Self {
        let AnswerPolicy { low, moderate, high, seconds, devices_an_hour, shadow, .. } = policy;
        Self {
            group: Some(group).filter(|group| !group.is_empty()),
            low,
            moderate,
            high,
            seconds,
            devices_an_hour,
            shadow,
            changed: policy.changed,
            by: policy.made_by,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPolicy {
    #[serde(default)]
    group: Option<String>,
    #[serde(default = "note")]
    low: Given,
    #[serde(default = "note")]
    moderate: Given,
    high: Given,
    seconds: u64,
    devices_an_hour: u64,
    #[serde(default)]
    shadow: bool,
}

fn note() -> Given {
    Given::Note
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let show = |(group, policy)| PolicyView::new(group, policy);
    list_of(&app, &path, &app.tables.answer_policies, &query, show).await
}

pub(crate) async fn set(
    by: By<Security>,
    app: App,
    path: Path<String>,
    Json(wanted): Json<NewPolicy>,
) -> Answer {
    let (by, tenant): (_, TenantId) = (by.operator().actor(), id(&path)?);
    let group: Option<GroupId> = wanted.group.as_deref().map(id).transpose()?;
    let named = wanted.group.unwrap_or_default();
    let NewPolicy { low, moderate, high, seconds, devices_an_hour, shadow, .. } = wanted;
    let wanted = Set { group, low, moderate, high, seconds, devices_an_hour, shadow };
    let done = async move { answers::set(&app, &by, &tenant, &wanted).await };
    let policy = Service::to_its_end(done).await?;
    Ok(HttpResponse::Ok().json(PolicyView::new(named, policy)))
}

pub(crate) async fn remove(by: By<Security>, app: App, path: Path<String>) -> Answer {
    answers::remove(&app, &by.operator().actor(), &id(&path)?, "").await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(crate) async fn remove_of_group(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
) -> Answer {
    let (tenant, group) = path.into_inner();
    let group: GroupId = id(&group)?;
    answers::remove(&app, &by.operator().actor(), &id(&tenant)?, group.as_str()).await?;
    Ok(HttpResponse::NoContent().finish())
}
