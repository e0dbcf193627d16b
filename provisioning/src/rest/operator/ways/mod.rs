//! Resources of the ways of enrolment: the ways of a group, and what entitles devices by them.

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{json, Value};
use tessera_token::ids::{GroupId, TenantId};
use tessera_token::messages::Way;
use tessera_token::refusal::RefusalCode;

use crate::records::ways::GroupWays;
use crate::refused::Refused;
use crate::registry::tenants::DEFAULT_GROUP;
use crate::registry::ways::{self, Rights};
use crate::registry::{groups, tenants};
use crate::rest::auth::{Admin, By, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::etag::{self, tagged, When};
use crate::rest::input::{id, App, Json};
use crate::rest::Answer;

pub(crate) mod approvals;
pub(crate) mod authorities;
pub(crate) mod denied;
pub(crate) mod group_keys;
pub(crate) mod listed_ids;
pub(crate) mod listed_keys;

/// The codes that refuse rights in a body.
const RIGHTS: &[RefusalCode] = &[
    RefusalCode::RoleUnknown,
    RefusalCode::AttributeMissing,
    RefusalCode::GroupUnknown,
    RefusalCode::WayNotTaken,
];

/// The endpoints of these resources.
pub(crate) fn table() -> Vec<Endpoint> {
    let own = vec![
        Endpoint::get("/v1/tenants/{tenant}/groups/{group}/ways", show)
            .summary("The ways of enrolment that a group takes")
            .done("GroupWays")
            .known()
            .refuses(&[RefusalCode::GroupUnknown]),
        Endpoint::put("/v1/tenants/{tenant}/groups/{group}/ways", set)
            .summary("Set the ways of enrolment that a group takes")
            .body("GroupWaysBody")
            .answers(200, "Set", "GroupWays")
            .tagged()
            .refuses(&[RefusalCode::GroupUnknown]),
    ];
    let others = [
        approvals::table(),
        authorities::table(),
        denied::table(),
        group_keys::table(),
        listed_ids::table(),
        listed_keys::table(),
    ];
    own.into_iter().chain(others.into_iter().flatten()).collect()
}

/// Role and group of a body.
fn rights(role: &str, group: Option<&str>) -> Result<Rights, Refused> {
    Ok(Rights { role: id(role)?, group: id(group.unwrap_or(DEFAULT_GROUP))? })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaysBody {
    ways: Vec<String>,
}

fn view(group: &str, record: &GroupWays) -> Value {
    let names: Vec<&str> = record.ways.iter().map(|way| way.as_str()).collect();
    json!({ "group": group, "ways": names })
}

pub(crate) async fn show(
    _by: By<Viewer>,
    app: App,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Answer {
    let (tenant, group) = path.into_inner();
    let (tenant, named): (TenantId, GroupId) = (id(&tenant)?, id(&group)?);
    tenants::known(&app, &tenant).await?;
    groups::known(&app, &tenant, named.as_str()).await?;
    let record = ways::of_group(&app, &tenant, named.as_str()).await?;
    Ok(etag::shown(&request, &view(&group, &record), &etag::of(&record)))
}

pub(crate) async fn set(
    by: By<Admin>,
    app: App,
    path: Path<(String, String)>,
    When(when): When,
    Json(body): Json<WaysBody>,
) -> Answer {
    let (tenant, group) = path.into_inner();
    if body.ways.len() > Way::ALL.len() {
        return Err(Refused::malformed("each way is named once").into());
    }
    let read = |name: &String| {
        Way::parse(name).ok_or_else(|| {
            Refused::malformed("a way is claim, key, group_key, certificate or approval")
        })
    };
    let wanted = body.ways.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let by = by.operator().actor();
    let set = ways::set(&app, &by, &id(&tenant)?, &id(&group)?, (&wanted, &when)).await?;
    Ok(tagged(HttpResponse::Ok().json(view(&group, &set)), &etag::of(&set)))
}
