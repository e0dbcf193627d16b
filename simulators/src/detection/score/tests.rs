use tessera_behaviour::alert::{Alert, Severity, Signal, State, Subject};
use tessera_behaviour::truth::Truth;

use super::*;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const START: u64 = 20_000 * DAY;

fn device(name: &str, group: u64) -> Truth {
    Truth::Device {
        tenant: "t".into(),
        device: name.into(),
        persona: "sensor".into(),
        group,
        begin: START,
        end: START + 10 * DAY,
    }
}

fn attack(device: &str, class: &str, instance: u64, begin: u64, end: u64) -> Truth {
    Truth::Attack {
        tenant: "t".into(),
        device: device.into(),
        class: class.into(),
        grade: "careful".into(),
        begin: START + begin,
        end: START + end,
        instance,
    }
}

fn alert(subject: Subject, at: u64, devices: &[&str], score: f32) -> Alert {
    Alert {
        t: START + at,
        alert: 1,
        tenant: "t".into(),
        subject,
        devices: devices.iter().map(|name| (*name).to_owned()).collect(),
        state: State::Open,
        severity: Severity::High,
        signals: vec![Signal {
            name: "s".into(),
            words: String::new(),
            evidence: score,
            since: START,
        }],
        ..Alert::default()
    }
}

fn of_device(name: &str, at: u64) -> Alert {
    alert(Subject::Device(name.into()), at, &[], 5.0)
}

/// Ten devices; d0 is probed on days 4 to 5, d1 robbed on day 6.
fn truth() -> Vec<Truth> {
    let mut truth: Vec<Truth> = (0..10).map(|number| device(&format!("d{number}"), 1)).collect();
    truth.push(attack("d0", "probe", 1, 4 * DAY, 5 * DAY));
    truth.push(attack("d1", "theft", 2, 6 * DAY, 6 * DAY));
    truth.push(Truth::Cause {
        tenant: "t".into(),
        cause: "rollout".into(),
        devices: vec!["d5".into(), "d6".into()],
        announced: true,
        begin: START + 2 * DAY,
        end: START + 3 * DAY,
    });
    truth
}

fn scored(truth: &[Truth], alerts: &[Alert]) -> Sheet {
    let mut verdicts = Verdicts::of("test");
    for alert in alerts {
        verdicts.take(alert);
    }
    Judge::of(truth).score(&verdicts, f32::MIN)
}

fn recall(sheet: &Sheet, class: &str) -> (u64, u64) {
    let cell = &sheet.cells[&(class.to_owned(), "careful".to_owned())];
    (cell.found, cell.attacks)
}

#[test]
fn alerts_within_the_window_find_and_others_are_wrong() {
    let closed = Alert { state: State::Closed, ..of_device("d1", 6 * DAY + HOUR) };
    let sheet = scored(
        &truth(),
        &[
            of_device("d0", 4 * DAY - 1),    // a moment too early: wrong
            of_device("d0", 5 * DAY + DAY),  // at the last moment
            of_device("d0", 6 * DAY + 1),    // an echo
            closed,                          // the end of an alert finds nothing
            of_device("d2", DAY),            // wrong
            of_device("d2", DAY + HOUR),     // the same day: once
            of_device("d2", 2 * DAY + HOUR), // another day
            of_device("d5", 2 * DAY + HOUR), // in a roll-out
            of_device("stranger", 3 * DAY),  // no device of the run: wrong all the same
        ],
    );
    assert_eq!((recall(&sheet, "probe"), recall(&sheet, "theft")), ((1, 1), (0, 1)));
    assert_eq!((sheet.wrong, sheet.messages, sheet.echoes), (5, 6, 1));
    assert_eq!(sheet.causes["rollout announced"], Wrong { days: 1, of: 2.0 });
    assert_eq!(sheet.causes["none"].days, 4);
    // Eight devices of ten days, and the days before the attacks on the two.
    assert!((sheet.device_days - 90.0).abs() < 1e-6, "{}", sheet.device_days);
    assert!((sheet.false_rate() - 5_000.0 / 90.0).abs() < 1e-6);
    let cell = &sheet.cells[&("probe".to_owned(), "careful".to_owned())];
    assert_eq!(cell.delays(), (Some(2.0 * 24.0 * 60.0), Some(2.0 * 24.0 * 60.0)));
    // One found, and half of the five wrong ones.
    assert!((sheet.precision(cell).unwrap() - 1.0 / 3.5).abs() < 1e-9);
    assert!((sheet.f1(cell) - 2.0 * (1.0 / 3.5) / (1.0 + 1.0 / 3.5)).abs() < 1e-9);
    assert_eq!(sheet.personas["sensor"], (1, 2));
    // Five wrong days of 90, over the two days of the probe and its day after.
    let rate: f64 = 5.0 / 90.0;
    assert!((cell.luck - (1.0 - (1.0 - rate).powi(2))).abs() < 1e-9, "{}", cell.luck);
}

/// A list of a roll-out finds nothing by luck; a list of the victims of one cause finds it.
#[test]
fn group_alerts_and_campaigns_find_only_what_they_are_about() {
    let group = |devices: &[&str]| alert(Subject::Group(1), 4 * DAY + HOUR, devices, 5.0);
    let lucky = scored(&truth(), &[group(&["d0", "d5", "d6"])]);
    assert_eq!((recall(&lucky, "probe"), lucky.wrong), ((0, 1), 1));
    let half = scored(&truth(), &[group(&["d0", "d5"])]);
    assert_eq!((recall(&half, "probe"), half.wrong), ((1, 1), 0));
    let empty = scored(&truth(), &[group(&[])]);
    assert_eq!((recall(&empty, "probe"), empty.wrong), ((0, 1), 1));

    let mut truth = truth();
    truth.push(attack("", "stuffing", 3, 8 * DAY, 8 * DAY + HOUR));
    truth.push(attack("", "probe_spread", 4, 2 * DAY, 3 * DAY));
    for (device, at) in [("d7", 50), ("d8", 55), ("d9", 60)] {
        truth.push(attack(device, "probe_spread", 4, at * HOUR, at * HOUR));
    }
    let campaign = |at, devices: &[&str]| alert(Subject::Campaign("c".into()), at, devices, 5.0);
    let sheet = scored(
        &truth,
        &[campaign(8 * DAY + HOUR, &[]), campaign(61 * HOUR, &["d7", "d8", "d9", "d5"])],
    );
    assert_eq!((recall(&sheet, "stuffing"), recall(&sheet, "probe_spread")), ((1, 1), (1, 1)));
    assert_eq!(sheet.wrong, 0);
    // Without devices a campaign is not about the probing of devices, and one that lists devices is not about guesses.
    let sheet =
        scored(&truth, &[campaign(61 * HOUR, &[]), campaign(8 * DAY + HOUR, &["d7", "d5"])]);
    assert_eq!((recall(&sheet, "stuffing"), recall(&sheet, "probe_spread")), ((0, 1), (0, 1)));
    assert_eq!(sheet.wrong, 2);
    // One act does not make the device a victim: its other days are honest.
    let sheet = scored(&truth, &[of_device("d7", DAY), of_device("d7", 50 * HOUR + 1)]);
    assert_eq!((recall(&sheet, "probe_spread"), sheet.wrong), ((1, 1), 1));
    assert!((sheet.device_days - 90.0).abs() < 1e-6);
}

#[test]
fn a_budget_gives_the_lowest_threshold_that_keeps_it() {
    let mut verdicts = Verdicts::of("test");
    for (number, score) in [(2, 3.0), (3, 4.0), (4, 5.0), (2, 6.0)] {
        let subject = Subject::Device(format!("d{number}"));
        verdicts.take(&alert(subject, DAY, &[], score));
    }
    verdicts.take(&alert(Subject::Device("d0".into()), 4 * DAY, &[], 4.5));
    let judge = Judge::of(&truth());
    // One in 90 device-days: d2 has 6.0, so d4 with 5.0 must not be told.
    let threshold = judge.threshold_for(&verdicts, 1_000.0 / 90.0 + 1e-6);
    assert!(threshold > 5.0 && threshold < 6.0, "{threshold}");
    let sheet = judge.score(&verdicts, threshold);
    assert_eq!((sheet.wrong, recall(&sheet, "probe")), (1, (0, 1)));
    let two = judge.score(&verdicts, judge.threshold_for(&verdicts, 2_000.0 / 90.0 + 1e-6));
    assert_eq!((two.wrong, recall(&two, "probe")), (2, (1, 1)));
    let none = judge.score(&verdicts, judge.threshold_for(&verdicts, 0.0));
    assert_eq!((none.wrong, recall(&none, "probe")), (0, (0, 1)));
}

#[test]
fn sheets_of_two_runs_add_up_and_are_shown() {
    let mut sheet = scored(&truth(), &[of_device("d0", 4 * DAY)]);
    sheet.add(&scored(&truth(), &[of_device("d2", DAY)]));
    assert_eq!((sheet.runs, sheet.wrong, recall(&sheet, "probe")), (2, 1, (1, 2)));
    assert!((sheet.device_days - 180.0).abs() < 1e-6);
    let shown = text(std::slice::from_ref(&sheet));
    assert!(
        shown.contains("1 of 4 attacks found; 5.56 false alarms per 1,000 device-days"),
        "{shown}"
    );
    assert!(markdown(&[sheet.clone(), sheet.clone()]).contains("| probe careful | 0.50 | 0.50 |"));
    let json = to_json(&[sheet]);
    assert_eq!(json["detectors"][0]["cells"][0]["found"], 1);
    assert_eq!(json["detectors"][0]["false_alarms"], 1);
}
