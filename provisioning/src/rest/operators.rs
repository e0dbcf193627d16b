use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::json;

use super::auth::{Admin, By};
use super::input::{id, App, Json};
use super::Answer;
use crate::operators::{self, OperatorRole};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOperator {
    operator: String,
    roles: Vec<OperatorRole>,
}

pub(super) async fn list(_by: By<Admin>, app: App) -> Answer {
    let accounts = operators::all(&app.tables)?;
    let items: Vec<_> = accounts
        .iter()
        .map(|account| json!({ "operator": account.name, "roles": account.roles, "created": account.created }))
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next": null })))
}

pub(super) async fn create(by: By<Admin>, app: App, Json(wanted): Json<NewOperator>) -> Answer {
    let token =
        operators::create(&app, &by.operator().actor(), &id(&wanted.operator)?, &wanted.roles)
            .await?;
    Ok(HttpResponse::Created().insert_header((CACHE_CONTROL, "no-store")).json(json!({
        "operator": wanted.operator,
        "roles": wanted.roles,
        "token": token.expose(),
    })))
}

pub(super) async fn delete(by: By<Admin>, app: App, path: Path<String>) -> Answer {
    operators::delete(&app, &by.operator().actor(), &path).await?;
    Ok(HttpResponse::NoContent().finish())
}
