//! A scenario on real MQTT clients: the plan from the flags, the screen, and the files of the run.

use std::sync::Arc;

use tessera_runtime::clock::SystemClock;
use tessera_runtime::stop::Stop;
use tessera_simulators::detection::score::{text, to_json};
use tessera_simulators::limits::DEVICES;
use tessera_simulators::load::Told;
use tessera_simulators::play::{self, Plan};
use tessera_simulators::report::Tally;
use tessera_token::ids::TenantId;

use crate::args::{PlayArgs, TlsArgs};
use crate::detection::{self, files};
use crate::error::{Fault, Outcome};
use crate::{load, open_files, output, sim};

/// Open files that the process needs beside those of its devices.
const SPARE_FILES: u64 = 1_000;

/// `sim play`.
pub(crate) async fn run(args: PlayArgs) -> Outcome {
    let scenario = detection::scenario(args.scenario.as_deref())?.in_one_tenant(args.devices)?;
    if scenario.devices > DEVICES as u64 {
        return Err(
            Fault::new(format!("at most {DEVICES} devices in one process")).hint("--devices")
        );
    }
    let seed = args.seed.unwrap_or(scenario.seed);
    // Attacks and takeovers open more than one connection for some devices.
    open_files::raise(scenario.devices * 5 / 4 + SPARE_FILES, "--devices")?;
    // The id of a device that was deleted stays reserved for a time, so two runs of one seed have different ids.
    let prefix = match args.prefix {
        Some(prefix) => prefix,
        None => sim::prefix(sim::seed(None)?),
    };
    let http = args.http.server();
    let plan = Plan {
        operator: sim::operator(&http, &args.operator)?,
        http,
        tenant: TenantId::parse(&args.operator.tenant)?,
        broker: TlsArgs::default().broker(&args.mqtt, args.http.trust.trust())?,
        verifier: args.verifier,
        scenario,
        seed,
        prefix,
        speed: args.speed,
        lasts: args.lasts,
        settle: args.settle,
        keep: args.keep,
    };
    let left = format!("tessera sim remove --prefix {} --tenant {}", plan.prefix, plan.tenant);
    let stop = Stop::new();
    sim::stop_when_told(&stop)?;
    let told = stop.clone();
    tokio::spawn(async move {
        told.stopping().await;
        output::complain(&format!("stopping; stopped once more, its devices stay ({left})"));
    });
    let screen = |news: Told<'_>| load::show(news, &stop);
    let tally = Arc::new(Tally::default());
    let done = play::run(plan, SystemClock::shared(), tally, &stop, &screen).await;
    let played = done.map_err(|(error, rest)| match rest {
        Some(rest) => Fault::new(error.to_string()).hint(rest),
        None => Fault::new(error.to_string()),
    })?;
    if let Some(path) = &args.truth {
        files::write_lines(path, &played.truth)?;
    }
    if let Some(path) = &args.alerts {
        files::write_lines(path, &played.alerts)?;
    }
    output::line("\nresults");
    output::write(&play::render(&played.report));
    output::line("");
    output::write(&text(&played.score.sheets));
    let report = serde_json::json!({
        "run": played.report,
        "score": to_json(&played.score.sheets),
    });
    sim::write_json(args.json.as_deref(), &report)?;
    Ok(u8::from(!played.report.is_good()))
}
