//! Readers of different speed on exact, wildcard and shared filters: a slow one costs itself, and what it costs is
//! counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_broker::codec::{Ack, Packet, PropertyId, Publish, QoS, ReasonCode, Version};
use tessera_runtime::http::{HttpClient, HttpLimits};

use super::{seeds, Chance};
use crate::client::{plan, publish, Client};
use crate::world::{scope, world_with, World};

const PUBLISHERS: usize = 3;
const MESSAGES: usize = 400;
const QUEUE: usize = 40;
const WINDOW: usize = 8;

/// Only a broken broker lets it pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a reader reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    Fast,
    /// Stops after so many messages until all who are fast have everything.
    StopsAfter(usize),
    /// Takes so many, then waits until as many more were published.
    Sips(usize),
}

struct Reader {
    line: Client,
    filter: String,
    pace: Pace,
    got: Arc<AtomicUsize>,
    /// The newest number of each publisher.
    last: BTreeMap<String, u32>,
}

/// The progress that the readers share.
#[derive(Default)]
struct Course {
    fast_left: AtomicUsize,
    published: AtomicBool,
    progress: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_cost_themselves_and_what_they_miss_is_counted() {
    for seed in seeds(&[51, 52, 53, 54]) {
        println!("simulation::slow seed {seed}");
        run(&mut Chance::new(seed)).await;
    }
}

fn topic(publisher: usize) -> String {
    format!("d/p-{publisher}/telemetry")
}

async fn run(chance: &mut Chance) {
    let world = world_with(|raw| raw.limits.queue_messages = QUEUE).await;
    let payload = [64, 4096][chance.below(2)];
    let mut readers = Vec::new();
    // One wildcard reader is always fast, so that there is one that no other may hold back.
    readers.push(reader(&world, 0, "d/+/telemetry", Pace::Fast, chance).await);
    for number in 0..6 {
        let filter = match chance.below(4) {
            // The only reader of its filter, which is reached past the router while it keeps up.
            3 => format!("d/p-{}/+", number % PUBLISHERS),
            0 => "d/+/telemetry".to_owned(),
            1 => topic(chance.below(PUBLISHERS)),
            _ => "$share/g/d/+/telemetry".to_owned(),
        };
        let pace = match chance.below(4) {
            0 => Pace::Fast,
            1 | 2 => Pace::Sips(chance.between(20, 120)),
            _ => Pace::StopsAfter(chance.below(60)),
        };
        readers.push(reader(&world, number + 1, &filter, pace, chance).await);
    }
    let expected = expected(&readers);
    let course = Arc::new(Course::default());
    // A stopped reader of an exact topic loses messages for good, so only readers of wildcards are waited for.
    let waited = |one: &&Reader| one.pace == Pace::Fast && one.filter.starts_with("d/+/");
    course.fast_left.store(readers.iter().filter(waited).count(), Ordering::SeqCst);
    let counts: Vec<_> = readers.iter().map(|one| Arc::clone(&one.got)).collect();
    let reading: Vec<_> =
        readers.into_iter().map(|one| tokio::spawn(read(one, Arc::clone(&course)))).collect();
    let mut publishing = Vec::new();
    for publisher in 0..PUBLISHERS {
        let rights = scope(&[("pub", &topic(publisher))]);
        let line = plan(&world, &format!("p-{publisher}"), Version::V5).scope(rights).open().await;
        publishing.push(tokio::spawn(send(line, publisher, payload, Arc::clone(&course))));
    }
    for one in publishing {
        tokio::time::timeout(PATIENCE, one).await.expect("a publisher is held back").unwrap();
    }
    course.published.store(true, Ordering::SeqCst);
    let sum = || counts.iter().map(|got| got.load(Ordering::SeqCst)).sum::<usize>();
    let balance = async {
        loop {
            let (got, lost) = (sum(), lost(&world).await);
            assert!(got + lost <= expected, "{got} received and {lost} lost of {expected}");
            if got + lost == expected {
                return (got, lost);
            }
            assert!(!reading.iter().any(tokio::task::JoinHandle::is_finished), "a reader failed");
        }
    };
    let Ok((got, lost)) = tokio::time::timeout(PATIENCE, balance).await else {
        let each: Vec<_> = counts.iter().map(|got| got.load(Ordering::SeqCst)).collect();
        panic!("{each:?} received of {expected}, {} counted as lost", lost(&world).await);
    };
    println!("  {payload} bytes: {got} received, {lost} lost and counted, of {expected}");
    reading.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Filter, bytes of a message, messages: more than the log of that filter holds, whose segments turn over.
const TURNS: [(&str, usize, usize); 3] =
    [("d/p-0/+", 1024, 400), ("$share/g/d/p-0/+", 1024, 400), ("d/#", 20 * 1024, 1_200)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_whose_log_turns_over_goes_on_behind_the_gap_and_the_gap_is_counted() {
    for (filter, bytes, count) in TURNS {
        let world = world_with(|raw| raw.limits.queue_messages = QUEUE).await;
        let rights = scope(&[("pub", &topic(0))]);
        let window = u32::try_from(WINDOW).unwrap();
        let mut line = plan(&world, "r-0", Version::V5)
            .scope(scope(&[("sub", "d/#")]))
            .properties(|p| p.number(PropertyId::ReceiveMaximum, window))
            .open()
            .await;
        assert!(!line.subscribe(filter, QoS::AtLeastOnce).await.is_error());
        let (filter, got) = (filter.to_owned(), Arc::default());
        let mut reader = Reader { line, filter, pace: Pace::Fast, got, last: BTreeMap::new() };
        let mut hub = plan(&world, "p-0", Version::V5).scope(rights).open().await;
        // The reader answers nothing meanwhile.
        for number in 1..=u32::try_from(count).unwrap() {
            offer(&mut hub, number, bytes).await;
        }
        let mut taken = 0;
        while taken + lost(&world).await < count {
            reader.next().await;
            taken += 1;
        }
        let missed = lost(&world).await;
        println!("  {}: {taken} received, {missed} missed", reader.filter);
        assert!(missed > 0, "{}: the log was meant to turn over", reader.filter);
        assert_eq!(taken + missed, count, "{}", reader.filter);
        // From here on it keeps up, and nothing more is missed.
        for number in 1..=20 {
            let number = u32::try_from(count).unwrap() + number;
            offer(&mut hub, number, bytes).await;
            assert_eq!(reader.next().await, number, "{}", reader.filter);
        }
        assert_eq!(lost(&world).await, missed);
    }
}

async fn offer(line: &mut Client, number: u32, bytes: usize) {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(bytes, 0);
    assert_eq!(line.publish_acked(&topic(0), &payload).await, ReasonCode::SUCCESS);
}

/// Deliveries that were asked for: of a shared group each message once.
fn expected(readers: &[Reader]) -> usize {
    let wanted = |one: &Reader| if one.filter.contains("d/+/") { PUBLISHERS } else { 1 } * MESSAGES;
    let (shared, own): (Vec<_>, Vec<_>) =
        readers.iter().partition(|one| one.filter.starts_with("$share"));
    own.into_iter().map(wanted).sum::<usize>() + shared.first().map_or(0, |one| wanted(one))
}

async fn reader(
    world: &World,
    number: usize,
    filter: &str,
    pace: Pace,
    chance: &mut Chance,
) -> Reader {
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce][chance.below(2)];
    println!("  {filter} {qos:?} {pace:?}");
    let name = format!("r-{number}");
    let window = u32::try_from(WINDOW).unwrap();
    let mut line = plan(world, &name, Version::V5)
        .scope(scope(&[("sub", "d/#")]))
        .properties(|p| p.number(PropertyId::ReceiveMaximum, window))
        .open()
        .await;
    assert!(!line.subscribe(filter, qos).await.is_error());
    let (filter, got) = (filter.to_owned(), Arc::default());
    Reader { line, filter, pace, got, last: BTreeMap::new() }
}

async fn send(mut line: Client, publisher: usize, payload: usize, course: Arc<Course>) {
    let topic = topic(publisher);
    let qos = [QoS::AtLeastOnce, QoS::AtMostOnce][publisher % 2];
    for number in 1..=u32::try_from(MESSAGES).unwrap() {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.resize(payload, 0);
        line.send(&publish(&topic, qos, &bytes)).await;
        course.progress.fetch_add(1, Ordering::SeqCst);
        if qos == QoS::AtLeastOnce {
            let reason = line.acked().await;
            assert!(matches!(reason, ReasonCode::SUCCESS | ReasonCode::QUOTA_EXCEEDED));
        }
    }
    line.quiet().await;
}

async fn read(mut me: Reader, course: Arc<Course>) {
    let all = PUBLISHERS * MESSAGES;
    let mut count = 0;
    loop {
        if me.pace == Pace::StopsAfter(count) {
            until(|| course.fast_left.load(Ordering::SeqCst) == 0).await;
            until(|| course.published.load(Ordering::SeqCst)).await;
        }
        if let Pace::Sips(sip) = me.pace {
            if count > 0 && count % sip == 0 {
                let next = course.progress.load(Ordering::SeqCst) + sip;
                let all = || course.published.load(Ordering::SeqCst);
                until(|| all() || course.progress.load(Ordering::SeqCst) >= next).await;
            }
        }
        // A reader that has everything hears nothing while others go on, so this wait has no deadline of its own.
        let next = me.line.next_within(Duration::MAX).await;
        let Some(Packet::Publish(message)) = next else { panic!("{}: {next:?}", me.filter) };
        me.take(&message);
        if let Some(id) = message.packet_id {
            me.line.send(&Packet::PubAck(Ack::new(id, ReasonCode::SUCCESS))).await;
        }
        count += 1;
        me.got.store(count, Ordering::SeqCst);
        if count == all && me.pace == Pace::Fast && me.filter.starts_with("d/+") {
            course.fast_left.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Reader {
    /// Takes one and acknowledges it; gives its number.
    async fn next(&mut self) -> u32 {
        let message = self.line.message().await;
        self.take(&message);
        self.last[&*message.topic]
    }

    /// In the order of its publisher, and never twice.
    fn take(&mut self, message: &Publish) {
        let number = u32::from_be_bytes(message.payload[..4].try_into().unwrap());
        let last = self.last.entry(message.topic.to_string()).or_default();
        assert!(number > *last, "{}: {number} after {last} of {}", self.filter, message.topic);
        assert!(!message.dup);
        *last = number;
    }
}

async fn until(holds: impl Fn() -> bool) {
    let patience = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    });
    patience.await.expect("those who read fast are held back");
}

/// The number of messages that the broker reports as not delivered.
async fn lost(world: &World) -> usize {
    let url = format!("http://{}", world.broker.http_addr);
    let http = HttpClient::new(&url, None, HttpLimits::default()).unwrap();
    let text = http.get("/metrics").await.unwrap().text();
    let value = |line: &str| {
        let rest = line.rsplit(' ').next().unwrap();
        rest.parse::<f64>().unwrap() as usize
    };
    let counts = |line: &&str| {
        line.starts_with("tessera_broker_dropped_total{")
            || line.starts_with(r#"tessera_broker_fleet_lane{what="gaps"}"#)
            || line.starts_with(r#"tessera_broker_fleet_lane{what="lost"}"#)
    };
    text.lines().filter(counts).map(value).sum()
}
