use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use tessera_runtime::x509;
use tessera_token::refusal::RefusalCode;

use super::rights;
use crate::records::ways::{AuthorityRecord, IdFrom};
use crate::registry::ways::authorities;
use crate::rest::auth::{By, Security, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{list_of, Answer};

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/authorities", list)
            .summary("List the authorities of manufacturers")
            .paged()
            .done("Authorities"),
        Endpoint::post("/v1/tenants/{tenant}/authorities", add)
            .summary("Let devices enrol by certificates of an authority")
            .body("NewAuthority")
            .answers(201, "Added", "Authority")
            .refuses(&[RefusalCode::CertificateInvalid, RefusalCode::AlreadyExists])
            .refuses(super::RIGHTS),
        Endpoint::delete("/v1/tenants/{tenant}/authorities/{authority}", delete)
            .summary("Remove an authority: no further device enrols by its certificates")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Serialize)]
struct AuthorityView {
    authority: String,
    subject: String,
    role: String,
    group: String,
    id_from: IdFrom,
    not_after: Option<u64>,
    created: u64,
    by: String,
}

impl AuthorityView {
    fn new(authority: String, record: AuthorityRecord) -> Self {
        Self {
            authority,
            subject: x509::subject(&record.certificate).unwrap_or_default(),
            not_after: x509::not_after(&record.certificate).map(|time| time.get()),
            role: record.role,
            group: record.group,
            id_from: record.id_from,
            created: record.created,
            by: record.by,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAuthority {
    /// PEM.
    certificate: String,
    role: String,
    #[serde(default)]
    group: Option<String>,
    #[serde(default = "common_name")]
    id_from: IdFrom,
}

fn common_name() -> IdFrom {
    IdFrom::CommonName
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let show = |(name, record)| AuthorityView::new(name, record);
    list_of(&app, &path, &app.tables.authorities, &query, show).await
}

pub(crate) async fn add(
    by: By<Security>,
    app: App,
    path: Path<String>,
    Json(body): Json<NewAuthority>,
) -> Answer {
    let (by, rights) = (by.operator().actor(), rights(&body.role, body.group.as_deref())?);
    let (pem, from) = (&body.certificate, body.id_from);
    let added = authorities::add(&app, &by, &id(&path)?, pem, &rights, from).await?;
    Ok(HttpResponse::Created().json(AuthorityView::new(added.0, added.1)))
}

pub(crate) async fn delete(by: By<Security>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, authority) = path.into_inner();
    authorities::delete(&app, &by.operator().actor(), &id(&tenant)?, &authority).await?;
    Ok(HttpResponse::NoContent().finish())
}
