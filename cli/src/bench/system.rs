//! Tessera as two processes of this very binary: provisioning for the whole run, a new broker for every round.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tessera_runtime::random::{self, SystemRandom};
use tessera_runtime::secret::{read_secret_text, write_secret_file, Secret};
use tessera_simulators::bench::{BenchError, Place, Running, Server, Servers, Setup, TlsClient};
use tessera_token::encoding::hex;
use tessera_token::key::Thumbprint;

use super::certificate::Certificate;
use super::child;
use super::disk::written_by;
use super::flashmq::Flashmq;
use super::folder::Folder;
use super::mosquitto::Mosquitto;
use crate::args::Pkcs11Args;
use crate::error::Fault;
use crate::secrets::read_thumbprint;

/// All load comes from one address prefix, whose share of connects is therefore opened.
const OPENED: &str =
    "[broker.limits]\nconnects_per_second = 1000000\nhalf_open_per_prefix = 8192\nsuspects_per_second = 1000000\n";
/// Tokens outlive the longest run, and all requests come from one address.
const LONG_TOKENS: &str = "token_seconds = 86400\n";
const LIMITS: &str =
    "[provisioning.limits]\nproved_per_second = 1000000\nproved_total_per_second = 1000000\n\
proved_burst = 1000000\nproved_total_burst = 1000000\n\
anonymous_per_second = 1000000\nanonymous_total_per_second = 1000000\n\
anonymous_burst = 1000000\nanonymous_total_burst = 1000000\n";
/// Tokens that are pushed, in seconds: long enough for the enrolment of a large fleet.
const PUSHED_SECONDS: u64 = 240;
const LOG: &str = "error";

/// Provisioning, and what is needed to start brokers.
pub(super) struct System {
    binary: PathBuf,
    folder: Folder,
    data: PathBuf,
    opened: PathBuf,
    derivation: PathBuf,
    certificate: Certificate,
    tls: TlsClient,
    /// Where provisioning listens.
    at: SocketAddr,
    /// `http://host:port` of provisioning.
    pub(super) http: String,
    /// The token of brokers.
    pub(super) feed_token: Secret<String>,
    /// The thumbprint of its root key.
    pub(super) root: Thumbprint,
    /// The token of the first operator.
    pub(super) operator_token: Secret<String>,
    provisioning: child::Server,
    /// A second process of the same database, and where it listens.
    second: Option<(child::Server, SocketAddr)>,
    /// The broker to which tokens are pushed.
    pushed: Option<Pushed>,
}

/// It runs for the whole run: provisioning pushes to it from the start.
struct Pushed {
    child: child::Server,
    at: SocketAddr,
    data: PathBuf,
}

/// The flags that name the module, as they were given.
fn flags_of(module: &Pkcs11Args) -> Vec<OsString> {
    let Pkcs11Args { pkcs11_module, pkcs11_token, pkcs11_pin_file } = module;
    let given = [
        ("--pkcs11-module", pkcs11_module.as_ref().map(OsString::from)),
        ("--pkcs11-token", pkcs11_token.as_ref().map(OsString::from)),
        ("--pkcs11-pin-file", pkcs11_pin_file.as_ref().map(OsString::from)),
    ];
    let given = given.into_iter().filter_map(|(flag, value)| Some([flag.into(), value?]));
    given.flatten().collect()
}

impl System {
    /// `database`: an empty PostgreSQL database, which two processes of provisioning share. `module`: where they make issuer
    /// keys, when not in files.
    /// `pushed`: tokens are short, and pushed to one broker.
    pub(super) async fn start(
        folder: Folder,
        (database, module): (Option<&str>, &Pkcs11Args),
        pushed: bool,
    ) -> Result<Self, Fault> {
        let binary = std::env::current_exe()?;
        let (data, config) = (folder.fresh("provisioning"), folder.fresh("provisioning.toml"));
        let port = if pushed { Some(free_port()?) } else { None };
        let tokens = port.map_or(LONG_TOKENS.to_owned(), |port| {
            format!(
                "token_seconds = {PUSHED_SECONDS}\n[provisioning.push]\nbrokers = [\"mqtt://127.0.0.1:{port}\"]\n"
            )
        });
        std::fs::write(&config, format!("{tokens}{LIMITS}"))?;
        let opened = folder.fresh("broker.toml");
        std::fs::write(&opened, OPENED)?;
        let derivation = folder.fresh("derivation.keys");
        let key: [u8; 32] = random::bytes(&SystemRandom)?;
        write_secret_file(&derivation, format!("mqtt {}\n", hex::encode(key)).as_bytes())?;
        let certificate = Certificate::write(&folder)?;
        let tls = TlsClient::pinned(certificate.der.clone())?;
        let provision = |data: &Path| {
            let mut command = Command::new(&binary);
            command.args(["provision", "--http", "127.0.0.1:0", "--log", LOG]);
            command.arg("--data").arg(data).arg("--config").arg(&config);
            command.arg("--derivation-keys").arg(&derivation);
            command.args(database.iter().flat_map(|url| ["--database", url]));
            command.args(flags_of(module));
            command
        };
        let provisioning = child::Server::until_ready(provision(&data)).await?;
        let second = match database {
            None => None,
            Some(_) => {
                let joined = folder.fresh("provisioning-2");
                let mut command = provision(&joined);
                command.arg("--database-key").arg(data.join("provisioning/database.key"));
                let second = child::Server::until_ready(command).await?;
                Some((second, listens(&joined, "http")?))
            }
        };
        let at = listens(&data, "http")?;
        let http = format!("http://{at}");
        let feed_token = read_secret_text(&data.join("feed.token"))?;
        let root = read_thumbprint(&data.join("root.thumbprint").to_string_lossy())?;
        let operator_token = read_secret_text(&data.join("operator.token"))?;
        let mut system = Self {
            binary,
            folder,
            data,
            opened,
            derivation,
            certificate,
            tls,
            at,
            http,
            feed_token,
            root,
            operator_token,
            provisioning,
            second,
            pushed: None,
        };
        if let Some(port) = port {
            let data = system.folder.fresh("pushed");
            let child = system.child(Setup::Pushed, &data, port).await?;
            system.pushed = Some(Pushed { child, at: listens(&data, "mqtt")?, data });
        }
        Ok(system)
    }

    /// A broker on this folder, which it may have used before.
    async fn broker(&self, setup: Setup, data: PathBuf) -> Result<Running, Fault> {
        let server = Server::Tessera;
        if setup == Setup::Pushed {
            let none = || Fault::new("no broker is pushed to");
            let Pushed { child, at, data } = self.pushed.as_ref().ok_or_else(none)?;
            let (place, pid, data) = (self.place(setup, *at), child.id(), data.clone());
            return Ok(Running { server, setup, place, pid, data, keep: Box::new(()) });
        }
        let child = self.child(setup, &data, 0).await?;
        let name = if setup == Setup::Tls { "mqtts" } else { "mqtt" };
        let place = self.place(setup, listens(&data, name)?);
        let (pid, keep) = (child.id(), Box::new(child));
        Ok(Running { server, setup, place, pid, data, keep })
    }

    /// The process of one, at this port.
    async fn child(&self, setup: Setup, data: &Path, port: u16) -> Result<child::Server, Fault> {
        let at = format!("127.0.0.1:{port}");
        let mut command = Command::new(&self.binary);
        command
            .args(["broker", "--metrics", "127.0.0.1:0", "--log", LOG])
            .args(["--provisioning", &self.http])
            .arg("--data")
            .arg(data)
            .arg("--feed-token")
            .arg(self.data.join("feed.token"))
            .arg("--root")
            .arg(self.data.join("root.thumbprint"))
            .arg("--derivation-keys")
            .arg(&self.derivation);
        match setup {
            Setup::Plain | Setup::Field | Setup::Pushed => {
                command.args(["--mqtt", &at]);
            }
            Setup::Tls => {
                command.args(["--mqtt", "off", "--mqtts", &at, "--cert"]);
                command.arg(&self.certificate.chain).arg("--key").arg(&self.certificate.key);
            }
        }
        if setup != Setup::Field {
            command.arg("--config").arg(&self.opened);
        }
        child::Server::until_ready(command).await
    }

    fn place(&self, setup: Setup, addr: SocketAddr) -> Place {
        Place { addr, from: None, tls: (setup == Setup::Tls).then(|| self.tls.clone()) }
    }
}

/// A port that is free now.
fn free_port() -> Result<u16, Fault> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn listens(data: &Path, name: &str) -> Result<SocketAddr, Fault> {
    let text = std::fs::read_to_string(data.join("run.json"))?;
    let run: serde_json::Value = serde_json::from_str(&text)?;
    let at = run.get(name).and_then(serde_json::Value::as_str);
    Ok(at.ok_or_else(|| Fault::new(format!("run.json has no {name}")))?.parse()?)
}

/// The servers that take turns.
pub(super) struct Contenders {
    pub(super) system: System,
    pub(super) mosquitto: Option<Mosquitto>,
    pub(super) flashmq: Option<Flashmq>,
    pub(super) clients: usize,
}

impl Contenders {
    async fn open(&self, server: Server, setup: Setup, data: PathBuf) -> Result<Running, Fault> {
        let certificate = (setup == Setup::Tls).then_some(&self.system.certificate);
        let folder = &self.system.folder;
        let none = || Fault::new(format!("{} is not among the peers", server.name()));
        let (child, addr) = match server {
            Server::Tessera => return self.system.broker(setup, data).await,
            Server::Mosquitto | Server::MosquittoPassword => {
                let peer = self.mosquitto.as_ref().ok_or_else(none)?;
                peer.start(folder, server, certificate, self.clients).await?
            }
            Server::Flashmq => {
                self.flashmq.as_ref().ok_or_else(none)?.start(folder, certificate).await?
            }
        };
        let place = self.system.place(setup, addr);
        let (pid, keep) = (child.id(), Box::new(child));
        Ok(Running { server, setup, place, pid, data, keep })
    }
}

impl Servers for Contenders {
    async fn start(&self, server: Server, setup: Setup) -> Result<Running, BenchError> {
        let data = self.system.folder.fresh(server.name());
        self.open(server, setup, data).await.map_err(|fault| BenchError::new(fault.to_string()))
    }

    async fn again(&self, running: Running) -> Result<Running, BenchError> {
        let Running { server, setup, data, keep, .. } = running;
        // Killed and waited for: its folder is free when the next one opens it.
        drop(keep);
        self.open(server, setup, data).await.map_err(|fault| BenchError::new(fault.to_string()))
    }

    fn provisioning(&self) -> Vec<(u32, SocketAddr)> {
        let second = self.system.second.iter().map(|(child, at)| (child.id(), *at));
        std::iter::once((self.system.provisioning.id(), self.system.at)).chain(second).collect()
    }

    fn pushed_life(&self) -> Option<Duration> {
        self.system.pushed.as_ref().map(|_| Duration::from_secs(PUSHED_SECONDS))
    }

    fn written(&self, broker: u32) -> Result<u64, BenchError> {
        let written = match self.system.folder.disk() {
            Some(disk) => disk.written(),
            None => {
                let both = [self.system.provisioning.id(), broker].map(written_by);
                both.into_iter().sum::<Option<u64>>()
            }
        };
        written.ok_or_else(|| BenchError::new("the kernel does not tell what was written"))
    }

    fn counts_at_disk(&self) -> bool {
        self.system.folder.disk().is_some()
    }
}
