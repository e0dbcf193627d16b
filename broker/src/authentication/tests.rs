use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{sync_channel, SyncSender};
use std::thread::ThreadId;
use std::time::Duration;

use actix::Message;
use tessera_agent::trust::{TrustEffect, TrustState};
use tessera_agent::validator::{Settled, Validator};
use tessera_agent::{Agent, AgentConfig};
use tessera_runtime::clock::ManualClock;
use tessera_runtime::metrics::{Counter, Metrics};
use tessera_runtime::random::SystemRandom;
use tessera_runtime::stop::Stop;
use tessera_token::chain::{IssuerKey, KeyState, Refusal, StalenessBudget, TenantTrust};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, SecretKey};
use tessera_token::proof::{Presented, Proof};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, EventHash, Snapshot};
use tokio::sync::oneshot;

use super::actor::{Connect, Verification};
use super::pool::{Addresses, Pool};
use crate::limits::{AUTHENTICATION_SUSPECTS, VERIFICATION_MAILBOX};

const NOW: UnixSeconds = UnixSeconds::new(1_790_000_000);

/// Addresses over an agent that trusts one tenant with one key, whose tokens need no proof.
struct Gate {
    pool: Pool,
    actors: Addresses,
    validator: Validator,
    restarts: Counter,
    agent: Agent,
    stop: Stop,
    _folder: tempfile::TempDir,
}

async fn gate(count: usize) -> Gate {
    let folder = tempfile::tempdir().unwrap();
    let (root, audience) = (SecretKey::from_seed(&[9; 32]), Audience::parse("mqtt").unwrap());
    let config = AgentConfig::new(folder.path(), audience.clone(), root.public().thumbprint());
    let (stop, clock, metrics) = (Stop::new(), ManualClock::at(NOW), Metrics::new());
    let agent = Agent::start(config, clock, SystemRandom::shared(), &metrics, &stop).await.unwrap();
    let tenant = TenantId::parse("t").unwrap();
    let tenant_trust = TenantTrust {
        tenant: tenant.clone(),
        epoch: 0,
        suspended: false,
        bearer: true,
        staleness: StalenessBudget::default(),
    };
    let key = IssuerKey {
        tenant,
        key: issuer().public(),
        not_before: NOW,
        not_after: NOW.plus(60),
        state: KeyState::Active,
    };
    let snapshot = Snapshot {
        seq: 1,
        head: EventHash::of(b"1"),
        time: NOW,
        valid_until: NOW.plus(60),
        state: vec![Change::Tenant(tenant_trust), Change::Key(key)],
    };
    let (bytes, pin) = (snapshot.sign(&root).unwrap(), root.public().thumbprint());
    let state = TrustState::empty(audience).with_snapshot(&bytes, &pin, NOW).unwrap();
    agent.trust().beat(NOW, agent.trust().monotonic());
    agent.trust().publish(state, [TrustEffect::Reloaded]);
    let restarts = metrics.counter("restarts", "Restarts", &[]).unwrap();
    let validator = agent.validator().clone();
    let pool = Pool::start(count, &validator, &restarts).await.unwrap();
    let actors = pool.addresses();
    Gate { pool, actors, validator, restarts, agent, stop, _folder: folder }
}

impl Gate {
    /// A CONNECT that is good.
    fn connect(&self) -> Result<Answer, RefusalCode> {
        let (reply, answer) = oneshot::channel();
        let presented = Presented { token: token(), proof: Proof::None };
        let screened = Box::new(self.validator.screen(presented, "d").unwrap());
        self.actors.ask(Connect { screened, tickets: Default::default(), reply })?;
        Ok(answer)
    }

    /// CONNECTs until the mailboxes are full.
    fn fill(&self) -> Vec<Answer> {
        let mut taken = Vec::new();
        loop {
            match self.connect() {
                Ok(answer) => taken.push(answer),
                Err(code) => {
                    assert_eq!(code, RefusalCode::LimitReached);
                    return taken;
                }
            }
        }
    }

    /// Keeps the actor busy whose turn it is, until the sender is dropped; it panics with words that are sent.
    fn hold(&self) -> (ThreadId, SyncSender<&'static str>) {
        let ((told, hear), (release, held)) = (sync_channel(1), sync_channel(1));
        let hold = Call(Box::new(move || {
            told.send(std::thread::current().id()).unwrap();
            if let Ok(words) = held.recv() {
                std::panic::panic_any(words);
            }
        }));
        self.actors.ask(hold).unwrap();
        (hear.recv().unwrap(), release)
    }

    /// The thread of the verification actor whose turn it is.
    fn thread(&self) -> ThreadId {
        self.hold().0
    }

    async fn close(self) {
        drop(self.pool);
        assert!(self.stop.finish(Duration::from_secs(10)).await.is_empty());
        self.agent.close().unwrap();
    }
}

/// A verification that does as the test says.
struct Call(Box<dyn FnOnce() + Send>);

impl Message for Call {
    type Result = ();
}

impl Verification for Call {
    fn run(self, _: &Validator) {
        (self.0)();
    }
}

type Answer = oneshot::Receiver<Result<Settled, Refusal>>;

/// As the connection reads it.
async fn code(answer: Answer) -> Option<RefusalCode> {
    match answer.await {
        Ok(verified) => verified.err().map(|refusal| refusal.code),
        Err(_) => Some(RefusalCode::NotReady),
    }
}

fn issuer() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn token() -> Vec<u8> {
    let claims = Claims {
        tenant: TenantId::parse("t").unwrap(),
        device: DeviceId::parse("d").unwrap(),
        audience: Audience::parse("mqtt").unwrap(),
        expires: NOW.plus(60),
        not_before: None,
        issued: NOW,
        serial: Serial::from_counter(1),
        confirmation: None,
        scope: Scope::new(Vec::new()).unwrap(),
        epochs: Epochs::default(),
    };
    issue(&claims, Algorithm::Ed25519, &issuer()).unwrap()
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

#[test]
fn mailboxes_take_turns_and_a_full_one_is_passed_over() {
    run(async {
        let gate = gate(2).await;
        let ((one, first), (two, second)) = (gate.hold(), gate.hold());
        assert_ne!(one, two);
        let taken = gate.fill();
        assert_eq!(taken.len(), 2 * VERIFICATION_MAILBOX);
        drop(first);
        let mut taken = taken.into_iter();
        assert_eq!(code(taken.next().unwrap()).await, None);
        for _ in 0..2 {
            assert_eq!(code(gate.connect().unwrap()).await, None);
        }
        drop(second);
        for answer in taken {
            assert_eq!(code(answer).await, None);
        }
        gate.close().await;
    });
}

#[test]
fn without_actors_no_client_gets_in() {
    run(async {
        let gate = gate(0).await;
        assert_eq!(gate.connect().err(), Some(RefusalCode::NotReady));
        assert!(!gate.actors.is_alive());
        gate.close().await;
    });
}

#[test]
fn a_panic_refuses_the_peers_that_wait_and_the_next_connect_is_verified() {
    run(async {
        let gate = gate(1).await;
        for panics in 1..=3 {
            let (thread, panic) = gate.hold();
            let waiting = gate.fill();
            panic.send("on purpose").unwrap();
            for answer in waiting {
                assert_eq!(code(answer).await, Some(RefusalCode::NotReady));
            }
            assert_eq!(code(gate.connect().unwrap()).await, None);
            assert_eq!(gate.thread(), thread);
            assert_eq!(gate.restarts.value(&[]), panics);
            assert!(gate.actors.is_alive());
        }
        gate.close().await;
    });
}

#[test]
fn the_peer_whose_verification_panics_is_refused() {
    run(async {
        let gate = gate(1).await;
        let (reply, answer) = oneshot::channel::<Result<Settled, Refusal>>();
        let panics = Box::new(move || {
            let _unanswered = reply;
            std::panic::panic_any("on purpose");
        });
        gate.actors.ask(Call(panics)).unwrap();
        assert_eq!(code(answer).await, Some(RefusalCode::NotReady));
        gate.close().await;
    });
}

#[test]
fn a_panic_of_one_actor_is_none_of_another() {
    run(async {
        let gate = gate(2).await;
        let ((_, panic), (_, release)) = (gate.hold(), gate.hold());
        let (refused, verified) = (gate.connect().unwrap(), gate.connect().unwrap());
        panic.send("on purpose").unwrap();
        assert_eq!(code(refused).await, Some(RefusalCode::NotReady));
        drop(release);
        assert_eq!(code(verified).await, None);
        gate.close().await;
    });
}

#[test]
fn a_stop_answers_the_peers_that_wait_and_ends_the_threads() {
    run(async {
        let gate = gate(2).await;
        let holds = [gate.hold().1, gate.hold().1];
        let waiting: Vec<_> = (0..6).map(|_| gate.connect().unwrap()).collect();
        let actors = gate.actors.clone();
        let mut finish = pin!(actors.finish());
        tokio::select! {
            biased;
            () = &mut finish => panic!("peers still wait"),
            () = std::future::ready(()) => {}
        }
        let late = [gate.connect().unwrap(), gate.connect().unwrap()];
        drop(holds);
        finish.await;
        for mut answer in waiting {
            assert!(answer.try_recv().unwrap().is_ok());
        }
        for answer in late {
            assert_eq!(code(answer).await, Some(RefusalCode::NotReady));
        }
        gate.close().await;
        assert!(!actors.is_alive());
        assert_eq!(actors.ask(Call(Box::new(|| {}))), Err(RefusalCode::NotReady));
    });
}

#[test]
fn a_restart_while_the_broker_stops_lets_no_later_peer_in() {
    run(async {
        let gate = gate(1).await;
        let (_, panic) = gate.hold();
        let (waiting, actors) = (gate.connect().unwrap(), gate.actors.clone());
        let mut finish = pin!(actors.finish());
        tokio::select! {
            biased;
            () = &mut finish => panic!("a peer still waits"),
            () = std::future::ready(()) => {}
        }
        panic.send("on purpose").unwrap();
        finish.await;
        assert_eq!(code(waiting).await, Some(RefusalCode::NotReady));
        assert_eq!(code(gate.connect().unwrap()).await, Some(RefusalCode::NotReady));
        gate.close().await;
    });
}

#[test]
fn suspects_have_few_places_and_others_need_none() {
    let places = tokio::sync::Semaphore::new(AUTHENTICATION_SUSPECTS);
    let held: Vec<_> =
        (0..AUTHENTICATION_SUSPECTS).map(|_| super::place(&places, true).unwrap()).collect();
    assert_eq!(super::place(&places, true).err(), Some(RefusalCode::LimitReached));
    assert!(super::place(&places, false).unwrap().is_none());
    drop(held);
    assert!(super::place(&places, true).is_ok());
}
