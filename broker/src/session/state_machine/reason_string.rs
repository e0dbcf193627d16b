use tessera_token::refusal::RefusalCode;

use crate::codec::{Properties, PropertyId};

/// A reason string: the stable code and what to do about it.
pub(crate) fn reason_string(code: RefusalCode) -> Properties {
    let words = format!("{code}: {}", code.words());
    Properties::build().text(PropertyId::ReasonString, &words).finish().unwrap_or_default()
}
