use super::*;
use crate::engine::device::Device;

/// Everything that a device can own at once, but for the targets of a service.
#[test]
fn device_fits_its_bound() {
    let mut run = Run::new();
    run.connect("a", 1, net(10, 0, 0), 5);
    run.sensor("a", DAY, MINUTE);
    let most_rares = size_of::<rare::Rares>() + rare::MOST * size_of::<(u8, evidence::Rare)>();
    let most = size_of::<Device>() + most_rares + size_of::<device::Held>();
    assert!(
        most <= limits::DEVICE_BYTES,
        "{} + {most_rares} + {} = {most}",
        size_of::<Device>(),
        size_of::<device::Held>()
    );
}

#[test]
fn ten_thousand_devices_fit_twenty_megabytes() {
    let mut run = Run::new();
    let devices = names(10_000);
    for device in &devices {
        run.connect(device, 1, net(10, 0, 0), 5);
        run.denied(device, 1, "d/v/cmd", Denial::Owner("v"));
    }
    for _ in 0..26 {
        for device in &devices {
            run.publish(device, 1, &format!("d/{device}/data"), 1, 100);
        }
        run.pass(HOUR);
    }
    let bytes = run.engine.bytes();
    assert!(bytes <= 16 * 1024 * 1024, "{bytes}");
}

#[test]
fn table_is_bounded_and_lets_the_longest_idle_go() {
    let mut run = Run::with(Config { most_devices: 128, ..Config::default() });
    for device in names(1_000) {
        run.connect(&device, 1, net(10, 0, 0), 5);
        run.tell(&device, 1, Event::Disconnected { clean: true });
        run.pass(SECOND);
    }
    assert!(run.engine.len() <= 128);
    let evicted = run.engine.take_evicted();
    assert_eq!(evicted.len() + run.engine.len(), 1_000);
    assert_eq!(&*evicted[0].1, "d-0");
}

#[test]
fn messages_about_a_device_are_bounded_on_a_day() {
    let mut episode = episode::Episode::default();
    let mut told = 0;
    for round in 0..200_u32 {
        for signal in SignalName::ALL {
            told +=
                usize::from(episode.speak(*signal, Severity::High, 864_000 + round, 1).is_some());
        }
        told += usize::from(episode.close(864_000 + round).is_some());
    }
    // Ends are told always, so that no alert stays open for its reader.
    assert!(told <= 200 + usize::from(limits::MESSAGES_A_DAY), "{told}");
}

/// The work of an hour is spread: no call does more than a part of it.
#[test]
fn end_of_an_hour_is_spread_over_the_calls() {
    let mut run = Run::new();
    let devices = names(2_000);
    devices.iter().for_each(|device| run.connect(device, 1, net(10, 0, 0), 5));
    run.now = BEGIN + HOUR - 1;
    run.engine.advance(run.now, &mut run.alerts);
    let judged = |run: &Run| {
        run.engine.devices.each().filter(|entry| entry.device.pending.hour != 0).count()
    };
    let mut most = 0;
    for _ in 0..3_000 {
        let before = judged(&run);
        run.now += 100;
        run.engine.advance(run.now, &mut run.alerts);
        most = most.max(judged(&run) - before);
    }
    assert_eq!(judged(&run), 2_000);
    assert!(most <= 16, "{most}");
}

#[test]
fn signals_and_their_page_are_the_same() {
    let page = include_str!("../../../../docs/behaviour.md");
    let sections = page.split("\n## ").filter(|section| section.starts_with("Signals from"));
    let rows = sections.flat_map(str::lines);
    let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut rows: Vec<&str> = rows.collect();
    let mut names: Vec<&str> = SignalName::ALL.iter().map(|name| name.as_str()).collect();
    rows.sort_unstable();
    names.sort_unstable();
    assert_eq!(rows, names, "docs/behaviour.md: left the page, right the signals");
}
