//! Suspension of devices and groups, and how it is shown.

use actix_web::web::Path;
use serde::Serialize;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;

use super::devices::{not_found, shown};
use super::groups::answer;
use super::reason::WithReason;
use crate::records::Suspension;
use crate::registry::suspension;
use crate::rest::auth::{By, Ends, Security};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App};
use crate::rest::Answer;
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/v1/tenants/{tenant}/groups/{group}/suspend", group)
            .summary(
                "Suspend a group: all tokens of its devices end, and none of them gets a new one \
                until the group is reinstated",
            )
            .body("Reason")
            .or_none()
            .done("Group")
            .tagged()
            .refuses(&[RefusalCode::GroupUnknown]),
        Endpoint::post("/v1/tenants/{tenant}/groups/{group}/reinstate", reinstate_group)
            .summary(
                "Serve a suspended group again; devices that are suspended or revoked themselves \
                stay so",
            )
            .done("Group")
            .tagged()
            .refuses(&[RefusalCode::GroupUnknown]),
        Endpoint::post("/v1/tenants/{tenant}/devices/{device}/suspend", device)
            .summary(
                "Suspend a device: all of its tokens end, and it gets no new one until it is \
                reinstated",
            )
            .body("Reason")
            .or_none()
            .done("Device")
            .tagged()
            .refuses(&[RefusalCode::DeviceUnknown, RefusalCode::CapacityReached]),
    ]
}

/// Time, account and reason of a suspension; null without one.
#[derive(Default, Serialize)]
pub(super) struct SuspensionView {
    suspended_at: Option<u64>,
    suspended_by: Option<String>,
    suspended_reason: Option<String>,
}

impl SuspensionView {
    pub(super) fn new(suspension: Option<&Suspension>) -> Self {
        let Some(suspension) = suspension else { return Self::default() };
        Self {
            suspended_at: Some(suspension.at),
            suspended_by: Some(suspension.by.clone()),
            suspended_reason: suspension.reason.clone(),
        }
    }
}

pub(crate) async fn device(
    by: By<Ends>,
    app: App,
    path: Path<(String, String)>,
    WithReason(reason): WithReason,
) -> Answer {
    let (tenant, device) = path.into_inner();
    let (by, service) = (by.operator().actor(), app.clone());
    let (tenant, device): (TenantId, DeviceId) = (id(&tenant)?, id(&device)?);
    let (of, name) = (tenant.clone(), device.clone());
    let done = async move { suspension::device(&service, &by, &of, &name, &reason).await };
    let record = Service::to_its_end(done).await.map_err(not_found)?;
    shown(&app, &tenant, device.as_str(), record).await
}

pub(crate) async fn group(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    WithReason(reason): WithReason,
) -> Answer {
    let (tenant, group) = path.into_inner();
    let (by, named) = (by.operator().actor(), group.clone());
    let (tenant, group) = (id(&tenant)?, id(&group)?);
    let done = async move { suspension::group(&app, &by, &tenant, &group, &reason).await };
    let record = Service::to_its_end(done).await?;
    Ok(answer(&named, &record))
}

pub(crate) async fn reinstate_group(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
) -> Answer {
    let (tenant, group) = path.into_inner();
    let by = by.operator().actor();
    let record = suspension::reinstate_group(&app, &by, &id(&tenant)?, &id(&group)?).await?;
    Ok(answer(&group, &record))
}
