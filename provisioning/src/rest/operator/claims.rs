use std::collections::BTreeMap;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::limits::CLAIM_SECONDS;
use crate::records::{Attributes, ClaimRecord};
use crate::refused::Refused;
use crate::registry::claims::{self, NewClaims};
use crate::registry::pattern::IdPattern;
use crate::registry::tenants::DEFAULT_GROUP;
use crate::rest::auth::{By, Fleet, Viewer};
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{page, Answer};

#[derive(Serialize)]
struct ClaimView {
    claim: String,
    state: &'static str,
    role: String,
    group: String,
    device: Option<String>,
    created: u64,
    expires: u64,
    by: String,
    attributes: BTreeMap<String, String>,
    used_by: Option<String>,
    used_at: Option<u64>,
    /// The ids that may use it.
    pattern: Option<String>,
    /// The devices that may use it, and those that have.
    uses: u64,
    used: u64,
}

impl ClaimView {
    fn new(claim: String, record: ClaimRecord, now: u64) -> Self {
        let (used_by, used_at) = record.used.map(|used| (used.device, used.at)).unzip();
        let counted = record.counted;
        let (uses, used) = match counted {
            Some(counted) => (counted.uses, counted.made),
            None => (1, u64::from(used_by.is_some())),
        };
        Self {
            state: match (used >= uses, record.expires <= now) {
                (true, _) => "used",
                (false, true) => "expired",
                (false, false) => "open",
            },
            pattern: record.pattern,
            uses,
            used,
            claim,
            role: record.role,
            group: record.group,
            device: record.device,
            created: record.created,
            expires: record.expires,
            by: record.by,
            attributes: record.attributes.values().clone(),
            used_by,
            used_at,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewClaimsBody {
    #[serde(default = "one")]
    count: usize,
    role: String,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    uses: Option<u64>,
    #[serde(default)]
    pattern: Option<String>,
}

fn one() -> usize {
    1
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let found = claims::list(&app, &id(&path)?, query.cursor.as_deref(), query.limit()).await?;
    let now = app.now().get();
    Ok(page(found, |(claim, record)| ClaimView::new(claim, record, now)))
}

pub(crate) async fn create(
    by: By<Fleet>,
    app: App,
    path: Path<String>,
    Json(body): Json<NewClaimsBody>,
) -> Answer {
    let values = body.attributes.into_iter().map(|(name, value)| (name, Some(value)));
    let wanted = NewClaims {
        attributes: Attributes::default().with(&values.collect())?,
        count: body.count,
        role: id(&body.role)?,
        group: id(body.group.as_deref().unwrap_or(DEFAULT_GROUP))?,
        device: body.device.as_deref().map(id).transpose().map_err(|refused: Refused| refused)?,
        pattern: body.pattern.as_deref().map(IdPattern::parse).transpose()?,
        uses: body.uses.unwrap_or(1),
        life: body.expires_in.unwrap_or(CLAIM_SECONDS),
    };
    let (made, expires) =
        claims::create(&app, &by.operator().actor(), &id(&path)?, &wanted).await?;
    let shown: Vec<_> = made
        .iter()
        .map(|claim| json!({ "claim": claim.id, "code": claim.code.expose(), "expires": expires }))
        .collect();
    Ok(HttpResponse::Created()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "claims": shown })))
}

pub(crate) async fn delete(by: By<Fleet>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, claim) = path.into_inner();
    claims::delete(&app, &by.operator().actor(), &id(&tenant)?, &claim).await?;
    Ok(HttpResponse::NoContent().finish())
}
