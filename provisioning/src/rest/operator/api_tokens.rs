use std::collections::BTreeSet;

use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use tessera_token::refusal::RefusalCode;

use super::operators::{shown, Tenanted};
use crate::api_tokens::{self, ApiTokenRecord, Made, Wanted};
use crate::once::{self, Asked, Keep};
use crate::operators::OperatorRole;
use crate::refused::Refused;
use crate::rest::auth::{Among, Holders, Makers};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{App, PageQuery, Query};
use crate::rest::once::{created, Once};
use crate::rest::{page, Answer};
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/api-tokens", list)
            .summary(
                "List API tokens: those of the account; with the role admin or security those \
                within its tenants",
            )
            .paged()
            .done("ApiTokens"),
        Endpoint::post("/v1/api-tokens", create)
            .summary(
                "Make an API token with a part of the rights of the account; it is shown once. \
                Not by an API token",
            )
            .body("NewApiToken")
            .creates("MadeApiToken")
            .refuses(&[RefusalCode::TenantUnknown]),
        Endpoint::delete("/v1/api-tokens/{api_token}", delete)
            .summary("End an API token at once")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApiToken {
    purpose: String,
    roles: BTreeSet<OperatorRole>,
    tenants: Tenanted,
    #[serde(default)]
    expires_in: Option<u64>,
}

#[derive(Serialize)]
struct ApiTokenView {
    api_token: String,
    state: &'static str,
    purpose: String,
    by: String,
    roles: BTreeSet<OperatorRole>,
    tenants: Value,
    created: u64,
    expires: u64,
    used: Option<u64>,
    used_from: Option<String>,
}

impl ApiTokenView {
    fn new(id: String, record: ApiTokenRecord, now: u64) -> Self {
        let expires = record.end();
        let (used, used_from) = record.used.unzip();
        Self {
            api_token: id,
            state: if expires <= now { "expired" } else { "active" },
            purpose: record.purpose,
            by: record.maker,
            roles: record.roles,
            tenants: shown(&record.tenants),
            created: record.created,
            expires,
            used,
            used_from,
        }
    }
}

pub(crate) async fn list(by: Among<Holders>, app: App, Query(query): Query<PageQuery>) -> Answer {
    let (after, now) = (query.cursor.as_deref(), app.now().get());
    let found = api_tokens::list(&app, by.operator(), after, query.limit()).await?;
    Ok(page(found, |(id, record)| ApiTokenView::new(id, record, now)))
}

pub(crate) async fn create(by: Among<Makers>, app: App, asked: Once<NewApiToken>) -> Answer {
    let Once { body: NewApiToken { purpose, roles, tenants, expires_in }, call } = asked;
    let wanted = Wanted { purpose, roles, tenants: tenants.into(), expires_in };
    let (maker, service) = (by.operator().clone(), app.clone());
    let make = async move |asked: Option<Asked>| {
        let made = async move {
            let keep = Keep { asked: asked.as_ref(), answer: &answer };
            answer(&api_tokens::create(&service, &maker, &wanted, &keep).await?)
        };
        Ok(Service::to_its_end(made).await?)
    };
    call.once(&app, &by.operator().name, make).await
}

/// The one answer that shows the token.
fn answer(made: &Made) -> Result<once::Answer, Refused> {
    let Made { id, record, token } = made;
    let body = json!({
        "api_token": id,
        "purpose": record.purpose,
        "roles": record.roles,
        "tenants": shown(&record.tenants),
        "expires": record.expires,
        "token": token.expose(),
    });
    created(&body, None)
}

pub(crate) async fn delete(by: Among<Holders>, app: App, path: Path<String>) -> Answer {
    api_tokens::delete(&app, by.operator(), &path).await?;
    Ok(HttpResponse::NoContent().finish())
}
