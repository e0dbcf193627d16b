use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};

use crate::records::GroupRecord;
use crate::registry::groups;
use crate::rest::auth::{By, Fleet, Security, Viewer};
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::operator::revoked::{self, Waits};
use crate::rest::{page, Answer};
use crate::revoke::taken::follow;
use crate::service::Service;
use tessera_token::trust::Change;

#[derive(Serialize)]
struct GroupView {
    group: String,
    number: u64,
    epoch: u64,
    created: u64,
}

impl GroupView {
    fn new(group: &str, record: &GroupRecord) -> Self {
        Self {
            group: group.to_owned(),
            number: record.number,
            epoch: record.epoch,
            created: record.created,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGroup {
    group: String,
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let found = groups::list(&app, &id(&path)?, query.cursor.as_deref(), query.limit()).await?;
    Ok(page(found, |(group, record)| GroupView::new(&group, &record)))
}

pub(crate) async fn create(
    by: By<Fleet>,
    app: App,
    path: Path<String>,
    Json(wanted): Json<NewGroup>,
) -> Answer {
    let (by, tenant, group) = (by.operator().actor(), id(&path)?, id(&wanted.group)?);
    let made = async move { groups::create(&app, &by, &tenant, &group).await };
    let record = Service::to_its_end(made).await?;
    Ok(HttpResponse::Created().json(GroupView::new(&wanted.group, &record)))
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
    Ok(revoked::answer(GroupView::new(&group, &record), taken))
}
