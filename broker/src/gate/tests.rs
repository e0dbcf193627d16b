use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::step::Dispatcher;
use super::workers::Job;
use crate::codec::Password;

fn job() -> Job {
    let (reply, _) = oneshot::channel();
    Job { password: Password::new(Bytes::new()), client_id: "a".to_owned(), reply }
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
