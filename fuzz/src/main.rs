//! `fuzz-run TARGET [--runs N] [--seed S] [--corpus DIR]`, `fuzz-run TARGET --input FILE`, `fuzz-run list`,
//! `fuzz-run seeds`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use tessera_fuzz::driver::{self, Failure, Fault, Plan};
use tessera_fuzz::targets::{self, Target};

/// Milliseconds of one execution after which it counts as hanging.
const PATIENCE: u64 = 20_000;
/// Bytes of a failing input that are printed: its file may be on a machine that is gone.
const TOLD: usize = 4096;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match command(&args) {
        Ok(code) => code,
        Err(words) => {
            eprintln!("{words}");
            ExitCode::from(2)
        }
    }
}

fn command(args: &[String]) -> Result<ExitCode, String> {
    let name = args.first().ok_or("which target? `fuzz-run list` names them")?;
    match name.as_str() {
        "list" => {
            targets::ALL.iter().for_each(|target| println!("{}", target.name));
            return Ok(ExitCode::SUCCESS);
        }
        "seeds" => return write_seeds().map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let target = targets::ALL
        .iter()
        .find(|target| target.name == name)
        .ok_or(format!("no target {name}; `fuzz-run list` names them"))?;
    let option = |wanted: &str| {
        let at = args.iter().position(|arg| arg == wanted)?;
        Some(args.get(at + 1).cloned().unwrap_or_default())
    };
    if let Some(file) = option("--input") {
        let input = std::fs::read(&file).map_err(|error| format!("{file}: {error}"))?;
        println!("{}: {} bytes of {file}", target.name, input.len());
        // Without the hook of the driver: the whole panic is wanted, with its backtrace.
        (target.run)(&input);
        println!("passed");
        return Ok(ExitCode::SUCCESS);
    }
    let number = |text: Option<String>, default: u64| match text {
        Some(text) => text.parse().map_err(|_| format!("{text} is no number")),
        None => Ok(default),
    };
    let plan = Plan {
        runs: number(option("--runs"), target.runs)?,
        seed: number(option("--seed"), 1)?,
        corpus: option("--corpus").map(PathBuf::from),
        demand: true,
    };
    Ok(run(target, Plan { demand: plan.runs >= target.runs, ..plan }))
}

fn run(target: &'static Target, plan: Plan) -> ExitCode {
    println!("{}: seed {}, {} runs", target.name, plan.seed, plan.runs);
    driver::capture_panics();
    watchdog::start(target.name, plan.seed, PATIENCE);
    match driver::run(target, &plan) {
        Ok(report) => {
            println!(
                "{}: passed, {} executions, {} outcomes reached",
                target.name, report.executions, report.reached
            );
            ExitCode::SUCCESS
        }
        Err(Fault::Blind(report)) => {
            println!(
                "{}: FAILED, {} outcomes reached and {} expected: the target checks too little",
                target.name, report.reached, target.least
            );
            ExitCode::FAILURE
        }
        Err(Fault::Broken(failure)) => {
            tell(target, &failure);
            println!(
                "the whole run again: fuzz/run {} --runs {} --seed {}",
                target.name, plan.runs, plan.seed
            );
            ExitCode::FAILURE
        }
    }
}

fn tell(target: &Target, failure: &Failure) {
    let folder = driver::home().join("artifacts").join(target.name);
    let sum = failure.input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let file = folder.join(format!("{sum:016x}"));
    let written =
        std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, &failure.input));
    println!("{}: FAILED\n{}", target.name, failure.message);
    let hex: String = failure.input.iter().take(TOLD).map(|byte| format!("{byte:02x}")).collect();
    println!("input, as hexadecimal digits: {hex}");
    match written {
        Ok(()) => println!(
            "input of {} bytes; repeat with: fuzz/run --input {} {}",
            failure.input.len(),
            target.name,
            file.display()
        ),
        Err(error) => println!("the input could not be written: {error}"),
    }
}

fn write_seeds() -> Result<(), String> {
    for target in targets::ALL {
        let folder = driver::home().join("seeds").join(target.name);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        for (name, bytes) in (target.seeds)() {
            std::fs::write(folder.join(name), bytes).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// Ends the process when one execution does not.
mod watchdog {
    use std::time::Duration;

    use tessera_fuzz::driver;
    use tessera_runtime::clock::{Clock, SystemClock};

    pub(crate) fn start(target: &'static str, seed: u64, patience: u64) {
        std::thread::spawn(move || {
            let clock = SystemClock::new();
            let mut last = (driver::executed(), clock.monotonic());
            loop {
                std::thread::park_timeout(Duration::from_millis(500));
                let (now, at) = (driver::executed(), clock.monotonic());
                if now != last.0 {
                    last = (now, at);
                } else if at.saturating_sub(last.1) > Duration::from_millis(patience) {
                    println!("{target}: FAILED, execution {now} of seed {seed} takes more than {patience} ms");
                    std::process::exit(1);
                }
            }
        });
    }
}
