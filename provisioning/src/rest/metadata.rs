//! Metadata of the authorization server (RFC 8414). The endpoints that it announces are those that say so in the table.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::{json, Map, Value};
use tessera_token::refusal::RefusalCode;

use super::endpoint::Endpoint;
use super::input::{Admitted, App};
use super::Answer;
use crate::refused::Refused;

/// Members that announce an endpoint, and its path.
static ANNOUNCED: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let endpoints = super::table().into_iter();
    endpoints.filter_map(|one| one.announced.map(|member| (member, one.path))).collect()
});

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![Endpoint::get("/.well-known/oauth-authorization-server", authorization_server)
        .summary("Metadata of the authorization server (RFC 8414)")
        .answers(200, "Metadata", "ServerMetadata")
        .refuses(&[RefusalCode::NotFound])]
}

/// Members that do not depend on where the service is.
fn fixed() -> [(&'static str, Value); 5] {
    [
        // x.
        ("response_types_supported", json!([])),
        ("grant_types_supported", json!(["client_credentials", "refresh_token"])),
        ("token_endpoint_auth_methods_supported", json!(["tessera_proof", "none"])),
        // Accounts show their token as in RFC 6750.
        ("introspection_endpoint_auth_methods_supported", json!(["Bearer"])),
        ("ace_profiles_supported", json!(["mqtt_tls"])),
    ]
}

pub(super) async fn authorization_server(_admitted: Admitted, app: App) -> Answer {
    let Some(origin) = &app.config.public_origin else {
        let why = "the service does not know its public address: set provisioning.public_origin";
        return Err(Refused::because(RefusalCode::NotFound, why).into());
    };
    Ok(HttpResponse::Ok().json(document(origin)))
}

fn document(origin: &str) -> Map<String, Value> {
    let endpoints =
        ANNOUNCED.iter().map(|(member, path)| (*member, json!(format!("{origin}{path}"))));
    let issuer = std::iter::once(("issuer", json!(origin)));
    let members = issuer.chain(endpoints).chain(fixed());
    members.map(|(name, value)| (name.to_owned(), value)).collect()
}
