//! Load on a running system: the plan from the flags, the screen, and the files of the report.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tessera_runtime::clock::SystemClock;
use tessera_runtime::stop::Stop;
use tessera_simulators::load::{
    self, limits, Headers, Pattern, Plan, Publishing, Scrapes, Subscribing, Told, Work,
};
use tessera_simulators::mqtt::{Broker, Qos, Scheme, Session, Version};
use tessera_simulators::report::Tally;
use tessera_token::ids::TenantId;

use crate::args::{
    ConnArgs, HeaderArg, LoadArgs, PubArgs, RemoveArgs, StormArgs, StormKind, SubArgs, TlsArgs,
};
use crate::error::{Fault, Outcome};
use crate::{open_files, output, sim, terminal};

/// Open files that the process needs beside one for each device.
const SPARE_FILES: u64 = 500;
/// The same in a flood of bad connects.
const FLOOD_FILES: u64 = 18_000;

/// Devices that connect.
pub(crate) async fn conn(args: ConnArgs) -> Outcome {
    go(args.load, Work::Connect, args.shortids).await
}

/// Devices that publish.
pub(crate) async fn publish(args: PubArgs) -> Outcome {
    let work = Publishing {
        topics: patterns(&args.topic)?,
        size: args.size,
        message: args.message,
        qos: qos(args.qos),
        retain: args.retain,
        every: Duration::from_millis(args.interval_of_msg),
        limit: (args.limit > 0).then_some(args.limit),
        wait: args.wait_before_publishing,
        headers: headers(&args.payload_hdrs),
    };
    let text = work.message.as_ref().map_or(0, String::len);
    if text > limits::PAYLOAD_BYTES {
        return Err(Fault::new(format!("--message has at most {} bytes", limits::PAYLOAD_BYTES)));
    }
    go(args.load, Work::Publish(work), args.shortids).await
}

/// Devices that subscribe.
pub(crate) async fn subscribe(args: SubArgs) -> Outcome {
    let work = Subscribing {
        topics: patterns(&args.topic)?,
        qos: qos(args.qos),
        headers: headers(&args.payload_hdrs),
    };
    go(args.load, Work::Subscribe(work), args.shortids).await
}

/// A named storm.
pub(crate) async fn storm(args: StormArgs) -> Outcome {
    let publishing = |topic: &str, every: u64, limit: Option<u64>| Publishing {
        topics: vec![Pattern::new(topic)],
        size: args.size,
        message: None,
        qos: qos(args.qos),
        retain: false,
        every: Duration::from_millis(args.interval_of_msg.unwrap_or(every)),
        limit,
        wait: false,
        headers: Headers::TIMED,
    };
    let work = match args.kind {
        StormKind::Reconnect => Work::Reconnect,
        StormKind::Refresh => Work::Refresh,
        StormKind::Revocation => Work::Revocation,
        StormKind::Rejected => Work::Rejected(publishing("load/%c", 1_000, None)),
        StormKind::FanOut => Work::FanOut(publishing("load/all", 10, Some(args.limit))),
    };
    go(args.load, work, false).await
}

/// Shows a line of a run: progress in place where the terminal is able to. A closed output stops the run.
pub(crate) fn show(news: Told<'_>, stop: &Stop) {
    let able = terminal::is_able();
    match news {
        Told::Note(text) if able => output::write(&format!("\r\x1b[2K{text}\n")),
        Told::Progress(text) if able => {
            let text = terminal::cut(text, terminal::size().columns - 1);
            output::write(&format!("\r\x1b[2K{text}"));
        }
        Told::Note(text) | Told::Progress(text) => output::line(text),
    }
    if output::is_closed() {
        stop.trigger();
    }
}

/// Removes what a load left behind.
pub(crate) async fn remove(args: RemoveArgs) -> Outcome {
    let operator = sim::operator(&args.http.server(), &args.operator)?;
    let tenant = TenantId::parse(&args.operator.tenant)?;
    let removal = load::remove_by_prefix(&operator, &tenant, &args.prefix).await?;
    let text = format!("{} devices removed", removal.removed);
    output::result(args.json, &text, &json!(removal));
    match removal.rest() {
        None => Ok(0),
        Some(rest) => Err(Fault::new(rest)),
    }
}

async fn go(args: LoadArgs, work: Work, short_ids: bool) -> Outcome {
    let seed = sim::seed(args.seed)?;
    let spare = if matches!(work, Work::Rejected(_)) { FLOOD_FILES } else { SPARE_FILES };
    open_files::raise(args.count as u64 + spare, "--count")?;
    let plan = plan(&args, work, short_ids, seed)?;
    if cfg!(debug_assertions) {
        output::complain("this is a debug build: its figures say nothing about the product");
    }
    let (tally, stop) = (Arc::new(Tally::default()), Stop::new());
    sim::stop_when_told(&stop)?;
    let told = stop.clone();
    let left = format!("tessera sim remove --prefix {} --tenant {}", plan.prefix, plan.tenant);
    tokio::spawn(async move {
        told.stopping().await;
        output::complain(&format!("stopping; stopped once more, its devices stay ({left})"));
    });
    let scrapes = match args.prometheus {
        Some(at) => Some(Scrapes::start(at, Arc::clone(&tally)).await.map_err(|error| {
            Fault::new(format!("--prometheus {at}: {error}")).hint("choose another address")
        })?),
        None => None,
    };
    if let Some(scrapes) = &scrapes {
        output::line(&format!("metrics on http://{}/metrics", scrapes.at()));
    }
    let screen = |news: Told<'_>| show(news, &stop);
    let done = load::run(plan, SystemClock::shared(), tally, &stop, &screen).await;
    let report = done.map_err(|(error, rest)| match rest {
        Some(rest) => Fault::new(error.to_string()).hint(rest),
        None => Fault::new(error.to_string()),
    })?;
    output::line("\nresults");
    output::write(&load::render(&report));
    sim::write_json(args.json.as_deref(), &report)?;
    if let Some(file) = &args.html {
        std::fs::write(file, load::page(&report))
            .map_err(|error| Fault::new(format!("{}: {error}", file.display())))?;
    }
    Ok(u8::from(!report.is_good()))
}

fn plan(args: &LoadArgs, work: Work, short_ids: bool, seed: u64) -> Result<Plan, Fault> {
    let http = args.http.server();
    let sources = args.ifaddr.len().max(1);
    if args.count > sources * limits::FROM_ONE_ADDRESS {
        let each = limits::FROM_ONE_ADDRESS;
        return Err(Fault::new(format!(
            "{} devices need more than {sources} source address(es): one has ports for {each}",
            args.count
        ))
        .hint("give more, for example --ifaddr 127.0.0.1,127.0.0.2"));
    }
    let pace = match args.connrate {
        0 => Duration::from_millis(args.interval),
        rate => Duration::from_secs(1) / rate,
    };
    Ok(Plan {
        operator: sim::operator(&http, &args.operator)?,
        http,
        tenant: TenantId::parse(&args.operator.tenant)?,
        role: args.role.clone(),
        broker: broker(args)?,
        sources: args.ifaddr.clone(),
        verifier: args.verifier.clone(),
        prefix: args.prefix.clone().unwrap_or_else(|| sim::prefix(seed)),
        short_ids,
        start_number: args.startnumber as usize,
        count: args.count,
        pace,
        version: if args.mqtt_version == 4 { Version::V311 } else { Version::V5 },
        keep_alive: Duration::from_secs(args.keepalive.into()),
        session: Session { clean: args.clean, expiry: args.session_expiry },
        token: args.pop.kind(),
        work,
        lasts: args.lasts,
        keep: args.keep,
        seed,
    })
}

fn broker(args: &LoadArgs) -> Result<Broker, Fault> {
    if args.host.is_empty() || args.host.contains([',', '/']) || args.port == 0 {
        return Err(Fault::new(format!("{}:{} is no broker", args.host, args.port))
            .hint("--host takes one name or address, without scheme and path"));
    }
    let scheme = match (args.ssl, args.ws) {
        (false, false) => Scheme::Mqtt,
        (true, false) => Scheme::Mqtts,
        (false, true) => Scheme::Ws,
        (true, true) => Scheme::Wss,
    };
    let mut broker = Broker::plain(args.host.clone(), args.port);
    broker.scheme = scheme;
    let files = TlsArgs {
        cafile: args.cacertfile.clone(),
        cert: args.certfile.clone(),
        key: args.keyfile.clone(),
    };
    files.trusting(broker, args.http.trust.trust())
}

fn patterns(topics: &[String]) -> Result<Vec<Pattern>, Fault> {
    if topics.len() > limits::TOPICS {
        return Err(Fault::new(format!("at most {} topics", limits::TOPICS)));
    }
    Ok(topics.iter().map(Pattern::new).collect())
}

fn headers(given: &[HeaderArg]) -> Headers {
    Headers { counter: given.contains(&HeaderArg::Cnt64), time: given.contains(&HeaderArg::Ts) }
}

const fn qos(number: u8) -> Qos {
    match number {
        0 => Qos::Zero,
        1 => Qos::One,
        _ => Qos::Two,
    }
}
