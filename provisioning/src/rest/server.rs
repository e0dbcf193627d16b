use actix_web::HttpResponse;
use serde_json::json;
use tessera_runtime::store::NO_ROOM;
use tessera_token::refusal::RefusalCode;

use super::auth::{Anybody, By};
use super::input::{Admitted, App};
use super::Answer;
use crate::refused::Refused;
use crate::trust::restored::restorations;

const OPENAPI: &str = include_str!("openapi.json");

pub(super) async fn whoami(by: By<Anybody>) -> Answer {
    let operator = by.operator();
    Ok(HttpResponse::Ok().json(json!({ "operator": operator.name, "roles": operator.roles })))
}

pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

pub(super) async fn readyz(app: App) -> Answer {
    if let Some(wrong) = app.time.wrong() {
        return Err(Refused::because(RefusalCode::ClockWrong, wrong.to_string()).into());
    }
    let actors = app.issuer.connected() && app.trust.connected() && app.audit.connected();
    match actors && app.store.is_healthy() && !app.stop.is_stopping() {
        true => Ok(HttpResponse::Ok().json(match restorations(&app.tables)?.len() {
            0 => json!({ "status": "ready" }),
            count => json!({ "status": "ready", "restorations": count }),
        })),
        false if app.store.is_full() => {
            Err(Refused::because(RefusalCode::NotReady, NO_ROOM).into())
        }
        false => Err(RefusalCode::NotReady.into()),
    }
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
    Ok(HttpResponse::Ok().content_type("application/json").body(OPENAPI))
}
