//! `POST /v1/trust/partner-uses`: a broker tells the use of partner tokens since its last report.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use serde::Deserialize;

use super::auth::{Among, Feed};
use super::endpoint::Endpoint;
use super::input::{App, Json};
use super::Answer;
use crate::limits::PARTNER_USES_REPORTED;
use crate::partners::uses;
use crate::records::partners::PartnerUse;
use crate::refused::Refused;

/// No report has more of anything: sums of many days fit their columns.
const MOST: u64 = 1 << 40;

/// The endpoints of this resource.
pub(super) fn table() -> Vec<Endpoint> {
    vec![Endpoint::post("/v1/trust/partner-uses", report)
        .summary("Tell the use of partner tokens since the last report: for brokers")
        .body("PartnerUseReport")
        .empty(204, "Stored durably")]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    items: Vec<Told>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    partner_token: String,
    #[serde(default)]
    connects: u64,
    #[serde(default)]
    published: u64,
    #[serde(default)]
    published_bytes: u64,
    #[serde(default)]
    delivered: u64,
    #[serde(default)]
    delivered_bytes: u64,
}

pub(super) async fn report(by: Among<Feed>, app: App, Json(told): Json<Report>) -> Answer {
    if told.items.len() > PARTNER_USES_REPORTED {
        let why = format!("items has at most {PARTNER_USES_REPORTED} tokens");
        return Err(Refused::malformed(why).into());
    }
    let mut sums = BTreeMap::<String, PartnerUse>::new();
    for one in told.items {
        let sum = sums.entry(one.partner_token).or_default();
        *sum = sum.plus(PartnerUse {
            introspections: 0,
            connects: one.connects.min(MOST),
            published: one.published.min(MOST),
            published_bytes: one.published_bytes.min(MOST),
            delivered: one.delivered.min(MOST),
            delivered_bytes: one.delivered_bytes.min(MOST),
        });
    }
    let sums: Vec<_> = sums.into_iter().collect();
    uses::report(&app, &by.operator().tenants, &sums).await?;
    Ok(HttpResponse::NoContent().finish())
}
