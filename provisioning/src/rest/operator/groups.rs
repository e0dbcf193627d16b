use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tessera_token::ids::GroupId;
use tessera_token::refusal::RefusalCode;

use super::announcement::AnnouncementView;
use super::suspension::SuspensionView;
use crate::once::{Asked, Keep};
use crate::records::{GroupRecord, Reenrol};
use crate::registry::{groups, tenants};
use crate::rest::auth::{By, Fleet, Security, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::etag::{self, tagged, When};
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::once::{created, Once};
use crate::rest::operator::revoked::{self, Waits};
use crate::rest::{list_of, Answer};
use crate::revoke::taken::follow;
use crate::service::Service;
use tessera_token::trust::Change;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/groups", list)
            .summary("List groups")
            .paged()
            .done("Groups"),
        Endpoint::post("/v1/tenants/{tenant}/groups", create)
            .summary("Create a group")
            .body("NewGroup")
            .creates("Group")
            .tagged()
            .refuses(&[RefusalCode::AlreadyExists, RefusalCode::CapacityReached]),
        Endpoint::get("/v1/tenants/{tenant}/groups/{group}", show)
            .summary("Show one group")
            .done("Group")
            .known()
            .refuses(&[RefusalCode::GroupUnknown]),
        Endpoint::patch("/v1/tenants/{tenant}/groups/{group}", change)
            .summary("Change the settings of a group")
            .body("GroupSettings")
            .done("Group")
            .tagged()
            .refuses(&[RefusalCode::GroupUnknown]),
        Endpoint::post("/v1/tenants/{tenant}/groups/{group}/revoke", revoke)
            .summary("Revoke all tokens of a group; its devices may refresh at once")
            .waits()
            .done("RevokedGroup")
            .tagged()
            .refuses(&[RefusalCode::GroupUnknown]),
    ]
}

#[derive(Serialize)]
pub(super) struct GroupView {
    group: String,
    state: &'static str,
    number: u64,
    epoch: u64,
    created: u64,
    reenrol: &'static str,
    #[serde(flatten)]
    suspension: SuspensionView,
    #[serde(flatten)]
    announcement: AnnouncementView,
}

impl GroupView {
    pub(super) fn new(group: &str, record: &GroupRecord) -> Self {
        Self {
            group: group.to_owned(),
            state: if record.suspended.is_some() { "suspended" } else { "active" },
            number: record.number,
            epoch: record.epoch,
            created: record.created,
            reenrol: Reenrol::word(record.reenrol),
            suspension: SuspensionView::new(record.suspended.as_ref()),
            announcement: AnnouncementView::new(record.announced.as_ref()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGroup {
    group: String,
}

/// New settings of a group.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    reenrol: Reenrols,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reenrols {
    Off,
    Device,
    Group,
}

pub(super) fn answer(group: &str, record: &GroupRecord) -> HttpResponse {
    tagged(HttpResponse::Ok().json(GroupView::new(group, record)), &etag::of(record))
}

pub(crate) async fn show(
    _by: By<Viewer>,
    app: App,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Answer {
    let (tenant, group) = path.into_inner();
    let (tenant, id): (_, GroupId) = (id(&tenant)?, id(&group)?);
    tenants::known(&app, &tenant).await?;
    let record = groups::known(&app, &tenant, id.as_str()).await?;
    Ok(etag::shown(&request, &GroupView::new(&group, &record), &etag::of(&record)))
}

pub(crate) async fn change(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    When(when): When,
    Json(wanted): Json<Settings>,
) -> Answer {
    let (tenant, group) = path.into_inner();
    let reenrol = match wanted.reenrol {
        Reenrols::Off => None,
        Reenrols::Device => Some(Reenrol::Device),
        Reenrols::Group => Some(Reenrol::Group),
    };
    let by = by.operator().actor();
    let (tenant, id) = (id(&tenant)?, id(&group)?);
    let record = groups::set_reenrol(&app, &by, &tenant, &id, (reenrol, &when)).await?;
    Ok(answer(&group, &record))
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let show = |(group, record): (String, GroupRecord)| GroupView::new(&group, &record);
    list_of(&app, &path, &app.tables.groups, &query, show).await
}

pub(crate) async fn create(
    by: By<Fleet>,
    app: App,
    path: Path<String>,
    asked: Once<NewGroup>,
) -> Answer {
    let Once { body: wanted, call } = asked;
    let actor = by.operator().actor();
    let (tenant, group): (_, GroupId) = (id(&path)?, id(&wanted.group)?);
    let service = app.clone();
    let make = async move |asked: Option<Asked>| {
        let made = async move {
            let named = group.as_str().to_owned();
            let answer = |record: &GroupRecord| {
                created(&GroupView::new(&named, record), Some(etag::of(record)))
            };
            let keep = Keep { asked: asked.as_ref(), answer: &answer };
            answer(&groups::create(&service, &actor, &tenant, &group, &keep).await?)
        };
        Ok(Service::to_its_end(made).await?)
    };
    call.once(&app, &by.operator().name, make).await
}

pub(crate) async fn revoke(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    Query(Waits { wait }): Query<Waits>,
) -> Answer {
    let (tenant, group) = path.into_inner();
    let following = follow(&app, &by.operator().share(), wait).await?;
    let record = groups::revoke(&app, &by.operator().actor(), &id(&tenant)?, &id(&group)?).await?;
    let is_it = |change: &Change| match change {
        Change::Group(one) => one.tenant.as_str() == tenant && one.number == record.number,
        _ => false,
    };
    let taken = following.taken(&app, &tenant, is_it).await?;
    Ok(tagged(revoked::answer(GroupView::new(&group, &record), taken), &etag::of(&record)))
}
