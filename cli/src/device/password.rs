use tessera_simulators::device::clock::DeviceClock;
use tessera_simulators::device::credential::HeldToken;
use tessera_token::ids::ClientId;
use tessera_token::text::base64url;

use super::enrol::clock;
use super::folder::{Card, Folder};
use super::token::refresh;
use crate::args::PasswordArgs;
use crate::fault::{Fault, Outcome};
use crate::out;

/// Seconds of life that a token must still have to be worth a password.
const MARGIN_SECONDS: u64 = 5;

pub(super) async fn run(args: PasswordArgs) -> Outcome {
    let folder = Folder::of(&args.folder);
    let card = folder.card()?;
    let client_id = args.client_id.as_deref().unwrap_or(&card.device);
    let password = make(&folder, &card, client_id).await?;
    match args.hex {
        true => out::line(&hex::encode(password)),
        false => out::line(&base64url(&password)),
    }
    Ok(0)
}

/// A password for one CONNECT with a token that is good for a while yet.
pub(super) async fn make(folder: &Folder, card: &Card, client_id: &str) -> Result<Vec<u8>, Fault> {
    let client = ClientId::parse(client_id)?;
    if client.subject() != card.device {
        return Err(Fault::new(format!("{client_id} is no client id of {}", card.device))
            .hint(format!("use {0} or {0}~suffix", card.device)));
    }
    let clock = clock(card);
    let token = good_token(folder, card, &clock).await?;
    let counter = folder.next_counter()?;
    Ok(token.password(&folder.key()?, client_id, clock.now(), counter))
}

/// The token of the folder, renewed when less than a quarter of its life is left.
async fn good_token(folder: &Folder, card: &Card, clock: &DeviceClock) -> Result<HeldToken, Fault> {
    let held = folder.token();
    if let Ok(token) = &held {
        if token.is_good(clock.now(), MARGIN_SECONDS.max(token.life() / 4)) {
            return held;
        }
    }
    match (refresh(folder, card, clock, false).await, held) {
        // Provisioning may be away for a while: what is still good is good enough.
        (Err(_), Ok(token)) if token.is_good(clock.now(), MARGIN_SECONDS) => Ok(token),
        (renewed, _) => renewed,
    }
}
