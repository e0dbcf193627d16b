use super::*;
use crate::behaviour::Alert;
use tessera_token::proof::{ConnectProof, Credential};
use tokio::sync::broadcast::Receiver;

const TOPIC: &str = "d/d-1/telemetry";
const HOME: &str = "10.1.1.5";
const AWAY: &str = "203.0.113.9";

impl Rig {
    async fn report(&self, session: &str, seen: &Value) -> Value {
        let reports = json!({"reports": [{"session": session, "seen": seen}]});
        self.call("/v1/report", &reports).await["answers"][0].clone()
    }

    async fn publish(&self, session: &str, count: u32) {
        let seen =
            json!({"kind": "published", "topic": TOPIC, "count": count, "bytes": 60 * count});
        let noted = self.report(session, &seen).await;
        assert_eq!(noted, json!({"taken": true, "holds": true}));
    }

    /// A session of a caller that reports, with its connection from this address.
    async fn reporting(&self, counter: u32, client: &str, address: &str) -> String {
        let password = self.world.credential_client(client, counter);
        let question = json!({"client_id": client, "password": password, "reports": true});
        let answer = self.call("/v1/connect", &question).await;
        let session = answer["session"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let seen = json!({"kind": "connected", "address": address, "keep_alive": 60});
        assert_eq!(self.report(&session, &seen).await["taken"], true);
        session
    }
}

impl World {
    /// A password of the device under this client id.
    fn credential_client(&self, client: &str, counter: u32) -> String {
        let token = self.token();
        let (key, verifier) = (&self.device_key, audience());
        let proof = ConnectProof::make(key, verifier.as_str(), client, &token, at(NOW), counter);
        let credential = Credential { token, proof: Some(proof) };
        base64url(&credential.to_password())
    }
}

/// The signals of the next alert, when one comes before the tracker has had a few steps.
async fn told(alerts: &mut Receiver<Arc<Alert>>) -> Option<Vec<String>> {
    let next = tokio::time::timeout(limits::TRACKER_TICK * 3, alerts.recv()).await.ok()?;
    let alert = next.unwrap();
    assert_eq!(alert.subject, Subject::Device(DEVICE.to_owned()));
    Some(alert.signals.iter().map(|signal| signal.name.clone()).collect())
}

/// F19: a gateway alone sees rates, by report calls.
#[tokio::test]
async fn f19_reports_of_a_gateway_alone_show_a_flood() {
    let rig = rig(true).await;
    let mut alerts = rig.daemon.agent().observer().alerts();
    let session = rig.reporting(1, DEVICE, HOME).await;
    rig.publish(&session, 400).await;
    assert_eq!(told(&mut alerts).await, None);
    rig.publish(&session, 5_000).await;
    let told = tokio::time::timeout(Duration::from_secs(10), alerts.recv()).await.unwrap().unwrap();
    let signals: Vec<_> = told.signals.iter().map(|signal| signal.name.as_str()).collect();
    assert!(signals.contains(&"flood"), "{signals:?}");
    rig.end().await;
}

/// F19: a gateway alone sees a shared key, by report calls.
#[tokio::test]
async fn f19_reports_of_a_gateway_alone_show_a_shared_key() {
    let rig = rig(true).await;
    let mut alerts = rig.daemon.agent().observer().alerts();
    let home = rig.reporting(1, DEVICE, HOME).await;
    let away = rig.reporting(2, "d-1~copy", AWAY).await;
    let mut signals = Vec::new();
    for _ in 0..12 {
        for session in [&home, &away] {
            rig.publish(session, 1).await;
            signals.extend(told(&mut alerts).await.unwrap_or_default());
            rig.clock.advance(Duration::from_secs(5));
        }
        if !signals.is_empty() {
            break;
        }
    }
    assert!(signals.iter().any(|signal| signal == "shared_credential"), "{signals:?}");
    rig.end().await;
}

/// A decision of a caller that reports is no connection and no message.
#[tokio::test]
async fn decisions_of_a_caller_that_reports_are_not_counted_twice() {
    let rig = rig(true).await;
    let mut alerts = rig.daemon.agent().observer().alerts();
    let quiet = rig.reporting(1, DEVICE, HOME).await;
    let publish =
        |session: &str| json!({"ask": "publish", "session": session, "topic": TOPIC, "bytes": 10});
    let ask = |session: String| json!({ "questions": vec![publish(&session); 64] });
    for _ in 0..20 {
        rig.call("/v1/batch", &ask(quiet.clone())).await;
    }
    assert_eq!(told(&mut alerts).await, None);
    // Without reports, decisions are what is seen.
    let told_by_decisions = rig.open(2, &json!({})).await;
    for _ in 0..20 {
        rig.call("/v1/batch", &ask(told_by_decisions.clone())).await;
    }
    let told = tokio::time::timeout(Duration::from_secs(10), alerts.recv()).await.unwrap().unwrap();
    assert!(told.signals.iter().any(|signal| signal.name.as_str() == "flood"));
    rig.end().await;
}

#[tokio::test]
async fn refusals_and_faults_of_the_caller_are_seen() {
    let rig = rig(true).await;
    let mut alerts = rig.daemon.agent().observer().alerts();
    let session = rig.reporting(1, DEVICE, HOME).await;
    for (action, topic) in
        [("publish", "d/victim-1/cmd"), ("subscribe", "d/victim-2/cmd"), ("subscribe", "$SYS/#")]
    {
        let seen = json!({"kind": "refused", "action": action, "topic": topic});
        assert_eq!(rig.report(&session, &seen).await["taken"], true);
    }
    let told = tokio::time::timeout(Duration::from_secs(10), alerts.recv()).await.unwrap().unwrap();
    assert!(told.signals.iter().any(|signal| signal.name.as_str() == "foreign_topics"));
    for _ in 0..3 {
        let seen = json!({"kind": "fault", "fault": "malformed"});
        assert_eq!(rig.report(&session, &seen).await["taken"], true);
    }
    rig.end().await;
}

#[tokio::test]
async fn reports_are_answered_in_order_and_bounded() {
    let rig = rig(true).await;
    let session = rig.reporting(1, DEVICE, HOME).await;
    let reports = json!({"reports": [
        {"session": session, "seen": {"kind": "subscribed", "filter": "d/d-1/cmd"}},
        {"session": session, "seen": {"kind": "subscribed", "filter": "a/#/b"}},
        {"session": session, "seen": {"kind": "published", "topic": TOPIC, "count": 0, "bytes": 1}},
        {"session": session, "seen": {"kind": "fault", "fault": "unheard"}},
        {"session": session, "seen": {"kind": "received", "count": 2, "bytes": 10}},
        {"session": session, "seen": {"kind": "alive"}},
        {"session": session, "seen": {"kind": "disconnected", "clean": true}},
        {"session": session, "seen": {"kind": "received", "count": 2, "bytes": 10}},
    ]});
    let answer = rig.call("/v1/report", &reports).await;
    let answers = answer["answers"].as_array().unwrap();
    let told: Vec<_> = answers
        .iter()
        .map(|one| {
            (one["taken"].as_bool().unwrap(), one["holds"].as_bool().unwrap(), one["code"].as_str())
        })
        .collect();
    let malformed = (false, true, Some("request_malformed"));
    let wanted = [
        (true, true, None),
        malformed,
        malformed,
        malformed,
        (true, true, None),
        (true, true, None),
        (true, false, None),
        (false, false, Some("not_found")),
    ];
    assert_eq!(told, wanted);
    let shown = rig.shown().await;
    assert!(shown.contains("tessera_agent_sessions 0"), "{shown}");
    let line = "tessera_agent_reports_total{kind=\"received\",outcome=\"taken\"} 1";
    assert!(shown.contains(line), "{shown}");

    let one = json!({"session": session, "seen": {"kind": "disconnected", "clean": true}});
    for (reports, status, code) in [
        (json!(vec![one; limits::DAEMON_REPORTS + 1]), 413, "limit_reached"),
        (json!([{"session": session, "seen": {"kind": "seen"}}]), 400, "request_malformed"),
        (
            json!([{"session": session, "seen": {"kind": "disconnected", "clean": true, "more": 1}}]),
            400,
            "request_malformed",
        ),
    ] {
        let error = rig.client.post_json("/v1/report", &json!({ "reports": reports })).await;
        let error = error.unwrap_err();
        assert_eq!((error.status(), error.code()), (Some(status), Some(code)));
    }
    rig.end().await;
}

/// Sessions that are not closed take no room for ever.
#[tokio::test]
async fn sessions_of_one_client_are_few() {
    let rig = rig(true).await;
    let mut sessions = Vec::new();
    for counter in 0..10 {
        sessions.push(rig.open(counter + 1, &json!({"reports": true})).await);
    }
    let shown = rig.shown().await;
    assert!(shown.contains("tessera_agent_sessions 4"), "{shown}");
    let seen = json!({"kind": "received", "count": 1, "bytes": 1});
    assert_eq!(rig.report(&sessions[5], &seen).await["code"], "not_found");
    assert_eq!(rig.report(&sessions[6], &seen).await["holds"], true);
    rig.end().await;
}
