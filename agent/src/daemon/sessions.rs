//! Decision sessions: the grants of connections that other programs hold.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_runtime::metrics::Gauge;
use tessera_token::chain::Subject;
use tessera_token::encoding;
use tessera_token::grant::Grant;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use crate::behaviour::{DeviceHandle, NewConnection, Observer};
use crate::limits;
use crate::validator::restrictions::{Asked, Circumstances, Proved};

/// The name of a session: random, so that only its caller can report on it.
pub(super) type SessionId = [u8; 16];

/// One open session.
pub(super) struct Session {
    grant: Grant,
    client: Box<str>,
    device: DeviceHandle,
    reports: bool,
    /// When its device was let in by its proof.
    proved: UnixSeconds,
    network: String,
    /// The number of its connection for behaviour tracking; 0 while none was told.
    connection: AtomicU32,
}

impl Session {
    pub(super) fn new(
        grant: Grant,
        client: &str,
        reports: bool,
        (proved, network): (UnixSeconds, String),
        observer: &Observer,
    ) -> Self {
        let (device, connection) = (observer.device(&grant), AtomicU32::new(0));
        Self { grant, client: client.into(), device, reports, proved, network, connection }
    }

    /// As restraints and rules ask it.
    pub(super) fn asked(&self) -> Asked<'_> {
        let of = Circumstances {
            client_id: &self.client,
            network: &self.network,
            proved: Proved::by_key_of(&self.grant),
            is_partner: false,
        };
        Asked { grant: &self.grant, of, since: self.proved }
    }

    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    pub(super) fn client(&self) -> &str {
        &self.client
    }

    pub(super) fn device(&self) -> &DeviceHandle {
        &self.device
    }

    pub(super) fn subject(&self) -> Subject {
        Subject { tenant: self.grant.tenant().clone(), device: self.grant.device().clone() }
    }

    /// Whether its caller reports what passes.
    pub(super) fn reports(&self) -> bool {
        self.reports
    }

    /// Tells that its connection is open. One that was told before is over with that.
    pub(super) fn connected(&self, observer: &Observer, new: &NewConnection<'_>) {
        let number = observer.connected(&self.device, new);
        let before = self.connection.swap(number, Ordering::Relaxed);
        if before != 0 {
            observer.disconnected(&self.device, before, false);
        }
    }

    /// Tells that its connection is over, when it was told that there was one.
    pub(super) fn disconnected(&self, observer: &Observer, clean: bool) {
        let number = self.connection.swap(0, Ordering::Relaxed);
        if number != 0 {
            observer.disconnected(&self.device, number, clean);
        }
    }
}

/// All open sessions, at most [`limits::DAEMON_SESSIONS`].
pub(super) struct Sessions {
    rows: Mutex<Rows>,
    open: Gauge,
}

#[derive(Default)]
struct Rows {
    by_id: HashMap<SessionId, Arc<Session>>,
    /// Sessions of one client id of a tenant, the oldest first.
    by_client: HashMap<(Box<str>, Box<str>), VecDeque<SessionId>>,
}

/// Why a session was not opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Sessions {
    pub(super) fn new(open: Gauge) -> Self {
        Self { rows: Mutex::default(), open }
    }

    /// Whether there is room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.rows.lock().by_id.len() < limits::DAEMON_SESSIONS
    }

    /// Opens a session. Gives the older ones of the same client id whose place it takes: all of callers that do not
    /// report, since the new connection ends theirs, and those above [`limits::DAEMON_SESSIONS_PER_CLIENT`].
    pub(super) fn open(&self, id: SessionId, new: Arc<Session>) -> Result<Vec<Arc<Session>>, Full> {
        let mut rows = self.rows.lock();
        if rows.by_id.len() >= limits::DAEMON_SESSIONS {
            return Err(Full);
        }
        let key = key_of(&new);
        let Rows { by_id, by_client } = &mut *rows;
        let of_client = by_client.entry(key).or_default();
        let most = limits::DAEMON_SESSIONS_PER_CLIENT;
        let mut ended = Vec::new();
        let mut above = (of_client.len() + 1).saturating_sub(most);
        of_client.retain(|older| {
            let is_over = by_id.get(older).is_none_or(|older| above > 0 || !older.reports);
            if is_over {
                above = above.saturating_sub(1);
                ended.extend(by_id.remove(older));
            }
            !is_over
        });
        of_client.push_back(id);
        by_id.insert(id, new);
        self.measure(&rows);
        Ok(ended)
    }

    /// The session of this name.
    pub(super) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.rows.lock().by_id.get(&parse(id)?).cloned()
    }

    /// Lets a session go.
    pub(super) fn close(&self, id: &str) {
        if let Some(id) = parse(id) {
            let mut rows = self.rows.lock();
            rows.remove(&id);
            self.measure(&rows);
        }
    }

    /// Lets all sessions go whose grant has ended by `ended`, and gives them.
    pub(super) fn sweep(
        &self,
        ended: impl Fn(&Grant) -> Result<(), RefusalCode>,
    ) -> Vec<Arc<Session>> {
        let all: Vec<(SessionId, Arc<Session>)> = {
            let rows = self.rows.lock();
            rows.by_id.iter().map(|(id, session)| (*id, Arc::clone(session))).collect()
        };
        let mut gone = Vec::new();
        for (id, session) in all {
            // A verifier that cannot tell at present may be able to later.
            if ended(&session.grant).is_err_and(|code| !code.cannot_tell()) {
                self.rows.lock().remove(&id);
                gone.push(session);
            }
        }
        self.measure(&self.rows.lock());
        gone
    }

    fn measure(&self, rows: &Rows) {
        self.open.set(&[], i64::try_from(rows.by_id.len()).unwrap_or(i64::MAX));
    }
}

impl Rows {
    fn remove(&mut self, id: &SessionId) {
        let Some(session) = self.by_id.remove(id) else { return };
        let key = key_of(&session);
        if let Some(of_client) = self.by_client.get_mut(&key) {
            of_client.retain(|one| one != id);
            if of_client.is_empty() {
                self.by_client.remove(&key);
            }
        }
    }
}

fn key_of(session: &Session) -> (Box<str>, Box<str>) {
    (session.grant.tenant().as_str().into(), session.client.clone())
}

fn parse(id: &str) -> Option<SessionId> {
    encoding::from_base64url(id)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use tessera_runtime::metrics::Metrics;

    use super::*;
    use crate::testing::*;

    #[tokio::test]
    async fn a_full_table_opens_no_session() {
        let folder = tempfile::tempdir().unwrap();
        let (world, metrics) = (World::new(), Metrics::new());
        let verifier = Verifier::trusting(folder.path(), &world);
        let password = world.password(&world.token(), NOW, 1);
        let grant = verifier.validator.admit(&password, DEVICE).await.unwrap().grant;
        let sessions = Sessions::new(metrics.gauge("open", "of a test", &[]).unwrap());
        let id = |number: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            id
        };
        let open = |number: usize, client: &str| {
            let proved = (UnixSeconds::new(0), String::new());
            let session = Session::new(grant.clone(), client, true, proved, &verifier.observer);
            sessions.open(id(number), Arc::new(session)).map(|ended| ended.len())
        };
        for number in 0..limits::DAEMON_SESSIONS {
            assert!(sessions.has_room());
            assert_eq!(open(number, &format!("{DEVICE}~{number}")), Ok(0));
        }
        assert!(!sessions.has_room());
        assert_eq!(open(limits::DAEMON_SESSIONS, DEVICE), Err(Full));
        // A verifier that cannot tell keeps them; a token that has ended does not.
        assert!(sessions.sweep(|_| Err(RefusalCode::TrustStale)).is_empty());
        let gone = sessions.sweep(|_| Err(RefusalCode::TokenExpired));
        assert_eq!(gone.len(), limits::DAEMON_SESSIONS);
        assert!(sessions.has_room() && sessions.rows.lock().by_client.is_empty());
    }
}
