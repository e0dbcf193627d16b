//! A tenant: things that no single device shows, since one cause spreads them over many names: copied tokens, guessed
//! credentials, and probing by many devices a little.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::clock::seconds;
use super::episode::Episode;
use super::hash;
use super::limits;
use super::rate::Rate;
use super::record::{Flow, Flowed};
use crate::observation::Network;

const DAY: u32 = 86_400;
/// Devices whose tokens one network shows before it is one thief.
const TOKENS: u32 = 3;
/// Names and credentials of one network within an hour that are guesses.
const GUESSES: u32 = 30;
/// Evidence within an hour, and at its end.
const AT_ONCE: f32 = 20.0;
const AT_END: f32 = 13.0;
/// Words of the set of pairs of name and credential that were seen.
const PAIRS: usize = 1024;

/// A cause that shows at many names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Tokens of many devices are shown without their keys.
    StolenTokens,
    /// Names and credentials are tried.
    Stuffing,
    /// Many devices ask for topics of others, each a little.
    SpreadProbing,
}

pub(super) const CAUSES: usize = 3;

impl Cause {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::StolenTokens => "stolen_tokens",
            Self::Stuffing => "credential_stuffing",
            Self::SpreadProbing => "spread_probing",
        }
    }
}

/// A network from which something was refused.
#[derive(Clone, Debug, Default)]
struct Source {
    /// The start of its hour and of its day.
    hour: u32,
    day: u32,
    last: u32,
    guesses: u32,
    credentials: u64,
    /// Devices whose tokens were shown on the day.
    devices: u64,
    is_told: bool,
}

/// A campaign that is to be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) cause: Cause,
    pub(super) evidence: f32,
    pub(super) seen: f32,
    pub(super) usual: f32,
    pub(super) since: u32,
    /// The network, when it is one.
    pub(super) address: Option<IpAddr>,
}

/// One tenant.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) name: Box<str>,
    sources: HashMap<u64, Source>,
    pairs: Vec<u64>,
    marked: u32,
    guesses: u32,
    guess_rate: Rate,
    thefts: u32,
    theft_devices: u64,
    theft_rate: Rate,
    probers: u32,
    probe_rate: Rate,
    pub(super) episodes: [Episode; CAUSES],
    /// Names of devices or of guesses, by cause.
    pub(super) named: [Vec<Box<str>>; CAUSES],
}

impl Tenant {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            sources: HashMap::new(),
            pairs: vec![0; PAIRS],
            marked: 0,
            guesses: 0,
            guess_rate: Rate::default(),
            thefts: 0,
            theft_devices: 0,
            theft_rate: Rate::default(),
            probers: 0,
            probe_rate: Rate::default(),
            episodes: Default::default(),
            named: Default::default(),
        }
    }

    /// A name of the cause, for its alert.
    pub(super) fn name_it(&mut self, cause: Cause, name: &str) {
        if let Some(names) = self.named.get_mut(cause as usize) {
            let is_known = names.iter().any(|known| **known == *name);
            if !is_known && names.len() < limits::DEVICES_NAMED {
                names.push(super::device::kept_text(name));
            }
        }
    }

    fn source(&mut self, network: Network, now_ms: u64) -> &mut Source {
        let now = seconds(now_ms);
        let key = network.prefix();
        if self.sources.len() >= limits::SOURCES && !self.sources.contains_key(&key) {
            // Guesses need nothing, a token of a device does: those that only guess go first.
            let order = |source: &Source| (source.devices != 0, source.last);
            let oldest = self.sources.iter().min_by_key(|(_, source)| order(source));
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.sources.remove(&oldest);
            }
        }
        let source = self.sources.entry(key).or_default();
        if now.saturating_sub(source.hour) >= 3600 {
            (source.hour, source.guesses, source.credentials) = (now, 0, 0);
        }
        if now.saturating_sub(source.day) >= DAY {
            (source.day, source.devices, source.is_told) = (now, 0, false);
        }
        source.last = now;
        source
    }

    /// A peer was refused whose token was signed by no issuer. One old setting that comes again and again is one
    /// guess; each further pair of name and credential is another one.
    pub(super) fn stranger(
        &mut self,
        seed: u64,
        network: Network,
        name: Option<&str>,
        credential: u32,
        now_ms: u64,
    ) -> Option<Found> {
        let mark = hash::mark(seed ^ u64::from(credential), name.unwrap_or(""));
        if !self.is_new_pair(mark) {
            return None;
        }
        self.guesses = self.guesses.saturating_add(1);
        let source = self.source(network, now_ms);
        source.guesses += 1;
        hash::sketch(&mut source.credentials, hash::mark_number(seed, credential.into()));
        let (guesses, credentials, since) =
            (source.guesses, source.credentials.count_ones(), source.hour);
        if guesses >= GUESSES && has_doubled(guesses, GUESSES) && credentials >= 8 {
            let usual = self.guess_rate.usual(0.02);
            return Some(Found {
                cause: Cause::Stuffing,
                evidence: guesses as f32,
                seen: guesses as f32,
                usual,
                since,
                address: address(network),
            });
        }
        let count = self.guesses;
        if !has_doubled(count, 50) {
            return None;
        }
        let counted = self.guess_rate.at_once(count as f32, 0.02);
        let is_enough = counted.is_sure || count >= 200;
        let is_beyond = is_enough && counted.evidence > AT_ONCE;
        is_beyond.then(|| {
            self.found(Cause::Stuffing, counted.evidence, count as f32, counted.usual, now_ms)
        })
    }

    fn is_new_pair(&mut self, mark: u64) -> bool {
        let mut is_new = false;
        for by in [0, 17, 34] {
            let bit = mark.rotate_right(by);
            if let Some(word) = self.pairs.get_mut((bit >> 6) as usize % PAIRS) {
                is_new |= *word >> (bit & 63) & 1 == 0;
                *word |= 1 << (bit & 63);
            }
        }
        self.marked += u32::from(is_new);
        if self.marked > 10_000 {
            self.pairs.iter_mut().for_each(|word| *word &= 0x5555_5555_5555_5555);
            self.marked /= 2;
        }
        is_new
    }

    /// A token of a device was shown without its key. Tells whether the network is that of a thief with many tokens, so
    /// that no alert of the device is due, and the campaign when it is news.
    pub(super) fn theft(
        &mut self,
        seed: u64,
        network: Network,
        device: &str,
        now_ms: u64,
    ) -> (bool, Option<Found>) {
        let mark = hash::mark(seed, device);
        if hash::sketch(&mut self.theft_devices, mark) {
            self.thefts = self.thefts.saturating_add(1);
        }
        let source = self.source(network, now_ms);
        hash::sketch(&mut source.devices, mark);
        let devices = source.devices.count_ones();
        if devices < TOKENS {
            return (false, None);
        }
        let is_news = !source.is_told;
        let since = source.day;
        source.is_told = true;
        self.name_it(Cause::StolenTokens, device);
        let found = is_news.then(|| Found {
            cause: Cause::StolenTokens,
            evidence: 20.0,
            seen: devices as f32,
            usual: 0.0,
            since,
            address: address(network),
        });
        (true, found)
    }

    /// A device asked for a topic of another one, for the first time on this day.
    pub(super) fn prober(&mut self, device: &str) {
        self.probers = self.probers.saturating_add(1);
        self.name_it(Cause::SpreadProbing, device);
    }

    fn found(&self, cause: Cause, evidence: f32, seen: f32, usual: f32, now_ms: u64) -> Found {
        let now = seconds(now_ms);
        Found { cause, evidence, seen, usual, since: now - now % 3600, address: None }
    }

    /// The hour ends.
    pub(super) fn end_hour(&mut self, hour: u32, now_ms: u64) -> Vec<Found> {
        let counts = [
            (Cause::StolenTokens, self.thefts, 5),
            (Cause::Stuffing, self.guesses, 20),
            (Cause::SpreadProbing, self.probers, 1),
        ];
        let mut found = Vec::new();
        for (cause, count, least) in counts {
            let rate = match cause {
                Cause::StolenTokens => &mut self.theft_rate,
                Cause::Stuffing => &mut self.guess_rate,
                Cause::SpreadProbing => &mut self.probe_rate,
            };
            let counted = rate.end_hour(count as f32, 0.02);
            if counted.is_sure && counted.evidence > AT_END && count >= least {
                rate.told();
                found.push((cause, counted, count));
            }
        }
        (self.thefts, self.guesses, self.probers, self.theft_devices) = (0, 0, 0, 0);
        if hour % 24 == 23 {
            for (names, episode) in self.named.iter_mut().zip(&self.episodes) {
                if !episode.is_open() {
                    names.clear();
                }
            }
        }
        let of = |(cause, counted, count): (Cause, super::rate::Counted, u32)| {
            self.found(cause, counted.evidence, count as f32, counted.usual, now_ms)
        };
        found.into_iter().map(of).collect()
    }

    pub(super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        self.guess_rate.flow(flow)?;
        self.theft_rate.flow(flow)?;
        self.probe_rate.flow(flow)?;
        for word in &mut self.pairs {
            flow.u64(word)?;
        }
        flow.u32(&mut self.marked)?;
        self.episodes.iter_mut().try_for_each(|episode| episode.flow(flow))
    }
}

fn address(network: Network) -> Option<IpAddr> {
    match network {
        Network::Address(address) => Some(address),
        Network::Local => None,
    }
}

/// Whether a count is `first`, or has doubled some times since: then it is asked about again.
fn has_doubled(count: u32, first: u32) -> bool {
    count >= first && count.is_multiple_of(first) && (count / first).is_power_of_two()
}
