//! The report as one HTML page: tables and plots (SVG inside the page), without a script and without anything from elsewhere.

use std::fmt::Write;

use super::report::{cells, Report, Stage};
use super::series::Point;

/// Size of a plot in pixels, and the room for its labels.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 12.0;
const COLOURS: [&str; 8] =
    ["#1b6ca8", "#c8553d", "#2a9d5c", "#8e5ea2", "#b8860b", "#444444", "#d1495b", "#00798c"];

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}text{font:11px system-ui,sans-serif;fill:#444}\
h2{margin-top:2em;font-size:1.15em}.bad{color:#b00020}";

/// One line of a plot.
struct Line<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
}

/// The page.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    let title = escaped(&format!("tessera sim {}: {} devices", report.kind, report.devices));
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    summary(&mut out, report);
    let series = &report.series;
    let over_time = |value: fn(&Point) -> u64| -> Vec<(f64, f64)> {
        series.iter().map(|point| (point.second, value(point) as f64)).collect()
    };
    plot(
        &mut out,
        "Devices connected",
        "seconds",
        &[Line { name: "connected", points: over_time(|point| point.connected) }],
        false,
    );
    plot(
        &mut out,
        "A second",
        "seconds",
        &[
            Line { name: "connects", points: rates(series, |point| point.connections) },
            Line { name: "sent", points: rates(series, |point| point.published) },
            Line { name: "received", points: rates(series, |point| point.received) },
        ],
        false,
    );
    plot(
        &mut out,
        "Failures so far",
        "seconds",
        &[Line { name: "failures", points: over_time(|point| point.failures) }],
        false,
    );
    let curve = |stage: &Stage| -> Vec<(f64, f64)> {
        stage.curve.iter().map(|(share, micros)| (share * 100.0, *micros as f64)).collect()
    };
    let curves: Vec<Line<'_>> = report
        .stages
        .iter()
        .map(|stage| Line { name: &stage.name, points: curve(stage) })
        .collect();
    plot(&mut out, "Time by share, in µs (logarithmic)", "percent done within", &curves, true);
    times(&mut out, &report.stages);
    counts(&mut out, "Failures", &report.failures);
    counts(&mut out, "Refusals that were asked for", &report.refusals);
    out.push_str("</body></html>\n");
    out
}

fn summary(out: &mut String, report: &Report) {
    let rate = |rate: Option<f64>| rate.map_or("–".to_owned(), |rate| format!("{rate:.0}"));
    let mut rows = vec![
        ("devices enrolled", format!("{} of {}", report.enrolled, report.devices)),
        ("devices connected", format!("{} of {}", report.connected, report.devices)),
        ("connects a second", rate(report.connects_a_second)),
        ("connections made, lost", format!("{}, {}", report.connections, report.lost)),
        ("messages published, acknowledged", {
            format!("{}, {}", report.published, report.acknowledged)
        }),
        ("published a second", rate(report.published_a_second)),
        ("messages received", report.received.to_string()),
        ("received a second", rate(report.received_a_second)),
        ("tokens renewed", report.refreshes.to_string()),
        ("seconds", format!("{:.1}", report.seconds)),
        ("seed", report.seed.to_string()),
    ];
    rows.extend(report.values.iter().map(|(name, value)| (name.as_str(), format!("{value:.1}"))));
    out.push_str("<table>\n");
    for (name, value) in rows {
        let _ = writeln!(out, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(&value));
    }
    out.push_str("</table>\n");
    if let Some(rest) = report.removal.as_ref().and_then(super::Removal::rest) {
        let _ = writeln!(out, "<p class=\"bad\">{}</p>", escaped(&rest));
    }
}

fn times(out: &mut String, stages: &[Stage]) {
    out.push_str("<h2>Times by stage, in µs</h2>\n<table><tr><th>stage</th>");
    for head in ["count", "p50", "p90", "p95", "p99", "p99.9", "max"] {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr>\n");
    for stage in stages {
        let _ = write!(out, "<tr><td>{}</td>", escaped(&stage.name));
        for value in cells(&stage.micros) {
            let _ = write!(out, "<td>{value}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

fn counts(out: &mut String, title: &str, counts: &std::collections::BTreeMap<String, u64>) {
    let _ = writeln!(out, "<h2>{title}</h2>");
    if counts.is_empty() {
        out.push_str("<p>none</p>\n");
        return;
    }
    out.push_str("<table>\n");
    for (code, count) in counts {
        let _ = writeln!(out, "<tr><td>{}</td><td>{count}</td></tr>", escaped(code));
    }
    out.push_str("</table>\n");
}

/// Differences between points, a second.
fn rates(series: &[Point], value: fn(&Point) -> u64) -> Vec<(f64, f64)> {
    let pairs = series.iter().zip(series.iter().skip(1));
    let rate = |(before, after): (&Point, &Point)| {
        let took = (after.second - before.second).max(0.001);
        (after.second, value(after).saturating_sub(value(before)) as f64 / took)
    };
    pairs.map(rate).collect()
}

/// A plot with axes that begin at 0, or with a logarithmic upright axis.
fn plot(out: &mut String, title: &str, below: &str, lines: &[Line<'_>], logarithmic: bool) {
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    if all().next().is_none() {
        return;
    }
    let scale = |value: f64| if logarithmic { value.max(1.0).log10() } else { value };
    let right = all().map(|(x, _)| x).fold(1e-9, f64::max);
    let high = all().map(|(_, y)| scale(y)).fold(1e-9, f64::max);
    let at = |(x, y): (f64, f64)| {
        let across = LEFT + x / right * (WIDTH - LEFT - 10.0);
        let up = HEIGHT - BOTTOM - scale(y) / high * (HEIGHT - BOTTOM - TOP);
        (across, up)
    };
    let _ = write!(
        out,
        "<h2>{}</h2>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">",
        escaped(title)
    );
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let value = if logarithmic { 10f64.powf(high * share) } else { high * share };
        let (_, y) = at((0.0, value));
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            short(value)
        );
        let (x, _) = at((right * share, 0.0));
        let _ = write!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 10.0,
            short(right * share)
        );
    }
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let mut points = String::new();
        for point in &line.points {
            let (x, y) = at(*point);
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        let _ = write!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{points}\"/>"
        );
    }
    out.push_str("</svg>\n<p>");
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let _ = write!(out, "<span style=\"color:{colour}\">■</span> {} ", escaped(line.name));
    }
    let _ = writeln!(out, "— {}</p>", escaped(below));
}

/// A number as a label has room for it.
fn short(value: f64) -> String {
    match value {
        big if big >= 1e6 => format!("{:.1} M", big / 1e6),
        big if big >= 1e4 => format!("{:.0} k", big / 1e3),
        whole if whole >= 10.0 => format!("{whole:.0}"),
        small => format!("{small:.1}"),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::report::stages;
    use crate::report::Tally;

    #[test]
    fn the_page_stands_alone_and_shows_names_as_text() {
        let tally = Tally::default();
        for micros in 1..1_000 {
            tally.publish_latency.observe(Duration::from_micros(micros));
        }
        let series =
            (0..5).map(|at| Point { second: at as f64, published: at * 10, ..Point::default() });
        let report = Report {
            kind: "pub".to_owned(),
            prefix: "<script>".to_owned(),
            stages: stages(&tally),
            series: series.collect(),
            failures: [("connect:<b>&\"".to_owned(), 1)].into(),
            ..Report::default()
        };
        let page = page(&report);
        for foreign in
            ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link", "<b>"]
        {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(
            page.contains("connect:&lt;b&gt;&amp;&quot;") && page.contains("<polyline"),
            "{page}"
        );
        assert!(page.contains("publish to puback"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
