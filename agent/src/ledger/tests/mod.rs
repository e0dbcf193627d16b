use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tessera_runtime::clock::{Clock, ManualClock};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::store::Store;
use tessera_token::chain::ProofUse;
use tessera_token::ids::ClientId;
use tessera_token::key::Thumbprint;
use tessera_token::proof::Place;
use tessera_token::refusal::RefusalCode;
use tessera_token::refusal::RefusalCode::{NotReady, ProofReplayed, ProofUndecided};

use super::*;
use crate::testing::{at, NOW};

mod bounds;
mod clocks;
mod former;
mod history;
mod order;
mod stops;
mod write_back;

/// Seconds that a device whose clock is right waits at most after a crash, while proofs come one after the other, and
/// when they come seldom.
const WAIT: u64 = limits::LEDGER_RESERVE_SECONDS as u64 + 1;
const WAIT_SELDOM: u64 = limits::LEDGER_RESERVE_SELDOM as u64 + 1;

/// A ledger in a folder, with a clock of its own.
struct Rig {
    folder: TempDir,
    clock: Arc<ManualClock>,
    store: Store,
    ledger: Arc<Ledger>,
}

fn proof(key: u8, time: u64, counter: u32) -> ProofUse {
    ProofUse { key: Thumbprint::from_bytes([key; 32]), place: Place::new(at(time), counter) }
}

fn id(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

fn open(store: &Store, opening: Opening, clock: &Arc<ManualClock>) -> Arc<Ledger> {
    let metrics = LedgerMetrics::new(&Metrics::new()).unwrap();
    let now = clock.unix();
    Arc::new(Ledger::open(store, opening, clock.clone(), now, metrics).unwrap())
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(at(NOW));
        let store = Store::open(folder.path()).unwrap();
        let ledger = open(&store, Opening::default(), &clock);
        Self { folder, clock, store, ledger }
    }

    fn now(&self) -> u64 {
        self.clock.unix().get()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn take(&self, key: u8, time: u64, counter: u32) -> Result<Option<u32>, RefusalCode> {
        self.take_as("d", key, time, counter).await
    }

    async fn take_as(
        &self,
        client: &str,
        key: u8,
        time: u64,
        counter: u32,
    ) -> Result<Option<u32>, RefusalCode> {
        let (proof, client) = (proof(key, time, counter), id(client));
        self.ledger.take(proof, &client, self.clock.unix()).await.map(|taken| taken.previous)
    }

    /// As `kill -9` does it: nothing is written down.
    fn crash(self) -> Self {
        self.again(Opening::default(), false)
    }

    fn stop(self) -> Self {
        self.again(Opening::default(), true)
    }

    fn again(self, opening: Opening, finish: bool) -> Self {
        let Self { folder, clock, store, ledger } = self;
        if finish {
            ledger.finish(clock.unix()).unwrap();
        }
        store.close().unwrap();
        drop(ledger);
        drop(store);
        let clock = ManualClock::at(clock.unix());
        let store = Store::open(folder.path()).unwrap();
        let ledger = open(&store, opening, &clock);
        Self { folder, clock, store, ledger }
    }

    /// The clean-up, to its end.
    async fn clean(&self) {
        let mut after = None;
        loop {
            after = self.ledger.clean(after, self.clock.unix()).await.unwrap();
            if after.is_none() {
                return;
            }
        }
    }

    /// A step of the write-back, behind a write of the reserve that is under way.
    async fn write_back(&self) {
        while !self.ledger.write_back(self.clock.unix()).await.unwrap() {
            tokio::task::yield_now().await;
        }
    }

    /// The seconds until a device whose clock is right is taken.
    async fn wait(&self, key: u8) -> u64 {
        for waited in 0..200 {
            if self.take(key, self.now(), 1).await.is_ok() {
                return waited;
            }
            self.pass(1);
        }
        200
    }
}

fn copy(from: &Path, to: &Path) {
    // A store that others can read is not opened.
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        match file.file_type().unwrap().is_dir() {
            true => {
                std::fs::create_dir_all(&to).unwrap();
                copy(&file.path(), &to);
            }
            false => drop(std::fs::copy(file.path(), to).unwrap()),
        }
    }
}
