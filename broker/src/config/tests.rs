use super::*;

#[test]
fn the_defaults_hold() {
    let config = RawBrokerConfig::default().validate().unwrap();
    assert_eq!((config.listen.len(), config.listen[0].address.port()), (1, 1883));
    assert!(config.verification_workers >= 1);
}

#[test]
fn what_cannot_hold_is_named() {
    let key = |change: fn(&mut RawBrokerConfig)| {
        let mut raw = RawBrokerConfig::default();
        change(&mut raw);
        raw.validate().unwrap_err().key
    };
    assert_eq!(key(|raw| raw.mqtt = None), "mqtt");
    assert_eq!(key(|raw| raw.mqtts = raw.mqtt), "tls.cert");
    assert_eq!(key(|raw| raw.wss = raw.mqtt), "tls.cert");
    assert_eq!(key(|raw| raw.quic = raw.mqtt), "tls.cert");
    let proxied = |raw: &mut RawBrokerConfig| {
        raw.proxy.listeners = vec!["quic".to_owned()];
        raw.proxy.from = vec!["10.0.0.0/8".to_owned()];
    };
    assert_eq!(key(proxied), "proxy.listeners");
    assert_eq!(key(|raw| raw.tls.key = Some("k".into())), "tls.cert");
    assert_eq!(key(|raw| raw.proxy.listeners = vec!["mqtt".to_owned()]), "proxy.from");
    assert_eq!(key(|raw| raw.proxy.listeners = vec!["mqt".to_owned()]), "proxy.listeners");
    for url in ["ftp://x", "http://", "https:///", "http:a", "x", "", "http://a b"] {
        let raw = RawBrokerConfig { provisioning: Some(url.to_owned()), ..Default::default() };
        assert_eq!(raw.validate().unwrap_err().key, "provisioning", "{url}");
    }
    // A claim code is taken over TLS or on a loopback address: with neither, the switch is a mistake.
    let in_clear = |raw: &mut RawBrokerConfig| {
        raw.enrolment = true;
        raw.mqtt = Some(SocketAddr::from(([0, 0, 0, 0], 1883)));
        raw.ws = Some(SocketAddr::from(([192, 0, 2, 1], 8080)));
    };
    assert_eq!(key(in_clear), "enrolment");
    let local = RawBrokerConfig { enrolment: true, ..RawBrokerConfig::default() };
    assert!(local.validate().unwrap().enrolment);
    assert_eq!(key(|raw| raw.ace_challenge = Some("sometimes".to_owned())), "ace_challenge");
    assert_eq!(key(|raw| raw.resumption.rotate_every = 1), "resumption.rotate_every");
    assert_eq!(key(|raw| raw.resumption.rotate_every = u64::MAX), "resumption.rotate_every");
    let unused = |raw: &mut RawBrokerConfig| {
        raw.resumption.enabled = false;
        raw.resumption.ticket_key_file = Some("keys".into());
    };
    assert_eq!(key(unused), "resumption.ticket_key_file");
    assert_eq!(key(|raw| raw.limits.sockets = 0), "limits.sockets");
    assert_eq!(key(|raw| raw.limits.receive_maximum = 0), "limits.receive_maximum");
    assert_eq!(key(|raw| raw.limits.max_packet = usize::MAX), "limits.max_packet");
    assert_eq!(key(|raw| raw.limits.verification_workers = 9999), "limits.verification_workers");
}

#[test]
fn every_number_is_taken_or_named_at_its_ends() {
    let keys = [
        "sockets",
        "sockets_per_prefix",
        "half_open",
        "half_open_per_prefix",
        "connects_per_second",
        "challenges_per_second",
        "challenges_per_second_per_prefix",
        "max_packet",
        "receive_maximum",
        "queue_messages",
        "queue_bytes",
        "subscriptions",
        "sessions",
        "session_expiry",
        "keep_alive",
        "retained_messages",
        "retained_bytes",
        "verification_workers",
    ];
    for key in keys {
        for (value, holds) in [
            ("0", matches!(key, "session_expiry" | "verification_workers")),
            ("4294967295", false),
            ("18446744073709551615", false),
            ("-1", false),
        ] {
            let text = format!(r#"{{"limits": {{"{key}": {value}}}}}"#);
            let read = serde_json::from_str::<RawBrokerConfig>(&text);
            // A number that its type cannot hold is refused as the file is read.
            let config = read.ok().map(RawBrokerConfig::validate);
            let bytes = key == "retained_bytes" && value == "4294967295";
            match config {
                Some(Ok(_)) => assert!(holds || bytes, "{text}"),
                Some(Err(error)) => assert_eq!(error.key, format!("limits.{key}"), "{text}"),
                None => assert!(value != "0", "{text}"),
            }
        }
    }
}

#[test]
fn addresses_are_read_or_refused_with_the_text() {
    let read = |text: &str| serde_json::from_str::<RawBrokerConfig>(text);
    let raw = read(r#"{"mqtt": "off", "wss": "[::1]:8", "http": "127.0.0.1:9"}"#).unwrap();
    assert_eq!((raw.mqtt, raw.mqtts), (None, None));
    assert_eq!(raw.wss.map(|at| at.to_string()).as_deref(), Some("[::1]:8"));
    assert_eq!(raw.http.port(), 9);
    assert_eq!(read("{}").unwrap().mqtt.map(|at| at.port()), Some(1883));
    let refused = read(r#"{"mqtt": "nowhere"}"#).unwrap_err().to_string();
    assert!(refused.contains("\"nowhere\" is no address:port"), "{refused}");
    for key in ["mqtts", "ws", "wss", "quic", "http"] {
        for bad in ["x", "", "off", "localhost:1883", "127.0.0.1", "127.0.0.1:70000"] {
            assert!(read(&format!(r#"{{"{key}": "{bad}"}}"#)).is_err(), "{key} {bad}");
        }
    }
}

#[test]
fn unknown_keys_are_refused() {
    let read = serde_json::from_str::<RawBrokerConfig>;
    assert!(read(r#"{"mqtt": "127.0.0.1:0", "limits": {"sockets": 5}}"#).is_ok());
    assert!(read(r#"{"mqt": "127.0.0.1:0"}"#).is_err());
    assert!(read(r#"{"limits": {"socket": 5}}"#).is_err());
}
