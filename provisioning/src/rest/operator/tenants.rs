use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tessera_token::refusal::RefusalCode;

use crate::once::{Asked, Keep};
use crate::operators::Tenants;
use crate::records::{Confirmation, Staleness, TenantRecord};
use crate::refused::Refused;
use crate::registry::tenants;
use crate::rest::auth::{Admin, Among, By, Security, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::etag::{self, tagged, When};
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::once::{created, Once};
use crate::rest::operator::revoked::{self, Waits};
use crate::rest::{page, Answer};
use crate::revision::Precondition;
use crate::revoke::taken::follow;
use crate::service::Service;
use tessera_token::ids::TenantId;
use tessera_token::trust::Change;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants", list).summary("List tenants").paged().done("Tenants"),
        Endpoint::post("/v1/tenants", create)
            .summary("Create a tenant with its keys and default group")
            .body("NewTenant")
            .creates("Tenant")
            .tagged()
            .refuses(&[RefusalCode::AlreadyExists, RefusalCode::CapacityReached]),
        Endpoint::get("/v1/tenants/{tenant}", show).summary("Show a tenant").done("Tenant").known(),
        Endpoint::put("/v1/tenants/{tenant}", set)
            .summary("Set a tenant's settings")
            .body("TenantSettings")
            .done("Tenant")
            .tagged()
            .refuses(&[RefusalCode::CapacityReached]),
        Endpoint::post("/v1/tenants/{tenant}/revoke", revoke)
            .summary("Suspend a tenant and revoke all its tokens")
            .waits()
            .done("RevokedTenant")
            .tagged(),
        Endpoint::post("/v1/tenants/{tenant}/reinstate", reinstate)
            .summary("Serve a tenant again; older tokens stay revoked")
            .done("Tenant")
            .tagged(),
    ]
}

#[derive(Serialize)]
struct TenantView {
    tenant: String,
    state: &'static str,
    epoch: u64,
    bearer: bool,
    confirmation: Confirmation,
    staleness: Staleness,
    created: u64,
}

impl TenantView {
    fn new(tenant: &str, record: &TenantRecord) -> Self {
        Self {
            tenant: tenant.to_owned(),
            state: match record.suspended {
                true => "suspended",
                false => "active",
            },
            epoch: record.epoch,
            bearer: record.bearer,
            confirmation: record.confirmation,
            staleness: record.staleness(),
            created: record.created,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    tenant: String,
    #[serde(default)]
    bearer: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    bearer: Option<bool>,
    confirmation: Option<Confirmation>,
    staleness: Option<Staleness>,
}

pub(crate) async fn list(by: Among<Viewer>, app: App, Query(query): Query<PageQuery>) -> Answer {
    let (after, limit) = (query.cursor.as_deref(), query.limit());
    let found = match &by.operator().tenants {
        Tenants::All => tenants::list(&app, after, limit).await?,
        Tenants::These(these) => tenants::list_of(&app, these, after, limit).await?,
    };
    Ok(page(found, |(tenant, record)| TenantView::new(&tenant, &record)))
}

pub(crate) async fn create(by: By<Admin>, app: App, asked: Once<NewTenant>) -> Answer {
    let Once { body: wanted, call } = asked;
    let (actor, tenant): (_, TenantId) = (by.operator().actor(), id(&wanted.tenant)?);
    let service = app.clone();
    let make = async move |asked: Option<Asked>| {
        let made = async move {
            let named = tenant.as_str().to_owned();
            let answer = |record: &TenantRecord| {
                created(&TenantView::new(&named, record), Some(etag::of(record)))
            };
            let keep = Keep { asked: asked.as_ref(), answer: &answer };
            answer(&tenants::create(&service, &actor, &tenant, wanted.bearer, &keep).await?)
        };
        Ok(Service::to_its_end(made).await?)
    };
    call.once(&app, &by.operator().name, make).await
}

pub(crate) async fn show(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    request: HttpRequest,
) -> Answer {
    let record = tenants::known(&app, &id(&path)?).await?;
    Ok(etag::shown(&request, &TenantView::new(&path, &record), &etag::of(&record)))
}

pub(crate) async fn set(
    by: By<Admin>,
    app: App,
    path: Path<String>,
    When(when): When,
    Json(wanted): Json<Settings>,
) -> Answer {
    let (by, tenant) = (by.operator().actor(), id(&path)?);
    let nothing = wanted.bearer.is_none() && wanted.confirmation.is_none();
    if nothing && wanted.staleness.is_none() {
        return Err(Refused::malformed("bearer, confirmation or staleness is required").into());
    }
    let set = async move {
        let mut when = when;
        if let Some(staleness) = wanted.staleness {
            tenants::set_staleness(&app, &by, &tenant, (staleness, &when)).await?;
            // The first change has the precondition of the call; the others rest on it.
            when = Precondition::Nothing;
        }
        if let Some(bearer) = wanted.bearer {
            tenants::set_bearer(&app, &by, &tenant, (bearer, &when)).await?;
            when = Precondition::Nothing;
        }
        if let Some(confirmation) = wanted.confirmation {
            tenants::set_confirmation(&app, &by, &tenant, (confirmation, &when)).await?;
        }
        tenants::known(&app, &tenant).await
    };
    let record = Service::to_its_end(set).await?;
    Ok(answer(&path, &record))
}

fn answer(tenant: &str, record: &TenantRecord) -> HttpResponse {
    tagged(HttpResponse::Ok().json(TenantView::new(tenant, record)), &etag::of(record))
}

pub(crate) async fn revoke(
    by: By<Security>,
    app: App,
    path: Path<String>,
    Query(Waits { wait }): Query<Waits>,
) -> Answer {
    let following = follow(&app, &by.operator().share(), wait).await?;
    let record = tenants::revoke(&app, &by.operator().actor(), &id(&path)?).await?;
    let is_it = |change: &Change| match change {
        Change::Tenant(one) => one.tenant.as_str() == *path && one.suspended,
        _ => false,
    };
    let taken = following.taken(&app, &path, is_it).await?;
    Ok(tagged(revoked::answer(TenantView::new(&path, &record), taken), &etag::of(&record)))
}

pub(crate) async fn reinstate(by: By<Security>, app: App, path: Path<String>) -> Answer {
    let record = tenants::reinstate(&app, &by.operator().actor(), &id(&path)?).await?;
    Ok(answer(&path, &record))
}
