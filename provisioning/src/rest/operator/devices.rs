use std::collections::BTreeMap;

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use tessera_token::encoding::base64url;
use tessera_token::ids::{GroupId, RoleId, TenantId};
use tessera_token::limits::ID_CHARS;
use tessera_token::refusal::RefusalCode;

use super::rekeys::thumbprint;
use super::suspension::SuspensionView;
use crate::limits::ATTRIBUTES;
use crate::records::{DeviceRecord, Page, Suspension};
use crate::refused::Refused;
use crate::registry::departure;
use crate::registry::devices::{self, Change, Wanted};
use crate::registry::standing::{OfGroups, State};
use crate::rest::attributes::{self, Filtered};
use crate::rest::auth::{By, Ends, Fleet, Security, Viewer};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::etag::{self, tagged, When};
use crate::rest::input::{id, App, Json, Limit, Query};
use crate::rest::operator::revoked::{self, Waits};
use crate::rest::problem::Problem;
use crate::rest::{page, Answer};
use crate::revoke::taken::follow;
use crate::service::Service;
use tessera_token::trust::Change as Told;

/// The pattern of a thumbprint.
const THUMBPRINT: &str = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$";

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/devices", list)
            .summary(
                "List devices, all or those with some properties; a page looks at 2,000 \
                 devices at most, so it may hold few and name the next",
            )
            .paged()
            .query("prefix", "The beginning of the id", schema::pattern("^[A-Za-z0-9._:-]{0,64}$"))
            .query("group", "The group of the device", schema::id())
            .query("role", "The role of the device", schema::id())
            .query(
                "attr",
                "attr.NAME=value: devices of which the attribute NAME has this value, at most 4 of \
                 them",
                attributes::schema(),
            )
            .with(json!({ "style": "form", "explode": true }))
            .query(
                "state",
                "The state of the device; one whose group is suspended is suspended",
                schema::words(&["active", "suspended", "revoked"]),
            )
            .query(
                "key",
                "The thumbprint of the device key, base64url",
                schema::pattern(THUMBPRINT),
            )
            .done("Devices"),
        Endpoint::get("/v1/tenants/{tenant}/devices/{device}", show)
            .summary("Show a device")
            .done("Device")
            .known()
            .refuses(&[RefusalCode::DeviceUnknown]),
        Endpoint::patch("/v1/tenants/{tenant}/devices/{device}", change)
            .summary(
                "Give a device another role, group or attributes; when that changes its \
                 rights its tokens end, and it may ask for the next at once",
            )
            .body("DeviceChange")
            .done("Device")
            .tagged()
            .refuses(&[
                RefusalCode::DeviceUnknown,
                RefusalCode::RoleUnknown,
                RefusalCode::GroupUnknown,
                RefusalCode::CapacityReached,
            ]),
        Endpoint::delete("/v1/tenants/{tenant}/devices/{device}", delete)
            .summary(
                "Delete a device: its tokens end for ever, and its id is free when the \
                 longest life of a token is over",
            )
            .query("force", "The id is free at once", schema::flag())
            .done("DeletedDevice")
            .refuses(&[RefusalCode::DeviceUnknown, RefusalCode::CapacityReached]),
        Endpoint::post("/v1/tenants/{tenant}/devices/{device}/revoke", revoke)
            .summary("Revoke all tokens of a device and issue no new one")
            .waits()
            .done("RevokedDevice")
            .tagged()
            .refuses(&[RefusalCode::DeviceUnknown, RefusalCode::CapacityReached]),
        Endpoint::post("/v1/tenants/{tenant}/devices/{device}/reinstate", reinstate)
            .summary("Serve a revoked or suspended device again; its old tokens stay ended")
            .done("Device")
            .tagged()
            .refuses(&[RefusalCode::DeviceUnknown]),
    ]
}

#[derive(Serialize)]
struct DeviceView {
    device: String,
    state: &'static str,
    role: String,
    group: String,
    epoch: u64,
    /// RFC 9679 thumbprint of the device key, base64url.
    thumbprint: Option<String>,
    enrolled: u64,
    claim: String,
    attributes: BTreeMap<String, String>,
    /// Its own suspension (`device`), or that of its group (`group`).
    suspended_with: Option<&'static str>,
    #[serde(flatten)]
    suspension: SuspensionView,
}

impl DeviceView {
    fn new(device: &str, record: DeviceRecord, group: Option<&Suspension>) -> Self {
        Self {
            device: device.to_owned(),
            state: State::of(&record, group).as_str(),
            suspended_with: match (&record.suspended, group) {
                (Some(_), _) => Some("device"),
                (None, Some(_)) => Some("group"),
                (None, None) => None,
            },
            suspension: SuspensionView::new(record.suspended.as_ref().or(group)),
            thumbprint: record.name_of_key().map(|name| base64url(&name)),
            role: record.role,
            group: record.group,
            epoch: record.epoch,
            enrolled: record.enrolled,
            claim: record.claim,
            attributes: record.attributes.values().clone(),
        }
    }
}

/// One device, with what a list does not tell.
#[derive(Serialize)]
struct OneDevice {
    #[serde(flatten)]
    view: DeviceView,
    /// The time of the newest token that it got by a refresh, while that is known.
    last_refresh: Option<u64>,
}

/// The query of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
    /// The beginning of the id.
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    state: Option<Shown>,
    /// The thumbprint of the key.
    #[serde(default)]
    key: Option<String>,
}

/// The state of a device in answers.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Shown {
    Active,
    Suspended,
    Revoked,
}

impl From<Shown> for State {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Active => Self::Active,
            Shown::Suspended => Self::Suspended,
            Shown::Revoked => Self::Revoked,
        }
    }
}

/// New properties of a device.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Changes {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    group: Option<String>,
    /// New values; null removes an attribute.
    #[serde(default, deserialize_with = "some")]
    attributes: Option<BTreeMap<String, Option<String>>>,
}

/// A member that is there is not null.
pub(super) fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Whether the id is free at once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    #[serde(default)]
    force: bool,
}

pub(crate) async fn change(
    by: By<Fleet>,
    app: App,
    path: Path<(String, String)>,
    When(when): When,
    Json(wanted): Json<Changes>,
) -> Answer {
    let (tenant, device) = path.into_inner();
    if wanted.role.is_none() && wanted.group.is_none() && wanted.attributes.is_none() {
        return Err(Refused::malformed("role, group or attributes are required").into());
    }
    let attributes = wanted.attributes.as_ref();
    if attributes.is_some_and(|changes| !(1..=2 * ATTRIBUTES).contains(&changes.len())) {
        let why = format!("1 to {} attributes are changed in one call", 2 * ATTRIBUTES);
        return Err(Refused::malformed(why).into());
    }
    let change = Change {
        role: wanted.role.as_deref().map(id).transpose().map_err(|refused: Refused| refused)?,
        group: wanted.group.as_deref().map(id).transpose().map_err(|refused: Refused| refused)?,
        attributes: wanted.attributes.unwrap_or_default(),
    };
    let (by, named, service) = (by.operator().actor(), device.clone(), app.clone());
    let (tenant, device): (TenantId, _) = (id(&tenant)?, id(&device)?);
    let of = tenant.clone();
    let changed =
        async move { devices::change(&service, &by, &of, &device, (&change, &when)).await };
    let record = Service::to_its_end(changed).await.map_err(not_found)?;
    shown(&app, &tenant, &named, record).await
}

pub(crate) async fn delete(
    by: By<Ends>,
    app: App,
    path: Path<(String, String)>,
    When(when): When,
    Query(how): Query<How>,
) -> Answer {
    let (tenant, device) = path.into_inner();
    let (by, named) = (by.operator().actor(), device.clone());
    let (tenant, device) = (id(&tenant)?, id(&device)?);
    let deleted =
        async move { departure::delete(&app, &by, &tenant, &device, (how.force, &when)).await };
    let free = Service::to_its_end(deleted).await.map_err(not_found)?;
    Ok(HttpResponse::Ok().json(json!({ "device": named, "free": free })))
}

/// The beginning of an id, which may be an id itself.
pub(super) fn beginning(text: String) -> Result<String, Refused> {
    let may_be = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    match text.len() <= ID_CHARS && text.chars().all(may_be) {
        true => Ok(text),
        false => Err(Refused::malformed(format!("{text:?} is not the beginning of an id"))),
    }
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Filtered { query, attributes }: Filtered<Asked>,
) -> Answer {
    let Asked { cursor, limit, prefix, group, role, state, key } = query;
    let key = key.as_deref().map(thumbprint).transpose()?;
    let state = state.map(State::from);
    let group = group.as_deref().map(id::<GroupId>).transpose()?;
    let role = role.as_deref().map(id::<RoleId>).transpose()?;
    let prefix = prefix.map(beginning).transpose()?;
    let wanted = Wanted { prefix, group, role, state, key, attributes };
    let tenant = id(&path)?;
    let found = devices::find_all(&app, &tenant, &wanted, cursor.as_deref(), limit.rows()).await?;
    let (mut groups, mut views) = (OfGroups::new(&app, &tenant), Vec::new());
    for (device, record) in found.items {
        let group = groups.get(&record.group).await?;
        views.push(DeviceView::new(&device, record, group.as_ref()));
    }
    Ok(page(Page { items: views, next: found.next }, |view| view))
}

pub(crate) async fn show(
    _by: By<Viewer>,
    app: App,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Answer {
    let (tenant, device) = path.into_inner();
    crate::registry::tenants::known(&app, &id(&tenant)?).await?;
    let record = devices::known(&app, &id(&tenant)?, &id(&device)?).await.map_err(not_found)?;
    let (view, tag) = one(&app, &id(&tenant)?, &device, record).await?;
    Ok(etag::shown(&request, &view, &tag))
}

/// A device as it is now, its group too.
pub(super) async fn shown(
    app: &App,
    tenant: &TenantId,
    device: &str,
    record: DeviceRecord,
) -> Answer {
    let (view, tag) = one(app, tenant, device, record).await?;
    Ok(tagged(HttpResponse::Ok().json(view), &tag))
}

/// The view of a device, and its tag: its group and its last refresh are parts of the view, and not of its record.
async fn one(
    app: &App,
    tenant: &TenantId,
    device: &str,
    record: DeviceRecord,
) -> Result<(OneDevice, String), Refused> {
    let group = OfGroups::new(app, tenant).get(&record.group).await?;
    let last_refresh = devices::last_refresh(app, tenant, device).await?;
    let view = DeviceView::new(device, record.clone(), group.as_ref());
    let view = OneDevice { view, last_refresh };
    let tag = etag::of_view(&record, &view);
    Ok((view, tag))
}

pub(crate) async fn revoke(
    by: By<Ends>,
    app: App,
    path: Path<(String, String)>,
    Query(Waits { wait }): Query<Waits>,
) -> Answer {
    let (tenant, device) = path.into_inner();
    let following = follow(&app, &by.operator().share(), wait).await?;
    let revoked = devices::revoke(&app, &by.operator().actor(), &id(&tenant)?, &id(&device)?).await;
    let record = revoked.map_err(not_found)?;
    // Its group moved where verifiers had no room for the device alone.
    let is_it = |change: &Told| match change {
        Told::Device(one) => one.tenant.as_str() == tenant && one.device.as_str() == device,
        Told::Group(one) => one.tenant.as_str() == tenant && one.group.as_str() == record.group,
        _ => false,
    };
    let taken = following.taken(&app, &tenant, is_it).await?;
    let group = OfGroups::new(&app, &id(&tenant)?).get(&record.group).await?;
    let tag = etag::of(&record);
    let answer = revoked::answer(DeviceView::new(&device, record, group.as_ref()), taken);
    Ok(tagged(answer, &tag))
}

pub(crate) async fn reinstate(by: By<Security>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, device) = path.into_inner();
    let back = devices::reinstate(&app, &by.operator().actor(), &id(&tenant)?, &id(&device)?).await;
    shown(&app, &id(&tenant)?, &device, back.map_err(not_found)?).await
}

/// An unknown device is 401 for the device itself and 404 for an operator who names it.
pub(super) fn not_found(refused: crate::refused::Refused) -> Problem {
    match refused.code {
        RefusalCode::DeviceUnknown => {
            Problem::from(refused).with_status(actix_web::http::StatusCode::NOT_FOUND)
        }
        _ => refused.into(),
    }
}
