use crate::codec::QoS;
use crate::limits::{GROUP_MEMBERS, SHARE_FREE, SHARE_STEP};
use crate::message::SubscriberId;
use crate::persistence::{Persistence, SessionRows};
use crate::routing::testing::*;
use crate::routing::{Outbox, Routing, RoutingError, SessionRoutes};
use crate::shares::tests::account_with;
use crate::shares::Kind;
use std::sync::Arc;

async fn publish(routing: &Arc<Routing>, name: &str, count: u32) {
    for number in 0..count {
        routing.deliver(&numbered(name, number)).await;
    }
}

/// Takes `count` messages from all members together; gives how many each got and the sorted numbers.
async fn collect(members: &[SessionRoutes], count: u32) -> (Vec<usize>, Vec<u32>) {
    let mut each = vec![0; members.len()];
    let mut numbers = Vec::new();
    let mut got = Vec::new();
    while (numbers.len() as u32) < count {
        for (index, member) in members.iter().enumerate() {
            each[index] += member.outbox().try_drain(usize::MAX, &mut got);
            numbers.extend(got.drain(..).map(|delivery| number(&delivery)));
        }
        tokio::task::yield_now().await;
    }
    numbers.sort_unstable();
    (each, numbers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_take_turns_and_together_get_each_message_once() {
    let routing = routing();
    let mut members = Vec::new();
    for id in 0..3 {
        members.push(subscriber(&routing, id, &["$share/g/a/#"]).await);
    }
    publish(&routing, "a/b", 3_000).await;
    let (each, numbers) = collect(&members, 3_000).await;
    assert_eq!(each, [1_000, 1_000, 1_000]);
    assert_eq!(numbers, (0..3_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_groups_and_filters_are_independent() {
    let routing = routing();
    let both = subscriber(&routing, 1, &["$share/g/a/#", "$share/g/b/+"]).await;
    let other_group = subscriber(&routing, 2, &["$share/h/a/#"]).await;
    let plain = subscriber(&routing, 3, &["a/#"]).await;
    publish(&routing, "a/x", 500).await;
    publish(&routing, "b/x", 300).await;
    let (_, numbers) = collect(&[both], 800).await;
    assert_eq!(numbers.iter().filter(|number| **number < 300).count(), 600, "both filters in full");
    assert_eq!(collect(&[other_group], 500).await.1.len(), 500);
    assert_eq!(collect(&[plain], 500).await.1, (0..500).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_one_filter_of_a_group_keeps_the_other() {
    let routing = routing();
    let mut one = subscriber(&routing, 1, &["$share/g/a/#", "$share/g/b/#"]).await;
    let two = subscriber(&routing, 2, &["$share/g/a/#", "$share/g/b/#"]).await;
    assert!(one.unsubscribe(&filter("$share/g/a/#")));
    publish(&routing, "a/x", 100).await;
    publish(&routing, "b/x", 100).await;
    let (each, _) = collect(&[one, two], 200).await;
    assert_eq!(each, [50, 150]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exact_filter_can_be_shared() {
    let routing = routing();
    let members = [
        subscriber(&routing, 1, &["$share/g/a/b"]).await,
        subscriber(&routing, 2, &["$share/g/a/b"]).await,
    ];
    publish(&routing, "a/b", 10).await;
    assert_eq!(collect(&members, 10).await.0, [5, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_member_is_passed_over_and_nothing_is_lost() {
    let routing = routing();
    let stuck = subscriber_with(
        &routing,
        Outbox::with_limits(SubscriberId(1), 2, 1 << 20),
        &["$share/g/a/#"],
    )
    .await;
    let quick = subscriber(&routing, 2, &["$share/g/a/#"]).await;
    publish(&routing, "a/x", 900).await;
    let (each, _) = collect(&[quick], 898).await;
    assert_eq!((each[0], stuck.outbox().len()), (898, 2));
    assert_eq!(stuck.outbox().missed(), 0, "it shares: others took it");
}

/// A member whose device has no share left is passed over, and its group loses nothing while another member is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_share_is_passed_over_and_nothing_is_lost() {
    let routing = routing();
    let account = account_with(SHARE_STEP);
    let others = account.part(Kind::QueuedBytes, SHARE_STEP).unwrap();
    let poor = Outbox::of_account(account, SubscriberId(1), None, (1_000, 1 << 20));
    let poor = subscriber_with(&routing, poor, &["$share/g/a/#"]).await;
    let small = Outbox::with_limits(SubscriberId(2), 2, 1 << 20);
    let small = subscriber_with(&routing, small, &["$share/g/a/#"]).await;
    let large = |number: u32| {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(2 * SHARE_FREE, 0);
        Arc::new(message("a/x", payload))
    };
    for round in 0..100 {
        routing.deliver(&large(round)).await;
    }
    for round in 0..50 {
        assert_eq!(number(&next(&small).await), round);
    }
    assert_eq!((poor.outbox().len(), poor.outbox().missed(), small.outbox().missed()), (0, 0, 0));
    // It has its share again, while the other one stays full: its turn comes.
    drop(others);
    next(&poor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_members_are_full_the_log_waits_for_them() {
    let routing = routing();
    let mut members = Vec::new();
    for id in 0..2 {
        let outbox = Outbox::with_limits(SubscriberId(id), 4, 1 << 20);
        members.push(subscriber_with(&routing, outbox, &["$share/g/+/#"]).await);
    }
    publish(&routing, "a/x", 5_000).await;
    let (_, numbers) = collect(&members, 5_000).await;
    assert_eq!(numbers, (0..5_000).collect::<Vec<_>>());
    assert_eq!(routing.wildcard_stats().gaps, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_goes_on_when_a_member_vanishes_and_when_all_were_gone() {
    let routing = routing();
    let one = subscriber(&routing, 1, &["$share/g/a/#"]).await;
    let two = subscriber(&routing, 2, &["$share/g/a/#"]).await;
    drop(one);
    publish(&routing, "a/x", 10).await;
    assert_eq!(collect(&[two], 10).await.0, [10]);
    let three = subscriber(&routing, 3, &["$share/g/a/#"]).await;
    publish(&routing, "a/x", 10).await;
    assert_eq!(collect(&[three], 10).await.0, [10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_has_a_limit() {
    let routing = routing();
    let mut members = Vec::new();
    for id in 0..GROUP_MEMBERS as u64 {
        members.push(subscriber(&routing, id, &["$share/g/a"]).await);
    }
    let mut late = routing.session(tenant("acme"), Outbox::new(SubscriberId(u64::MAX - 1)));
    let refused = late.subscribe(&filter("$share/g/a"), qos1()).await;
    assert_eq!(refused, Err(RoutingError::QuotaExceeded));
    assert_eq!((late.subscriptions().count(), routing.wildcard_stats().refused), (0, 1));
}

/// Two sessions of one client may come back from a crash: for a moment there is a member more than there may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_back_past_the_limit_of_a_group() {
    let (routing, folder) = (routing(), tempfile::tempdir().unwrap());
    let (_keep, outbox) = kept(folder.path());
    let mut members = Vec::new();
    for id in 0..=GROUP_MEMBERS as u64 {
        let mut member = routing.session(tenant("acme"), outbox(id, 1_000));
        member.restore(&filter("$share/g/a"), qos1());
        members.push(member);
    }
    let mut late = routing.session(tenant("acme"), Outbox::new(SubscriberId(u64::MAX - 1)));
    let refused = late.subscribe(&filter("$share/g/a"), qos1()).await;
    assert_eq!(refused, Err(RoutingError::QuotaExceeded));
    for round in 0..=GROUP_MEMBERS as u32 {
        assert_eq!(routing.deliver(&numbered("a", round)).await.taken, 1);
    }
    assert!(members.iter().all(|member| member.outbox().len() == 1));
}

/// A keeper that writes, and the outbox of a session that it keeps.
fn kept(folder: &std::path::Path) -> (Arc<Persistence>, impl Fn(u64, usize) -> Arc<Outbox>) {
    let keep = Persistence::open(folder).unwrap();
    tokio::spawn(Arc::clone(&keep).run());
    let of = Arc::clone(&keep);
    let outbox = move |id, most| {
        let kept = SessionRows::new(Arc::clone(&of), SubscriberId(id));
        Outbox::stored_with_limits(kept, most, 1 << 20)
    };
    (keep, outbox)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_member_has_its_row_before_the_publisher_is_answered() {
    let (routing, folder) = (routing(), tempfile::tempdir().unwrap());
    let (keep, outbox) = kept(folder.path());
    let member = subscriber_with(&routing, outbox(1, 100), &["$share/g/a/#"]).await;
    let tally = routing.deliver(&numbered("a/x", 1)).await;
    assert_eq!((tally.taken, tally.filters), (1, 0));
    assert_eq!((tally.commit, member.outbox().len()), (keep.last_commit(), 1));
    keep.durable(tally.commit).await.unwrap();
    assert_eq!(keep.tables.outgoing.len().unwrap(), 1);
    // A message that no member has room for is reported.
    let full = subscriber_with(&routing, outbox(2, 1), &["$share/h/b/#"]).await;
    assert_eq!(routing.deliver(&numbered("b/x", 1)).await.taken, 1);
    let tally = routing.deliver(&numbered("b/x", 2)).await;
    assert_eq!((tally.taken, tally.full), (0, 1));
    // No member is left.
    drop(full);
    assert!(routing.deliver(&numbered("b/x", 3)).await.no_matching_subscribers());
    drop(member);
    assert!(routing.deliver(&numbered("a/x", 3)).await.no_matching_subscribers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_that_is_away_would_let_go_goes_to_one_that_is_there() {
    let (routing, folder) = (routing(), tempfile::tempdir().unwrap());
    let (_keep, outbox) = kept(folder.path());
    let away = subscriber_with(&routing, outbox(1, 100), &["$share/g/a/#"]).await;
    let there = subscriber_with(&routing, outbox(2, 100), &["$share/g/a/#"]).await;
    away.outbox().set_attended(false);
    let mut at_most_once = message("a/x", "x");
    at_most_once.qos = QoS::AtMostOnce;
    for _ in 0..4 {
        assert_eq!(routing.deliver(&Arc::new(at_most_once.copied())).await.taken, 1);
    }
    assert_eq!((away.outbox().len(), there.outbox().len()), (0, 4));
    // QoS 1 is kept for the absent member, so it still takes turns.
    publish(&routing, "a/x", 4).await;
    assert_eq!((away.outbox().len(), there.outbox().len()), (2, 6));
    there.outbox().set_attended(false);
    assert!(routing.deliver(&Arc::new(at_most_once)).await.no_matching_subscribers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_and_other_members_take_turns() {
    let (routing, folder) = (routing(), tempfile::tempdir().unwrap());
    let (_keep, outbox) = kept(folder.path());
    let members = [
        subscriber_with(&routing, outbox(1, 1_000), &["$share/g/a/#"]).await,
        subscriber(&routing, 2, &["$share/g/a/#"]).await,
        subscriber(&routing, 3, &["$share/g/a/+"]).await,
    ];
    publish(&routing, "a/b", 400).await;
    assert_eq!(collect(&members[..2], 400).await.0, [200, 200]);
    assert_eq!(collect(&members[2..], 400).await.0, [400]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_comes_once_while_a_kept_member_joins() {
    for round in 0..10 {
        let (routing, folder) = (routing(), tempfile::tempdir().unwrap());
        let (_keep, outbox) = kept(folder.path());
        let mut members = vec![subscriber(&routing, 1, &["$share/g/a/#"]).await];
        let publishing = {
            let routing = Arc::clone(&routing);
            tokio::spawn(async move { publish(&routing, "a/b", 900).await })
        };
        while members[0].outbox().len() < round * 20 {
            tokio::task::yield_now().await;
        }
        members.push(subscriber_with(&routing, outbox(2, 1_000), &["$share/g/a/#"]).await);
        publishing.await.unwrap();
        let (_, numbers) = collect(&members, 900).await;
        assert_eq!(numbers, (0..900).collect::<Vec<_>>());
        // The reader of the router has nothing more to give.
        routing.deliver(&numbered("a/b", u32::MAX)).await;
        assert_eq!(collect(&members, 1).await.1, [u32::MAX]);
    }
}
