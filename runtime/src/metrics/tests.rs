use super::*;
use crate::limits::METRIC_SERIES;

#[test]
fn renders_what_was_counted() {
    let metrics = Metrics::new();
    let refused = metrics.counter("tessera_refused_total", "Refusals", &["code"]).unwrap();
    refused.inc(&["expired"]);
    refused.add(&["expired"], 2);
    let open = metrics.gauge("tessera_open", "Open", &[]).unwrap();
    open.set(&[], 5);
    open.add(&[], -2);
    let time = metrics.histogram("tessera_time_seconds", "Time", &[], SECONDS).unwrap();
    time.observe(&[], 0.003);
    let text = metrics.render();
    assert!(text.contains("tessera_refused_total{code=\"expired\"} 3"), "{text}");
    assert!(text.contains("tessera_open 3"));
    assert!(text.contains("tessera_time_seconds_count 1"));
    assert_eq!(refused.value(&["expired"]), 3);
    assert_eq!(open.value(&[]), 3);
}

#[test]
fn a_name_is_given_once() {
    let metrics = Metrics::new();
    metrics.gauge("a", "A", &[]).unwrap();
    assert!(metrics.counter("a", "A", &[]).is_err());
    assert!(metrics.counter("not a name", "A", &[]).is_err());
}

#[test]
fn invented_labels_do_not_grow_memory() {
    let metrics = Metrics::new();
    let counter = metrics.counter("c_total", "C", &["x"]).unwrap();
    for n in 0..METRIC_SERIES + 10 {
        counter.inc(&[&n.to_string()]);
    }
    assert_eq!(counter.value(&["other"]), 10);
    counter.inc(&["0"]);
    assert_eq!(counter.value(&["0"]), 2);
}

#[test]
fn a_wrong_number_of_labels_counts_nothing() {
    let metrics = Metrics::new();
    let counter = metrics.counter("c_total", "C", &["x"]).unwrap();
    counter.inc(&[]);
    assert!(!metrics.render().contains("c_total "));
}

#[test]
fn series_are_there_from_the_start() {
    let metrics = Metrics::of_server("1.2.3").unwrap();
    metrics.counter("a_total", "A", &[]).unwrap();
    metrics.gauge("b", "B", &[]).unwrap();
    metrics.histogram("c_seconds", "C", &[], SECONDS).unwrap();
    let labelled = metrics.counter("d_total", "D", &["code"]).unwrap();
    labelled.present(&["expired"]);
    let text = metrics.render();
    for series in [
        "a_total 0",
        "b 0",
        "c_seconds_count 0",
        "d_total{code=\"expired\"} 0",
        "tessera_build_info{version=\"1.2.3\"} 1",
        "process_open_fds ",
        "process_cpu_seconds_total ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(series)), "{series}\n{text}");
    }
    assert!(text.contains("# TYPE process_cpu_seconds_total counter"), "{text}");
}
