//! Lines that a role could do without: its lines against the topics that its devices used. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::shape::{self, Stands};
use crate::limits::{ADVICE_LINES, ADVICE_VALUES, ROLE_TEMPLATES};
use crate::records::uses::{RoleUse, Usage};
use crate::records::{RoleClass, RoleRecord};

/// A topic, and how it was used by the devices of the role.
pub(crate) type Seen = ((Usage, String), RoleUse);

/// The advice about a role.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) lines: Vec<LineAdvice>,
    pub(crate) refused: Vec<Refusal>,
}

/// The advice about a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineAdvice {
    /// `publish` or `subscribe`.
    pub(crate) usage: Usage,
    pub(crate) line: String,
    pub(crate) verdict: Verdict,
    /// Of the topic that most devices use: devices that use several topics of the line are not known to be the same.
    pub(crate) devices: u64,
    pub(crate) count: u64,
    pub(crate) last: Option<u64>,
}

/// A line is needed, or could be narrower, or could go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its devices need it as it is.
    Keep,
    /// Its devices use so many topics of it, or such wide ones, that no narrower lines would do.
    KeepWide,
    /// These would do.
    Narrow(Vec<String>),
    /// None of its devices used it.
    Remove,
}

/// A topic that devices were refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) usage: Usage,
    pub(crate) topic: String,
    pub(crate) of: RoleUse,
    /// The line of the role that is nearly the same.
    pub(crate) nearest: Option<String>,
}

impl Advice {
    /// The lines of this permission that would do.
    pub(crate) fn proposed(&self, usage: Usage) -> Vec<String> {
        let lines = self.lines.iter().filter(|line| line.usage == usage);
        let mut proposed: Vec<String> = Vec::new();
        for line in lines {
            let these: &[String] = match &line.verdict {
                Verdict::Keep | Verdict::KeepWide => std::slice::from_ref(&line.line),
                Verdict::Narrow(lines) => lines,
                Verdict::Remove => &[],
            };
            for line in these {
                if !proposed.contains(line) {
                    proposed.push(line.clone());
                }
            }
        }
        proposed
    }

    /// Whether the role would change.
    pub(crate) fn changes(&self) -> bool {
        let stays = |line: &LineAdvice| matches!(line.verdict, Verdict::Keep | Verdict::KeepWide);
        !self.lines.iter().all(stays)
    }
}

/// Compares the lines of a role with what was seen since `from`.
pub(crate) fn advise(role: &RoleRecord, seen: &[Seen], from: u64) -> Advice {
    let RoleRecord { class, publish, subscribe, .. } = role;
    let seen: Vec<&Seen> = seen.iter().filter(|(_, of)| of.last >= from).collect();
    let both = publish.iter().map(|line| (Usage::Publish, line));
    let both = both.chain(subscribe.iter().map(|line| (Usage::Subscribe, line)));
    let mut lines: Vec<LineAdvice> =
        both.map(|(usage, line)| of_line(*class, usage, line, &seen)).collect();
    keep_longest(&mut lines);
    let refused = seen.iter().filter(|((usage, _), _)| usage.is_refused());
    let mut refused: Vec<Refusal> = refused
        .map(|((usage, topic), of)| {
            let lines = if *usage == Usage::PublishRefused { publish } else { subscribe };
            let nearest = nearest(topic, lines);
            Refusal { usage: *usage, topic: topic.clone(), of: of.clone(), nearest }
        })
        .collect();
    refused.sort_by_key(|one| std::cmp::Reverse(one.of.devices));
    Advice { lines, refused }
}

/// A role holds a number of lines: the line that would become most stays, until there are no more.
fn keep_longest(lines: &mut [LineAdvice]) {
    let length = |line: &LineAdvice| match &line.verdict {
        Verdict::Keep | Verdict::KeepWide => 1,
        Verdict::Narrow(to) => to.len(),
        Verdict::Remove => 0,
    };
    while lines.iter().map(length).sum::<usize>() > ROLE_TEMPLATES {
        let Some(longest) = lines.iter_mut().max_by_key(|line| length(line)) else { return };
        if length(longest) <= 1 {
            return;
        }
        longest.verdict = Verdict::KeepWide;
    }
}

fn of_line(class: RoleClass, usage: Usage, line: &str, seen: &[&Seen]) -> LineAdvice {
    let mut advice = LineAdvice {
        usage,
        line: line.to_owned(),
        verdict: Verdict::Remove,
        devices: 0,
        count: 0,
        last: None,
    };
    let (mut within, mut is_wide) = (BTreeSet::new(), false);
    for ((_, topic), of) in seen.iter().filter(|((as_, _), _)| *as_ == usage) {
        match shape::compare(topic, line) {
            Stands::Apart => continue,
            Stands::Within => {
                within.insert(topic.as_str());
            }
            Stands::Partly => is_wide = true,
        }
        advice.devices = advice.devices.max(of.devices);
        advice.count = advice.count.saturating_add(of.count);
        advice.last = advice.last.max(Some(of.last));
    }
    advice.verdict = match (is_wide, within.is_empty()) {
        (false, true) => Verdict::Remove,
        (true, _) if has_wildcard(line) => Verdict::KeepWide,
        _ if has_wildcard(line) => narrowed(class, line, &within),
        _ => Verdict::Keep,
    };
    advice
}

fn has_wildcard(line: &str) -> bool {
    line.split('/').any(|level| matches!(level, "+" | "#"))
}

/// The fewest lines within this one that allow what was used, when they are few.
fn narrowed(class: RoleClass, line: &str, used: &BTreeSet<&str>) -> Verdict {
    let topics: Vec<Vec<&str>> = used.iter().map(|topic| topic.split('/').collect()).collect();
    let topics: Vec<&[&str]> = topics.iter().map(Vec::as_slice).collect();
    let lines: BTreeSet<String> =
        fold(class, &topics).into_iter().map(|levels| levels.join("/")).collect();
    let holds = |one: &String| shape::compare(one, line) == Stands::Within;
    if lines.len() > ADVICE_LINES || !lines.iter().all(holds) {
        return Verdict::KeepWide;
    }
    match lines.iter().eq([line]) {
        true => Verdict::Keep,
        false => Verdict::Narrow(lines.into_iter().collect()),
    }
}

/// Topics as few filters: where a level has too many values, it may be any. Roles of devices have `#` for that, others `+`.
fn fold<'a>(class: RoleClass, topics: &[&[&'a str]]) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    let mut by_value: BTreeMap<&str, Vec<&[&str]>> = BTreeMap::new();
    for topic in topics {
        match topic.split_first() {
            None => found.push(Vec::new()),
            Some((first, rest)) => by_value.entry(first).or_default().push(rest),
        }
    }
    if by_value.remove("#").is_some() {
        found.push(vec!["#"]);
    }
    if by_value.len() > ADVICE_VALUES || by_value.contains_key("+") {
        if class != RoleClass::Service {
            found.retain(Vec::is_empty);
            found.push(vec!["#"]);
            return found;
        }
        let rest: Vec<&[&str]> = by_value.into_values().flatten().collect();
        by_value = BTreeMap::from([("+", rest)]);
    }
    for (value, rest) in by_value {
        found.extend(fold(class, &rest).into_iter().map(|mut levels| {
            levels.insert(0, value);
            levels
        }));
    }
    found
}

/// The line that is at most a level away from a refused topic.
fn nearest(topic: &str, lines: &[String]) -> Option<String> {
    let near = lines.iter().filter_map(|line| Some((shape::distance(topic, line)?, line)));
    let (distance, line) = near.min()?;
    (distance <= 2).then(|| line.clone())
}

#[cfg(test)]
mod tests;
