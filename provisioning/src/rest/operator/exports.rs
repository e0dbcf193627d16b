//! Export of devices and claims as streams: a line of JSON for each.

use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;

use super::claims::ClaimView;
use super::device_line::DeviceLine;
use super::imports::{stream, turn};
use crate::limits::EXPORT_ROWS;
use crate::refused::Refused;
use crate::registry::{claims as claim_codes, devices as registry};
use crate::rest::auth::{By, Needs, Viewer};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::flow::Flow;
use crate::rest::input::{id, App, Query};
use crate::rest::Answer;
use crate::turns::Turn;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/export/devices", devices)
            .summary(
                "Export all devices: a line for each, in the order of their ids, as an import \
                takes them. It holds no secret",
            )
            .query("after", "Begin behind this device", schema::id())
            .sends(
                200,
                "Lines of DeviceLine. An answer that breaks off is not whole: go on behind its \
                last line",
                vec![schema::lines_of("DeviceLine")],
            )
            .refuses(&[RefusalCode::LimitReached]),
        Endpoint::get("/v1/tenants/{tenant}/export/claims", claims)
            .summary("Export all claims, a line for each. Codes are not kept and are not in it")
            .sends(
                200,
                "Lines of Claim. An answer that breaks off is not whole",
                vec![schema::lines_of("Claim")],
            )
            .refuses(&[RefusalCode::LimitReached]),
    ]
}

/// Where an export begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begins {
    /// Behind this device.
    #[serde(default)]
    after: Option<String>,
}

/// The lines of one page, and where the next one begins.
type Part = (Vec<u8>, Option<String>);

pub(crate) async fn devices(
    by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(Begins { after }): Query<Begins>,
) -> Answer {
    let tenant: TenantId = id(&path)?;
    let after = after.as_deref().map(id::<DeviceId>).transpose()?;
    let turn = turn(&app, &tenant)?;
    let first = device_rows(&app, &tenant, after.as_ref().map(DeviceId::as_str)).await?;
    let warrant = by.operator().warrant(Viewer::ONE_OF, Some(&tenant));
    let next = async move |after: String| {
        warrant.check(&app).await?;
        device_rows(&app, &tenant, Some(&after)).await
    };
    Ok(pages(turn, first, next))
}

pub(crate) async fn claims(by: By<Viewer>, app: App, path: Path<String>) -> Answer {
    let tenant: TenantId = id(&path)?;
    let turn = turn(&app, &tenant)?;
    let first = claim_rows(&app, &tenant, None).await?;
    let warrant = by.operator().warrant(Viewer::ONE_OF, Some(&tenant));
    let next = async move |after: String| {
        warrant.check(&app).await?;
        claim_rows(&app, &tenant, Some(&after)).await
    };
    Ok(pages(turn, first, next))
}

/// An answer of pages, each read when the peer has taken the one before.
fn pages(
    turn: Turn,
    first: Part,
    next: impl AsyncFn(String) -> Result<Part, Refused> + 'static,
) -> HttpResponse {
    stream(Flow::of(|out| async move {
        let _turn = turn;
        let (mut part, mut after) = first;
        loop {
            out.send(part).await;
            let Some(from) = after else { return };
            (part, after) = match next(from).await {
                Ok(page) => page,
                // The answer has begun: its end without an end says that it is not whole.
                Err(_) => return out.break_off().await,
            };
        }
    }))
}

async fn device_rows(app: &App, tenant: &TenantId, after: Option<&str>) -> Result<Part, Refused> {
    let page = registry::list(app, tenant, after, EXPORT_ROWS).await?;
    let lines = page.items.into_iter().map(|(device, record)| DeviceLine::of(device, record));
    Ok((rows(lines)?, page.next))
}

async fn claim_rows(app: &App, tenant: &TenantId, after: Option<&str>) -> Result<Part, Refused> {
    let (page, now) = (claim_codes::list(app, tenant, after, EXPORT_ROWS).await?, app.now().get());
    let lines =
        page.items.into_iter().map(|(claim, record)| Ok(ClaimView::new(claim, record, now)));
    Ok((rows(lines)?, page.next))
}

fn rows<T: Serialize>(lines: impl Iterator<Item = Result<T, Refused>>) -> Result<Vec<u8>, Refused> {
    let mut part = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut part, &line?).map_err(|_| RefusalCode::Internal)?;
        part.push(b'\n');
    }
    Ok(part)
}
