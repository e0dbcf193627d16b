//! The door: HTTP/1.1, JSON for people, `application/ace+cbor` or JSON for devices. One file per resource.

use actix_web::{web, HttpResponse};
use serde::Serialize;
use tessera_token::refusal::RefusalCode;

use crate::registry::Page;
use problem::Problem;

pub(crate) mod measure;

mod auth;
mod input;
mod problem;

mod device_json;
mod devices_door;

mod trust;

mod audit;
mod claims;
mod devices;
mod groups;
mod keys;
mod operators;
mod roles;
mod server;
mod tenants;
mod tokens;
mod told;

#[cfg(test)]
mod tests;

macro_rules! routes {
    ($($method:ident $path:literal => $handler:path;)*) => {
        /// Every route, for the check against the served document.
        #[cfg(test)]
        pub(crate) const ROUTES: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        /// Puts every route in place.
        pub(crate) fn configure(config: &mut web::ServiceConfig) {
            $(config.route($path, web::$method().to($handler));)*
        }
    };
}

routes! {
    post "/v1/enrol/nonce" => devices_door::nonce;
    post "/v1/enrol" => devices_door::enrol;
    post "/v1/token" => devices_door::token;

    get "/v1/trust/snapshot" => trust::snapshot;
    get "/v1/trust/events" => trust::events;
    post "/v1/trust/known" => trust::known;
    get "/v1/trust/restored" => trust::restored;
    delete "/v1/trust/restored" => trust::looked_at;
    get "/.well-known/cose-key-set" => keys::well_known;

    get "/v1/whoami" => server::whoami;
    get "/v1/operators" => operators::list;
    post "/v1/operators" => operators::create;
    delete "/v1/operators/{operator}" => operators::delete;
    get "/v1/tenants" => tenants::list;
    post "/v1/tenants" => tenants::create;
    get "/v1/tenants/{tenant}" => tenants::show;
    put "/v1/tenants/{tenant}" => tenants::set;
    post "/v1/tenants/{tenant}/revoke" => tenants::revoke;
    post "/v1/tenants/{tenant}/reinstate" => tenants::reinstate;
    get "/v1/tenants/{tenant}/roles" => roles::list;
    put "/v1/tenants/{tenant}/roles/{role}" => roles::put;
    get "/v1/tenants/{tenant}/groups" => groups::list;
    post "/v1/tenants/{tenant}/groups" => groups::create;
    post "/v1/tenants/{tenant}/groups/{group}/revoke" => groups::revoke;
    get "/v1/tenants/{tenant}/claims" => claims::list;
    post "/v1/tenants/{tenant}/claims" => claims::create;
    delete "/v1/tenants/{tenant}/claims/{claim}" => claims::delete;
    get "/v1/tenants/{tenant}/devices" => devices::list;
    get "/v1/tenants/{tenant}/devices/{device}" => devices::show;
    post "/v1/tenants/{tenant}/devices/{device}/revoke" => devices::revoke;
    post "/v1/tenants/{tenant}/devices/{device}/reinstate" => devices::reinstate;
    get "/v1/tenants/{tenant}/keys" => keys::list;
    post "/v1/tenants/{tenant}/keys/rotate" => keys::rotate;
    post "/v1/tenants/{tenant}/keys/{key}/compromise" => keys::compromise;
    post "/v1/tenants/{tenant}/tokens/revoke" => tokens::revoke;
    get "/v1/audit" => audit::list;
    get "/v1/audit/head" => audit::head;

    get "/healthz" => server::healthz;
    get "/readyz" => server::readyz;
    get "/metrics" => server::metrics;
    get "/openapi.json" => server::openapi;
}

/// Everything that is no route.
pub(crate) async fn nothing_here() -> Result<HttpResponse, Problem> {
    Err(RefusalCode::NotFound.into())
}

/// What an operator's handler returns.
type Answer = Result<HttpResponse, Problem>;

#[derive(Serialize)]
struct ListAnswer<T> {
    items: Vec<T>,
    next: Option<String>,
}

fn page<T, U: Serialize>(page: Page<T>, show: impl FnMut(T) -> U) -> HttpResponse {
    HttpResponse::Ok()
        .json(ListAnswer { items: page.items.into_iter().map(show).collect(), next: page.next })
}
