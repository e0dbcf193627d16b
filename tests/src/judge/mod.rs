//! The judges: they drive the built binary as separate processes through what happens to systems like it, and say what of
//! the acknowledged is gone. Each is one function of its arguments and a seed; the seed and the command that repeats a
//! finding are part of the report. `docs/testing.md` tells how to run them.

pub mod bent;
pub mod clocks;
pub mod floods;
mod image;
pub mod kills;
pub mod power;
pub mod soak;

use std::time::Duration;

use crate::world::Checked;

pub use image::why_not as why_no_power_cuts;

/// Verdict of a judge.
#[derive(Default)]
pub struct Report {
    /// One line for each thing that is wrong.
    pub findings: Vec<String>,
    /// The work, in figures.
    pub figures: Vec<(String, String)>,
}

impl Report {
    /// A figure.
    pub fn figure(&mut self, name: &str, value: impl ToString) {
        self.figures.push((name.to_owned(), value.to_string()));
    }

    /// A finding, told at once.
    pub fn find(&mut self, line: String) {
        println!("  FOUND {line}");
        self.findings.push(line);
    }

    /// Findings of a check, under a heading.
    pub fn take(&mut self, heading: &str, checked: &Checked) {
        for line in checked.lost.iter().take(12) {
            self.find(format!("{heading}: {line}"));
        }
        if checked.lost.len() > 12 {
            self.find(format!("{heading}: and {} more", checked.lost.len() - 12));
        }
    }

    /// The figures and the verdict, printed.
    pub fn print(&self, name: &str) {
        println!("\n{name}");
        let width = self.figures.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (figure, value) in &self.figures {
            println!("  {figure:width$}  {value}");
        }
        println!("  {:width$}  {}", "findings", self.findings.len());
    }

    /// Fails a test on the first finding, with all of them.
    ///
    /// # Panics
    /// When there is a finding.
    pub fn hold(&self, name: &str) {
        self.print(name);
        assert!(self.findings.is_empty(), "{name}:\n{}", self.findings.join("\n"));
    }
}

/// A time for people.
fn shown(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
