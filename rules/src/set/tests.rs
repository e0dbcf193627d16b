use super::*;
use crate::attributes::{Connect, Event, Moment, Publish, Subscribe};
use crate::rule::{Action, Draft, Selector};

const BEGIN: u64 = 1_000_000;

fn rule(id: &str, change: impl FnOnce(&mut Draft)) -> Rule {
    let mut draft = Draft {
        id: id.into(),
        version: 1,
        on: On::Publish,
        selector: Selector { tenant: "acme".into(), ..Selector::default() },
        text: "bytes > 100".into(),
        action: Action::Note,
        mode: Mode::Enforce,
        not_before: UnixSeconds::new(BEGIN),
        expires: UnixSeconds::new(BEGIN + 1000),
        author: "maria".into(),
        reason: "a test".into(),
    };
    change(&mut draft);
    Rule::new(draft).unwrap()
}

fn set(rules: Vec<Rule>) -> RuleSet {
    RuleSet::new(TenantId::parse("acme").unwrap(), rules, UnixSeconds::new(0)).unwrap()
}

fn session() -> Session<'static> {
    Session { tenant: "acme", device: "d-17", group: "hall-2", role: "pump", ..Session::default() }
}

fn publish(bytes: u64) -> Event<'static> {
    Event::Publish(Publish { topic: "d/d-17/data", bytes, ..Publish::default() })
}

fn at<'a>(session: &'a Session<'a>, seconds: u64, event: Event<'a>) -> Attributes<'a> {
    let moment = Moment { now: UnixSeconds::new(seconds), ..Moment::default() };
    Attributes { session, moment, event }
}

fn ids<'r>(rules: impl Iterator<Item = &'r Rule>) -> Vec<&'r str> {
    rules.map(|rule| rule.draft().id.as_str()).collect()
}

#[test]
fn the_strongest_action_is_first_and_shadow_does_nothing() {
    let narrow = |draft: &mut Draft, action| {
        draft.action = action;
        draft.selector.groups = vec!["hall-2".into()];
    };
    let set = set(vec![
        rule("note", |_| ()),
        rule("b-deny", |d| narrow(d, Action::Deny)),
        rule("a-deny", |d| narrow(d, Action::Deny)),
        rule("clamp", |d| d.action = Action::Clamp),
        rule("shadow", |d| {
            narrow(d, Action::Deny);
            d.mode = Mode::Shadow;
        }),
        rule("small", |d| d.text = "bytes < 100".into()),
    ]);
    let (session, mut picked) = (session(), Picked::default());
    let verdicts = set.evaluate(&mut picked, &at(&session, BEGIN, publish(200)));
    assert_eq!(ids(verdicts.enforced()), ["a-deny", "b-deny", "clamp", "note"]);
    assert_eq!(verdicts.strongest().unwrap().draft().id, "a-deny");
    assert_eq!(ids(verdicts.would()), ["shadow"]);
    assert_eq!(verdicts.evaluated(), 6);
    let verdicts = set.evaluate(&mut picked, &at(&session, BEGIN, publish(50)));
    assert_eq!(ids(verdicts.enforced()), ["small"]);
    assert_eq!(verdicts.would().count(), 0);
}

#[test]
fn selectors_by_bits_are_those_by_letters() {
    let lists = [vec![], vec!["pump".to_owned()], vec!["valve".into(), "pump".into()]];
    let devices = [vec![], vec!["d-17".to_owned()], vec!["d-18".into()]];
    let prefixes = ["", "d/", "e/"];
    let mut rules = Vec::new();
    for (r, roles) in lists.iter().enumerate() {
        for (d, devices) in devices.iter().enumerate() {
            for (p, prefix) in prefixes.iter().enumerate() {
                rules.push(rule(&format!("r{r}d{d}p{p}"), |draft| {
                    draft.text = "true".into();
                    draft.selector.roles.clone_from(roles);
                    draft.selector.devices.clone_from(devices);
                    draft.selector.groups = if d == 2 { vec!["hall-2".into()] } else { vec![] };
                    draft.selector.topic_prefix = (*prefix).into();
                }));
            }
        }
    }
    let set = set(rules.clone());
    for role in ["pump", "valve", "other"] {
        for device in ["d-17", "d-18", "d-19"] {
            for group in ["hall-2", "hall-3"] {
                for topic in ["d/x", "e/x", "x"] {
                    let session = Session { role, device, group, ..session() };
                    let event = Event::Publish(Publish { topic, ..Publish::default() });
                    let attributes = at(&session, BEGIN, event);
                    let verdicts = set.evaluate(&mut Picked::default(), &attributes);
                    let mut found = ids(verdicts.enforced());
                    found.sort_unstable();
                    let picked =
                        rules.iter().filter(|rule| rule.draft().selector.picks(&attributes));
                    let mut wanted = ids(picked);
                    wanted.sort_unstable();
                    assert_eq!(found, wanted, "{role} {device} {group} {topic}");
                }
            }
        }
    }
}

#[test]
fn a_session_that_no_rule_picks_asks_none() {
    let rules = vec![rule("a", |d| d.selector.devices = vec!["d-18".into()])];
    let set = set(rules);
    let (session, mut picked) = (session(), Picked::default());
    let verdicts = set.evaluate(&mut picked, &at(&session, BEGIN, publish(200)));
    assert!(verdicts.is_empty() && verdicts.strongest().is_none());
    assert_eq!(set.pick(&session).bits, [0; 3]);
    // Another tenant is beyond every selector.
    let stranger = Session { tenant: "other", device: "d-18", ..session };
    assert_eq!(set.pick(&stranger).bits, [0; 3]);
    let theirs = Session { device: "d-18", ..session };
    assert_eq!(set.pick(&theirs).bits, [0, 1, 0]);
    let event = Event::Connect(Connect::default());
    assert!(set.evaluate(&mut Picked::default(), &at(&theirs, BEGIN, event)).is_empty());
}

#[test]
fn bits_of_an_older_set_are_made_anew() {
    let (session, mut picked) = (session(), Picked::default());
    let old = set(vec![rule("a", |d| d.selector.devices = vec!["d-18".into()])]);
    assert!(old.evaluate(&mut picked, &at(&session, BEGIN, publish(200))).is_empty());
    let new = set(vec![rule("a", |d| d.selector.devices = vec!["d-17".into()])]);
    let verdicts = new.evaluate(&mut picked, &at(&session, BEGIN, publish(200)));
    assert_eq!(ids(verdicts.enforced()), ["a"]);
}

#[test]
fn a_clock_that_is_set_back_does_not_revive_a_rule() {
    let session = session();
    let set = set(vec![rule("a", |_| ())]);
    let count = |seconds| {
        set.evaluate(&mut Picked::default(), &at(&session, seconds, publish(200)))
            .enforced()
            .count()
    };
    assert_eq!([count(BEGIN - 1), count(BEGIN), count(BEGIN + 999)], [0, 1, 1]);
    assert_eq!([count(BEGIN + 1000), count(BEGIN + 500), count(0)], [0, 0, 0]);
    assert_eq!(set.seen(), UnixSeconds::new(BEGIN + 1000));
    // A set that is built anew goes on from the time that was stored.
    let tenant = TenantId::parse("acme").unwrap();
    let again = RuleSet::new(tenant, vec![rule("a", |_| ())], set.seen()).unwrap();
    let attributes = at(&session, BEGIN + 500, publish(200));
    assert!(again.evaluate(&mut Picked::default(), &attributes).is_empty());
}

#[test]
fn bounds_of_a_set() {
    let tenant = || TenantId::parse("acme").unwrap();
    let many = |n: usize| (0..n).map(|n| rule(&format!("r-{n}"), |_| ())).collect::<Vec<_>>();
    let of = |rules| RuleSet::new(tenant(), rules, UnixSeconds::new(0));
    assert_eq!(of(many(65)).unwrap_err(), SetError::TooMany(On::Publish));
    assert_eq!(
        of(vec![rule("a", |_| ()), rule("a", |d| d.version = 2)]).unwrap_err(),
        SetError::Twice("a".into())
    );
    let theirs = rule("a", |d| d.selector.tenant = "other".into());
    assert!(matches!(of(vec![theirs]), Err(SetError::Tenant { .. })));
    // 64 of each event, all of which hold.
    let mut rules = many(64);
    rules.extend((0..64).map(|n| {
        rule(&format!("s-{n}"), |d| {
            d.on = On::Subscribe;
            d.text = "wildcard".into();
        })
    }));
    let set = of(rules).unwrap();
    let session = session();
    let mut picked = Picked::default();
    let verdicts = set.evaluate(&mut picked, &at(&session, BEGIN, publish(200)));
    assert_eq!(verdicts.enforced().count(), 64);
    let event = Event::Subscribe(Subscribe { filter: "#", ..Subscribe::default() });
    assert_eq!(set.evaluate(&mut picked, &at(&session, BEGIN, event)).enforced().count(), 64);
    assert_eq!(set.rules().count(), 128);
}

#[test]
fn an_error_is_closed_within_the_selector_and_never_beyond() {
    let set = set(vec![
        rule("theirs", |d| {
            d.action = Action::Deny;
            d.selector.devices = vec!["d-18".into()];
        }),
        rule("ours", |d| {
            d.action = Action::Deny;
            d.selector.devices = vec!["d-17".into()];
        }),
        rule("ended", |d| d.expires = UnixSeconds::new(BEGIN + 1)),
        rule("elsewhere", |d| d.selector.topic_prefix = "e/".into()),
        rule("shadow", |d| d.mode = Mode::Shadow),
    ]);
    let session = session();
    let attributes = at(&session, BEGIN + 10, publish(5));
    let mut picked = Picked::default();
    assert!(set.evaluate(&mut picked, &attributes).strongest().is_none());
    let verdicts = set.closed(&mut picked, &attributes);
    assert_eq!(ids(verdicts.enforced()), ["ours"]);
    assert_eq!(ids(verdicts.would()), ["shadow"]);
}

#[test]
fn counters_count_and_suspend() {
    let set = set(vec![rule("a", |_| ()), rule("shadow", |d| d.mode = Mode::Shadow)]);
    let counters = Counters::new(&set);
    let session = session();
    let mut picked = Picked::default();
    let none = |rule: &Rule| panic!("{} was suspended", rule.draft().id);
    for bytes in [50, 150, 250] {
        let verdicts = set.evaluate(&mut picked, &at(&session, BEGIN, publish(bytes)));
        counters.add(&verdicts, UnixSeconds::new(BEGIN), none);
    }
    let read = |counters: &Counters| {
        let counts = counters.read(&set);
        counts.map(|c| (c.evaluated, c.held, c.broke, c.suspended)).collect::<Vec<_>>()
    };
    assert_eq!(read(&counters), [(3, 2, 0, false), (3, 2, 0, false)]);

    // 99 errors, a match, 99 errors, a minute later 99 errors: no rule is suspended.
    let breaks = |times: u32, seconds: u64, told: &mut Vec<String>| {
        for _ in 0..times {
            let attributes = at(&session, seconds, publish(50));
            let verdicts = set.closed(&mut Picked::default(), &attributes);
            counters.add(&verdicts, UnixSeconds::new(seconds), |rule| {
                told.push(rule.draft().id.clone());
            });
        }
    };
    let mut told = Vec::new();
    breaks(99, BEGIN + 1, &mut told);
    let verdicts = set.evaluate(&mut picked, &at(&session, BEGIN + 1, publish(150)));
    counters.add(&verdicts, UnixSeconds::new(BEGIN + 1), none);
    breaks(99, BEGIN + 2, &mut told);
    breaks(99, BEGIN + 70, &mut told);
    assert_eq!(told, Vec::<String>::new());
    breaks(5, BEGIN + 71, &mut told);
    assert_eq!(told, ["a", "shadow"], "each is told once");
    assert!(set.evaluate(&mut picked, &at(&session, BEGIN + 72, publish(150))).is_empty());
    assert!(read(&counters).iter().all(|counts| counts.3));
}
