//! The signals: pure functions of a profile, its group's baseline and the configuration. Each says nothing, or one
//! reason with its numbers and its weight.

use super::alert::{Signal, SignalName};
use super::config::BehaviourConfig;
use super::observation::SubjectKind;
use super::profile::{topics, Profile};

/// Publishes in ten seconds below which nothing is a flood.
const FLOOD_FLOOR: u64 = 100;
/// Bytes in ten seconds below which nothing is much.
const VOLUME_FLOOR: u64 = 256 * 1024;

/// Input of a signal.
pub(super) struct View<'a> {
    pub(super) profile: &'a Profile,
    /// The most publishes that are usual in a slot of the group; `None` before the group is learned.
    pub(super) group_usual: Option<u64>,
    pub(super) config: &'a BehaviourConfig,
    /// Unix seconds.
    pub(super) now: u32,
}

/// Every signal that speaks.
pub(super) fn all(view: &View<'_>) -> Vec<Signal> {
    const ALL: &[fn(&View<'_>) -> Option<Signal>] = &[
        stolen_token,
        replayed_proof,
        impersonation,
        scope_probe,
        refused_requests,
        publish_flood,
        data_volume,
        shared_key,
        networks,
        flapping,
        new_topics,
        cadence,
        counter_gap,
        wrong_clock,
        odd_hour,
    ];
    ALL.iter().filter_map(|signal| signal(view)).collect()
}

fn say(name: SignalName, weight: u32, words: String) -> Option<Signal> {
    Some(Signal { name, words, weight })
}

fn stolen_token(view: &View<'_>) -> Option<Signal> {
    let counts = view.profile.counts();
    let (forged, unproved) = (u32::from(counts.forged), u32::from(counts.unproved));
    if forged + unproved == 0 {
        return None;
    }
    let elsewhere = match counts.foreign {
        0 => String::new(),
        times => format!(", {times} from a network it never used"),
    };
    let words = format!(
        "its token was presented {} without its key ({forged} with a wrong proof, {unproved} with none{elsewhere})",
        times(forged + unproved)
    );
    let weight = 50 + 5 * (forged + unproved) + if counts.foreign > 0 { 20 } else { 0 };
    say(SignalName::StolenToken, weight.min(95), words)
}

fn replayed_proof(view: &View<'_>) -> Option<Signal> {
    let counts = view.profile.counts();
    let replayed = u32::from(counts.replayed);
    if replayed == 0 {
        return None;
    }
    // A device that forgot its counter does this too, but from its own network and seldom.
    let foreign = counts.foreign > 0;
    let weight = 20 + 15 * replayed + if foreign { 30 } else { 0 };
    let from = if foreign { " from a network it never used" } else { "" };
    let words = format!("a proof of it was presented again {}{from}", times(replayed));
    say(SignalName::ReplayedProof, weight.min(90), words)
}

fn impersonation(view: &View<'_>) -> Option<Signal> {
    let tries = u32::from(view.profile.counts().impersonated);
    if tries == 0 {
        return None;
    }
    let words = format!("it presented its token under the name of another device {}", times(tries));
    say(SignalName::Impersonation, (45 + 5 * tries).min(90), words)
}

fn scope_probe(view: &View<'_>) -> Option<Signal> {
    let counts = view.profile.counts();
    let refused = u32::from(counts.refused);
    if refused < 3 {
        return None;
    }
    let distinct = topics::distinct(counts.refused_topics).min(refused);
    // One wrong topic again and again is a wrong setting, not a search.
    let weight = match distinct {
        0..=2 => 10,
        3..=4 => 35,
        5..=9 => 55,
        _ => 80,
    };
    let words = format!("{refused} requests outside its scope on about {distinct} topics");
    say(SignalName::ScopeProbe, weight, words)
}

fn refused_requests(view: &View<'_>) -> Option<Signal> {
    let refused = u32::from(view.profile.counts().requests);
    // A device whose clock is wrong tries a few times before it has set it.
    let weight = match refused {
        0..=9 => return None,
        10..=49 => 55,
        _ => 75,
    };
    let words = format!("{refused} refused requests for a token");
    say(SignalName::RefusedRequests, weight, words)
}

fn publish_flood(view: &View<'_>) -> Option<Signal> {
    let excess = view.profile.rate.excess().publishes;
    if excess < FLOOD_FLOOR {
        return None;
    }
    if let Some(usual) = view.profile.rate.usual() {
        let ratio = excess / usual.publishes.max(1);
        let weight = match ratio {
            0..=7 => return None,
            8..=15 => 30,
            16..=63 => 60,
            _ => 85,
        };
        let words = format!("publish rate {ratio} times its own p99");
        return say(SignalName::PublishFlood, weight, words);
    }
    let ceiling = view.profile.ceilings(view.config).0;
    if excess > ceiling {
        let words =
            format!("{excess} publishes in ten seconds, {ceiling} are allowed before it is known");
        return say(SignalName::PublishFlood, 70, words);
    }
    let ratio = excess / view.group_usual?.max(1);
    if ratio < 16 || view.profile.kind == SubjectKind::Service {
        return None;
    }
    let words = format!("publish rate {ratio} times its group's p99");
    say(SignalName::PublishFlood, 55, words)
}

fn data_volume(view: &View<'_>) -> Option<Signal> {
    let excess = view.profile.rate.excess().bytes;
    if excess < VOLUME_FLOOR {
        return None;
    }
    if let Some(usual) = view.profile.rate.usual() {
        let ratio = excess / usual.bytes.max(1);
        let weight = match ratio {
            0..=15 => return None,
            16..=63 => 35,
            _ => 60,
        };
        let words = format!("{} KiB in ten seconds, {ratio} times its own p99", excess / 1024);
        return say(SignalName::DataVolume, weight, words);
    }
    let ceiling = view.profile.ceilings(view.config).1;
    if excess <= ceiling {
        return None;
    }
    let words = format!(
        "{} KiB in ten seconds, {} are allowed before it is known",
        excess / 1024,
        ceiling / 1024
    );
    say(SignalName::DataVolume, 60, words)
}

fn shared_key(view: &View<'_>) -> Option<Signal> {
    let switches = view.profile.counts().switches;
    let weight = match switches {
        0 | 1 => return None,
        2 => 40,
        3 => 60,
        _ => 80,
    };
    let words =
        format!("its key works in two networks at once, changing {switches} times in ten minutes");
    say(SignalName::SharedKey, weight, words)
}

fn networks(view: &View<'_>) -> Option<Signal> {
    let (count, within) = view.profile.networks.recent(view.now, 60);
    let (weight, which) = match count {
        0 | 1 => return None,
        2 => (15, "second"),
        3 => (35, "third"),
        4 => (50, "fourth"),
        _ => (65, "fifth or further"),
    };
    say(SignalName::Networks, weight, format!("{which} network within {within} s"))
}

fn flapping(view: &View<'_>) -> Option<Signal> {
    let counts = view.profile.counts();
    let connects = u32::from(counts.connects);
    if connects < 30 {
        return None;
    }
    let usual = view.profile.connects_an_hour.percentile(99);
    // A window is a sixth of an hour at most.
    if u64::from(connects) * 2 < usual {
        return None;
    }
    let weight = if connects < 60 { 30 } else { 55 };
    let words =
        format!("{connects} connects within ten minutes, {} of its sessions lost", counts.lost);
    say(SignalName::Flapping, weight, words)
}

fn new_topics(view: &View<'_>) -> Option<Signal> {
    let new = u32::from(view.profile.counts().new_topics);
    if new == 0 || view.profile.kind == SubjectKind::Service {
        return None;
    }
    say(SignalName::NewTopics, (8 * new).min(30), format!("{} never seen", counted(new, "topic")))
}

fn cadence(view: &View<'_>) -> Option<Signal> {
    let gap = view.profile.rate.gap_ms()?;
    let hurried = view.profile.rate.hurried;
    if hurried < 20 {
        return None;
    }
    let words = format!("{hurried} times in a row much faster than its usual {} s", gap / 1000);
    say(SignalName::Cadence, 15, words)
}

fn counter_gap(view: &View<'_>) -> Option<Signal> {
    let gap = view.profile.counts().largest_gap;
    let usual = view.profile.usual_gap().unwrap_or(1);
    // Devices that count in seconds make wide steps from the start.
    if gap < 1000 || usual > 64 || u64::from(gap) / usual.max(1) < 64 {
        return None;
    }
    say(SignalName::CounterGap, 10, format!("its proof counter jumped by {gap}"))
}

fn wrong_clock(view: &View<'_>) -> Option<Signal> {
    let times = view.profile.counts().wrong_clock;
    if times < 3 {
        return None;
    }
    say(
        SignalName::WrongClock,
        10,
        format!("{times} proofs with a wrong time: its clock, or a kept proof"),
    )
}

fn odd_hour(view: &View<'_>) -> Option<Signal> {
    if !view.profile.odd_hour {
        return None;
    }
    let hour = view.now / 3600 % 24;
    say(SignalName::OddHour, 5, format!("active at {hour} h UTC for the first time"))
}

fn times(number: u32) -> String {
    match number {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{number} times"),
    }
}

fn counted(number: u32, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
