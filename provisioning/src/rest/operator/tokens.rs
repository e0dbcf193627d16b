use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::json;
use tessera_token::encoding::from_base64url;
use tessera_token::hash::TokenHash;

use crate::refused::Refused;
use crate::rest::auth::{By, Security};
use crate::rest::input::{id, App, Json};
use crate::rest::Answer;
use crate::revoke as revocation;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// RFC 9770 token hash, 33 bytes as base64url.
    token_hash: String,
}

pub(crate) async fn revoke(
    by: By<Security>,
    app: App,
    path: Path<String>,
    Json(which): Json<Which>,
) -> Answer {
    let bytes = from_base64url(&which.token_hash).and_then(|bytes| bytes.try_into().ok());
    let hash = bytes.map(TokenHash::from_bytes);
    let hash = hash.ok_or_else(|| Refused::malformed("token_hash is 33 bytes as base64url"))?;
    let revoked = revocation::token(&app, &by.operator().actor(), &id(&path)?, hash).await?;
    let record = revoked.record;
    Ok(HttpResponse::Ok().json(json!({
        "device": record.device,
        "ended": revoked.ended.as_str(),
        "serial": revoked.serial,
        "issued": record.issued,
        "expires": record.expires,
    })))
}
