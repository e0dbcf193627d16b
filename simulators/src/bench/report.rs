//! Report of the bench: samples, medians, ratios, a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::measures::Measure;
use super::server::Server;
use super::stage::{Sample, Stage};
use super::targets::{self, Verdict};
use super::usage::load_average;
use super::Plan;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// Devices.
    pub clients: usize,
    /// Rounds.
    pub rounds: usize,
    /// Processors of the machine, shared by server and generator.
    pub processors: usize,
    /// Load averages before and after.
    pub load: [String; 2],
    /// Sessions at the upper end of `growth`; 0 when that was not measured.
    pub sessions: usize,
    /// Microseconds that were subtracted from a connect as its two signature checks.
    pub subtracted_micros: f64,
    /// Nanoseconds in which one publish is authorised against ten scope entries.
    pub authorise_nanos: Option<f64>,
    /// Medians, one for each measure and server.
    pub rows: Vec<Row>,
    /// Targets, and whether they held.
    pub verdicts: Vec<Verdict>,
    #[serde(skip)]
    samples: BTreeMap<(Measure, Server), Vec<Sample>>,
}

/// One measure on one server.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The measure.
    pub measure: &'static str,
    /// The server.
    pub server: &'static str,
    /// The counted quantity.
    pub operation: &'static str,
    /// Median of operations a second.
    pub rate: f64,
    /// Median of the server's processor for one operation, in microseconds.
    pub cpu_micros: f64,
    /// Median of the generator's processor for one operation, in microseconds.
    pub generator_micros: f64,
    /// KiB resident at most.
    pub peak_kib: f64,
    /// Medians of what else was measured.
    pub values: BTreeMap<&'static str, f64>,
    /// By peer: median over the rounds of our rate by its rate. Empty for peers.
    pub rate_ratio: BTreeMap<&'static str, f64>,
    /// By peer: median over the rounds of our processor by its processor.
    pub cpu_ratio: BTreeMap<&'static str, f64>,
    /// Every round.
    pub samples: Vec<Sample>,
}

impl Report {
    pub(super) fn new(plan: &Plan, load: String, began: u64, stage: &Stage) -> Self {
        Self {
            began,
            clients: plan.site.clients,
            rounds: plan.site.rounds,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load: [load, String::new()],
            sessions: plan.site.sessions,
            subtracted_micros: stage.verification_micros(),
            authorise_nanos: stage.authorise_nanos(),
            rows: Vec::new(),
            verdicts: Vec::new(),
            samples: BTreeMap::new(),
        }
    }

    pub(super) fn take(&mut self, measure: Measure, server: Server, sample: Sample) {
        self.samples.entry((measure, server)).or_default().push(sample);
    }

    pub(super) fn finish(&mut self) {
        self.load[1] = load_average();
        self.rows =
            self.samples.iter().map(|((m, s), samples)| self.row(*m, *s, samples)).collect();
        self.verdicts = targets::judge(&self.rows, self.subtracted_micros, self.authorise_nanos);
    }

    fn row(&self, measure: Measure, server: Server, samples: &[Sample]) -> Row {
        let names = samples.iter().flat_map(|sample| sample.values.keys());
        let value = |name: &'static str| {
            median(samples.iter().filter_map(|sample| sample.values.get(name).copied()))
        };
        Row {
            measure: measure.name(),
            server: server.name(),
            operation: measure.operation(),
            rate: median(samples.iter().map(Sample::rate)),
            cpu_micros: median(samples.iter().map(Sample::cpu_micros)),
            generator_micros: median(samples.iter().map(Sample::generator_micros)),
            peak_kib: samples.iter().map(|sample| sample.peak_kib).fold(0.0, f64::max),
            values: names.map(|name| (*name, value(name))).collect(),
            rate_ratio: self.ratios(measure, server, samples, Sample::rate),
            cpu_ratio: self.ratios(measure, server, samples, Sample::cpu_micros),
            samples: samples.to_vec(),
        }
    }

    fn ratios(
        &self,
        measure: Measure,
        server: Server,
        ours: &[Sample],
        figure: fn(&Sample) -> f64,
    ) -> BTreeMap<&'static str, f64> {
        if server != Server::Tessera {
            return BTreeMap::new();
        }
        let peers = self.samples.iter().filter(|((m, s), _)| *m == measure && *s != server);
        peers
            .map(|((_, peer), theirs)| {
                let rounds = ours.iter().zip(theirs);
                let ratio = rounds.map(|(a, b)| figure(a) / figure(b).max(1e-9));
                (peer.name(), median(ratio))
            })
            .collect()
    }
}

/// The middle one; the mean of the two in the middle when their number is even.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    let at = |index: usize| all.get(index).copied().unwrap_or_default();
    match all.len() {
        0 => 0.0,
        n if n % 2 == 1 => at(n / 2),
        n => f64::midpoint(at(n / 2 - 1), at(n / 2)),
    }
}

/// The table, in Markdown, so that it can be put into a page as it is.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} clients{}, {} rounds, {} processors for server and generator together, load average {} before and {} after; the \
         two signature checks of a connect take {:.1} µs, which are subtracted below{}\n",
        report.clients,
        if report.sessions > 0 { format!(" ({} in growth)", report.sessions) } else { String::new() },
        report.rounds,
        report.processors,
        report.load[0],
        report.load[1],
        report.subtracted_micros,
        report.authorise_nanos.map_or_else(String::new, |nanos| format!("; one publish authorised in {nanos:.0} ns")),
    );
    out.push_str("| measure | server | per second | server µs | generator µs | our rate by theirs | our CPU by theirs | else |\n");
    out.push_str("|---|---|--:|--:|--:|---|---|---|\n");
    for row in &report.rows {
        let _ = writeln!(
            out,
            "| {} | {} | {:.0} | {:.1} | {:.1} | {} | {} | {} |",
            row.measure,
            row.server,
            row.rate,
            row.cpu_micros,
            row.generator_micros,
            pairs(&row.rate_ratio, 2),
            pairs(&row.cpu_ratio, 2),
            pairs(&row.values, 1),
        );
    }
    out.push_str(&heavy_generator(&report.rows));
    out.push_str("\n| target | wanted | measured | |\n|---|---|--:|---|\n");
    for verdict in &report.verdicts {
        let Verdict { what, wanted, measured, met, short } = verdict;
        let word = if *met { "met".to_owned() } else { format!("missed, {short:.2} × away") };
        let _ = writeln!(out, "| {what} | {wanted} | {measured:.2} | {word} |");
    }
    out
}

/// A generator that needs more processor than the server sets the pace with it, and the ratio of rates leans to 1.
fn heavy_generator(rows: &[Row]) -> String {
    let heavy = |row: &&Row| row.generator_micros > row.cpu_micros;
    let names = rows.iter().filter(heavy).map(|row| format!("{} on {}", row.measure, row.server));
    match names.collect::<Vec<_>>() {
        names if names.is_empty() => String::new(),
        names => format!(
            "\nThe generator used more processor than the server (their rates say less, their server µs as much): {}.\n",
            names.join(", ")
        ),
    }
}

fn pairs(values: &BTreeMap<&'static str, f64>, digits: usize) -> String {
    let texts = values.iter().map(|(name, value)| format!("{name} {value:.digits$}"));
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
