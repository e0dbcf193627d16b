//! The broker around the sessions, and what must hold after every step.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tessera_broker::codec::{self, FrameReader, Packet, Peer, QoS, Step, Version};
use tessera_broker::config::SessionLimits;
use tessera_broker::limits::{SESSIONS, SESSIONS_PER_DEVICE};
use tessera_broker::message::{Author, Revocations, Trusted};
use tessera_broker::message::{Message, Publisher, SubscriberId};
use tessera_broker::registry::Registry;
use tessera_broker::routing::{Delivery, Push};
use tessera_broker::session::lifecycle::Left;
use tessera_broker::session::state_machine::{BrokerContext, Context, Delivered, End, Will};
use tessera_broker::session::{ConnectionHandle, Due, Now, Session};
use tessera_token::chain::{self, KeyState};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::token_identity::TokenIdentity;
use tessera_token::topic::TopicName;

use super::grants::{Known, DEVICES};
use super::model::{Expected, Model, Sent};
use super::parts::parts;
use super::steps;
use crate::signal::note;
use crate::targets::scope::matches;
use crate::targets::world::{at, device, tenant, World, NOW};

pub(super) const TOPICS: [&str; 4] = ["a/x", "a/y", "b/1", "c"];

/// The world as deliveries ask it: every time anew, no verdict is taken for newer than it is.
pub(super) struct Asked<'a>(pub(super) &'a World);

impl Revocations for Asked<'_> {
    /// The simulation has one clock.
    fn absence_is_open(&self) -> bool {
        false
    }

    fn version(&self) -> u64 {
        static LOOKS: AtomicU64 = AtomicU64::new(1);
        LOOKS.fetch_add(1, Ordering::Relaxed)
    }

    fn revoked(&self, published: &TokenIdentity) -> Option<RefusalCode> {
        chain::publisher_revoked(published, self.0)
    }

    fn witnessed_time(&self) -> Option<UnixSeconds> {
        None
    }
}

pub(super) fn context<'a>(asked: &'a Asked<'a>) -> BrokerContext<'a> {
    BrokerContext { policy: &parts().policy, trusted: Trusted::now(asked) }
}

/// Said once more, from the tables of the world.
fn is_withdrawn(world: &World, by: &Known) -> bool {
    let (grant, epochs) = (&by.grant, by.grant.epochs());
    let tenant = grant.tenant().to_string();
    let device = world.devices.get(&(tenant.clone(), grant.device().to_string()));
    let group = world.groups.get(&(tenant.clone(), epochs.group_number));
    let keys = world.keys.get(&grant.key_id());
    world.tenants[&tenant].suspended
        || device.is_some_and(|epoch| epochs.device < *epoch)
        || group.is_some_and(|epoch| epochs.group < *epoch)
        || keys.is_some_and(|keys| keys.iter().any(|key| key.state == KeyState::Compromised))
        || world.revoked.contains(&grant.token_hash())
}

/// One connection, until it has left its session.
pub(super) struct Conn {
    pub(super) session: Arc<Session>,
    pub(super) handle: Arc<ConnectionHandle>,
    pub(super) version: Version,
}

/// A session as the harness knows it.
pub(super) struct Kept {
    pub(super) session: Arc<Session>,
    pub(super) model: Model,
    pub(super) known: &'static Known,
    pub(super) over: bool,
    pub(super) will: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WillState {
    Set,
    Published,
    Never,
}

pub(super) struct Sim {
    pub(super) registry: Registry,
    pub(super) world: World,
    pub(super) unix: u64,
    pub(super) monotonic: Duration,
    pub(super) conns: Vec<Conn>,
    pub(super) kept: BTreeMap<SubscriberId, Kept>,
    pub(super) wills: BTreeMap<u32, WillState>,
    pub(super) number: u32,
    timers: BTreeMap<SubscriberId, Duration>,
}

impl Sim {
    pub(super) fn new() -> Self {
        Self {
            registry: Registry::new(SessionLimits {
                all: SESSIONS,
                tenant: SESSIONS,
                device: SESSIONS_PER_DEVICE,
                kept_of_device: SESSIONS_PER_DEVICE,
            }),
            world: World::new(),
            unix: NOW,
            monotonic: Duration::from_secs(1),
            conns: Vec::new(),
            kept: BTreeMap::new(),
            wills: BTreeMap::new(),
            number: 0,
            timers: BTreeMap::new(),
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { unix: at(self.unix), monotonic: self.monotonic }
    }

    pub(super) fn next_number(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    pub(super) fn schedule(&mut self, session: &Session) {
        self.timers.insert(session.id, session.next_deadline(self.now()));
    }

    /// Runs `step` with what the machine may look at.
    pub(super) fn with_context<T>(
        &self,
        session: &Session,
        step: impl FnOnce(Context<'_>) -> T,
    ) -> T {
        let rights = session.rights();
        step(Context::at(&rights, context(&Asked(&self.world)), session.id, self.now()))
    }

    /// A message of a session, or of a client beyond the schedule.
    pub(super) fn message(&mut self, topic: usize, qos: QoS, expires_in: Option<u64>) -> Message {
        let number = self.next_number();
        let publisher = Publisher {
            author: Author::broker(device("backend")),
            session: SubscriberId(u64::MAX),
            token_expires: at(NOW + 5000),
        };
        let topic = TopicName::parse(TOPICS[topic % TOPICS.len()]).expect("a topic");
        let payload = Bytes::copy_from_slice(&number.to_be_bytes());
        let mut message = Message::new(tenant("acme"), topic, payload, publisher);
        message.qos = qos;
        message.set_expires(expires_in.map(|seconds| at(self.unix + seconds)));
        message
    }

    /// Brute force over all sessions; the device and fleet lanes have tests of their own.
    pub(super) fn route(&mut self, message: &Arc<Message>, by: Option<&'static Known>) {
        let Ok(number) = <[u8; 4]>::try_from(&message.payload[..]) else { return };
        let topic = TOPICS.iter().find(|topic| **topic == message.topic.as_str());
        for session in self.registry.all() {
            let held: Vec<_> = session.look(|machine| {
                let all = machine.subscriptions().filter(|held| held.subscription.share.is_none());
                all.map(|held| (held.subscription.filter.to_string(), held.options)).collect()
            });
            let absent = !session.is_connected() && !session.has_ended();
            let kept = self.kept.get_mut(&session.id).expect("a session of the schedule");
            for (filter, options) in held {
                let own = options.no_local && message.publisher.session == session.id;
                let Some(topic) = topic.filter(|topic| !own && matches(&filter, topic)) else {
                    continue;
                };
                let delivery = Delivery::new(Arc::clone(message), options, false);
                let qos = delivery.qos() as u8;
                let before = session.outbox.len();
                let taken = session.outbox.push(delivery) == Push::Taken;
                if session.outbox.len() > before {
                    assert!(taken && (!absent || qos > 0), "QoS 0 was kept for nobody");
                    kept.model.waiting.push_back(Sent {
                        number: u32::from_be_bytes(number),
                        topic,
                        qos,
                        expires: message.expires().map(|at| at.get()),
                        by,
                    });
                }
            }
        }
    }

    /// One round of deliveries, compared with what the model says.
    pub(super) fn pump(&mut self, conn: usize) {
        let Some(Conn { session, handle, version }) = self.conns.get(conn) else { return };
        let (session, handle, version) = (Arc::clone(session), Arc::clone(handle), *version);
        let serves = session.with_machine(&handle, |_| ()).is_some();
        let (mut out, mut scratch) = (BytesMut::new(), Vec::new());
        let asked = Asked(&self.world);
        let pumped = session.pump(&handle, context(&asked), self.now(), &mut out, &mut scratch);
        let came = read(&mut out, version);
        let kept = self.kept.get_mut(&session.id).expect("a session of the schedule");
        if !serves {
            assert!(
                came.is_empty() && pumped.end.is_none(),
                "who does not serve a session got {came:?}"
            );
            return;
        }
        assert!(!kept.over, "a session that is over was served");
        let known = kept.known;
        let alive = known.alive(self.unix);
        let world = &self.world;
        let (expected, ended) = kept.model.pump(
            self.unix,
            alive,
            |message| message.by.is_some_and(|by| is_withdrawn(world, by)),
            |message| known.receives(message.topic),
        );
        kept.model.compare(&expected, &came);
        assert_eq!(pumped.end.is_some(), ended, "the end of the token");
        let sent: u64 = pumped.sent.iter().sum();
        let messages = came.iter().filter(|one| one.number > 0).count();
        assert_eq!(sent, messages as u64);
        let dropped = pumped.dropped.iter().any(|d| matches!(d, Delivered::Dropped("expired", _)));
        note(("pump qos", came.iter().map(|one| (one.qos, one.dup, one.number == 0)).max()));
        note((
            "pump",
            came.len().min(3),
            came.first().map(|c| c.dup),
            pumped.dropped.len().min(2),
            dropped,
            ended,
        ));
        if let Some(end) = pumped.end {
            self.leave(conn, end);
        }
    }

    /// The connection is over and tells its session.
    pub(super) fn leave(&mut self, conn: usize, end: End) {
        let Conn { session, handle, .. } = self.conns.swap_remove(conn);
        note(("leave", end.cause.as_str(), end.forget));
        let was_serving = session.with_machine(&handle, |_| ()).is_some();
        let had_ended = session.has_ended();
        match session.leave(&handle, &end, self.now()) {
            Left::Replaced(next) => assert!(!Arc::ptr_eq(&next, &handle) && !was_serving),
            Left::Kept(will) => {
                let kept = self.kept.get_mut(&session.id).expect("a session of the schedule");
                assert!(!kept.over && was_serving);
                kept.model.unattended();
                self.schedule(&session);
                self.publish_will(&session, will);
            }
            Left::Outlived => assert!(!was_serving && !session.is_connected()),
            Left::Over(will) => {
                assert!(was_serving || had_ended, "who was replaced ended the session");
                self.publish_will(&session, will);
                self.forget(&session);
            }
        }
    }

    /// Takes a session out of everything, as the broker does.
    pub(super) fn forget(&mut self, session: &Arc<Session>) -> Option<Will> {
        self.registry.remove(session);
        let finished = session.finish();
        drop(session.routes.try_lock().map(|mut routes| routes.take()));
        let kept = self.kept.get_mut(&session.id).expect("a session of the schedule");
        let waiting = std::mem::take(&mut kept.model.waiting);
        let left = waiting.len() + kept.model.returnable();
        assert!(kept.over || finished.undelivered.len() == left, "not all is given back");
        kept.over = true;
        finished.will
    }

    pub(super) fn publish_will(&mut self, session: &Session, will: Option<Will>) {
        let Some(will) = will else { return };
        let topic = will.topic.to_string();
        let published = self.with_context(session, |cx| will.publish(cx));
        let allowed = self.kept.get(&session.id).is_some_and(|kept| kept.known.publishes(&topic));
        assert_eq!(published.is_ok(), allowed, "a will on {topic}");
        let Ok(message) = published else { return };
        let number = u32::from_be_bytes(message.payload[..].try_into().expect("a number"));
        let before = self.wills.insert(number, WillState::Published);
        assert_eq!(before, Some(WillState::Set), "will {number} of {}", session.client_id);
        note("will");
        let by = self.kept[&session.id].known;
        self.route(&Arc::new(message), Some(by));
    }

    /// Sessions of this device, or all, are looked at again after trust has changed.
    pub(super) fn trust_changed(&mut self, touched: Vec<Arc<Session>>) {
        for session in touched {
            let grant = session.rights().grant().clone();
            let Err(code) = chain::still_holds(&grant, &self.world, at(self.unix)) else {
                continue;
            };
            note(("revoked", code.as_str(), session.is_connected()));
            let end = End::revoked(code, &parts().policy);
            session.disconnect(end);
            drop(self.forget(&session));
            let kept = &self.kept[&session.id];
            if let Some(WillState::Set) = kept.will.and_then(|will| self.wills.get(&will)) {
                self.wills.insert(kept.will.unwrap_or_default(), WillState::Never);
            }
        }
    }

    /// Time passes, and what is due happens.
    pub(super) fn advance(&mut self, seconds: u64) {
        self.unix += seconds;
        // The feed is followed all the time: staleness is for the target `token`.
        self.world.trusted_at = Some(at(self.unix));
        self.monotonic += Duration::from_secs(seconds);
        let due: Vec<_> = self
            .timers
            .iter()
            .filter(|(_, at)| **at <= self.monotonic)
            .map(|(id, at)| (*id, *at))
            .collect();
        for (id, rang) in due {
            self.timers.remove(&id);
            let Some(session) = self.registry.get(id) else { continue };
            match session.due(rang, self.now()) {
                Due::Later(_) => self.schedule(&session),
                Due::Told => assert!(session.is_connected()),
                Due::Nothing => {}
                Due::Will(will) => {
                    self.schedule(&session);
                    self.publish_will(&session, Some(will));
                }
                Due::Over => {
                    note("over");
                    let will = self.forget(&session);
                    self.publish_will(&session, will);
                }
            }
        }
    }

    /// Invariants after every step.
    pub(super) fn check(&self) {
        let all = self.registry.all();
        assert_eq!(all.len(), self.registry.len());
        for session in &all {
            let kept = &self.kept[&session.id];
            assert!(!kept.over && !session.has_ended() || kept.over == session.has_ended());
            assert!(self
                .registry
                .find(&session.tenant, &session.client_id)
                .is_some_and(|s| s.id == session.id));
            let rights = session.rights();
            let grant = rights.grant();
            let filed = |found: Vec<Arc<Session>>| found.iter().any(|one| one.id == session.id);
            assert!(filed(self.registry.of_device(grant.tenant(), grant.device())));
            assert!(filed(self.registry.of_group(grant.tenant(), grant.epochs().group_number)));
            assert!(filed(self.registry.of_key(grant.key_id())));
            assert!(filed(self.registry.of_tenant(grant.tenant())));
            let kept_all =
                session.look(|m| m.subscriptions().all(|h| rights.keeps(&h.subscription)));
            assert!(kept_all, "a subscription outside the rights");
            let holds = chain::still_holds(grant, &self.world, grant.issued());
            assert!(holds.is_ok(), "a session outlived its rights: {holds:?}");
        }
        for (id, kept) in &self.kept {
            assert_eq!(kept.session.outbox.len(), kept.model.waiting.len(), "the outbox of {id:?}");
            if kept.over {
                assert!(self.registry.get(*id).is_none() && kept.session.outbox.is_closed());
            }
            let serving = self.conns.iter().filter(|conn| {
                conn.session.id == *id && conn.session.with_machine(&conn.handle, |_| ()).is_some()
            });
            assert!(serving.count() <= 1, "two connections serve one session");
        }
        for conn in &self.conns {
            let serves = conn.session.with_machine(&conn.handle, |_| ()).is_some();
            assert!(
                serves || conn.handle.ended().is_some(),
                "a connection serves nothing and was not told"
            );
        }
    }

    /// Every client that is still there reads and acknowledges: nothing is left.
    pub(super) fn drain(&mut self) {
        let handles: Vec<Arc<ConnectionHandle>> =
            self.conns.iter().map(|conn| Arc::clone(&conn.handle)).collect();
        for handle in handles {
            while let Some(conn) = self.place(&handle) {
                let id = self.conns[conn].session.id;
                self.pump(conn);
                let steps = self.kept[&id].model.steps();
                for step in &steps {
                    self.place(&handle)
                        .into_iter()
                        .for_each(|conn| steps::answer(self, conn, *step));
                }
                if steps.is_empty() {
                    break;
                }
            }
            let Some(conn) = self.place(&handle) else { continue };
            let session = &self.conns[conn].session;
            let served = session.with_machine(&handle, |_| ()).is_some();
            assert!(
                !served || self.kept[&session.id].model.is_idle(),
                "something stays undelivered"
            );
        }
        self.check();
    }

    /// Where the connection of this handle is, while it is there.
    fn place(&self, handle: &Arc<ConnectionHandle>) -> Option<usize> {
        self.conns.iter().position(|conn| Arc::ptr_eq(&conn.handle, handle))
    }

    /// The devices of the schedule.
    pub(super) fn of_device(&self, which: usize) -> Vec<Arc<Session>> {
        self.registry.of_device(&tenant("acme"), &device(DEVICES[which % DEVICES.len()]))
    }
}

fn read(out: &mut BytesMut, version: Version) -> Vec<Expected> {
    let mut came = Vec::new();
    while !out.is_empty() {
        let Ok(Step::Frame(frame)) = FrameReader::new(1 << 20).next(out) else {
            panic!("half a packet was written")
        };
        came.push(match codec::decode(&frame, version, Peer::Server) {
            Ok(Packet::Publish(publish)) => Expected {
                number: u32::from_be_bytes(publish.payload[..].try_into().expect("a number")),
                qos: publish.qos as u8,
                dup: publish.dup,
                packet_id: publish.packet_id,
            },
            Ok(Packet::PubRel(ack)) => {
                Expected { number: 0, qos: 2, dup: false, packet_id: Some(ack.packet_id) }
            }
            _ => panic!("a client cannot read what was written"),
        });
    }
    came
}
