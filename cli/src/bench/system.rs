//! Tessera as two processes of this very binary: provisioning for the whole run, a new broker for every round.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tessera_runtime::secret::{read_secret_text, Secret};
use tessera_simulators::bench::{BenchError, Running, Server, Servers};

use super::child;
use super::folder::Folder;
use super::mosquitto::Mosquitto;
use crate::fault::Fault;

/// All load comes from one address prefix, whose share of connects is therefore opened.
const CONFIG: &str =
    "[broker.limits]\nconnects_per_second = 1000000\nhalf_open_per_prefix = 8192\n";
const LOG: &str = "error";

/// Provisioning, and what is needed to start brokers.
pub(super) struct System {
    binary: PathBuf,
    folder: Folder,
    data: PathBuf,
    config: PathBuf,
    /// `http://host:port` of provisioning.
    pub(super) http: String,
    /// The token of the first operator.
    pub(super) operator_token: Secret<String>,
    _provisioning: child::Server,
}

impl System {
    pub(super) async fn start(folder: Folder) -> Result<Self, Fault> {
        let binary = std::env::current_exe()?;
        let (data, config) = (folder.fresh("provisioning"), folder.fresh("config.toml"));
        std::fs::write(&config, CONFIG)?;
        let mut command = Command::new(&binary);
        command.args(["provision", "--http", "127.0.0.1:0", "--log", LOG]).arg("--data").arg(&data);
        let provisioning = child::Server::until_ready(command).await?;
        let http = format!("http://{}", listens(&data, "http")?);
        let operator_token = read_secret_text(&data.join("operator.token"))?;
        Ok(Self { binary, folder, data, config, http, operator_token, _provisioning: provisioning })
    }

    async fn broker(&self) -> Result<Running, Fault> {
        let data = self.folder.fresh("broker");
        let mut command = Command::new(&self.binary);
        command
            .args(["broker", "--mqtt", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--log", LOG])
            .args(["--provisioning", &self.http])
            .arg("--config")
            .arg(&self.config)
            .arg("--data")
            .arg(&data)
            .arg("--feed-token")
            .arg(self.data.join("feed.token"))
            .arg("--root")
            .arg(self.data.join("root.thumbprint"));
        let child = child::Server::until_ready(command).await?;
        let addr = listens(&data, "mqtt")?;
        Ok(Running { server: Server::Tessera, addr, pid: child.id(), keep: Box::new(child) })
    }
}

fn listens(data: &Path, name: &str) -> Result<SocketAddr, Fault> {
    let text = std::fs::read_to_string(data.join("run.json"))?;
    let run: serde_json::Value = serde_json::from_str(&text)?;
    let at = run.get(name).and_then(serde_json::Value::as_str);
    Ok(at.ok_or_else(|| Fault::new(format!("run.json has no {name}")))?.parse()?)
}

/// Whoever takes turns.
pub(super) struct Pair {
    pub(super) system: System,
    pub(super) mosquitto: Option<Mosquitto>,
    pub(super) clients: usize,
}

impl Servers for Pair {
    async fn start(&self, server: Server) -> Result<Running, BenchError> {
        let started = match (server, &self.mosquitto) {
            (Server::Tessera, _) => self.system.broker().await,
            (_, Some(peer)) => peer.start(&self.system.folder, server, self.clients).await,
            (_, None) => Err(Fault::new("no peer")),
        };
        started.map_err(|fault| BenchError::new(fault.to_string()))
    }
}
