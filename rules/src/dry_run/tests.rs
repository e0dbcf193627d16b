use super::*;
use crate::attributes::{Connect, Event, Moment, On, Publish, Session};
use crate::rule::{Action, Draft, Mode, Selector};
use tessera_token::time::UnixSeconds;

fn rule() -> Rule {
    Rule::new(Draft {
        id: "large".into(),
        version: 1,
        on: On::Publish,
        selector: Selector {
            tenant: "acme".into(),
            topic_prefix: "d/".into(),
            ..Selector::default()
        },
        text: "bytes > 100".into(),
        action: Action::Deny,
        mode: Mode::Shadow,
        not_before: UnixSeconds::new(5_000_000),
        expires: UnixSeconds::new(5_000_001),
        author: "maria".into(),
        reason: "a test".into(),
    })
    .unwrap()
}

#[test]
fn a_report_has_devices_groups_hours_and_the_share() {
    let rule = rule();
    let mut run = DryRun::new(&rule);
    let names: Vec<String> = (0..40).map(|n| format!("d-{n:02}")).collect();
    for (n, device) in names.iter().enumerate() {
        let group = if n % 2 == 0 { "even" } else { "odd" };
        let session = Session { tenant: "acme", device, group, ..Session::default() };
        let moment = Moment { now: UnixSeconds::new(3600 * n as u64), ..Moment::default() };
        let mut see = |session, event, count| {
            run.observe(&Attributes { session, moment, event }, count);
        };
        see(&session, Event::Connect(Connect::default()), 1);
        let publish = |topic, bytes| Event::Publish(Publish { topic, bytes, ..Publish::default() });
        see(&session, publish("e/x", 500), 1);
        see(&session, publish("d/x", 50), 2);
        if n < 12 {
            see(&session, publish("d/x", 101), n as u64 + 1);
        }
        let theirs = Session { tenant: "other", ..session };
        see(&theirs, publish("d/x", 500), 3);
    }
    let report = run.finish();
    assert_eq!((report.events, report.other_events), (40 * 3 + 78, 40 + 120));
    assert_eq!((report.picked, report.matched), (80 + 78, 78));
    assert_eq!((report.devices, report.devices_matched), (40, 12));
    assert!((report.share() - 0.3).abs() < 1e-9);
    assert_eq!(report.most_devices.len(), 10);
    assert_eq!(report.most_devices[0], ("d-11".to_owned(), 12));
    assert_eq!(report.most_devices[9], ("d-02".to_owned(), 3));
    assert_eq!(report.most_groups, [("odd".to_owned(), 42), ("even".to_owned(), 36)]);
    assert_eq!((report.hours[0], report.hours[11], report.hours[12]), (1, 12, 0));
    assert_eq!(report.hours.iter().sum::<u64>(), report.matched);
    assert_eq!((report.cost, report.further), (3, 0));
}

#[test]
fn names_have_a_bound() {
    let rule = rule();
    let mut run = DryRun::new(&rule);
    let publish = Publish { topic: "d/x", bytes: 500, ..Publish::default() };
    for n in 0..limits::DRY_RUN_NAMES + 7 {
        let device = format!("d-{n}");
        let session = Session { tenant: "acme", device: &device, ..Session::default() };
        let (moment, event) = (Moment::default(), Event::Publish(publish));
        run.observe(&Attributes { session: &session, moment, event }, 1);
    }
    let report = run.finish();
    assert_eq!(report.devices, limits::DRY_RUN_NAMES as u64);
    assert_eq!(report.further, 7);
    assert_eq!(report.matched, limits::DRY_RUN_NAMES as u64 + 7);
}

#[test]
fn no_event_is_no_share() {
    let rule = rule();
    let report = dry_run(&rule, []);
    assert_eq!(report, Report { cost: 3, ..Report::default() });
    assert!(report.share() < f64::EPSILON);
}
