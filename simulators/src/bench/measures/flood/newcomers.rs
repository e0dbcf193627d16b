//! Honest devices that want to connect now: by the clock, each trying again when it is turned away.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::super::connection::{Answer, Conn, Place};
use super::super::super::crowd::Crowd;
use super::super::super::error::BenchError;
use super::super::super::limits;
use super::super::super::server::Server;
use super::super::super::stage::Stage;

/// One device that wanted to connect.
pub(super) struct Arrival {
    /// When.
    pub(super) at: Duration,
    /// Until CONNACK, or until it gave up.
    pub(super) took: Duration,
    /// Times that it was refused or closed on.
    pub(super) turned_away: u32,
    /// Whether it got in at last.
    pub(super) connected: bool,
}

/// Devices that connect, their addresses and their rate.
pub(super) struct Plan {
    /// Numbers of the devices.
    pub(super) devices: Range<usize>,
    /// Where the server is, and where they come from.
    pub(super) place: Place,
    /// Between two of them.
    pub(super) every: Duration,
}

/// Lets devices connect and leave for `time`.
pub(super) async fn run(
    stage: &Stage,
    plan: &Plan,
    time: Duration,
) -> Result<Vec<Arrival>, BenchError> {
    let crowd = Arc::new(stage.devices.part(usize::MAX));
    let (began, mut tasks) = (stage.clock.monotonic(), JoinSet::new());
    let mut due = began;
    for number in plan.devices.clone().cycle() {
        tokio::time::sleep(due.saturating_sub(stage.clock.monotonic())).await;
        if due.saturating_sub(began) >= time {
            break;
        }
        let newcomer = Newcomer { number, crowd: Arc::clone(&crowd), place: plan.place.clone() };
        tasks.spawn(newcomer.arrive(due, Arc::clone(&stage.clock)));
        due += plan.every;
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.push(done?);
    }
    Ok(all)
}

struct Newcomer {
    number: usize,
    crowd: Arc<Crowd>,
    place: Place,
}

impl Newcomer {
    async fn arrive(self, at: Duration, clock: SharedClock) -> Arrival {
        let mut turned_away = 0;
        let tries = timeout(limits::NEWCOMER_PATIENCE, self.insist(&mut turned_away)).await;
        let took = clock.monotonic().saturating_sub(at);
        let Ok(Some(conn)) = tries else {
            return Arrival { at, took, turned_away, connected: false };
        };
        // The measure ends with the answer; the DISCONNECT is not measured.
        let _ = conn.close().await;
        Arrival { at, took, turned_away, connected: true }
    }

    async fn insist(&self, turned_away: &mut u32) -> Option<Conn> {
        let member = self.crowd.members().get(self.number)?;
        loop {
            let packet = self.crowd.connect(member, Server::Tessera);
            match Conn::try_open(&self.place, &packet).await {
                Ok(Answer::Accepted(conn)) => return Some(conn),
                Ok(Answer::Refused) | Err(_) => *turned_away += 1,
            }
            tokio::time::sleep(limits::NEWCOMER_PAUSE).await;
        }
    }
}
