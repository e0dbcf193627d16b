use super::*;
use crate::records::RoleProgress;

fn seen(usage: Usage, topic: &str, devices: u64) -> Seen {
    let of = RoleUse { devices, count: devices * 10, first: 50, last: 100 };
    ((usage, topic.to_owned()), of)
}

fn role(class: RoleClass, lines: &[&str]) -> RoleRecord {
    let publish = lines.iter().map(|line| (*line).to_owned()).collect();
    RoleRecord {
        class,
        publish,
        subscribe: Vec::new(),
        token_seconds: None,
        refresh_tokens: false,
        progress: RoleProgress::default(),
    }
}

fn publish(lines: &[&str], topics: &[&str]) -> Advice {
    advised(RoleClass::Service, lines, topics)
}

fn advised(class: RoleClass, lines: &[&str], topics: &[&str]) -> Advice {
    let seen: Vec<Seen> = topics.iter().map(|topic| seen(Usage::Publish, topic, 3)).collect();
    advise(&role(class, lines), &seen, 0)
}

#[test]
fn a_line_that_no_device_uses_goes_and_one_that_is_used_stays() {
    let advice = publish(&["d/{device}/up", "d/{device}/old"], &["d/{device}/up"]);
    assert_eq!(advice.lines[0].verdict, Verdict::Keep);
    assert_eq!((advice.lines[0].devices, advice.lines[0].last), (3, Some(100)));
    assert_eq!(advice.lines[1].verdict, Verdict::Remove);
    assert_eq!(advice.proposed(Usage::Publish), ["d/{device}/up"]);
    assert!(advice.changes());
}

#[test]
fn use_that_is_too_long_ago_does_not_count() {
    let role = role(RoleClass::Device, &["d/{device}/up"]);
    let used = [seen(Usage::Publish, "d/{device}/up", 3)];
    assert_eq!(advise(&role, &used, 100).lines[0].verdict, Verdict::Keep);
    assert_eq!(advise(&role, &used, 101).lines[0].verdict, Verdict::Remove);
    let other = [seen(Usage::Subscribe, "d/{device}/up", 3)];
    assert_eq!(advise(&role, &other, 0).lines[0].verdict, Verdict::Remove);
}

#[test]
fn a_wide_line_becomes_the_topics_that_are_used() {
    let advice = publish(&["d/{device}/#"], &["d/{device}/up", "d/{device}/state/door"]);
    let to = ["d/{device}/state/door", "d/{device}/up"].map(str::to_owned).to_vec();
    assert_eq!(advice.lines[0].verdict, Verdict::Narrow(to));
    // A level with many values may be any.
    let many: Vec<String> = (0..60).map(|n| format!("d/{{device}}/log/{n}/line")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let to = vec!["d/{device}/log/+/line".to_owned()];
    assert_eq!(publish(&["d/{device}/#"], &many).lines[0].verdict, Verdict::Narrow(to));
    // A role of devices may have no `+`.
    let to = vec!["d/{device}/log/#".to_owned()];
    let of_devices = advised(RoleClass::Device, &["d/{device}/#"], &many);
    assert_eq!(of_devices.lines[0].verdict, Verdict::Narrow(to));
    // Topics of which no few lines would do.
    let many: Vec<String> = (0..60).map(|n| ["x"; 20][..=n % 20].join("/")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(publish(&["#"], &many).lines[0].verdict, Verdict::KeepWide);
}

#[test]
fn a_use_that_stands_for_several_topics_keeps_each_wide_line_that_it_may_be_of() {
    let advice = publish(&["d/{device}/#", "log/{device}/+"], &["d/{device}/a/#"]);
    assert_eq!(advice.lines[0].verdict, Verdict::Narrow(vec!["d/{device}/a/#".to_owned()]));
    let advice = publish(&["d/{device}/#", "log/{device}/+", "up"], &["#"]);
    let verdicts: Vec<&Verdict> = advice.lines.iter().map(|line| &line.verdict).collect();
    assert_eq!(verdicts, [&Verdict::KeepWide, &Verdict::KeepWide, &Verdict::Keep]);
    assert!(!advice.changes());
}

#[test]
fn a_refused_topic_that_is_nearly_allowed_names_the_line() {
    let role = role(RoleClass::Device, &["d/{device}/telemetry"]);
    let refused: Vec<Seen> = [
        ("d/{device}/Telemetry", 40),
        ("d/{device}/tele", 5),
        ("d/other/cmd", 1),
        ("d/{device}/telemetry/x", 2),
    ]
    .map(|(topic, devices)| seen(Usage::PublishRefused, topic, devices))
    .into();
    let advice = advise(&role, &refused, 0);
    let nearest: Vec<_> =
        advice.refused.iter().map(|one| (&*one.topic, one.nearest.as_deref())).collect();
    let line = Some("d/{device}/telemetry");
    assert_eq!(
        nearest,
        [
            ("d/{device}/Telemetry", line),
            ("d/{device}/tele", line),
            ("d/{device}/telemetry/x", None),
            ("d/other/cmd", None)
        ]
    );
}

/// Whether a filter allows a topic, level by level.
fn allows(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        ([first, filter @ ..], [level, topic @ ..]) => {
            (*first == "+" || first == level) && allows(filter, topic)
        }
        _ => false,
    }
}

#[test]
fn what_is_proposed_allows_all_that_was_used_and_nothing_that_the_line_does_not() {
    let may = |filter: &str, topic: &str| {
        let filter: Vec<&str> = filter.split('/').collect();
        allows(&filter, &topic.split('/').collect::<Vec<&str>>())
    };
    let mut state = 7_u64;
    let mut draw = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut narrowed = 0;
    for _ in 0..3000 {
        let values = 1 + draw(12);
        let mut topics = |count: u64| -> Vec<String> {
            let topic = |_| {
                let levels =
                    (0..=draw(4)).map(|_| char::from(b'a' + draw(values) as u8).to_string());
                levels.collect::<Vec<_>>().join("/")
            };
            (0..count).map(topic).collect()
        };
        let (all, probes) = (topics(40), topics(40));
        for line in ["#", "a/#", "+/+", "+/#", "a/+/b", "a/+/#"] {
            let used: Vec<&str> =
                all.iter().map(String::as_str).filter(|topic| may(line, topic)).collect();
            let advice = publish(&[line], &used);
            narrowed += usize::from(matches!(advice.lines[0].verdict, Verdict::Narrow(_)));
            let proposed = advice.proposed(Usage::Publish);
            assert_eq!(used.is_empty(), proposed.is_empty());
            for topic in &used {
                assert!(proposed.iter().any(|line| may(line, topic)), "{topic} {proposed:?}");
            }
            for topic in probes.iter().filter(|topic| !may(line, topic)) {
                assert!(!proposed.iter().any(|line| may(line, topic)), "{topic} {proposed:?}");
            }
        }
    }
    assert!(narrowed > 1000);
}

#[test]
fn a_role_that_would_have_too_many_lines_keeps_wide_ones() {
    let lines: Vec<String> = (0..20).map(|n| format!("{n}/{{device}}/#")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let used: Vec<String> = lines
        .iter()
        .flat_map(|line| ["a", "b", "c", "d"].map(|end| line.replace('#', end)))
        .collect();
    let used: Vec<&str> = used.iter().map(String::as_str).collect();
    let advice = advised(RoleClass::Device, &lines, &used);
    let proposed = advice.proposed(Usage::Publish);
    assert!(
        proposed.len() <= ROLE_TEMPLATES && proposed.len() > ROLE_TEMPLATES - 4,
        "{proposed:?}"
    );
    assert!(used.iter().all(|topic| {
        proposed.iter().any(|line| shape::compare(topic, line) == Stands::Within)
    }));
}
