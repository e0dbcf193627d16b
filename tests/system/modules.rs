//! Issuer keys in a security module, by the built program and SoftHSM: a fleet that is served by them, and a PIN that is
//! nowhere to be found.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tessera_runtime::pkcs11::testing::{SoftHsm, SoftToken};
use tessera_tests::process::{ok, run, tessera, Process};
use tessera_tests::server::{run_file, Device, Provisioning};

const PIN: &str = "canary-pin-90417";

fn provision(hsm: &SoftHsm, token: Option<&SoftToken>, data: &Path) -> Command {
    let mut command = Command::new(tessera());
    let (name, value) = hsm.variable();
    command.env(name, value).args(["provision", "--http", "127.0.0.1:0", "--log", "trace"]);
    command.arg("--data").arg(data);
    if let Some(token) = token {
        command.arg("--pkcs11-module").arg(SoftHsm::module());
        command.args(["--pkcs11-token", &token.label]);
        command.arg("--pkcs11-pin-file").arg(&token.pin_file);
    }
    command
}

fn started(mut command: Command, folder: TempDir) -> Provisioning {
    let mut process = Process::start(&mut command);
    process.line("ready", |line| line == "ready");
    let http = run_file(&folder.path().join("p"))["http"].as_str().unwrap().to_owned();
    Provisioning { folder, process, http }
}

fn broker(parts: &Provisioning) -> Process {
    let p = parts.folder.path().join("p");
    let mut process = Process::start(
        Command::new(tessera())
            .args(["broker", "--mqtt", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
            .args(["--provisioning", &format!("http://{}", parts.http), "--data"])
            .arg(parts.folder.path().join("b"))
            .arg("--feed-token")
            .arg(p.join("feed.token"))
            .arg("--root")
            .arg(p.join("root.thumbprint")),
    );
    process.line("ready", |line| line == "ready");
    process
}

fn publishes(device: &Device) {
    let topic = format!("d/{}/telemetry", device.id);
    let (sent, output) =
        run(device.mosquitto("mosquitto_pub").args(["-q", "1", "-t", &topic, "-m", "x"]));
    assert!(sent, "{output}");
}

/// The files below a folder that hold these bytes.
fn found_below(folder: &Path, bytes: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match fs::symlink_metadata(&path).unwrap().is_dir() {
            true => found_below(&path, bytes, found),
            // A socket is no file that can be read.
            false => {
                let content = fs::read(&path).unwrap_or_default();
                if content.windows(bytes.len()).any(|part| part == bytes) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
}

#[test]
fn module_keys_serve_a_fleet_and_a_restored_copy_needs_their_token() {
    let hsm_folder = TempDir::new().unwrap();
    let hsm = SoftHsm::in_folder(hsm_folder.path());
    let (token, another) = (hsm.token("tessera", PIN), hsm.token("another", PIN));
    let folder = TempDir::new().unwrap();
    let command = provision(&hsm, Some(&token), &folder.path().join("p"));
    let mut parts = started(command, folder);
    let _broker = broker(&parts);
    let mqtt = parts.run_file("b")["mqtt"].as_str().unwrap().to_owned();
    let device = parts.enrol("default", "t-1").at(&mqtt);
    publishes(&device);
    let keys: Value = serde_json::from_str(&parts.operator(&["keys", "list", "--json"])).unwrap();
    for key in keys.as_array().unwrap() {
        assert_eq!(key["module"]["token"], "tessera", "{keys}");
    }
    // The first token verifies by a key that signs no more and whose object is destroyed; the next one by its successor.
    parts.operator(&["keys", "rotate"]);
    assert_eq!(token.object_files().len(), 2);
    publishes(&device);
    ok(Command::new(tessera()).args(["device", "token", "--refresh", "--dir"]).arg(&device.folder));
    publishes(&device);
    let backup = parts.folder.path().join("backup");
    let p = parts.folder.path().join("p");
    ok(Command::new(tessera()).arg("backup").arg("--data").arg(&p).arg("--out").arg(&backup));
    parts.process.terminate();
    assert!(parts.process.wait().success());
    assert!(!parts.process.output().contains(PIN));
    let mut found = Vec::new();
    found_below(parts.folder.path(), PIN.as_bytes(), &mut found);
    assert_eq!(found, Vec::<String>::new());
    // On another machine: the keys are in no backup.
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("p");
    ok(Command::new(tessera()).arg("restore").arg("--from").arg(&backup).arg("--data").arg(&data));
    let (good, told) = run(&mut provision(&hsm, None, &data));
    assert!(!good && told.contains("--pkcs11-module") && told.contains("\"tessera\""), "{told}");
    let (good, told) = run(&mut provision(&hsm, Some(&another), &data));
    assert!(!good && told.contains("another token than the settings name"), "{told}");
    let restored = started(provision(&hsm, Some(&token), &data), folder);
    restored.enrol("default", "t-2");
}

#[test]
fn a_module_with_a_wrong_pin_is_told_without_the_pin() {
    let folder = TempDir::new().unwrap();
    let hsm = SoftHsm::in_folder(folder.path());
    let token = hsm.token("tessera", PIN);
    let data = folder.path().join("p");
    let mut command = provision(&hsm, Some(&token), &data);
    command.env_remove("TESSERA_PKCS11_PIN");
    fs::write(&token.pin_file, "wrong-pin-5").unwrap();
    let (good, told) = run(&mut command);
    assert!(!good && told.contains("refused the PIN") && !told.contains("wrong-pin-5"), "{told}");
    // The environment in the place of the file.
    let mut command = Command::new(tessera());
    let (name, value) = hsm.variable();
    command.env(name, value).env("TESSERA_PKCS11_PIN", PIN);
    command.args(["provision", "--http", "127.0.0.1:0", "--log", "trace", "--data"]).arg(&data);
    command.arg("--pkcs11-module").arg(SoftHsm::module()).args(["--pkcs11-token", "tessera"]);
    let mut process = Process::start(&mut command);
    process.line("ready", |line| line == "ready");
    process.terminate();
    assert!(process.wait().success());
    assert!(!process.output().contains(PIN));
}
