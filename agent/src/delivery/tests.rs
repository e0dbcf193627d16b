use tessera_runtime::clock::ManualClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::secret::Secret;
use tessera_runtime::store::Store;
use tessera_token::time::UnixSeconds;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::behaviour::{Alert, KeptAlerts};
use crate::config::FeedConfig;
use crate::inventory::{Book, Operation};
use crate::limits::INVENTORY_FIRST;

const ALERTS: &str = "/v1/trust/alerts";
const EVIDENCE: &str = "/v1/evidence";

/// Reads one request for this path, answers it, and gives its body.
async fn answer(service: &TcpListener, path: &str, status: &str) -> Value {
    let (mut peer, _) = service.accept().await.unwrap();
    let mut read = Vec::new();
    loop {
        peer.read_buf(&mut read).await.unwrap();
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.unwrap().parse::<usize>().unwrap() {
            assert!(head.starts_with(&format!("POST {path} ")), "{head}");
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
            peer.write_all(answer.as_bytes()).await.unwrap();
            return serde_json::from_str(body).unwrap();
        }
    }
}

#[tokio::test]
async fn long_alerts_come_in_several_requests_and_go_when_they_were_taken() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let random = SystemRandom::shared();
    let kept = KeptAlerts::open(&store, random.as_ref()).ok().unwrap();
    let alert = |advice: usize| Alert { advice: "x".repeat(advice), ..Alert::default() };
    let alerts = [alert(10_000), alert(10_000), alert(10_000), alert(20_000), alert(1)];
    kept.keep(&alerts).unwrap();
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", service.local_addr().unwrap()).as_str().into();
    let feed = FeedConfig { server, token: Secret::new("t".to_owned()), tenants: None };
    let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
    let name = "mqtt".parse().unwrap();
    let namesake = Namesake::new(name, [0; 16], clock, &Metrics::new()).unwrap();
    let delivery = Delivery {
        pieces: Alerts(kept.clone()),
        door: Door::http(&feed).unwrap(),
        namesake: Arc::new(namesake),
        random,
    };
    let numbers = |body: &Value| -> Vec<u64> {
        let items = body["items"].as_array().unwrap();
        items.iter().map(|item| item["number"].as_u64().unwrap()).collect()
    };
    // Nothing goes before it was taken.
    let (refused, body) = tokio::join!(delivery.hand_over(), answer(&service, ALERTS, "503 Away"));
    assert!(refused.is_err() && numbers(&body) == [1, 2]);
    let (done, body) = tokio::join!(delivery.hand_over(), answer(&service, ALERTS, "204 Done"));
    assert!(matches!(done, Ok(true)) && numbers(&body) == [1, 2]);
    // The one that is longer than any request was never kept, and holds up no other.
    let (done, body) = tokio::join!(delivery.hand_over(), answer(&service, ALERTS, "204 Done"));
    assert!(matches!(done, Ok(true)) && numbers(&body) == [3, 4]);
    assert_eq!(body["line"], format!("{:016x}", kept.line()));
    assert!(matches!(delivery.hand_over().await, Ok(false)));
    assert_eq!(kept.let_go(), 1);
}

#[tokio::test]
async fn uses_of_topics_go_when_they_were_taken_and_come_again_until_they_are() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", service.local_addr().unwrap()).as_str().into();
    let feed = FeedConfig { server, token: Secret::new("t".to_owned()), tenants: None };
    let (clock, metrics) = (ManualClock::at(UnixSeconds::new(1_800_000_000)), Metrics::new());
    let namesake = Namesake::new("mqtt".parse().unwrap(), [0; 16], clock.clone(), &metrics);
    let book = Arc::new(parking_lot::Mutex::new(Book::default()));
    let told = metrics.counter("told", "Told", &[]).unwrap();
    let random = SystemRandom::shared();
    let uses = Uses::new(Arc::clone(&book), clock.clone(), random.as_ref(), told).unwrap();
    let delivery = Delivery {
        pieces: uses,
        door: Door::http(&feed).unwrap(),
        namesake: Arc::new(namesake.unwrap()),
        random,
    };
    let tenant = "acme".parse().unwrap();
    let topic = format!("d/x/{}", "y".repeat(200));
    for number in 0..150 {
        let device = format!("d-{number}").parse().unwrap();
        let used = (Operation::Publish, topic.as_str());
        book.lock().used((&tenant, &device), used, 3, Duration::ZERO);
    }
    assert!(matches!(delivery.hand_over().await, Ok(false)), "none is due yet");
    clock.advance(INVENTORY_FIRST);
    let (refused, lost) = tokio::join!(delivery.hand_over(), answer(&service, EVIDENCE, "503 No"));
    assert!(refused.is_err());
    let mut seen = Vec::new();
    while seen.len() < 150 {
        let (done, told) = tokio::join!(delivery.hand_over(), answer(&service, EVIDENCE, "204 Ok"));
        assert!(matches!(done, Ok(true)));
        assert!(!seen.is_empty() || told == lost, "the same comes again");
        assert!(told.to_string().len() < 32 * 1024);
        let items = told["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["number"].as_u64().unwrap()));
        assert_eq!(items[0]["uses"][0]["count"], 3);
    }
    assert!(matches!(delivery.hand_over().await, Ok(false)));
    assert_eq!(seen, (1..=150).collect::<Vec<u64>>());
}
