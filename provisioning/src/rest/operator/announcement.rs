//! Announced changes of the devices of a group, and how they are shown.

use actix_web::web::Path;
use serde::{Deserialize, Serialize};
use tessera_token::refusal::RefusalCode;

use super::groups::answer;
use crate::records::Announcement;
use crate::registry::announcement::{self, Announced};
use crate::rest::auth::{By, Security};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json};
use crate::rest::Answer;
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![Endpoint::post("/v1/tenants/{tenant}/groups/{group}/announce", announce)
        .summary(
            "Announce a change of the devices of a group: until it is over, and a day longer, \
            behaviour tracking raises no alert about their habits",
        )
        .body("NewAnnouncement")
        .done("Group")
        .tagged()
        .refuses(&[RefusalCode::GroupUnknown])]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAnnouncement {
    seconds: u64,
    reason: String,
}

/// End, time, account and reason of an announced change; null without one.
#[derive(Default, Serialize)]
pub(super) struct AnnouncementView {
    announced_until: Option<u64>,
    announced_at: Option<u64>,
    announced_by: Option<String>,
    announced_reason: Option<String>,
}

impl AnnouncementView {
    pub(super) fn new(announcement: Option<&Announcement>) -> Self {
        let Some(announcement) = announcement else { return Self::default() };
        Self {
            announced_until: Some(announcement.until),
            announced_at: Some(announcement.at),
            announced_by: Some(announcement.by.clone()),
            announced_reason: Some(announcement.reason.clone()),
        }
    }
}

pub(crate) async fn announce(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    Json(wanted): Json<NewAnnouncement>,
) -> Answer {
    let (tenant, group) = path.into_inner();
    let (by, named) = (by.operator().actor(), group.clone());
    let (tenant, group) = (id(&tenant)?, id(&group)?);
    let wanted = Announced::of(wanted.seconds, wanted.reason)?;
    let done = async move { announcement::announce(&app, &by, &tenant, &group, &wanted).await };
    let record = Service::to_its_end(done).await?;
    Ok(answer(&named, &record))
}
