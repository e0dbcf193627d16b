use super::file::{FileError, RuleFile};
use super::wire::WireError;
use super::*;
use crate::attributes::{Connect, Event, Moment, Publish, Session, Subscribe};

/// A rule that denies large commands of two groups.
pub(crate) fn draft() -> Draft {
    Draft {
        id: "large-commands".into(),
        version: 3,
        on: On::Publish,
        selector: Selector {
            tenant: "acme".into(),
            groups: vec!["hall-2".into(), "hall-1".into(), "hall-2".into()],
            topic_prefix: "d/".into(),
            ..Selector::default()
        },
        text: "topic.endsWith(\"/cmd\") && bytes > 65536".into(),
        action: Action::Deny,
        mode: Mode::Enforce,
        not_before: UnixSeconds::new(1_000_000),
        expires: UnixSeconds::new(2_000_000),
        author: "maria".into(),
        reason: "firmware 1.4 floods".into(),
    }
}

fn code(change: impl Fn(&mut Draft)) -> &'static str {
    let mut draft = draft();
    change(&mut draft);
    Rule::new(draft).unwrap_err().code()
}

#[test]
fn members_are_checked() {
    let rule = Rule::new(draft()).unwrap();
    assert_eq!(rule.draft().selector.groups, ["hall-1", "hall-2"]);
    assert_eq!(code(|d| d.id = "a b".into()), "rule_name");
    assert_eq!(code(|d| d.selector.tenant.clear()), "rule_name");
    assert_eq!(code(|d| d.selector.groups.push("a/b".into())), "rule_name");
    assert_eq!(code(|d| d.selector.topic_prefix = "d/+".into()), "rule_topic");
    assert_eq!(code(|d| d.text = "topic > 3".into()), "rule_type");
    assert_eq!(code(|d| d.text = "will_topic == \"\"".into()), "rule_other_event");
    assert_eq!(code(|d| d.author = " ".into()), "rule_words");
    assert_eq!(code(|d| d.reason = "a\nb".into()), "rule_words");
    assert_eq!(code(|d| d.reason = "x".repeat(257)), "rule_words");
    let names = |n: usize| (0..n).map(|n| format!("d-{n}")).collect::<Vec<_>>();
    assert_eq!(code(|d| d.selector.devices = names(257)), "rule_selector_too_long");
    let mut most = draft();
    most.selector.devices = names(256);
    assert!(Rule::new(most).unwrap().to_cbor().len() <= limits::WIRE_BYTES);
    let long = |n: usize| (0..n).map(|n| format!("{n:0>60}")).collect::<Vec<_>>();
    assert_eq!(code(|d| d.selector.devices = long(80)), "rule_too_large");
    let connect = |d: &mut Draft| {
        d.on = On::Connect;
        d.text = "true".into();
    };
    assert_eq!(code(connect), "rule_prefix_on_connect");
}

#[test]
fn a_life_has_a_bound() {
    let day = 86_400;
    assert_eq!(code(|d| d.expires = d.not_before), "rule_life");
    assert_eq!(code(|d| d.expires = UnixSeconds::new(1)), "rule_life");
    assert_eq!(code(|d| d.expires = d.not_before.plus(90 * day + 1)), "rule_life");
    assert_eq!(code(|d| d.expires = UnixSeconds::new(u64::MAX)), "rule_life");
    let mut most = draft();
    most.expires = most.not_before.plus(90 * day);
    let rule = Rule::new(most).unwrap();
    for (at, lives) in
        [(0, false), (999_999, false), (1_000_000, true), (8_775_999, true), (8_776_000, false)]
    {
        assert_eq!(rule.lives_at(UnixSeconds::new(at)), lives, "{at}");
    }
}

#[test]
fn what_cuts_off_is_narrower_than_the_tenant() {
    for action in Action::ALL {
        let wide = Selector { tenant: "acme".into(), ..Selector::default() };
        let mut draft = Draft { action, selector: wide, ..draft() };
        let is_refused = matches!(Rule::new(draft.clone()), Err(RuleError::TooWide(_)));
        assert_eq!(is_refused, matches!(action, Action::Quarantine | Action::Deny), "{action}");
        // Shadow does nothing yet, and is refused all the same: it will be enforced as it stands.
        draft.mode = Mode::Shadow;
        assert_eq!(Rule::new(draft.clone()).is_err(), is_refused, "{action}");
        for narrow in 0..4 {
            let mut draft = draft.clone();
            match narrow {
                0 => draft.selector.roles.push("pump".into()),
                1 => draft.selector.groups.push("hall-2".into()),
                2 => draft.selector.devices.push("d-17".into()),
                _ => draft.selector.topic_prefix = "d/".into(),
            }
            assert!(Rule::new(draft).is_ok(), "{action} {narrow}");
        }
    }
}

#[test]
fn selectors_pick_by_each_list() {
    let session = Session {
        tenant: "acme",
        device: "d-17",
        group: "hall-2",
        role: "pump",
        ..Session::default()
    };
    let picks = |selector: &Selector, event: Event<'_>| {
        selector.picks(&Attributes { session: &session, moment: Moment::default(), event })
    };
    let topic = |topic| Event::Publish(Publish { topic, ..Publish::default() });
    let filter = |filter| Event::Subscribe(Subscribe { filter, ..Subscribe::default() });
    let all = Selector { tenant: "acme".into(), ..Selector::default() };
    assert!(picks(&all, topic("a")) && picks(&all, Event::Connect(Connect::default())));
    assert!(!picks(&Selector { tenant: "other".into(), ..all.clone() }, topic("a")));
    let names = |name: &str| vec!["a".to_owned(), name.to_owned()];
    for (name, wanted) in [("pump", true), ("valve", false)] {
        assert_eq!(picks(&Selector { roles: names(name), ..all.clone() }, topic("a")), wanted);
    }
    let both = Selector { groups: names("hall-2"), devices: names("d-18"), ..all.clone() };
    assert!(!picks(&both, topic("a")), "a device has to be picked by each list");
    let prefix = |prefix: &str| Selector { topic_prefix: prefix.into(), ..all.clone() };
    for (begin, place, wanted) in [
        ("d/", topic("d/x"), true),
        ("d/", topic("e/d/x"), false),
        ("d/x", topic("d/"), false),
        ("d/", filter("d/x"), true),
        ("d/", filter("e/x"), false),
        ("d/", filter("d/+/cmd"), true),
        ("d/pump", filter("d/+/cmd"), true),
        ("d/pump", filter("d/valve/#"), false),
        ("d/", filter("#"), true),
        ("d/", filter("+/x"), true),
        ("d/", filter("e/#"), false),
    ] {
        assert_eq!(picks(&prefix(begin), place), wanted, "{begin} {place:?}");
    }
}

const TOML: &str = r#"
id = "large-commands"
version = 3
on = "publish"
text = 'topic.endsWith("/cmd") && bytes > 65536'
action = "deny"
mode = "enforce"
not_before = "begin"
expires = 2000000
author = "maria"
reason = "firmware 1.4 floods"

[selector]
tenant = "acme"
groups = ["hall-1", "hall-2"]
topic_prefix = "d/"
"#;

fn moment(text: &str) -> Result<u64, String> {
    if text == "begin" {
        Ok(1_000_000)
    } else {
        Err(format!("{text} is no moment"))
    }
}

#[test]
fn files_are_read_in_both_forms() {
    let file: RuleFile = toml::from_str(TOML).unwrap();
    let rule = Rule::new(file.into_draft(moment).unwrap()).unwrap();
    assert_eq!(rule, Rule::new(draft()).unwrap());
    let json = serde_json::to_string(&RuleFile::from(rule.draft())).unwrap();
    let again: RuleFile = serde_json::from_str(&json).unwrap();
    assert_eq!(&again.into_draft(moment).unwrap(), rule.draft());
    for (from, to, words) in [
        (
            "on = \"publish\"",
            "on = \"publsh\"",
            "on is \"publsh\": use connect, publish, subscribe",
        ),
        ("\"deny\"", "\"block\"", "use note, clamp, step_up, quarantine, deny"),
        ("\"enforce\"", "\"on\"", "use shadow, enforce"),
        ("\"begin\"", "\"soon\"", "not_before: soon is no moment"),
        ("version = 3", "version = 3\nlanguage = 2", "version 2 of the language"),
    ] {
        let file: RuleFile = toml::from_str(&TOML.replace(from, to)).unwrap();
        let error: FileError = file.into_draft(moment).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    for (from, to) in [
        ("author", "auther"),
        ("groups", "gruops"),
        ("\"begin\"", "true"),
        ("id = \"large-commands\"", ""),
        ("tenant = \"acme\"", ""),
    ] {
        assert!(toml::from_str::<RuleFile>(&TOML.replacen(from, to, 1)).is_err(), "{from}");
    }
    // Nothing said about the mode is the mode that does nothing.
    let file: RuleFile = toml::from_str(&TOML.replace("mode = \"enforce\"", "")).unwrap();
    assert_eq!(file.into_draft(moment).unwrap().mode, Mode::Shadow);
}

#[test]
fn bytes_come_back_as_the_same_rule() {
    let mut dice = 99_u64;
    let mut below = |n: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 33) as usize % n
    };
    for _ in 0..300 {
        let mut list =
            |name: &str| (0..below(4)).map(|_| format!("{name}-{}", below(9))).collect::<Vec<_>>();
        let (roles, groups, devices) = (list("r"), list("g"), list("d"));
        let on = On::ALL[below(3)];
        let prefix = if on == On::Connect { "" } else { ["", "d/", "ä/b"][below(3)] };
        let draft = Draft {
            id: format!("rule-{}", below(1000)),
            version: below(1 << 20) as u64,
            on,
            selector: Selector {
                tenant: "acme".into(),
                roles,
                groups,
                devices,
                topic_prefix: prefix.into(),
            },
            text: ["true", "hour in [1, 2, 3]", "device.startsWith(\"ä\")"][below(3)].into(),
            action: Action::ALL[below(3)],
            mode: Mode::ALL[below(2)],
            not_before: UnixSeconds::new(below(1 << 30) as u64),
            expires: UnixSeconds::new((1 << 30) + below(90) as u64),
            ..draft()
        };
        let draft = Draft { not_before: draft.expires.minus(1 + below(7_776_000) as u64), ..draft };
        let rule = Rule::new(draft).unwrap();
        let bytes = rule.to_cbor();
        assert_eq!(Rule::from_cbor(&bytes).unwrap(), rule);
        // A changed byte is refused, or is another rule with the same claim to one form.
        let mut bent = bytes.clone();
        let at = below(bent.len());
        bent[at] ^= 1 << below(8);
        if let Ok(other) = Rule::from_cbor(&bent) {
            assert_eq!(other.to_cbor(), bent);
            assert_ne!(other, rule);
        }
        assert!(Rule::from_cbor(&bytes[..at]).is_err());
    }
}

#[test]
fn bytes_are_read_strictly() {
    let rule = Rule::new(draft()).unwrap();
    let good = rule.to_cbor();
    let form = |bytes: &[u8]| Rule::from_cbor(bytes).unwrap_err().code();
    let longer = [&good[..], &[0]].concat();
    assert_eq!(form(&longer), "rule_form");
    assert_eq!(form(b""), "rule_form");
    // `["tessera-rule", 2, …]` with anything behind it.
    let at = good.iter().position(|byte| *byte == 1).unwrap();
    let mut newer = good.clone();
    newer[at] = 2;
    assert_eq!(Rule::from_cbor(&newer).unwrap_err(), WireError::Unsupported { language: 2 });
    let mut w = tessera_token::cbor::Writer::new();
    let bytes = w.array(3).text("tessera-rule").uint(7).bool(true).finish();
    assert_eq!(Rule::from_cbor(&bytes).unwrap_err().code(), "rule_unsupported");
    // Groups in another order, or twice.
    let replace = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|part| part == from).unwrap();
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    assert_eq!(form(&replace(b"fhall-1fhall-2", b"fhall-2fhall-1")), "rule_form");
    assert_eq!(form(&replace(b"fhall-1fhall-2", b"fhall-1fhall-1")), "rule_form");
    assert_eq!(form(&replace(b"ddeny", b"ddenx")), "rule_form");
    assert_eq!(form(&replace(b"gpublish", b"gconnect")), "rule_prefix_on_connect");
    assert_eq!(form(&vec![0; 5000]), "rule_form");
}
