use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::key::PublicKey;
use tessera_token::refusal::RefusalCode;

use super::rights;
use crate::records::ways::ListedKey;
use crate::refused::Refused;
use crate::registry::ways::listed_keys;
use crate::rest::auth::{By, Fleet, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{list_of, Answer};

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/listed-keys", list)
            .summary("List the keys by which devices enrol without a claim")
            .paged()
            .done("ListedKeys"),
        Endpoint::post("/v1/tenants/{tenant}/listed-keys", add)
            .summary("List a key, by which its device enrols once")
            .body("NewListedKey")
            .answers(201, "Listed", "ListedKey")
            .refuses(&[RefusalCode::AlreadyExists, RefusalCode::ConfirmationKey])
            .refuses(super::RIGHTS),
        Endpoint::delete("/v1/tenants/{tenant}/listed-keys/{device}", delete)
            .summary("Take a key off the list; a device that has enrolled stays enrolled")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Serialize)]
struct ListedKeyView {
    device: String,
    thumbprint: String,
    state: &'static str,
    role: String,
    group: String,
    created: u64,
    by: String,
    used_at: Option<u64>,
}

impl ListedKeyView {
    fn new(device: String, record: ListedKey) -> Self {
        Self {
            device,
            thumbprint: base64url(&record.thumbprint),
            state: if record.used.is_some() { "used" } else { "open" },
            role: record.role,
            group: record.group,
            created: record.created,
            by: record.by,
            used_at: record.used,
        }
    }
}

/// An entry: the key itself, or its thumbprint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewListedKey {
    device: String,
    role: String,
    #[serde(default)]
    group: Option<String>,
    /// Record form, base64url.
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    thumbprint: Option<String>,
}

impl NewListedKey {
    fn thumbprint(&self) -> Result<[u8; 32], Refused> {
        match (&self.key, &self.thumbprint) {
            (Some(key), None) => {
                let bytes = from_base64url(key);
                let bytes = bytes.ok_or_else(|| {
                    Refused::malformed("key is base64url: 32 bytes on Ed25519, 65 on P-256")
                })?;
                let key = PublicKey::from_bytes(&bytes).map_err(|error| {
                    Refused::because(RefusalCode::ConfirmationKey, error.to_string())
                })?;
                Ok(*key.thumbprint().as_bytes())
            }
            (None, Some(text)) => {
                let bytes = from_base64url(text).and_then(|bytes| bytes.try_into().ok());
                bytes.ok_or_else(|| Refused::malformed("thumbprint is 32 bytes as base64url"))
            }
            _ => Err(Refused::malformed("either key or thumbprint")),
        }
    }
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let show = |(device, record)| ListedKeyView::new(device, record);
    list_of(&app, &path, &app.tables.listed_keys, &query, show).await
}

pub(crate) async fn add(
    by: By<Fleet>,
    app: App,
    path: Path<String>,
    Json(body): Json<NewListedKey>,
) -> Answer {
    let (by, rights) = (by.operator().actor(), rights(&body.role, body.group.as_deref())?);
    let (tenant, device) = (id(&path)?, id(&body.device)?);
    let thumbprint = body.thumbprint()?;
    let added = listed_keys::add(&app, &by, &tenant, &device, thumbprint, &rights).await?;
    Ok(HttpResponse::Created().json(ListedKeyView::new(body.device, added)))
}

pub(crate) async fn delete(by: By<Fleet>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, device) = path.into_inner();
    listed_keys::delete(&app, &by.operator().actor(), &id(&tenant)?, &id(&device)?).await?;
    Ok(HttpResponse::NoContent().finish())
}
