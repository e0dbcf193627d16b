use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_behaviour::observation::{Fault, Network, SubjectKind};
use tessera_token::chain::Subject;
use tessera_token::grant::Grant;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tokio::sync::broadcast;

use super::counts::{kept, Counts};
use super::observation::{name_level, NewConnection, Observation};
use super::stranger::{Mark, Refused, Strangers, Waiting};
use super::Alert;
use crate::limits;

/// The session's side of behaviour tracking. Cheap to clone; nothing here ever waits.
#[derive(Clone)]
pub struct Observer {
    shared: Arc<Shared>,
}

struct Shared {
    queue: SyncSender<Entry>,
    strangers: Strangers,
    dropped: AtomicU64,
    connections: AtomicU32,
    alerts: broadcast::Sender<Arc<Alert>>,
}

/// One session's device: its names, and the counts that the engine has not fetched yet.
#[derive(Clone)]
pub struct DeviceHandle(Arc<Session>);

pub(super) struct Session {
    pub(super) tenant: TenantId,
    pub(super) device: DeviceId,
    /// The level at which its topics have its name.
    pub(super) level: usize,
    /// The number of its present connection; 0 while there is none.
    connection: AtomicU32,
    counts: Mutex<Counts>,
}

impl DeviceHandle {
    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    /// The device.
    pub fn device(&self) -> &DeviceId {
        &self.0.device
    }

    pub(super) fn session(&self) -> &Session {
        &self.0
    }
}

impl Session {
    fn new(tenant: &TenantId, device: &DeviceId, level: usize) -> Self {
        Self {
            tenant: tenant.clone(),
            device: device.clone(),
            level,
            connection: AtomicU32::new(0),
            counts: Mutex::default(),
        }
    }

    pub(super) fn connection(&self) -> u64 {
        self.connection.load(Ordering::Relaxed).into()
    }

    /// Gives what was counted since the last time.
    pub(super) fn take(&self, each: impl FnMut(tessera_behaviour::observation::Event<'_>)) {
        self.counts.lock().take(each);
    }
}

/// Messages to the engine.
pub(super) struct Entry {
    pub(super) device: DeviceHandle,
    pub(super) what: What,
}

pub(super) enum What {
    /// There are counts.
    Counts,
    /// Publishes to a topic for which the counts had no room.
    Published {
        topic: Box<str>,
        count: u32,
        bytes: u64,
    },
    Connected(Box<Opened>),
    Disconnected {
        connection: u32,
        clean: bool,
    },
    Subscribed(Box<str>),
    Holds {
        subscribed: bool,
        topic: Box<str>,
    },
    Refused {
        code: RefusalCode,
        topic: Option<Box<str>>,
    },
    Faulted(Fault),
    Outside {
        code: RefusalCode,
        network: Network,
    },
    Gap(u32),
}

/// An opened connection.
pub(super) struct Opened {
    pub(super) connection: u32,
    pub(super) network: Network,
    pub(super) key: u32,
    pub(super) group: u64,
    pub(super) kind: SubjectKind,
    pub(super) client: Box<str>,
    pub(super) keep_alive: u16,
    pub(super) fingerprint: u32,
}

/// The ends at which what waits is taken out.
pub(super) struct Ends {
    pub(super) entries: Receiver<Entry>,
    pub(super) strangers: Receiver<Waiting>,
}

impl Observer {
    /// An observer, and the ends of its queues. `key` makes the marks of credentials.
    pub(super) fn new(key: [u8; 16]) -> (Self, Ends) {
        let (queue, entries) = std::sync::mpsc::sync_channel(limits::OBSERVATIONS);
        let (strangers, waiting) = Strangers::new(key);
        let shared = Shared {
            queue,
            strangers,
            dropped: AtomicU64::new(0),
            connections: AtomicU32::new(0),
            alerts: broadcast::Sender::new(limits::ALERTS),
        };
        let shared = Arc::new(shared);
        (Self { shared }, Ends { entries, strangers: waiting })
    }

    /// The handle of one session of the holder of `grant`. Every session has its own.
    pub fn device(&self, grant: &Grant) -> DeviceHandle {
        DeviceHandle(Arc::new(Session::new(grant.tenant(), grant.device(), name_level(grant))))
    }

    pub(super) fn named(&self, subject: &Subject) -> DeviceHandle {
        DeviceHandle(Arc::new(Session::new(&subject.tenant, &subject.device, 1)))
    }

    /// Notes that a connection of the session was opened. When it takes the place of an older one, this comes before that
    /// one's [`Observer::disconnected`]: otherwise two holders of one key look like one that moves. Returns the number of
    /// the connection.
    pub fn connected(&self, device: &DeviceHandle, new: &NewConnection<'_>) -> u32 {
        let number = self.shared.connections.fetch_add(1, Ordering::Relaxed).wrapping_mul(2) | 1;
        device.session().connection.store(number, Ordering::Relaxed);
        let key = new.key.map_or(0, |key| {
            let [a, b, c, d, ..] = *key.as_bytes();
            u32::from_be_bytes([a, b, c, d]) | 1
        });
        let opened = Opened {
            connection: number,
            network: new.network,
            key,
            group: new.group,
            kind: new.kind,
            client: kept(new.client),
            keep_alive: new.keep_alive,
            fingerprint: new.fingerprint,
        };
        self.push(device, What::Connected(Box::new(opened)));
        number
    }

    /// Notes that a connection ended; `clean` when the device sent DISCONNECT.
    pub fn disconnected(&self, device: &DeviceHandle, connection: u32, clean: bool) {
        self.push(device, What::Disconnected { connection, clean });
    }

    /// Notes what a connection saw. Never waits; what finds the queue full is dropped and counted.
    pub fn observe(&self, device: &DeviceHandle, observation: Observation<'_>) {
        let what = match observation {
            Observation::Published { topic, bytes } => {
                return self.published(device, topic, 1, bytes as u64);
            }
            Observation::PublishedMany { topic, count, bytes } => {
                return self.published(device, topic, count, bytes);
            }
            Observation::Received { count, bytes } => {
                return self.count(device, |counts| counts.received(count, bytes));
            }
            Observation::Pinged => return self.count(device, Counts::pinged),
            Observation::Subscribed { filter } => What::Subscribed(kept(filter)),
            Observation::Holds { subscribed, topic } => {
                What::Holds { subscribed, topic: kept(topic) }
            }
            Observation::RequestRefused { code } => What::Refused { code, topic: None },
            Observation::Refused { code, topic } => {
                What::Refused { code, topic: Some(kept(topic)) }
            }
            Observation::Faulted(fault) => What::Faulted(fault),
        };
        self.push(device, what);
    }

    /// Notes a refusal before there was a session, under the name of the device whose token was presented: that device
    /// may be the victim.
    pub fn observe_refusal(&self, subject: &Subject, code: RefusalCode, network: Network) {
        self.push(&self.named(subject), What::Outside { code, network });
    }

    /// Notes a refused peer that showed no signed token. It is about no device, whatever name it asked for. Never waits.
    pub fn observe_stranger(&self, refused: &Refused<'_>) {
        self.shared.strangers.tell(refused);
    }

    /// The mark of a password: of its token alone, when it holds one.
    pub fn mark_of_password(&self, password: &[u8]) -> Mark {
        self.shared.strangers.of_password(password)
    }

    /// The mark of a token, or of another credential.
    pub fn mark_of(&self, credential: &[u8]) -> Mark {
        self.shared.strangers.of_bytes(credential)
    }

    /// The mark of a name with a credential.
    pub fn mark_of_pair(&self, name: &str, credential: Mark) -> Mark {
        self.shared.strangers.of_pair(name, credential)
    }

    /// Notes by how much a proof counter went up.
    pub fn observe_gap(&self, subject: &Subject, gap: u32) {
        if gap > 1 {
            self.push(&self.named(subject), What::Gap(gap));
        }
    }

    /// Alerts from now on. A receiver that lagged has missed some.
    pub fn alerts(&self) -> broadcast::Receiver<Arc<Alert>> {
        self.shared.alerts.subscribe()
    }

    /// How many observations were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// How many strangers were dropped since the start.
    pub(super) fn strangers_dropped(&self) -> u64 {
        self.shared.strangers.dropped()
    }

    pub(super) fn tell(&self, alert: Arc<Alert>) {
        // Without a reader the alert is still in the log and the metrics.
        let _ = self.shared.alerts.send(alert);
    }

    fn published(&self, device: &DeviceHandle, topic: &str, count: u32, bytes: u64) {
        let mut has_room = true;
        self.count(device, |counts| has_room = counts.published(topic, count, bytes));
        if !has_room {
            self.push(device, What::Published { topic: kept(topic), count, bytes });
        }
    }

    /// Counts in the session, and tells the engine once that there are counts.
    fn count(&self, device: &DeviceHandle, count: impl FnOnce(&mut Counts)) {
        let mut counts = device.session().counts.lock();
        count(&mut counts);
        if !counts.is_told {
            // When the queue is full the counts stay, and the next message tries again.
            counts.is_told = self.push(device, What::Counts);
        }
    }

    fn push(&self, device: &DeviceHandle, what: What) -> bool {
        let device = device.clone();
        let sent = self.shared.queue.try_send(Entry { device, what }).is_ok();
        if !sent {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }
}
