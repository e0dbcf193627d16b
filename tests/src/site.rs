//! Provisioning, a broker and a gateway agent as three processes on one folder, which can be stopped, killed, halted and
//! started again on the same addresses, or elsewhere on a copy of the folder.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tessera_runtime::clock::{Clock, SystemClock};

use crate::http::Http;
use crate::process::tessera;

/// How long a start may take before it counts as one that hangs.
pub const START_WITHIN: Duration = Duration::from_secs(60);

/// The verifier name of the agent; the broker has that of the audience.
pub const GATEWAY: &str = "gateway";

/// One of the three processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `tessera provision`.
    Provision,
    /// `tessera broker`.
    Broker,
    /// `tessera agent`.
    Agent,
}

impl Role {
    /// In the order in which they are started.
    pub const ALL: [Self; 3] = [Self::Provision, Self::Broker, Self::Agent];

    /// The verb of the command line, and the name of its folder.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Broker => "broker",
            Self::Agent => "agent",
        }
    }

    /// By its verb.
    pub fn parse(verb: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.verb() == verb)
    }
}

/// Waits a little; for what can only be asked again and again.
pub fn rest(time: Duration) {
    // A channel without a writer: the only way to wait that this workspace has outside of tokio.
    let (_send, receive) = std::sync::mpsc::sync_channel::<()>(0);
    let _ = receive.recv_timeout(time);
}

/// Waits until every thread of a process that was told to stop stands still.
pub fn stands_still(process: u32) {
    let tasks = format!("/proc/{process}/task");
    let still = || {
        fs::read_dir(&tasks).unwrap().all(|task| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat"));
            let stat = stat.unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 't', 'Z']))
        })
    };
    assert!(Watch::until(START_WITHIN, still).is_some(), "{tasks} does not stand still");
}

/// Bytes that clients have sent to a port of IPv4 and that its process has not read.
pub fn unread_at(port: u16) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let of_row = |row: &str| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let ours = fields.get(1)?.ends_with(&format!(":{port:04X}"));
        let unread = u64::from_str_radix(fields.get(4)?.split(':').nth(1)?, 16).ok()?;
        // 01: the connection stands. A listener has its backlog in this field.
        (ours && *fields.get(3)? == "01").then_some(unread)
    };
    table.lines().skip(1).filter_map(of_row).sum()
}

/// A watch that starts now.
pub struct Watch(SystemClock);

impl Watch {
    /// Starts.
    pub fn start() -> Self {
        Self(SystemClock::new())
    }

    /// How long ago that was.
    pub fn passed(&self) -> Duration {
        self.0.monotonic()
    }

    /// Asks until the answer is yes or the time is over; how long it took.
    pub fn until(within: Duration, mut ask: impl FnMut() -> bool) -> Option<Duration> {
        let watch = Self::start();
        loop {
            if ask() {
                return Some(watch.passed());
            }
            if watch.passed() > within {
                return None;
            }
            rest(Duration::from_millis(20));
        }
    }
}

/// Where the three listen. Each site has a loopback address of its own, so that a port that was free stays so.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Provisioning.
    pub http: SocketAddr,
    /// MQTT.
    pub mqtt: SocketAddr,
    /// The broker's metrics and readiness.
    pub metrics: SocketAddr,
    /// The agent.
    pub agent: SocketAddr,
}

impl Places {
    /// Addresses that no process uses.
    pub fn fresh() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id().wrapping_mul(64) + MADE.fetch_add(1, Ordering::SeqCst);
        let [_, high, middle, low] = number.to_be_bytes();
        let host = Ipv4Addr::new(127, 1 + high % 250, middle, low.max(2));
        let free = || TcpListener::bind((host, 0)).unwrap();
        let all = [free(), free(), free(), free()];
        let [http, mqtt, metrics, agent] = all.each_ref().map(|l| l.local_addr().unwrap());
        Self { http, mqtt, metrics, agent }
    }
}

/// Why a process is not ready.
#[derive(Debug)]
pub struct NotReady {
    /// The exit status; none when it was still there when time was over.
    pub status: Option<ExitStatus>,
    /// Its output.
    pub text: String,
}

impl NotReady {
    /// Whether it ended by itself with an error that it told.
    pub fn is_told(&self) -> bool {
        let ended = self.status.is_some_and(|status| status.code().is_some_and(|code| code != 0));
        ended && !self.text.contains("panicked") && !self.text.trim().is_empty()
    }

    /// In a line.
    pub fn line(&self) -> String {
        let status = match self.status {
            None => "no `ready` in time".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, signal) => format!("ended by signal {signal:?}"),
            },
        };
        let last = self.text.lines().rev().filter(|line| !line.trim().is_empty());
        let last: Vec<&str> = last.take(3).collect();
        format!("{status}: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | "))
    }
}

/// A server process whose output goes to a file. It is killed when it goes out of scope.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; its output is added to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log: log.to_owned() }
    }

    /// Its output up to now.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for its line `ready`.
    ///
    /// # Errors
    /// [`NotReady`].
    pub fn ready(&mut self, within: Duration) -> Result<(), NotReady> {
        let mut status = None;
        let found = Watch::until(within, || {
            status = self.child.try_wait().unwrap();
            status.is_some() || self.text().lines().any(|line| line == "ready")
        });
        match (found, status) {
            (Some(_), None) => Ok(()),
            (_, status) => Err(NotReady { status, text: self.text() }),
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A signal by its name.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(status.unwrap().success(), "kill -{name} {id}");
    }

    /// SIGTERM, and its end.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        self.signal("TERM");
        let mut status = None;
        Watch::until(START_WITHIN, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status
    }

    /// SIGSTOP, and every thread of it stands still: no system call of it is under way.
    pub fn halt(&self) {
        self.signal("STOP");
        stands_still(self.id());
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal("CONT");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The three processes on a folder.
pub struct Site {
    /// The folder with one folder for each process.
    pub folder: PathBuf,
    /// Where they listen.
    pub places: Places,
    /// Variables of the environment for one process each.
    pub variables: Vec<(Role, String, String)>,
    /// Further words of the command line for one process each.
    pub words: Vec<(Role, String)>,
    /// The folder of the logs, which are no part of what survives.
    logs: PathBuf,
    running: [Option<Daemon>; 3],
}

impl Site {
    /// Nothing runs yet. `logs` is a folder outside of `folder`.
    pub fn new(folder: &Path, logs: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            places: Places::fresh(),
            variables: Vec::new(),
            words: Vec::new(),
            logs: logs.to_owned(),
            running: [None, None, None],
        }
    }

    /// The data folder of a process.
    pub fn data(&self, role: Role) -> PathBuf {
        self.folder.join(role.verb())
    }

    /// Starts one; it is ready when this returns.
    ///
    /// # Errors
    /// [`NotReady`].
    pub fn start(&mut self, role: Role) -> Result<(), NotReady> {
        self.launch(role);
        self.await_ready(role, START_WITHIN)
    }

    /// Starts one and does not wait.
    pub fn launch(&mut self, role: Role) {
        let _ = fs::create_dir_all(&self.folder);
        let log = self.logs.join(format!("{}-{}.log", role.verb(), self.places.http.ip()));
        let mut command = self.command(role);
        self.running[role as usize] = Some(Daemon::start(&mut command, &log));
    }

    /// Waits until one is ready. One that is not is ended.
    ///
    /// # Errors
    /// [`NotReady`].
    pub fn await_ready(&mut self, role: Role, within: Duration) -> Result<(), NotReady> {
        let outcome = self.daemon(role).ready(within);
        if outcome.is_err() {
            self.running[role as usize] = None;
        }
        outcome
    }

    /// Starts all three.
    ///
    /// # Errors
    /// The first that is not ready; the others are ended.
    pub fn start_all(&mut self) -> Result<(), (Role, NotReady)> {
        self.start_within(START_WITHIN)
    }

    /// As [`Site::start_all`], with the time that each has.
    ///
    /// # Errors
    /// As [`Site::start_all`].
    pub fn start_within(&mut self, within: Duration) -> Result<(), (Role, NotReady)> {
        let mut start = || {
            self.launch(Role::Provision);
            self.await_ready(Role::Provision, within).map_err(|e| (Role::Provision, e))?;
            for role in [Role::Broker, Role::Agent] {
                self.launch(role);
            }
            for role in [Role::Broker, Role::Agent] {
                self.await_ready(role, within).map_err(|e| (role, e))?;
            }
            Ok(())
        };
        let outcome = start();
        if outcome.is_err() {
            self.kill_all();
        }
        outcome
    }

    fn command(&self, role: Role) -> Command {
        let mut command = Command::new(tessera());
        command.arg(role.verb()).arg("--data").arg(self.data(role));
        let places = self.places;
        match role {
            Role::Provision => command.args(["--http", &places.http.to_string()]),
            Role::Broker => command
                .args(["--mqtt", &places.mqtt.to_string()])
                .args(["--metrics", &places.metrics.to_string()]),
            Role::Agent => {
                command.args(["--http", &places.agent.to_string(), "--verifier", GATEWAY])
            }
        };
        if role != Role::Provision {
            let provision = self.data(Role::Provision);
            command.args(["--provisioning", &format!("http://{}", places.http)]);
            command.arg("--feed-token").arg(provision.join("feed.token"));
            command.arg("--root").arg(provision.join("root.thumbprint"));
        }
        command.args(self.words.iter().filter(|w| w.0 == role).map(|w| &w.1));
        command.envs(self.variables.iter().filter(|v| v.0 == role).map(|v| (&v.1, &v.2)));
        command
    }

    /// A process that runs.
    pub fn daemon(&mut self, role: Role) -> &mut Daemon {
        self.running[role as usize].as_mut().unwrap_or_else(|| panic!("{role:?} does not run"))
    }

    /// `kill -9` of one.
    pub fn kill(&mut self, role: Role) {
        self.running[role as usize] = None;
    }

    /// `kill -9` of all.
    pub fn kill_all(&mut self) {
        // Readers first: provisioning would only be missed.
        for role in Role::ALL.into_iter().rev() {
            self.kill(role);
        }
    }

    /// SIGTERM of all, one after the other.
    pub fn stop_all(&mut self) {
        for role in Role::ALL.into_iter().rev() {
            if let Some(mut daemon) = self.running[role as usize].take() {
                let status = daemon.terminate();
                let text = daemon.text();
                assert!(status.is_some_and(|s| s.success()), "{role:?} ended {status:?}\n{text}");
            }
        }
    }

    /// All stand still.
    pub fn halt(&self) {
        self.running.iter().flatten().for_each(Daemon::halt);
    }

    /// All go on.
    pub fn go_on(&self) {
        self.running.iter().flatten().for_each(Daemon::go_on);
    }

    /// The token of the operator of the first start.
    pub fn operator_token(&self) -> String {
        let file = self.data(Role::Provision).join("operator.token");
        fs::read_to_string(file).unwrap().trim().to_owned()
    }

    /// Provisioning, without a token.
    pub fn devices(&self) -> Http {
        Http::new(self.places.http, None)
    }

    /// The agent.
    pub fn agent(&self) -> Http {
        Http::new(self.places.agent, None)
    }

    /// The broker's page.
    pub fn broker_page(&self) -> Http {
        Http::new(self.places.metrics, None)
    }

    /// The page of readiness and metrics of a process.
    pub fn page(&self, role: Role) -> Http {
        match role {
            Role::Provision => self.devices(),
            Role::Broker => self.broker_page(),
            Role::Agent => self.agent(),
        }
    }
}
