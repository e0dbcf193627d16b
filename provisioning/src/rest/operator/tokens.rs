use actix_web::web::Path;
use serde::{Deserialize, Serialize};
use tessera_token::encoding::from_base64url;
use tessera_token::hash::TokenHash;
use tessera_token::refusal::RefusalCode;

use crate::refused::Refused;
use crate::rest::auth::{By, Security};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json, Query};
use crate::rest::operator::revoked::{self, Waits};
use crate::rest::revoke::revoked_by;
use crate::rest::Answer;
use crate::revoke::taken::follow;
use crate::revoke::{self as revocation, shown, Named, Revoked};

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![Endpoint::post("/v1/tenants/{tenant}/tokens/revoke", revoke)
        .summary("Revoke one token by its hash")
        .waits()
        .body("TokenHash")
        .done("RevokedToken")
        .refuses(&[
            RefusalCode::NotFound,
            RefusalCode::CapacityReached,
            RefusalCode::TokenTooLarge,
            RefusalCode::TokenMalformed,
            RefusalCode::TokenForm,
            RefusalCode::TokenHeader,
            RefusalCode::AlgorithmNotAllowed,
            RefusalCode::ClaimsMalformed,
            RefusalCode::KeyUnknown,
            RefusalCode::SignatureInvalid,
        ])]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// RFC 9770 token hash, 33 bytes as base64url.
    #[serde(default)]
    token_hash: Option<String>,
    /// The token itself, as base64url: it is found at once.
    #[serde(default)]
    token: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct RevokedView {
    device: String,
    ended: &'static str,
    serial: u64,
    issued: u64,
    expires: u64,
}

impl RevokedView {
    pub(crate) fn new(Revoked { serial, record, ended }: Revoked) -> Self {
        Self {
            device: record.device,
            ended: ended.as_str(),
            serial,
            issued: record.issued,
            expires: record.expires,
        }
    }
}

pub(crate) async fn revoke(
    by: By<Security>,
    app: App,
    path: Path<String>,
    Query(Waits { wait }): Query<Waits>,
    Json(which): Json<Which>,
) -> Answer {
    let (actor, tenant) = (by.operator().actor(), id(&path)?);
    let following = follow(&app, &by.operator().share(), wait).await?;
    let ended = match which {
        Which { token_hash: Some(hash), token: None } => {
            let bytes = from_base64url(&hash).and_then(|bytes| bytes.try_into().ok());
            let hash = bytes.map(TokenHash::from_bytes);
            let hash =
                hash.ok_or_else(|| Refused::malformed("token_hash is 33 bytes as base64url"))?;
            revocation::token(&app, &actor, &tenant, Named::Hash(hash)).await?
        }
        Which { token_hash: None, token: Some(token) } => {
            let bytes = from_base64url(&token);
            let bytes = bytes.ok_or_else(|| Refused::malformed("token is base64url"))?;
            let shown = shown::ours(&app, &bytes).await?;
            if shown.tenant != tenant {
                return Err(RefusalCode::NotFound.into());
            }
            revocation::token(&app, &actor, &tenant, Named::Token(&shown)).await?
        }
        _ => return Err(Refused::malformed("send either token_hash or token").into()),
    };
    let hash = TokenHash::from_bytes(ended.record.hash);
    let is_it = revoked_by(&path, &ended.record.device, &hash);
    let taken = following.taken(&app, &path, is_it).await?;
    Ok(revoked::answer(RevokedView::new(ended), taken))
}
