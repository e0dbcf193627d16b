//! Topics as roles name them: how a topic in use stands to a line of a role, and what is wider than a topic.

/// How a topic in use stands to a line of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// The line allows it.
    Within,
    /// The line allows a part of it: the topic in use stands for several.
    Partly,
    /// The line allows nothing of it.
    Apart,
}

/// Compares a topic or filter in use, with the device's name taken out, with a line of a role.
pub(super) fn compare(used: &str, line: &str) -> Stands {
    let (mut used, mut line) = (used.split('/'), line.split('/'));
    let mut stands = Stands::Within;
    loop {
        match (used.next(), line.next()) {
            (None, None) | (_, Some("#")) => return stands,
            // `a/#` is `a` too.
            (None, Some(_)) => return Stands::Apart,
            (Some("#"), None) => return Stands::Partly,
            (Some(_), None) => return Stands::Apart,
            (Some("#"), Some(_)) => return Stands::Partly,
            (Some(level), Some(allowed)) if fits(level, allowed) => {}
            (Some("+"), Some(_)) => stands = Stands::Partly,
            (Some(_), Some(_)) => return Stands::Apart,
        }
    }
}

/// Whether a level of a line allows a level in use. An attribute has a value that the device had when it was let in; its own
/// name was taken out.
fn fits(level: &str, allowed: &str) -> bool {
    allowed == "+" || level == allowed || (is_value(allowed) && level != "+")
}

/// `{tenant}`, `{group}` and `{attr.NAME}`: placeholders that a topic in use shows by their values.
fn is_value(level: &str) -> bool {
    level.starts_with('{') && level.ends_with('}') && level != "{device}"
}

/// The topic as the line names it: values of placeholders have their names again.
pub(super) fn named(used: &str, line: &str) -> String {
    let mut allowed = line.split('/').map(Some).chain(std::iter::repeat(None));
    let levels = used.split('/').map(|level| match allowed.next().flatten() {
        Some(place) if is_value(place) => place,
        _ => level,
    });
    levels.collect::<Vec<_>>().join("/")
}

/// How exactly a line says what it allows: lines without wildcards first.
pub(super) fn exactness(line: &str) -> (usize, usize) {
    let wild = line.split('/').filter(|level| matches!(*level, "+" | "#")).count();
    (wild, usize::MAX - line.split('/').count())
}

/// All that has the first levels of a topic: `#` for none of them. `None` when the topic has no more levels than these.
pub(super) fn widened(topic: &str, levels: usize) -> Option<String> {
    topic.split('/').nth(levels)?;
    let first: Vec<&str> = topic.split('/').take(levels).collect();
    Some(if first.is_empty() { "#".to_owned() } else { format!("{}/#", first.join("/")) })
}

/// In how many levels two topics differ, or their numbers of levels when these differ; letters of another case count as half
/// a level.
pub(super) fn distance(used: &str, line: &str) -> Option<usize> {
    let count = |topic: &str| topic.split('/').count();
    if count(used) != count(line) {
        return None;
    }
    let levels = used.split('/').zip(line.split('/'));
    let differ = levels.map(|(level, allowed)| match () {
        () if fits(level, allowed) || allowed == "#" => 0,
        () if level.eq_ignore_ascii_case(allowed) => 1,
        () => 2,
    });
    Some(differ.sum())
}
