//! A rule: a condition, the devices that it is for, its action, and its life.

use std::fmt;

use tessera_token::hash::sha256;
use tessera_token::ids::{DeviceId, GroupId, IdError, RoleId, TenantId};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicError;

use crate::attributes::{Attributes, Event, On};
use crate::language::{Program, TextError, VERSION};
use crate::limits;

mod check;
pub mod file;
mod names;
#[cfg(test)]
mod tests;
pub mod wire;

/// A rule as it is written, before it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The name of the rule within its tenant.
    pub id: String,
    /// The version of the rule: a change has a greater one.
    pub version: u64,
    /// The event.
    pub on: On,
    /// The devices and topics that it is for.
    pub selector: Selector,
    /// The condition.
    pub text: String,
    /// The act that follows when it holds.
    pub action: Action,
    /// Whether it is done, or only counted.
    pub mode: Mode,
    /// The first second of its life.
    pub not_before: UnixSeconds,
    /// The first second after its life.
    pub expires: UnixSeconds,
    /// The person or program that wrote it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// The devices and topics of a rule. A list that is empty picks all; a device has to be picked by each list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The tenant.
    pub tenant: String,
    /// Roles.
    pub roles: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Devices.
    pub devices: Vec<String>,
    /// The begin of the topic of a publish, or of the filter of a subscribe; empty for all.
    pub topic_prefix: String,
}

impl Selector {
    /// Whether it picks the event, by the letters of the members. A set answers the same by bits.
    pub fn picks(&self, attributes: &Attributes<'_>) -> bool {
        let session = attributes.session;
        let holds = |list: &[String], name: &str| list.is_empty() || list.iter().any(|n| n == name);
        self.tenant == session.tenant
            && holds(&self.roles, session.role)
            && holds(&self.groups, session.group)
            && holds(&self.devices, session.device)
            && reaches(&self.topic_prefix, attributes)
    }

    /// Whether it picks less than the tenant.
    pub fn is_narrow(&self) -> bool {
        let lists = [&self.roles, &self.groups, &self.devices];
        lists.iter().any(|list| !list.is_empty()) || !self.topic_prefix.is_empty()
    }
}

/// Whether the topic begins with the prefix. A filter with wildcards may reach such topics when its letters up to the first
/// wildcard and the prefix agree as far as both go: a subscription to `#` must not go past a rule for `d/`.
#[inline]
pub(crate) fn reaches(prefix: &str, attributes: &Attributes<'_>) -> bool {
    let place = attributes.place();
    if place.starts_with(prefix) {
        return true;
    }
    let is_filter = matches!(attributes.event, Event::Subscribe(_));
    let wildcard = is_filter.then(|| place.find(['+', '#'])).flatten();
    wildcard.and_then(|at| place.get(..at)).is_some_and(|letters| prefix.starts_with(letters))
}

/// The act of a rule, from the mildest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is noted in the log and the audit.
    Note,
    /// The rate of the device is held down.
    Clamp,
    /// The device has to prove its key anew.
    StepUp,
    /// The device reaches its refresh and management topics alone.
    Quarantine,
    /// The event is refused.
    Deny,
}

/// Whether an action is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is counted alone.
    Shadow,
    /// It is done.
    Enforce,
}

/// A rule that was checked: it can be put into a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    draft: Draft,
    program: Program,
}

/// Why a draft is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// The text.
    Text(TextError),
    /// A member that is no name.
    Name {
        /// The member.
        member: &'static str,
        /// Its value.
        value: String,
        /// The reason.
        why: IdError,
    },
    /// The topic prefix.
    Topic(TopicError),
    /// A member that is empty, too long, or has control characters.
    Words {
        /// The member.
        member: &'static str,
        /// The most bytes.
        most: usize,
    },
    /// A list of the selector with more than [`limits::SELECTED`].
    Selected(&'static str),
    /// A topic prefix of a rule for connects.
    PrefixOnConnect,
    /// An action that cuts devices off, for a whole tenant.
    TooWide(Action),
    /// It ends before it begins, or lives too long.
    Life,
    /// It is larger than [`limits::WIRE_BYTES`].
    TooLarge(usize),
}

impl RuleError {
    /// The stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Text(error) => error.problem.code(),
            Self::Name { .. } => "rule_name",
            Self::Topic(_) => "rule_topic",
            Self::Words { .. } => "rule_words",
            Self::Selected(_) => "rule_selector_too_long",
            Self::PrefixOnConnect => "rule_prefix_on_connect",
            Self::TooWide(_) => "rule_too_wide",
            Self::Life => "rule_life",
            Self::TooLarge(_) => "rule_too_large",
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(error) => error.fmt(f),
            Self::Name { member, value, why } => write!(f, "{member} is {value:?}: {why}"),
            Self::Topic(error) => write!(f, "selector.topic_prefix: {error}"),
            Self::Words { member, most } => {
                write!(f, "{member} needs 1 to {most} bytes on one line")
            }
            Self::Selected(member) => write!(
                f,
                "{member} has more than {} entries: select by group or role, or split the rule",
                limits::SELECTED
            ),
            Self::PrefixOnConnect => f.write_str(
                "a rule for connects has no topic: leave selector.topic_prefix out, or use will_topic in the text",
            ),
            Self::TooWide(action) => write!(
                f,
                "the action {action} needs a selector that is narrower than the tenant: name roles, groups, devices or a \
                 topic_prefix"
            ),
            Self::Life => write!(
                f,
                "expires must lie after not_before, by at most {} days",
                limits::LIFE_SECONDS / 86_400
            ),
            Self::TooLarge(bytes) => write!(
                f,
                "the rule has {bytes} bytes as CBOR, and {} are possible: select by group or role, or split it",
                limits::WIRE_BYTES
            ),
        }
    }
}

impl std::error::Error for RuleError {}

impl Rule {
    /// Checks a draft.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn new(draft: Draft) -> Result<Self, RuleError> {
        let draft = check::check(draft)?;
        let program = Program::compile(&draft.text, draft.on).map_err(RuleError::Text)?;
        let bytes = wire::encode(&draft).len();
        match bytes <= limits::WIRE_BYTES {
            true => Ok(Self { draft, program }),
            false => Err(RuleError::TooLarge(bytes)),
        }
    }

    /// The members, with the lists of the selector in order.
    #[inline]
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// The compiled text.
    #[inline]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The hash of what it does: event, selector, condition and action. Forms that differ in version, mode, life or words
    /// have the same.
    pub fn substance(&self) -> [u8; 32] {
        let plain = Draft {
            version: 0,
            mode: Mode::Shadow,
            not_before: UnixSeconds::new(0),
            expires: UnixSeconds::new(0),
            author: String::new(),
            reason: String::new(),
            text: self.program.to_string(),
            ..self.draft.clone()
        };
        sha256(&wire::encode(&plain))
    }

    /// The version of the language that it is written in.
    pub fn language(&self) -> u64 {
        VERSION
    }

    /// Whether it lives at this time.
    #[inline]
    pub fn lives_at(&self, now: UnixSeconds) -> bool {
        self.draft.not_before <= now && now < self.draft.expires
    }
}
