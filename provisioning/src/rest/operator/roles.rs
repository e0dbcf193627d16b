use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use tessera_token::ids::{DeviceId, RoleId};
use tessera_token::refusal::RefusalCode;

use super::devices::{beginning, not_found};
use crate::preview::{self, Fit, Seen, Whose};
use crate::records::{RoleClass, RoleRecord};
use crate::refused::Refused;
use crate::registry::devices::Wanted;
use crate::registry::roles::{self, Changed, Definition, Lines, Of, Way};
use crate::registry::templates;
use crate::rest::auth::{Admin, By, Viewer};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::etag::{self, tagged, When};
use crate::rest::input::{id, App, Json, Limit, PageQuery, Query};
use crate::rest::{list_of, Answer};
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/roles", list)
            .summary("List roles")
            .paged()
            .done("Roles"),
        Endpoint::get("/v1/tenants/{tenant}/roles/{role}", show)
            .summary("Show a role")
            .done("Role")
            .known()
            .refuses(&[RefusalCode::RoleUnknown]),
        Endpoint::put("/v1/tenants/{tenant}/roles/{role}", put)
            .summary(
                "Define a role or change what it allows; tokens with its former rights end, and \
                its devices may ask for the next at once",
            )
            .query("dry_run", "Change nothing, and tell what would change", schema::flag())
            .query(
                "keep_tokens",
                "End no tokens: devices get the new rights with their next ones. Refused when the \
                change takes a right away",
                schema::flag(),
            )
            .header(
                "If-None-Match",
                "* in the place of If-Match: there must be none yet",
                schema::words(&["*"]),
            )
            .body("RoleBody")
            .done("ChangedRole")
            .tagged()
            .creates("ChangedRole")
            .tagged()
            .refuses(&[RefusalCode::RoleInvalid, RefusalCode::CapacityReached]),
        Endpoint::patch("/v1/tenants/{tenant}/roles/{role}", change)
            .summary(
                "Add lines to a role and remove some; a line to remove must be there. Tokens end \
                as after PUT",
            )
            .query("dry_run", "Change nothing, and tell what would change", schema::flag())
            .query(
                "keep_tokens",
                "End no tokens: devices get the new rights with their next ones. Refused when the \
                change takes a right away",
                schema::flag(),
            )
            .body("RoleLines")
            .done("ChangedRole")
            .tagged()
            .refuses(&[
                RefusalCode::RoleUnknown,
                RefusalCode::RoleInvalid,
                RefusalCode::NotFound,
                RefusalCode::CapacityReached,
            ]),
        Endpoint::delete("/v1/tenants/{tenant}/roles/{role}", delete)
            .summary("Delete a role that no device, no open claim and no entry of another way has")
            .done("DeletedRole")
            .refuses(&[RefusalCode::RoleUnknown, RefusalCode::RoleInUse]),
        Endpoint::get("/v1/tenants/{tenant}/roles/{role}/preview", preview)
            .summary("Tell which token each device of a role would get, and make none")
            .paged()
            .query(
                "device",
                "One device, whatever role it has now; without prefix and cursor",
                schema::id(),
            )
            .query("prefix", "The beginning of the id", schema::pattern("^[A-Za-z0-9._:-]{0,64}$"))
            .done("RolePreview")
            .refuses(&[RefusalCode::RoleUnknown, RefusalCode::DeviceUnknown]),
    ]
}

#[derive(Serialize)]
struct RoleView {
    role: String,
    class: RoleClass,
    publish: Vec<String>,
    subscribe: Vec<String>,
    token_seconds: Option<u64>,
    refresh_tokens: bool,
}

impl RoleView {
    fn new(role: &str, record: RoleRecord) -> Self {
        Self {
            role: role.to_owned(),
            class: record.class,
            publish: record.publish,
            subscribe: record.subscribe,
            token_seconds: record.token_seconds,
            refresh_tokens: record.refresh_tokens,
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
    #[serde(default)]
    refresh_tokens: bool,
}

/// Single lines that a role gets and loses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinesBody {
    #[serde(default)]
    add_publish: Vec<String>,
    #[serde(default)]
    remove_publish: Vec<String>,
    #[serde(default)]
    add_subscribe: Vec<String>,
    #[serde(default)]
    remove_subscribe: Vec<String>,
}

/// The way in which a change is to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    keep_tokens: bool,
}

/// The query of a preview.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Looked {
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let show = |(role, record): (String, RoleRecord)| RoleView::new(&role, record);
    list_of(&app, &path, &app.tables.roles, &query, show).await
}

pub(crate) async fn show(
    _by: By<Viewer>,
    app: App,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Answer {
    let (tenant, role) = path.into_inner();
    crate::registry::tenants::known(&app, &id(&tenant)?).await?;
    let record = roles::known(&app, &id(&tenant)?, id::<RoleId>(&role)?.as_str()).await?;
    let tag = etag::of(&record);
    Ok(etag::shown(&request, &RoleView::new(&role, record), &tag))
}

pub(crate) async fn put(
    by: By<Admin>,
    app: App,
    path: Path<(String, String)>,
    When(when): When,
    Query(How { dry_run, keep_tokens }): Query<How>,
    Json(body): Json<RoleBody>,
) -> Answer {
    let RoleBody { class, publish, subscribe, token_seconds, refresh_tokens } = body;
    let wanted = Definition { class, publish, subscribe, token_seconds, refresh_tokens };
    let (tenant, named) = path.into_inner();
    let (by, tenant, role) = (by.operator().actor(), id(&tenant)?, id(&named)?);
    let way = Way { dry_run, keep_tokens };
    let put = async move {
        let of = Of { tenant: &tenant, role: &role, way, when: &when };
        roles::put(&app, &by, &of, &wanted).await
    };
    let changed = Service::to_its_end(put).await?;
    let mut response = match changed.old.is_none() && !dry_run {
        true => HttpResponse::Created(),
        false => HttpResponse::Ok(),
    };
    let tag = tag(&changed, dry_run);
    Ok(tagged(response.json(told(&named, changed, dry_run)), tag.as_deref().unwrap_or_default()))
}

pub(crate) async fn change(
    by: By<Admin>,
    app: App,
    path: Path<(String, String)>,
    When(when): When,
    Query(How { dry_run, keep_tokens }): Query<How>,
    Json(body): Json<LinesBody>,
) -> Answer {
    let LinesBody { add_publish, remove_publish, add_subscribe, remove_subscribe } = body;
    let lines = Lines { add_publish, remove_publish, add_subscribe, remove_subscribe };
    if lines == Lines::default() {
        return Err(Refused::malformed("name a line to add or to remove").into());
    }
    let (tenant, named) = path.into_inner();
    let (by, tenant, role) = (by.operator().actor(), id(&tenant)?, id(&named)?);
    let way = Way { dry_run, keep_tokens };
    let change = async move {
        let of = Of { tenant: &tenant, role: &role, way, when: &when };
        roles::change_lines(&app, &by, &of, &lines).await
    };
    let changed = Service::to_its_end(change).await?;
    let tag = tag(&changed, dry_run);
    let answer = HttpResponse::Ok().json(told(&named, changed, dry_run));
    Ok(tagged(answer, tag.as_deref().unwrap_or_default()))
}

/// The tag of the role as it is: a try leaves it as it was.
fn tag(changed: &Changed, dry_run: bool) -> Option<String> {
    match dry_run {
        true => changed.old.as_ref().map(etag::of),
        false => Some(etag::of(&changed.new)),
    }
}

/// The role as it is now, or as it would be, with what the change does.
fn told(role: &str, changed: Changed, dry_run: bool) -> Value {
    let Changed { new, old, ended } = changed;
    let none = Vec::new();
    let (publish, subscribe) =
        old.as_ref().map_or((&none, &none), |old| (&old.publish, &old.subscribe));
    let less = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    json!({
        "role": role,
        "class": new.class,
        "publish": new.publish,
        "subscribe": new.subscribe,
        "token_seconds": new.token_seconds,
        "dry_run": dry_run,
        "added_publish": less(&new.publish, publish),
        "added_subscribe": less(&new.subscribe, subscribe),
        "removed_publish": less(publish, &new.publish),
        "removed_subscribe": less(subscribe, &new.subscribe),
        "contained": contained(&new),
        "devices": ended.reach.devices,
        "more_devices": ended.reach.more,
        "devices_refused": ended.reach.refused,
        "epochs_moved": ended.moved,
    })
}

fn contained(role: &RoleRecord) -> Vec<Value> {
    let contained = templates::contained(role);
    let told = contained.iter().map(|one| {
        let permission = if one.permission.publish() { "publish" } else { "subscribe" };
        json!({ "permission": permission, "line": one.line, "within": one.within })
    });
    told.collect()
}

pub(crate) async fn delete(
    by: By<Admin>,
    app: App,
    path: Path<(String, String)>,
    When(when): When,
) -> Answer {
    let (tenant, named) = path.into_inner();
    let (by, tenant, role) = (by.operator().actor(), id(&tenant)?, id(&named)?);
    let deleted = async move { roles::delete(&app, &by, &tenant, &role, &when).await };
    Service::to_its_end(deleted).await?;
    Ok(HttpResponse::Ok().json(json!({ "role": named })))
}

pub(crate) async fn preview(
    _by: By<Viewer>,
    app: App,
    path: Path<(String, String)>,
    Query(query): Query<Looked>,
) -> Answer {
    let (tenant, named) = path.into_inner();
    let role: RoleId = id(&named)?;
    let device = query.device.as_deref().map(id::<DeviceId>).transpose()?;
    let prefix = query.prefix.map(beginning).transpose()?;
    let whose = match &device {
        Some(_) if prefix.is_some() || query.cursor.is_some() => {
            return Err(Refused::malformed("device stands alone").into());
        }
        Some(device) => Whose::Device(device),
        None => Whose::Holders {
            wanted: Wanted { prefix, role: Some(role.clone()), ..Wanted::default() },
            after: query.cursor.as_deref(),
            limit: query.limit.rows(),
        },
    };
    let seen = preview::run(&app, &id(&tenant)?, &role, whose).await;
    let (record, found) = seen.map_err(not_found)?;
    let items: Vec<Value> = found.items.iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(json!({
        "role": named, "contained": contained(&record), "items": items, "next": found.next,
    })))
}

/// One device, with its rights or its refusal.
fn shown(seen: &Seen) -> Value {
    let Seen { device, group, outcome } = seen;
    let filters = |fit: &Fit, publish: bool| -> Vec<String> {
        let entries = fit.scope.entries().iter().filter(|entry| match publish {
            true => entry.permission.publish(),
            false => entry.permission.subscribe(),
        });
        entries.map(|entry| entry.filter.as_str().to_owned()).collect()
    };
    match outcome {
        Ok(fit) => json!({
            "device": device, "group": group, "code": null, "detail": null,
            "publish": filters(fit, true), "subscribe": filters(fit, false),
            "scope_bytes": fit.scope_bytes, "token_bytes": fit.token_bytes, "token_seconds": fit.life,
        }),
        Err(refused) => json!({
            "device": device, "group": group, "code": refused.code.as_str(),
            "detail": refused.detail.as_deref().unwrap_or(refused.code.words()),
            "publish": [], "subscribe": [], "scope_bytes": null, "token_bytes": null, "token_seconds": null,
        }),
    }
}
