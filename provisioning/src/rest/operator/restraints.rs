//! Devices that are held back, and the word of an operator about it.

use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Step;

use super::devices::not_found;
use crate::records::restraints::RestraintRecord;
use crate::rest::auth::{By, Ends, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{list_of, Answer};
use crate::restraints::{self, Verdict, Wanted};
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/restraints", list)
            .summary("List the devices that are held back, and those that were released lately")
            .paged()
            .done("Restraints"),
        Endpoint::post("/v1/tenants/{tenant}/devices/{device}/restrain", restrain)
            .summary(
                "Hold a device back for a time: clamp its rate, ask for a fresh proof, or \
                quarantine it. It ends by itself",
            )
            .body("NewRestraint")
            .done("Restraint")
            .refuses(&[RefusalCode::DeviceUnknown, RefusalCode::CapacityReached]),
        Endpoint::post("/v1/tenants/{tenant}/devices/{device}/release", release)
            .summary("End what holds a device back, at every broker")
            .body("Release")
            .done("Restraint")
            .refuses(&[RefusalCode::DeviceUnknown, RefusalCode::CapacityReached]),
        Endpoint::post("/v1/tenants/{tenant}/devices/{device}/verdict", verdict)
            .summary(
                "Say whether the alert behind a restraint is real, harmless or wrong: a real one \
                keeps it, the others end it",
            )
            .body("NewVerdict")
            .done("Restraint")
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Serialize)]
struct RestraintView {
    device: String,
    step: &'static str,
    begins: u64,
    ends: u64,
    by: String,
    reason: String,
    alert: Option<String>,
}

impl RestraintView {
    fn new(device: String, record: RestraintRecord) -> Self {
        let RestraintRecord { step, begins, ends, made_by, reason, alert } = record;
        Self { device, step: step.as_str(), begins, ends, by: made_by, reason, alert }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRestraint {
    step: Steps,
    seconds: u64,
    reason: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Steps {
    Clamp,
    StepUp,
    Quarantine,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewVerdict {
    verdict: Verdicts,
    /// For how long a real one keeps the device held back.
    #[serde(default = "day")]
    seconds: u64,
    reason: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdicts {
    Real,
    Harmless,
    Wrong,
}

fn day() -> u64 {
    24 * 3600
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let show = |(device, record)| RestraintView::new(device, record);
    list_of(&app, &path, &app.tables.restraints, &query, show).await
}

pub(crate) async fn restrain(
    by: By<Ends>,
    app: App,
    path: Path<(String, String)>,
    Json(wanted): Json<NewRestraint>,
) -> Answer {
    let step = match wanted.step {
        Steps::Clamp => Step::Clamp,
        Steps::StepUp => Step::StepUp,
        Steps::Quarantine => Step::Quarantine,
    };
    set(by, app, path, Wanted::of(step, wanted.seconds, wanted.reason)?).await
}

pub(crate) async fn release(
    by: By<Ends>,
    app: App,
    path: Path<(String, String)>,
    Json(Release { reason }): Json<Release>,
) -> Answer {
    set(by, app, path, Wanted::of(Step::Released, 1, reason)?).await
}

async fn set(by: By<Ends>, app: App, path: Path<(String, String)>, wanted: Wanted) -> Answer {
    let (tenant, device) = path.into_inner();
    let (by, named) = (by.operator().actor(), device.clone());
    let (tenant, device): (TenantId, DeviceId) = (id(&tenant)?, id(&device)?);
    let done = async move { restraints::set(&app, &by, (&tenant, &device), &wanted).await };
    let record = Service::to_its_end(done).await.map_err(not_found)?;
    Ok(HttpResponse::Ok().json(RestraintView::new(named, record)))
}

pub(crate) async fn verdict(
    by: By<Ends>,
    app: App,
    path: Path<(String, String)>,
    Json(NewVerdict { verdict, seconds, reason }): Json<NewVerdict>,
) -> Answer {
    let (tenant, device) = path.into_inner();
    let (by, named) = (by.operator().actor(), device.clone());
    let (tenant, device): (TenantId, DeviceId) = (id(&tenant)?, id(&device)?);
    let verdict = match verdict {
        Verdicts::Real => Verdict::Real,
        Verdicts::Harmless => Verdict::Harmless,
        Verdicts::Wrong => Verdict::Wrong,
    };
    let told = (seconds, reason);
    let done = async move { restraints::judge(&app, &by, (&tenant, &device), verdict, told).await };
    let record = Service::to_its_end(done).await?;
    Ok(HttpResponse::Ok().json(RestraintView::new(named, record)))
}
