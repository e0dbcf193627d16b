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
    assert_eq!((config.mqtt.port(), config.http.port(), config.metrics.port()), (1883, 8080, 9464));
    assert_eq!(config.log, LogConfig { level: LOG_LEVEL.into(), format: Format::Text });
    assert_eq!(config.provisioning().unwrap().token_seconds, 3600);
    assert_eq!(config.broker("http://x:1").unwrap().provisioning.as_deref(), Some("http://x:1"));
}

#[test]
fn a_file_is_read_and_the_command_line_goes_before_it() {
    let text = "mqtt = \"0.0.0.0:1\"\naudience = \"b1\"\n[log]\nlevel = \"warn\"\n[broker.limits]\nsockets = 7\n";
    let args = LogArgs { log: Some("debug".into()), log_format: None };
    let config = raw(text).unwrap().with_log(&args).validate("d").unwrap();
    assert_eq!((config.mqtt.port(), config.audience.as_str()), (1, "b1"));
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.broker("http://x:1").unwrap().admission.sockets, 7);
}

#[test]
fn unknown_keys_are_named() {
    for (text, key) in [
        ("mqqt = \"127.0.0.1:0\"", "mqqt"),
        ("[log]\nlevle = \"info\"", "levle"),
        ("[broker]\nreason_string = true", "reason_string"),
        ("[broker.limits]\nsocket = 1", "socket"),
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
        "[log]\nlevel = \"loud,,=\"",
        "[log]\nformat = \"xml\"",
        "[broker.limits]\nsockets = 0",
    ] {
        assert!(raw(text).unwrap().validate("d").is_err(), "{text}");
    }
    assert!(raw("mqtt = \"nowhere\"").is_err());
    assert!(Raw::read(Some(Path::new("/no/such/file"))).is_err());
}
