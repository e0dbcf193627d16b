//! One line at `info` for each request that is refused. `docs/logs.md` lists the fields; the log bounds the lines by
//! place and code.

use actix_web::{HttpMessage, HttpRequest};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;

use tessera_runtime::proxy::entrance::Entrance;

use super::input::{address, entrance};

/// The tenant and device that a request names. Their ids are short and of plain characters.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) tenant: TenantId,
    pub(super) device: DeviceId,
}

/// The line about this request is there.
struct Written;

/// Writes the line of a stranger's request with the true code, before the answer that tells another.
pub(super) fn stranger(request: &HttpRequest, truth: RefusalCode) {
    let route = request.match_pattern().unwrap_or_default();
    line(request, request.method().as_str(), &route, truth);
    request.extensions_mut().insert(Written);
}

/// Writes the line, unless it is there.
pub(super) fn refused(request: &HttpRequest, method: &str, route: &str, code: RefusalCode) {
    if !request.extensions().contains::<Written>() {
        line(request, method, route, code);
    }
}

fn line(request: &HttpRequest, method: &str, route: &str, code: RefusalCode) {
    let shown = request.extensions().get::<Shown>().cloned();
    let transport = entrance(request).map_or("http", Entrance::transport);
    // Each kind is a place of its own: a flood of one takes no line from another.
    macro_rules! line {
        ($message:literal) => {
            tracing::info!(
                %code,
                shown_tenant = shown.as_ref().map(|shown| display(&shown.tenant)),
                shown_device = shown.as_ref().map(|shown| display(&shown.device)),
                address = %address(request),
                transport,
                %method,
                %route,
                $message
            )
        };
    }
    match route {
        "/v1/enrol" => line!("enrolment refused"),
        "/v1/enrol/check" => line!("claim code refused"),
        "/v1/token" | "/token" => line!("token request refused"),
        _ => line!("request refused"),
    }
}
