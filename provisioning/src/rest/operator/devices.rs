use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::Serialize;
use tessera_token::encoding::base64url;
use tessera_token::key::PublicKey;

use crate::records::DeviceRecord;
use crate::registry::devices;
use crate::rest::auth::{By, Ends, Security, Viewer};
use crate::rest::input::{id, App, PageQuery, Query};
use crate::rest::problem::Problem;
use crate::rest::{page, Answer};
use tessera_token::refusal::RefusalCode;

#[derive(Serialize)]
struct DeviceView {
    device: String,
    state: &'static str,
    role: String,
    group: String,
    epoch: u64,
    /// RFC 9679 thumbprint of the device key, base64url.
    thumbprint: Option<String>,
    enrolled: u64,
    claim: String,
}

impl DeviceView {
    fn new(device: &str, record: DeviceRecord) -> Self {
        let key = PublicKey::from_bytes(&record.key).ok();
        Self {
            device: device.to_owned(),
            state: match record.revoked {
                true => "revoked",
                false => "active",
            },
            role: record.role,
            group: record.group,
            epoch: record.epoch,
            thumbprint: key.map(|key| base64url(key.thumbprint().as_bytes())),
            enrolled: record.enrolled,
            claim: record.claim,
        }
    }
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let found = devices::list(&app, &id(&path)?, query.cursor.as_deref(), query.limit()).await?;
    Ok(page(found, |(device, record)| DeviceView::new(&device, record)))
}

pub(crate) async fn show(_by: By<Viewer>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, device) = path.into_inner();
    crate::registry::tenants::known(&app, &id(&tenant)?).await?;
    let record = devices::known(&app, &id(&tenant)?, &id(&device)?).await.map_err(not_found)?;
    Ok(HttpResponse::Ok().json(DeviceView::new(&device, record)))
}

pub(crate) async fn revoke(by: By<Ends>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, device) = path.into_inner();
    let revoked = devices::revoke(&app, &by.operator().actor(), &id(&tenant)?, &id(&device)?).await;
    Ok(HttpResponse::Ok().json(DeviceView::new(&device, revoked.map_err(not_found)?)))
}

pub(crate) async fn reinstate(by: By<Security>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, device) = path.into_inner();
    let back = devices::reinstate(&app, &by.operator().actor(), &id(&tenant)?, &id(&device)?).await;
    Ok(HttpResponse::Ok().json(DeviceView::new(&device, back.map_err(not_found)?)))
}

/// An unknown device is 401 for the device itself and 404 for an operator who names it.
fn not_found(refused: crate::refused::Refused) -> Problem {
    match refused.code {
        RefusalCode::DeviceUnknown => {
            Problem::from(refused).with_status(actix_web::http::StatusCode::NOT_FOUND)
        }
        _ => refused.into(),
    }
}
