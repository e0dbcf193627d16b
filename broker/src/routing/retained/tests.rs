use super::RetainedLimits;
use super::{Limit, Retained, Stored};
use crate::limits::{RETAINED_BYTES, RETAINED_MESSAGES};
use crate::message::Author;
use crate::message::{Message, Publisher};
use crate::persistence::Persistence;
use crate::routing::testing::*;
use std::sync::Arc;
use tessera_token::ids::DeviceId;
use tessera_token::topic::TopicFilter;

fn found(retained: &Retained, text: &str) -> Vec<String> {
    let found = retained.lookup(&tenant("acme"), &TopicFilter::parse(text).unwrap(), NOW);
    assert!(!found.cut);
    let mut topics: Vec<String> =
        found.messages.iter().map(|message| message.topic.as_str().to_owned()).collect();
    topics.sort();
    topics
}

fn remove_all(retained: &Retained, publisher: &str) -> usize {
    retained.remove_of(&tenant("acme"), &DeviceId::parse(publisher).unwrap(), |_| true)
}

fn store(names: &[&str]) -> Retained {
    let retained = Retained::new();
    for name in names {
        assert_eq!(retained.set(&message(name, "x"), NOW), Stored::Kept);
    }
    retained
}

#[test]
fn lookup_finds_exactly_what_the_filter_matches() {
    let names = ["a", "a/b", "a/b/c", "a/", "/a", "b", "$s/a", "a/$s"];
    let retained = store(&names);
    for text in [
        "#", "+", "a/#", "a/+", "+/b", "a/+/c", "/#", "+/+", "$s/#", "$s/+", "+/a", "a", "a/b",
        "none", "a/+/#",
    ] {
        let filter = TopicFilter::parse(text).unwrap();
        let mut wanted: Vec<&str> =
            names.iter().copied().filter(|name| filter.matches(&topic(name))).collect();
        wanted.sort_unstable();
        assert_eq!(found(&retained, text), wanted, "{text}");
    }
}

#[test]
fn the_newest_replaces_and_empty_deletes() {
    let retained = store(&["a", "b"]);
    retained.set(&message("a", "newer"), NOW);
    let filter = TopicFilter::parse("a").unwrap();
    let got = retained.lookup(&tenant("acme"), &filter, NOW);
    assert_eq!(got.messages[0].payload, "newer");
    assert_eq!(retained.set(&message("a", ""), NOW), Stored::Deleted);
    assert_eq!(retained.set(&message("never", ""), NOW), Stored::Deleted);
    assert_eq!(found(&retained, "#"), ["b"]);
    assert_eq!(retained.set(&message("b", ""), NOW), Stored::Deleted);
    assert_eq!(retained.size(), (0, 0));
}

#[test]
fn it_lives_no_longer_than_its_message_and_its_publishers_token() {
    let retained = Retained::new();
    let with = |name: &str, token: u64, message_for: Option<u64>| {
        let mut made: Message = message(name, "x");
        Arc::make_mut(&mut made.publisher).token_expires = NOW.plus(token);
        made.set_expires(message_for.map(|seconds| NOW.plus(seconds)));
        retained.set(&made, NOW)
    };
    assert_eq!(with("token", 10, None), Stored::Kept);
    assert_eq!(with("message", 100, Some(20)), Stored::Kept);
    assert_eq!(with("both", 30, Some(100)), Stored::Kept);
    assert_eq!(with("over", 100, Some(0)), Stored::Expired);
    let filter = TopicFilter::parse("#").unwrap();
    for (after, count) in [(9, 3), (10, 2), (19, 2), (20, 1), (29, 1), (30, 0)] {
        let live = retained.lookup(&tenant("acme"), &filter, NOW.plus(after)).messages.len();
        assert_eq!(live, count, "after {after} s");
    }
    assert_eq!(retained.sweep(NOW.plus(20), 100).len(), 2);
    assert_eq!(retained.size().0, 1);
    assert_eq!(retained.sweep(NOW.plus(30), 100), [(tenant("acme"), topic("both"))]);
    assert_eq!(retained.size(), (0, 0));
}

#[test]
fn what_is_over_when_it_comes_replaces_too() {
    let retained = store(&["message", "token", "other"]);
    let mut short = message("message", "new");
    short.set_expires(Some(NOW));
    let mut late = message("token", "new");
    late.publisher = Arc::new(Publisher { token_expires: NOW, ..(*late.publisher).clone() });
    for over in [short, late] {
        assert_eq!(retained.set(&over, NOW), Stored::Expired);
    }
    assert_eq!(found(&retained, "#"), ["other"]);
    assert_eq!(retained.size().0, 1);
}

#[test]
fn what_was_found_is_known_to_be_replaced_removed_or_over() {
    let retained = store(&["a", "b", "c"]);
    let mut timed = message("d", "x");
    timed.set_expires(Some(NOW.plus(10)));
    retained.set(&timed, NOW);
    let filter = TopicFilter::parse("#").unwrap();
    let found = retained.lookup(&tenant("acme"), &filter, NOW).messages;
    retained.set(&message("b", "x"), NOW);
    retained.set(&message("c", ""), NOW);
    for message in &found {
        let now = |after| retained.is_current(message, NOW.plus(after));
        let expected = match message.topic.as_str() {
            "a" => (true, true),
            "d" => (true, false),
            _ => (false, false),
        };
        assert_eq!((now(9), now(10)), expected, "{}", message.topic.as_str());
    }
}

#[test]
fn what_a_publisher_left_can_be_removed() {
    let retained = store(&["a/1", "a/2"]);
    let mut other = message("a/3", "x");
    Arc::make_mut(&mut other.publisher).author = Author::broker(DeviceId::parse("other").unwrap());
    retained.set(&other, NOW);
    let mut taken_over = message("a/2", "newer");
    taken_over.publisher = Arc::clone(&other.publisher);
    retained.set(&taken_over, NOW);
    assert_eq!(remove_all(&retained, "publisher"), 1);
    assert_eq!(found(&retained, "#"), ["a/2", "a/3"]);
    let mut foreign = message("a/1", "x");
    foreign.tenant = tenant("foreign");
    retained.set(&foreign, NOW);
    assert_eq!(remove_all(&retained, "other"), 2);
    assert_eq!(retained.size().0, 1);
}

#[test]
fn both_limits_refuse_and_leave_what_is_there() {
    let retained = Retained::new();
    for number in 0..RETAINED_MESSAGES {
        assert_eq!(retained.set(&message(&format!("a/{number}"), "x"), NOW), Stored::Kept);
    }
    assert_eq!(retained.set(&message("one/more", "x"), NOW), Stored::Full(Limit::Publisher));
    assert_eq!(retained.set(&message("a/7", "replaced"), NOW), Stored::Kept);
    let cut = retained.lookup(&tenant("acme"), &TopicFilter::parse("#").unwrap(), NOW);
    assert!(cut.cut && cut.messages.len() == crate::limits::RETAINED_PER_LOOKUP);
    remove_all(&retained, "publisher");
    assert_eq!(retained.size(), (0, 0));
    // A filter that matches nothing, and would look at more levels than one lookup may.
    for number in 0..RETAINED_MESSAGES {
        assert_eq!(retained.set(&message(&format!("a/{number}/b/c"), "x"), NOW), Stored::Kept);
    }
    let found =
        |text: &str| retained.lookup(&tenant("acme"), &TopicFilter::parse(text).unwrap(), NOW);
    let (wide, narrow) = (found("a/+/+/+/z"), found("a/7/+/c"));
    assert!(wide.cut && wide.messages.is_empty());
    assert!(!narrow.cut && narrow.messages.len() == 1);
    remove_all(&retained, "publisher");
    let big = vec![0u8; RETAINED_BYTES / 2];
    assert_eq!(retained.set(&message("big/1", big.clone()), NOW), Stored::Kept);
    assert_eq!(retained.set(&message("big/2", big.clone()), NOW), Stored::Full(Limit::Publisher));
    assert_eq!(retained.set(&message("big/1", big), NOW), Stored::Kept);
}

#[test]
fn what_is_refused_takes_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Persistence::open(folder.path()).unwrap();
    let (any, one) = ((usize::MAX, usize::MAX), (1, usize::MAX));
    let most = RetainedLimits { all: any, tenant: any, device: one };
    let retained = Retained::stored_in(Arc::clone(&keep), most);
    assert_eq!(retained.set(&message("a", "x"), NOW), Stored::Kept);
    for _ in 0..3 {
        assert_eq!(retained.set(&message("b", "x"), NOW), Stored::Full(Limit::Publisher));
    }
    assert_eq!(retained.set(&message("a", "y"), NOW), Stored::Kept);
    // Two messages, and the end of the first.
    assert_eq!((retained.inner.read().last_row, keep.last_commit()), (2, 3));
}
