use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};

use crate::records::{RoleClass, RoleRecord};
use crate::registry::roles;
use crate::rest::auth::{Admin, By, Viewer};
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{page, Answer};

#[derive(Serialize)]
struct RoleView {
    role: String,
    class: RoleClass,
    publish: Vec<String>,
    subscribe: Vec<String>,
    token_seconds: Option<u64>,
}

impl RoleView {
    fn new(role: &str, record: RoleRecord) -> Self {
        Self {
            role: role.to_owned(),
            class: record.class,
            publish: record.publish,
            subscribe: record.subscribe,
            token_seconds: record.token_seconds,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleBody {
    class: RoleClass,
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    subscribe: Vec<String>,
    #[serde(default)]
    token_seconds: Option<u64>,
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let found = roles::list(&app, &id(&path)?, query.cursor.as_deref(), query.limit()).await?;
    Ok(page(found, |(role, record)| RoleView::new(&role, record)))
}

pub(crate) async fn put(
    by: By<Admin>,
    app: App,
    path: Path<(String, String)>,
    Json(body): Json<RoleBody>,
) -> Answer {
    let (tenant, role) = path.into_inner();
    let record = RoleRecord {
        class: body.class,
        publish: body.publish,
        subscribe: body.subscribe,
        token_seconds: body.token_seconds,
    };
    let new = roles::put(&app, &by.operator().actor(), &id(&tenant)?, &id(&role)?, &record).await?;
    let mut response = match new {
        true => HttpResponse::Created(),
        false => HttpResponse::Ok(),
    };
    Ok(response.json(RoleView::new(&role, record)))
}
