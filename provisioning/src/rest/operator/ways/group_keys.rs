use actix_web::http::header::CACHE_CONTROL;
use actix_web::http::StatusCode;
use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tessera_runtime::secret::Secret;
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::proof::SymmetricKey;

use super::rights;
use crate::records::ways::GroupKeyRecord;
use crate::refused::Refused;
use crate::registry::ways::group_keys::{self, Given};
use crate::rest::auth::{By, Security, Viewer};
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{page, Answer};

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

fn answer(
    status: StatusCode,
    name: &str,
    record: GroupKeyRecord,
    drawn: Option<SymmetricKey>,
) -> HttpResponse {
    let text = drawn.map(|key| Secret::new(base64url(key.expose_bytes())));
    let shown = text.as_ref().map(|text| text.expose().as_str());
    HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(GroupKeyView::new(name, record, shown))
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let cursor = query.cursor.as_deref();
    let found = group_keys::list(&app, &id(&path)?, cursor, query.limit()).await?;
    let view = |(name, record): (String, GroupKeyRecord)| {
        serde_json::json!(GroupKeyView::new(&name, record, None))
    };
    Ok(page(found, view))
}

pub(crate) async fn create(
    by: By<Security>,
    app: App,
    path: Path<String>,
    Json(body): Json<NewGroupKey>,
) -> Answer {
    let (by, rights) = (by.operator().actor(), rights(&body.role, body.group.as_deref())?);
    let (tenant, name) = (id(&path)?, id(&body.group_key)?);
    let given = given(body.key)?;
    let made = group_keys::create(&app, &by, &tenant, &name, &rights, given).await?;
    Ok(answer(StatusCode::CREATED, &body.group_key, made.0, made.1))
}

pub(crate) async fn rotate(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    Json(body): Json<Rotation>,
) -> Answer {
    let (tenant, name) = path.into_inner();
    let (by, given) = (by.operator().actor(), given(body.key)?);
    let made = group_keys::rotate(&app, &by, &id(&tenant)?, &id(&name)?, given).await?;
    Ok(answer(StatusCode::OK, &name, made.0, made.1))
}

pub(crate) async fn drop_secondary(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
) -> Answer {
    let (tenant, name) = path.into_inner();
    let by = by.operator().actor();
    let record = group_keys::drop_secondary(&app, &by, &id(&tenant)?, &id(&name)?).await?;
    Ok(answer(StatusCode::OK, &name, record, None))
}

pub(crate) async fn delete(by: By<Security>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, name) = path.into_inner();
    group_keys::delete(&app, &by.operator().actor(), &id(&tenant)?, &id(&name)?).await?;
    Ok(HttpResponse::NoContent().finish())
}
