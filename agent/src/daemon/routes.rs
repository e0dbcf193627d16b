use actix_web::{web, HttpRequest, HttpResponse};
use serde_json::json;
use tessera_runtime::http::server::{nothing_here, resource};
use tessera_runtime::ready;

use super::body::{self, Form};
use super::document;
use super::state::State;
use super::wire::{Answers, Batch, Connect, Publish, Question, Reports, Subscribe};
use crate::limits;
use crate::namesake::VERIFIER_NAME_SHARED;

pub(super) fn all(config: &mut web::ServiceConfig) {
    let bytes = |most| web::PayloadConfig::new(most);
    let one = || bytes(limits::VALIDATE_BODY_BYTES);
    let list = || bytes(limits::DAEMON_LIST_BODY_BYTES);
    let post = |path| resource(path, &["post"]);
    config
        .service(post("/v1/validate").app_data(one()).route(web::post().to(validate)))
        .service(post("/v1/connect").app_data(one()).route(web::post().to(connect)))
        .service(post("/v1/publish").app_data(one()).route(web::post().to(publish)))
        .service(post("/v1/subscribe").app_data(one()).route(web::post().to(subscribe)))
        .service(post("/v1/batch").app_data(list()).route(web::post().to(batch)))
        .service(post("/v1/report").app_data(list()).route(web::post().to(report)))
        .service(resource("/healthz", &["get"]).route(web::get().to(healthz)))
        .service(resource("/readyz", &["get"]).route(web::get().to(readyz)))
        .service(resource("/metrics", &["get"]).route(web::get().to(metrics)))
        .service(resource("/openapi.json", &["get"]).route(web::get().to(openapi)))
        .default_service(web::to(nothing_here));
}

macro_rules! question {
    ($name:ident: $question:ty) => {
        async fn $name(
            state: web::Data<State>,
            request: HttpRequest,
            payload: web::Payload,
        ) -> HttpResponse {
            match body::read::<$question>(&request, payload, state.body_time).await {
                Ok((question, form)) => body::answer(form, &state.$name(&question).await),
                Err(refusal) => refusal,
            }
        }
    };
}

question!(validate: Question);
question!(connect: Connect);
question!(publish: Publish);
question!(subscribe: Subscribe);

async fn batch(
    state: web::Data<State>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let (Batch { questions }, form): (_, Form) =
        match body::read(&request, payload, state.body_time).await {
            Ok(read) => read,
            Err(refusal) => return refusal,
        };
    if questions.len() > limits::DAEMON_BATCH {
        return body::too_many(limits::DAEMON_BATCH);
    }
    body::answer(form, &Answers { answers: state.batch(&questions).await })
}

async fn report(
    state: web::Data<State>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let (Reports { reports }, form): (_, Form) =
        match body::read(&request, payload, state.body_time).await {
            Ok(read) => read,
            Err(refusal) => return refusal,
        };
    if reports.len() > limits::DAEMON_REPORTS {
        return body::too_many(limits::DAEMON_REPORTS);
    }
    body::answer(form, &Answers { answers: state.report(&reports) })
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok\n")
}

async fn readyz(state: web::Data<State>) -> HttpResponse {
    let validator = &state.validator;
    let reasons = validator.reasons();
    let Some(first) = reasons.first() else {
        let body = match validator.shares_its_name() {
            true => {
                let name = validator.verifier();
                format!("ready\nwarning verifier_name_shared {name}: {VERIFIER_NAME_SHARED}\n")
            }
            false => "ready\n".to_owned(),
        };
        return HttpResponse::Ok().content_type("text/plain").body(body);
    };
    HttpResponse::ServiceUnavailable().content_type("application/problem+json").body(
        json!({
            "title": "Service Unavailable",
            "status": 503,
            "code": first.code.as_str(),
            "detail": first.why,
            "reasons": ready::list(&reasons),
        })
        .to_string(),
    )
}

async fn openapi() -> HttpResponse {
    match document::text() {
        Ok(text) => HttpResponse::Ok().content_type("application/json").body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

async fn metrics(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(state.metrics.render())
}
