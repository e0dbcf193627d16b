use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::SystemRandom;
use tessera_simulators::device::api::ApiError;
use tessera_simulators::device::clock::DeviceClock;
use tessera_simulators::device::credential::HeldToken;
use tessera_token::ids::{DeviceId, TenantId};

use super::folder::{Card, Folder};
use crate::args::EnrolArgs;
use crate::error::{Fault, Outcome};
use crate::{output, secrets, time};

pub(super) async fn run(args: EnrolArgs) -> Outcome {
    DeviceId::parse(&args.device)?;
    TenantId::parse(&args.tenant)?;
    let claim = secrets::text_or_file(&args.claim)?;
    let path = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.device));
    let folder = Folder::create(&path)?;
    let mut card = card(&folder, &args)?;
    folder.key_or_new(&SystemRandom)?;
    folder.keep_card(&card)?;
    let clock = DeviceClock::new(SystemClock::shared(), 0);
    let api = card.api()?;
    let answer = api.enrol(&folder.identity(&card)?, claim.expose(), &clock).await;
    card.clock_correction = clock.correction();
    folder.keep_card(&card)?;
    let token = HeldToken::of(&answer.map_err(|error| refused(&error))?);
    folder.keep_token(&token)?;
    // From now on a folder without a counter has lost it.
    folder.next_counter(clock.now())?;
    tell(&args, &path, &token);
    Ok(0)
}

/// A folder belongs to one device for good: its key must never stand for two.
fn card(folder: &Folder, args: &EnrolArgs) -> Result<Card, Fault> {
    let server = args.http.server();
    // Later verbs may run in another folder.
    let cafile = args.http.trust.cafile.as_ref().map(std::path::absolute).transpose()?;
    let card = Card {
        http: server.url,
        cafile,
        http_in_clear: server.trust.in_clear,
        tenant: args.tenant.clone(),
        device: args.device.clone(),
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

fn tell(args: &EnrolArgs, path: &std::path::Path, token: &HeldToken) {
    let (device, dir) = (&args.device, path.display());
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
