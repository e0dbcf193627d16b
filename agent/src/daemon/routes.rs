use std::time::Duration;

use actix_web::error::JsonPayloadError;
use actix_web::http::StatusCode;
use actix_web::{web, FromRequest, HttpRequest, HttpResponse};
use serde_json::json;
use tessera_runtime::http::server::{nothing_here, problem, resource, ServerMetrics};
use tessera_runtime::metrics::{Counter, Metrics, MetricsError};
use tessera_runtime::ready;
use tessera_token::chain::{Admission, Refusal};
use tessera_token::encoding;
use tessera_token::refusal::RefusalCode;

use super::wire::{Answer, Question};
use crate::behaviour::{Network, NewConnection, Observer};
use crate::limits;
use crate::namesake::VERIFIER_NAME_SHARED;
use crate::start::Agent;
use crate::validator::Validator;

/// The description of the API.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// State of all routes.
pub(super) struct State {
    pub(super) http: ServerMetrics,
    validator: Validator,
    observer: Observer,
    metrics: Metrics,
    answers: Counter,
    body_time: Duration,
}

impl State {
    pub(super) fn new(
        agent: &Agent,
        metrics: &Metrics,
        body_time: Duration,
    ) -> Result<Self, MetricsError> {
        let answers = metrics.counter(
            "tessera_agent_validations_total",
            "Credentials judged over HTTP, by outcome",
            &["outcome"],
        )?;
        Ok(Self {
            http: ServerMetrics::register(metrics, "tessera_agent")?,
            validator: agent.validator().clone(),
            observer: agent.observer().clone(),
            metrics: metrics.clone(),
            answers,
            body_time,
        })
    }
}

pub(super) fn all(config: &mut web::ServiceConfig) {
    let json =
        web::JsonConfig::default().limit(limits::VALIDATE_BODY_BYTES).error_handler(bad_body);
    config
        .app_data(json)
        .app_data(web::PayloadConfig::new(limits::VALIDATE_BODY_BYTES))
        .service(resource("/v1/validate", &["post"]).route(web::post().to(validate)))
        .service(resource("/healthz", &["get"]).route(web::get().to(healthz)))
        .service(resource("/readyz", &["get"]).route(web::get().to(readyz)))
        .service(resource("/metrics", &["get"]).route(web::get().to(metrics)))
        .service(resource("/openapi.json", &["get"]).route(web::get().to(openapi)))
        .default_service(web::to(nothing_here));
}

async fn validate(
    state: web::Data<State>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    let mut payload = payload.into_inner();
    let question = web::Json::<Question>::from_request(&request, &mut payload);
    match tokio::time::timeout(state.body_time, question).await {
        Ok(question) => Ok(answer(&state, &question?.into_inner()).await),
        Err(_) => {
            let code = RefusalCode::RequestMalformed;
            let detail = "the body did not come in time";
            Ok(problem(StatusCode::REQUEST_TIMEOUT, code, Some(detail)))
        }
    }
}

async fn answer(state: &State, question: &Question) -> HttpResponse {
    let network = question.address.map_or(Network::Local, Network::Address);
    let outcome = judge(&state.validator, question).await;
    let age = state.validator.trust_age();
    let verifier = state.validator.verifier();
    match outcome {
        Ok(admission) => {
            state.answers.inc(&["allow"]);
            note(&state.observer, &admission, network, &question.client_id);
            HttpResponse::Ok().json(Answer::allow(&admission, verifier, age))
        }
        Err(refusal) => {
            state.answers.inc(&[refusal.code.as_str()]);
            if let Some(subject) = &refusal.subject {
                state.observer.observe_refusal(subject, refusal.code, network);
            }
            HttpResponse::Ok().json(Answer::refuse(&refusal, verifier, age))
        }
    }
}

async fn judge(validator: &Validator, question: &Question) -> Result<Admission, Refusal> {
    let password = encoding::from_base64url(&question.password);
    let password = password.ok_or(RefusalCode::CredentialMalformed)?;
    validator.admit(&password, &question.client_id).await
}

/// The session itself is elsewhere: only that it began is known.
fn note(observer: &Observer, admission: &Admission, network: Network, client: &str) {
    let grant = &admission.grant;
    let device = observer.device(grant);
    let new = NewConnection { client, ..NewConnection::of(grant, network) };
    let connection = observer.connected(&device, &new);
    observer.disconnected(&device, connection, true);
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
    HttpResponse::Ok().content_type("application/json").body(OPENAPI)
}

async fn metrics(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(state.metrics.render())
}

fn bad_body(error: JsonPayloadError, _: &HttpRequest) -> actix_web::Error {
    let too_large = matches!(
        error,
        JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. }
    );
    let (status, code) = match &error {
        _ if too_large => (StatusCode::PAYLOAD_TOO_LARGE, RefusalCode::LimitReached),
        JsonPayloadError::ContentType => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, RefusalCode::RequestMalformed)
        }
        _ => (StatusCode::BAD_REQUEST, RefusalCode::RequestMalformed),
    };
    let answer = problem(status, code, Some(&error.to_string()));
    actix_web::error::InternalError::from_response(error, answer).into()
}
