//! A rule as deterministic CBOR for the trust feed. One rule has one form: bytes that would be written in another way are
//! refused.
//!
//! `["tessera-rule", language, id, version, on, [tenant, [role, …], [group, …], [device, …], topic prefix], text, action,
//! mode, not_before, expires, author, reason]`, where `on`, `action` and `mode` are their names.

use std::fmt;

use tessera_token::cbor::{CborError, Reader, Writer};
use tessera_token::time::UnixSeconds;

use super::{Action, Draft, Mode, Rule, RuleError, Selector};
use crate::attributes::On;
use crate::language::VERSION;
use crate::limits;

const KIND: &str = "tessera-rule";

/// Why bytes are no rule that this reader applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Not deterministic CBOR of this form.
    Form,
    /// Another version of the language: the reader goes on, reports `rule_unsupported` and does not apply the rule.
    Unsupported {
        /// The version.
        language: u64,
    },
    /// The rule itself is wrong.
    Rule(RuleError),
}

impl WireError {
    /// The stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Form => "rule_form",
            Self::Unsupported { .. } => "rule_unsupported",
            Self::Rule(error) => error.code(),
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("the bytes are no rule in deterministic CBOR"),
            Self::Unsupported { language } => write!(
                f,
                "the rule is written in version {language} of the language, and this program reads version {VERSION}: \
                 update it; until then the rule is not applied here"
            ),
            Self::Rule(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WireError {}

impl From<CborError> for WireError {
    fn from(_: CborError) -> Self {
        Self::Form
    }
}

/// The bytes of a rule.
pub(super) fn encode(draft: &Draft) -> Vec<u8> {
    let mut w = Writer::new();
    w.array(13).text(KIND).uint(VERSION).text(&draft.id).uint(draft.version);
    w.text(draft.on.as_str());
    let selector = &draft.selector;
    w.array(5).text(&selector.tenant);
    for list in [&selector.roles, &selector.groups, &selector.devices] {
        w.array(list.len());
        for name in list {
            w.text(name);
        }
    }
    w.text(&selector.topic_prefix);
    w.text(&draft.text).text(draft.action.as_str()).text(draft.mode.as_str());
    w.uint(draft.not_before.get()).uint(draft.expires.get());
    w.text(&draft.author).text(&draft.reason);
    w.finish()
}

fn names(r: &mut Reader<'_>) -> Result<Vec<String>, WireError> {
    let count = r.array()?;
    if count > limits::SELECTED {
        return Err(WireError::Form);
    }
    (0..count).map(|_| Ok(r.text()?.to_owned())).collect()
}

fn known<T>(value: Option<T>) -> Result<T, WireError> {
    value.ok_or(WireError::Form)
}

impl Rule {
    /// The bytes of the rule for the trust feed.
    pub fn to_cbor(&self) -> Vec<u8> {
        encode(&self.draft)
    }

    /// Reads the bytes of a rule.
    ///
    /// # Errors
    /// [`WireError`]; a rule of another version of the language is [`WireError::Unsupported`], whatever follows in it.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::strict(bytes, limits::WIRE_BYTES)?;
        let members = r.array()?;
        if r.text()? != KIND {
            return Err(WireError::Form);
        }
        let language = r.uint()?;
        if language != VERSION {
            return Err(WireError::Unsupported { language });
        }
        if members != 13 {
            return Err(WireError::Form);
        }
        let (id, version) = (r.text()?.to_owned(), r.uint()?);
        let on = known(On::parse(r.text()?))?;
        r.array_of(5)?;
        let tenant = r.text()?.to_owned();
        let (roles, groups, devices) = (names(&mut r)?, names(&mut r)?, names(&mut r)?);
        let topic_prefix = r.text()?.to_owned();
        let draft = Draft {
            id,
            version,
            on,
            selector: Selector { tenant, roles, groups, devices, topic_prefix },
            text: r.text()?.to_owned(),
            action: known(Action::parse(r.text()?))?,
            mode: known(Mode::parse(r.text()?))?,
            not_before: UnixSeconds::new(r.uint()?),
            expires: UnixSeconds::new(r.uint()?),
            author: r.text()?.to_owned(),
            reason: r.text()?.to_owned(),
        };
        r.end()?;
        let rule = Self::new(draft).map_err(WireError::Rule)?;
        // Lists that are not in order would be another form of the same rule.
        match rule.to_cbor() == bytes {
            true => Ok(rule),
            false => Err(WireError::Form),
        }
    }
}
