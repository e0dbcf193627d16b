//! A detector and the references on the same observations, and their scores over several seeds.

use tessera_behaviour::alert::Alert;
use tessera_behaviour::detector::Detector;
use tessera_behaviour::observation::{Observation, UnixMillis};
use tessera_behaviour::truth::Truth;

use super::flow::Generator;
use super::references::aws::Profile;
use super::references::Panel;
use super::scenario::{Scenario, ScenarioError};
use super::score::{Judge, Sheet, Verdicts};

/// Wrong alerts per 1,000 device-days at which a reference is judged with the best threshold for it.
pub const BUDGETS: [f64; 2] = [1.0, 10.0];
/// Those of the curves.
pub const CURVE: [f64; 7] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];

/// One run: a detector and the references.
pub struct Trial<'a> {
    detector: &'a mut dyn Detector,
    panel: Panel,
    alerts: Vec<Alert>,
    of_detector: Verdicts,
    of_references: Vec<Verdicts>,
    usual: Vec<f32>,
    last: UnixMillis,
}

impl<'a> Trial<'a> {
    /// Nothing seen so far.
    pub fn of(name: &str, detector: &'a mut dyn Detector, profile: Profile) -> Self {
        let panel = Panel::of(profile);
        let names = panel.names();
        Self {
            detector,
            of_detector: Verdicts::of(name),
            of_references: names.iter().map(|(name, _)| Verdicts::of(name)).collect(),
            usual: names.iter().map(|(_, usual)| *usual as f32).collect(),
            panel,
            alerts: Vec::new(),
            last: 0,
        }
    }

    /// Takes in one observation.
    pub fn observe(&mut self, seen: &Observation<'_>) {
        self.last = seen.at;
        self.detector.observe(seen, &mut self.alerts);
        for alert in self.alerts.drain(..) {
            self.of_detector.take(&alert);
        }
        let verdicts = &mut self.of_references;
        self.panel.observe(seen, |place, alert| {
            if let Some(verdicts) = verdicts.get_mut(place) {
                verdicts.take(&alert);
            }
        });
    }

    /// The input is over: whatever follows from the time that passed is told, then all is judged.
    pub fn judged(mut self, truth: &[Truth]) -> Score {
        // A day is enough for everything that waits for peers or for the end of an hour.
        let end = self.last + 24 * 3_600_000;
        self.detector.advance(end, &mut self.alerts);
        for alert in self.alerts.drain(..) {
            self.of_detector.take(&alert);
        }
        let judge = Judge::of(truth);
        let mut score = Score::default();
        score.sheets.push(judge.score(&self.of_detector, f32::MIN));
        for (verdicts, usual) in self.of_references.iter().zip(&self.usual) {
            score.sheets.push(judge.score(verdicts, *usual));
        }
        for budget in BUDGETS {
            for verdicts in &self.of_references {
                let mut sheet = judge.score(verdicts, judge.threshold_for(verdicts, budget));
                sheet.name = format!("{} @{budget}", sheet.name);
                score.sheets.push(sheet);
            }
        }
        for verdicts in std::iter::once(&self.of_detector).chain(&self.of_references) {
            let at = |budget| judge.score(verdicts, judge.threshold_for(verdicts, budget));
            score.curves.push((verdicts.name.clone(), CURVE.into_iter().map(at).collect()));
        }
        score
    }
}

/// The alerts of a detector from elsewhere, judged.
pub fn judged_alone(verdicts: &Verdicts, truth: &[Truth]) -> Score {
    let judge = Judge::of(truth);
    let at = |budget| judge.score(verdicts, judge.threshold_for(verdicts, budget));
    Score {
        sheets: vec![judge.score(verdicts, f32::MIN)],
        curves: vec![(verdicts.name.clone(), CURVE.into_iter().map(at).collect())],
    }
}

/// The scores of several runs.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// The detector, each reference at its usual threshold, and each at each of [`BUDGETS`].
    pub sheets: Vec<Sheet>,
    /// For each detector the sheets at the budgets of [`CURVE`].
    pub curves: Vec<(String, Vec<Sheet>)>,
}

impl Score {
    /// Adds the scores of another run.
    pub fn add(&mut self, other: Self) {
        if self.sheets.is_empty() {
            *self = other;
            return;
        }
        for (own, other) in self.sheets.iter_mut().zip(&other.sheets) {
            own.add(other);
        }
        for ((_, own), (_, other)) in self.curves.iter_mut().zip(&other.curves) {
            for (own, other) in own.iter_mut().zip(other) {
                own.add(other);
            }
        }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Days that are over.
    pub day: u64,
    /// Days of the run.
    pub days: u64,
    /// Observations so far.
    pub observations: u64,
}

/// A run of a scenario; `tell` hears of each day, and stops the run by `false`.
///
/// # Errors
/// The scenario asks for something that cannot be.
pub fn run(
    scenario: &Scenario,
    seed: u64,
    trial: &mut Trial<'_>,
    tell: &mut dyn FnMut(Progress) -> bool,
) -> Result<Generator, ScenarioError> {
    let mut generator = Generator::new(scenario, seed)?;
    let begin = generator.begin();
    let (mut day, mut observations) = (0, 0);
    while let Some(slot) = generator.next_slot() {
        observations += slot.len() as u64;
        slot.each(|seen| trial.observe(seen));
        let now = (slot.end - begin) / 86_400_000;
        if now > day {
            day = now;
            if !tell(Progress { day, days: scenario.days, observations }) {
                break;
            }
        }
    }
    Ok(generator)
}

#[cfg(test)]
mod tests {
    use tessera_behaviour::observation::{line, InOrder};

    use super::super::references::Reference;
    use super::*;

    /// A file of observations gives the scores of the run that wrote it.
    #[test]
    fn a_replay_of_lines_is_the_run_itself() {
        // Few messages: the test is not optimised by the compiler.
        let text = "devices = 100\ndays = 10\n[attacks]\nfrom_day = 8\nshare = 0.2\nclasses = [\"flood\", \"flap\"]\n\
            [personas.sensor]\nperiod_s = 300\n[personas.tracker]\nperiod_s = 100\n[personas.noisy]\nperiod_s = 300\n";
        let scenario = Scenario::read(text).unwrap();
        let profile = Profile::examples().unwrap();
        let detector = || Reference::named("EWMA and MAD", profile.clone()).unwrap();
        let mut direct = detector();
        let mut trial = Trial::of("x", &mut direct, profile.clone());
        let generator = run(&scenario, 3, &mut trial, &mut |_| true).unwrap();
        let truth = generator.truth();
        let direct = trial.judged(&truth);

        let (mut replayed, mut order, mut lines) = (detector(), InOrder::default(), 0);
        let mut trial = Trial::of("x", &mut replayed, profile.clone());
        Generator::new(&scenario, 3).unwrap().run(|seen| {
            lines += 1;
            order.push(&line::to_line(seen), |seen| trial.observe(seen)).unwrap();
        });
        order.finish(|seen| trial.observe(seen));
        let texts: Vec<String> =
            truth.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        let truth: Vec<Truth> = texts.iter().map(|t| serde_json::from_str(t).unwrap()).collect();
        let replayed = trial.judged(&truth);
        assert!(lines > 100_000, "{lines}");
        assert_eq!(format!("{:?}", direct.sheets), format!("{:?}", replayed.sheets));
        assert!(direct.sheets.iter().any(|sheet| sheet.sums().0 > 3), "nothing was found");
    }
}
