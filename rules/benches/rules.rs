//! Cost of rules on a publish: `cargo bench -p tessera-rules`.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot set itself up has nothing to measure")]

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion};
use tessera_rules::attributes::{Attributes, Event, Moment, On, Publish, Session};
use tessera_rules::language::Program;
use tessera_rules::rule::{Action, Draft, Mode, Rule, Selector};
use tessera_rules::set::{Counters, Picked, RuleSet};
use tessera_token::ids::TenantId;
use tessera_token::time::UnixSeconds;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
/// Four tests on five attributes, all true: the expression by which the engines were compared.
const FOUR: &str =
    "topic.startsWith(\"d/\") && bytes > 1024 && qos == 1 && group in [\"hall-1\", \"hall-2\"]";

fn rule(n: usize, group: &str, prefix: &str, text: &str) -> Rule {
    Rule::new(Draft {
        id: format!("rule-{n}"),
        version: 1,
        on: On::Publish,
        selector: Selector {
            tenant: "acme".into(),
            groups: vec![group.into()],
            topic_prefix: prefix.into(),
            ..Selector::default()
        },
        text: text.into(),
        action: Action::Deny,
        mode: Mode::Enforce,
        not_before: NOW.minus(1000),
        expires: NOW.plus(1000),
        author: "bench".into(),
        reason: "bench".into(),
    })
    .unwrap()
}

fn set(rules: usize, group: &str, prefix: &str, text: &str) -> RuleSet {
    let rules = (0..rules).map(|n| rule(n, group, prefix, text)).collect();
    RuleSet::new(TenantId::parse("acme").unwrap(), rules, NOW).unwrap()
}

fn publishes(c: &mut Criterion) {
    let session = Session {
        tenant: "acme",
        device: "device-00017",
        group: "hall-2",
        role: "pump",
        ..Session::default()
    };
    let publish =
        Publish { topic: "d/device-00017/telemetry", bytes: 2000, qos: 1, ..Publish::default() };
    let moment = Moment { now: NOW, ..Moment::default() };
    let attributes = Attributes { session: &session, moment, event: Event::Publish(publish) };
    let mut bench = |name: &str, set: RuleSet| {
        let mut picked = set.pick(&session);
        c.bench_function(name, |b| {
            b.iter(|| {
                let verdicts = set.evaluate(&mut picked, black_box(&attributes));
                verdicts.strongest().is_some()
            });
        });
    };
    bench("publish, no rule at all", set(0, "hall-2", "", FOUR));
    bench("publish, 64 rules, none picks the device", set(64, "hall-1", "", FOUR));
    bench("publish, 1 rule of four tests, all true", set(1, "hall-2", "", FOUR));
    bench("publish, 1 rule of four tests, the first false", set(1, "hall-2", "", "topic.startsWith(\"x/\") && bytes > 1024 && qos == 1 && group in [\"hall-1\", \"hall-2\"]"));
    bench(
        "publish, 1 rule with a filter",
        set(1, "hall-2", "", "matchesFilter(topic, \"d/+/telemetry\")"),
    );
    bench("publish, 1 rule of another topic prefix", set(1, "hall-2", "e/", FOUR));
    bench("publish, 64 rules of four tests, all true", set(64, "hall-2", "", FOUR));

    let set = set(64, "hall-2", "", FOUR);
    c.bench_function("session picked among 64 rules", |b| {
        b.iter(|| {
            let mut picked = Picked::default();
            set.evaluate(&mut picked, black_box(&attributes)).is_empty();
            picked
        });
    });
    let counters = Counters::new(&set);
    let mut picked = set.pick(&session);
    let verdicts = set.evaluate(&mut picked, &attributes);
    c.bench_function("64 verdicts counted", |b| {
        b.iter(|| counters.add(black_box(&verdicts), NOW, |_| ()));
    });
}

fn compile(c: &mut Criterion) {
    c.bench_function("four tests compiled", |b| {
        b.iter(|| Program::compile(black_box(FOUR), On::Publish).unwrap());
    });
}

criterion_group!(benches, publishes, compile);
criterion_main!(benches);
