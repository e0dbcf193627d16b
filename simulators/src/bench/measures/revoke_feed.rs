//! From the acknowledgement of a revocation to each of many readers of the trust feed that has verified and applied it.
//! The readers poll as verifiers do, each under a name of its own.

use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::{HttpClient, HttpLimits, Method, Request, CBOR};
use tessera_token::encoding::base64url;
use tessera_token::key::PublicKey;
use tessera_token::limits::SNAPSHOT_BYTES;
use tessera_token::trust::{
    Event, EventHash, Feed, Snapshot, GATEWAY, READER_HEADER, VERIFIER_HEADER, VERIFIER_KIND_HEADER,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::error::BenchError;
use super::super::limits;
use super::super::percentiles::Percentiles;
use super::super::server::Servers;
use super::super::stage::{Meter, Sample, Stage};
use crate::operator::device_path;

/// A reader has applied all events up to this one, at this time.
type Applied = (u64, Duration);

/// One round.
pub(super) async fn run(
    stage: &Stage,
    servers: &impl Servers,
    round: usize,
) -> Result<Sample, BenchError> {
    let processes: Vec<u32> = servers.provisioning().iter().map(|(process, _)| *process).collect();
    let (told, mut applied) = mpsc::channel(limits::FEED_READERS);
    let mut readers = JoinSet::new();
    for number in 0..limits::FEED_READERS {
        let reader = Reader::start(stage, round, number).await?;
        readers.spawn(reader.follow(told.clone()));
    }
    drop(told);
    let mut rounds = stage.victims.members().chunks(limits::REVOKED);
    let Some(victims) = rounds.nth(round) else { return Err(BenchError::new("no victims left")) };
    let meter = Meter::of_processes(stage, &processes)?;
    let mut times = Vec::with_capacity(victims.len() * limits::FEED_READERS);
    for victim in victims {
        let path = device_path(stage.tenant.as_str(), &victim.id, "revoke");
        let answer = stage.operator.post(&path, &serde_json::json!({})).await?;
        let acknowledged = stage.clock.monotonic();
        let event = answer.get("event").and_then(serde_json::Value::as_u64);
        let event = event.ok_or_else(|| BenchError::new("the answer names no event"))?;
        let all = async {
            let mut missing = limits::FEED_READERS;
            while missing > 0 {
                let (seq, at) = applied.recv().await?;
                if seq >= event {
                    times.push(at.saturating_sub(acknowledged));
                    missing -= 1;
                }
            }
            Some(())
        };
        let all = timeout(limits::CLOSED_WITHIN, all).await;
        if !matches!(all, Ok(Some(()))) {
            let why = readers.try_join_next().map(|ended| format!(": {ended:?}"));
            let why = why.unwrap_or_default();
            return Err(BenchError::new(format!("a reader has not applied a revocation{why}")));
        }
    }
    let sample = meter.stop(victims.len() as u64).await?;
    let times = Percentiles::of(times);
    Ok(sample
        .with("p50_ms", times.millis(0.5))
        .with("p99_ms", times.millis(0.99))
        .with("longest_ms", times.millis(1.0))
        .with("readers", limits::FEED_READERS as f64))
}

/// A reader of the feed.
struct Reader {
    client: HttpClient,
    clock: SharedClock,
    name: String,
    /// The number of the process: another one in each round.
    process: String,
    root: PublicKey,
    seq: u64,
    head: EventHash,
}

impl Reader {
    async fn start(stage: &Stage, round: usize, number: usize) -> Result<Self, BenchError> {
        let limits = HttpLimits { response_bytes: SNAPSHOT_BYTES, ..HttpLimits::default() };
        let client = HttpClient::new(stage.http.as_str(), Some(stage.feed_token.clone()), limits)
            .map_err(|error| BenchError::new(error.to_string()))?;
        let request = Request::new(Method::Get, "/v1/trust/snapshot").accept(CBOR);
        let answer = client.send(request).await.map_err(failed)?;
        let (snapshot, root) = Snapshot::open(&answer.body, &stage.root)
            .map_err(|error| BenchError::new(format!("the snapshot: {error:?}")))?;
        Ok(Self {
            client,
            clock: SharedClock::clone(&stage.clock),
            name: format!("bench-{number}"),
            process: format!("{round:016x}{number:016x}"),
            root,
            seq: snapshot.seq,
            head: snapshot.head,
        })
    }

    async fn follow(mut self, told: mpsc::Sender<Applied>) -> Result<(), BenchError> {
        loop {
            let head = base64url(self.head.as_bytes());
            let path = format!("/v1/trust/events?after={}&head={head}&wait=10", self.seq);
            let request = Request::new(Method::Get, &path)
                .header(VERIFIER_HEADER, &self.name)
                .header(READER_HEADER, &self.process)
                .header(VERIFIER_KIND_HEADER, GATEWAY)
                .accept(CBOR)
                .within(limits::FEED_POLL);
            let answer = self.client.send(request).await.map_err(failed)?;
            let feed = Feed::from_cbor(&answer.body)
                .map_err(|error| BenchError::new(format!("the feed: {error:?}")))?;
            for bytes in &feed.events {
                let event = Event::open(bytes, &self.root)
                    .map_err(|error| BenchError::new(format!("an event: {error:?}")))?;
                if event.seq != self.seq + 1 || event.previous != self.head {
                    return Err(BenchError::new("an event is missing"));
                }
                (self.seq, self.head) = (event.seq, EventHash::of(bytes));
                if told.send((self.seq, self.clock.monotonic())).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn failed(error: tessera_runtime::http::HttpError) -> BenchError {
    BenchError::new(format!("a reader: {error}"))
}
