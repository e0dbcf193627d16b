use actix_web::web::Path;
use serde::Serialize;

use crate::audit::actor::ChainPending;
use crate::refused::Refused;
use crate::registry::history::{self, Event};
use crate::rest::auth::{By, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, PageQuery, Query};
use crate::rest::{page, Answer};

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![Endpoint::get("/v1/tenants/{tenant}/devices/{device}/history", list)
        .summary(
            "Entries of the audit log about a device id, the oldest first; device_number \
                tells devices apart that had the id one after the other",
        )
        .paged()
        .done("DeviceEvents")]
}

/// An entry of the audit log, as far as it is of the device. `seq` is its number there.
#[derive(Serialize)]
struct EventView {
    seq: u64,
    at: u64,
    action: String,
    by: String,
    detail: String,
    device_number: u64,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let Event { seq, device_number, entry } = event;
        Self {
            seq,
            at: entry.at,
            action: entry.action,
            by: entry.actor,
            detail: entry.detail,
            device_number,
        }
    }
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<(String, String)>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let (tenant, device) = path.into_inner();
    app.audit.send(ChainPending).await.map_err(Refused::from)??;
    let (after, limit) = (query.cursor.as_deref(), query.limit());
    let found = history::list(&app, &id(&tenant)?, &id(&device)?, after, limit).await?;
    Ok(page(found, EventView::from))
}
