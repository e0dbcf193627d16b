//! The stable names of actions and modes, in files and in CBOR.

use std::fmt;

use super::{Action, Mode};

impl Action {
    /// Every action, from the mildest on.
    pub const ALL: [Self; 5] =
        [Self::Note, Self::Clamp, Self::StepUp, Self::Quarantine, Self::Deny];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Clamp => "clamp",
            Self::StepUp => "step_up",
            Self::Quarantine => "quarantine",
            Self::Deny => "deny",
        }
    }

    /// The action with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }

    /// Whether it cuts devices off.
    pub const fn cuts_off(self) -> bool {
        matches!(self, Self::Quarantine | Self::Deny)
    }
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Shadow, Self::Enforce];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        }
    }

    /// The mode with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
