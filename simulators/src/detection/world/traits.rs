//! The numbers of one group, drawn from its persona, and the ways in which each device differs.

use super::super::dice::Dice;
use super::super::scenario::{Persona, Span};
use super::SECOND;

/// One number of a range.
pub(super) fn draw(dice: &mut Dice, span: Span) -> f64 {
    dice.ratio(span.low, span.high)
}

/// The numbers of one group.
#[derive(Clone, Debug)]
pub(crate) struct Traits {
    pub(crate) persona: String,
    pub(crate) visits: bool,
    pub(crate) service: bool,
    pub(crate) period_ms: f64,
    pub(crate) jitter: f64,
    pub(crate) burst: u32,
    pub(crate) bytes: f64,
    /// Of the logarithm of the size of a message.
    pub(crate) size_sd: f64,
    pub(crate) size_cv: f64,
    pub(crate) size_mood: f64,
    pub(crate) mood: f64,
    /// Share of a mood that is left after an hour.
    pub(crate) keeps: f64,
    pub(crate) gust: f64,
    pub(crate) day: f64,
    pub(crate) peak_h: f64,
    pub(crate) weekend: f64,
    pub(crate) trip_days: f64,
    pub(crate) trip_start_h: f64,
    pub(crate) trip_start_sd: f64,
    pub(crate) trip_h: f64,
    pub(crate) trip_sd: f64,
    pub(crate) topics: usize,
    pub(crate) topic_sway: f64,
    pub(crate) lost: f64,
    pub(crate) keep_alive: u16,
    pub(crate) session_ms: f64,
    pub(crate) token_ms: f64,
    pub(crate) clean: f64,
    pub(crate) subscribes: u32,
    pub(crate) commanded: f64,
    pub(crate) reach: u64,
    pub(crate) backlog: u32,
    pub(crate) spread: f64,
    /// Events a day: battery, renamed, mistake, clock, expired, malformed.
    pub(crate) rare: [f64; 6],
}

impl Traits {
    pub(super) fn of(persona: &Persona, dice: &mut Dice) -> Self {
        let mut of = |span| draw(dice, span);
        let per_day = |days: f64| if days > 0.0 { 1.0 / days } else { 0.0 };
        let size_cv = of(persona.size_cv);
        Self {
            persona: persona.name.clone(),
            visits: persona.visits,
            service: persona.service,
            period_ms: of(persona.period_s) * SECOND as f64,
            jitter: of(persona.jitter),
            burst: of(persona.burst).round() as u32,
            bytes: of(persona.bytes),
            size_sd: (1.0 + size_cv * size_cv).ln().sqrt(),
            size_cv,
            size_mood: of(persona.size_mood),
            mood: of(persona.mood),
            keeps: (-1.0 / of(persona.mood_h)).exp(),
            gust: of(persona.gust),
            day: of(persona.day),
            peak_h: of(persona.peak_h),
            weekend: of(persona.weekend),
            trip_days: of(persona.trip_days),
            trip_start_h: of(persona.trip_start_h),
            trip_start_sd: of(persona.trip_start_sd),
            trip_h: of(persona.trip_h),
            trip_sd: of(persona.trip_sd),
            topics: (of(persona.topics).round() as usize).clamp(1, 4),
            topic_sway: of(persona.topic_sway),
            lost: of(persona.lost),
            keep_alive: of(persona.keep_alive_s).round() as u16,
            session_ms: of(persona.session_h) * 3_600_000.0,
            token_ms: of(persona.token_h) * 3_600_000.0,
            clean: of(persona.clean),
            subscribes: of(persona.subscribes).round() as u32,
            commanded: of(persona.commanded),
            reach: of(persona.reach).round() as u64,
            backlog: of(persona.backlog) as u32,
            spread: of(persona.spread),
            rare: [
                per_day(of(persona.battery_days)),
                per_day(of(persona.renamed_days)),
                per_day(of(persona.mistake_days)),
                per_day(of(persona.clock_days)),
                per_day(of(persona.expired_days)),
                per_day(of(persona.malformed_days)),
            ],
        }
    }
}

/// The ways in which one device differs from its group.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// Factor on the rate.
    pub(crate) rate: f64,
    /// Factor on the size.
    pub(crate) size: f64,
    /// Hours by which its day is shifted.
    pub(crate) shift_h: f64,
    /// Share of each topic.
    pub(crate) topics: [f64; 4],
}

impl Own {
    pub(crate) fn of(traits: &Traits, seed: u64, device: u32) -> Self {
        let mut dice = Dice::of(seed, "own", u64::from(device));
        let mut topics = [0.0; 4];
        let weights = [8.0, 2.0, 1.0, 0.4];
        for (share, weight) in topics.iter_mut().zip(weights).take(traits.topics) {
            *share = weight * (0.4 * dice.normal()).exp();
        }
        let sum: f64 = topics.iter().sum();
        for share in &mut topics {
            *share /= sum;
        }
        Self {
            // By the clock means by the same clock: such devices differ less.
            rate: (traits.spread * traits.jitter.max(0.2) * dice.normal()).exp(),
            size: (traits.spread * dice.normal()).exp(),
            shift_h: dice.between(-1.0, 1.0),
            topics,
        }
    }
}
