use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tessera_token::encoding::base64url;
use tessera_token::ids::DeviceId;
use tessera_token::refusal::RefusalCode;

use crate::records::ways::ListedId;
use crate::registry::ways::listed_ids;
use crate::rest::auth::{By, Fleet, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{page, Answer};

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/group-keys/{group_key}/devices", list)
            .summary("List the device ids that may enrol by a group key")
            .paged()
            .done("ListedIds"),
        Endpoint::post("/v1/tenants/{tenant}/group-keys/{group_key}/devices", add)
            .summary("Add device ids that may enrol by a group key, each once")
            .body("NewListedIds")
            .answers(200, "Added", "AddedIds")
            .refuses(&[RefusalCode::NotFound, RefusalCode::AlreadyExists]),
        Endpoint::delete("/v1/tenants/{tenant}/group-keys/{group_key}/devices/{device}", delete)
            .summary("Take a device id off the list; a device that has enrolled stays enrolled")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Serialize)]
struct ListedIdView {
    device: String,
    state: &'static str,
    created: u64,
    by: String,
    used_thumbprint: Option<String>,
    used_at: Option<u64>,
}

impl ListedIdView {
    fn new(device: String, record: ListedId) -> Self {
        Self {
            device,
            state: if record.used.is_some() { "used" } else { "open" },
            created: record.created,
            by: record.by,
            used_thumbprint: record.used.map(|(thumbprint, _)| base64url(&thumbprint)),
            used_at: record.used.map(|(_, at)| at),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewIds {
    devices: Vec<String>,
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<(String, String)>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let (tenant, name) = path.into_inner();
    let (tenant, name) = (id(&tenant)?, id(&name)?);
    let cursor = query.cursor.as_deref();
    let found = listed_ids::list(&app, &tenant, &name, cursor, query.limit()).await?;
    Ok(page(found, |(device, record)| ListedIdView::new(device, record)))
}

pub(crate) async fn add(
    by: By<Fleet>,
    app: App,
    path: Path<(String, String)>,
    Json(body): Json<NewIds>,
) -> Answer {
    let (tenant, name) = path.into_inner();
    let ids = body.devices.iter().map(|text| id::<DeviceId>(text));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let by = by.operator().actor();
    let added = listed_ids::add(&app, &by, &id(&tenant)?, &id(&name)?, &ids).await?;
    Ok(HttpResponse::Ok().json(json!({ "group_key": name, "added": added })))
}

pub(crate) async fn delete(
    by: By<Fleet>,
    app: App,
    path: Path<(String, String, String)>,
) -> Answer {
    let (tenant, name, device) = path.into_inner();
    let by = by.operator().actor();
    listed_ids::delete(&app, &by, &id(&tenant)?, &id(&name)?, &id(&device)?).await?;
    Ok(HttpResponse::NoContent().finish())
}
