//! Partner tokens of a tenant.

use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tessera_token::refusal::RefusalCode;

use crate::once::{self, Asked, Keep};
use crate::partners::uses::of_token;
use crate::partners::{self, Made, PartnerTokenRecord, Wanted};
use crate::records::partners::PartnerUse;
use crate::records::Page;
use crate::refused::Refused;
use crate::rest::auth::{By, Ends, Needs, PartnerMakers, Viewer};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::input::{id, App, Limit, Query};
use crate::rest::once::{created, Once};
use crate::rest::{page, Answer};
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/partner-tokens", list)
            .summary("List the partner tokens of the tenant; the tokens themselves are not kept")
            .paged()
            .query("device", "Those of this device", schema::id())
            .done("PartnerTokens"),
        Endpoint::post("/v1/tenants/{tenant}/partner-tokens", create)
            .summary(
                "Make a partner token of a device whose role has the class partner; it is shown \
                once. Not by an API token",
            )
            .body("NewPartnerToken")
            .creates("MadePartnerToken")
            .refuses(&[
                RefusalCode::AlreadyExists,
                RefusalCode::RoleUnknown,
                RefusalCode::RoleInvalid,
                RefusalCode::GroupUnknown,
                RefusalCode::AttributeMissing,
                RefusalCode::CapacityReached,
                RefusalCode::DeviceUnknown,
            ]),
        Endpoint::delete("/v1/tenants/{tenant}/partner-tokens/{partner_token}", delete)
            .summary(
                "End a partner token. Connections by it end at once; those by other tokens of the \
                device come again",
            )
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::get("/v1/tenants/{tenant}/partner-tokens/{partner_token}/uses", uses)
            .summary("The use of a partner token by day (UTC), the newest first")
            .done("PartnerUses")
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPartnerToken {
    device: String,
    purpose: String,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// The query of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

#[derive(Serialize)]
struct PartnerTokenView {
    partner_token: String,
    device: String,
    state: &'static str,
    purpose: String,
    by: String,
    created: u64,
    expires: u64,
    used: Option<u64>,
    used_by: Option<String>,
}

impl PartnerTokenView {
    fn new(id: String, record: PartnerTokenRecord, now: u64) -> Self {
        let expires = record.end();
        let (used, used_by) = record.used.unzip();
        Self {
            partner_token: id,
            device: record.device,
            state: if expires <= now { "expired" } else { "active" },
            purpose: record.purpose,
            by: record.maker,
            created: record.created,
            expires,
            used,
            used_by,
        }
    }
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<Which>,
) -> Answer {
    let (tenant, now) = (id(&path)?, app.now().get());
    let device = query.device.as_deref().map(id).transpose()?;
    let (after, limit) = (query.cursor.as_deref(), query.limit.rows());
    let found = partners::list(&app, &tenant, device.as_ref(), after, limit).await?;
    Ok(page(found, |(id, record)| PartnerTokenView::new(id, record, now)))
}

pub(crate) async fn create(
    by: By<PartnerMakers>,
    app: App,
    path: Path<String>,
    asked: Once<NewPartnerToken>,
) -> Answer {
    let Once { body, call } = asked;
    let wanted = Wanted {
        device: id(&body.device)?,
        purpose: body.purpose,
        role: body.role.as_deref().map(id).transpose()?,
        group: body.group.as_deref().map(id).transpose()?,
        expires_in: body.expires_in,
    };
    let (tenant, maker, service) = (id(&path)?, by.operator().clone(), app.clone());
    let warrant = maker.warrant(PartnerMakers::ONE_OF, Some(&tenant));
    let make = async move |asked: Option<Asked>| {
        let made = async move {
            let keep = Keep { asked: asked.as_ref(), answer: &answer };
            answer(&partners::create(&service, &maker, &warrant, &tenant, &wanted, &keep).await?)
        };
        Ok(Service::to_its_end(made).await?)
    };
    call.once(&app, &by.operator().name, make).await
}

/// The one answer that shows the token.
fn answer(made: &Made) -> Result<once::Answer, Refused> {
    let Made { id, record, token } = made;
    let body = json!({
        "partner_token": id,
        "device": record.device,
        "purpose": record.purpose,
        "expires": record.expires,
        "token": token.expose(),
    });
    created(&body, None)
}

pub(crate) async fn delete(by: By<Ends>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, token) = path.into_inner();
    let (tenant, by, service) = (id(&tenant)?, by.operator().clone(), app.clone());
    let done = async move { partners::delete(&service, &by, &tenant, &token).await };
    Service::to_its_end(done).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Serialize)]
struct DayView {
    /// Its beginning in UTC.
    day: u64,
    introspections: u64,
    connects: u64,
    published: u64,
    published_bytes: u64,
    delivered: u64,
    delivered_bytes: u64,
}

impl DayView {
    fn new(day: u64, told: PartnerUse) -> Self {
        Self {
            day,
            introspections: told.introspections,
            connects: told.connects,
            published: told.published,
            published_bytes: told.published_bytes,
            delivered: told.delivered,
            delivered_bytes: told.delivered_bytes,
        }
    }
}

pub(crate) async fn uses(_by: By<Viewer>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, token) = path.into_inner();
    partners::known(&app, &id(&tenant)?, &token).await?;
    let days = Page { items: of_token(&app, &token).await?, next: None };
    Ok(page(days, |(day, told)| DayView::new(day, told)))
}
