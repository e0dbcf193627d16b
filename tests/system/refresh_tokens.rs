//! `docs/refresh.md`: a device that cannot sign lives by refresh tokens, by the commands of the page.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tessera_tests::process::{ok, root, run, tessera};
use tessera_tests::server::Server;

/// The blocks of commands below the heading of the page.
fn blocks() -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/refresh.md")).unwrap();
    let (_, part) = page.split_once("## Devices that cannot sign").unwrap();
    let parts = part.split("```sh\n").skip(1);
    parts.map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

/// A block as it is pasted into a shell in this folder.
fn pasted(block: &str, folder: &Path, server: &Server) -> String {
    let block = block.replace("127.0.0.1:8080", &server.http.to_string());
    let path = format!("{}:/usr/bin:/bin", tessera().parent().unwrap().display());
    ok(Command::new("bash").args(["-euc", &block]).current_dir(folder).env("PATH", path))
}

#[test]
fn the_commands_of_the_page_keep_a_device_alive_that_cannot_sign() {
    let server = Server::start();
    let sensor = server.enrol("d-17", "sensor");
    let folder = sensor.folder.parent().unwrap().to_owned();
    assert_eq!(sensor.folder.file_name().unwrap(), "d-17");
    let blocks = blocks();
    assert_eq!(blocks.len(), 2);
    let refused = || {
        let mut asked = Command::new(tessera());
        let (good, text) =
            run(asked.args(["device", "refresh-token", "--dir", "d-17"]).current_dir(&folder));
        assert!(!good, "{text}");
        text
    };
    assert!(refused().contains("refresh_not_allowed"));
    ok(&mut server.operator(&[
        "role",
        "set",
        "sensor",
        "--publish",
        "d/{device}/telemetry",
        "--subscribe",
        "d/{device}/cmd",
        "--refresh-tokens",
    ]));
    assert!(refused().contains("bearer_not_allowed"));
    ok(&mut server.operator(&["tenant", "bearer", "default", "on"]));
    pasted(&blocks[0], &folder, &server);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let told = pasted(&blocks[1], &folder, &server);
        let answer: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
        let next = answer["refresh_token"].as_str().unwrap_or_else(|| panic!("{told}"));
        assert!(!seen.contains(&next.to_owned()));
        seen.push(next.to_owned());
        fs::write(folder.join("d-17.refresh"), next).unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let (good, output) = run(Command::new("mosquitto_pub")
            .args(["-V", "5", "-q", "1", "-h", &server.mqtt.ip().to_string()])
            .args(["-p", &server.mqtt.port().to_string(), "-i", "d-17", "-u", "d-17"])
            .args(["-P", &token, "-t", "d/d-17/telemetry", "-m", "1"]));
        assert!(good, "{output}");
    }
    // An old one ends the family.
    fs::write(folder.join("d-17.refresh"), &seen[0]).unwrap();
    assert!(pasted(&blocks[1], &folder, &server).contains("refresh_token_reused"));
    fs::write(folder.join("d-17.refresh"), &seen[2]).unwrap();
    assert!(pasted(&blocks[1], &folder, &server).contains("refresh_token_invalid"));
    // The key begins another one.
    pasted(&blocks[0], &folder, &server);
    assert!(pasted(&blocks[1], &folder, &server).contains("access_token"));
}
