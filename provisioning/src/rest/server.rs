use actix_web::http::header;
use actix_web::{web, HttpResponse};
use serde_json::{json, Map};
use tessera_runtime::credential::Class;
use tessera_runtime::proxy::entrance::Entrance;
use tessera_runtime::ready::{self, Reason};
use tessera_runtime::tls::ServerTls;
use tessera_token::refusal::RefusalCode;

use super::auth::{Among, Anybody};
use super::endpoint::{schema, Endpoint};
use super::input::{Admitted, App};
use super::Answer;
use crate::audit;
use crate::limits::AUDIT_BEHIND;
use crate::operators::Tenants;
use crate::refused::Refused;
use crate::trust::restored::restorations;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/whoami", whoami)
            .summary("The account of the operator token")
            .done("Whoami"),
        Endpoint::get("/healthz", healthz).summary("The process lives").done("Status"),
        Endpoint::get("/readyz", readyz)
            .summary("The service can answer durably")
            .done("Status")
            .sends(
                503,
                "Not ready; the member reasons says why",
                vec![schema::typed("application/problem+json", "NotReady")],
            )
            .refuses(&[RefusalCode::ClockWrong]),
        Endpoint::get("/metrics", metrics).summary("Prometheus text format").sends(
            200,
            "Metrics",
            vec![schema::plain("text/plain")],
        ),
        Endpoint::get("/openapi.json", openapi)
            .summary("This document")
            .sends(200, "OpenAPI 3.1", vec![schema::plain("application/json")])
            .refuses(&[RefusalCode::Internal]),
    ]
}

/// An account of all tenants is told nothing of tenants.
pub(super) async fn whoami(by: Among<Anybody>) -> Answer {
    let operator = by.operator();
    let mut body = json!({ "operator": operator.name, "roles": operator.roles });
    if let (Tenants::These(these), Some(body)) = (&operator.tenants, body.as_object_mut()) {
        body.insert("tenants".to_owned(), json!(these));
    }
    if let (Class::Api, Some(body)) = (operator.shown.class, body.as_object_mut()) {
        body.insert("api_token".to_owned(), json!(operator.shown.id));
    }
    Ok(HttpResponse::Ok().json(body))
}

pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

pub(super) async fn readyz(app: App, entrance: Option<web::Data<Entrance>>) -> Answer {
    // A service that is driven without a listener has none.
    let tls = entrance.as_ref().and_then(|entrance| entrance.certificates());
    let mut reasons = reasons(&app).await?;
    reasons.extend(tls.and_then(|tls| tls.expired(app.now())));
    let Some(first) = reasons.first() else {
        let mut body = Map::from_iter([("status".to_owned(), json!("ready"))]);
        let restorations = restorations(&app.tables).await?.len();
        if restorations > 0 {
            body.insert("restorations".to_owned(), json!(restorations));
        }
        if let Some(warning) = tls.and_then(ServerTls::warning) {
            body.insert("warnings".to_owned(), ready::list(&[warning]));
        }
        return Ok(HttpResponse::Ok().json(body));
    };
    let body = json!({
        "type": format!("urn:tessera:refusal:{}", first.code),
        "title": first.code.words(),
        "status": 503,
        "code": first.code.as_str(),
        "detail": first.why,
        "reasons": ready::list(&reasons),
    });
    Ok(HttpResponse::ServiceUnavailable()
        .content_type("application/problem+json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::RETRY_AFTER, "1"))
        .body(body.to_string()))
}

/// Each part of the service that is not as it should be.
async fn reasons(app: &App) -> Result<Vec<Reason>, Refused> {
    let clock = app
        .time
        .wrong()
        .map(|wrong| Reason::because("clock", RefusalCode::ClockWrong, wrong.to_string()));
    let unless = |good: bool, part, why: &str| {
        (!good).then(|| Reason::because(part, RefusalCode::NotReady, why))
    };
    let behind = audit::behind(&app.tables, app.now()).await?;
    let others = [
        unless(
            app.database.is_healthy(),
            "store",
            app.database.waits_for().unwrap_or(
                "the store stopped writing after an error: look at the log, and start the process anew",
            ),
        ),
        unless(app.issuer.connected(), "issuer", "the actor that signs tokens is gone"),
        unless(app.trust.connected(), "trust", "the actor that publishes trust events is gone"),
        unless(app.audit.connected(), "audit", "the actor that chains audit entries is gone"),
        unless(
            behind < AUDIT_BEHIND,
            "audit",
            "audit entries wait to be chained: look at the log for what keeps the store from writing",
        ),
        unless(!app.stop.is_stopping(), "listener", "the service stops"),
    ];
    let module = app.issuer_keys.fault();
    let module = module.map(|fault| {
        // The detail of a fault names files and tokens, which strangers need not know.
        let why = format!("the security module of issuer keys does not answer ({})", fault.code());
        Reason::because("issuer", RefusalCode::NotReady, why)
    });
    Ok(clock.into_iter().chain(others.into_iter().flatten()).chain(module).collect())
}

pub(super) async fn metrics(_admitted: Admitted, app: App) -> Answer {
    for (limit, taken) in app.room.taken() {
        let taken = i64::try_from(taken).unwrap_or(i64::MAX);
        app.metrics.trust_taken.set(&[limit], taken);
    }
    app.metrics.clock_ahead.set(&[], app.time.ahead());
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(app.registry.render()))
}

pub(super) async fn openapi(_admitted: Admitted) -> Answer {
    let document = super::openapi().map_err(|fault| {
        tracing::error!(fault, "the OpenAPI document cannot be made");
        Refused::from(RefusalCode::Internal)
    })?;
    Ok(HttpResponse::Ok().content_type("application/json").body(document))
}
