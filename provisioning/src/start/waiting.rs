//! A clock that shows a time before this program was released is not set yet. Nothing is founded and nothing signed by it:
//! the start waits, answers that it is not ready, and says why.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{web, App, HttpResponse};
use serde_json::json;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::server::{self, Listener, ServerLimits, ServerMetrics};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::proxy::entrance::Entrance;
use tessera_runtime::ready::{self, Reason};
use tessera_runtime::tls::ServerTls;
use tessera_token::refusal::RefusalCode;

use super::run::Parts;
use crate::clock::is_plausible;
use crate::limits::{self, CLOCK_LOOK};
use crate::start_error::StartError;

/// Returns once the clock shows a time that can be.
///
/// # Errors
/// [`StartError::Clock`] when the process is told to stop before.
pub(super) async fn for_a_plausible_clock(
    parts: &Parts,
    tls: Option<Arc<ServerTls>>,
) -> Result<(), StartError> {
    if is_plausible(parts.clock.unix()) {
        return Ok(());
    }
    let addr = parts.config.http_addr;
    tracing::error!(
        unix = parts.clock.unix().get(),
        "the clock is not set: not ready, and nothing is founded or signed before it is"
    );
    let app = || {
        let alive = server::resource("/healthz", &["get"]).route(web::get().to(alive));
        App::new().service(alive).default_service(web::to(not_ready))
    };
    let bind = |error| StartError::Bind(addr, error);
    let entrance = Entrance::new("http", parts.config.proxy.clone(), tls);
    let listener = server::bind(addr, limits::BACKLOG).map_err(bind)?;
    let listeners = vec![Listener::through(entrance.transport(), listener, entrance)];
    // The service registers its own once it starts.
    let metrics = ServerMetrics::register(&Metrics::new(), "tessera_provisioning");
    let metrics = metrics.map_err(StartError::Metrics)?;
    let limits = ServerLimits { workers: 1, ..parts.config.server_limits() };
    let server = server::serve(app, listeners, &limits, parts.clock.clone(), metrics);
    let server = server.map_err(bind)?;
    let handle = server.handle();
    let serving = actix_rt::spawn(server);
    let outcome = wait(&parts.clock, &parts.stop).await;
    handle.stop(true).await;
    let _ = serving.await;
    outcome
}

async fn wait(clock: &SharedClock, stop: &tessera_runtime::stop::Stop) -> Result<(), StartError> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(CLOCK_LOOK) => {}
            () = stop.stopping() => return Err(StartError::Clock),
        }
        if is_plausible(clock.unix()) {
            tracing::info!("the clock is set: the start goes on");
            return Ok(());
        }
    }
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

async fn not_ready() -> HttpResponse {
    let code = RefusalCode::ClockWrong;
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let why = "the clock shows a time before this program was released";
    let body = json!({
        "type": format!("urn:tessera:refusal:{code}"),
        "title": code.words(),
        "status": status.as_u16(),
        "code": code.as_str(),
        "detail": why,
        "reasons": ready::list(&[Reason::because("clock", code, why)]),
    });
    HttpResponse::build(status).content_type("application/problem+json").body(body.to_string())
}
