//! Why a server is not ready: each part that is not as it should be, as `/readyz` tells it.

use serde_json::{json, Value};
use tessera_token::refusal::RefusalCode;

/// One part of a server that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Which: `docs/ready.md` has the list.
    pub part: &'static str,
    /// The stable code.
    pub code: RefusalCode,
    /// The fault, and the remedy.
    pub why: String,
}

impl Reason {
    /// In the words of the code.
    pub fn new(part: &'static str, code: RefusalCode) -> Self {
        Self::because(part, code, code.words())
    }

    /// In words of its own.
    pub fn because(part: &'static str, code: RefusalCode, why: impl Into<String>) -> Self {
        Self { part, code, why: why.into() }
    }
}

/// A list of them as JSON.
pub fn list(reasons: &[Reason]) -> Value {
    let one = |reason: &Reason| json!({ "part": reason.part, "code": reason.code.as_str(), "why": reason.why });
    Value::Array(reasons.iter().map(one).collect())
}
