use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tessera_token::encoding::base64url;
use tessera_token::refusal::RefusalCode;

use super::rights;
use crate::records::approvals::{ApprovalRecord, ApprovalState};
use crate::registry::ways::approvals;
use crate::rest::auth::{By, Fleet, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{list_of, Answer};

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/approvals", list)
            .summary("List the requests of devices for approval, and the decisions")
            .paged()
            .done("Approvals"),
        Endpoint::delete("/v1/tenants/{tenant}/approvals/{approval}", delete)
            .summary("Forget a request: the device may ask anew")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::post("/v1/tenants/{tenant}/approvals/{approval}/approve", approve)
            .summary("Approve a request: the device enrols when it asks again")
            .body("ApprovedRights")
            .answers(200, "Approved", "Approval")
            .refuses(&[RefusalCode::NotFound])
            .refuses(super::RIGHTS),
        Endpoint::post("/v1/tenants/{tenant}/approvals/{approval}/refuse", refuse)
            .summary("Refuse a request: the device is told so when it asks again")
            .answers(200, "Refused", "Approval")
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Serialize)]
struct ApprovalView {
    approval: String,
    device: String,
    /// RFC 9679 thumbprint of the device key, base64url.
    thumbprint: String,
    state: ApprovalState,
    role: Option<String>,
    group: Option<String>,
    asked: u64,
    expires: u64,
    source: String,
    decided_by: Option<String>,
    decided_at: Option<u64>,
}

impl ApprovalView {
    fn new(approval: String, record: ApprovalRecord) -> Self {
        let (role, group) = record.rights.unzip();
        let (decided_by, decided_at) = record.decided.unzip();
        Self {
            approval,
            device: record.device,
            thumbprint: base64url(&record.thumbprint),
            state: record.state,
            role,
            group,
            asked: record.asked,
            expires: record.expires,
            source: record.source,
            decided_by,
            decided_at,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovedRights {
    role: String,
    #[serde(default)]
    group: Option<String>,
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let show = |(approval, record)| ApprovalView::new(approval, record);
    list_of(&app, &path, &app.tables.approvals, &query, show).await
}

pub(crate) async fn approve(
    by: By<Fleet>,
    app: App,
    path: Path<(String, String)>,
    Json(body): Json<ApprovedRights>,
) -> Answer {
    let (tenant, approval) = path.into_inner();
    let (by, rights) = (by.operator().actor(), rights(&body.role, body.group.as_deref())?);
    let record = approvals::approve(&app, &by, &id(&tenant)?, &approval, &rights).await?;
    Ok(HttpResponse::Ok().json(ApprovalView::new(approval, record)))
}

pub(crate) async fn refuse(by: By<Fleet>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, approval) = path.into_inner();
    let by = by.operator().actor();
    let record = approvals::refuse(&app, &by, &id(&tenant)?, &approval).await?;
    Ok(HttpResponse::Ok().json(ApprovalView::new(approval, record)))
}

pub(crate) async fn delete(by: By<Fleet>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, approval) = path.into_inner();
    approvals::delete(&app, &by.operator().actor(), &id(&tenant)?, &approval).await?;
    Ok(HttpResponse::NoContent().finish())
}
