//! Usage of a process, from `/proc` (proc(5)); the load of the machine.

use std::collections::BTreeMap;

use super::error::BenchError;

/// Clock ticks a second in `/proc/PID/stat`: 100 on every Linux that matters.
const TICKS: f64 = 100.0;

/// Seconds by which ticks may be ahead of the threads for no other reason than their steps.
const UNSEEN: f64 = 0.03;

/// Usage of a process up to now.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// Seconds of processor, user and system, in steps of a tick.
    ticked: f64,
    /// Seconds of processor by thread, to the nanosecond.
    threads: BTreeMap<String, f64>,
    /// KiB resident.
    pub(super) resident: f64,
    /// KiB resident at most so far.
    pub(super) peak: f64,
}

impl Usage {
    /// Reads it.
    pub(super) fn of(pid: u32) -> Result<Self, BenchError> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path)
                .map_err(|error| BenchError::new(format!("{path}: {error}; did the server end?")))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        let ticked =
            cpu(&stat).ok_or_else(|| BenchError::new("/proc/PID/stat has another form"))?;
        let kib = |name: &str| kib(&status, name).unwrap_or_default();
        Ok(Self { ticked, threads: threads(pid), resident: kib("VmRSS:"), peak: kib("VmHWM:") })
    }

    /// Of this process.
    pub(super) fn own() -> Self {
        Self::of(std::process::id()).unwrap_or_default()
    }

    /// Seconds of processor since `earlier`. A thread that ended takes its nanoseconds with it, and one that both began
    /// and ended in between was never seen; the process keeps both in its ticks, which are then the better figure.
    pub(super) fn cpu_since(&self, earlier: &Self) -> f64 {
        let ended = earlier.threads.keys().any(|thread| !self.threads.contains_key(thread));
        let ticked = self.ticked - earlier.ticked;
        let summed = self.threads.values().sum::<f64>() - earlier.threads.values().sum::<f64>();
        match ended || summed + UNSEEN < ticked {
            true => ticked,
            false => summed,
        }
    }
}

fn threads(pid: u32) -> BTreeMap<String, f64> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let time = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
        let nanos: f64 = text.split_whitespace().next()?.parse().ok()?;
        Some((entry.file_name().into_string().ok()?, nanos / 1e9))
    };
    entries.filter_map(time).collect()
}

fn cpu(stat: &str) -> Option<f64> {
    // The name in parentheses may hold blanks; user and system time are fields 14 and 15.
    let fields = stat.rsplit_once(')')?.1;
    let mut times = fields.split_whitespace().skip(11);
    let mut next = || times.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS)
}

fn kib(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The load averages over 1, 5 and 15 minutes as the system writes them.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_understood() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4 5 6 7 8 250 150 0 0 20 0 1 0";
        assert_eq!(cpu(stat), Some(4.0));
        assert_eq!(cpu("nonsense"), None);
        assert_eq!(kib("Name:\tx\nVmRSS:\t  123 kB\n", "VmRSS:"), Some(123.0));
        let own = Usage::of(std::process::id()).unwrap();
        assert!(own.resident > 0.0 && own.peak >= own.resident);
        assert!(!own.threads.is_empty() && Usage::own().cpu_since(&own) >= 0.0);
    }

    #[test]
    fn a_thread_that_came_and_went_is_counted() {
        let usage = |ticked, threads: &[(&str, f64)]| {
            let threads = threads.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect();
            Usage { ticked, threads, ..Usage::default() }
        };
        let first = usage(1.0, &[("1", 1.0)]);
        assert_eq!(usage(1.01, &[("1", 1.004), ("2", 0.004)]).cpu_since(&first), 1.008 - 1.0);
        assert_eq!(usage(3.0, &[("1", 1.5)]).cpu_since(&first), 2.0);
        assert_eq!(usage(3.0, &[("2", 1.5)]).cpu_since(&first), 2.0);
    }
}
