//! Syntax of topic names and filters (MQTT 5 section 4.7, 4.8.2). Rights and matching are elsewhere.

use super::error::{CodecError, ReasonCode, Result};
use crate::limits::MAX_TOPIC_LEVELS;

/// A name to publish to: at least one character, no wildcard, a bounded number of levels.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(CodecError::malformed("topic_name_empty"));
    }
    let mut levels = 1usize;
    for byte in name.bytes() {
        match byte {
            b'+' | b'#' => return Err(CodecError::malformed("topic_name_wildcard")),
            b'/' => levels += 1,
            _ => {}
        }
    }
    if levels > MAX_TOPIC_LEVELS {
        return Err(CodecError::with(ReasonCode::TOPIC_NAME_INVALID, "topic_name_levels"));
    }
    Ok(())
}

/// A filter to subscribe to, with or without `$share/<name>/`. Tells whether it is shared.
pub(super) fn check_filter(filter: &str) -> Result<bool> {
    let Some(shared) = shared_part(filter) else {
        check_plain_filter(filter)?;
        return Ok(false);
    };
    let Some((name, inner)) = shared.split_once('/') else {
        return Err(CodecError::malformed("share_without_filter"));
    };
    if name.is_empty() || name.contains(['+', '#']) {
        return Err(CodecError::malformed("share_name_invalid"));
    }
    check_plain_filter(inner)?;
    Ok(true)
}

fn shared_part(filter: &str) -> Option<&str> {
    if filter == "$share" {
        return Some("");
    }
    filter.strip_prefix("$share/")
}

fn check_plain_filter(filter: &str) -> Result<()> {
    if filter.is_empty() {
        return Err(CodecError::malformed("topic_filter_empty"));
    }
    let mut closed = false;
    for (index, level) in filter.split('/').enumerate() {
        if index >= MAX_TOPIC_LEVELS {
            return Err(CodecError::with(ReasonCode::TOPIC_FILTER_INVALID, "topic_filter_levels"));
        }
        if closed {
            return Err(CodecError::malformed("topic_filter_hash_not_last"));
        }
        closed = level == "#";
        if level.len() > 1 && level.contains(['+', '#']) {
            return Err(CodecError::malformed("topic_filter_wildcard_in_level"));
        }
    }
    Ok(())
}
