//! Simulated devices against a running system.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tessera_runtime::clock::SystemClock;
use tessera_runtime::http::Server;
use tessera_runtime::random::{self, SeededRandom, SystemRandom};
use tessera_runtime::stop::Stop;
use tessera_simulators::credentials::{self, Proof, Wanted};
use tessera_simulators::operator::OperatorClient;
use tessera_simulators::report::render;
use tessera_simulators::scenario::{self, expectations, Outcome as Run, Plan};
use tessera_token::ids::TenantId;
use tokio::signal::unix::{signal, SignalKind};

use crate::args::{CredentialsArgs, ProofArg, SimOperator, SimRunArgs, TlsArgs};
use crate::error::{Fault, Outcome};
use crate::progress::Progress;
use crate::{output, secrets};

/// A fleet against a running system.
pub(crate) async fn fleet(args: SimRunArgs) -> Outcome {
    let seed = seed(args.seed)?;
    let http = args.http.server();
    let plan = Plan {
        operator: operator(&http, &args.operator)?,
        http,
        broker: TlsArgs::default().broker(&args.mqtt, args.http.trust.trust())?,
        tenant: TenantId::parse(&args.operator.tenant)?,
        sensor_role: args.role,
        backend_role: args.backend_role,
        devices: args.devices,
        prefix: args.prefix.unwrap_or_else(|| prefix(seed)),
        seed,
        publish_every: args.every,
        lasts: args.lasts,
        token: args.pop.kind(),
        verifier: args.verifier,
        hostile: args.hostile,
        expect_refresh: false,
        presence: None,
    };
    let stop = Stop::new();
    stop_when_told(&stop)?;
    let screen = Progress::new(&stop);
    let run = scenario::run(plan, SystemClock::shared(), stop, &|news| screen.show(news)).await?;
    screen.done();
    summary(&run);
    write_json(args.json.as_deref(), &run.report)?;
    write_json(args.truth.as_deref(), &run.truth)?;
    Ok(u8::from(!run.is_good()))
}

/// Credentials for a load tool.
pub(crate) async fn credentials(args: CredentialsArgs) -> Outcome {
    let seed = seed(args.seed)?;
    let http = args.http.server();
    let wanted = Wanted {
        operator: operator(&http, &args.operator)?,
        http,
        tenant: TenantId::parse(&args.operator.tenant)?,
        role: args.role,
        prefix: args.prefix.unwrap_or_else(|| format!("{}load-", prefix(seed))),
        devices: args.devices,
        proof: match args.proof {
            ProofArg::Connect => Proof::Connect,
            ProofArg::Bearer => Proof::Bearer,
        },
        verifier: args.verifier,
        seed,
    };
    let random = Arc::new(SeededRandom::predictable(seed));
    let written = credentials::write(&wanted, random, SystemClock::shared(), &args.out).await?;
    let good = match args.proof {
        ProofArg::Connect => "each line is good once, within 60 seconds from now",
        ProofArg::Bearer => "each line is good until its token expires",
    };
    let text = format!("{written} credentials in {} (seed {seed}); {good}", args.out.display());
    let object = json!({ "credentials": written, "out": args.out, "seed": seed });
    output::result(args.json, &text, &object);
    Ok(0)
}

/// A seed: as given, else a random one that people can type.
pub(crate) fn seed(given: Option<u64>) -> Result<u64, Fault> {
    match given {
        Some(seed) => Ok(seed),
        None => Ok(random::number(&SystemRandom)? >> 32),
    }
}

/// Runs of different seeds do not meet in one registry.
pub(crate) fn prefix(seed: u64) -> String {
    format!("s{seed}-")
}

/// Table and expectations.
pub(crate) fn summary(run: &Run) {
    output::line("\nresults");
    output::write(&render::table(&run.report));
    output::line("expectations");
    for line in expectations::render(&run.expectations) {
        output::line(&format!("  {line}"));
    }
}

/// Writes a value as JSON where the user wants it.
pub(crate) fn write_json<T: serde::Serialize>(path: Option<&Path>, value: &T) -> Result<(), Fault> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(value)?;
    std::fs::write(path, text).map_err(|error| Fault::new(format!("{}: {error}", path.display())))
}

/// Ctrl-C or SIGTERM ends a run with its report; the second one ends the process.
pub(crate) fn stop_when_told(stop: &Stop) -> Result<(), Fault> {
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            if stop.is_stopping() {
                std::process::exit(130);
            }
            stop.trigger();
        }
    });
    Ok(())
}

/// The operator of a run.
pub(crate) fn operator(http: &Server, args: &SimOperator) -> Result<OperatorClient, Fault> {
    let token = secrets::operator_token(args.operator_token.as_deref())?;
    Ok(OperatorClient::new(http, token)?)
}
