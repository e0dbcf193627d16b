//! Requests for new keys that wait for an operator.

use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use super::devices::{not_found, shown};
use crate::refused::Refused;
use crate::registry::rekeys::{self, Waiting};
use crate::rest::auth::{By, Security, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json};
use crate::rest::{page, Answer};
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/v1/tenants/{tenant}/devices/{device}/rekey/approve", approve)
            .summary("Give a device the new key that it asks for; tokens of the former one end")
            .body("RekeyDecision")
            .done("Device")
            .refuses(&[
                RefusalCode::NotFound,
                RefusalCode::DeviceUnknown,
                RefusalCode::AlreadyExists,
                RefusalCode::CapacityReached,
            ]),
        Endpoint::post("/v1/tenants/{tenant}/devices/{device}/rekey/refuse", refuse)
            .summary("Take a request for a new key off the list")
            .body("RekeyDecision")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::get("/v1/tenants/{tenant}/rekeys", list)
            .summary("Requests for new keys that wait for an operator; all of them")
            .done("Rekeys"),
    ]
}

#[derive(Serialize)]
struct RekeyView {
    device: String,
    /// Of the new key, base64url: the device shows the same.
    thumbprint: String,
    asked: u64,
    expires: u64,
}

impl From<Waiting> for RekeyView {
    fn from(waiting: Waiting) -> Self {
        Self {
            device: waiting.device,
            thumbprint: base64url(&waiting.thumbprint),
            asked: waiting.record.asked,
            expires: waiting.record.expires,
        }
    }
}

/// The key that an operator means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    thumbprint: String,
}

impl Which {
    fn bytes(&self) -> Result<[u8; 32], Refused> {
        thumbprint(&self.thumbprint)
    }
}

/// The thumbprint of a key as answers show it.
pub(super) fn thumbprint(text: &str) -> Result<[u8; 32], Refused> {
    let bytes = from_base64url(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Refused::malformed("thumbprint is 32 bytes in base64url without padding"))
}

pub(crate) async fn list(_by: By<Viewer>, app: App, path: Path<String>) -> Answer {
    Ok(page(rekeys::list(&app, &id(&path)?).await?, RekeyView::from))
}

pub(crate) async fn approve(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    Json(which): Json<Which>,
) -> Answer {
    let (tenant, device) = path.into_inner();
    let (key, by, service) = (which.bytes()?, by.operator().actor(), app.clone());
    let (tenant, named): (TenantId, _) = (id(&tenant)?, device.clone());
    let (of, device) = (tenant.clone(), id(&device)?);
    let done = async move { rekeys::approve(&service, &by, &of, &device, &key).await };
    let record = Service::to_its_end(done).await.map_err(not_found)?;
    shown(&app, &tenant, &named, record).await
}

pub(crate) async fn refuse(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    Json(which): Json<Which>,
) -> Answer {
    let (tenant, device) = path.into_inner();
    let (key, by) = (which.bytes()?, by.operator().actor());
    rekeys::refuse(&app, &by, &id(&tenant)?, &id(&device)?, &key).await?;
    Ok(HttpResponse::NoContent().finish())
}
