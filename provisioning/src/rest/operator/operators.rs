use std::collections::BTreeSet;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{json, Value};

use crate::operators::{self, OperatorRole, Tenants};
use crate::rest::auth::{Admin, Among};
use crate::rest::input::{id, App, Json};
use crate::rest::Answer;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOperator {
    operator: String,
    roles: Vec<OperatorRole>,
    tenants: Wanted,
}

/// `"all"`, or a list. The member is required: an omission never means all.
#[derive(Deserialize)]
#[serde(untagged)]
enum Wanted {
    All(All),
    These(BTreeSet<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum All {
    All,
}

impl From<Wanted> for Tenants {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::All(All::All) => Self::All,
            Wanted::These(these) => Self::These(these),
        }
    }
}

/// The tenants of an account as they are shown.
pub(crate) fn shown(tenants: &Tenants) -> Value {
    match tenants {
        Tenants::All => json!("all"),
        Tenants::These(these) => json!(these),
    }
}

pub(crate) async fn list(by: Among<Admin>, app: App) -> Answer {
    let accounts = operators::of(&app.tables, by.operator()).await?;
    let items: Vec<_> = accounts
        .iter()
        .map(|(_, account)| {
            json!({
                "operator": account.name,
                "roles": account.roles,
                "tenants": shown(&account.tenants),
                "created": account.created,
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next": null })))
}

pub(crate) async fn create(by: Among<Admin>, app: App, Json(wanted): Json<NewOperator>) -> Answer {
    let (name, tenants) = (id(&wanted.operator)?, Tenants::from(wanted.tenants));
    let seen = shown(&tenants);
    let token = operators::create(&app, by.operator(), &name, &wanted.roles, tenants).await?;
    Ok(HttpResponse::Created().insert_header((CACHE_CONTROL, "no-store")).json(json!({
        "operator": wanted.operator,
        "roles": wanted.roles,
        "tenants": seen,
        "token": token.expose(),
    })))
}

pub(crate) async fn delete(by: Among<Admin>, app: App, path: Path<String>) -> Answer {
    operators::delete(&app, by.operator(), &path).await?;
    Ok(HttpResponse::NoContent().finish())
}
