use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Path;
use actix_web::HttpResponse;
use tessera_token::refusal::RefusalCode;

use crate::rest::auth::{By, Lists};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::input::{id, App};
use crate::rest::Answer;
use crate::revoke::status_list;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![Endpoint::get("/v1/tenants/{tenant}/status-list", list)
        .summary("The Token Status List of a tenant, for verifiers that are seldom connected")
        .sends(
            200,
            "A CWT that the root key has signed",
            vec![schema::plain("application/statuslist+cwt")],
        )
        .refuses(&[RefusalCode::CapacityReached])]
}

/// The Token Status List of a tenant, signed by the root key.
pub(crate) async fn list(_by: By<Lists>, app: App, path: Path<String>) -> Answer {
    let bytes = status_list::make(&app, &id(&path)?).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type(tessera_token::status_list::TYP)
        .body(bytes))
}
