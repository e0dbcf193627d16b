use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use tessera_token::refusal::RefusalCode;

use super::input::App;
use super::told;

/// Counts and times every request by its route, and every refusal by its code.
pub(crate) async fn measure(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let app = request.app_data::<App>().cloned();
    let method = request.method().as_str().to_owned();
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let Some(app) = app else {
        return next.call(request).await;
    };
    let start = app.clock.monotonic();
    let response = next.call(request).await?;
    let status = response.status().as_u16().to_string();
    let elapsed = app.clock.monotonic().saturating_sub(start).as_secs_f64();
    app.metrics.requests.inc(&[&method, &route, &status]);
    app.metrics.seconds.observe(&[&route], elapsed);
    if let Some(code) = response.response().extensions().get::<RefusalCode>() {
        app.metrics.refusals.inc(&[code.as_str()]);
        told::refused(response.request(), &method, &route, *code);
    }
    Ok(response)
}
