//! Tokens with a symmetric key, from the command line to the broker and back.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tessera_runtime::secret::write_secret_file;
use tessera_tests::process::{ok, run, tessera, Process};
use tessera_tests::server::{Device, Server};
use tessera_token::encoding::hex;

/// A file of derivation keys, newest first.
fn keys(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("derivation.keys");
    let lines = bytes.iter().map(|byte| format!("mqtt {}\n", hex::encode([*byte; 32])));
    write_secret_file(&path, lines.collect::<String>().as_bytes()).unwrap();
    path
}

fn server(bytes: &[u8]) -> Server {
    let folder = TempDir::new().unwrap();
    let path = keys(folder.path(), bytes);
    Server::start_with(folder, &["--derivation-keys", path.to_str().unwrap()])
}

fn device(words: &[&str], device: &Device) -> Command {
    let mut command = Command::new(tessera());
    command.arg("device").args(words).arg("--dir").arg(&device.folder);
    command
}

fn test(sensor: &Device) -> (bool, String) {
    let mqtt = sensor.mqtt.to_string();
    run(device(&["connect", "--test", "--mqtt", &mqtt], sensor).env_remove("RUST_LOG"))
}

#[test]
fn a_device_lives_by_symmetric_keys_until_it_is_revoked() {
    let server = server(&[1]);
    let sensor = server.enrol("h-1", "sensor");
    ok(&mut device(&["token", "--refresh", "--pop", "hmac"], &sensor));
    let first = sensor.token();
    assert_eq!(
        (first["pop_key"].as_str(), &first["key_thumbprint"]),
        (Some("symmetric"), &Value::Null)
    );
    let (good, output) = test(&sensor);
    assert!(good, "{output}");
    let (well, told) = run(
        device(&["doctor", "--mqtt", &sensor.mqtt.to_string()], &sensor).env_remove("RUST_LOG")
    );
    assert!(well && told.contains("the device is well"), "{told}");
    // The next token is of the same kind, unless another one is asked for.
    let shown = ok(&mut device(&["token", "--refresh"], &sensor));
    assert!(shown.contains("to a symmetric key"), "{shown}");
    let mut listens = Process::start(sensor.mosquitto("mosquitto_sub").args([
        "-V",
        "5",
        "-q",
        "1",
        "-t",
        "d/h-1/cmd",
    ]));
    listens.line("subscribed", |line| line.contains("SUBACK"));
    server.revoke("h-1");
    listens.line("DISCONNECT", |line| line.contains("DISCONNECT (152)"));
    listens.kill();
    let (good, output) = test(&sensor);
    assert!(!good && output.contains("device_revoked"), "{output}");
    server.stop();
}

#[test]
fn a_fleet_by_symmetric_keys_and_what_the_audit_log_says_of_it() {
    let server = server(&[1, 2]);
    let words = ["sim", "run", "--devices", "12", "--for", "6s", "--pop", "hmac"];
    let mqtt = server.mqtt.to_string();
    let (good, output) = run(server.operator(&words).args(["--mqtt", &mqtt]));
    assert!(good, "{output}");
    let audit = ok(&mut server.operator(&["audit", "list", "--json"]));
    assert!(audit.matches("token.symmetric").count() >= 12, "{audit}");
    server.stop();
}

#[test]
fn without_the_setting_it_is_told_that_there_is_none() {
    let server = Server::start();
    let sensor = server.enrol("h-1", "sensor");
    let (good, output) = run(&mut device(&["token", "--refresh", "--pop", "hmac"], &sensor));
    assert!(!good && output.contains("symmetric_not_offered"), "{output}");
    // The token that it held is as good as before.
    let (good, output) = test(&sensor);
    assert!(good, "{output}");
}

#[test]
fn a_server_does_not_start_with_keys_that_others_can_read_or_that_are_for_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let path = keys(folder.path(), &[1]);
    let up = |data: &str| {
        run(Command::new(tessera())
            .args(["up", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--metrics", "127.0.0.1:0", "--log", "error", "--derivation-keys"])
            .arg(&path)
            .arg("--data")
            .arg(folder.path().join(data)))
    };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (good, output) = up("open");
    assert!(!good && output.contains("others can read it"), "{output}");
    write_secret_file(&path, format!("elsewhere {}", "01".repeat(32)).as_bytes()).unwrap();
    let (good, output) = up("foreign");
    assert!(!good && output.contains("another audience"), "{output}");
    assert!(!output.contains("0101"), "{output}");
}
