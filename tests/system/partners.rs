//! `docs/partners.md`: a partner connects by an opaque password with a stock client, until an operator ends it.

use std::process::Command;

use serde_json::{json, Value};
use tempfile::TempDir;
use tessera_tests::process::{ok, run, tessera, Process};
use tessera_tests::server::Server;

fn start(setting: &str) -> Server {
    start_with(TempDir::new().unwrap(), setting, &[])
}

fn start_with(folder: TempDir, setting: &str, more: &[&str]) -> Server {
    let file = folder.path().join("tessera.toml");
    std::fs::write(&file, format!("[broker]\npartner_tokens = \"{setting}\"\n")).unwrap();
    let file = file.display().to_string();
    Server::start_with(folder, &[&["--config", &file], more].concat())
}

fn partner(server: &Server, words: &[&str]) -> String {
    let words: Vec<&str> = ["partner-token"].iter().chain(words).copied().collect();
    ok(&mut server.operator(&words)).trim().to_owned()
}

/// A token of the partner `acme-erp`, which is made with its first one.
fn token(server: &Server) -> String {
    ok(&mut server.operator(&[
        "role",
        "set",
        "billing",
        "--class",
        "partner",
        "--publish",
        "billing/orders",
        "--subscribe",
        "billing/{device}/in",
    ]));
    partner(server, &["create", "acme-erp", "--role", "billing", "--purpose", "ERP", "--plain"])
}

fn client(server: &Server, program: &str, token: &str) -> Command {
    let mut command = Command::new("stdbuf");
    command
        .args(["-oL", program, "-V", "5", "-q", "1", "-i", "acme-erp", "-u", "any", "-P", token]);
    command.args(["-h", &server.mqtt.ip().to_string(), "-p", &server.mqtt.port().to_string()]);
    command
}

/// Publishes once; whether it was accepted, and the words of the client.
fn publishes(server: &Server, token: &str, topic: &str) -> (bool, String) {
    run(client(server, "mosquitto_pub", token).args(["-t", topic, "-m", "order 1"]))
}

fn id_of(server: &Server, token: &str) -> String {
    let list = partner(server, &["list", "--device", "acme-erp", "--json"]);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    let ids = list.iter().map(|row| row["partner_token"].as_str().unwrap().to_owned());
    let check = Command::new(tessera()).args(["token", "check", "--json", token]).output().unwrap();
    let told: Value = serde_json::from_slice(&check.stdout).unwrap();
    let ids: Vec<String> = ids.filter(|id| told["id"] == **id).collect();
    ids.into_iter().next().unwrap()
}

#[test]
fn a_partner_uses_its_topics_until_its_token_is_ended() {
    let server = start("in_clear");
    let token = token(&server);
    assert!(publishes(&server, &token, "billing/orders").0);
    let (good, output) = publishes(&server, &token, "billing/other");
    assert!(output.contains("Not authorized") || !good, "{output}");
    let next = partner(&server, &["create", "acme-erp", "--purpose", "next", "--plain"]);
    let words = ["-d", "-t", "billing/acme-erp/in"];
    let mut live = Process::start(client(&server, "mosquitto_sub", &token).args(words));
    live.line("SUBACK", |line| line.contains("received SUBACK"));
    partner(&server, &["delete", &id_of(&server, &token)]);
    live.line("DISCONNECT", |line| line.contains("DISCONNECT (152)"));
    live.kill();
    let (good, output) = publishes(&server, &token, "billing/orders");
    assert!(!good, "{output}");
    assert!(publishes(&server, &next, "billing/orders").0, "another token of the device");
    // At the stop the use is told; the next start shows it.
    let id = id_of(&server, &next);
    let folder = server.stop();
    let file = folder.path().join("tessera.toml").display().to_string();
    let server = Server::start_with(folder, &["--config", &file]);
    let uses = partner(&server, &["uses", &id, "--json"]);
    let uses: Vec<Value> = serde_json::from_str(&uses).unwrap();
    let of_today = uses.first().unwrap_or_else(|| panic!("{uses:?}"));
    assert_eq!(of_today["introspections"], 1, "{uses:?}");
    assert_eq!((&of_today["connects"], &of_today["published"]), (&json!(1), &json!(1)), "{uses:?}");
    server.stop();
}

#[test]
fn without_the_setting_and_in_clear_no_partner_connects() {
    for setting in ["off", "encrypted"] {
        let server = start(setting);
        let token = token(&server);
        let (good, output) = publishes(&server, &token, "billing/orders");
        assert!(!good, "{setting}: {output}");
        assert!(output.contains("ot authori"), "{setting}: {output}");
        server.stop();
    }
}

/// The usual setting: the token is taken over TLS, and nowhere else.
#[test]
fn over_tls_a_partner_connects() {
    let folder = TempDir::new().unwrap();
    let (cert, key) = crate::tls::certificate(folder.path());
    let more = ["--mqtts", "127.0.0.1:0", "--cert", &cert, "--key", &key];
    let server = start_with(folder, "encrypted", &more);
    let token = token(&server);
    let run_file = std::fs::read(server.data().join("run.json")).unwrap();
    let places: Value = serde_json::from_slice(&run_file).unwrap();
    let secure: std::net::SocketAddr = places["mqtts"].as_str().unwrap().parse().unwrap();
    let publish = |more: &[&str]| {
        run(Command::new("mosquitto_pub")
            .args(["-V", "5", "-q", "1", "-i", "acme-erp", "-u", "any", "-P", &token])
            .args(["-h", "localhost", "-t", "billing/orders", "-m", "order 1"])
            .args(more))
    };
    let (good, output) = publish(&["-p", &secure.port().to_string(), "--cafile", &cert]);
    assert!(good, "{output}");
    let (good, output) = publish(&["-p", &server.mqtt.port().to_string()]);
    assert!(!good && output.contains("ot authori"), "{output}");
    server.stop();
}
