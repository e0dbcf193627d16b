use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tessera_token::refusal::RefusalCode;

use crate::records::ways::DeniedCertificate;
use crate::registry::ways::denied;
use crate::rest::auth::{By, Security, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{list_of, Answer};

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/denied-certificates", list)
            .summary("List the certificates that let no device enrol")
            .paged()
            .done("DeniedCertificates"),
        Endpoint::post("/v1/tenants/{tenant}/denied-certificates", add)
            .summary("Deny a certificate")
            .body("NewDeniedCertificate")
            .answers(201, "Denied", "DeniedCertificate"),
        Endpoint::delete("/v1/tenants/{tenant}/denied-certificates/{certificate}", delete)
            .summary("Take a certificate off the deny list")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Serialize)]
struct DeniedView {
    certificate: String,
    created: u64,
    by: String,
}

impl DeniedView {
    fn new(certificate: String, record: DeniedCertificate) -> Self {
        Self { certificate, created: record.created, by: record.by }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDenied {
    /// `sha256:` and the fingerprint, or `serial:` and the serial number, in hexadecimal digits.
    certificate: String,
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let show = |(name, record)| DeniedView::new(name, record);
    list_of(&app, &path, &app.tables.denied_certificates, &query, show).await
}

pub(crate) async fn add(
    by: By<Security>,
    app: App,
    path: Path<String>,
    Json(body): Json<NewDenied>,
) -> Answer {
    let by = by.operator().actor();
    let (name, added) = denied::add(&app, &by, &id(&path)?, &body.certificate).await?;
    Ok(HttpResponse::Created().json(DeniedView::new(name, added)))
}

pub(crate) async fn delete(by: By<Security>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, certificate) = path.into_inner();
    denied::delete(&app, &by.operator().actor(), &id(&tenant)?, &certificate).await?;
    Ok(HttpResponse::NoContent().finish())
}
