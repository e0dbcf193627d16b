//! Filters and scopes against brute force: matching level by level, and "covers" by looking for a topic that the one
//! filter matches and the other does not. Deeper and stranger than the exhaustive test of four levels in `token/`.

use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::topic::{Subscription, TopicFilter, TopicName};

use super::numbered;
use crate::draw::Draw;
use crate::signal::note;

const LEVELS: [&str; 10] = ["a", "b", "", "+", "#", "$a", "$share", "a+", "ä", "$SYS"];
const PERMISSIONS: [Permission; 3] = [Permission::Publish, Permission::Subscribe, Permission::Both];

/// Runs one input.
pub fn target(data: &[u8]) {
    let mut draw = Draw::new(data);
    let entries: Vec<ScopeEntry> =
        (0..1 + draw.below(4)).filter_map(|_| entry(&mut draw)).collect();
    let wanted: Vec<String> = (0..1 + draw.below(4)).map(|_| text(&mut draw)).collect();
    let Ok(scope) = Scope::new(entries) else { panic!("few entries are too many") };
    through_aif(&scope);
    for text in &wanted {
        parse(text);
        if let Ok(filter) = TopicFilter::parse(text) {
            one_filter(&scope, &filter);
        }
        if let Ok(name) = TopicName::parse(text) {
            one_name(&scope, &name);
        }
    }
    let other: Vec<ScopeEntry> = (0..draw.below(4)).filter_map(|_| entry(&mut draw)).collect();
    if let Ok(other) = Scope::new(other) {
        assert_eq!(scope.within(&other), within(&scope, &other), "{scope:?} within {other:?}");
    }
}

fn entry(draw: &mut Draw<'_>) -> Option<ScopeEntry> {
    let permission = *draw.pick(&PERMISSIONS);
    Some(ScopeEntry { filter: TopicFilter::parse(&text(draw)).ok()?, permission })
}

fn text(draw: &mut Draw<'_>) -> String {
    if draw.one_in(10) {
        return String::from_utf8_lossy(draw.bytes(40)).into_owned();
    }
    let levels: Vec<&str> = (0..1 + draw.below(7)).map(|_| *draw.pick(&LEVELS)).collect();
    levels.join("/")
}

fn through_aif(scope: &Scope) {
    let aif = scope.to_aif();
    assert!(super::cbor::strict(&aif));
    assert_eq!(Scope::from_aif(&aif).as_ref(), Ok(scope), "AIF came back different");
}

/// Words that are accepted as a filter, a name or a subscription, by the letter of MQTT 5 sections 4.7 and 4.8.2.
fn parse(text: &str) {
    let plain = is_filter(text);
    assert_eq!(TopicFilter::parse(text).is_ok(), plain, "{text:?} as a filter");
    let name = plain && !text.contains(['+', '#']);
    assert_eq!(TopicName::parse(text).is_ok(), name, "{text:?} as a name");
    let shared = text == "$share" || text.starts_with("$share/");
    let read = Subscription::parse(text);
    if !shared {
        assert_eq!(read.is_ok(), plain, "{text:?} as a subscription");
        assert!(read.is_ok_and(|s| s.share.is_none() && s.filter.as_str() == text) || !plain);
        return;
    }
    let rest = text.strip_prefix("$share/").unwrap_or_default();
    let good = rest.split_once('/').is_some_and(|(share, filter)| {
        is_filter(share) && !share.contains(['+', '#']) && is_filter(filter)
    });
    note(("share", good));
    assert_eq!(read.is_ok(), good, "{text:?} as a shared subscription");
    if let Ok(subscription) = read {
        let share = subscription.share.as_deref().unwrap_or_default();
        assert_eq!(format!("$share/{share}/{}", subscription.filter), text);
    }
}

fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let placed = levels.iter().enumerate().all(|(at, level)| {
        let wild = level.contains(['+', '#']);
        !wild || *level == "+" || (*level == "#" && at + 1 == levels.len())
    });
    placed
        && !text.is_empty()
        && text.len() <= 1024
        && levels.len() <= 32
        && !text.chars().any(char::is_control)
}

fn one_filter(scope: &Scope, filter: &TopicFilter) {
    let mut any = false;
    for entry in scope.entries() {
        let covered = covered(&entry.filter, filter);
        assert_eq!(entry.filter.covers(filter), covered, "{} covers {filter}", entry.filter);
        any |= covered && entry.permission.subscribe();
        note((covered, shape(&entry.filter), shape(filter)));
    }
    assert_eq!(scope.may_subscribe(filter), any, "{scope:?} on {filter}");
}

fn one_name(scope: &Scope, name: &TopicName) {
    let hit = |allowed: fn(Permission) -> bool| {
        scope
            .entries()
            .iter()
            .any(|e| allowed(e.permission) && matches(e.filter.as_str(), name.as_str()))
    };
    for entry in scope.entries() {
        assert_eq!(
            entry.filter.matches(name),
            matches(entry.filter.as_str(), name.as_str()),
            "{} on {name}",
            entry.filter
        );
    }
    assert_eq!(scope.may_publish(name), hit(Permission::publish), "{scope:?} on {name}");
    assert_eq!(scope.may_receive(name), hit(Permission::subscribe), "{scope:?} on {name}");
}

/// Kind of filter, for the signal.
fn shape(filter: &TopicFilter) -> (usize, bool, bool, bool) {
    let text = filter.as_str();
    (
        text.matches('/').count().min(4),
        text.contains('+'),
        text.ends_with('#'),
        text.starts_with('$'),
    )
}

/// MQTT 5 section 4.7, on slices of levels.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let f: Vec<&str> = filter.split('/').collect();
    let t: Vec<&str> = topic.split('/').collect();
    if topic.starts_with('$') && matches!(f[0], "+" | "#") {
        return false;
    }
    let same = |f: &[&str]| f.iter().zip(&t).all(|(a, b)| *a == "+" || a == b);
    match f.split_last() {
        Some((&"#", fixed)) => t.len() >= fixed.len() && same(fixed),
        _ => f.len() == t.len() && same(&f),
    }
}

/// Whether no topic is matched by `narrow` alone. A level without a name stands for every wildcard: it is the
/// hardest to match. `#` is tried with every number of levels that could make a difference.
fn covered(wide: &TopicFilter, narrow: &TopicFilter) -> bool {
    const NOBODY: &str = "a level that nobody names";
    let fixed: Vec<&str> = narrow
        .as_str()
        .split('/')
        .filter(|level| *level != "#")
        .map(|level| if level == "+" { NOBODY } else { level })
        .collect();
    let open = narrow.as_str().split('/').next_back() == Some("#");
    let more = if open { wide.as_str().split('/').count() + 2 } else { 0 };
    (0..=more).all(|more| {
        let topic = [fixed.clone(), vec![NOBODY; more]].concat().join("/");
        topic.is_empty() || !matches(narrow.as_str(), &topic) || matches(wide.as_str(), &topic)
    })
}

fn within(scope: &Scope, other: &Scope) -> bool {
    let wants: [fn(Permission) -> bool; 2] = [Permission::publish, Permission::subscribe];
    scope.entries().iter().all(|mine| {
        wants.iter().all(|wants| {
            !wants(mine.permission)
                || other
                    .entries()
                    .iter()
                    .any(|o| wants(o.permission) && covered(&o.filter, &mine.filter))
        })
    })
}

/// Tapes that name every level in every place.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    numbered((0..LEVELS.len() as u8).flat_map(|level| {
        (0..4u8).map(move |length| {
            let filter = [vec![0, length], vec![level; usize::from(length) + 1]].concat();
            [vec![1, level % 3], filter.clone(), vec![1], filter.clone(), vec![1, 0], filter]
                .concat()
        })
    }))
}
