//! `tessera device rekey`: another key for the device. The new key is durable before it is shown to anyone; the present one
//! stays until the service has taken the new one, so a cut at any moment leaves a key that the service knows.

use serde_json::json;
use tessera_runtime::random::SystemRandom;
use tessera_simulators::device::api::ApiError;
use tessera_simulators::device::credential::HeldToken;
use tessera_token::encoding::base64url;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;

use super::enrol::{clock, refused};
use super::folder::{Card, Folder};
use crate::args::RekeyArgs;
use crate::error::{Fault, Outcome};
use crate::output;

pub(super) async fn run(args: RekeyArgs) -> Outcome {
    let (folder, card) = open(&args)?;
    let next = folder.next_key_or_new(&SystemRandom)?;
    let thumbprint = base64url(next.public().thumbprint().as_bytes());
    let clock = clock(&card);
    let of = (TenantId::parse(&card.tenant)?, DeviceId::parse(&card.device)?);
    let former = match args.lost {
        true => None,
        false => Some(folder.key()?),
    };
    let api = card.api()?;
    let answer = api.rekey((&of.0, &of.1), former.as_ref(), &next, &clock).await;
    let answer = answer.map_err(|error| told(&error, &card, &folder, &thumbprint))?;
    folder.take_next_key()?;
    let token = HeldToken::of(&answer);
    folder.keep_token(&token)?;
    folder.keep_card(&Card { clock_correction: clock.correction(), ..card.clone() })?;
    let text = format!(
        "{} has a new key, {thumbprint}; tokens of the former one have ended. The former key is in {}/device.key.former",
        card.device,
        folder.path().display()
    );
    let object = json!({
        "tenant": card.tenant, "device": card.device, "key_thumbprint": thumbprint, "expires": token.expires.get(),
    });
    output::result(args.json, &text, &object);
    Ok(0)
}

/// The folder of the device. One that is lost whole is made anew for the device that is named.
fn open(args: &RekeyArgs) -> Result<(Folder, Card), Fault> {
    let Some(device) = &args.device else {
        let folder = Folder::of(&args.folder);
        let card = folder.card()?;
        return Ok((folder, card));
    };
    DeviceId::parse(device)?;
    TenantId::parse(&args.tenant)?;
    let folder = Folder::create(Folder::of(&args.folder).path())?;
    let server = args.http.server();
    let cafile = args.http.trust.cafile.as_ref().map(std::path::absolute).transpose()?;
    let card = Card {
        http: server.url,
        cafile,
        http_in_clear: server.trust.in_clear,
        tenant: args.tenant.clone(),
        device: device.clone(),
        clock_correction: 0,
    };
    if let Ok(old) = folder.card() {
        if (&old.tenant, &old.device) != (&card.tenant, &card.device) {
            let owner = format!("{}/{}", old.tenant, old.device);
            return Err(Fault::new(format!("{} belongs to {owner}", folder.path().display()))
                .hint("take another folder: --dir DIR"));
        }
    }
    folder.keep_card(&card)?;
    Ok((folder, card))
}

/// A refusal with the next step. The new key stays in the folder: the same command asks for it again.
fn told(error: &ApiError, card: &Card, folder: &Folder, thumbprint: &str) -> Fault {
    let Card { tenant, device, .. } = card;
    let fault = refused(error);
    match error {
        ApiError::Refused(RefusalCode::ApprovalPending) => fault.hint(format!(
            "an operator compares the thumbprint and approves: tessera rekey approve {device} {thumbprint} --tenant {tenant}\n  \
             then give this command again"
        )),
        ApiError::Refused(RefusalCode::ProofInvalid) => fault.hint(format!(
            "the service does not know the key of {}: with --lost an operator can approve the new one",
            folder.path().display()
        )),
        _ => fault,
    }
}
