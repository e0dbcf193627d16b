//! `packaging/`: units, alert rules and dashboard against what the product has, and the package in use.
//!
//! A check whose tool is not on this machine says so in its output and is left out: promtool, systemd-analyze, overlayfs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tessera_tests::http::Http;
use tessera_tests::process::{ok, root, run, tessera, Process};
use tessera_tests::server::Server;

use super::pages::registered_metrics;
use super::readme::Network;

fn read(path: &str) -> String {
    fs::read_to_string(root().join("packaging").join(path)).unwrap()
}

/// The metrics that an expression of PromQL asks for.
fn asked(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("tessera_") || word.starts_with("process_"))
}

fn is_there(metric: &str, metrics: &BTreeSet<String>) -> bool {
    let of_histogram =
        ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end));
    metrics.contains(metric) || of_histogram.is_some_and(|base| metrics.contains(base))
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let metrics = registered_metrics();
    let rules = read("prometheus/tessera.yml");
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let alerts: Vec<String> = alerts.map(str::to_owned).collect();
    assert!(alerts.len() > 20, "{} alerts", alerts.len());
    let dashboard: Value = serde_json::from_str(&read("grafana/tessera.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let shown: Vec<String> = targets.map(|t| t["expr"].as_str().unwrap().to_owned()).collect();
    assert!(shown.len() > 15, "{} queries", shown.len());
    for expression in alerts.iter().chain(&shown) {
        let asked: Vec<&str> = asked(expression).collect();
        // The only one that is no metric of ours: whether a server answers.
        assert!(!asked.is_empty() || expression.starts_with("up{"), "{expression}");
        for metric in asked {
            assert!(is_there(metric, &metrics), "{metric} does not exist: {expression}");
        }
    }
}

#[test]
fn promtool_finds_no_fault_in_rules_and_metrics() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("LEFT OUT: promtool is not here (apt-get install prometheus)");
        return;
    }
    let rules = root().join("packaging/prometheus/tessera.yml");
    ok(Command::new("promtool").args(["check", "rules"]).arg(rules));
    let server = Server::start();
    for at in [server.http, server.metrics] {
        let mut check = Command::new("promtool");
        check.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut check = check.spawn().unwrap();
        let metrics = Http::new(at, None).get("/metrics").unwrap().body;
        std::io::Write::write_all(&mut check.stdin.take().unwrap(), &metrics).unwrap();
        let output = check.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

const UNITS: [&str; 4] = ["tessera", "tessera-provision", "tessera-broker", "tessera-agent"];

/// A setting of a unit.
fn setting(unit: &str, name: &str) -> String {
    let text = read(&format!("systemd/{unit}.service"));
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{unit} has no {name}")).to_owned()
}

#[test]
fn units_are_hardened() {
    for unit in UNITS {
        assert_eq!(setting(unit, "Type"), "notify");
        assert_eq!(setting(unit, "CapabilityBoundingSet"), "");
        let file = root().join(format!("packaging/systemd/{unit}.service"));
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", "--no-pager"]).arg(&file);
        if analyze.output().map_or(true, |output| !output.status.success()) {
            println!("LEFT OUT: no systemd-analyze that reads a unit offline");
            return;
        }
        let told = ok(&mut analyze);
        let level = told.rsplit("exposure level for ").next().unwrap().split_whitespace().nth(1);
        let level: f32 = level.unwrap().parse().unwrap_or_else(|_| panic!("{told}"));
        assert!(level < 2.0, "{unit}: {level}");
    }
}

/// The socket hears of service, life and stop, in this order.
#[test]
fn service_manager_is_told_of_ready_watchdog_and_stop() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let told = |word: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("no {word}: {e}"));
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == word) {
                return;
            }
        }
    };
    // As systemd does: the variable names the process that is watched.
    let mut up = Command::new("sh");
    up.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" \"$@\""]).arg(tessera());
    up.args(["up", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
    up.arg("--data").arg(folder.path().join("data"));
    up.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let mut up = Process::start(&mut up);
    told("READY=1");
    told("STATUS=ready");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    up.terminate();
    told("STOPPING=1");
    assert!(up.wait().success());
}

/// Opens the sockets as `systemd` does: from descriptor 3 on, named to the process that it then becomes.
const ACTIVATE: &str = "
import os, socket, sys
listening = []
for _ in range(2):
    one = socket.socket()
    one.bind(('127.0.0.1', 0))
    one.listen(64)
    listening.append(one)
ports = [one.getsockname()[1] for one in listening]
for at, one in enumerate(listening):
    os.dup2(one.fileno(), 3 + at)
    os.set_inheritable(3 + at, True)
os.environ.update(LISTEN_FDS='2', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], [word.replace('PORT', str(ports[0])) for word in sys.argv[1:]])
";

/// The broker listens on the socket that has its address, and names the one that has none of its addresses.
#[test]
fn broker_takes_the_socket_of_the_service_manager() {
    let folder = TempDir::new().unwrap();
    let mut up = Command::new("python3");
    up.args(["-c", ACTIVATE]).arg(tessera());
    up.args([
        "up",
        "--mqtt",
        "127.0.0.1:PORT",
        "--http",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
    ]);
    up.arg("--data").arg(folder.path().join("data"));
    let mut up = Process::start(&mut up);
    up.lines_with(&[
        "listening on the socket of the service manager",
        "the service manager has given a socket of which the settings do not know",
        "ready",
    ]);
    up.terminate();
    assert!(up.wait().success());
}

/// A unit of sockets names the addresses of the settings that are installed with it.
#[test]
fn units_of_sockets_name_the_addresses_of_the_settings() {
    for (unit, settings) in
        [("tessera", "tessera"), ("tessera-broker", "broker"), ("tessera-provision", "provision")]
    {
        let text = read(&format!("systemd/{unit}.socket"));
        let settings = read(&format!("etc/{settings}.toml"));
        let addresses: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("ListenStream=")).collect();
        assert!(!addresses.is_empty(), "{unit}");
        for address in addresses {
            let named = settings
                .lines()
                .any(|line| !line.starts_with('#') && line.ends_with(&format!("= \"{address}\"")));
            assert!(named, "{unit}: {address}");
        }
    }
}

/// The words of the last `CMD` of the Containerfile, in a network of their own.
#[test]
fn container_command_serves() {
    let Some(network) = Network::new() else {
        println!("LEFT OUT: no network namespace, and a port of the container is in use");
        return;
    };
    let file = read("Containerfile");
    let words = file.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let words: Vec<String> = serde_json::from_str(words).unwrap();
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data").display().to_string();
    let volume = file.lines().find_map(|line| line.strip_prefix("VOLUME ")).unwrap();
    let words = words.iter().map(|word| word.replace(volume, &data));
    let mut command = network.command(tessera().to_str().unwrap());
    let mut process = Process::start(command.args(words));
    process.line("ready", |line| line == "ready");
    process.terminate();
    assert!(process.wait().success());
}

#[test]
fn package_is_built_installed_run_and_purged() {
    let folder = TempDir::new().unwrap();
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        println!("LEFT OUT: dpkg-deb is not here");
        return;
    }
    let binary = fs::canonicalize(tessera()).unwrap();
    let mut build = Command::new(root().join("packaging/deb"));
    ok(build.arg("--fast").arg("--binary").arg(binary).arg("--out").arg(folder.path()));
    let package = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let mut attempt = Command::new(root().join("packaging/try"));
    let mut attempt = Process::start(attempt.arg(package));
    let status = attempt.wait();
    let output = attempt.output();
    // It may not do this here; anything else is a fault of the package.
    if status.code() == Some(77) {
        println!("LEFT OUT: {output}");
        return;
    }
    assert!(status.success(), "{output}");
    for step in ["tessera is ready", "a device connected", "tessera-agent is ready", "purged"] {
        assert!(output.contains(&format!("try: {step}")), "{step}:\n{output}");
    }
}

#[test]
fn settings_of_the_package_are_good() {
    for name in ["tessera", "provision", "broker"] {
        let file = root().join(format!("packaging/etc/{name}.toml"));
        ok(Command::new(tessera()).args(["config", "check"]).arg(&file));
        // The lines for TLS too, once their files are there.
        let text = fs::read_to_string(&file).unwrap();
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        let is_setting = |line: &str| line.starts_with('[') || line.contains(" = ");
        let lines = text
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|l| is_setting(l)).unwrap_or(line));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        for used in ["broker.pem", "broker.key", "provision.pem", "provision.key"] {
            fs::write(folder.join(used), "").unwrap();
        }
        let text = text.replace("/etc/tessera", folder.to_str().unwrap());
        let whole = folder.join("whole.toml");
        // The address in clear stands above that of TLS; a file has one of them.
        let mut seen = BTreeSet::new();
        let mut lines: Vec<&str> = text.lines().rev().collect();
        lines.retain(|line| !line.starts_with("http = ") || seen.insert("http"));
        lines.reverse();
        // Keys of the top go before the sections.
        let (top, sections): (Vec<&str>, Vec<&str>) = lines
            .iter()
            .partition(|line| line.starts_with("http = ") || line.starts_with("mqtts = "));
        fs::write(&whole, [top, sections].concat().join("\n")).unwrap();
        ok(Command::new(tessera()).args(["config", "check"]).arg(&whole));
    }
}

#[test]
fn package_scripts_have_no_syntax_errors() {
    for script in ["deb", "try", "debian/postinst", "debian/prerm", "debian/postrm"] {
        let path = root().join("packaging").join(script);
        let shell = if script.contains('/') { "sh" } else { "bash" };
        let (good, output) = run(Command::new(shell).arg("-n").arg(&path));
        assert!(good, "{script}: {output}");
    }
}
