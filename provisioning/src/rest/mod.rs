//! REST over HTTP/1.1: JSON for people ([`operator`]), `application/ace+cbor` or JSON for devices ([`device`]), CBOR for
//! readers of the trust feed ([`trust`]). One file per resource; the route table names each.

use actix_web::{web, HttpResponse};
use serde::Serialize;
pub(crate) use tessera_runtime::http::server::nothing_here;
use tessera_runtime::http::server::resource;
use tessera_runtime::sql::{Record, Table};

use crate::records::Page;
use crate::registry::tenants as owners;
use device::{ace, endpoints};
use input::{id, App, PageQuery};
use operator::ways::{self, approvals, authorities, denied, group_keys, listed_ids, listed_keys};
use operator::{
    api_tokens, audit, claims, devices, events, groups, history, imports, keys, operators,
    partners, rekeys, roles, status, suspension, tenants, tokens, verifiers, webhooks,
};
use problem::Problem;

pub(crate) mod measure;

mod attempts;
mod attributes;
mod auth;
mod etag;
mod flow;
mod gate;
mod in_url;
mod input;
mod lines;
mod once;
mod problem;

mod device;
mod operator;

mod introspect;
mod partner_uses;
mod revoke;
mod trl;
mod trust;

mod metadata;
mod server;
mod told;

#[cfg(test)]
mod tests;

macro_rules! routes {
    ($($path:literal => $($method:ident $handler:path),+;)*) => {
        /// Every route, for the check against the served document.
        #[cfg(test)]
        pub(crate) const ROUTES: &[(&str, &str)] =
            &[$($((stringify!($method), $path)),+),*];

        /// Puts every route in place.
        pub(crate) fn configure(config: &mut web::ServiceConfig) {
            $(config.service(
                resource($path, &[$(stringify!($method)),+])
                    $(.route(web::$method().to($handler)))+,
            );)*
        }
    };
}

routes! {
    "/v1/enrol/nonce" => post endpoints::nonce;
    "/v1/enrol" => post endpoints::enrol;
    "/v1/enrol/check" => post endpoints::check;
    "/v1/token" => post endpoints::token;
    "/revoke" => post revoke::revoke;
    "/revoke/trl" => get trl::list;
    "/introspect" => post introspect::introspect;
    "/token" => post ace::token;
    "/v1/rekey" => post endpoints::rekey;
    "/v1/trust/snapshot" => get trust::snapshot;
    "/v1/trust/events" => get trust::events;
    "/v1/trust/known" => post trust::known;
    "/v1/trust/verifiers" => get verifiers::list;
    "/v1/trust/partner-uses" => post partner_uses::report;
    "/v1/trust/restored" => get trust::restored, delete trust::looked_at;
    "/.well-known/cose-key-set" => get keys::well_known;
    "/.well-known/oauth-authorization-server" => get metadata::authorization_server;
    "/v1/whoami" => get server::whoami;
    "/v1/operators" => get operators::list, post operators::create;
    "/v1/operators/{operator}" => get operators::show, delete operators::delete;
    "/v1/api-tokens" => get api_tokens::list, post api_tokens::create;
    "/v1/api-tokens/{api_token}" => delete api_tokens::delete;
    "/v1/tenants" => get tenants::list, post tenants::create;
    "/v1/tenants/{tenant}" => get tenants::show, put tenants::set;
    "/v1/tenants/{tenant}/revoke" => post tenants::revoke;
    "/v1/tenants/{tenant}/reinstate" => post tenants::reinstate;
    "/v1/tenants/{tenant}/roles" => get roles::list;
    "/v1/tenants/{tenant}/roles/{role}" =>
        get roles::show, put roles::put, patch roles::change, delete roles::delete;
    "/v1/tenants/{tenant}/roles/{role}/preview" => get roles::preview;
    "/v1/tenants/{tenant}/groups" => get groups::list, post groups::create;
    "/v1/tenants/{tenant}/groups/{group}" => get groups::show, patch groups::change;
    "/v1/tenants/{tenant}/groups/{group}/revoke" => post groups::revoke;
    "/v1/tenants/{tenant}/groups/{group}/suspend" => post suspension::group;
    "/v1/tenants/{tenant}/groups/{group}/reinstate" => post suspension::reinstate_group;
    "/v1/tenants/{tenant}/groups/{group}/ways" => get ways::show, put ways::set;
    "/v1/tenants/{tenant}/listed-keys" => get listed_keys::list, post listed_keys::add;
    "/v1/tenants/{tenant}/listed-keys/{device}" => delete listed_keys::delete;
    "/v1/tenants/{tenant}/group-keys" => get group_keys::list, post group_keys::create;
    "/v1/tenants/{tenant}/group-keys/{group_key}" => delete group_keys::delete;
    "/v1/tenants/{tenant}/group-keys/{group_key}/rotate" => post group_keys::rotate;
    "/v1/tenants/{tenant}/group-keys/{group_key}/secondary" => delete group_keys::drop_secondary;
    "/v1/tenants/{tenant}/group-keys/{group_key}/devices" =>
        get listed_ids::list, post listed_ids::add;
    "/v1/tenants/{tenant}/group-keys/{group_key}/devices/{device}" => delete listed_ids::delete;
    "/v1/tenants/{tenant}/authorities" => get authorities::list, post authorities::add;
    "/v1/tenants/{tenant}/authorities/{authority}" => delete authorities::delete;
    "/v1/tenants/{tenant}/denied-certificates" => get denied::list, post denied::add;
    "/v1/tenants/{tenant}/denied-certificates/{certificate}" => delete denied::delete;
    "/v1/tenants/{tenant}/approvals" => get approvals::list;
    "/v1/tenants/{tenant}/approvals/{approval}" => delete approvals::delete;
    "/v1/tenants/{tenant}/approvals/{approval}/approve" => post approvals::approve;
    "/v1/tenants/{tenant}/approvals/{approval}/refuse" => post approvals::refuse;
    "/v1/tenants/{tenant}/claims" => get claims::list, post claims::create;
    "/v1/tenants/{tenant}/claims/{claim}" => get claims::show, delete claims::delete;
    "/v1/tenants/{tenant}/devices" => get devices::list;
    "/v1/tenants/{tenant}/import/devices" => post imports::import;
    "/v1/tenants/{tenant}/export/devices" => get imports::export;
    "/v1/tenants/{tenant}/export/claims" => get imports::export_claims;
    "/v1/tenants/{tenant}/devices/{device}" =>
        get devices::show, patch devices::change, delete devices::delete;
    "/v1/tenants/{tenant}/devices/{device}/revoke" => post devices::revoke;
    "/v1/tenants/{tenant}/devices/{device}/suspend" => post suspension::device;
    "/v1/tenants/{tenant}/devices/{device}/reinstate" => post devices::reinstate;
    "/v1/tenants/{tenant}/devices/{device}/history" => get history::list;
    "/v1/tenants/{tenant}/devices/{device}/rekey/approve" => post rekeys::approve;
    "/v1/tenants/{tenant}/devices/{device}/rekey/refuse" => post rekeys::refuse;
    "/v1/tenants/{tenant}/rekeys" => get rekeys::list;
    "/v1/tenants/{tenant}/keys" => get keys::list;
    "/v1/tenants/{tenant}/keys/rotate" => post keys::rotate;
    "/v1/tenants/{tenant}/keys/{key}/compromise" => post keys::compromise;
    "/v1/tenants/{tenant}/tokens/revoke" => post tokens::revoke;
    "/v1/tenants/{tenant}/partner-tokens" => get partners::list, post partners::create;
    "/v1/tenants/{tenant}/partner-tokens/{partner_token}" => delete partners::delete;
    "/v1/tenants/{tenant}/partner-tokens/{partner_token}/uses" => get partners::uses;
    "/v1/tenants/{tenant}/webhooks" => get webhooks::list, post webhooks::create;
    "/v1/tenants/{tenant}/webhooks/{webhook}" =>
        get webhooks::show, patch webhooks::change, delete webhooks::delete;
    "/v1/tenants/{tenant}/webhooks/{webhook}/rotate" => post webhooks::rotate;
    "/v1/tenants/{tenant}/webhooks/{webhook}/test" => post webhooks::test;
    "/v1/tenants/{tenant}/webhooks/{webhook}/replay" => post webhooks::replay;
    "/v1/tenants/{tenant}/webhooks/{webhook}/attempts" => get webhooks::attempts;
    "/v1/tenants/{tenant}/status-list" => get status::list;
    "/v1/audit" => get audit::list;
    "/v1/audit/head" => get audit::head;
    "/v1/events" => get events::stream;
    "/healthz" => get server::healthz;
    "/readyz" => get server::readyz;
    "/metrics" => get server::metrics;
    "/openapi.json" => get server::openapi;
}

/// The outcome of an operator's handler.
type Answer = Result<HttpResponse, Problem>;

#[derive(Serialize)]
struct ListAnswer<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// The answer with a page of the rows that a tenant has in a table.
async fn list_of<R: Record, U: Serialize>(
    app: &App,
    tenant: &str,
    table: &Table<R>,
    query: &PageQuery,
    show: impl FnMut((String, R)) -> U,
) -> Answer {
    let at = (query.cursor.as_deref(), query.limit());
    Ok(page(owners::page_of(app, &id(tenant)?, table, at).await?, show))
}

fn page<T, U: Serialize>(page: Page<T>, show: impl FnMut(T) -> U) -> HttpResponse {
    HttpResponse::Ok()
        .json(ListAnswer { items: page.items.into_iter().map(show).collect(), next: page.next })
}
