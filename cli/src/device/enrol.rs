use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::SystemRandom;
use tessera_simulators::device::api::{ApiError, DeviceApi};
use tessera_simulators::device::clock::DeviceClock;
use tessera_simulators::device::credential::HeldToken;
use tessera_simulators::device::identity::Identity;
use tessera_token::encoding::base64url;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::messages::TokenAnswer;
use tessera_token::refusal::RefusalCode;

use super::folder::{Card, Folder};
use super::means::Given;
use crate::args::EnrolArgs;
use crate::error::{Fault, Outcome};
use crate::{output, time};

/// Time between two requests for approval: as the service asks for.
const ASK_AGAIN: Duration = Duration::from_secs(30);

pub(super) async fn run(args: EnrolArgs) -> Outcome {
    TenantId::parse(&args.tenant)?;
    let given = Given::read(&args.means)?;
    let device = given.device(args.device.as_deref())?;
    let given = given.of(&device);
    let path = args.dir.clone().unwrap_or_else(|| PathBuf::from(device.as_str()));
    let folder = Folder::create(&path)?;
    let mut card = card(&folder, &args, &device)?;
    if let Some(Some(file)) = &args.means.manufacturer_key {
        folder.take_key(file)?;
    }
    folder.key_or_new(&SystemRandom)?;
    folder.keep_card(&card)?;
    let clock = DeviceClock::new(SystemClock::shared(), 0);
    let api = card.api()?;
    let answer = asked(&api, &folder.identity(&card)?, &given, &clock, args.means.wait).await;
    card.clock_correction = clock.correction();
    folder.keep_card(&card)?;
    let answer = answer.map_err(|error| match error {
        ApiError::Refused(RefusalCode::ApprovalPending) => waiting(&folder, &device, &error),
        error => refused(&error),
    });
    let token = HeldToken::of(&answer?);
    folder.keep_token(&token)?;
    // From now on a folder without a counter has lost it.
    folder.next_counter(clock.now())?;
    tell(&args, &card.device, &path, &token);
    Ok(0)
}

/// Asks, and asks again while no operator has decided and there is time.
async fn asked(
    api: &DeviceApi,
    identity: &Identity,
    given: &Given,
    clock: &DeviceClock,
    wait: u64,
) -> Result<TokenAnswer, ApiError> {
    let sign = |message: &[u8]| given.sign(message);
    let mut left = Duration::from_secs(wait);
    loop {
        let answer = api.enrol_by(identity, &given.means(&sign), clock).await;
        let waits = matches!(answer, Err(ApiError::Refused(RefusalCode::ApprovalPending)));
        if !waits || left.is_zero() {
            return answer;
        }
        let pause = left.min(ASK_AGAIN);
        tokio::time::sleep(pause).await;
        left -= pause;
    }
}

/// The next steps while no operator has decided.
fn waiting(folder: &Folder, device: &DeviceId, error: &ApiError) -> Fault {
    let thumbprint = folder.key().map(|key| base64url(key.public().thumbprint().as_bytes()));
    let thumbprint = thumbprint.unwrap_or_default();
    refused(error).hint(format!(
        "an operator approves {device} with `tessera approval list` and `tessera approval approve ID --role ROLE`, after a \
         look at the thumbprint {thumbprint}; then run the same command again, or give --wait SECONDS"
    ))
}

/// A folder belongs to one device for good: its key must never stand for two.
fn card(folder: &Folder, args: &EnrolArgs, device: &DeviceId) -> Result<Card, Fault> {
    let server = args.http.server();
    // Later verbs may run in another folder.
    let cafile = args.http.trust.cafile.as_ref().map(std::path::absolute).transpose()?;
    let card = Card {
        http: server.url,
        cafile,
        http_in_clear: server.trust.in_clear,
        tenant: args.tenant.clone(),
        device: device.as_str().to_owned(),
        clock_correction: 0,
    };
    match folder.card() {
        Ok(old) if (&old.tenant, &old.device) != (&card.tenant, &card.device) => {
            let owner = format!("{}/{}", old.tenant, old.device);
            Err(Fault::new(format!("{} belongs to {owner}", folder.path().display()))
                .hint("take another folder: --dir DIR"))
        }
        _ => Ok(card),
    }
}

fn tell(args: &EnrolArgs, device: &str, path: &std::path::Path, token: &HeldToken) {
    let dir = path.display();
    if args.json {
        let object = json!({
            "tenant": args.tenant, "device": device, "dir": path, "expires": token.expires.get(),
        });
        return output::line(&format!("{object:#}"));
    }
    output::line(&format!(
        "{device} is enrolled in tenant {}; key and token are in {dir}",
        args.tenant
    ));
    output::line(&format!("the token is good for {}; try:", time::span(token.life())));
    output::line(&format!("  tessera device connect --dir {dir} --test"));
    output::line(&format!(
        "  mosquitto_pub -i {device} -u {device} -P \"$(tessera device password --dir {dir})\" -t d/{device}/telemetry -m 21.5"
    ));
}

pub(super) fn refused(error: &ApiError) -> Fault {
    let code = match error {
        ApiError::Refused(code) => Some(*code),
        _ => None,
    };
    Fault::new(error.to_string()).code(code).passing(error.is_temporary())
}

/// The clock of a device whose folder knows how wrong this machine is.
pub(super) fn clock(card: &Card) -> Arc<DeviceClock> {
    let clock = DeviceClock::new(SystemClock::shared(), 0);
    let now = clock.now();
    let corrected = now.get().saturating_add_signed(card.clock_correction);
    clock.hear(tessera_token::time::UnixSeconds::new(corrected));
    Arc::new(clock)
}
