//! The answer of every revocation: what was revoked, its event in the trust feed, and the verifiers that have taken it.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};

use crate::revoke::taken::Taken;

/// The query of a revocation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waits {
    /// Seconds to wait until the verifiers have taken it.
    #[serde(default)]
    pub(crate) wait: u64,
}

#[derive(Serialize)]
struct Revoked<T> {
    #[serde(flatten)]
    subject: T,
    event: u64,
    verifiers: Taken,
}

pub(crate) fn answer<T: Serialize>(subject: T, (event, verifiers): (u64, Taken)) -> HttpResponse {
    HttpResponse::Ok().json(Revoked { subject, event, verifiers })
}
