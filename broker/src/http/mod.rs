//! `/metrics`, `/healthz`, `/readyz`, on an address of their own.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{web, HttpResponse};
use serde_json::json;
use tessera_agent::validator::VERIFIER_NAME_SHARED;
use tessera_runtime::http::server::{nothing_here, resource};
use tessera_runtime::store::NO_ROOM;
use tessera_token::refusal::RefusalCode;

use crate::hub::Hub;
use crate::shares::Kind;

/// Adds the routes to an app.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/metrics", &["get"]).route(web::get().to(metrics)))
        .service(resource("/healthz", &["get"]).route(web::get().to(healthy)))
        .service(resource("/readyz", &["get"]).route(web::get().to(ready)))
        .default_service(web::to(nothing_here));
}

type Shared = web::Data<Arc<Hub>>;

async fn metrics(hub: Shared) -> HttpResponse {
    let (messages, _) = hub.retained.size();
    hub.metrics.retained.set(&[], i64::try_from(messages).unwrap_or(i64::MAX));
    hub.metrics.half_open.set(&[], i64::try_from(hub.admission.half_open()).unwrap_or(i64::MAX));
    let connected = hub.connected.load(Ordering::Relaxed);
    let kept = hub.registry.len().saturating_sub(connected);
    for (state, count) in [("connected", connected), ("kept", kept)] {
        hub.metrics.sessions.set(&[state], i64::try_from(count).unwrap_or(i64::MAX));
    }
    hub.metrics.sockets.set(&[], i64::try_from(hub.admission.sockets()).unwrap_or(i64::MAX));
    for kind in Kind::ALL {
        let held = i64::try_from(hub.shares.held(kind)).unwrap_or(i64::MAX);
        hub.metrics.shares.set(&[kind.label()], held);
    }
    let (_, retained_bytes) = hub.retained.size();
    let retained_bytes = i64::try_from(retained_bytes).unwrap_or(i64::MAX);
    hub.metrics.shares.set(&["retained_bytes"], retained_bytes);
    let fleet = hub.lanes.fleet_stats();
    for (what, count) in [
        ("published", fleet.published),
        ("delivered", fleet.delivered),
        ("gaps", fleet.gaps),
        ("strays", fleet.strays),
        ("lost", fleet.lost),
        ("router_restarts", fleet.restarts),
        ("router_renewals", fleet.renewals),
        ("router_answers", u64::from(fleet.answers)),
        ("router_bytes", fleet.held),
        ("router_old", fleet.old_routers),
        ("refused", fleet.refused),
        ("publishers_waited", fleet.publishers_waited),
        ("links_waited", fleet.links_waited),
    ] {
        hub.metrics.fleet.set(&[what], i64::try_from(count).unwrap_or(i64::MAX));
    }
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(hub.metrics.render())
}

/// The process runs and answers.
async fn healthy() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(r#"{"status":"ok"}"#)
}

/// A CONNECT that comes now can be judged and served.
async fn ready(hub: Shared) -> HttpResponse {
    match hub.ready() {
        Ok(()) => HttpResponse::Ok().content_type(ContentType::json()).body(ready_body(&hub)),
        Err((part, code)) => {
            let why = match part {
                "store" if hub.keep.is_full() => NO_ROOM.to_owned(),
                _ => hub.gate.validator().why_not_ready(code),
            };
            let body = json!({
                "status": "not ready",
                "part": part,
                "code": code.as_str(),
                "words": code.words(),
                "why": why,
            });
            HttpResponse::ServiceUnavailable()
                .content_type(ContentType::json())
                .body(body.to_string())
        }
    }
}

/// A shared verifier name weakens what a proof is worth and stops nothing, so it stands beside `ready`.
fn ready_body(hub: &Hub) -> String {
    let validator = hub.gate.validator();
    match validator.shares_its_name() {
        false => r#"{"status":"ready"}"#.to_owned(),
        true => json!({
            "status": "ready",
            "warning": "verifier_name_shared",
            "verifier": validator.verifier().as_str(),
            "why": VERIFIER_NAME_SHARED,
        })
        .to_string(),
    }
}

impl Hub {
    /// Whether everything is there that a connection needs.
    pub(crate) fn ready(&self) -> Result<(), (&'static str, RefusalCode)> {
        self.gate.validator().ready().map_err(|code| ("trust", code))?;
        self.gate.validator().clock_ready().map_err(|code| ("clock", code))?;
        self.gate.validator().decides_proofs().map_err(|code| ("ledger", code))?;
        if !self.gate.is_alive() {
            return Err(("gate", RefusalCode::NotReady));
        }
        if !self.keep.is_healthy() {
            return Err(("store", RefusalCode::NotReady));
        }
        if !self.lanes.is_healthy() {
            return Err(("fleet", RefusalCode::NotReady));
        }
        if self.tasks.is_closed() {
            return Err(("listener", RefusalCode::NotReady));
        }
        Ok(())
    }
}
