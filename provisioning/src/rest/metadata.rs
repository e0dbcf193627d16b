//! Metadata of the authorization server (RFC 8414): generated from one table of what the service has.

use actix_web::HttpResponse;
use serde_json::{json, Map, Value};
use tessera_token::refusal::RefusalCode;

use super::input::{Admitted, App};
use super::Answer;
use crate::refused::Refused;

/// Members that announce an endpoint, and its path. A test asks each of them.
pub(super) const ENDPOINTS: &[(&str, &str)] =
    &[("token_endpoint", "/token"), ("introspection_endpoint", "/introspect")];

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
        ENDPOINTS.iter().map(|(member, path)| (*member, json!(format!("{origin}{path}"))));
    let issuer = std::iter::once(("issuer", json!(origin)));
    let members = issuer.chain(endpoints).chain(fixed());
    members.map(|(name, value)| (name.to_owned(), value)).collect()
}
