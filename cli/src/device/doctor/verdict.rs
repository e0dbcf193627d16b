//! From what was found to one cause and one cure. Nothing here asks anything.

use tessera_token::refusal::RefusalCode;

use super::cure;
use super::trouble::Trouble;

/// The device and what was asked for: the words of a cure name them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ward {
    /// The folder, as a command line takes it.
    pub(super) dir: String,
    /// The device.
    pub(super) device: String,
    /// Its tenant.
    pub(super) tenant: String,
    /// Provisioning.
    pub(super) http: String,
    /// The broker.
    pub(super) mqtt: String,
    /// The client id that was tried.
    pub(super) client_id: String,
}

/// Words of a trouble, and its remedy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cure {
    /// The refusal code of broker or provisioning, when it is one.
    pub(super) code: Option<RefusalCode>,
    /// One sentence without the code.
    pub(super) cause: String,
    /// The one thing to do.
    pub(super) remedy: String,
}

impl Cure {
    pub(super) fn new(
        code: impl Into<Option<RefusalCode>>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), cause: cause.into(), remedy: remedy.into() }
    }

    /// The cause behind its code.
    pub(super) fn told(&self) -> String {
        match self.code {
            Some(code) => format!("{code}: {}", self.cause),
            None => self.cause.clone(),
        }
    }
}

/// Outcome of a visit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    /// Whether nothing was wrong.
    pub(super) well: bool,
    /// The code of the cause.
    pub(super) code: Option<RefusalCode>,
    /// One line, with the code.
    pub(super) cause: String,
    /// One line.
    pub(super) remedy: String,
}

impl Verdict {
    /// The first trouble in the order of explanation; `notes` are what was odd and needs no cure.
    pub(super) fn of(troubles: &[Trouble], notes: &[String], ward: &Ward) -> Self {
        let Some(first) = troubles.iter().min() else {
            let cause = match notes {
                [] => "none".to_owned(),
                notes => one_line(&format!("none ({})", notes.join("; "))),
            };
            return Self { well: true, code: None, cause, remedy: "nothing".to_owned() };
        };
        let mut found = cure::of(first, ward);
        // A device that cannot ask cannot renew: that is the one thing to mend.
        let away = |one: &&Trouble| matches!(one, Trouble::ServiceAway(_) | Trouble::ServiceTls(_));
        let away = troubles.iter().find(away);
        if let (Trouble::Token(_, fault), Some(away)) = (first, away) {
            if fault.needs_provisioning() {
                let away = cure::of(away, ward);
                found.cause = format!("{}; and {}", found.cause, away.cause);
                found.remedy = away.remedy;
            }
        }
        let (cause, remedy) = (one_line(&found.told()), one_line(&found.remedy));
        Self { well: false, code: found.code, cause, remedy }
    }
}

/// On one line, with nothing in it that steers a terminal: words of servers stand in it.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests;
