//! `tessera up` in a temporary folder, on free ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{ok, tessera, Process};

/// A running system.
pub struct Server {
    /// The process.
    pub process: Process,
    /// Its data, and the folders of devices.
    pub folder: TempDir,
    /// Where MQTT clients connect.
    pub mqtt: SocketAddr,
    /// Where provisioning listens.
    pub http: SocketAddr,
    /// Where the broker tells its metrics.
    pub metrics: SocketAddr,
}

impl Server {
    /// Starts `tessera up` in a new folder.
    pub fn start() -> Self {
        Self::start_with(TempDir::new().unwrap(), &[])
    }

    /// Starts `tessera up` in a folder that may have been used before, with further arguments.
    pub fn start_with(folder: TempDir, more: &[&str]) -> Self {
        let data = folder.path().join("data");
        let mut process = Process::start(
            Command::new(tessera())
                .args(["up", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"])
                .args(["--metrics", "127.0.0.1:0", "--data"])
                .arg(&data)
                .args(more),
        );
        process.line("ready", |line| line == "ready");
        let run = run_file(&data);
        let at = |name: &str| run[name].as_str().unwrap().parse().unwrap();
        Self { mqtt: at("mqtt"), http: at("http"), metrics: at("metrics"), process, folder }
    }

    /// Kills it with -9 and starts it again on the same data.
    pub fn kill_and_restart(mut self) -> Self {
        self.process.kill();
        Self::start_with(self.folder, &[])
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The operator token.
    pub fn operator_token(&self) -> String {
        std::fs::read_to_string(self.data().join("operator.token")).unwrap().trim().to_owned()
    }

    /// `tessera VERB …` as an operator.
    pub fn operator(&self, words: &[&str]) -> Command {
        let mut command = Command::new(tessera());
        command.args(words).arg("--http").arg(format!("http://{}", self.http));
        command.env("TESSERA_OPERATOR_TOKEN", self.operator_token());
        command
    }

    /// Enrols a device by the commands of the README.
    pub fn enrol(&self, device: &str, role: &str) -> Device {
        let claim = ok(&mut self.operator(&["claim", "create", "--role", role, "--json"]));
        let claim: Value = serde_json::from_str(&claim).unwrap();
        let code = claim["claims"][0]["code"].as_str().unwrap().to_owned();
        let folder = self.folder.path().join(device);
        ok(Command::new(tessera())
            .args(["device", "enrol", "--device", device, "--claim", &code])
            .arg("--http")
            .arg(format!("http://{}", self.http))
            .arg("--dir")
            .arg(&folder));
        Device { id: device.to_owned(), folder, mqtt: self.mqtt }
    }

    /// Revokes a device; returns when the revocation is acknowledged.
    pub fn revoke(&self, device: &str) {
        ok(&mut self.operator(&["revoke", "device", device]));
    }

    /// SIGTERM, and the drain must succeed.
    pub fn stop(mut self) -> TempDir {
        self.process.terminate();
        let status = self.process.wait();
        assert!(status.success(), "drain failed: {status}\n{}", self.process.output());
        self.folder
    }
}

/// The file of a data folder that tells where its process listens.
pub fn run_file(data: &Path) -> Value {
    let text = std::fs::read(data.join("run.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// `tessera provision` alone, with its data in the folder `p` of a temporary folder.
pub struct Provisioning {
    /// The folder of all processes and devices of the test.
    pub folder: TempDir,
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub http: String,
}

impl Provisioning {
    /// Starts it in a new folder.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let process = Self::process(folder.path(), "127.0.0.1:0");
        let http = run_file(&folder.path().join("p"))["http"].as_str().unwrap().to_owned();
        Self { folder, process, http }
    }

    fn process(folder: &Path, http: &str) -> Process {
        let mut command = Command::new(tessera());
        command.args(["provision", "--http", http, "--data"]).arg(folder.join("p"));
        let mut process = Process::start(&mut command);
        process.line("ready", |line| line == "ready");
        process
    }

    /// Stops it, does something to the folders, and starts it again in the same place.
    pub fn stopped(&mut self, between: impl FnOnce(&Path)) {
        self.process.terminate();
        assert!(self.process.wait().success());
        between(self.folder.path());
        self.process = Self::process(self.folder.path(), &self.http);
    }

    /// The run file of a process of the test.
    pub fn run_file(&self, name: &str) -> Value {
        run_file(&self.folder.path().join(name))
    }

    /// `tessera VERB …` as an operator, which must succeed.
    pub fn operator(&self, words: &[&str]) -> String {
        let token = self.folder.path().join("p/operator.token");
        ok(Command::new(tessera())
            .args(words)
            .args(["--http", &format!("http://{}", self.http)])
            .arg("--operator-token")
            .arg(format!("@{}", token.display())))
    }

    /// Enrols a device of a tenant with the role `sensor`; it has no broker yet.
    pub fn enrol(&self, tenant: &str, device: &str) -> Device {
        let words = ["claim", "create", "--tenant", tenant, "--role", "sensor", "--json"];
        let claim: Value = serde_json::from_str(&self.operator(&words)).unwrap();
        let folder = self.folder.path().join(device);
        ok(Command::new(tessera())
            .args(["device", "enrol", "--tenant", tenant, "--device", device])
            .args(["--claim", claim["claims"][0]["code"].as_str().unwrap()])
            .args(["--http", &format!("http://{}", self.http)])
            .arg("--dir")
            .arg(&folder));
        Device { id: device.into(), folder, mqtt: "127.0.0.1:1".parse().unwrap() }
    }
}

/// A device that was enrolled with the command line.
pub struct Device {
    /// Its id.
    pub id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The broker.
    pub mqtt: SocketAddr,
}

impl Device {
    /// The same device at another broker.
    pub fn at(&self, mqtt: &str) -> Self {
        let (id, folder) = (self.id.clone(), self.folder.clone());
        Self { id, folder, mqtt: mqtt.parse().unwrap() }
    }

    /// Changes a JSON file of the folder.
    pub fn change<T>(&self, file: &str, change: impl FnOnce(&mut Value) -> T) -> T {
        let path = self.folder.join(file);
        let mut kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let changed = change(&mut kept);
        std::fs::write(&path, kept.to_string()).unwrap();
        changed
    }

    /// A password for one CONNECT, as base64url text.
    pub fn password(&self) -> String {
        self.password_for(&self.id)
    }

    /// A password for another client id of the device.
    pub fn password_for(&self, client_id: &str) -> String {
        let password = ok(Command::new(tessera())
            .args(["device", "password", "--client-id", client_id, "--dir"])
            .arg(&self.folder));
        password.trim().to_owned()
    }

    /// A password for one CONNECT at a verifier that has a name of its own.
    pub fn password_at(&self, verifier: &str) -> String {
        let password = ok(Command::new(tessera())
            .args(["device", "password", "--verifier", verifier, "--dir"])
            .arg(&self.folder));
        password.trim().to_owned()
    }

    /// A mosquitto client with a fresh password, which tells line by line what it does.
    pub fn mosquitto(&self, program: &str) -> Command {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", program]);
        command.args(["-h", "127.0.0.1", "-p", &self.mqtt.port().to_string(), "-d"]);
        command.args(["-i", &self.id, "-u", &self.id, "-P", &self.password()]);
        command
    }

    /// Claims of the token, as `tessera device token --json` tells it.
    pub fn token(&self) -> Value {
        let text = ok(Command::new(tessera())
            .args(["device", "token", "--json", "--dir"])
            .arg(&self.folder));
        serde_json::from_str(&text).unwrap()
    }
}
