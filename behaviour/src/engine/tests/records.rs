use super::*;
use crate::engine::record::RecordError;

/// The same engine after a restart: everything that is stored is written, and read by a new one.
pub(super) fn restarted(run: &mut Run) -> Run {
    let mut next =
        Run { engine: Engine::new(Config::default()), alerts: Vec::new(), now: run.now, random: 7 };
    next.engine.begin(run.now);
    for (tenant, number, record) in run.engine.group_records(Turn::All) {
        next.engine.restore_group(&tenant, number, &record).unwrap();
    }
    for (tenant, record) in run.engine.tenant_records() {
        next.engine.restore_tenant(&tenant, &record).unwrap();
    }
    for (tenant, device) in run.engine.changed(Turn::All) {
        let record = run.engine.record(&tenant, &device).unwrap();
        assert_eq!(next.engine.restore(&tenant, &device, &record), Ok(true));
    }
    next
}

#[test]
fn records_are_read_back_whole_or_not_at_all() {
    let mut run = Run::new();
    run.connect("a", 1, net(10, 0, 0), 5);
    run.sensor("a", 2 * DAY, MINUTE);
    run.denied("a", 1, "d/v/cmd", Denial::Owner("v"));
    let record = run.engine.record("acme", "a").unwrap();
    assert_eq!(run.engine.record("acme", "a"), None, "it did not change since");
    assert!(record.len() < 2048, "{}", record.len());
    let mut other = Engine::new(Config::default());
    other.begin(run.now);
    for length in 0..record.len() {
        assert_eq!(
            other.restore("acme", "a", &record[..length]),
            Err(RecordError::Torn),
            "{length}"
        );
    }
    let mut longer = record.clone();
    longer.push(0);
    assert_eq!(other.restore("acme", "a", &longer), Err(RecordError::Torn));
    let mut older = record.clone();
    older[0] = 1;
    assert_eq!(other.restore("acme", "a", &older), Err(RecordError::Version(1)));
    assert!(other.is_empty());
    assert_eq!(other.restore("acme", "a", &record), Ok(true));
    // It is written as it was read.
    run.engine.not_written(&[("acme".to_owned(), "a".to_owned())]);
    assert_eq!(other.changed(Turn::All), []);
    other.not_written(&[("acme".to_owned(), "a".to_owned())]);
    assert_eq!(other.record("acme", "a").unwrap(), run.engine.record("acme", "a").unwrap());
}

#[test]
fn records_of_garbage_are_refused() {
    let mut engine = Engine::new(Config::default());
    engine.begin(BEGIN);
    for length in [0, 1, 9, 17, 500, 3000] {
        for byte in [0, 2, 255] {
            let record = vec![byte; length];
            assert!(engine.restore("acme", "a", &record).is_err());
            assert!(engine.restore_group("acme", 1, &record).is_err());
            assert!(engine.restore_tenant("acme", &record).is_err());
        }
    }
}

#[test]
fn alert_keeps_its_id_over_a_restart_and_closes_by_itself() {
    let mut run = Run::new();
    run.connect("a", 1, net(10, 0, 0), 5);
    run.sensor("a", 3 * DAY, MINUTE);
    for owner in ["v1", "v2", "v3"] {
        run.denied("a", 1, &format!("d/{owner}/cmd"), Denial::Owner(owner));
    }
    let id = run.alerts.last().unwrap().alert;
    let mut next = restarted(&mut run);
    next.outside("a", RefusalCode::ProofMissing, net(203, 0, 113));
    next.pass(2 * DAY);
    let states: Vec<(u64, State)> =
        next.alerts.iter().map(|alert| (alert.alert, alert.state)).collect();
    assert_eq!(states, [(id, State::More), (id, State::Closed)]);
    assert_eq!(next.alerts[0].severity, Severity::High);
}
