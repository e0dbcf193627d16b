use std::collections::BTreeMap;

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tessera_token::refusal::RefusalCode;

use tessera_token::ids::DeviceId;

use super::devices::some;
use crate::limits::{CLAIM_DEVICES, CLAIM_SECONDS};
use crate::once::{self, Asked, Keep};
use crate::records::{Attributes, ClaimRecord};
use crate::refused::Refused;
use crate::registry::claims::{self, NewClaim, NewClaims};
use crate::registry::pattern::IdPattern;
use crate::registry::tenants::DEFAULT_GROUP;
use crate::rest::auth::{By, Fleet, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::etag::{self, When};
use crate::rest::input::{id, App, PageQuery, Query};
use crate::rest::once::{created, Once};
use crate::rest::{page, Answer};
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/claims", list)
            .summary("List claims, without their codes")
            .paged_by("^([0-9a-f]{2})*$")
            .done("Claims"),
        Endpoint::post("/v1/tenants/{tenant}/claims", create)
            .summary("Make claim codes, each for one device or a number of devices, shown once")
            .body("NewClaims")
            .creates("ClaimCodes")
            .refuses(&[
                RefusalCode::RoleUnknown,
                RefusalCode::AttributeMissing,
                RefusalCode::GroupUnknown,
                RefusalCode::WayNotTaken,
            ]),
        Endpoint::get("/v1/tenants/{tenant}/claims/{claim}", show)
            .summary("Show a claim; its code is not kept and cannot be shown")
            .done("Claim")
            .known()
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::delete("/v1/tenants/{tenant}/claims/{claim}", delete)
            .summary("Delete an unused claim; one that some devices have used is closed for others")
            .deletes()
            .refuses(&[RefusalCode::NotFound, RefusalCode::ClaimUsed]),
    ]
}

#[derive(Serialize)]
pub(super) struct ClaimView {
    claim: String,
    state: &'static str,
    role: String,
    group: String,
    device: Option<String>,
    created: u64,
    expires: u64,
    by: String,
    attributes: BTreeMap<String, String>,
    used_by: Option<String>,
    used_at: Option<u64>,
    /// The ids that may use it.
    pattern: Option<String>,
    /// The devices that may use it, and those that have.
    uses: u64,
    used: u64,
}

impl ClaimView {
    pub(super) fn new(claim: String, record: ClaimRecord, now: u64) -> Self {
        let (used_by, used_at) = record.used.map(|used| (used.device, used.at)).unzip();
        let counted = record.counted;
        let (uses, used) = match counted {
            Some(counted) => (counted.uses, counted.made),
            None => (1, u64::from(used_by.is_some())),
        };
        Self {
            state: match (used >= uses, record.expires <= now) {
                (true, _) => "used",
                (false, true) => "expired",
                (false, false) => "open",
            },
            pattern: record.pattern,
            uses,
            used,
            claim,
            role: record.role,
            group: record.group,
            device: record.device,
            created: record.created,
            expires: record.expires,
            by: record.by,
            attributes: record.attributes.values().clone(),
            used_by,
            used_at,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewClaimsBody {
    #[serde(default, deserialize_with = "some")]
    count: Option<usize>,
    role: String,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    device: Option<String>,
    /// Several devices, a claim for each.
    #[serde(default, deserialize_with = "some")]
    devices: Option<Vec<String>>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    uses: Option<u64>,
    #[serde(default)]
    pattern: Option<String>,
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let found = claims::list(&app, &id(&path)?, query.cursor.as_deref(), query.limit()).await?;
    let now = app.now().get();
    Ok(page(found, |(claim, record)| ClaimView::new(claim, record, now)))
}

pub(crate) async fn create(
    by: By<Fleet>,
    app: App,
    path: Path<String>,
    asked: Once<NewClaimsBody>,
) -> Answer {
    let Once { body, call } = asked;
    let values = body.attributes.into_iter().map(|(name, value)| (name, Some(value)));
    let devices = match (&body.device, body.devices) {
        (Some(device), None) => vec![id(device)?],
        (None, Some(devices)) if (1..=CLAIM_DEVICES).contains(&devices.len()) => {
            devices.iter().map(|device| id(device)).collect::<Result<_, Refused>>()?
        }
        (None, None) => Vec::new(),
        _ => {
            let why = format!("send device, or devices with 1 to {CLAIM_DEVICES} ids");
            return Err(Refused::malformed(why).into());
        }
    };
    let wanted = NewClaims {
        attributes: Attributes::default().with(&values.collect())?,
        count: body.count.unwrap_or(devices.len().max(1)),
        devices,
        role: id(&body.role)?,
        group: id(body.group.as_deref().unwrap_or(DEFAULT_GROUP))?,
        pattern: body.pattern.as_deref().map(IdPattern::parse).transpose()?,
        uses: body.uses.unwrap_or(1),
        life: body.expires_in.unwrap_or(CLAIM_SECONDS),
    };
    let (actor, tenant) = (by.operator().actor(), id(&path)?);
    let service = app.clone();
    let make = async move |asked: Option<Asked>| {
        let made = async move {
            let keep = Keep { asked: asked.as_ref(), answer: &answer };
            answer(&claims::create(&service, &actor, &tenant, &wanted, &keep).await?)
        };
        Ok(Service::to_its_end(made).await?)
    };
    call.once(&app, &by.operator().name, make).await
}

/// The one answer that shows codes.
fn answer((made, expires): &(Vec<NewClaim>, u64)) -> Result<once::Answer, Refused> {
    let shown = made.iter().map(|claim| {
        json!({
            "claim": claim.id,
            "device": claim.device.as_ref().map(DeviceId::as_str),
            "code": claim.code.expose(),
            "expires": expires,
        })
    });
    created(&json!({ "claims": shown.collect::<Vec<_>>() }), None)
}

pub(crate) async fn show(
    _by: By<Viewer>,
    app: App,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Answer {
    let (tenant, claim) = path.into_inner();
    let (_, record) = claims::by_id(&app, &id(&tenant)?, &claim).await?;
    let view = ClaimView::new(claim, record.clone(), app.now().get());
    Ok(etag::shown(&request, &view, &etag::of_view(&record, &view)))
}

pub(crate) async fn delete(
    by: By<Fleet>,
    app: App,
    path: Path<(String, String)>,
    When(when): When,
) -> Answer {
    let (tenant, claim) = path.into_inner();
    claims::delete(&app, &by.operator().actor(), &id(&tenant)?, &claim, &when).await?;
    Ok(HttpResponse::NoContent().finish())
}
