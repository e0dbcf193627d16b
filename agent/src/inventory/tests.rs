use std::time::Duration;

use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;

use super::{Book, Operation};
use crate::limits::{
    INVENTORY_DEVICES, INVENTORY_EVERY, INVENTORY_FIRST, INVENTORY_LINES, INVENTORY_REFUSED,
    TOPIC_BYTES,
};

const START: Duration = Duration::from_secs(7);

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn device(name: &str) -> DeviceId {
    name.parse().unwrap()
}

/// The lines that are due, in words.
fn told(book: &mut Book, now: Duration) -> Vec<String> {
    let taken = book.take(now, usize::MAX);
    let lines = taken.iter().flat_map(|of| {
        of.uses.iter().map(move |one| {
            let code = one.refused.map(|code| format!(" {code}")).unwrap_or_default();
            let operation = one.operation.as_str();
            format!("{} {operation} {} {}{code}", of.device, one.topic, one.count)
        })
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

#[test]
fn a_device_is_told_soon_after_its_first_topic_and_then_once_an_hour() {
    let (mut book, of, one) = (Book::default(), tenant("acme"), device("d-1"));
    let publish = |book: &mut Book, topic: &str, now| {
        book.used((&of, &one), (Operation::Publish, topic), 2, now);
    };
    publish(&mut book, "d/d-1/up", START);
    publish(&mut book, "d/d-1/up", START);
    assert!(told(&mut book, START + INVENTORY_FIRST - Duration::from_millis(1)).is_empty());
    let due = START + INVENTORY_FIRST;
    assert_eq!(told(&mut book, due), ["d-1 publish d/{device}/up 4"]);
    publish(&mut book, "d/d-1/up", due);
    assert!(told(&mut book, due + INVENTORY_EVERY / 2).is_empty());
    assert_eq!(told(&mut book, due + INVENTORY_EVERY), ["d-1 publish d/{device}/up 2"]);
    assert_eq!(book.len(), 1, "a sleeper that comes back within the hour is not told anew");
    assert!(told(&mut book, due + INVENTORY_EVERY * 2).is_empty());
    assert_eq!(book.len(), 0, "a device that is gone takes no room");
}

#[test]
fn a_subscription_is_told_each_hour_while_its_connection_is_open() {
    let (mut book, of, one) = (Book::default(), tenant("acme"), device("d-1"));
    book.opened(&of, &one, START);
    book.used((&of, &one), (Operation::Subscribe, "d/d-1/cmd"), 1, START);
    let due = START + INVENTORY_FIRST;
    assert_eq!(told(&mut book, due), ["d-1 subscribe d/{device}/cmd 1"]);
    assert_eq!(told(&mut book, due + INVENTORY_EVERY), ["d-1 subscribe d/{device}/cmd 0"]);
    // One of two connections ends.
    book.opened(&of, &one, due);
    book.closed(&of, &one);
    assert_eq!(told(&mut book, due + INVENTORY_EVERY * 2), ["d-1 subscribe d/{device}/cmd 0"]);
    book.closed(&of, &one);
    told(&mut book, due + INVENTORY_EVERY * 3);
    assert!(told(&mut book, due + INVENTORY_EVERY * 4).is_empty());
    assert_eq!(book.len(), 0);
}

#[test]
fn a_device_with_many_topics_is_told_with_wide_ones_and_none_is_lost() {
    let (mut book, of, one) = (Book::default(), tenant("acme"), device("d-1"));
    let mut topics: Vec<String> = (0..500).map(|n| format!("d/d-1/log/{n}")).collect();
    topics.extend((0..500).map(|n| format!("d/other/{n}")));
    topics.extend((0..500).map(|n| format!("x{n}")));
    topics.push(format!("d/{}~0123456789abcdef", "z".repeat(TOPIC_BYTES - 19)));
    for topic in &topics {
        book.used((&of, &one), (Operation::Publish, topic), 1, START);
    }
    let taken = book.take(START + INVENTORY_FIRST, 9);
    let uses = &taken[0].uses;
    assert!(uses.len() <= INVENTORY_LINES + 3, "{}", uses.len());
    assert_eq!(uses.iter().map(|one| one.count).sum::<u32>(), topics.len() as u32);
    for topic in &topics {
        let shape = topic.replace("d-1", "{device}");
        let covers = |one: &super::book::Use| {
            let wide = one.topic.strip_suffix('#').map(|front| shape.starts_with(front));
            wide.unwrap_or(*one.topic == *shape)
        };
        assert!(uses.iter().any(covers), "{topic}");
    }
}

#[test]
fn refusals_of_one_prober_are_bounded_and_counted() {
    let (mut book, of, one) = (Book::default(), tenant("acme"), device("d-1"));
    for number in 0..1000 {
        let topic = format!("d/d-{number}/cmd");
        let code = RefusalCode::SubscribeNotAuthorised;
        book.refused((&of, &one), (Operation::Subscribe, &topic), code, START);
    }
    let taken = book.take(START + INVENTORY_FIRST, 9);
    assert_eq!(taken[0].uses.len(), INVENTORY_REFUSED);
    assert_eq!(&*taken[0].uses[1].topic, "d/{device}/cmd", "its own name is taken out");
    assert_eq!(book.left_out(), 1000 - INVENTORY_REFUSED as u64);
}

#[test]
fn names_in_braces_are_no_names() {
    let (mut book, of, one) = (Book::default(), tenant("acme"), device("d-1"));
    book.used((&of, &one), (Operation::Publish, "a/{device}/{attr.site}/d-1"), 1, START);
    assert_eq!(told(&mut book, START + INVENTORY_FIRST), ["d-1 publish a/+/+/{device} 1"]);
}

#[test]
fn one_tenant_leaves_room_for_the_others() {
    let mut book = Book::default();
    let (large, small) = (tenant("large"), tenant("small"));
    for number in 0..INVENTORY_DEVICES + 5 {
        let one = device(&format!("d-{number}"));
        book.used((&large, &one), (Operation::Publish, "up"), 1, START);
        if number == INVENTORY_DEVICES / 2 {
            book.used((&small, &one), (Operation::Publish, "up"), 1, START);
        }
    }
    assert_eq!(book.len(), INVENTORY_DEVICES / 4 * 3);
    for number in 0..100 {
        let one = device(&format!("s-{number}"));
        book.used((&small, &one), (Operation::Publish, "up"), 1, START);
    }
    assert_eq!(book.len(), INVENTORY_DEVICES / 4 * 3 + 100);
    assert!(book.left_out() > 0);
    // Only what was told is forgotten.
    assert_eq!(book.take(START + INVENTORY_FIRST, 10).len(), 10);
}
