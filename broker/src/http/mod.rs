//! `/metrics`, `/healthz`, `/readyz`, on an address of their own.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{web, HttpResponse};
use serde_json::{json, Value};
use tessera_agent::validator::VERIFIER_NAME_SHARED;
use tessera_runtime::http::server::{nothing_here, resource};
use tessera_runtime::ready::{self, Reason};
use tessera_token::refusal::RefusalCode;

use crate::hub::Hub;
use crate::shares::Kind;

/// Adds the routes to an app.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/metrics", &["get"]).route(web::get().to(metrics)))
        .service(resource("/healthz", &["get"]).route(web::get().to(healthy)))
        .service(resource("/readyz", &["get"]).route(web::get().to(readiness)))
        .default_service(web::to(nothing_here));
}

type Shared = web::Data<Arc<Hub>>;

async fn metrics(hub: Shared) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(metrics_text(&hub))
}

/// All metrics of the process, as of now.
pub(crate) fn metrics_text(hub: &Hub) -> String {
    let (messages, _) = hub.retained.size();
    hub.metrics.retained.set(&[], i64::try_from(messages).unwrap_or(i64::MAX));
    hub.metrics.half_open.set(&[], i64::try_from(hub.admission.half_open()).unwrap_or(i64::MAX));
    let connected = hub.connected.load(Ordering::Relaxed);
    let kept = hub.registry.len().saturating_sub(connected);
    for (state, count) in [("connected", connected), ("kept", kept)] {
        hub.metrics.sessions.set(&[state], i64::try_from(count).unwrap_or(i64::MAX));
    }
    rules(hub);
    hub.metrics.sockets.set(&[], i64::try_from(hub.admission.sockets()).unwrap_or(i64::MAX));
    for &kind in Kind::ALL {
        let held = i64::try_from(hub.shares.held(kind)).unwrap_or(i64::MAX);
        hub.metrics.shares.set(&[kind.label()], held);
    }
    let (_, retained_bytes) = hub.retained.size();
    let retained_bytes = i64::try_from(retained_bytes).unwrap_or(i64::MAX);
    hub.metrics.shares.set(&["retained_bytes"], retained_bytes);
    hub.metrics.found_no_room(hub.routing.take_lost());
    let fleet = hub.routing.wildcard_stats();
    for (what, count) in [
        ("published", fleet.published),
        ("delivered", fleet.delivered),
        ("gaps", fleet.gaps),
        ("strays", fleet.strays),
        ("lost", fleet.lost),
        ("router_restarts", fleet.restarts),
        ("router_renewals", fleet.renewals),
        ("refused", fleet.refused),
        ("publishers_waited", fleet.publishers_waited),
        ("links_waited", fleet.links_waited),
    ] {
        hub.metrics.wildcard(what, count);
        // Its name and these values are older than the counter, and stay.
        hub.metrics.fleet.set(&[what], i64::try_from(count).unwrap_or(i64::MAX));
    }
    for (what, state) in [
        ("router_answers", u64::from(fleet.answers)),
        ("router_bytes", fleet.held),
        ("router_old", fleet.old_routers),
    ] {
        hub.metrics.fleet.set(&[what], i64::try_from(state).unwrap_or(i64::MAX));
    }
    hub.metrics.render()
}

/// The process runs and answers.
async fn healthy() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(r#"{"status":"ok"}"#)
}

/// A CONNECT that comes now can be judged and served.
async fn readiness(hub: Shared) -> HttpResponse {
    let reasons = hub.reasons();
    let Some(first) = reasons.first() else {
        let body = ready_body(&hub).to_string();
        return HttpResponse::Ok().content_type(ContentType::json()).body(body);
    };
    let body = json!({
        "status": "not ready",
        "part": first.part,
        "code": first.code.as_str(),
        "words": first.code.words(),
        "why": first.why,
        "reasons": ready::list(&reasons),
    });
    HttpResponse::ServiceUnavailable().content_type(ContentType::json()).body(body.to_string())
}

/// A shared verifier name weakens proofs and stops nothing, so it stands beside `ready`.
fn ready_body(hub: &Hub) -> Value {
    let (warnings, validator) = (hub.warnings(), hub.authenticator.validator());
    let status = [("status", json!("ready"))];
    let listed = (!warnings.is_empty()).then(|| ("warnings", ready::list(&warnings)));
    let shared = validator.shares_its_name().then(|| {
        [
            ("warning", json!("verifier_name_shared")),
            ("verifier", json!(validator.verifier().as_str())),
            ("why", json!(VERIFIER_NAME_SHARED)),
        ]
    });
    let members = status.into_iter().chain(listed).chain(shared.into_iter().flatten());
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
}

impl Hub {
    /// Each part that a connection needs and that is not as it should be.
    pub(crate) fn reasons(&self) -> Vec<Reason> {
        let unless = |good: bool, part, why: &str| {
            (!good).then(|| Reason::because(part, RefusalCode::NotReady, why))
        };
        let own = [
            unless(self.authenticator.is_alive(), "gate", "no verification actor runs"),
            unless(
                self.persistence.is_healthy(),
                "store",
                self.persistence.waits_for().unwrap_or(
                    "the store of persistent sessions stopped writing after an error: look at the log, and start the process \
                     anew",
                ),
            ),
            unless(
                self.routing.is_healthy(),
                "fleet",
                "the router of wildcard and shared subscriptions does not answer",
            ),
            unless(!self.tasks.is_closed(), "listener", "the broker stops, or accepts no more"),
            self.certificates.as_ref().and_then(|own| own.expired(self.now().unix)),
        ];
        let mut reasons = self.authenticator.validator().reasons();
        reasons.extend(own.into_iter().flatten());
        reasons
    }

    /// Faults that keep no connection away yet.
    pub(crate) fn warnings(&self) -> Vec<Reason> {
        self.certificates.as_ref().and_then(|own| own.warning()).into_iter().collect()
    }
}

/// Rules by state, and the devices that they hold back.
fn rules(hub: &Hub) {
    let (mut applied, mut unread, mut suspended) = (0_usize, 0, 0);
    for (_, book) in hub.authenticator.validator().rulebooks() {
        let stopped = book.counters().read(book.set()).filter(|counts| counts.suspended).count();
        let not_read = book.unread().count();
        applied += book.len() - not_read - stopped;
        unread += not_read;
        suspended += stopped;
    }
    let states = [("applied", applied), ("unread", unread), ("suspended", suspended)];
    for (state, count) in states {
        hub.metrics.rules.set(&[state], i64::try_from(count).unwrap_or(i64::MAX));
    }
    let held = i64::try_from(hub.restraints.count(hub.now().unix)).unwrap_or(i64::MAX);
    hub.metrics.restraints.set(&[], held);
}
