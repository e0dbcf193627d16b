//! The bench: starts the servers side by side and prints what came of it.

use std::time::Duration;

use tessera_agent::limits::{PROFILE_PARTS, PROFILE_ROUND};
use tessera_runtime::clock::SystemClock;
use tessera_simulators::bench::{self, Measure, Plan, Server, Site};
use tessera_simulators::operator::OperatorClient;
use tessera_token::ids::TenantId;

use crate::args::{BenchArgs, Peer, Which};
use crate::error::{Fault, Outcome};
use crate::{open_files, output, sim};

mod certificate;
mod child;
mod disk;
mod flashmq;
mod folder;
mod mosquitto;
mod system;

use flashmq::Flashmq;
use folder::Folder;
use mosquitto::Mosquitto;
use system::{Contenders, System};

/// Descriptors that a process needs beside one for each client.
const SPARE_FILES: u64 = 2_500;
/// Descriptors that a process needs in a flood: silent sockets, refused ones, honest devices.
const FLOOD_FILES: u64 = 18_000;
/// Devices at most: all connect from one /24, of which the broker takes 20,000.
const CLIENTS: usize = 15_000;

/// Runs it.
pub(crate) async fn run(args: BenchArgs) -> Outcome {
    check(&args)?;
    let measures: Vec<Measure> = match args.which.is_empty() {
        true => Measure::ALL.to_vec(),
        false => args.which.iter().map(|which| measure(*which)).collect(),
    };
    let pushed = measures.contains(&Measure::PushRefresh);
    if pushed && measures.len() > 1 {
        return Err(Fault::new("push-refresh goes with no other measure: its tokens are short"));
    }
    let sessions = if measures.contains(&Measure::Growth) { args.sessions } else { 0 };
    raise_open_files(args.clients.max(sessions), measures.contains(&Measure::Flood))?;
    let peers = Peers::find(&args.peer)?;
    let wear = measures.contains(&Measure::Wear);
    let folder = if wear { Folder::on_own_disk(&args.mount)? } else { Folder::new()? };
    if wear && folder.disk().is_none() {
        output::complain("no disk of its own could be made: the kernel's counts for the two processes are shown, without the share of the file system");
    }
    let place = (args.database.as_deref(), &args.pkcs11);
    let system = System::start(folder, place, pushed).await?;
    let plan = Plan {
        site: Site {
            http: system.http.clone(),
            feed_token: system.feed_token.clone(),
            root: system.root,
            operator: OperatorClient::new(&system.http, system.operator_token.clone())?,
            tenant: TenantId::parse("default")?,
            clients: args.clients,
            sessions,
            rounds: args.rounds,
            seconds: args.seconds,
            quiet: Duration::from_secs(args.quiet),
            imported: args.devices,
            revocations: [Measure::Revoke, Measure::RevokeFeed]
                .iter()
                .any(|one| measures.contains(one)),
            symmetric: measures.contains(&Measure::ConnectHmac),
        },
        peers: peers.servers(),
        measures,
    };
    if cfg!(debug_assertions) {
        output::complain("this is a debug build: its figures say nothing about the product");
    }
    let round = PROFILE_ROUND.saturating_mul(PROFILE_PARTS);
    if plan.measures.contains(&Measure::Wear) && plan.site.quiet < round {
        let seconds = round.as_secs();
        output::complain(&format!(
            "behaviour profiles are written in turns of {seconds} s: with a shorter --quiet the figures of a day leave \
             a part of them out"
        ));
    }
    let Peers { mosquitto, flashmq } = peers;
    let contenders = Contenders { system, mosquitto, flashmq, clients: args.clients };
    let news = |text: &str| output::complain(text);
    let report = bench::run(&plan, &contenders, &SystemClock::shared(), &news).await?;
    output::write(&bench::render(&report));
    sim::write_json(args.json.as_deref(), &report)?;
    Ok(0)
}

/// The peers that were asked for, found before anything is enrolled.
#[derive(Default)]
struct Peers {
    mosquitto: Option<Mosquitto>,
    flashmq: Option<Flashmq>,
}

impl Peers {
    fn find(asked: &[Peer]) -> Result<Self, Fault> {
        if asked.contains(&Peer::None) && asked.len() > 1 {
            return Err(Fault::new("--peer none goes with no other --peer"));
        }
        let mut found = Self::default();
        for peer in asked {
            match peer {
                Peer::Mosquitto => found.mosquitto = Some(Mosquitto::find()?),
                Peer::Flashmq(path) => found.flashmq = Some(Flashmq::at(path)?),
                Peer::None => {}
            }
        }
        Ok(found)
    }

    fn servers(&self) -> Vec<Server> {
        let mosquitto =
            self.mosquitto.iter().flat_map(|_| [Server::MosquittoPassword, Server::Mosquitto]);
        mosquitto.chain(self.flashmq.iter().map(|_| Server::Flashmq)).collect()
    }
}

fn check(args: &BenchArgs) -> Result<(), Fault> {
    if !(10..=CLIENTS).contains(&args.clients) {
        return Err(Fault::new(format!("--clients is 10 to {CLIENTS}")));
    }
    if !(100..=CLIENTS).contains(&args.sessions) {
        return Err(Fault::new(format!("--sessions is 100 to {CLIENTS}")));
    }
    if !(1..=100_000).contains(&args.devices) {
        return Err(Fault::new("--devices is 1 to 100000"));
    }
    if !(1..=100).contains(&args.rounds) {
        return Err(Fault::new("--rounds is 1 to 100"));
    }
    if !(10..=86_400).contains(&args.quiet) {
        return Err(Fault::new("--quiet is 10 to 86400"));
    }
    if !(0.1..=600.0).contains(&args.seconds) {
        return Err(Fault::new("--seconds is 0.1 to 600"));
    }
    Ok(())
}

/// Children inherit the limit.
fn raise_open_files(clients: usize, flood: bool) -> Result<(), Fault> {
    let flood = if flood { FLOOD_FILES } else { 0 };
    let needed = (clients as u64 + SPARE_FILES).max(flood);
    open_files::raise(needed, "--clients")
}

const fn measure(which: Which) -> Measure {
    match which {
        Which::Connect => Measure::Connect,
        Which::Reconnect => Measure::Reconnect,
        Which::ConnectHmac => Measure::ConnectHmac,
        Which::Hold => Measure::Hold,
        Which::ConnectTls => Measure::ConnectTls,
        Which::HoldTls => Measure::HoldTls,
        Which::Storm => Measure::Storm,
        Which::StormRestart => Measure::StormRestart,
        Which::FanIn0 => Measure::FanIn0,
        Which::FanIn1 => Measure::FanIn1,
        Which::Command => Measure::Command,
        Which::FanOut0 => Measure::FanOut0,
        Which::FanOut1 => Measure::FanOut1,
        Which::Refused => Measure::Refused,
        Which::Leave => Measure::Leave,
        Which::Revoke => Measure::Revoke,
        Which::RevokeFeed => Measure::RevokeFeed,
        Which::Growth => Measure::Growth,
        Which::Flood => Measure::Flood,
        Which::Issue => Measure::Issue,
        Which::Enrol => Measure::Enrol,
        Which::Import => Measure::Import,
        Which::PushRefresh => Measure::PushRefresh,
        Which::Wear => Measure::Wear,
    }
}
