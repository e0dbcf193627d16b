//! A PostgreSQL server of a test, in a folder of the test, without a port.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on panics"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::engine::Link;
#[cfg(test)]
pub(in crate::sql) use super::engine::Server as Remote;
#[cfg(not(test))]
use super::engine::Server as Remote;
#[cfg(test)]
use crate::sql::batch::Statement;
use crate::tls::Trust;

/// A running server; it ends with this.
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    process: Option<Child>,
}

impl Server {
    /// Starts one in this empty folder; `None`, and a word, where PostgreSQL is not installed.
    pub async fn start(folder: &Path) -> Option<Self> {
        let Some(programs) = programs() else {
            println!("LEFT OUT: PostgreSQL is not installed");
            return None;
        };
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder));
        }
        let mut server = Self { folder: folder.to_owned(), programs, process: None };
        let data = server.folder.join("data");
        let mut made = server.command("initdb");
        made.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"]).arg(data);
        run(made.stdout(Stdio::null()));
        server.go_on().await;
        Some(server)
    }

    /// Starts the process on what is there, and waits until it answers.
    pub async fn go_on(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.folder.join("data"));
        command.arg("-k").arg(&self.folder).args([
            "-c",
            "listen_addresses=",
            "-c",
            "max_connections=2000",
        ]);
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let remote = Remote::new(&self.url("postgres"), &Trust::default(), ("", 0), &[]).unwrap();
        while Link::connect(&remote).await.is_err() {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Ends all its processes at once, as a fault of the machine would.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let lines = std::fs::read_to_string(self.folder.join("data/postmaster.pid"));
        let first = lines.unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        run(Command::new("kill").args(["-QUIT", &first]));
        process.wait().unwrap();
    }

    /// Stops all its processes where they are, until [`Server::thaw`].
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let main = self.process.as_ref().unwrap().id().to_string();
        let children = Command::new("pgrep").args(["-P", &main]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        run(Command::new("kill").arg(name).arg(&main).args(children.split_whitespace()));
    }

    /// Makes a database; gives its URL.
    pub async fn database(&self, name: &str) -> String {
        let link = link(&self.url("postgres")).await;
        link.set(&format!("CREATE DATABASE {name}")).await.unwrap();
        self.url(name)
    }

    /// Copies a database, to which none is connected, under a new name; gives its URL.
    pub async fn copy(&self, url: &str, name: &str) -> String {
        let from = url.rsplit('=').next().unwrap();
        let link = link(&self.url("postgres")).await;
        // Backends of a service that has just stopped may be there for a moment yet.
        let ends = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}'"
        );
        link.set(&ends).await.unwrap();
        link.set(&format!("CREATE DATABASE {name} TEMPLATE {from}")).await.unwrap();
        self.url(name)
    }

    fn url(&self, database: &str) -> String {
        format!("host={} user=postgres dbname={database}", self.folder.display())
    }

    /// It refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        match is_root() {
            false => Command::new(program),
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
                command.arg(program);
                command
            }
        }
    }
}

async fn link(url: &str) -> Link {
    let remote = Remote::new(url, &Trust::default(), ("", 0), &[]).unwrap();
    Link::connect(&remote).await.unwrap()
}

/// A transaction that is open until this is dropped.
#[cfg(test)]
pub(in crate::sql) struct Transaction {
    link: Link,
}

#[cfg(test)]
impl Transaction {
    /// Begins one with this statement.
    pub(in crate::sql) async fn begin(url: &str, statement: &str) -> Self {
        let link = link(url).await;
        link.set(&format!("BEGIN; {statement}")).await.unwrap();
        Self { link }
    }

    /// Waits until so many others wait for what it holds.
    pub(in crate::sql) async fn hinders(&mut self, others: u64) {
        let waiting = Statement {
            table: "pg_locks",
            sql: "SELECT count(*) FROM pg_locks WHERE NOT granted".into(),
            values: Vec::new(),
        };
        loop {
            let found = self.link.rows(&waiting).await.unwrap().pop().unwrap().number().unwrap();
            if found >= others {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn is_root() -> bool {
    let told = Command::new("id").arg("-u").output().unwrap();
    told.stdout.starts_with(b"0")
}

/// The folder of `initdb`: Debian keeps it out of the path.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let has = |folder: &PathBuf| Path::exists(&folder.join("initdb"));
    debian.chain(listed).find(has)
}
