use super::*;

fn raw(text: &str) -> Result<Raw, Fault> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    Raw::read(Some(&path))
}

#[test]
fn defaults_hold() {
    let config = Raw::read(None).unwrap().validate("./d").unwrap();
    assert_eq!(config.data, PathBuf::from("./d"));
    assert_eq!(config.mqtt, Place::At(loopback(1883)));
    assert_eq!((config.http.port(), config.metrics.port()), (8080, 9464));
    assert_eq!(config.log, LogConfig { level: LOG_LEVEL.into(), format: Format::Text });
    assert_eq!(config.provisioning().unwrap().token_seconds, 3600);
    assert_eq!(
        config
            .broker(Some(&"http://x:1".into()))
            .unwrap()
            .provisioning
            .map(|service| service.url)
            .as_deref(),
        Some("http://x:1")
    );
}

#[test]
fn a_file_is_read_and_the_command_line_goes_before_it() {
    let text = "mqtt = \"0.0.0.0:1\"\naudience = \"b1\"\nderivation_key_file = \"k\"\n[log]\nlevel = \"warn\"\nformat = \"text\"\n[broker.limits]\nsockets = 7\n\
                [broker]\nauthz_info = true\n[broker.resumption]\nenabled = false\n";
    let args =
        LogArgs { log: Some("debug".into()), log_format: Some(LogFormat::Json), json: false };
    let given = raw(text).unwrap().with_log(&args);
    let flag = DerivationArgs { derivation_keys: Some("f".into()) };
    for (raw, file) in [
        (given.clone().with_derivation(&DerivationArgs::default()), "k"),
        (given.clone().with_derivation(&flag), "f"),
    ] {
        let file = Some(PathBuf::from(file));
        assert_eq!(raw.validate("d").unwrap().provisioning().unwrap().derivation_key_file, file);
    }
    let config = given.validate("d").unwrap();
    assert_eq!((config.mqtt.to_string().as_str(), config.audience.as_str()), ("0.0.0.0:1", "b1"));
    assert_eq!(config.log, LogConfig { level: "debug".into(), format: Format::Json });
    let broker = config.broker(Some(&"http://x:1".into())).unwrap();
    assert_eq!((broker.admission.sockets, broker.authz_info), (7, true));
    assert_eq!(broker.resumption, tessera_broker::resumption::TicketSettings::Off);
}

#[test]
fn enrolment_over_mqtt_is_read_and_needs_a_listener_that_others_cannot_read() {
    let on = "[broker]\nenrolment = true\n";
    let config = raw(on).unwrap().validate("d").unwrap();
    assert!(config.broker(Some(&"http://x:1".into())).unwrap().enrolment);
    let in_clear = format!("mqtt = \"0.0.0.0:1\"\n{on}");
    let fault = raw(&in_clear).unwrap().validate("d").err().unwrap().to_string();
    assert!(fault.contains("enrolment") && fault.contains("set mqtts, wss or quic"), "{fault}");
}

#[test]
fn the_schedule_of_keys_is_read_and_checked() {
    let keys = |text: &str| raw(text).and_then(|raw| raw.validate("d")?.provisioning());
    let config = keys("[provisioning.keys]\nrotate_seconds = 0").unwrap();
    assert_eq!((config.keys.rotate_seconds, config.keys.publish_ahead_seconds), (0, 172_800));
    assert_eq!(keys("").unwrap().keys.rotate_seconds, 7_776_000);
    for (text, named) in [
        ("publish_ahead_seconds = 60", "keys.publish_ahead_seconds must be"),
        ("rotate_seconds = 60", "keys.rotate_seconds must be"),
        ("rotate_seconds = 172800", "keys.publish_ahead_seconds must be less"),
        ("rotate = 60", "unknown field"),
    ] {
        let fault = keys(&format!("[provisioning.keys]\n{text}")).err().unwrap().to_string();
        assert!(fault.contains(named), "{fault}");
    }
}

#[test]
fn unknown_keys_are_named() {
    for (text, key) in [
        ("mqqt = \"127.0.0.1:0\"", "mqqt"),
        ("[log]\nlevle = \"info\"", "levle"),
        ("[broker]\nreason_string = true", "reason_string"),
        ("[tls]\ncertificate = \"x\"", "certificate"),
        ("[proxy]\nform = []", "form"),
        ("[broker.limits]\nsocket = 1", "socket"),
        ("[broker.resumption]\nrotate = 1", "rotate"),
    ] {
        let error = raw(text).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn what_cannot_hold_is_refused() {
    for text in [
        "audience = \"a name with spaces\"",
        "token_seconds = 1",
        "drain_seconds = 0",
        "not_followed_seconds = 9",
        "not_followed_seconds = 3601",
        "[log]\nlevel = \"loud,,=\"",
        "[log]\nformat = \"xml\"",
        "[broker.limits]\nsockets = 0",
        "[broker.resumption]\nrotate_every = 1",
        "mqtt = \"off\"",
        "mqtts = \"127.0.0.1:0\"",
        "[tls]\ncert = \"c\"\nkey = \"k\"\nclient_auth = \"maybe\"",
    ] {
        assert!(raw(text).unwrap().validate("d").is_err(), "{text}");
    }
    assert!(raw("mqtt = \"nowhere\"").is_err());
    assert!(Raw::read(Some(Path::new("/no/such/file"))).is_err());
}

#[test]
fn listeners_and_certificates_reach_the_broker() {
    let text = "mqtt = \"off\"\nwss = \"127.0.0.1:0\"\nquic = \"127.0.0.1:0\"\n[tls]\ncert = \"c.pem\"\nkey = \"old.pem\"\n[proxy]\nlisteners = [\"wss\"]\nfrom = [\"10.0.0.0/8\"]\n";
    let args = ListenArgs {
        mqtts: Some(loopback(8883)),
        key: Some("k.pem".into()),
        ..ListenArgs::default()
    };
    let config = raw(text).unwrap().with_listeners(&args).validate("d").unwrap();
    let broker = config.broker(Some(&"http://x:1".into())).unwrap();
    let listen: Vec<_> =
        broker.listen.iter().map(|one| (one.transport.as_str(), one.proxied)).collect();
    assert_eq!(listen, [("mqtts", false), ("wss", true), ("quic", false)]);
    let tls = broker.tls.unwrap();
    assert_eq!((tls.cert, tls.key), ("c.pem".into(), "k.pem".into()));
}

/// The keys that a section takes, read from the refusal of a key that does not exist.
fn keys_of(section: &str) -> Vec<String> {
    let unknown = "unknown_key = 0\n";
    let text =
        if section.is_empty() { unknown.to_owned() } else { format!("[{section}]\n{unknown}") };
    let refusal = toml::from_str::<Raw>(&text).unwrap_err().to_string();
    let expected = refusal.split("expected").nth(1).unwrap_or_else(|| panic!("{refusal}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

const SECTIONS: [&str; 17] = [
    "",
    "log",
    "tls",
    "https",
    "proxy",
    "behaviour",
    "behaviour.location",
    "broker",
    "broker.resumption",
    "broker.limits",
    "provisioning",
    "provisioning.database",
    "provisioning.keys",
    "provisioning.limits",
    "provisioning.pkcs11",
    "provisioning.push",
    "provisioning.webhooks",
];

/// The output of `tessera config print`.
fn printed(raw: Raw) -> String {
    show::to_toml(&serde_json::to_value(raw.filled("d")).unwrap())
}

#[test]
fn the_printed_settings_are_a_file_that_says_the_same() {
    let given = "mqtt = \"off\"\nws = \"127.0.0.1:0\"\naudience = \"b1\"\n[proxy]\nfrom = [\"10.0.0.0/8\"]\nlisteners = [\"ws\"]\n\
                 [broker.limits]\nsockets = 7\n[provisioning.limits]\ndevice_burst = 9\n\
                 [behaviour]\nbudget = 0.5\n[behaviour.policies.\"acme/3\"]\nshadow = true\n";
    for text in ["", given] {
        let first = printed(raw(text).unwrap());
        let again = raw(&first).unwrap();
        assert_eq!(printed(again.clone()), first);
        let (before, after) = (raw(text).unwrap().validate("d"), again.validate("d"));
        let (before, after) = (before.unwrap(), after.unwrap());
        assert_eq!(before.mqtt, after.mqtt);
        assert_eq!(before.log, after.log);
        let [one, two] = [before, after].map(|config| config.broker(None).unwrap());
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
    }
    let given = printed(raw(given).unwrap());
    for line in ["mqtt = \"off\"", "sockets = 7", "device_burst = 9", "# mqtts is not set"] {
        assert!(given.lines().any(|shown| shown == line), "{line}\n{given}");
    }
}

#[test]
fn every_setting_is_printed() {
    let printed = printed(Raw::default());
    for section in SECTIONS {
        let begin = if section.is_empty() {
            Some(printed.as_str())
        } else {
            printed.split(&format!("[{section}]\n")).nth(1)
        };
        let body = begin.unwrap_or_else(|| panic!("[{section}] is missing"));
        let body = body.split("\n[").next().unwrap();
        for key in keys_of(section) {
            let has = body.lines().any(|line| {
                line.starts_with(&format!("{key} = ")) || line == format!("# {key} is not set")
            });
            let is_section = printed.contains(&match section {
                "" => format!("[{key}]"),
                _ => format!("[{section}.{key}]"),
            });
            assert!(has || is_section, "{section} {key}\n{printed}");
        }
    }
}

#[test]
fn files_that_a_setting_names_are_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (file, there) = (folder.path().join("c.toml"), folder.path().join("ca.pem"));
    let check = || show::check(&file);
    std::fs::write(&file, format!("cafile = {there:?}\n")).unwrap();
    let fault = check().err().unwrap().to_string();
    assert!(fault.contains("cafile") && fault.contains("c.toml"), "{fault}");
    std::fs::write(&there, "").unwrap();
    assert_eq!(check().unwrap(), 1);
    std::fs::write(&file, "drain_seconds = 0\n").unwrap();
    let fault = check().err().unwrap().to_string();
    assert!(fault.contains("drain_seconds = 0: use 1 to 600"), "{fault}");
}

#[test]
fn settings_and_their_page_are_the_same() {
    let page = include_str!("../../../docs/settings.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: std::collections::BTreeSet<String> = rows
        // Flags without a key, and variables of the environment.
        .filter(|row| !row.starts_with("--") && !row.starts_with(char::is_uppercase))
        .map(str::to_owned)
        .collect();
    let mut keys = std::collections::BTreeSet::new();
    for section in SECTIONS {
        for key in keys_of(section) {
            let key = if section.is_empty() { key } else { format!("{section}.{key}") };
            // A section has its keys in the page, and no row. A section that is not in the list has to have one.
            let is_section =
                SECTIONS.iter().any(|known| *known == key || known.starts_with(&format!("{key}.")));
            if !is_section {
                keys.insert(key);
            }
        }
    }
    assert!(keys.len() > 60, "{keys:?}");
    assert_eq!(rows, keys, "docs/settings.md: left the page, right the settings");
}

/// Every setting that has a value, by its whole key.
fn flat(prefix: &str, value: &serde_json::Value, into: &mut Vec<(String, String)>) {
    for (key, value) in value.as_object().unwrap() {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            serde_json::Value::Object(_) => flat(&key, value, into),
            serde_json::Value::String(text) => into.push((key, text.clone())),
            serde_json::Value::Number(_) | serde_json::Value::Bool(_) => {
                into.push((key, value.to_string()));
            }
            _ => {}
        }
    }
}

#[test]
fn defaults_and_their_page_are_the_same() {
    let page = include_str!("../../../docs/settings.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows: std::collections::BTreeMap<&str, &str> = rows.collect();
    let mut defaults = Vec::new();
    let printed = serde_json::to_value(Raw::default().filled("./tessera-data")).unwrap();
    flat("", &printed, &mut defaults);
    assert!(defaults.len() > 60, "{defaults:?}");
    for (key, default) in defaults {
        let cell = rows[key.as_str()];
        let word = cell.split([' ', ';', ':', '|']).next().unwrap().trim_matches('`');
        let word = match word.chars().all(|c| c.is_ascii_digit() || c == ',') {
            true => word.replace(',', ""),
            // An address has a colon, and a text may have anything.
            false => cell.trim_start_matches('`').split('`').next().unwrap().to_owned(),
        };
        assert_eq!(word, default, "docs/settings.md: {key}");
    }
}
