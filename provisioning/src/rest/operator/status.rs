use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Path;
use actix_web::HttpResponse;

use crate::rest::auth::{By, Lists};
use crate::rest::input::{id, App};
use crate::rest::Answer;
use crate::revoke::status_list;

/// The Token Status List of a tenant, signed by the root key.
pub(crate) async fn list(_by: By<Lists>, app: App, path: Path<String>) -> Answer {
    let bytes = status_list::make(&app, &id(&path)?).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type(tessera_token::status_list::TYP)
        .body(bytes))
}
