//! Recorded and simulated behaviour: files of observations, replay, conversion, scores.

use std::path::Path;

use tessera_behaviour::alert::Alert;
use tessera_behaviour::convert::mosquitto::Mosquitto;
use tessera_behaviour::convert::tshark::Tshark;
use tessera_behaviour::convert::Converter;
use tessera_behaviour::detector::Detector;
use tessera_behaviour::engine::{Config, Engine};
use tessera_behaviour::observation::line;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_simulators::detection::flow::Generator;
use tessera_simulators::detection::page::page;
use tessera_simulators::detection::references::aws::Profile;
use tessera_simulators::detection::scenario::{Scenario, DEFAULT};
use tessera_simulators::detection::score::{text, to_json, Verdicts};
use tessera_simulators::detection::trial::{self, judged_alone, Score, Trial};

use crate::args::{ConvertArgs, ObserveArgs, ReplayArgs, ScoreArgs, Source};
use crate::error::{Fault, Outcome};
use crate::output;

pub(crate) mod files;
#[cfg(test)]
mod tests;

/// The detector of `agent replay` and `sim score`: a new one, that has seen nothing. All of this room takes it from here.
fn detector() -> Result<(&'static str, Box<dyn Detector>), Fault> {
    Ok(("engine", Box::new(Engine::new(Config::default()))))
}

/// `agent replay`.
pub(crate) fn replay(args: &ReplayArgs) -> Outcome {
    let (_, mut detector) = detector()?;
    let mut out = files::Out::of(args.alerts.as_deref())?;
    let (mut alerts, mut told, mut last) = (Vec::new(), 0_u64, 0);
    let mut wrong = None;
    let read = files::observations(&args.input, &mut |seen| {
        last = last.max(seen.at);
        detector.observe(seen, &mut alerts);
        let written = write_alerts(&mut out, &mut alerts);
        told += *written.as_ref().unwrap_or(&0);
        wrong = wrong.take().or(written.err());
        wrong.is_none() && !output::is_closed()
    })?;
    // An hour that has begun is judged at its end.
    detector.advance(last + 24 * 3_600_000, &mut alerts);
    told += write_alerts(&mut out, &mut alerts)?;
    out.finish()?;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    output::complain(&format!("{read} lines, {told} alerts"));
    Ok(0)
}

fn write_alerts(out: &mut files::Out, alerts: &mut Vec<Alert>) -> Result<u64, Fault> {
    let mut told = 0;
    for alert in alerts.drain(..) {
        out.line(&serde_json::to_string(&alert)?)?;
        told += 1;
    }
    Ok(told)
}

/// `agent convert`.
pub(crate) fn convert(args: &ConvertArgs) -> Outcome {
    let mut converter: Box<dyn Converter> = match args.from {
        Source::MosquittoLog => Box::new(Mosquitto::of(&args.tenant, args.name_level)),
        Source::Tshark => Box::new(Tshark::of(&args.tenant)),
    };
    let mut out = files::Out::of(files::named(&args.out))?;
    out.line(&files::head())?;
    let mut input = files::reader(&args.input)?;
    let (mut lines, mut used, mut made) = (0_u64, 0_u64, 0_u64);
    let mut text = Vec::new();
    let place = args.input.display().to_string();
    while files::next_line(&mut input, &mut text).map_err(|error| Fault::from(error).at(&place))? {
        lines += 1;
        let mut wrong = None;
        let line = String::from_utf8_lossy(&text);
        let is_used = converter.line(&line, &mut |seen| {
            made += 1;
            if let Err(error) = out.line(&line::to_line(seen)) {
                wrong = Some(error);
            }
        });
        used += u64::from(is_used);
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
    }
    out.finish()?;
    output::complain(&format!("{lines} lines, {used} used, {made} observations"));
    if made == 0 {
        let words = format!("{place}: no line says anything about a client");
        return Err(Fault::new(words).hint(
            "is --from right? `tessera agent convert --help` says which settings a log needs",
        ));
    }
    Ok(0)
}

pub(crate) fn scenario(path: Option<&Path>) -> Result<Scenario, Fault> {
    let Some(path) = path else { return Ok(Scenario::read("")?) };
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Fault::from(error).at(&place))?;
    Scenario::read(&text).map_err(|error| Fault::from(error).at(&place))
}

/// `sim observe`.
pub(crate) fn observe(args: &ObserveArgs) -> Outcome {
    if args.default {
        output::write(DEFAULT);
        return Ok(0);
    }
    let scenario = scenario(args.scenario.as_deref())?;
    let seed = args.seed.unwrap_or(scenario.seed);
    let mut generator = Generator::new(&scenario, seed)?;
    let mut out = files::Out::of(args.out.as_deref().and_then(files::named))?;
    out.line(&files::head())?;
    let clock = SystemClock::new();
    let (mut day, mut made, begin) = (0, 0_u64, generator.begin());
    while let Some(slot) = generator.next_slot() {
        let mut wrong = None;
        made += slot.len() as u64;
        slot.each(|seen| {
            if wrong.is_none() {
                wrong = out.line(&line::to_line(seen)).err();
            }
        });
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let now = (slot.end - begin) / 86_400_000;
        if now > day {
            day = now;
            let seconds = clock.monotonic().as_secs();
            output::complain(&format!(
                "day {day} of {}: {made} observations, {seconds} s",
                scenario.days
            ));
        }
        if output::is_closed() {
            break;
        }
    }
    out.finish()?;
    if let Some(path) = &args.truth {
        let mut out = files::Out::of(Some(path))?;
        for truth in generator.truth() {
            out.line(&serde_json::to_string(&truth)?)?;
        }
        out.finish()?;
    }
    left_out(&generator);
    Ok(0)
}

/// Attacks for which the fleet had no room.
fn left_out(generator: &Generator) {
    let left = generator.left_out();
    if left.is_empty() {
        return;
    }
    let list: Vec<String> =
        left.iter().map(|(class, grade, count)| format!("{class} {grade} {count}")).collect();
    output::complain(&format!(
        "no room for some attacks, which are left out (class, grade, number): {}\n  more devices, days or seeds, or a \
         lower `attacks.each`, give room",
        list.join(", ")
    ));
}

/// `sim score`.
pub(crate) fn score(args: &ScoreArgs) -> Outcome {
    let profile = match &args.profile {
        Some(path) => {
            let place = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| Fault::from(e).at(&place))?;
            Profile::read(&text).map_err(|error| Fault::from(error).at(&place))?
        }
        None => Profile::examples()?,
    };
    for skipped in &profile.skipped {
        output::complain(&format!("the profile's behavior is left out: {skipped}"));
    }
    let (score, made_page) = match (&args.truth, &args.alerts, &args.input) {
        (Some(truth), Some(alerts), _) => (of_alerts(truth, alerts)?, None),
        (Some(truth), None, Some(input)) => (of_input(truth, input, profile)?, None),
        (Some(_), None, None) => return Err(Fault::new("--truth goes with --input or --alerts")),
        (None, ..) => {
            let scenario = scenario(args.scenario.as_deref())?;
            let seeds = match args.seeds.is_empty() {
                true => vec![scenario.seed],
                false => args.seeds.clone(),
            };
            let score = of_scenario(&scenario, &seeds, &profile)?;
            let made = page(&scenario, &seeds, &score);
            (score, Some(made))
        }
    };
    output::write(&text(&score.sheets));
    if let (Some(path), Some(made)) = (&args.markdown, made_page) {
        std::fs::write(path, made).map_err(|e| Fault::from(e).at(&path.display().to_string()))?;
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&to_json(&score.sheets))?;
        std::fs::write(path, text).map_err(|e| Fault::from(e).at(&path.display().to_string()))?;
    }
    Ok(0)
}

fn of_scenario(scenario: &Scenario, seeds: &[u64], profile: &Profile) -> Result<Score, Fault> {
    let clock = SystemClock::new();
    let mut sum = Score::default();
    for seed in seeds {
        let (name, mut detector) = detector()?;
        let mut trial = Trial::of(name, &mut *detector, profile.clone());
        let generator = trial::run(scenario, *seed, &mut trial, &mut |news| {
            let seconds = clock.monotonic().as_secs();
            output::complain(&format!(
                "seed {seed}, day {} of {}: {} observations, {seconds} s",
                news.day, news.days, news.observations
            ));
            !output::is_closed()
        })?;
        left_out(&generator);
        sum.add(trial.judged(&generator.truth()));
    }
    Ok(sum)
}

fn of_input(truth: &Path, input: &Path, profile: Profile) -> Result<Score, Fault> {
    let truth = files::truth(truth)?;
    let (name, mut detector) = detector()?;
    let mut trial = Trial::of(name, &mut *detector, profile);
    files::observations(input, &mut |seen| {
        trial.observe(seen);
        true
    })?;
    Ok(trial.judged(&truth))
}

fn of_alerts(truth: &Path, alerts: &Path) -> Result<Score, Fault> {
    let truth = files::truth(truth)?;
    let mut verdicts = Verdicts::of(&alerts.display().to_string());
    for alert in files::alerts(alerts)? {
        verdicts.take(&alert);
    }
    Ok(judged_alone(&verdicts, &truth))
}
