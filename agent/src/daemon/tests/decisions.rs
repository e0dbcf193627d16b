use super::*;
use tessera_token::trust::Change;

const TOPIC: &str = "d/d-1/telemetry";

impl Rig {
    /// A session for the device, by the proof with this number.
    pub(super) async fn open(&self, counter: u32, more: &Value) -> String {
        let mut question = self.question(counter);
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.call("/v1/connect", &question).await;
        assert_eq!(answer["allow"], true, "{answer}");
        answer["session"].as_str().unwrap().to_owned()
    }

    pub(super) async fn shown(&self) -> String {
        self.client.get("/metrics").await.unwrap().text()
    }
}

fn code(answer: &Value) -> (bool, Option<&str>) {
    (answer["allow"].as_bool().unwrap(), answer["code"].as_str())
}

#[tokio::test]
async fn publishes_and_subscriptions_are_decided_by_the_scope_of_the_session() {
    let rig = rig(true).await;
    let session = rig.open(1, &json!({"keep_alive": 60})).await;
    for (topic, wanted) in [
        (TOPIC, (true, None)),
        ("d/d-2/telemetry", (false, Some("publish_not_authorised"))),
        ("$tessera/token", (false, Some("publish_not_authorised"))),
        ("d/+/telemetry", (false, Some("request_malformed"))),
        ("", (false, Some("request_malformed"))),
    ] {
        let question =
            json!({"session": session, "topic": topic, "bytes": 10, "qos": 1, "retain": true});
        let answer = rig.call("/v1/publish", &question).await;
        assert_eq!(code(&answer), wanted, "{topic}");
        assert_eq!(answer["trust_age_seconds"], 0);
    }
    for (filter, wanted) in [
        ("d/d-1/cmd", (true, None)),
        ("$share/group/d/d-1/cmd", (true, None)),
        ("d/+/cmd", (false, Some("subscribe_not_authorised"))),
        ("#", (false, Some("subscribe_not_authorised"))),
        ("$share/group/$SYS/#", (false, Some("subscribe_not_authorised"))),
        ("a/#/b", (false, Some("request_malformed"))),
    ] {
        let question = json!({"session": session, "filter": filter, "qos": 2});
        assert_eq!(code(&rig.call("/v1/subscribe", &question).await), wanted, "{filter}");
    }
    for question in [
        json!({"session": session, "topic": TOPIC, "bytes": 10, "qos": 3}),
        json!({"session": session, "topic": TOPIC, "bytes": 268_435_456_u64}),
        json!({"topic": TOPIC, "bytes": 10}),
        json!({"session": session, "client_id": DEVICE, "password": "", "topic": TOPIC, "bytes": 1}),
    ] {
        let answer = rig.call("/v1/publish", &question).await;
        assert_eq!(code(&answer), (false, Some("request_malformed")), "{question}");
    }
    let unknown = json!({"session": "AAAAAAAAAAAAAAAAAAAAAA", "topic": TOPIC, "bytes": 1});
    assert_eq!(code(&rig.call("/v1/publish", &unknown).await), (false, Some("not_found")));
    let shown = rig.shown().await;
    let line = "tessera_agent_decisions_total{action=\"publish\",outcome=\"allow\"} 1";
    assert!(shown.contains(line), "{shown}");
    assert!(shown.contains("tessera_agent_sessions 1"), "{shown}");
    rig.end().await;
}

#[tokio::test]
async fn a_password_decides_one_action_and_is_used_up() {
    let rig = rig(true).await;
    let mut question = rig.question(1);
    question["topic"] = json!(TOPIC);
    question["bytes"] = json!(10);
    assert_eq!(code(&rig.call("/v1/publish", &question).await), (true, None));
    let again = rig.call("/v1/publish", &question).await;
    assert_eq!(code(&again), (false, Some("proof_replayed")));
    assert_eq!((&again["tenant"], &again["device"]), (&json!("acme"), &json!(DEVICE)));
    // The token alone is no credential.
    question["password"] = json!(base64url(&rig.world.token()));
    let alone = rig.call("/v1/publish", &question).await;
    assert_eq!(code(&alone), (false, Some("proof_missing")));
    let mut question = rig.question(2);
    question["filter"] = json!("d/d-2/cmd");
    let other = rig.call("/v1/subscribe", &question).await;
    assert_eq!(code(&other), (false, Some("subscribe_not_authorised")));
    rig.end().await;
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_with_a_revocation() {
    let rig = rig(true).await;
    let session = rig.open(1, &json!({})).await;
    let publish = json!({"session": session, "topic": TOPIC, "bytes": 1});
    assert_eq!(code(&rig.call("/v1/publish", &publish).await), (true, None));
    let trust = rig.daemon.agent().trust();
    let old = trust.load().as_ref().clone();
    let mut world = World::new();
    world.event(Change::Device(tessera_token::trust::DeviceEpoch {
        tenant: tenant(),
        device: device(DEVICE),
        epoch: 9,
        at: at(NOW),
    }));
    let answer = tessera_token::trust::FeedAnswer::from_cbor(&world.feed(0, NOW).to_cbor());
    trust.publish(old.with_answer(&answer.unwrap(), &NONCE).state, None);
    assert_eq!(code(&rig.call("/v1/publish", &publish).await), (false, Some("device_epoch")));
    let noted = json!({"reports": [{"session": session, "seen": {"kind": "received", "count": 1, "bytes": 1}}]});
    let noted = rig.call("/v1/report", &noted).await;
    let wanted = (&json!(true), &json!(false), &json!("device_epoch"));
    let noted = &noted["answers"][0];
    assert_eq!((&noted["taken"], &noted["holds"], &noted["code"]), wanted);
    rig.end().await;
}

#[tokio::test]
async fn a_session_ends_when_its_token_expires() {
    let rig = rig(true).await;
    let session = rig.open(1, &json!({})).await;
    rig.clock.advance(Duration::from_secs(3600));
    let publish = json!({"session": session, "topic": TOPIC, "bytes": 1});
    assert_eq!(code(&rig.call("/v1/publish", &publish).await), (false, Some("token_expired")));
    rig.end().await;
}

#[tokio::test]
async fn a_batch_has_one_answer_for_each_question_in_order() {
    let rig = rig(true).await;
    let session = rig.open(1, &json!({})).await;
    let mut connect = rig.question(2);
    connect["ask"] = json!("connect");
    connect["reports"] = json!(true);
    let questions = json!([
        {"ask": "publish", "session": session, "topic": TOPIC, "bytes": 1},
        connect.clone(),
        connect,
        {"ask": "subscribe", "session": session, "filter": "d/d-2/cmd"},
    ]);
    let answer = rig.call("/v1/batch", &json!({ "questions": questions })).await;
    let answers = answer["answers"].as_array().unwrap();
    // The connect took the place of the session that the caller does not report on: it is over.
    let codes: Vec<_> = answers.iter().map(code).collect();
    let wanted =
        [(true, None), (true, None), (false, Some("proof_replayed")), (false, Some("not_found"))];
    assert_eq!(codes, wanted);
    assert!(answers[1]["session"].is_string() && answers[0].get("session").is_none());

    let one = json!({"ask": "publish", "session": session, "topic": TOPIC, "bytes": 1});
    let many = vec![one.clone(); limits::DAEMON_BATCH + 1];
    for (questions, status, code) in [
        (json!(many), 413, "limit_reached"),
        (json!([{"ask": "fly", "session": session}]), 400, "request_malformed"),
        (
            json!([{"ask": "publish", "session": session, "topic": "a", "bytes": 1, "more": 1}]),
            400,
            "request_malformed",
        ),
    ] {
        let error = rig.client.post_json("/v1/batch", &json!({ "questions": questions })).await;
        let error = error.unwrap_err();
        assert_eq!((error.status(), error.code()), (Some(status), Some(code)));
    }
    let long = json!({"questions": [{"ask": "publish", "session": "x".repeat(limits::DAEMON_LIST_BODY_BYTES), "topic": "a", "bytes": 1}]});
    let error = rig.client.post_json("/v1/batch", &long).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(413), Some("limit_reached")));
    rig.end().await;
}

#[tokio::test]
async fn cbor_is_answered_as_json_is() {
    use tessera_token::cbor::{Reader, Writer};
    let rig = rig(true).await;
    let password = rig.world.password(&rig.world.token(), NOW, 1);
    let mut body = Writer::new();
    // The password as bytes, and members in the order of an encoder that does not sort.
    body.map(2).text("password").bytes(&password).text("client_id").text(DEVICE);
    let answer = rig.client.post("/v1/connect", "application/cbor", body.finish()).await.unwrap();
    let members = crate::daemon::cbor::read(&answer.body).unwrap();
    assert_eq!((&members["allow"], &members["device"]), (&json!(true), &json!(DEVICE)));
    let session = members["session"].as_str().unwrap();
    let mut body = Writer::new();
    body.map(3).text("session").text(session).text("topic").text(TOPIC).text("bytes").uint(3);
    let answer = rig.client.post("/v1/publish", "application/cbor", body.finish()).await.unwrap();
    let mut reader = Reader::new(&answer.body);
    assert_eq!((reader.map(), reader.text(), reader.bool()), (Ok(4), Ok("allow"), Ok(true)));
    let mut unknown = Writer::new();
    unknown.map(1).text("more").uint(1);
    for (media, body, status) in [
        ("application/cbor", unknown.finish(), 400),
        ("application/cbor", vec![0xff], 400),
        ("application/cbor", vec![0; limits::VALIDATE_BODY_BYTES + 1], 413),
        ("text/plain", b"{}".to_vec(), 415),
    ] {
        let error = rig.client.post("/v1/publish", media, body).await.unwrap_err();
        assert_eq!(error.status(), Some(status), "{media}");
        let code = if status == 413 { "limit_reached" } else { "request_malformed" };
        assert_eq!(error.code(), Some(code));
    }
    rig.end().await;
}

#[tokio::test]
async fn rules_and_restraints_are_asked_beside_the_scope() {
    use tessera_rules::attributes::On;
    use tessera_rules::rule::{Action, Draft, Mode, Rule, Selector};
    use tessera_token::trust::{Restraint, RuleEntry, Step};

    let rig = rig(true).await;
    let session = rig.open(1, &json!({})).await;
    let publish = |bytes| json!({"session": session, "topic": TOPIC, "bytes": bytes});
    let mut world = World::new();
    let rule = Draft {
        id: "large".into(),
        version: 1,
        on: On::Publish,
        selector: Selector {
            tenant: "acme".into(),
            devices: vec![DEVICE.into()],
            ..Selector::default()
        },
        text: "bytes > 100".into(),
        action: Action::Deny,
        mode: Mode::Enforce,
        not_before: at(NOW),
        expires: at(NOW + 60),
        author: "maria".into(),
        reason: "a test".into(),
    };
    let rule = Rule::new(rule).unwrap().to_cbor();
    world.event(Change::Rule(RuleEntry { tenant: tenant(), id: "large".into(), rule }));
    let trust = rig.daemon.agent().trust();
    let old = trust.load().as_ref().clone();
    let answer = tessera_token::trust::FeedAnswer::from_cbor(&world.feed(0, NOW).to_cbor());
    let ruled = old.with_answer(&answer.unwrap(), &NONCE).state;
    trust.publish(ruled.clone(), None);
    assert_eq!(code(&rig.call("/v1/publish", &publish(101)).await), (false, Some("rule_denied")));
    assert_eq!(code(&rig.call("/v1/publish", &publish(100)).await), (true, None));
    let held = |step| {
        let (tenant, device) = (tenant(), device(DEVICE));
        Change::Restraint(Restraint { tenant, device, step, at: at(NOW + 1), until: at(NOW + 30) })
    };
    world.event(held(Step::Quarantine));
    let answer = tessera_token::trust::FeedAnswer::from_cbor(&world.feed(1, NOW).to_cbor());
    let quarantined = ruled.with_answer(&answer.unwrap(), &NONCE).state;
    trust.publish(quarantined.clone(), None);
    assert_eq!(code(&rig.call("/v1/publish", &publish(1)).await), (false, Some("quarantined")));
    // A caller that reports alone hears of it too.
    let noted = json!({"reports": [{"session": session, "seen": {"kind": "alive"}}]});
    let noted = rig.call("/v1/report", &noted).await;
    let noted = &noted["answers"][0];
    assert_eq!((&noted["holds"], &noted["code"]), (&json!(false), &json!("quarantined")));
    world.event(held(Step::StepUp));
    let answer = tessera_token::trust::FeedAnswer::from_cbor(&world.feed(2, NOW).to_cbor());
    trust.publish(quarantined.with_answer(&answer.unwrap(), &NONCE).state, None);
    let asked = rig.call("/v1/publish", &publish(1)).await;
    assert_eq!(code(&asked), (false, Some("step_up_required")));
    // All of it is over.
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(code(&rig.call("/v1/publish", &publish(101)).await), (true, None));
    rig.end().await;
}

#[tokio::test]
async fn wrong_credentials_are_told_and_are_about_no_device() {
    use crate::behaviour::Subject;

    let rig = rig(true).await;
    let mut alerts = rig.daemon.agent().observer().alerts();
    for number in 0..60 {
        let password = tessera_token::encoding::base64url(format!("wrong {number}").as_bytes());
        let question = json!({"client_id": DEVICE, "password": password, "address": "203.0.113.9"});
        assert!(!code(&rig.call("/v1/connect", &question).await).0);
    }
    let told = tokio::time::timeout(Duration::from_secs(10), alerts.recv()).await;
    let told = told.unwrap().unwrap();
    assert_eq!(told.subject, Subject::Campaign("credential_stuffing".to_owned()));
    assert_eq!((told.tenant.as_str(), told.devices.len()), (tenant().as_str(), 0));
    assert_eq!(told.address.as_deref(), Some("203.0.113.9"));
    rig.end().await;
}
