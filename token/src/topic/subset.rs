//! The one walk behind matching and the subset relation.

/// Whether filter `wide` covers `narrow`, a filter or a topic name.
///
/// A topic name is a filter without wildcards, so `covers(f, name)` is "f matches name".
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    if narrow.starts_with('$') && (wide.starts_with('+') || wide.starts_with('#')) {
        return false;
    }
    // `a/#` matches `a` too, but no topic is empty: at the very start `#` always takes a level.
    let narrow = match narrow {
        "#" => "+/#",
        "/#" => "/+/#",
        other => other,
    };
    let mut wide = wide.split('/');
    let mut narrow = narrow.split('/');
    loop {
        match (wide.next(), narrow.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(a), Some(b)) if a == b => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}
