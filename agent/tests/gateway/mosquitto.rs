//! `examples/gateway/guard.py` in front of a local mosquitto: the agent decides, mosquitto delivers.

use std::net::{TcpListener, TcpStream};

use super::*;

/// A mosquitto on loopback that asks for nothing, and its port.
async fn mosquitto(site: &Site) -> (Running, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = site.path("mosquitto.conf");
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("mosquitto");
    let child = command.arg("-c").arg(&config).stderr(Stdio::null()).spawn();
    let child = Running(child.unwrap());
    let listens = async {
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), listens).await.unwrap();
    (child, port)
}

/// The guard before it, and its port.
fn guard(broker: u16, gateway: &Gateway) -> (Running, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/gateway/guard.py");
    let child = Command::new("python3")
        .arg(script)
        .args(["--listen", "127.0.0.1:0", "--broker", &format!("127.0.0.1:{broker}")])
        .args(["--agent", gateway.client.base_url()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Running(child);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let place = lines.next().unwrap().unwrap();
    let port = place.rsplit(':').next().unwrap().to_owned();
    (child, port)
}

/// A client of mosquitto with these words; its status and what it wrote.
fn client(program: &str, port: &str, words: &[&str]) -> (Option<i32>, String) {
    let command = &mut Command::new(program);
    let output = command.args(["-h", "127.0.0.1", "-p", port]).args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_before_a_mosquitto_lets_through_what_the_agent_allows() {
    let site = Site::new(2);
    let gateway = Gateway::start(&site).await;
    let (_broker, at) = mosquitto(&site).await;
    let (_guard, port) = guard(at, &gateway);
    let password = |counter| base64url(&site.password(0, counter));
    let publish = |counter, topic: &str| {
        let password = password(counter);
        let words = ["-i", "d-0", "-u", "d-0", "-P", &password, "-q", "1", "-t", topic, "-m", "on"];
        client("mosquitto_pub", &port, &words)
    };
    // A listener at the broker itself sees all that passes.
    let at = at.to_string();
    let heard = std::thread::spawn(move || {
        client("mosquitto_sub", &at, &["-t", "#", "-C", "1", "-W", "30", "-F", "%t %p"])
    });
    let arrives = async {
        for counter in 1.. {
            assert_eq!(
                publish(2 * counter, "d/d-1/telemetry").0.map(|code| code == 0),
                Some(false)
            );
            assert_eq!(publish(2 * counter + 1, "d/d-0/telemetry").0, Some(0));
            if heard.is_finished() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), arrives).await.unwrap();
    assert_eq!(heard.join().unwrap(), (Some(0), "d/d-0/telemetry on\n".to_owned()));

    let bad = client(
        "mosquitto_pub",
        &port,
        &["-i", "d-0", "-u", "d-0", "-P", "x", "-t", "a", "-m", "b"],
    );
    assert_eq!(bad.0, Some(5), "{}", bad.1);
    let words = ["-i", "d-1", "-u", "d-1", "-P", &base64url(&site.password(1, 1)), "-W", "5"];
    let denied = client("mosquitto_sub", &port, &[&words[..], &["-t", "d/d-0/cmd"]].concat());
    assert!(denied.1.contains("denied"), "{denied:?}");

    let refused =
        r#"tessera_agent_decisions_total{action="publish",outcome="publish_not_authorised"}"#;
    assert!(gateway.shown(refused).await >= 1);
    let reported = r#"tessera_agent_reports_total{kind="published",outcome="taken"}"#;
    let all_told = async {
        while gateway.shown("tessera_agent_sessions").await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway.shown(reported).await
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), all_told).await.unwrap() >= 1);
    gateway.end();
}
