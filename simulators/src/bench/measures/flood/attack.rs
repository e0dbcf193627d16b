//! The attackers: threads of their own that begin connects by the clock, whether the server keeps up or not. socket2 is
//! named here alone.
//!
//! Only loopback is reached, and count, time and open sockets are bounded.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tessera_runtime::clock::SharedClock;

use super::super::super::error::BenchError;
use super::super::super::limits;
use super::shots::Shot;

/// Counts of the attack.
#[derive(Clone, Copy, Default)]
pub(super) struct Offered {
    /// Connects begun.
    pub(super) started: u64,
    /// Of which were to send something.
    pub(super) loud: u64,
    /// Of which could send it at once, so the server's system had taken them.
    pub(super) written: u64,
    /// Connects that were due while no socket was to be had here.
    pub(super) without_socket: u64,
    /// From the first to the last.
    pub(super) took: Duration,
}

/// An attack under way.
pub(super) struct Attack(Vec<thread::JoinHandle<Offered>>);

impl Attack {
    /// Begins it; it ends by itself after [`limits::FLOODED`].
    pub(super) fn start(
        server: SocketAddr,
        shots: Vec<Shot>,
        clock: &SharedClock,
    ) -> Result<Self, BenchError> {
        if !server.ip().is_loopback() {
            return Err(BenchError::new("a flood is for loopback alone"));
        }
        let (shots, began) = (Arc::new(shots), clock.monotonic());
        let start = |number: usize| {
            let attacker = Attacker {
                number,
                server: SockAddr::from(server),
                shots: Arc::clone(&shots),
                clock: Arc::clone(clock),
                began,
                loud: VecDeque::new(),
                silent: VecDeque::new(),
                offered: Offered::default(),
            };
            thread::Builder::new().name(format!("attack-{number}")).spawn(|| attacker.run())
        };
        Ok(Self((0..limits::ATTACKERS).map(start).collect::<io::Result<_>>()?))
    }

    /// Waits for its end.
    pub(super) async fn finish(self) -> Result<Offered, BenchError> {
        let join = move || self.0.into_iter().map(thread::JoinHandle::join).collect::<Vec<_>>();
        let mut all = Offered::default();
        for one in tokio::task::spawn_blocking(join).await? {
            let one = one.map_err(|_| BenchError::new("an attacker failed"))?;
            all.started += one.started;
            all.loud += one.loud;
            all.written += one.written;
            all.without_socket += one.without_socket;
            all.took = all.took.max(one.took);
        }
        Ok(all)
    }
}

struct Attacker {
    number: usize,
    server: SockAddr,
    shots: Arc<Vec<Shot>>,
    clock: SharedClock,
    began: Duration,
    loud: VecDeque<(Duration, Socket)>,
    silent: VecDeque<(Duration, Socket)>,
    offered: Offered,
}

impl Attacker {
    fn run(mut self) -> Offered {
        let rate = limits::FLOOD_A_SECOND as f64 / limits::ATTACKERS as f64;
        let most = (rate * limits::FLOODED.as_secs_f64()) as u64;
        let mut done = 0u64;
        loop {
            let now = self.clock.monotonic().saturating_sub(self.began);
            if now >= limits::FLOODED || done >= most {
                self.offered.took = now;
                return self.offered;
            }
            self.let_go(now);
            let due = (now.as_secs_f64() * rate) as u64;
            let burst = due.saturating_sub(done).min(limits::FLOOD_BURST);
            for _ in 0..burst {
                self.shoot(done, now);
                done += 1;
            }
            if burst == 0 {
                thread::park_timeout(limits::FLOOD_PAUSE);
            }
        }
    }

    fn shoot(&mut self, number: u64, now: Duration) {
        let shots = Arc::clone(&self.shots);
        let at = usize::try_from(number).unwrap_or_default() * limits::ATTACKERS + self.number;
        let Some(shot) = shots.get(at % shots.len().max(1)) else { return };
        let Ok(socket) = self.begin(at) else {
            self.offered.without_socket += 1;
            return;
        };
        self.offered.started += 1;
        if shot.bytes.is_empty() {
            return self.silent.push_back((now + shot.keep, socket));
        }
        self.offered.loud += 1;
        self.offered.written += u64::from(socket.send(&shot.bytes).is_ok());
        self.loud.push_back((now + shot.keep, socket));
    }

    /// Begins a connect from the next prefix. Over loopback it is done at once, or the server's backlog is full.
    fn begin(&self, at: usize) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(source(at), 0)))?;
        match socket.connect(&self.server) {
            Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }

    /// Closes what was kept long enough, and the oldest silent ones beyond the bound.
    fn let_go(&mut self, now: Duration) {
        for kept in [&mut self.loud, &mut self.silent] {
            while kept.front().is_some_and(|(until, _)| *until <= now) {
                kept.pop_front();
            }
        }
        while self.silent.len() > limits::SILENT_OPEN / limits::ATTACKERS {
            self.silent.pop_front();
        }
    }
}

/// `EINPROGRESS` of Linux.
const IN_PROGRESS: i32 = 115;

/// One host in each of many /24 in turn, none of them that of honest devices (127.0.0.0/24).
pub(super) fn source(at: usize) -> Ipv4Addr {
    let prefix = at % limits::FLOOD_PREFIXES;
    let host = 1 + (at / limits::FLOOD_PREFIXES) % 250;
    let part = |number: usize| u8::try_from(number).unwrap_or(1);
    Ipv4Addr::new(127, part(1 + prefix / 250), part(prefix % 250), part(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn attackers_come_from_as_many_prefixes_as_said() {
        let prefixes = |of: std::ops::Range<usize>| {
            of.map(|at| source(at).octets()[..3].to_vec()).collect::<BTreeSet<_>>()
        };
        let all = prefixes(0..limits::FLOOD_PREFIXES * 300);
        assert_eq!(all.len(), limits::FLOOD_PREFIXES);
        assert_eq!(prefixes(0..limits::FLOOD_PREFIXES).len(), limits::FLOOD_PREFIXES);
        assert!(!all.contains(&vec![127, 0, 0]));
    }
}
