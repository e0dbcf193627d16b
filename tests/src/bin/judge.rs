//! The judges as commands; see `docs/testing.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool of the tests: a panic is how it tells"
)]

use std::process::ExitCode;

use tessera_tests::judge::{bent, clocks, floods, kills, power, soak, why_no_power_cuts};
use tessera_tests::site::Role;

const HELP: &str = "judge power  [--cuts N] [--seed S] [--sync] | --can
judge bent   [--mutations N] [--seed S] [--only NUMBER]
judge clocks [--scenarios N] [--seed S] [--only TEXT]
judge floods [--seconds N] [--only TEXT] [--busy] [--seed S]
judge kills  [--kills N] [--role provision|broker|agent] [--seed S]
judge soak   [--minutes N] [--seed S]";

struct Words(Vec<String>);

impl Words {
    fn has(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| word != name);
        before != self.0.len()
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|word| word == name)?;
        self.0.remove(at);
        (at < self.0.len()).then(|| self.0.remove(at))
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str, usual: T) -> T {
        match self.value(name) {
            None => usual,
            Some(text) => text.parse().unwrap_or_else(|_| panic!("{name} {text}: not a number")),
        }
    }

    fn end(&self) {
        assert!(self.0.is_empty(), "not understood: {}\n{HELP}", self.0.join(" "));
    }
}

fn main() -> ExitCode {
    let mut words = Words(std::env::args().skip(1).collect());
    let name = if words.0.is_empty() { String::new() } else { words.0.remove(0) };
    if ["", "--help", "-h", "help"].contains(&name.as_str()) || words.has("--help") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let seed = words.number("--seed", 20_261_128);
    let report = match name.as_str() {
        "power" if words.has("--can") => {
            return match why_no_power_cuts() {
                None => ExitCode::SUCCESS,
                Some(why) => {
                    eprintln!("{why}");
                    ExitCode::FAILURE
                }
            };
        }
        "power" => {
            let cuts = words.number("--cuts", 200);
            let sync = words.has("--sync");
            words.end();
            power::judge(&power::Options { cuts, seed, sync })
        }
        "bent" => {
            let mutations = words.number("--mutations", 300);
            let only = words.value("--only").map(|text| text.parse().unwrap());
            words.end();
            bent::judge(&bent::Options { mutations, seed, only })
        }
        "floods" => {
            let seconds = words.number("--seconds", 20.0);
            let only = words.value("--only");
            let busy = words.has("--busy");
            words.end();
            floods::judge(&floods::Options { seconds, seed, only, busy })
        }
        "clocks" => {
            let scenarios = words.number("--scenarios", usize::MAX);
            let only = words.value("--only");
            words.end();
            clocks::judge(&clocks::Options { scenarios, seed, only })
        }
        "kills" => {
            let kills = words.number("--kills", 1000);
            let role = words.value("--role").map(|text| Role::parse(&text).expect("a role"));
            words.end();
            kills::judge(&kills::Options { kills, seed, role })
        }
        "soak" => {
            let minutes = words.number("--minutes", 10.0);
            words.end();
            soak::judge(&soak::Options { minutes, seed })
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::FAILURE;
        }
    };
    report.print(&name);
    for finding in &report.findings {
        println!("FOUND {finding}");
    }
    match report.findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
