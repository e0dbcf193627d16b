//! Memory of the process after load. A process of its own, since memory of other tests would be counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "this crate is tests: a panic is how it tells"
)]

use std::sync::Arc;
use std::time::Duration;

use tessera_broker::codec::QoS;
use tessera_broker::message::Author;
use tessera_broker::message::{Message, Options, Publisher, SubscriberId};
use tessera_broker::routing::{Outbox, Routing, SessionRoutes};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::{Subscription, TopicName};
use tokio::runtime::Handle;

/// That of the binary (`cli/src/allocator.rs`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Beside what is held: an empty router with room for all links, and pages that are not given back one by one.
const CONSTANT: u64 = 64 * 1024 * 1024;
const WITHIN: Duration = Duration::from_secs(60);

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn mib(bytes: u64) -> u64 {
    bytes / 1024 / 1024
}

fn message(topic: &str) -> Arc<Message> {
    let publisher = Publisher {
        author: Author::broker(DeviceId::parse("publisher").unwrap()),
        session: SubscriberId(u64::MAX),
        token_expires: UnixSeconds::new(2_000_000_000),
    };
    let (tenant, topic) = (TenantId::parse("acme").unwrap(), TopicName::parse(topic).unwrap());
    let mut message = Message::new(tenant, topic, vec![7; 200].into(), publisher);
    message.qos = QoS::AtLeastOnce;
    Arc::new(message)
}

async fn subscriber(routing: &Arc<Routing>, id: u64, filters: &[String]) -> SessionRoutes {
    let outbox = Outbox::with_limits(SubscriberId(id), 100_000, 1 << 30);
    let mut session = routing.session(TenantId::parse("acme").unwrap(), outbox);
    for filter in filters {
        let filter = Subscription::parse(filter).unwrap();
        session.subscribe(&filter, Options::default()).await.unwrap();
    }
    session
}

async fn publish(routing: &Arc<Routing>, topic: &str) {
    let (_, rest) = routing.publish(&message(topic));
    if let Some(rest) = rest {
        routing.finish(rest).await;
    }
}

/// Makes and drops wildcards, with messages flowing through their logs.
async fn churn(routing: &Arc<Routing>, round: u64) {
    let mut sessions = Vec::new();
    for group in 0..30u64 {
        let filters: Vec<String> =
            (0..100).map(|number| format!("g/{round}-{group}/{number}/#")).collect();
        for reader in 0..2 {
            sessions.push(subscriber(routing, round * 1_000 + group * 2 + reader, &filters).await);
        }
        for number in 0..100 {
            for _ in 0..40 {
                publish(routing, &format!("g/{round}-{group}/{number}/x")).await;
            }
        }
        let mut got = Vec::new();
        for session in sessions.iter().rev().take(2) {
            let mut count = 0;
            while count < 4_000 {
                session.outbox().reader().drain(256, &mut got).await;
                count += got.len();
                got.clear();
            }
        }
    }
}

#[test]
fn memory_comes_back() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(async {
        let routing = Routing::start(Handle::current()).unwrap();
        let start = resident();
        for round in 0..2 {
            churn(&routing, round).await;
        }
        let highest = resident();
        println!("{} MiB, then {}", mib(start), mib(highest));
        assert!(highest > start * 3 / 2 + CONSTANT, "the load is too small to prove anything");
        let back = async {
            loop {
                let (now, held) = (resident(), routing.wildcard_stats().held);
                println!("{} MiB, of which logs {}", mib(now), mib(held));
                if now <= (start + held) * 3 / 2 + CONSTANT && mib(held) == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(WITHIN, back).await.expect("memory of wildcards that are gone stays");
        let stats = routing.wildcard_stats();
        assert!(stats.renewals > 0);
        assert_eq!((stats.gaps, stats.lost, stats.restarts), (0, 0, 0));
    });
}
