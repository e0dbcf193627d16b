//! The outcome of a question to a guard.

use tessera_rules::rule::Action;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Step;

/// The outcome. The default lets it through.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Ruling {
    /// The code by which it is refused.
    pub(crate) refusal: Option<RefusalCode>,
    /// A rule that holds, when its match is told of.
    pub(crate) told: Option<Box<Told>>,
}

/// A rule whose match is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its name.
    pub(crate) rule: String,
    /// Its action.
    pub(crate) action: Action,
    /// How the device is to be held back from now on.
    pub(crate) step: Option<Step>,
}

impl Ruling {
    pub(super) fn refused(code: RefusalCode) -> Self {
        Self { refusal: Some(code), told: None }
    }
}
