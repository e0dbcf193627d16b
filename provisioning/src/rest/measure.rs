use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::ResponseError;
use tessera_token::refusal::RefusalCode;

use super::attempts;
use super::in_url::has_secret;
use super::input::App;
use super::problem::Problem;
use super::told;
use crate::refused::Refused;

/// Counts and times every request by its route, and every refusal by its code.
pub(crate) async fn measure(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let app = request.app_data::<App>().cloned();
    let method = request.method().as_str().to_owned();
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let Some(app) = app else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let start = app.clock.monotonic();
    let response = match has_secret(request.path(), request.query_string()) {
        true => request.into_response(in_url().error_response()).map_into_right_body(),
        false => next.call(request).await?.map_into_left_body(),
    };
    let status = response.status().as_u16().to_string();
    let elapsed = app.clock.monotonic().saturating_sub(start).as_secs_f64();
    app.metrics.requests.inc(&[&method, &route, &status]);
    app.metrics.seconds.observe(&[&route], elapsed);
    if let Some(code) = response.response().extensions().get::<RefusalCode>() {
        app.metrics.refusals.inc(&[code.as_str()]);
        // As it is answered, where the line of the log has the true one.
        tracing::trace!(%method, %route, %code, "refused");
        told::refused(response.request(), &method, &route, *code);
    }
    let code = response.response().extensions().get::<RefusalCode>().copied();
    if let Some(code) = code {
        attempts::refused(&app, response.request(), code).await;
    }
    Ok(response)
}

fn in_url() -> Problem {
    let why = "a token, a code or a password does not belong in a URL, where logs and histories keep it: send tokens in \
               the header Authorization, and replace this one";
    Refused::malformed(why).into()
}
