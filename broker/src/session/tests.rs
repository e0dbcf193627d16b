use std::thread;

use bytes::BytesMut;
use tessera_agent::{Agent, AgentConfig};
use tessera_runtime::clock::SystemClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::stop::Stop;
use tessera_token::key::SecretKey;
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Permission;
use tessera_token::topic::TopicName;
use tokio::runtime::Handle;

use super::*;
use crate::authorisation::tests::{rights, Told};
use crate::codec::{Connect, Properties, PropertyId, Version};
use crate::config::RawBrokerConfig;
use crate::message::{Author, Message, Options, Publisher};
use crate::routing::{Delivery, Routing};
use crate::session::lifecycle::Left;
use crate::session::state_machine::Delivered;

const NOW: Now =
    Now { unix: UnixSeconds::new(1_800_000_000), monotonic: Duration::from_secs(1_000) };

async fn device(grant: &Grant) -> DeviceHandle {
    let folder = tempfile::tempdir().unwrap();
    let root = SecretKey::from_seed(&[1; 32]).public().thumbprint();
    let config = AgentConfig::new(folder.path(), "broker".parse().unwrap(), root);
    let (stop, clock) = (Stop::new(), SystemClock::shared());
    let agent = Agent::start(config, clock, SystemRandom::shared(), &Metrics::new(), &stop).await;
    let device = agent.unwrap().observer().device(grant);
    stop.finish(Duration::from_secs(10)).await;
    device
}

async fn session() -> Arc<Session> {
    session_of(rights(&[])).await
}

async fn session_of(rights: Rights) -> Arc<Session> {
    let grant = rights.grant().clone();
    let device = device(&grant).await;
    let outbox = Outbox::with_limits(SubscriberId(1), 10_000, 1 << 20);
    let routes = Routing::start(Handle::current()).unwrap();
    let routes = routes.session(grant.tenant().clone(), Arc::clone(&outbox));
    Session::new(grant, ClientId::parse("d-1").unwrap(), device, outbox, routes)
}

fn connect() -> Connect {
    let properties = Properties::build().number(PropertyId::SessionExpiry, 100).finish().unwrap();
    Connect {
        version: Version::V5,
        clean_start: false,
        keep_alive: 10,
        properties,
        client_id: "d-1".into(),
        will: None,
        user_name: None,
        password: None,
    }
}

/// Does `step` while the outbox is locked, and tells whether the session let go of its own lock with `done` before.
fn overtakes(session: &Session, step: impl FnOnce() + Send, done: impl Fn(&State) -> bool) -> bool {
    thread::scope(|scope| {
        session.outbox.between_pushes(|| {
            scope.spawn(step);
            let mut held = 0;
            while held < 1_000 {
                match session.state.try_lock() {
                    Some(state) if done(&state) => return true,
                    Some(_) => held = 0,
                    None => held += 1,
                }
                thread::yield_now();
            }
            false
        })
    })
}

/// One connection leaves while the next one comes: who was last also says last whether QoS 0 has a reader.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_or_goes_says_so_before_the_next_one_can() {
    let session = session().await;
    let policy = RawBrokerConfig::default().validate().unwrap().session;
    let told = Told::default();
    let context = BrokerContext { policy: &policy, trusted: Trusted::now(&told) };
    let handle = Arc::new(ConnectionHandle::default());
    let connect = connect();
    let come = || assert!(session.attach(&connect, &handle, true, context, NOW).is_ok());
    assert!(!overtakes(&session, come, |state| state.handle.is_some()));
    let go = || assert!(matches!(session.leave(&handle, &End::lost(), NOW), Left::Kept(None)));
    assert!(!overtakes(&session, go, |state| state.handle.is_none()));
}

/// A message from before a restart that seems to be over by one clock: it is neither sent nor lost, and neither is what
/// stands behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_message_that_seems_over_waits_for_a_second_witness_of_the_time() {
    let over = Delivered::Dropped("expired", QoS::AtLeastOnce);
    let now = Now { unix: NOW.unix.plus(10), ..NOW };
    for (witnessed, sent, dropped) in [(5, 2, vec![]), (6, 1, vec![over])] {
        let session = session_of(rights(&[("a/#", Permission::Both)])).await;
        session.outbox.restore(vec![restored("a/1", Some(6)), restored("a/2", None)], 2);
        let policy = RawBrokerConfig::default().validate().unwrap().session;
        let mut told = Told::default();
        let handle = Arc::new(ConnectionHandle::default());
        let context = BrokerContext { policy: &policy, trusted: Trusted::now(&told) };
        assert!(session.attach(&connect(), &handle, true, context, now).is_ok());
        let (mut out, mut scratch) = (BytesMut::new(), Vec::new());
        let waits = session.pump(&handle, context, now, &mut out, &mut scratch);
        assert_eq!((waits.sent, waits.send_state), ([0; 3], SendState::ClockPending));
        assert_eq!((waits.dropped.as_slice(), session.outbox.len()), ([].as_slice(), 2));
        told.witnessed = Some(NOW.unix.plus(witnessed));
        let context = BrokerContext { policy: &policy, trusted: Trusted::now(&told) };
        let goes_on = session.pump(&handle, context, now, &mut out, &mut scratch);
        assert_eq!((goes_on.sent, goes_on.send_state), ([0, sent, 0], SendState::Ready));
        assert_eq!((goes_on.dropped, session.outbox.len()), (dropped, 0));
    }
}

/// While it is open if revocations are missing, nothing is sent and nothing is lost. Then it goes by what is revoked.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_kept_while_the_length_of_an_absence_is_open() {
    for (code, sent, left) in [(None, 2, 0), (Some(RefusalCode::DeviceEpoch), 0, 2)] {
        let session = session_of(rights(&[("a/#", Permission::Both)])).await;
        session.outbox.restore(vec![restored("a/1", None), restored("a/2", None)], 2);
        let policy = RawBrokerConfig::default().validate().unwrap().session;
        let told = Told { absence_is_open: true, ..Told::default() };
        let handle = Arc::new(ConnectionHandle::default());
        let context = BrokerContext { policy: &policy, trusted: Trusted::now(&told) };
        assert!(session.attach(&connect(), &handle, true, context, NOW).is_ok());
        let (mut out, mut scratch) = (BytesMut::new(), Vec::new());
        let waits = session.pump(&handle, context, NOW, &mut out, &mut scratch);
        assert_eq!((waits.sent, waits.send_state), ([0; 3], SendState::ClockPending));
        assert_eq!((waits.dropped.as_slice(), session.outbox.len()), ([].as_slice(), 2));
        assert!(out.is_empty() && waits.end.is_none());
        let told = Told { version: 1, revoked: code, ..Told::default() };
        let context = BrokerContext { policy: &policy, trusted: Trusted::now(&told) };
        let goes_on = session.pump(&handle, context, NOW, &mut out, &mut scratch);
        assert_eq!((goes_on.sent, session.outbox.len()), ([0, sent, 0], left));
        assert_eq!(goes_on.end.is_some(), code.is_some());
    }
}

fn restored(topic: &str, expires: Option<u64>) -> Delivery {
    let publisher = Publisher {
        author: Author::of(rights(&[]).grant()),
        session: SubscriberId(2),
        token_expires: NOW.unix.plus(1000),
    };
    let (tenant, topic) = ("acme".parse().unwrap(), TopicName::parse(topic).unwrap());
    let mut message = Message::new(tenant, topic, "x".into(), publisher);
    message.qos = QoS::AtLeastOnce;
    message.set_expires(expires.map(|seconds| NOW.unix.plus(seconds)));
    let options = Options { qos: QoS::AtLeastOnce, ..Options::default() };
    let mut delivery = Delivery::new(Arc::new(message), options, false);
    delivery.sequence.again = true;
    delivery
}
