use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tessera_token::cbor::Writer;
use tessera_token::encoding::{base64url, hex};
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::refusal::RefusalCode;

use crate::keys::of_tenant;
use crate::records::keys::{KeyRecord, State};
use crate::refused::Refused;
use crate::registry::tenants;
use crate::rest::auth::{By, Security, Viewer};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::input::{id, Admitted, App, Query};
use crate::rest::operator::revoked::{self, Waits};
use crate::rest::Answer;
use crate::revoke::taken::follow;
use crate::rotation::{self, schedule};
use crate::service::Service;
use tessera_token::trust::Change;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/.well-known/cose-key-set", well_known)
            .summary("Public issuer keys of a tenant as COSE_KeySet")
            .query("tenant", "", schema::tenant_or("default"))
            .sends(200, "COSE_KeySet", vec![schema::plain("application/cose-key-set")])
            .refuses(&[RefusalCode::TenantUnknown]),
        Endpoint::get("/v1/tenants/{tenant}/keys", list).summary("List issuer keys").done("Keys"),
        Endpoint::post("/v1/tenants/{tenant}/keys/rotate", rotate)
            .summary("Promote the next issuer key and publish a new next one")
            .done("Rotated")
            .refuses(&[RefusalCode::CapacityReached]),
        Endpoint::post("/v1/tenants/{tenant}/keys/{key}/compromise", compromise)
            .summary("Withdraw an issuer key at once")
            .waits()
            .done("RevokedKey")
            .refuses(&[RefusalCode::NotFound, RefusalCode::CapacityReached]),
    ]
}

#[derive(Serialize)]
struct KeyView {
    key: String,
    state: State,
    /// The Ed25519 public key, base64url.
    x: String,
    created: u64,
    since: u64,
    not_before: u64,
    not_after: u64,
    /// When it leaves its state by the schedule.
    until: Option<u64>,
    /// The token of a security module that has it, and its object there.
    module: Option<ModuleView>,
}

#[derive(Serialize)]
struct ModuleView {
    token: String,
    object: String,
}

impl KeyView {
    fn new(key: KeyId, record: &KeyRecord, until: Option<u64>) -> Self {
        Self {
            key: key.to_string(),
            state: record.state,
            x: base64url(&record.public),
            created: record.created,
            since: record.since,
            not_before: record.not_before,
            not_after: record.not_after,
            until,
            module: record.module.as_ref().map(|module| ModuleView {
                token: module.token.clone(),
                object: hex::encode(module.object),
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whose {
    #[serde(default)]
    tenant: Option<String>,
}

/// The keys that verify tokens of a tenant, as a COSE_KeySet (RFC 9052 section 7): array of COSE_Key with `kid`.
pub(crate) async fn well_known(
    _admitted: Admitted,
    app: App,
    Query(whose): Query<Whose>,
) -> Answer {
    let tenant: TenantId = id(whose.tenant.as_deref().unwrap_or("default"))?;
    tenants::with_keys(&app, &tenant).await?;
    let keys: Vec<_> = of_tenant(&app.tables, &tenant)
        .await?
        .into_iter()
        .filter(|(_, record)| matches!(record.state, State::Next | State::Active | State::Retiring))
        .collect();
    let mut w = Writer::new();
    w.array(keys.len());
    for (kid, record) in &keys {
        w.map(5).int(1).int(1).int(2).bytes(kid.as_bytes()).int(3).int(-19);
        w.int(-1).int(6).int(-2).bytes(&record.public);
    }
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "max-age=60"))
        .content_type("application/cose-key-set")
        .body(w.finish()))
}

pub(crate) async fn list(_by: By<Viewer>, app: App, path: Path<String>) -> Answer {
    let tenant: TenantId = id(&path)?;
    let record = tenants::with_keys(&app, &tenant).await?;
    let keys = of_tenant(&app.tables, &tenant).await?;
    let ends = schedule::ends(&app, &tenant, &record, &keys);
    let views = keys.iter().zip(ends);
    let items: Vec<_> =
        views.map(|((id, record), until)| KeyView::new(*id, record, until)).collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next": null })))
}

pub(crate) async fn rotate(by: By<Security>, app: App, path: Path<String>) -> Answer {
    let (by, tenant) = (by.operator().actor(), id(&path)?);
    let rotated = async move {
        let rotated = rotation::rotate(&app, &by, &tenant).await?;
        app.metrics.key_rotations.inc(&["operator"]);
        Ok(rotated)
    };
    let rotated = Service::to_its_end(rotated).await?;
    let text = |key: Option<KeyId>| key.map(|key| key.to_string());
    let body = json!({ "active": text(rotated.active), "next": text(rotated.next) });
    Ok(HttpResponse::Ok().json(body))
}

pub(crate) async fn compromise(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    Query(Waits { wait }): Query<Waits>,
) -> Answer {
    let (name, key) = path.into_inner();
    let following = follow(&app, &by.operator().share(), wait).await?;
    let bytes = hex::decode(&key).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    let key = bytes.map(KeyId::from_bytes).ok_or_else(|| Refused::from(RefusalCode::NotFound))?;
    let (by, tenant, service) = (by.operator().actor(), id(&name)?, app.clone());
    Service::to_its_end(async move { rotation::compromise(&service, &by, &tenant, key).await })
        .await?;
    let is_it = |change: &Change| match change {
        Change::Key(one) => one.tenant.as_str() == name && one.key.key_id() == key,
        _ => false,
    };
    let taken = following.taken(&app, &name, is_it).await?;
    Ok(revoked::answer(json!({ "key": key.to_string() }), taken))
}
