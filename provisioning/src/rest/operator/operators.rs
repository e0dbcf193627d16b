use std::collections::BTreeSet;

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{json, Value};
use tessera_token::refusal::RefusalCode;

use crate::once::{Asked, Keep};
use crate::operators::{self, OperatorRecord, OperatorRole, Tenants};
use crate::rest::auth::{Accounts, Admin, Among};
use crate::rest::endpoint::Endpoint;
use crate::rest::etag::{self, When};
use crate::rest::input::{id, App};
use crate::rest::once::{created, Once};
use crate::rest::Answer;
use crate::service::Service;
use tessera_runtime::secret::Secret;
use tessera_token::ids::RoleId;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/operators", list).summary("List operator accounts").done("Operators"),
        Endpoint::post("/v1/operators", create)
            .summary("Create an operator account; its token is shown once")
            .body("NewOperator")
            .creates("OperatorToken")
            .refuses(&[RefusalCode::AlreadyExists, RefusalCode::TenantUnknown]),
        Endpoint::get("/v1/operators/{operator}", show)
            .summary("Show an account of your tenants; its token is not shown again")
            .done("Operator")
            .known()
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::delete("/v1/operators/{operator}", delete)
            .summary("Delete an operator account at once")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOperator {
    operator: String,
    roles: Vec<OperatorRole>,
    tenants: Tenanted,
}

/// `"all"`, or a list. The member is required: an omission never means all.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Tenanted {
    All(All),
    These(BTreeSet<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum All {
    All,
}

impl From<Tenanted> for Tenants {
    fn from(wanted: Tenanted) -> Self {
        match wanted {
            Tenanted::All(All::All) => Self::All,
            Tenanted::These(these) => Self::These(these),
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

fn view(account: &OperatorRecord) -> Value {
    json!({
        "operator": account.name,
        "roles": account.roles,
        "tenants": shown(&account.tenants),
        "created": account.created,
        "old_form": account.is_old_form,
    })
}

/// One account. Its token is not shown again.
pub(crate) async fn show(
    by: Among<Admin>,
    app: App,
    path: Path<String>,
    request: HttpRequest,
) -> Answer {
    let (_, account) = operators::named(&app.tables, by.operator(), &path).await?;
    Ok(etag::shown(&request, &view(&account), &etag::of(&account)))
}

pub(crate) async fn list(by: Among<Admin>, app: App) -> Answer {
    let accounts = operators::of(&app.tables, by.operator()).await?;
    let items: Vec<_> = accounts.iter().map(|(_, account)| view(account)).collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next": null })))
}

pub(crate) async fn create(by: Among<Accounts>, app: App, asked: Once<NewOperator>) -> Answer {
    let Once { body: wanted, call } = asked;
    let (name, tenants) = (id::<RoleId>(&wanted.operator)?, Tenants::from(wanted.tenants));
    let (maker, service) = (by.operator().clone(), app.clone());
    let make = async move |asked: Option<Asked>| {
        let made = async move {
            let (seen, roles) = (shown(&tenants), wanted.roles);
            let answer = |token: &Secret<String>| {
                let body = json!({
                    "operator": name.as_str(), "roles": roles, "tenants": seen, "token": token.expose(),
                });
                created(&body, None)
            };
            let keep = Keep { asked: asked.as_ref(), answer: &answer };
            answer(&operators::create(&service, &maker, &name, &roles, tenants, &keep).await?)
        };
        Ok(Service::to_its_end(made).await?)
    };
    call.once(&app, &by.operator().name, make).await
}

pub(crate) async fn delete(
    by: Among<Accounts>,
    app: App,
    path: Path<String>,
    When(when): When,
) -> Answer {
    operators::delete(&app, by.operator(), &path, &when).await?;
    Ok(HttpResponse::NoContent().finish())
}
