//! Faults of a run.

use std::path::PathBuf;

use super::machine::End;
use super::net::Weather;
use super::world::{World, GATES};

/// Which kinds of fault happen, and what is wrong now.
#[derive(Default)]
pub struct Faults {
    allowed: Allowed,
    /// Machines whose clock is wrong now.
    pub clocks: usize,
    /// Machines whose disk is full.
    full: Vec<bool>,
    /// Machines whose disk was full since all faults ended last: their knowledge may not all be stored.
    was_full: Vec<bool>,
    /// When a machine that is down starts again: the office, then the gates.
    starts_at: Vec<Option<u64>>,
    /// Old copies of the gates.
    copies: Vec<Option<PathBuf>>,
    crash_at_answer: bool,
    /// Behind the next proof that a gate accepts, and behind the next message that a broker acknowledges.
    pub crash_at_accept: bool,
    pub crash_at_ack: bool,
}

#[derive(Clone, Copy)]
struct Allowed {
    clocks: bool,
    gate_restores: bool,
    new_gates: bool,
    power: bool,
    full: bool,
    office_restores: bool,
}

impl Default for Allowed {
    fn default() -> Self {
        let allowed = |name: &str| !super::without(name);
        Self {
            clocks: allowed("clocks"),
            gate_restores: allowed("restores"),
            new_gates: allowed("new"),
            power: allowed("power"),
            full: allowed("full"),
            office_restores: allowed("office"),
        }
    }
}

/// Bytes of a page of the database.
const PAGE: u64 = 4096;

impl Faults {
    pub fn allowed() -> Self {
        let machines = 1 + GATES.len();
        let (starts_at, copies) = (vec![None; machines], vec![None; machines]);
        let none = vec![false; machines];
        Self { starts_at, copies, full: none.clone(), was_full: none, ..Self::default() }
    }
}

impl Faults {
    /// Whether the disk of the office is full, so that it may fail and be unsure.
    pub fn office_is_full(&self) -> bool {
        self.full[0]
    }

    /// The service begins on another disk.
    pub fn office_begins_anew(&mut self) {
        (self.full[0], self.was_full[0]) = (false, false);
    }

    /// Drops copies of verifiers that may know changes which the service has lost.
    pub fn forget_copies(&mut self) {
        self.copies.fill(None);
    }

    /// Every machine has stored its knowledge.
    pub fn all_stored(&mut self) {
        self.was_full.fill(false);
    }

    /// Whether the disk of this verifier is full: a broker that cannot write ends connections without a word.
    pub fn gate_is_full(&self, gate: usize) -> bool {
        self.full[1 + gate]
    }
}

impl World {
    /// Maybe one more fault; a machine that is down may start again.
    pub async fn stir(&mut self) -> Result<(), String> {
        for at in 0..self.faults.starts_at.len() {
            if self.faults.starts_at[at].is_some_and(|due| due <= self.now) {
                self.start(at).await?;
            }
        }
        let gate = self.chance.below(GATES.len());
        match self.chance.below(1000) {
            0..=5 => self.change_weather(),
            6..=9 => self.end(0).await,
            10 => self.faults.crash_at_answer = true,
            11 => self.faults.crash_at_accept = true,
            41..=42 => self.faults.crash_at_ack = true,
            12..=19 => self.end(1 + gate).await,
            20..=25 if self.faults.allowed.clocks => self.jump(),
            26..=27 if self.faults.allowed.new_gates => self.renew(gate, None).await,
            28..=30 if self.faults.allowed.gate_restores => {
                self.faults.copies[1 + gate] = Some(self.gates[gate].back_up());
                self.trail.add(format!("{} is backed up", GATES[gate]));
            }
            31..=32 if self.faults.allowed.gate_restores => {
                if let Some(copy) = self.faults.copies[1 + gate].clone() {
                    self.renew(gate, Some(copy)).await;
                }
            }
            43..=44 if self.faults.allowed.full => self.fill(gate),
            45..=50 => self.mend_disks().await?,
            51..=53 if self.faults.allowed.office_restores => self.back_up_office().await?,
            54..=55 if self.faults.allowed.office_restores => self.restore_office().await?,
            33..=40 => self.gates[gate].upkeep().await,
            _ => {}
        }
        Ok(())
    }

    /// The process of the service ends with an answer on its lips, when a fault was drawn.
    pub async fn crash_at_the_answer(&mut self) {
        if !self.faults.full[0] && std::mem::take(&mut self.faults.crash_at_answer) {
            self.end(0).await;
        }
    }

    /// The process of the office (0) or of a gate ends.
    pub async fn end(&mut self, at: usize) {
        let how = match self.chance.below(4) {
            0 => End::Stop,
            1 => End::Kill,
            _ if self.faults.allowed.power => End::PowerCut,
            _ => End::Kill,
        };
        let (now, draw) = (self.now, self.chance.next());
        let name = match at {
            0 if self.office.is_up() => {
                self.office.end(how, draw, now).await;
                self.net.cut();
                &self.office.machine.name
            }
            at if at > 0 && self.gates[at - 1].is_up() => {
                self.gates[at - 1].end(how, draw, now).await;
                &self.gates[at - 1].machine.name
            }
            _ => return,
        };
        self.counts.crashes += 1;
        self.trail.add(format!("{name}: {how:?}"));
        self.begins_anew(at);
        let down = if self.chance.hits(700) { 0 } else { self.chance.between(1_000, 60_000) };
        self.faults.starts_at[at] = Some(now + down);
    }

    pub async fn start(&mut self, at: usize) -> Result<(), String> {
        self.faults.starts_at[at] = None;
        let started = match at {
            0 => self.office.start().await,
            at => self.gates[at - 1].start(self.now).await,
        };
        let name = if at == 0 { "office" } else { GATES[at - 1] };
        self.trail.add(format!("{name} starts"));
        started.map_err(|error| format!("{name} does not start: {error}"))?;
        if at == 0 {
            self.check_office().await?;
        }
        Ok(())
    }

    /// A gate begins again as a new verifier, or with an old copy of its folder.
    async fn renew(&mut self, gate: usize, copy: Option<PathBuf>) {
        let what = if copy.is_some() { "an old copy" } else { "an empty folder" };
        self.trail.add(format!("{} begins again with {what}", GATES[gate]));
        self.counts.restores += 1;
        self.gates[gate].replace(copy.as_deref(), self.now).await;
        self.reached[gate] = 0;
        // Another ledger, and another memory of what it refused.
        self.taken[gate] = Default::default();
        self.turned_away.retain(|(at, _)| *at != gate);
        self.sessions[gate].fill(Default::default());
        self.begins_anew(1 + gate);
        self.faults.starts_at[1 + gate] = Some(self.now);
    }

    /// The disk of a machine takes a little more and then nothing.
    fn fill(&mut self, gate: usize) {
        let at = if self.chance.hits(500) { 0 } else { 1 + gate };
        let room = self.chance.between(0, 20_000);
        let (machine, is_up) = match at {
            0 => (&self.office.machine, self.office.is_up()),
            at => (&self.gates[at - 1].machine, self.gates[at - 1].is_up()),
        };
        // A start without room fails, and says so.
        if !is_up {
            return;
        }
        match at {
            0 => self.office.set_room(u32::try_from(room / PAGE).ok()),
            _ => machine.disk.set_room(room),
        }
        (self.faults.full[at], self.faults.was_full[at]) = (true, true);
        self.trail.add(format!("{} has {room} bytes of disk left", machine.name));
    }

    /// Full disks have room again: their processes go on by themselves, or end at this moment.
    async fn mend_disks(&mut self) -> Result<(), String> {
        for at in 0..self.faults.full.len() {
            if !self.faults.full[at] {
                continue;
            }
            if self.chance.hits(300) {
                self.end(at).await;
                continue;
            }
            self.faults.full[at] = false;
            let machine = if at == 0 { &self.office.machine } else { &self.gates[at - 1].machine };
            match at {
                0 => self.office.set_room(None),
                _ => machine.disk.set_room(u64::MAX),
            }
            self.trail.add(format!("{} has room on its disk again", machine.name));
            match at {
                0 => self.office.has_room().await?,
                at => self.gates[at - 1].has_room().await?,
            }
        }
        Ok(())
    }

    /// A process whose disk was full ends: knowledge that it could not write is not promised. The next disk has room.
    fn begins_anew(&mut self, at: usize) {
        self.faults.full[at] = false;
        if std::mem::take(&mut self.faults.was_full[at]) && at > 0 {
            self.reached[at - 1] = 0;
            self.turned_away.retain(|(gate, _)| *gate != at - 1);
        }
    }

    fn change_weather(&mut self) {
        let calm = self.chance.hits(500);
        let mut bad = |most| if calm { 0 } else { self.chance.between(0, most) };
        let weather = Weather { lost: bad(400), late: bad(300), twice: bad(300) };
        let Weather { lost, late, twice } = weather;
        self.trail.add(format!("network: {lost} ‰ lost, {late} ‰ late, {twice} ‰ twice"));
        self.net.weather = weather;
    }

    /// A wall clock is set wrong, or right again.
    fn jump(&mut self) {
        const FAR: [i64; 10] =
            [-40 * 86_400, -7_200, -600, -90, 90, 600, 1_800, 7_200, 40 * 86_400, 400 * 86_400];
        let wrong = if self.chance.hits(400) { 0 } else { *self.chance.pick(&FAR) };
        let at = self.chance.below(1 + GATES.len());
        let now = self.now;
        let machine = match at {
            0 => &mut self.office.machine,
            at => &mut self.gates[at - 1].machine,
        };
        machine.set_wrong(now, wrong);
        let line = format!("clock of {} is {wrong} s wrong", machine.name);
        self.trail.add(line);
        self.counts.jumps += 1;
        self.clocks_were_wrong |= wrong != 0;
        self.count_clocks();
    }

    fn count_clocks(&mut self) {
        let gates = self.gates.iter().filter(|gate| gate.machine.wrong != 0).count();
        self.faults.clocks = gates + usize::from(self.office.machine.wrong != 0);
    }

    /// The end of all faults: machines that are down start, clocks are right, the network is well.
    pub async fn end_faults(&mut self) -> Result<(), String> {
        self.trail.add("all faults end");
        self.net.weather = Weather::default();
        self.mend_disks().await?;
        self.faults.crash_at_answer = false;
        self.faults.crash_at_accept = false;
        self.faults.crash_at_ack = false;
        let now = self.now;
        self.office.machine.set_wrong(now, 0);
        for gate in &mut self.gates {
            gate.machine.set_wrong(now, 0);
        }
        self.count_clocks();
        for at in 0..self.faults.starts_at.len() {
            if self.faults.starts_at[at].is_some() {
                self.start(at).await?;
            }
        }
        Ok(())
    }
}
