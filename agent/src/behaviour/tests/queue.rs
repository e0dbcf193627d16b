use tessera_behaviour::observation::Event;

use super::super::counts::{kept, Counts};
use super::super::observer::{Ends, Entry, What};
use super::super::stranger::{Mark, Refused, Waiting};
use super::*;
use crate::limits;

/// An observer alone, with the end of its queue.
fn observer() -> (Observer, std::sync::mpsc::Receiver<Entry>) {
    let (observer, Ends { entries, .. }) = Observer::new([7; 16]);
    (observer, entries)
}

/// Messages and their bytes that a session has counted.
fn take(entry: &Entry) -> (u64, u64) {
    let mut sum = (0, 0);
    entry.device.session().take(|event| {
        let Event::Published(messages) = event else { panic!("{event:?}") };
        sum = (sum.0 + u64::from(messages.count), sum.1 + messages.bytes);
    });
    sum
}

#[test]
fn a_busy_session_costs_one_entry_a_step() {
    let (observer, entries) = observer();
    let device = observer.named(&named("d"));
    for _ in 0..1000 {
        observer.observe(&device, Observation::Published { topic: "t", bytes: 2 });
        observer.observe(&device, Observation::Received { count: 1, bytes: 9 });
        observer.observe(&device, Observation::Pinged);
    }
    let taken: Vec<_> = entries.try_iter().collect();
    let [entry] = &taken[..] else { panic!("{} entries", taken.len()) };
    let mut seen = Vec::new();
    entry.device.session().take(|event| seen.push(format!("{event:?}")));
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen[0].contains("count: 1000, bytes: 2000"), "{seen:?}");
    assert!(seen[1].contains("count: 1000, bytes: 9000"), "{seen:?}");
    assert!(seen[2].contains("count: 1000"), "{seen:?}");
    // Nothing is left, and the next message speaks again.
    entry.device.session().take(|event| panic!("{event:?}"));
    observer.observe(&device, Observation::Pinged);
    assert_eq!(entries.try_iter().count(), 1);
}

#[test]
fn topics_beyond_those_that_are_counted_pass_one_by_one_and_none_is_lost() {
    let (observer, entries) = observer();
    let device = observer.named(&named("d"));
    let topics = limits::SESSION_TOPICS + 3;
    for _ in 0..2 {
        for n in 0..topics {
            let topic = &format!("t/{n}");
            observer.observe(&device, Observation::Published { topic, bytes: 5 });
        }
        let (mut messages, mut bytes) = (0, 0);
        for entry in entries.try_iter() {
            let more = match &entry.what {
                What::Counts => take(&entry),
                What::Published { bytes, .. } => (1, *bytes),
                _ => panic!("another entry"),
            };
            (messages, bytes) = (messages + more.0, bytes + more.1);
        }
        assert_eq!((messages, bytes), (topics as u64, 5 * topics as u64));
    }
}

#[test]
fn a_long_topic_is_cut_and_two_of_them_stay_two() {
    let long = |end: &str| format!("{}ü{end}", "x".repeat(limits::TOPIC_BYTES));
    let (one, other) = (kept(&long("a")), kept(&long("b")));
    assert!(one.len() <= limits::TOPIC_BYTES && one != other, "{one} {other}");
    assert_eq!(kept(&long("a")), one);
    // The cut lies within a character.
    let wide = "ü".repeat(limits::TOPIC_BYTES);
    assert!(kept(&wide).len() <= limits::TOPIC_BYTES);
    let mut counts = Counts::default();
    assert!(counts.published(&long("a"), 1, 1) && counts.published(&long("b"), 1, 1));
    let mut topics = 0;
    counts.take(|_| topics += 1);
    assert_eq!(topics, 2);
}

#[test]
fn what_finds_the_queue_full_is_counted_and_counts_of_messages_are_kept() {
    let (observer, entries) = observer();
    let (device, other) = (observer.named(&named("d")), observer.named(&named("other")));
    let fill = || observer.observe(&other, Observation::Subscribed { filter: "f" });
    (0..limits::OBSERVATIONS).for_each(|_| fill());
    assert_eq!(observer.dropped(), 0);
    (0..10).for_each(|_| fill());
    assert_eq!(observer.dropped(), 10);
    (0..700).for_each(|_| {
        observer.observe(&device, Observation::Published { topic: "t", bytes: 1 });
    });
    assert_eq!(observer.dropped(), 710);
    assert!(entries.try_iter().all(|entry| entry.device.device().as_str() == "other"));
    // Room again: the session's own counts have all of them.
    observer.observe(&device, Observation::Published { topic: "t", bytes: 1 });
    assert_eq!(take(&entries.try_recv().unwrap()), (701, 701));
}

#[test]
fn no_message_is_lost_between_sessions_and_the_engine() {
    const THREADS: u64 = 4;
    const EACH: u64 = 50_000;
    let (observer, entries) = observer();
    let device = observer.named(&named("d"));
    let mut sum = (0, 0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (observer, device) = (observer.clone(), device.clone());
            scope.spawn(move || {
                for _ in 0..EACH {
                    observer.observe(&device, Observation::Published { topic: "t", bytes: 3 });
                }
            });
        }
        while sum.0 < THREADS * EACH {
            // Blocks until a session says that there is something: a lost word would hang here.
            let more = take(&entries.recv().unwrap());
            sum = (sum.0 + more.0, sum.1 + more.1);
        }
    });
    assert_eq!((sum, observer.dropped()), ((THREADS * EACH, 3 * THREADS * EACH), 0));
}

/// A kept session whose connection is taken over is one device's: the end of the old connection is not that of the new one.
#[test]
fn the_end_of_a_connection_names_that_connection() {
    let mut rig = Rig::new();
    let device = rig.handle("d");
    let (old, new) = (rig.connect(&device, HOME), rig.connect(&device, HOME));
    assert_ne!(old, new);
    rig.observer.disconnected(&device, old, false);
    assert_eq!(device.session().connection(), u64::from(new));
    assert_eq!(rig.told(), [""; 0]);
}

fn stranger(observer: &Observer, name: &str, credential: Mark) {
    let code = RefusalCode::SignatureInvalid;
    let tenant = "acme".parse().unwrap();
    let tenant = Some(&tenant);
    observer.observe_stranger(&Refused { tenant, code, network: network(AWAY), name, credential });
}

#[test]
fn strangers_have_a_queue_of_their_own_and_push_out_no_observation_of_a_device() {
    let (observer, Ends { entries, strangers }) = Observer::new([7; 16]);
    (0..limits::STRANGERS_WAITING + 5).for_each(|_| stranger(&observer, "d", Mark::NONE));
    assert_eq!(observer.strangers_dropped(), 5);
    assert_eq!(observer.dropped(), 0);
    observer.observe(&observer.named(&named("d")), Observation::Pinged);
    assert_eq!(entries.try_iter().count(), 1);
    let waiting: Vec<Waiting> = strangers.try_iter().collect();
    assert_eq!(waiting.len(), limits::STRANGERS_WAITING);
    assert!(waiting.iter().all(|one| one.credential == 0 && &*one.tenant == "acme"));
}

#[test]
fn a_mark_stands_for_a_token_with_any_proof_and_differs_by_process() {
    use tessera_token::key::SecretKey;
    use tessera_token::proof::{ConnectProof, Credential};
    use tessera_token::time::UnixSeconds;

    let (observer, _ends) = Observer::new([7; 16]);
    let token = crate::testing::World::new().token();
    let password = |counter: u32| {
        let key = SecretKey::from_seed(&[3; 32]);
        let time = UnixSeconds::new(START);
        let proof = ConnectProof::make(&key, "broker", "d", &token, time, counter);
        Credential { token: token.clone(), proof: Some(proof) }.to_password()
    };
    let mark = observer.mark_of_password(&password(1));
    assert_eq!(mark, observer.mark_of_password(&password(2)));
    assert_eq!(mark, observer.mark_of(&token));
    assert_ne!(mark, observer.mark_of_password(b"12345678"));
    assert_ne!(observer.mark_of_pair("d", mark), observer.mark_of_pair("e", mark));
    assert_eq!(observer.mark_of_password(b""), Mark::NONE);
    let (other, _ends) = Observer::new([8; 16]);
    assert_ne!(mark, other.mark_of(&token));
}
