//! The steps of a visit as they are made, and how they are told.

use serde_json::{json, Value};

use super::cure;
use super::trouble::Trouble;
use super::verdict::{one_line, Verdict, Ward};
use crate::output;

/// The steps so far, and what they found.
pub(super) struct Visit {
    /// The device, for the words of a cure.
    pub(super) ward: Ward,
    json: bool,
    steps: Vec<Value>,
    troubles: Vec<Trouble>,
    notes: Vec<String>,
}

impl Visit {
    pub(super) fn new(ward: Ward, json: bool) -> Self {
        Self { ward, json, steps: Vec::new(), troubles: Vec::new(), notes: Vec::new() }
    }

    /// A step that found nothing wrong.
    pub(super) fn good(&mut self, name: &str, words: impl AsRef<str>) {
        self.step(name, true, None, words.as_ref());
    }

    /// A step that found something odd that needs no cure.
    pub(super) fn note(&mut self, name: &str, words: impl Into<String>) {
        let words = words.into();
        self.step(name, true, None, &words);
        self.notes.push(words);
    }

    /// A step that found a trouble.
    pub(super) fn bad(&mut self, name: &str, trouble: Trouble) {
        let found = cure::of(&trouble, &self.ward);
        self.step(name, false, found.code.map(|code| code.as_str()), &found.cause);
        self.troubles.push(trouble);
    }

    /// An experiment: what it says counts only together with others.
    pub(super) fn tried(&mut self, name: &str, accepted: bool, words: &str) {
        self.step(name, accepted, None, words);
    }

    /// Whether one of the troubles is of this kind.
    pub(super) fn has(&self, kind: impl Fn(&Trouble) -> bool) -> bool {
        self.troubles.iter().any(kind)
    }

    fn step(&mut self, name: &str, ok: bool, code: Option<&str>, words: &str) {
        let words = one_line(words);
        if self.json {
            self.steps.push(json!({ "name": name, "ok": ok, "code": code, "words": words }));
            return;
        }
        let code = code.map_or(String::new(), |code| format!("{code}: "));
        output::line(&format!("{:<5} {name:<14} {code}{words}", if ok { "ok" } else { "FAIL" }));
    }

    /// Tells what it comes to; the exit code.
    pub(super) fn end(self) -> u8 {
        let found = Verdict::of(&self.troubles, &self.notes, &self.ward);
        let Verdict { well, code, cause, remedy } = found;
        match self.json {
            true => output::line(
                &json!({
                    "well": well,
                    "device": self.ward.device,
                    "tenant": self.ward.tenant,
                    "mqtt": self.ward.mqtt,
                    "client_id": self.ward.client_id,
                    "steps": self.steps,
                    "code": code.map(|code| code.as_str()),
                    "cause": cause,
                    "do": remedy,
                })
                .to_string(),
            ),
            false => {
                output::line(if well { "the device is well" } else { "the device is not well" });
                output::line(&format!("cause: {cause}; do: {remedy}"));
            }
        }
        u8::from(!well)
    }
}
