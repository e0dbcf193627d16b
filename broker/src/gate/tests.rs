use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::step::Dispatcher;
use super::workers::{Evidence, Job};
use crate::codec::Password;

fn job() -> Job {
    let (reply, _) = oneshot::channel();
    let evidence = Evidence::Password {
        password: Password::new(Bytes::new()),
        key: None,
        tickets: Default::default(),
    };
    Job::Connect { evidence, client_id: "a".to_owned(), reply }
}

#[test]
fn queues_take_turns_and_a_full_one_is_passed_over() {
    let (first, one) = sync_channel(1);
    let (second, two) = sync_channel(2);
    let mut dispatcher = Dispatcher::new(vec![first, second]);
    for _ in 0..3 {
        assert!(dispatcher.dispatch(job()).is_ok());
    }
    assert!(dispatcher.dispatch(job()).is_err());
    assert_eq!((one.try_iter().count(), two.try_iter().count()), (1, 2));
    drop(one);
    assert!(dispatcher.dispatch(job()).is_ok());
    assert_eq!(two.try_iter().count(), 1);
}

#[test]
fn without_workers_nobody_gets_in() {
    assert!(Dispatcher::new(Vec::new()).dispatch(job()).is_err());
}

#[test]
fn what_no_queue_takes_is_refused_at_once() {
    let verdict = actix_rt::System::new().block_on(async {
        let actor = super::start_actor(&super::Workers::none());
        let (reply, verdict) = oneshot::channel();
        let evidence = Evidence::Password {
            password: Password::new(Bytes::new()),
            key: None,
            tickets: Default::default(),
        };
        let job = Job::Connect { evidence, client_id: "a".to_owned(), reply };
        actor.try_send(job).unwrap();
        verdict.await.unwrap()
    });
    assert_eq!(verdict.unwrap_err().code, tessera_token::refusal::RefusalCode::LimitReached);
}

#[test]
fn a_full_mailbox_refuses() {
    actix_rt::System::new().block_on(async {
        let actor = super::start_actor(&super::Workers::none());
        tokio::task::yield_now().await;
        // The actor has no turn in between: all of these wait.
        let taken = (0..10 * crate::limits::GATE_MAILBOX)
            .take_while(|_| actor.try_send(job()).is_ok())
            .count();
        assert!(taken <= crate::limits::GATE_MAILBOX + 1, "{taken}");
    });
}
