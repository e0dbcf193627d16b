//! Output of the command line for people.

use std::process::{Command, Stdio};

use tessera_tests::process::{ok, run, tessera};
use tessera_tests::server::Server;
use tessera_token::encoding::hex;

#[test]
fn help_teaches_and_wrong_words_are_told() {
    let help = ok(Command::new(tessera()).arg("--help"));
    for word in ["up", "demo", "device", "sim", "revoke", "claim"] {
        assert!(help.contains(word), "{word} is not in --help");
    }
    for command in ["up", "demo", "broker", "provision", "agent", "backup", "restore"] {
        let help = ok(Command::new(tessera()).args([command, "--help"]));
        assert!(help.contains("xample"), "{command} --help has no example");
    }
    let (good, output) = run(Command::new(tessera()).args(["up", "--mqqt", "x"]));
    assert!(!good && output.contains("--mqtt"), "{output}");
}

#[test]
fn an_unknown_key_in_the_configuration_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let config = folder.path().join("tessera.toml");
    std::fs::write(&config, "mqqt = \"127.0.0.1:0\"\n").unwrap();
    let (good, output) = run(Command::new(tessera())
        .args(["up", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(folder.path().join("data")));
    assert!(!good && output.contains("mqqt"), "{output}");
    assert!(!folder.path().join("data").exists(), "a refused start left something behind");
}

#[test]
fn the_doctor_explains_a_revoked_device() {
    let server = Server::start();
    let sensor = server.enrol("c-1", "sensor");
    let mqtt = server.mqtt.to_string();
    let doctor = || {
        run(Command::new(tessera())
            .args(["device", "doctor", "--mqtt", &mqtt, "--dir"])
            .arg(&sensor.folder))
    };
    let (good, output) = doctor();
    assert!(good, "{output}");
    server.revoke("c-1");
    let (good, output) = doctor();
    assert!(!good && output.contains("revoked"), "{output}");
}

#[test]
fn credentials_for_load_tools_are_accepted_by_the_broker() {
    let server = Server::start();
    let file = server.folder.path().join("credentials.tsv");
    let mut command =
        server.operator(&["sim", "credentials", "--devices", "5", "--proof", "connect"]);
    ok(command.arg("--out").arg(&file));
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().count(), 5);
    for line in lines.lines() {
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap().to_owned();
        let (client_id, user, password) = (next(), next(), hex::decode(next()).unwrap());
        let text = tessera_token::encoding::base64url(&password);
        let topic = format!("d/{client_id}/telemetry");
        let (sent, output) = run(Command::new("mosquitto_pub")
            .args(["-d", "-h", "127.0.0.1", "-p", &server.mqtt.port().to_string()])
            .args([
                "-i", &client_id, "-u", &user, "-P", &text, "-q", "1", "-t", &topic, "-m", "x",
            ]));
        assert!(sent, "{output}");
    }
}

#[test]
fn an_operator_sees_and_changes_what_the_fleet_is() {
    let server = Server::start();
    server.enrol("c-1", "sensor");
    let devices = ok(&mut server.operator(&["devices"]));
    assert!(devices.contains("c-1") && devices.contains("sensor"), "{devices}");
    let audit = ok(&mut server.operator(&["audit", "list"]));
    assert!(audit.contains("device.enrol"), "{audit}");
    ok(&mut server.operator(&["keys", "rotate"]));
    let second = server.enrol("c-2", "sensor");
    let words = ["-q", "1", "-t", "d/c-2/telemetry", "-m", "x"];
    let (sent, output) = run(second.mosquitto("mosquitto_pub").args(words));
    assert!(sent, "a token of the rotated key was refused: {output}");
}

#[test]
fn bearer_credentials_are_good_only_where_the_tenant_allows_them() {
    let server = Server::start();
    let file = server.folder.path().join("credentials.tsv");
    let words = ["sim", "credentials", "--devices", "1", "--proof", "bearer"];
    let (good, output) = run(server.operator(&words).arg("--out").arg(&file));
    assert!(!good && output.contains("bearer"), "{output}");
    ok(&mut server.operator(&["tenant", "bearer", "default", "on"]));
    ok(server.operator(&words).arg("--out").arg(&file));
    let line = std::fs::read_to_string(&file).unwrap();
    let fields: Vec<&str> = line.trim_end().split('\t').collect();
    let token = tessera_token::encoding::base64url(&hex::decode(fields[2]).unwrap());
    let topic = format!("d/{}/telemetry", fields[0]);
    let publish = || {
        run(Command::new("mosquitto_pub")
            .args(["-d", "-h", "127.0.0.1", "-p", &server.mqtt.port().to_string()])
            .args(["-i", fields[0], "-u", fields[1], "-P", &token])
            .args(["-q", "1", "-t", &topic, "-m", "x"]))
    };
    assert!(publish().0, "a bearer token was refused where it is allowed");
    assert!(publish().0, "a bearer token is good more than once");
    ok(&mut server.operator(&["tenant", "bearer", "default", "off"]));
    assert!(!publish().0, "a bearer token got in after the tenant took it back");
}

#[test]
fn a_start_that_cannot_be_is_told_in_a_line() {
    let server = Server::start();
    let data = server.data();
    let up = |mqtt: &str, data: &std::path::Path| {
        run(Command::new(tessera())
            .args(["up", "--mqtt", mqtt, "--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
            .args(["--log", "error", "--data"])
            .arg(data))
    };
    let (good, output) = up("127.0.0.1:0", &data);
    assert!(!good && output.contains("in use by another process"), "{output}");
    let taken = server.mqtt.to_string();
    let (good, output) = up(&taken, &server.folder.path().join("other"));
    assert!(!good && output.contains(&taken) && output.contains("in use"), "{output}");
    assert!(!output.contains("panicked"), "{output}");
}

/// The exit status of a command whose standard output goes to this file, and what it says on its error output.
fn into(command: &mut Command, file: std::fs::File) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).stdout(file).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A pipe that is not read.
fn unread() -> std::fs::File {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    std::fs::File::from(std::os::fd::OwnedFd::from(writer))
}

#[test]
fn output_that_cannot_be_written_has_an_exit_code_of_its_own() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = Server::start();
    let device = server.enrol("w-1", "sensor");
    let folder = device.folder.display().to_string();
    let of_device = |words: &[&str]| {
        let mut command = Command::new(tessera());
        command.args(["device"]).args(words).args(["--dir", &folder]);
        command
    };
    let mut help = Command::new(tessera());
    help.arg("--help");
    let mut verb_help = Command::new(tessera());
    verb_help.args(["claim", "create", "--help"]);
    let mut version = Command::new(tessera());
    version.arg("--version");
    let mut commands = vec![
        help,
        verb_help,
        version,
        server.operator(&["devices"]),
        server.operator(&["devices", "--json"]),
        server.operator(&["audit", "list"]),
        server.operator(&["keys", "list"]),
        server.operator(&["tenant", "list"]),
        of_device(&["token"]),
        of_device(&["password"]),
        of_device(&["doctor"]),
    ];
    for command in &mut commands {
        let (code, told) = into(command, full());
        assert_eq!(code, Some(74), "{command:?}: {told}");
        assert!(told.contains("standard output"), "{command:?}: {told}");
        let (code, told) = into(command, unread());
        assert_eq!((code, told.as_str()), (Some(141), ""), "{command:?}");
    }
    // A thing that was made and cannot be shown again is told.
    for (words, file, expected) in [
        (vec!["claim", "create", "--role", "sensor"], full(), 74),
        (vec!["claim", "create", "--role", "sensor", "--json"], full(), 74),
        (vec!["claim", "create", "--role", "sensor", "--plain"], unread(), 141),
    ] {
        let (code, told) = into(&mut server.operator(&words), file);
        assert_eq!(code, Some(expected), "{words:?}: {told}");
        assert!(told.contains("claim delete"), "{words:?}: {told}");
    }
    let made = ok(&mut server.operator(&["claim", "list", "--json"]));
    assert_eq!(made.matches("\"open\"").count(), 3, "{made}");
    let account = ["operator", "create", "night", "--role", "viewer", "--tenant", "default"];
    let (code, told) = into(&mut server.operator(&account), full());
    assert_eq!(code, Some(74), "{told}");
    assert!(told.contains("tessera operator delete night"), "{told}");
}

/// Output to a pipe ends in logs, so it has the path alone. A lost token is made again on the machine.
#[test]
fn the_first_token_is_for_a_terminal_and_a_lost_one_is_made_again() {
    let server = Server::start();
    let first = server.operator_token();
    let told = server.process.output();
    assert!(told.contains("operator.token") && !told.contains("tsr_op_"), "{told}");
    ok(&mut server.operator(&["tenant", "create", "acme"]));
    let data = server.data();
    let renew =
        || run(Command::new(tessera()).args(["provision", "--new-operator", "--data"]).arg(&data));
    let (good, output) = renew();
    assert!(!good && output.contains("stop the server"), "{output}");
    let folder = server.stop();
    let (good, output) = renew();
    assert!(good && output.contains("operator.token") && !output.contains("tsr_op_"), "{output}");
    let server = Server::start_with(folder, &[]);
    assert_ne!(server.operator_token(), first);
    let log = ok(&mut server.operator(&["audit", "list"]));
    assert!(log.contains("operator.renew"), "{log}");
    ok(&mut server.operator(&["audit", "verify"]));
    let (good, output) =
        run(server.operator(&["tenant", "list"]).env("TESSERA_OPERATOR_TOKEN", &first));
    assert!(!good && output.contains("operator_unknown"), "{output}");
}

#[test]
fn an_account_of_a_tenant_sees_that_tenant() {
    let server = Server::start();
    ok(&mut server.operator(&["tenant", "create", "acme"]));
    let made = ok(&mut server.operator(&[
        "operator", "create", "ann", "--role", "viewer", "--tenant", "acme", "--json",
    ]));
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let as_ann = |words: &[&str]| {
        run(server.operator(words).env("TESSERA_OPERATOR_TOKEN", made["token"].as_str().unwrap()))
    };
    let (good, output) = as_ann(&["tenant", "list"]);
    assert!(good && output.contains("acme") && !output.contains("default"), "{output}");
    let (good, foreign) = as_ann(&["devices", "--tenant", "default"]);
    let (_, none) = as_ann(&["devices", "--tenant", "nothing"]);
    assert!(!good && foreign.replace("default", "nothing") == none, "{foreign} {none}");
    let listed = ok(&mut server.operator(&["operator", "list"]));
    assert!(listed.contains("ann") && listed.contains("acme"), "{listed}");
    ok(&mut server.operator(&["operator", "delete", "ann"]));
    assert!(!as_ann(&["tenant", "list"]).0);
}
