//! Two processes on one PostgreSQL server, and everything of it killed or frozen in turn: what was acknowledged stays, and
//! nothing is given out twice.

use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tessera_runtime::random::{number, SystemRandom};
use tessera_runtime::secret::own_folder;
use tessera_runtime::sql::testing::Server;

use crate::killed::{check, serve, Client, Told};
use crate::several::{entries_of, events_of, is_one_line};
use crate::world::Device;

/// A disturbance that comes while both are asked.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// `kill -9` of one process.
    Kill,
    /// One process stands still, holding what it holds, and is killed so.
    Freeze,
    /// One process stands still for a while and goes on.
    Pause,
    /// All processes of the server end at once.
    KillServer,
    /// The server stands still for a while.
    PauseServer,
}

const FAULTS: [Fault; 5] =
    [Fault::Kill, Fault::KillServer, Fault::Freeze, Fault::PauseServer, Fault::Pause];
const ROUNDS: usize = 5;
const WHILE: Duration = Duration::from_millis(700);

/// A process of the database, with its folder.
struct Process {
    dir: TempDir,
    child: Child,
    url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(dir: TempDir, database: &str) -> Self {
        let (child, url) = serve(dir.path(), Some(database));
        Self { dir, child, url }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Ends it, if it has not ended, and starts another in its folder.
    fn again(mut self, database: &str) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let dir = std::mem::replace(&mut self.dir, TempDir::new().unwrap());
        Self::start(dir, database)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_two_processes_and_their_server() {
    let folder = TempDir::new().unwrap();
    let Some(mut server) = Server::start(folder.path()).await else { return };
    let database = server.database("fleet").await;
    let mut one = Process::start(TempDir::new().unwrap(), &database);
    let dir = TempDir::new().unwrap();
    own_folder(dir.path()).unwrap();
    own_folder(&dir.path().join("provisioning")).unwrap();
    for file in ["provisioning/database.key", "operator.token", "feed.token"] {
        std::fs::copy(one.dir.path().join(file), dir.path().join(file)).unwrap();
    }
    let mut other = Process::start(dir, &database);
    let mut told = Told::default();
    for round in 0..ROUNDS {
        let clients = [&one, &other].map(|one| Client::new(&one.url, one.dir.path()));
        check(&clients[round % 2], &mut told).await;
        let fault = FAULTS[round % FAULTS.len()];
        let victim =
            if number(&SystemRandom).unwrap().is_multiple_of(2) { &mut one } else { &mut other };
        work(&clients, &mut told, round, fault, victim, &mut server).await;
        (one, other) = (one.again(&database), other.again(&database));
    }
    let clients = [&one, &other].map(|one| Client::new(&one.url, one.dir.path()));
    for client in &clients {
        check(client, &mut told).await;
        assert!(is_one_line(&events_of(&client.feed).await));
        assert!(is_one_line(&entries_of(&client.operator).await));
    }
    assert!(told.devices.len() >= ROUNDS * 2 && !told.revoked.is_empty());
}

/// Devices enrol at one process, refresh at the other, and are revoked at either; the fault comes when some were answered.
async fn work(
    clients: &[Client; 2],
    told: &mut Told,
    round: usize,
    fault: Fault,
    victim: &mut Process,
    server: &mut Server,
) {
    let Ok(codes) = clients[0].claims(40).await else { return };
    let mut tasks = tokio::task::JoinSet::new();
    for (n, code) in codes.into_iter().enumerate() {
        let [first, second] = clients.clone();
        let (here, there) = if n % 2 == 0 { (first, second) } else { (second, first) };
        let device = Arc::new(Device::new(&format!("r{round}-{n}")));
        tasks.spawn(async move {
            let enrolled = here.enrol(&device, &code).await.ok()?;
            let refreshed = there.refresh(&device).await.ok();
            let revoked = n % 3 == 0 && here.revoke(&device).await;
            // Groups and their epochs, from both.
            let group = json!({ "group": format!("{}", device.id) });
            let _ = there.operator.post_json("/v1/tenants/default/groups", &group).await;
            Some((device, enrolled, refreshed, revoked))
        });
    }
    let (enough, mut answered) = (number(&SystemRandom).unwrap() % 15, 0);
    while let Some(outcome) = tasks.join_next().await {
        if let Some((device, first, second, revoked)) = outcome.unwrap() {
            told.note(&first);
            second.iter().for_each(|answer| told.note(answer));
            match revoked {
                true => told.revoked.push(device),
                false => told.devices.push(device),
            }
        }
        answered += 1;
        if answered == enough + 1 {
            strike(fault, victim, server).await;
        }
    }
}

async fn strike(fault: Fault, victim: &mut Process, server: &mut Server) {
    match fault {
        Fault::Kill => victim.child.kill().unwrap(),
        Fault::Freeze => victim.signal("-STOP"),
        Fault::Pause => {
            victim.signal("-STOP");
            tokio::time::sleep(WHILE).await;
            victim.signal("-CONT");
        }
        Fault::KillServer => {
            server.kill();
            server.go_on().await;
        }
        Fault::PauseServer => {
            server.freeze();
            tokio::time::sleep(WHILE).await;
            server.thaw();
        }
    }
}
