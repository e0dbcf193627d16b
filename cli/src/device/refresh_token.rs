use serde_json::json;
use tessera_runtime::random::SystemRandom;
use tessera_token::encoding::base64url;

use super::enrol::{clock, refused};
use super::folder::{Card, Folder};
use crate::args::RefreshTokenArgs;
use crate::error::{Fault, Outcome};
use crate::output;

/// Gets a refresh token with the device key. The folder keeps neither it nor the bearer token.
pub(super) async fn run(args: RefreshTokenArgs) -> Outcome {
    let folder = Folder::of(&args.folder);
    let card = folder.card()?;
    let clock = clock(&card);
    let identity = folder.identity(&card)?;
    let answer = card.api()?.refresh_token(&identity, &clock, &SystemRandom).await;
    let answer = answer.map_err(|error| refused(&error))?;
    folder.keep_card(&Card { clock_correction: clock.correction(), ..card.clone() })?;
    let token = answer.refresh_token.as_ref().and_then(|token| std::str::from_utf8(token).ok());
    let token = token.ok_or_else(|| Fault::new("provisioning answered without a refresh token"))?;
    match args.json {
        false => output::line(token),
        true => {
            let body = json!({
                "refresh_token": token,
                "access_token": base64url(&answer.token.access_token),
                "expires_in": answer.token.expires_in,
            });
            output::line(&format!("{body:#}"));
        }
    }
    Ok(0)
}
