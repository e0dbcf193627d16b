//! Refused requests of operators in the audit log. Requests without a right token are only counted: a guesser writes nothing.

use actix_web::http::Method;
use actix_web::{HttpMessage, HttpRequest};
use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use super::input::App;
use crate::audit::Actor;
use crate::operators::Operator;

/// The operator of a request, for its entry.
#[derive(Clone)]
struct Asked {
    actor: Actor,
    tenant: String,
}

/// Leaves with the request who it is of. A tenant that is not the operator's gets no entry: the one of the operator does.
pub(super) fn note(request: &HttpRequest, operator: &Operator) {
    let named = request.match_info().get("tenant").filter(|tenant| operator.tenants.cover(tenant));
    // Any text may stand in the path.
    let named = named.filter(|tenant| TenantId::parse(tenant).is_ok());
    let tenant = named.unwrap_or(operator.tenants.single()).to_owned();
    request.extensions_mut().insert(Asked { actor: operator.actor(), tenant });
}

/// Takes that back, once the operator is known to have the right: what is refused from here on is of another peer.
pub(super) fn forget(request: &HttpRequest) {
    request.extensions_mut().remove::<Asked>();
}

/// Writes the entry of a refused request. The answer does not depend on whether it could be written.
pub(super) async fn refused(app: &App, request: &HttpRequest, code: RefusalCode) {
    let asked = request.extensions().get::<Asked>().cloned();
    let Some(Asked { actor, tenant }) = asked.filter(|_| counts(request.method(), code)) else {
        return;
    };
    if !app.attempts.is_told(&actor.name, &tenant, app.clock.monotonic()) {
        return;
    }
    let subject = format!("{} {}", request.method(), request.path());
    let entry = app.entry(&actor, "request.refused", &tenant, &subject).refused(code);
    if let Err(refused) = app.write(Batch::new(), entry).await {
        tracing::warn!(code = %refused.code, "a refused request was not audited");
    }
}

/// Requests that would change something, and those beyond the rights of the account. Faults of the service are no attempts.
fn counts(method: &Method, code: RefusalCode) -> bool {
    let is_fault = matches!(
        code,
        RefusalCode::NotReady
            | RefusalCode::Internal
            | RefusalCode::RateLimited
            | RefusalCode::ClockWrong
            | RefusalCode::IssuerKeyMissing
    );
    let is_beyond = matches!(code, RefusalCode::OperatorNotAllowed | RefusalCode::TenantUnknown);
    !is_fault && (is_beyond || !matches!(*method, Method::GET | Method::HEAD))
}
