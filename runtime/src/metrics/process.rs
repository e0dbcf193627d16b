//! Metrics of the process, under the names that client libraries of Prometheus share.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts};

use crate::kernel;

const CPU: (&str, &str) = ("process_cpu_seconds_total", "Processor time, user and system");
/// The gauges, in the order of [`Usage::gauges`].
const GAUGES: [(&str, &str); 5] = [
    ("process_resident_memory_bytes", "Resident memory"),
    ("process_virtual_memory_bytes", "Virtual memory"),
    ("process_open_fds", "Open file descriptors"),
    ("process_max_fds", "Most file descriptors that may be open"),
    ("process_threads", "Threads"),
];

/// Reads `/proc/self` for each answer. Where there is none, the metrics are missing.
pub(super) struct Process {
    described: Vec<Desc>,
}

impl Process {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let mut described =
            Counter::new(CPU.0, CPU.1)?.desc().into_iter().cloned().collect::<Vec<_>>();
        for (name, help) in GAUGES {
            described.extend(Gauge::new(name, help)?.desc().into_iter().cloned());
        }
        Ok(Self { described })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.described.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(usage) = Usage::read() else { return Vec::new() };
        let mut families = Vec::new();
        if let Ok(cpu) = Counter::with_opts(Opts::new(CPU.0, CPU.1)) {
            cpu.inc_by(usage.cpu_seconds);
            families.extend(cpu.collect());
        }
        for ((name, help), value) in GAUGES.into_iter().zip(usage.gauges) {
            if let Ok(gauge) = Gauge::new(name, help) {
                gauge.set(value);
                families.extend(gauge.collect());
            }
        }
        families
    }
}

/// Numbers of the process at one moment.
struct Usage {
    cpu_seconds: f64,
    gauges: [f64; GAUGES.len()],
}

impl Usage {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let open = fs::read_dir("/proc/self/fd").ok()?.count();
        // The folder itself is open meanwhile.
        Self::of(&stat, &limits, open.saturating_sub(1))
    }

    /// The fields of proc(5). The name of the process may hold spaces and brackets.
    #[allow(clippy::cast_precision_loss, reason = "a metric is a float")]
    fn of(stat: &str, limits: &str, open: usize) -> Option<Self> {
        let (ticks, page) = kernel::units();
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // `state`, the third field, is the first one here.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let most = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let most = most.split_whitespace().next()?.parse().unwrap_or(f64::INFINITY);
        let (resident, virtual_) = (field(24)? * page as f64, field(23)?);
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks as f64,
            gauges: [resident, virtual_, open as f64, most, field(20)?],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_behind_a_name_with_brackets() {
        let (ticks, page) = kernel::units();
        let fields: Vec<String> = (4..53).map(|number| number.to_string()).collect();
        let stat = format!("7 (a) b) S {}", fields.join(" "));
        let limits =
            "Limit  Soft Hard Units\nMax open files            1024       4096       files\n";
        let usage = Usage::of(&stat, limits, 9).unwrap();
        assert!((usage.cpu_seconds - 29.0 / ticks as f64).abs() < 1e-9);
        assert_eq!(usage.gauges, [24.0 * page as f64, 23.0, 9.0, 1024.0, 20.0]);
        assert!(Usage::of("7 (a", limits, 9).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let usage = Usage::read().unwrap();
        assert!(usage.gauges.iter().all(|value| *value >= 1.0), "{:?}", usage.gauges);
    }
}
