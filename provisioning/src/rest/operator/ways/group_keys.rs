use actix_web::http::StatusCode;
use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tessera_runtime::secret::Secret;
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::ids::GroupId;
use tessera_token::proof::SymmetricKey;
use tessera_token::refusal::RefusalCode;

use super::rights;
use crate::once::{self, Asked, Keep};
use crate::records::ways::GroupKeyRecord;
use crate::refused::Refused;
use crate::registry::ways::group_keys::{self, Given, Shown};
use crate::rest::auth::{By, Security, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, PageQuery, Query};
use crate::rest::once::{created, Once};
use crate::rest::{list_of, Answer};
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/group-keys", list)
            .summary("List group keys, without their bytes")
            .paged()
            .done("GroupKeys"),
        Endpoint::post("/v1/tenants/{tenant}/group-keys", create)
            .summary("Make a group key, from which secrets of devices are derived")
            .body("NewGroupKey")
            .creates("GroupKey")
            .refuses(&[RefusalCode::AlreadyExists])
            .refuses(super::RIGHTS),
        Endpoint::delete("/v1/tenants/{tenant}/group-keys/{group_key}", delete)
            .summary("Delete a group key: no further device enrols by it")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::post("/v1/tenants/{tenant}/group-keys/{group_key}/rotate", rotate)
            .summary("Put a new primary group key in place; the former one becomes the secondary")
            .body("GroupKeyRotation")
            .answers(200, "Rotated", "GroupKey")
            .refuses(&[RefusalCode::NotFound, RefusalCode::AlreadyExists]),
        Endpoint::delete("/v1/tenants/{tenant}/group-keys/{group_key}/secondary", drop_secondary)
            .summary("Forget the secondary group key")
            .answers(200, "Forgotten", "GroupKey")
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Serialize)]
struct GroupKeyView<'a> {
    group_key: &'a str,
    role: String,
    group: String,
    created: u64,
    rotated: u64,
    secondary: bool,
    by: String,
    /// The key, shown once when the service drew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl<'a> GroupKeyView<'a> {
    fn new(name: &'a str, record: GroupKeyRecord, key: Option<&'a str>) -> Self {
        Self {
            group_key: name,
            secondary: record.secondary.is_some(),
            role: record.role,
            group: record.group,
            created: record.created,
            rotated: record.rotated,
            by: record.by,
            key,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGroupKey {
    group_key: String,
    role: String,
    #[serde(default)]
    group: Option<String>,
    /// Base64url; the service draws one when it is missing.
    #[serde(default)]
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    #[serde(default)]
    key: Option<String>,
}

fn given(text: Option<String>) -> Result<Given, Refused> {
    let Some(text) = text.map(Secret::new) else { return Ok(None) };
    let bytes = from_base64url(text.expose()).map(Secret::new);
    let key = bytes.and_then(|bytes| SymmetricKey::from_bytes(bytes.expose()));
    key.map(Some).ok_or_else(|| Refused::malformed("key is 32 to 64 bytes as base64url"))
}

/// The one answer that shows a key.
fn answer(
    status: StatusCode,
    name: &str,
    (record, drawn): &Shown,
) -> Result<once::Answer, Refused> {
    let text = drawn.as_ref().map(|key| Secret::new(base64url(key.expose_bytes())));
    let shown = text.as_ref().map(|text| text.expose().as_str());
    let made = created(&GroupKeyView::new(name, record.clone(), shown), None)?;
    Ok(once::Answer { status: status.as_u16(), ..made })
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let show = |(name, record): (String, GroupKeyRecord)| {
        serde_json::json!(GroupKeyView::new(&name, record, None))
    };
    list_of(&app, &path, &app.tables.group_keys, &query, show).await
}

pub(crate) async fn create(
    by: By<Security>,
    app: App,
    path: Path<String>,
    asked: Once<NewGroupKey>,
) -> Answer {
    let Once { body, call } = asked;
    let (actor, rights) = (by.operator().actor(), rights(&body.role, body.group.as_deref())?);
    let (tenant, name) = (id(&path)?, id::<GroupId>(&body.group_key)?);
    let given = given(body.key)?;
    let service = app.clone();
    let make = async move |asked: Option<Asked>| {
        let made = async move {
            let answer = |made: &Shown| answer(StatusCode::CREATED, name.as_str(), made);
            let keep = Keep { asked: asked.as_ref(), answer: &answer };
            let wanted = (&rights, given);
            answer(&group_keys::create(&service, &actor, &tenant, &name, wanted, &keep).await?)
        };
        Ok(Service::to_its_end(made).await?)
    };
    call.once(&app, &by.operator().name, make).await
}

pub(crate) async fn rotate(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    asked: Once<Rotation>,
) -> Answer {
    let Once { body, call } = asked;
    let (tenant, name) = path.into_inner();
    let (tenant, name) = (id(&tenant)?, id::<GroupId>(&name)?);
    let (actor, given) = (by.operator().actor(), given(body.key)?);
    let service = app.clone();
    let make = async move |asked: Option<Asked>| {
        let made = async move {
            let answer = |made: &Shown| answer(StatusCode::OK, name.as_str(), made);
            let keep = Keep { asked: asked.as_ref(), answer: &answer };
            answer(&group_keys::rotate(&service, &actor, &tenant, &name, given, &keep).await?)
        };
        Ok(Service::to_its_end(made).await?)
    };
    call.once(&app, &by.operator().name, make).await
}

pub(crate) async fn drop_secondary(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
) -> Answer {
    let (tenant, name) = path.into_inner();
    let by = by.operator().actor();
    let record = group_keys::drop_secondary(&app, &by, &id(&tenant)?, &id(&name)?).await?;
    Ok(HttpResponse::Ok().json(GroupKeyView::new(&name, record, None)))
}

pub(crate) async fn delete(by: By<Security>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, name) = path.into_inner();
    group_keys::delete(&app, &by.operator().actor(), &id(&tenant)?, &id(&name)?).await?;
    Ok(HttpResponse::NoContent().finish())
}
