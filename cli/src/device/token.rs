use serde_json::json;
use tessera_runtime::random::SystemRandom;
use tessera_simulators::device::clock::DeviceClock;
use tessera_simulators::device::credential::HeldToken;
use tessera_simulators::device::unverified_claims::unverified_claims;
use tessera_token::claims::Claims;
use tessera_token::encoding::{base64url, hex};
use tessera_token::hash::TokenHash;
use tessera_token::messages::TokenKind;

use super::enrol::{clock, refused};
use super::folder::{Card, Folder};
use crate::args::TokenArgs;
use crate::error::{Fault, Outcome};
use crate::{output, time};

pub(super) async fn run(args: TokenArgs) -> Outcome {
    let folder = Folder::of(&args.folder);
    let card = folder.card()?;
    let clock = clock(&card);
    let token = match args.refresh {
        true => {
            let kind = match (args.bearer, args.pop) {
                (true, _) => TokenKind::Bearer,
                (false, Some(pop)) => pop.kind(),
                (false, None) => kind(&folder),
            };
            refresh(&folder, &card, &clock, kind).await?
        }
        false => folder.token()?,
    };
    let claims = unverified_claims(&token.bytes)
        .ok_or_else(|| Fault::new("the folder holds something that is no token"))?;
    let now = clock.now().get();
    match args.json {
        true => output::line(&format!("{:#}", as_json(&token, &claims))),
        false => output::write(&as_text(&token, &claims, now)),
    }
    Ok(0)
}

/// The kind of token that the folder holds. Bearer tokens are asked for by name alone.
pub(super) fn kind(folder: &Folder) -> TokenKind {
    match folder.token().map(|held| held.kind()) {
        Ok(TokenKind::Symmetric) => TokenKind::Symmetric,
        _ => TokenKind::Key,
    }
}

/// Gets a new token with the device key and keeps it.
pub(super) async fn refresh(
    folder: &Folder,
    card: &Card,
    clock: &DeviceClock,
    kind: TokenKind,
) -> Result<HeldToken, Fault> {
    let api = card.api()?;
    let identity = folder.identity(card)?;
    let answer = api.token(&identity, clock, &SystemRandom, kind).await;
    let token = HeldToken::of(&answer.map_err(|error| refused(&error))?);
    // In this order: nothing may be signed for an earlier token by the time of a later one.
    folder.keep_token(&token)?;
    folder.keep_card(&Card { clock_correction: clock.correction(), ..card.clone() })?;
    Ok(token)
}

fn as_json(token: &HeldToken, claims: &Claims) -> serde_json::Value {
    let scope: Vec<_> = claims
        .scope
        .entries()
        .iter()
        .map(|entry| json!([entry.filter.as_str(), entry.permission.words()]))
        .collect();
    let key = claims.confirmation.as_ref();
    json!({
        "tenant": claims.tenant.as_str(),
        "device": claims.device.as_str(),
        "audience": claims.audience.as_str(),
        "issued": claims.issued.get(),
        "expires": claims.expires.get(),
        "serial": hex::encode(claims.serial.as_bytes()),
        "scope": scope,
        "key_thumbprint": key.map(|key| base64url(key.thumbprint().as_bytes())),
        "bearer": token.bearer,
        "pop_key": token.kind().pop_key(),
        "bytes": token.bytes.len(),
        "token_hash": base64url(TokenHash::of(&token.bytes).as_bytes()),
    })
}

fn as_text(token: &HeldToken, claims: &Claims, now: u64) -> String {
    let expires = claims.expires.get();
    let left = match expires.checked_sub(now) {
        Some(left) if left > 0 => format!("in {}", time::span(left)),
        _ => "EXPIRED: tessera device token --refresh".to_owned(),
    };
    let bound = match (&claims.confirmation, token.kind()) {
        (Some(key), _) => format!("to the device key {}", base64url(key.thumbprint().as_bytes())),
        (None, TokenKind::Symmetric) => "to a symmetric key that came with it".to_owned(),
        (None, TokenKind::Key) => "to the device key, by its name".to_owned(),
        (None, TokenKind::Bearer) => "to no key: a bearer token, a secret".to_owned(),
    };
    let mut text = format!(
        "device    {} of tenant {}\nfor       {}\nissued    {}\nexpires   {} ({left})\nbound     {bound}\nsize      {} bytes\nhash      {}\n",
        claims.device,
        claims.tenant,
        claims.audience,
        time::utc(claims.issued.get()),
        time::utc(expires),
        token.bytes.len(),
        base64url(TokenHash::of(&token.bytes).as_bytes()),
    );
    for entry in claims.scope.entries() {
        text.push_str(&format!(
            "may       {:<9} {}\n",
            entry.permission.words().join(","),
            entry.filter.as_str()
        ));
    }
    text
}
