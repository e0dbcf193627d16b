//! Backups of running servers, restores of them, heads of the audit log, and folders that are for their owner alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tessera_tests::process::{ok, run, tessera, Process};
use tessera_tests::server::Server;

fn backup(data: &Path, out: &Path) -> Command {
    let mut command = Command::new(tessera());
    command.arg("backup").arg("--data").arg(data).arg("--out").arg(out);
    command
}

fn restore(from: &Path, data: &Path) -> Command {
    let mut command = Command::new(tessera());
    command.arg("restore").arg("--from").arg(from).arg("--data").arg(data);
    command
}

/// A restored system as soon as provisioning listens. Its broker is ready a minute later: proofs that were used behind the
/// backup are fresh for as long.
fn restored(folder: TempDir) -> Server {
    let data = folder.path().join("data");
    let mut process = Process::start(
        Command::new(tessera())
            .args(["up", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--metrics", "127.0.0.1:0", "--data"])
            .arg(&data),
    );
    process.line("an address", |line| line.starts_with("provisioning "));
    let run = fs::read(data.join("run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_slice(&run).unwrap();
    let at = |name: &str| run[name].as_str().unwrap().parse().unwrap();
    Server { mqtt: at("mqtt"), http: at("http"), metrics: at("metrics"), process, folder }
}

/// A start that fails says why within the time that a test waits for it.
fn refused(data: &Path, more: &[&str]) -> String {
    let (good, output) = run(Command::new(tessera())
        .args(["up", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .args(["--metrics", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(more));
    assert!(!good, "it started: {output}");
    output
}

fn open_to_others(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.permissions().mode() & 0o077 != 0 {
            found.push(format!("{} {:o}", path.display(), metadata.permissions().mode() & 0o777));
        }
        if metadata.is_dir() {
            open_to_others(&path, found);
        }
    }
}

#[test]
fn a_running_system_is_backed_up_and_comes_back() {
    let server = Server::start();
    server.enrol("b-1", "sensor");
    server.revoke("b-1");
    let root = server.data().join("root.thumbprint");
    let early = ok(&mut server.operator(&["audit", "head"]));
    let out = server.folder.path().join("backup");
    let told = ok(&mut backup(&server.data(), &out));
    for word in ["provisioning/store", "agent", "broker/sessions", "running server", "SECRETS"] {
        assert!(told.contains(word), "{word} in {told}");
    }
    let mut open = Vec::new();
    open_to_others(&out, &mut open);
    assert!(open.is_empty(), "{open:?}");
    let left = fs::read_dir(server.data()).unwrap();
    let names: Vec<_> = left.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with(".backup-")), "{names:?}");
    // Changes behind the backup are not in it.
    server.enrol("b-2", "sensor");
    let late = ok(&mut server.operator(&["audit", "head"]));
    let verify = |server: &Server, head: &str| {
        let (head, root) = (head.trim(), root.to_str().unwrap());
        run(&mut server.operator(&["audit", "verify", "--head", head, "--root", root]))
    };
    let (good, output) = verify(&server, &early);
    assert!(good && output.contains("more") && output.contains("the same"), "{output}");
    let (good, output) = verify(&server, &late);
    assert!(good && !output.contains("not checked"), "{output}");
    assert!(!run(&mut restore(&out, &server.data())).0, "never over a folder that is in use");

    let place = TempDir::new().unwrap();
    let told = ok(&mut restore(&out, &place.path().join("data")));
    assert!(told.contains("Next:"), "{told}");
    let restored = restored(place);
    let devices = ok(&mut restored.operator(&["devices"]));
    assert!(devices.contains("b-1") && devices.contains("revoked"), "{devices}");
    assert!(!devices.contains("b-2"), "{devices}");
    restored.enrol("b-3", "sensor");
    let (good, output) = verify(&restored, &early);
    assert!(good, "{output}");
    let (good, output) = verify(&restored, &late);
    assert!(!good && (output.contains("too short") || output.contains("another one")), "{output}");
    let log = ok(&mut server.operator(&["audit", "list"]));
    assert!(log.contains("backup.make"), "{log}");
}

#[test]
fn a_stopped_system_is_backed_up_from_its_files() {
    let server = Server::start();
    server.enrol("b-1", "sensor");
    let folder = server.stop();
    let (data, out) = (folder.path().join("data"), folder.path().join("backup"));
    let told = ok(&mut backup(&data, &out));
    assert!(told.contains("no server runs"), "{told}");
    let place = TempDir::new().unwrap();
    ok(&mut restore(&out, &place.path().join("data")));
    let restored = restored(place);
    assert!(ok(&mut restored.operator(&["devices"])).contains("b-1"));
    drop(restored);
    let again = Server::start_with(folder, &[]);
    assert!(ok(&mut again.operator(&["devices"])).contains("b-1"), "the old one is as it was");
}

#[test]
fn a_backup_that_broke_off_or_was_bent_is_not_restored() {
    let server = Server::start();
    let out = server.folder.path().join("backup");
    ok(&mut backup(&server.data(), &out));
    let place = TempDir::new().unwrap();
    let data = place.path().join("data");
    let seed = out.join("provisioning/keys/root.seed");
    let mut bytes = fs::read(&seed).unwrap();
    bytes[3] ^= 1;
    fs::write(&seed, bytes).unwrap();
    let (good, output) = run(&mut restore(&out, &data));
    assert!(!good && output.contains("root.seed is not as it was"), "{output}");
    fs::remove_file(out.join("manifest.json")).unwrap();
    let (good, output) = run(&mut restore(&out, &data));
    assert!(!good && output.contains("not a whole backup"), "{output}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn nothing_in_the_folder_of_a_server_is_for_others() {
    let server = Server::start();
    server.enrol("b-1", "sensor");
    ok(&mut server.operator(&["keys", "rotate"]));
    let mut open = Vec::new();
    open_to_others(&server.data(), &mut open);
    open_to_others(&server.folder.path().join("b-1"), &mut open);
    assert!(open.is_empty(), "{open:?}");
    let folder = server.stop();
    let data = folder.path().join("data");
    for path in [data.clone(), data.join("provisioning/keys"), data.join("operator.token")] {
        let right = fs::metadata(&path).unwrap().permissions();
        let wrong = right.mode() | 0o044;
        fs::set_permissions(&path, fs::Permissions::from_mode(wrong)).unwrap();
        if path.is_dir() {
            let told = refused(&data, &[]);
            assert!(told.contains("chmod 700") && told.contains(path.to_str().unwrap()), "{told}");
        } else {
            let named = format!("@{}", path.display());
            let (good, told) =
                run(Command::new(tessera()).args(["devices", "--operator-token", &named]));
            assert!(!good && told.contains("chmod 600"), "{told}");
        }
        fs::set_permissions(&path, right).unwrap();
    }
    Server::start_with(folder, &[]);
}

#[test]
fn a_store_that_is_gone_is_told_and_never_founded_in_silence() {
    let folder = Server::start().stop();
    let data = folder.path().join("data");
    fs::remove_dir_all(data.join("provisioning/store")).unwrap();
    let told = refused(&data, &[]);
    assert!(told.contains("provisioning/store") && told.contains("--accept-loss"), "{told}");
    let server = Server::start_with(folder, &["--accept-loss"]);
    let log = ok(&mut server.operator(&["audit", "list"]));
    assert!(log.contains("store.accept-loss"), "{log}");
    server.enrol("b-1", "sensor");
}

#[test]
fn a_lost_seed_is_told_at_start() {
    let folder = Server::start().stop();
    let keys = folder.path().join("data/provisioning/keys");
    let names = fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().path());
    for path in names.filter(|path| path.to_str().unwrap().contains("issuer-")) {
        fs::remove_file(path).unwrap();
    }
    let told = refused(&folder.path().join("data"), &[]);
    assert!(told.contains("issuer-") && told.contains("--replace-keys"), "{told}");
    let server = Server::start_with(folder, &["--replace-keys"]);
    server.enrol("b-1", "sensor");
    assert!(ok(&mut server.operator(&["audit", "list"])).contains("key.replace"));
}

/// The broker and the agent as processes of their own, each with its own folder.
#[test]
fn a_gateway_is_backed_up_while_it_runs() {
    let server = Server::start();
    let data = server.folder.path().join("agent");
    let mut agent = Process::start(
        Command::new(tessera())
            .args(["agent", "--http", "127.0.0.1:0", "--provisioning"])
            .arg(format!("http://{}", server.http))
            .arg("--feed-token")
            .arg(server.data().join("feed.token"))
            .arg("--root")
            .arg(server.data().join("root.thumbprint"))
            .arg("--data")
            .arg(&data),
    );
    agent.line("ready", |line| line == "ready");
    let out = server.folder.path().join("agent-backup");
    let told = ok(&mut backup(&data, &out));
    assert!(told.contains("agent: copied by the running server"), "{told}");
    agent.kill();
    let back = server.folder.path().join("agent-back");
    ok(&mut restore(&out, &back));
    assert!(back.join("agent").is_dir());
    // The socket that a killed server leaves is no running server.
    ok(&mut backup(&data, &server.folder.path().join("agent-backup-2")));
}

#[test]
fn a_stopped_store_is_checked_and_a_damaged_one_is_told() {
    let server = Server::start();
    server.enrol("b-1", "sensor");
    let check = |data: &Path, more: &[&str]| {
        let mut command = Command::new(tessera());
        command.args(["store", "check", "--data"]).arg(data).args(more);
        command
    };
    let (good, told) = run(&mut check(&server.data(), &[]));
    assert!(!good && told.contains("in use") && told.contains("stop the server"), "{told}");
    let out = server.folder.path().join("backup");
    ok(&mut backup(&server.data(), &out));
    let (good, told) = run(&mut check(&out, &[]));
    assert!(!good && told.contains("is a backup"), "{told}");
    let data = server.data();
    let _folder = server.stop();
    let told = ok(&mut check(&data, &[]));
    assert!(told.contains("devices") && told.contains("no fault"), "{told}");
    let file = data.join("provisioning/store/data.sqlite");
    let mut bytes = fs::read(&file).unwrap();
    let place = bytes.windows(3).position(|found| found == b"b-1").unwrap();
    bytes[place] = b'c';
    fs::write(&file, bytes).unwrap();
    let (good, told) = run(&mut check(&data, &["--json"]));
    assert!(!good && told.contains("are not as they were written"), "{told}");
    let told = refused(&data, &[]);
    assert!(told.contains("--accept-loss") && told.contains("provisioning/store"), "{told}");
}
