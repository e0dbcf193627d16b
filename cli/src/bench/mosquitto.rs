//! mosquitto as Debian ships it, with its queues opened as wide as the load needs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tessera_simulators::bench::{mosquitto_password, Server};

use super::certificate::Certificate;
use super::child;
use super::folder::Folder;
use crate::error::Fault;

/// Where Debian puts it; `PATH` of a user does not have it.
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];

/// The programs.
pub(super) struct Mosquitto {
    server: PathBuf,
    passwd: PathBuf,
}

impl Mosquitto {
    pub(super) fn find() -> Result<Self, Fault> {
        Ok(Self { server: program("mosquitto")?, passwd: program("mosquitto_passwd")? })
    }

    /// Starts it, over TLS 1.3 when there is a certificate; with a password file, the users are the devices, the backend and the fans.
    pub(super) async fn start(
        &self,
        folder: &Folder,
        server: Server,
        certificate: Option<&Certificate>,
        clients: usize,
    ) -> Result<(child::Server, SocketAddr), Fault> {
        let config = folder.fresh("mosquitto.conf");
        let users = folder.path().join("mosquitto.users");
        let users = (server == Server::MosquittoPassword).then_some(users.as_path());
        users.map_or(Ok(()), |users| self.write_users(users, clients))?;
        child::on_free_port(|at| {
            std::fs::write(&config, text(at, certificate, users))?;
            let mut command = Command::new(&self.server);
            command.arg("-c").arg(&config);
            Ok(command)
        })
        .await
    }

    /// Plain text, then hashed in place by mosquitto's own tool; once in a run.
    fn write_users(&self, path: &Path, clients: usize) -> Result<(), Fault> {
        if path.exists() {
            return Ok(());
        }
        let ids = (1..=clients).map(|number| format!("d{number:04}"));
        let lines: String = ids.map(|id| format!("{id}:{}\n", mosquitto_password(&id))).collect();
        std::fs::write(path, lines)?;
        let status = Command::new(&self.passwd).arg("-U").arg(path).status()?;
        match status.success() {
            true => Ok(()),
            false => Err(Fault::new(format!("mosquitto_passwd: {status}"))),
        }
    }
}

/// The configuration: all queues open, nothing stored, nothing logged.
fn text(at: SocketAddr, certificate: Option<&Certificate>, users: Option<&Path>) -> String {
    let mut text = format!(
        "listener {} 127.0.0.1\nuser root\npersistence false\nlog_type none\nmax_connections -1\n\
         max_inflight_messages 0\nmax_queued_messages 0\n",
        at.port()
    );
    // Without TCP_NODELAY its CONNACK waits 40 ms for the acknowledgement of its session tickets.
    if let Some(Certificate { chain, key, .. }) = certificate {
        let (chain, key) = (chain.display(), key.display());
        text.push_str(&format!(
            "cafile {chain}\ncertfile {chain}\nkeyfile {key}\ntls_version tlsv1.3\n\
             set_tcp_nodelay true\n"
        ));
    }
    match users {
        Some(users) => {
            text.push_str(&format!("allow_anonymous false\npassword_file {}\n", users.display()))
        }
        None => text.push_str("allow_anonymous true\n"),
    }
    text
}

fn program(name: &str) -> Result<PathBuf, Fault> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&own).chain(PLACES.map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Fault::new(format!("{name} is not installed"))
            .hint("apt-get install mosquitto, or measure Tessera alone with --peer none")
    })
}
