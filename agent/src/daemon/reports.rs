//! Reports: what passed on the connections that other programs hold.

use tessera_token::refusal::RefusalCode;
use tessera_token::topic::{Subscription, TopicName};

use super::decisions::network;
use super::sessions::Session;
use super::state::State;
use super::wire::{Action, Noted, Report, Seen};
use crate::behaviour::{Fault, NewConnection, Observation};
use crate::limits;

impl State {
    /// Takes reports in, in order.
    pub(super) fn report(&self, reports: &[Report]) -> Vec<Noted> {
        reports.iter().map(|report| self.note(report)).collect()
    }

    fn note(&self, report: &Report) -> Noted {
        let taken = match self.sessions.get(&report.session) {
            Some(session) => self.take(report, &session).map(|()| session),
            None => Err(RefusalCode::NotFound),
        };
        let outcome = taken.as_ref().map_or_else(|code| code.as_str(), |_| "taken");
        self.reports.inc(&[report.seen.kind(), outcome]);
        let session = match taken {
            Ok(session) => session,
            Err(code) => return Noted::not_taken(code),
        };
        if matches!(report.seen, Seen::Disconnected { .. }) {
            return Noted { taken: true, holds: false, code: None, words: None };
        }
        let holds = self.validator.still_holds(session.grant());
        let ended = holds.and_then(|()| self.validator.not_held_back(&session.asked(), true)).err();
        let (code, words) = (ended.map(RefusalCode::as_str), ended.map(RefusalCode::words));
        Noted { taken: true, holds: ended.is_none(), code, words }
    }

    fn take(&self, report: &Report, session: &Session) -> Result<(), RefusalCode> {
        let seen = match &report.seen {
            Seen::Connected { address, keep_alive, fingerprint } => {
                let new = NewConnection::of(session.grant(), network(*address));
                let (client, keep_alive) = (session.client(), *keep_alive);
                let fingerprint = *fingerprint;
                let new = NewConnection { client, keep_alive, fingerprint, ..new };
                session.connected(&self.observer, &new);
                return Ok(());
            }
            Seen::Alive {} => return Ok(()),
            Seen::Disconnected { clean } => {
                session.disconnected(&self.observer, *clean);
                self.sessions.close(&report.session);
                return Ok(());
            }
            Seen::Published { topic, count, bytes } => {
                sound(*count, *bytes)?;
                TopicName::parse(topic).map_err(|_| RefusalCode::RequestMalformed)?;
                Observation::PublishedMany { topic, count: *count, bytes: *bytes }
            }
            Seen::Received { count, bytes } => {
                sound(*count, *bytes)?;
                let bytes = usize::try_from(*bytes).unwrap_or(usize::MAX);
                Observation::Received { count: *count, bytes }
            }
            Seen::Subscribed { filter } => {
                Subscription::parse(filter).map_err(|_| RefusalCode::RequestMalformed)?;
                Observation::Subscribed { filter }
            }
            Seen::Refused { action, topic } => {
                Subscription::parse(topic).map_err(|_| RefusalCode::RequestMalformed)?;
                Observation::Refused { code: action.refusal(), topic }
            }
            Seen::Fault { fault } => {
                let fault = Fault::parse(fault).ok_or(RefusalCode::RequestMalformed)?;
                Observation::Faulted(fault)
            }
        };
        self.observer.observe(session.device(), seen);
        Ok(())
    }
}

/// A report is of at least one message, and no message is larger than MQTT allows.
fn sound(count: u32, bytes: u64) -> Result<(), RefusalCode> {
    let most = u64::from(count).saturating_mul(limits::MESSAGE_BYTES);
    if count > 0 && bytes <= most {
        Ok(())
    } else {
        Err(RefusalCode::RequestMalformed)
    }
}

impl Action {
    fn refusal(self) -> RefusalCode {
        match self {
            Self::Publish => RefusalCode::PublishNotAuthorised,
            Self::Subscribe => RefusalCode::SubscribeNotAuthorised,
        }
    }
}

impl Noted {
    /// Of a session that is not known, too, the caller ends the connection; a report that cannot be read changes nothing.
    fn not_taken(code: RefusalCode) -> Self {
        let holds = code != RefusalCode::NotFound;
        Self { taken: false, holds, code: Some(code.as_str()), words: Some(code.words()) }
    }
}
