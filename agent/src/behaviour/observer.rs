use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::Arc;

use tessera_token::chain::Subject;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tokio::sync::broadcast;

use super::alert::Alert;
use super::observation::{text_hash, Network, NewConnection, Observation, SubjectKind};
use crate::limits;

const RECENT_TOPICS: usize = 4;

/// The session's side of behaviour tracking. Cheap to clone; nothing here ever waits.
#[derive(Clone)]
pub struct Observer {
    shared: Arc<Shared>,
}

struct Shared {
    queue: SyncSender<Entry>,
    dropped: AtomicU64,
    sessions: AtomicU32,
    alerts: broadcast::Sender<Arc<Alert>>,
}

/// One session's device: its names, and the counts that the tracker has not fetched yet.
#[derive(Clone)]
pub struct DeviceHandle(Arc<Session>);

pub(super) struct Session {
    pub(super) tenant: TenantId,
    pub(super) device: DeviceId,
    /// Tells the sessions of one device apart; never 0.
    pub(super) id: u32,
    published: AtomicU32,
    bytes: AtomicU64,
    /// Whether the tracker has been told that there are counts.
    told: AtomicBool,
    recent: [AtomicU64; RECENT_TOPICS],
    oldest: AtomicUsize,
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
    /// Publishes and their bytes since the last time.
    pub(super) fn take(&self) -> (u32, u64) {
        // First the flag: a publish behind this line tells the tracker again.
        self.told.store(false, Ordering::Release);
        (self.published.swap(0, Ordering::AcqRel), self.bytes.swap(0, Ordering::Relaxed))
    }
}

/// Messages to the tracker.
pub(super) struct Entry {
    pub(super) device: DeviceHandle,
    pub(super) what: What,
}

pub(super) enum What {
    Activity,
    Topic(u64),
    Connected { network: u32, key: u32, group: u64, kind: SubjectKind },
    Disconnected { clean: bool },
    Subscribed,
    Refused { code: RefusalCode, topic: u64 },
    RequestRefused { code: RefusalCode },
    Outside { code: RefusalCode, network: u32 },
    Gap(u32),
}

impl Observer {
    /// An observer and the end at which the tracker takes entries out.
    pub(super) fn new() -> (Self, Receiver<Entry>) {
        let (queue, entries) = std::sync::mpsc::sync_channel(limits::OBSERVATIONS);
        let shared = Shared {
            queue,
            dropped: AtomicU64::new(0),
            sessions: AtomicU32::new(0),
            alerts: broadcast::Sender::new(limits::ALERTS),
        };
        let shared = Arc::new(shared);
        (Self { shared }, entries)
    }

    /// The handle of one session of a device. Every session has its own.
    pub fn device(&self, tenant: &TenantId, device: &DeviceId) -> DeviceHandle {
        let id = self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        DeviceHandle(Arc::new(Session {
            tenant: tenant.clone(),
            device: device.clone(),
            id: id.wrapping_mul(2) | 1,
            published: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            told: AtomicBool::new(false),
            recent: Default::default(),
            oldest: AtomicUsize::new(0),
        }))
    }

    /// Notes what a session saw. Never waits; what finds the queue full is dropped and counted.
    pub fn observe(&self, device: &DeviceHandle, observation: Observation<'_>) {
        let what = match observation {
            Observation::Published { topic, bytes } => return self.published(device, topic, bytes),
            Observation::Connected(connection) => connected(&connection),
            Observation::Disconnected { clean } => What::Disconnected { clean },
            Observation::Subscribed => What::Subscribed,
            Observation::RequestRefused { code } => What::RequestRefused { code },
            Observation::Refused { code, topic } => {
                What::Refused { code, topic: topic.map_or(0, text_hash) }
            }
        };
        self.push(device, what);
    }

    /// Notes a refusal before there was a session, under the name of the device whose token was presented: that device
    /// may be the victim.
    pub fn observe_refusal(&self, subject: &Subject, code: RefusalCode, network: Network) {
        let device = self.device(&subject.tenant, &subject.device);
        let network = network.mark();
        self.push(&device, What::Outside { code, network });
    }

    /// Notes by how much a proof counter went up.
    pub fn observe_gap(&self, subject: &Subject, gap: u32) {
        if gap > 1 {
            let device = self.device(&subject.tenant, &subject.device);
            self.push(&device, What::Gap(gap));
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

    pub(super) fn tell(&self, alert: Arc<Alert>) {
        // Without a reader the alert is still in the log and the metrics.
        let _ = self.shared.alerts.send(alert);
    }

    fn published(&self, device: &DeviceHandle, topic: &str, bytes: usize) {
        let session = device.session();
        // Ordered with `Session::take`: an adder behind its swap sees the flag that it took down before.
        session.published.fetch_add(1, Ordering::AcqRel);
        session.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let topic = text_hash(topic);
        if !session.recent.iter().any(|known| known.load(Ordering::Relaxed) == topic)
            && self.push(device, What::Topic(topic))
        {
            let place = session.oldest.fetch_add(1, Ordering::Relaxed) % RECENT_TOPICS;
            if let Some(place) = session.recent.get(place) {
                place.store(topic, Ordering::Relaxed);
            }
        }
        if !session.told.load(Ordering::Relaxed)
            && !session.told.swap(true, Ordering::AcqRel)
            && !self.push(device, What::Activity)
        {
            // The counts stay; the next publish tries again.
            session.told.store(false, Ordering::Release);
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

fn connected(connection: &NewConnection) -> What {
    let key = connection.key.map_or(0, |key| {
        let [a, b, c, d, ..] = *key.as_bytes();
        u32::from_be_bytes([a, b, c, d]) | 1
    });
    What::Connected {
        network: connection.network.mark(),
        key,
        group: connection.group,
        kind: connection.kind,
    }
}
