use std::collections::{BTreeMap, HashMap, HashSet};

use tessera_behaviour::observation::{line, Event};

use super::*;

const DAY: u64 = 24 * 3_600_000;

fn scenario(text: &str) -> Scenario {
    Scenario::read(text).unwrap()
}

/// Devices that speak a fifth as often as usual: these tests are not optimised by the compiler.
const QUIET: &str =
    "[personas.sensor]\nperiod_s = [200, 300]\n[personas.noisy]\nperiod_s = [200, 400]\n\
    [personas.tracker]\nperiod_s = [60, 120]\n";

fn quiet(text: &str) -> Scenario {
    scenario(&format!("{text}{QUIET}"))
}

fn lines(scenario: &Scenario, seed: u64) -> (Vec<String>, Vec<Truth>) {
    let mut generator = Generator::new(scenario, seed).unwrap();
    let mut lines = Vec::new();
    generator.run(|seen| lines.push(line::to_line(seen)));
    (lines, generator.truth())
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another() {
    let scenario = scenario("devices = 30\ndays = 6\n[attacks]\nfrom_day = 4\nshare = 0.2\n");
    let (first, truth) = lines(&scenario, 5);
    // 1,000 to 2,000 a device and day, as the usual fleet has.
    assert!(first.len() < 30 * 6 * 2_500, "{}", first.len());
    assert!(first.len() > 50_000, "{}", first.len());
    assert_eq!((&first, &truth), (&lines(&scenario, 5).0, &lines(&scenario, 5).1));
    assert_ne!(first, lines(&scenario, 6).0);
}

/// Each observation of a session lies between its CONNECT and its end, and times never go back.
#[test]
fn sessions_are_opened_before_they_are_used() {
    let scenario =
        quiet("devices = 400\ndays = 9\n[attacks]\neach = 2\nfrom_day = 3\nshare = 0.2\n");
    let mut generator = Generator::new(&scenario, 3).unwrap();
    let (mut open, mut last) = (HashSet::new(), 0);
    let (mut used, mut wrong) = (0_u64, BTreeMap::<String, u64>::new());
    generator.run(|seen| {
        assert!(seen.at >= last, "{seen:?}");
        last = seen.at;
        let session = (seen.device.to_owned(), seen.session);
        let name = format!("{:?}", seen.event);
        let name = name.split(['(', ' ']).next().unwrap().to_owned();
        let is_good = match seen.event {
            Event::Connected(_) => open.insert(session),
            Event::Disconnected { .. } => open.remove(&session),
            Event::Outside { .. } | Event::Stranger { .. } | Event::Announced { .. } => return,
            // The step of the counter is told before the session that it lets in.
            Event::Skipped { .. } => return,
            _ => open.contains(&session),
        };
        used += 1;
        if !is_good {
            *wrong.entry(name).or_default() += 1;
        }
    });
    assert!(used > 300_000, "{used}");
    assert!(wrong.is_empty(), "{wrong:?} of {used}");
}

/// At no time more than the share of a group is hostile, and attacks of one tenant do not overlap.
#[test]
fn few_of_a_group_are_hostile_at_a_time() {
    let scenario = quiet("devices = 1200\ndays = 14\n[attacks]\neach = 3\nfrom_day = 4\n");
    let mut generator = Generator::new(&scenario, 11).unwrap();
    while generator.next_slot().is_some() {}
    let truth = generator.truth();
    let mut groups: HashMap<String, u64> = HashMap::new();
    let mut sizes: HashMap<u64, usize> = HashMap::new();
    let mut of_group: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
    let mut of_tenant: HashMap<String, Vec<_>> = HashMap::new();
    let mut victims = HashSet::new();
    for truth in &truth {
        match truth {
            Truth::Device { device, group, .. } => {
                groups.insert(device.clone(), *group);
                *sizes.entry(*group).or_default() += 1;
            }
            Truth::Attack { device, begin, end, tenant, class, .. } => {
                assert!(begin <= end && *end <= generator.end(), "{truth:?}");
                if device.is_empty() {
                    of_tenant.entry(tenant.clone()).or_default().push((*begin, *end));
                } else if class != "probe_spread" {
                    assert!(victims.insert(device.clone()), "{device} is attacked twice");
                    let group = groups[device];
                    of_group.entry(group).or_default().push((*begin, *end));
                }
            }
            Truth::Cause { .. } => {}
        }
    }
    assert!(victims.len() > 60, "{}", victims.len());
    for (group, attacks) in &of_group {
        for (at, _) in attacks {
            let count = attacks.iter().filter(|(begin, end)| begin <= at && at <= end).count();
            let most = sizes[group] * 3 / 100;
            assert!(count <= most, "group {group} of {}: {count} at once", sizes[group]);
        }
    }
    for attacks in of_tenant.values_mut() {
        attacks.sort_unstable();
        assert!(attacks.windows(2).all(|pair| pair[1].0 > pair[0].1 + DAY), "{attacks:?}");
    }
}

/// Bytes that a device published in a span.
fn volumes(scenario: &Scenario, seed: u64) -> (HashMap<String, Vec<f64>>, Vec<Truth>, u64) {
    let mut generator = Generator::new(scenario, seed).unwrap();
    let begin = generator.begin();
    let mut found: HashMap<String, Vec<f64>> = HashMap::new();
    generator.run(|seen| {
        if let Event::Published(messages) = seen.event {
            let hour = ((seen.at - begin) / 3_600_000) as usize;
            let hours = found.entry(seen.device.to_owned()).or_insert_with(|| vec![0.0; 30 * 24]);
            hours[hour] += messages.bytes as f64;
        }
    });
    (found, generator.truth(), begin)
}

/// Slow theft has the ratio and the deviations of its grade, measured against the same run without attacks.
#[test]
fn slow_theft_is_as_large_as_its_grade_says() {
    let head = "devices = 600\ndays = 16\nphases = []\n[attacks]\nfrom_day = 6\nshare = 0.1\n";
    let with = quiet(&format!("{head}each = 10\nclasses = [\"exfil_slow\", \"ramp\"]\n"));
    let without = quiet(&format!("{head}each = 0\n"));
    let (bent, truth, start) = volumes(&with, 21);
    let (honest, ..) = volumes(&without, 21);
    let mut ratios: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for truth in &truth {
        let Truth::Attack { device, begin, end, grade, .. } = truth else { continue };
        let hours = |at: u64| ((at - start) / 3_600_000) as usize;
        // Whole hours of the attack alone.
        let span = hours(*begin) + 1..hours(*end);
        let (of_bent, of_honest) = (&bent[device], &honest[device]);
        let sum = |of: &[f64]| of[span.clone()].iter().sum::<f64>();
        let days: Vec<f64> = of_honest.chunks(24).map(|day| day.iter().sum::<f64>()).collect();
        let logs: Vec<f64> = days.iter().filter(|day| **day > 0.0).map(|day| day.ln()).collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let var = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>();
        let sigma = (var / (logs.len() - 1) as f64).sqrt();
        let ratio = sum(of_bent) / sum(of_honest);
        ratios.entry(grade.clone()).or_default().push((ratio, sigma));
    }
    let least = |grade: &str, ratio: f64, sigmas: f64| {
        let found = &ratios[grade];
        assert!(found.len() >= 8, "{grade}: {found:?}");
        // A link that was down for a time, and the few messages of a short attack, move a ratio.
        let good = found
            .iter()
            .filter(|(is, sigma)| *is > 0.85 * ratio.max((sigmas * sigma * 0.85).exp()));
        assert!(good.count() * 10 >= found.len() * 9, "{grade}: {found:?}");
        // Nothing is louder than its grade: half of them are about at the bound.
        let near =
            found.iter().filter(|(is, sigma)| *is < 1.3 * ratio.max((sigmas * sigma * 1.2).exp()));
        assert!(near.count() * 10 >= found.len() * 8, "{grade}: {found:?}");
    };
    least("loud", 5.0, 3.0);
    least("medium", 2.0, 3.0);
    least("careful", 1.5, 2.0);
    least("plus_25", 1.25, 0.0);
    let ramp: Vec<f64> = ratios["ramp"].iter().map(|(ratio, _)| *ratio).collect();
    assert!(ramp.iter().all(|ratio| (1.2..2.0).contains(ratio)), "{ramp:?}");
}

fn quiet_and_always_on(text: &str) -> Scenario {
    scenario(&format!("{text}{QUIET}trip_days = 0\n"))
}

/// Each class leaves its own traces, at about its own rate, and only then.
#[test]
fn acts_are_in_the_observations() {
    // No device is switched off: acts do not wait.
    let scenario = quiet_and_always_on(
        "devices = 2000\ndays = 21\ntenants = 4\n[attacks]\neach = 3\nfrom_day = 5\nshare = 0.1\n",
    );
    let mut generator = Generator::new(&scenario, 9).unwrap();
    while generator.next_slot().is_some() {}
    let truth = generator.truth();
    let mut attacks: HashMap<String, (String, String, u64, u64, [u64; 6])> = HashMap::new();
    for truth in &truth {
        if let Truth::Attack { device, class, grade, begin, end, tenant, .. } = truth {
            if class == "probe_spread" && !device.is_empty() {
                continue;
            }
            let name = if device.is_empty() { format!("{tenant} {begin}") } else { device.clone() };
            attacks.insert(name, (class.clone(), grade.clone(), *begin, *end, [0; 6]));
        }
    }
    let mut generator = Generator::new(&scenario, 9).unwrap();
    let mut victims: Vec<(String, u64, u64, u64)> = Vec::new();
    for (name, (class, _, begin, end, _)) in &attacks {
        if class == "stuffing" {
            victims.push((name.clone(), *begin, *end, 0));
        }
    }
    generator.run(|seen| {
        if let Event::Stranger { .. } = seen.event {
            for (name, begin, end, count) in &mut victims {
                let is_here = name.starts_with(&format!("{} ", seen.tenant));
                if is_here && (*begin..=*end).contains(&seen.at) {
                    *count += 1;
                }
            }
        }
        let Some((_, _, begin, end, counts)) = attacks.get_mut(seen.device) else { return };
        if !(*begin..=*end).contains(&seen.at) {
            return;
        }
        match seen.event {
            Event::Outside { .. } => counts[0] += 1,
            Event::Refused { .. } => counts[1] += 1,
            Event::Faulted(_) => counts[2] += 1,
            Event::Connected(_) => counts[3] += 1,
            Event::Published(messages) => {
                counts[4] += u64::from(messages.count);
                counts[5] += messages.bytes;
            }
            _ => {}
        }
    });
    let mut seen: BTreeMap<(String, String), Vec<[u64; 6]>> = BTreeMap::new();
    for (class, grade, .., counts) in attacks.into_values() {
        seen.entry((class, grade)).or_default().push(counts);
    }
    let within = |class: &str, grade: &str, what: usize, least: u64, most: u64| {
        let found = &seen[&(class.to_owned(), grade.to_owned())];
        for counts in found {
            assert!((least..=most).contains(&counts[what]), "{class} {grade}: {found:?}");
        }
    };
    within("theft", "loud", 0, 550, 680);
    within("theft", "medium", 0, 1, 2);
    within("theft", "careful", 0, 4, 20);
    within("replay", "loud", 0, 550, 680);
    within("replay", "medium", 0, 110, 190);
    within("replay", "careful", 0, 4, 20);
    within("probe", "loud", 1, 1_700, 2_600);
    within("probe", "medium", 1, 200, 400);
    within("probe", "careful", 1, 70, 180);
    within("malformed", "loud", 2, 500, 700);
    within("malformed", "medium", 2, 100, 220);
    within("malformed", "careful", 2, 8, 60);
    within("flap", "loud", 3, 3_000, 4_000);
    within("flap", "medium", 3, 1_200, 2_000);
    within("flap", "careful", 3, 250, 1_300);
    within("slowite", "loud", 3, 495, 1_000);
    within("slowite", "medium", 3, 50, 400);
    within("slowite", "careful", 3, 5, 900);
    within("clone", "loud", 3, 20, 800);
    within("flood", "loud", 4, 400, 5_000_000);
    within("command", "loud", 4, 900, 1_100);
    within("command", "medium", 4, 180, 20_000);
    for (name, _, _, count) in &victims {
        assert!(*count > 900, "{name}: {count}");
    }
    assert!(victims.len() >= 6, "{victims:?}");
}

/// The honest devices of a fleet do, now and then, what an attack does.
#[test]
fn honest_devices_leave_evidence_too() {
    let scenario = quiet("devices = 2000\ndays = 30\n[attacks]\neach = 0\n");
    let mut generator = Generator::new(&scenario, 4).unwrap();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut count = |name| *counts.entry(name).or_default() += 1;
    let mut observations = 0_u64;
    generator.run(|seen| {
        observations += 1;
        match seen.event {
            Event::Outside { code, .. } => count(code.as_str()),
            Event::Refused { denial, .. } => match denial {
                Some(tessera_behaviour::observation::Denial::Owner(_)) => count("owner"),
                _ => count("own"),
            },
            Event::Faulted(fault) => count(fault.as_str()),
            Event::Skipped { .. } => count("gap"),
            Event::Announced { .. } => count("announce"),
            Event::Stranger { .. } => count("stranger"),
            _ => {}
        }
    });
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    // 60,000 device-days: one former name in 1,500, one broken packet in 1,000, one battery in 60 to 120 of a third.
    assert!((20..70).contains(&of("owner")), "{counts:?}");
    assert!((30..100).contains(&of("malformed")), "{counts:?}");
    assert!((150..900).contains(&of("proof_replayed")), "{counts:?}");
    assert!(of("proof_not_fresh") > 500 && of("token_expired") > 300, "{counts:?}");
    assert!(of("own") > 500 && of("keep_alive") > 1_000 && of("gap") > 100, "{counts:?}");
    assert!(of("announce") >= 1 && of("stranger") > 10_000, "{counts:?}");
    assert!(observations / 60_000 > 200, "{observations}");
    let truth = generator.truth();
    assert!(!truth.iter().any(|truth| matches!(truth, Truth::Attack { .. })));
    let mut causes: BTreeMap<String, u64> = BTreeMap::new();
    for truth in truth {
        if let Truth::Cause { cause, announced, .. } = truth {
            *causes.entry(format!("{cause} {announced}")).or_default() += 1;
        }
    }
    for cause in [
        "rollout true",
        "rollout false",
        "season false",
        "outage false",
        "newcomer false",
        "battery false",
        "reconfiguration false",
        "renamed false",
    ] {
        assert!(causes.contains_key(cause), "{cause}: {causes:?}");
    }
}
