use std::collections::HashMap;

use super::*;

/// A small generator, so that a failure is repeated by its seed.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ value >> 31) % most
    }
}

/// Proofs that the chain lets through to the ledger.
fn is_fresh(time: u64, now: u64) -> bool {
    (now.saturating_sub(60)..=now + 60).contains(&time)
}

/// Real time goes on whatever the server's clock says; devices whose clock is right follow it.
struct World {
    rig: Rig,
    draw: Draw,
    real: u64,
    offset: i64,
    taken: HashMap<(u8, &'static str, u64), u32>,
    seen: Vec<(u8, &'static str, u64, u32)>,
    counter: u32,
}

const CLIENTS: [&str; 3] = ["d", "d~a", "d~b"];

impl World {
    fn new(seed: u64) -> Self {
        let (rig, draw) = (Rig::new(), Draw(seed));
        Self {
            rig,
            draw,
            real: NOW,
            offset: 0,
            taken: HashMap::new(),
            seen: Vec::new(),
            counter: 1,
        }
    }

    fn set(&self) {
        self.rig.clock.set_unix(at(self.real.saturating_add_signed(self.offset)));
    }

    fn pass(&mut self, seconds: u64) {
        self.real += seconds;
        self.rig.pass(seconds);
        self.set();
    }

    /// Shows a proof, if the chain would. No place is ever taken twice.
    async fn show(&mut self, key: u8, client: &'static str, time: u64, counter: u32) -> bool {
        if !is_fresh(time, self.rig.now()) {
            return false;
        }
        self.seen.push((key, client, time, counter));
        let place = Place::new(at(time), counter).number();
        let taken = self.rig.take_as(client, key, time, counter).await.is_ok();
        if taken {
            let times = self.taken.entry((key, client, place)).or_default();
            *times += 1;
            assert_eq!(*times, 1, "key {key}, {client}, {time}s#{counter} was taken twice");
        }
        taken
    }

    async fn step(mut self) -> Self {
        match self.draw.below(100) {
            0..=39 => {
                let key = self.draw.below(6) as u8;
                let client = CLIENTS[self.draw.below(3) as usize];
                let time = match self.draw.below(4) {
                    0 => self.rig.now() + self.draw.below(121) - 60.min(self.rig.now()),
                    _ => self.real,
                };
                self.counter = if self.draw.below(20) == 0 { 1 } else { self.counter + 1 };
                let counter = if self.draw.below(30) == 0 { u32::MAX } else { self.counter };
                self.show(key, client, time, counter).await;
            }
            40..=64 if !self.seen.is_empty() => {
                let (key, client, time, counter) =
                    self.seen[self.draw.below(self.seen.len() as u64) as usize];
                self.show(key, client, time, counter).await;
            }
            65..=84 => {
                let seconds = [1, 1, 2, 5, 30, 70, 200][self.draw.below(7) as usize];
                self.pass(seconds);
            }
            85..=89 => {
                let hours = 3600;
                let jumps = [0, 0, 13, -10, -13, 45, -600, 6 * hours, -6 * hours, 40 * 24 * hours];
                self.offset = jumps[self.draw.below(10) as usize];
                self.set();
            }
            90..=93 => self.rig = self.rig.crash(),
            94..=96 => self.rig = self.rig.stop(),
            97 => self.rig.write_back().await,
            98 => self.rig.clean().await,
            _ => return self.heal().await,
        }
        self
    }

    /// The clock comes right; then a device that never came before, and one that did, are let in within a minute, and
    /// after a crash within seconds.
    async fn heal(mut self) -> Self {
        self.offset = 0;
        self.set();
        let waited = self.wait().await;
        assert!(waited <= 60, "{waited} s after the clock came right");
        self.pass(61);
        assert!(self.wait().await <= 1);
        self.rig = self.rig.crash();
        let waited = self.wait().await;
        assert!(waited <= WAIT_SELDOM + 1, "{waited} s after a crash");
        self
    }

    async fn wait(&mut self) -> u64 {
        for waited in 0..200 {
            self.counter += 1;
            let counter = self.counter;
            let newcomer = 100 + self.draw.below(100) as u8;
            if self.show(newcomer, "d", self.real, counter).await
                && self.show(1, "d~h", self.real, counter).await
            {
                return waited;
            }
            self.pass(1);
        }
        200
    }
}

/// Takes, clocks that jump, crashes and stops in any order: nothing is taken twice, and service comes back by itself.
#[tokio::test]
async fn nothing_is_taken_twice_and_service_comes_back_whatever_happens() {
    let own = std::env::var("TESSERA_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = own.map_or_else(|| (1..=24).collect(), |seed| vec![seed]);
    for seed in seeds {
        println!("TESSERA_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..400 {
            world = world.step().await;
        }
        world.heal().await;
    }
}
