//! REST over HTTP/1.1: JSON for people ([`operator`]), `application/ace+cbor` or JSON for devices ([`device`]), CBOR for
//! readers of the trust feed ([`trust`]). One file per resource, which begins with
//! its endpoints: the service takes its routes and the OpenAPI document from them ([`mod@endpoint`]).

use std::sync::LazyLock;

use actix_web::{web, HttpResponse};
use serde::Serialize;
pub(crate) use tessera_runtime::http::server::nothing_here;
use tessera_runtime::http::server::resource;
use tessera_runtime::sql::{Record, Table};

use crate::records::Page;
use crate::registry::tenants as owners;
use device::{ace, endpoints};
use endpoint::{document, Endpoint};
use input::{id, App, PageQuery};
use problem::Problem;

pub(crate) mod measure;

mod alerts;
mod attempts;
mod attributes;
mod auth;
mod endpoint;
mod etag;
mod evidence;
mod flow;
mod gate;
mod in_url;
mod input;
mod jwk;
mod lines;
mod once;
mod problem;

mod device;
mod operator;

mod introspect;
mod partner_uses;
mod report;
mod revoke;
mod rule_counts;
mod trl;
mod trust;

mod metadata;
mod server;
mod told;
mod unique;

/// Every endpoint of the service.
fn table() -> Vec<Endpoint> {
    [
        endpoints::table(),
        ace::table(),
        revoke::table(),
        trl::table(),
        introspect::table(),
        trust::table(),
        alerts::table(),
        evidence::table(),
        rule_counts::table(),
        partner_uses::table(),
        metadata::table(),
        server::table(),
        operator::table(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Puts every endpoint in place.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    let mut paths: Vec<(&str, Vec<Endpoint>)> = Vec::new();
    for endpoint in table() {
        match paths.iter_mut().find(|(path, _)| *path == endpoint.path) {
            Some((_, of_path)) => of_path.push(endpoint),
            None => paths.push((endpoint.path, vec![endpoint])),
        }
    }
    for (path, of_path) in paths {
        let methods: Vec<&str> = of_path.iter().map(|one| one.method.as_str()).collect();
        let place = resource(path, &methods);
        config.service(of_path.into_iter().fold(place, |place, one| place.route(one.route)));
    }
}

/// The OpenAPI document, as a service serves it at `/openapi.json`.
///
/// # Errors
/// The words of a fault in the schemas, which are a part of the program.
pub fn openapi() -> Result<&'static str, &'static str> {
    static DOCUMENT: LazyLock<Result<String, String>> =
        LazyLock::new(|| document::text(&table()).map_err(|fault| fault.to_string()));
    DOCUMENT.as_deref().map_err(String::as_str)
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
