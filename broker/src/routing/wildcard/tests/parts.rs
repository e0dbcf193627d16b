//! Tree, log names, envelope, and what rumqttd's own `$share` does.

use crate::limits::ROUTER_LOGS;
use crate::message::envelope;
use crate::routing::per_tenant::Empties;
use crate::routing::testing::*;
use crate::routing::wildcard::logs::LogPool;
use crate::routing::wildcard::router::{Event, Router};
use crate::routing::wildcard::tree::FilterTree;
use bytes::Bytes;
use std::collections::HashSet;
use tessera_token::topic::TopicFilter;

const LEVELS: &[&str] = &["a", "b", "$s", ""];

/// All texts of up to three levels.
fn all(levels: &[&str]) -> Vec<String> {
    let mut texts: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
    let mut last = texts.clone();
    for _ in 0..2 {
        last = last
            .iter()
            .flat_map(|text| levels.iter().map(move |level| format!("{text}/{level}")))
            .collect();
        texts.extend(last.iter().cloned());
    }
    texts
}

#[test]
fn the_tree_finds_exactly_what_each_filter_matches() {
    let mut wild = LEVELS.to_vec();
    wild.extend(["+", "#"]);
    let filters: Vec<TopicFilter> =
        all(&wild).iter().filter_map(|text| TopicFilter::parse(text).ok()).collect();
    let mut tree = FilterTree::default();
    for filter in &filters {
        assert!(tree.put(filter, filter.clone()).is_none());
    }
    assert!(filters.len() > 150);
    for name in all(LEVELS).iter().filter(|name| !name.is_empty()) {
        let mut found = HashSet::new();
        tree.matching(name, |filter| assert!(found.insert(filter.clone()), "twice"));
        for filter in &filters {
            assert_eq!(found.contains(filter), filter.matches(&topic(name)), "{filter} and {name}");
        }
    }
    for filter in &filters {
        assert_eq!(tree.remove(filter).as_ref(), Some(filter));
        assert!(tree.remove(filter).is_none());
    }
    assert!(tree.is_empty());
    tree.matching("a/b", |filter| panic!("{filter} is left"));
}

#[test]
fn log_names_are_few_and_used_again() {
    let mut pool = LogPool::default();
    let wide = TopicFilter::parse("d/+/telemetry").unwrap();
    let narrow = TopicFilter::parse("d/one/#").unwrap();
    let most: usize = ROUTER_LOGS.iter().map(|(_, most, ..)| most).sum();
    let take = |pool: &mut LogPool, filter: &TopicFilter| Some(pool.take(filter, None)?.0);
    let small = take(&mut pool, &narrow).unwrap();
    assert!(small.text().starts_with("small/"), "{}", small.text());
    let logs: Vec<_> = std::iter::from_fn(|| take(&mut pool, &wide)).collect();
    assert_eq!(logs.len() + 1, most);
    assert!(logs[0].text().starts_with("large/"));
    assert_eq!(
        logs.iter().map(|log| log.text().to_owned()).collect::<HashSet<_>>().len(),
        logs.len()
    );
    assert!(take(&mut pool, &narrow).is_none());
    pool.give_back(small.clone());
    assert_eq!(take(&mut pool, &wide).unwrap().text(), small.text());
}

#[test]
fn broken_envelopes_are_no_messages() {
    let whole = envelope::wrap(&message("a/b", "payload"));
    assert!(envelope::unwrap(whole.clone(), &tenant("acme")).is_some());
    assert!(envelope::unwrap(whole.clone(), &tenant("acmf")).is_none());
    let by_broker = envelope::unwrap(whole.clone(), &tenant("acme")).unwrap();
    assert!(by_broker.publisher.author.token().is_none());
    let head = whole.len() - "payload".len();
    for cut in 0..head {
        assert!(envelope::unwrap(whole.slice(..cut), &tenant("acme")).is_none(), "cut at {cut}");
    }
}

/// Why groups are in front: the router keeps one position for each group name. When this test fails, rumqttd has
/// changed and the choice can be made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_routers_own_groups_mix_up_two_filters_of_one_name() {
    let router = Router::start().unwrap();
    let mut reader = router.open("reader", Some("$share/g/large/1")).await.unwrap();
    let mut reader = tokio::task::spawn_blocking(move || {
        reader.subscribe("$share/g/large/2").unwrap();
        reader
    })
    .await
    .unwrap();
    let mut writer = router.open("writer", None).await.unwrap();
    let batch = |log: &'static str| (0..10).map(move |_| (Bytes::from(log), Bytes::from(log)));
    assert!(writer.publish(batch("large/1").chain(batch("large/2"))).is_none());
    writer.ack().await.unwrap();
    let mut got = 0;
    while let Ok(Ok(event)) =
        tokio::time::timeout(std::time::Duration::from_millis(300), reader.next()).await
    {
        got += usize::from(matches!(event, Event::Message { .. }));
    }
    println!("the router's group of two filters delivered {got} of 20");
    assert!(got < 20);
    drop((writer, router));
}
