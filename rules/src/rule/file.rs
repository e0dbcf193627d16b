//! A rule as a file for people: TOML or JSON with the same members, read by the caller's decoder.

use std::fmt;

use serde::{Deserialize, Serialize};
use tessera_token::time::UnixSeconds;

use super::{Action, Draft, Mode, Selector};
use crate::attributes::On;
use crate::language::VERSION;

/// The members of a file. Unknown ones are refused: a slip of the pen must not make a rule wider.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// The version of the language.
    #[serde(default = "language")]
    pub language: u64,
    /// See [`Draft`], for all further members.
    pub id: String,
    /// The version of the rule.
    pub version: u64,
    /// `connect`, `publish` or `subscribe`.
    pub on: String,
    /// The condition.
    pub text: String,
    /// `note`, `clamp`, `step_up`, `quarantine` or `deny`.
    pub action: String,
    /// `shadow` or `enforce`.
    #[serde(default = "shadow")]
    pub mode: String,
    /// The begin.
    pub not_before: Moment,
    /// The end.
    pub expires: Moment,
    /// The author.
    pub author: String,
    /// The reason.
    pub reason: String,
    /// The selector.
    pub selector: SelectorFile,
}

/// The selector of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectorFile {
    /// The tenant.
    pub tenant: String,
    /// Roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Devices.
    #[serde(default)]
    pub devices: Vec<String>,
    /// The begin of topics.
    #[serde(default)]
    pub topic_prefix: String,
}

/// A moment of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a moment is seconds since 1970, or a text such as \"2026-11-01\" or \"2026-11-01T10:00:00Z\""
)]
pub enum Moment {
    /// Seconds since 1970.
    Seconds(u64),
    /// A date, with or without a time.
    Text(String),
}

fn language() -> u64 {
    VERSION
}

fn shadow() -> String {
    Mode::Shadow.as_str().to_owned()
}

/// Why the members of a file are no draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// The version of the language is another.
    Language(u64),
    /// A member has a value that it cannot have.
    Value {
        /// The member.
        member: &'static str,
        /// Its value.
        value: String,
        /// The values that it can have.
        values: String,
    },
    /// A moment that is none.
    Moment {
        /// The member.
        member: &'static str,
        /// The reason.
        why: String,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Language(version) => write!(
                f,
                "the rule is written in version {version} of the language, and this program reads version {VERSION}: use \
                 a program of the same version"
            ),
            Self::Value { member, value, values } => {
                write!(f, "{member} is {value:?}: use {values}")
            }
            Self::Moment { member, why } => write!(f, "{member}: {why}"),
        }
    }
}

impl std::error::Error for FileError {}

impl RuleFile {
    /// The draft. `moment` reads a date as seconds since 1970, as the caller reads dates elsewhere.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn into_draft(
        self,
        moment: impl Fn(&str) -> Result<u64, String>,
    ) -> Result<Draft, FileError> {
        if self.language != VERSION {
            return Err(FileError::Language(self.language));
        }
        let read = |member, value: &Moment| match value {
            Moment::Seconds(seconds) => Ok(UnixSeconds::new(*seconds)),
            Moment::Text(text) => match moment(text) {
                Ok(seconds) => Ok(UnixSeconds::new(seconds)),
                Err(why) => Err(FileError::Moment { member, why }),
            },
        };
        let (not_before, expires) =
            (read("not_before", &self.not_before)?, read("expires", &self.expires)?);
        let names = |all: &[&str]| all.join(", ");
        let SelectorFile { tenant, roles, groups, devices, topic_prefix } = self.selector;
        Ok(Draft {
            on: On::parse(&self.on)
                .ok_or_else(|| wrong("on", &self.on, names(&On::ALL.map(On::as_str))))?,
            action: Action::parse(&self.action).ok_or_else(|| {
                wrong("action", &self.action, names(&Action::ALL.map(Action::as_str)))
            })?,
            mode: Mode::parse(&self.mode)
                .ok_or_else(|| wrong("mode", &self.mode, names(&Mode::ALL.map(Mode::as_str))))?,
            id: self.id,
            version: self.version,
            selector: Selector { tenant, roles, groups, devices, topic_prefix },
            text: self.text,
            not_before,
            expires,
            author: self.author,
            reason: self.reason,
        })
    }
}

fn wrong(member: &'static str, value: &str, values: String) -> FileError {
    FileError::Value { member, value: value.chars().take(64).collect(), values }
}

impl From<&Draft> for RuleFile {
    fn from(draft: &Draft) -> Self {
        let Selector { tenant, roles, groups, devices, topic_prefix } = draft.selector.clone();
        Self {
            language: VERSION,
            id: draft.id.clone(),
            version: draft.version,
            on: draft.on.as_str().to_owned(),
            text: draft.text.clone(),
            action: draft.action.as_str().to_owned(),
            mode: draft.mode.as_str().to_owned(),
            not_before: Moment::Seconds(draft.not_before.get()),
            expires: Moment::Seconds(draft.expires.get()),
            author: draft.author.clone(),
            reason: draft.reason.clone(),
            selector: SelectorFile { tenant, roles, groups, devices, topic_prefix },
        }
    }
}
