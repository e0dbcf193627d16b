//! One entry of the queue: to the engine, and to the inventory of topics.

use std::time::Duration;

use crate::location::Locator;
use tessera_behaviour::alert::Alert;
use tessera_behaviour::detector::Detector;
use tessera_behaviour::engine::Engine;
use tessera_behaviour::observation::{
    Connected, Denial, Event, Messages, Network, Observation, Place, UnixMillis,
};
use tessera_token::refusal::RefusalCode;
use tessera_token::topic::TopicFilter;

use super::observer::{Entry, Session, What};
use super::recording::Recording;
use crate::inventory::{Book, Operation};

/// The places that entries go to in one step.
pub(super) struct Step<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) alerts: &'a mut Vec<Alert>,
    pub(super) book: &'a mut Book,
    pub(super) record: Option<&'a mut Recording>,
    /// Where addresses are.
    pub(super) locator: Option<&'a Locator>,
    /// The time of the observations.
    pub(super) at: UnixMillis,
    /// The same on a clock that is never set.
    pub(super) lived: Duration,
}

impl Step<'_> {
    /// Takes one entry in.
    pub(super) fn take_in(&mut self, entry: &Entry) {
        let of = entry.device.session();
        match &entry.what {
            What::Counts => {
                let session = of.connection();
                of.take(|event| self.see(of, session, event));
            }
            What::Published { topic, count, bytes } => {
                let event = Event::Published(Messages { topic, count: *count, bytes: *bytes });
                self.see(of, of.connection(), event);
            }
            What::Connected(opened) => {
                let event = Event::Connected(Connected {
                    network: opened.network,
                    key: opened.key,
                    group: opened.group,
                    kind: opened.kind,
                    fingerprint: opened.fingerprint,
                    keep_alive: opened.keep_alive,
                    client: &opened.client,
                    place: self.place(opened.network),
                });
                self.see(of, opened.connection.into(), event);
            }
            What::Disconnected { connection, clean } => {
                self.see(of, (*connection).into(), Event::Disconnected { clean: *clean });
            }
            What::Subscribed(filter) => {
                self.see(of, of.connection(), Event::Subscribed { filter });
            }
            What::Holds { subscribed, topic } => {
                let operation = if *subscribed { Operation::Subscribe } else { Operation::Publish };
                if let Some(topic) = plain(topic) {
                    self.book.used((&of.tenant, &of.device), (operation, topic), 0, self.lived);
                }
            }
            What::Refused { code, topic } => {
                let denial =
                    topic.as_deref().map(|topic| Denial::of(topic, of.device.as_str(), of.level));
                let event = Event::Refused { code: *code, topic: topic.as_deref(), denial };
                self.see(of, of.connection(), event);
            }
            What::Faulted(fault) => self.see(of, of.connection(), Event::Faulted(*fault)),
            What::Outside { code, network } => {
                self.see(of, 0, Event::Outside { code: *code, network: *network });
            }
            What::Gap(step) => self.see(of, 0, Event::Skipped { step: *step }),
        }
    }

    /// The place of a network's address, when files know it.
    fn place(&self, network: Network) -> Option<Place> {
        let Network::Address(address) = network else { return None };
        let place = self.locator?.place(address);
        place.is_known().then_some(place)
    }

    fn see(&mut self, of: &Session, session: u64, event: Event<'_>) {
        self.note(of, &event);
        let (at, tenant, device) = (self.at, of.tenant.as_str(), of.device.as_str());
        let seen = Observation { at, tenant, device, session, event };
        if let Some(record) = &mut self.record {
            record.write(&seen, self.lived);
        }
        self.engine.observe(&seen, self.alerts);
    }

    /// Notes in the inventory what the event says of topics.
    fn note(&mut self, of: &Session, event: &Event<'_>) {
        let (whose, lived) = ((&of.tenant, &of.device), self.lived);
        match *event {
            Event::Connected(_) => self.book.opened(&of.tenant, &of.device, lived),
            Event::Disconnected { .. } => self.book.closed(&of.tenant, &of.device),
            Event::Published(Messages { topic, count, .. }) => {
                self.book.used(whose, (Operation::Publish, topic), count, lived);
            }
            Event::Subscribed { filter } => {
                if let Some(filter) = plain(filter) {
                    self.book.used(whose, (Operation::Subscribe, filter), 1, lived);
                }
            }
            Event::Refused { code, topic: Some(topic), .. } => {
                let operation = match code {
                    RefusalCode::PublishNotAuthorised => Operation::Publish,
                    RefusalCode::SubscribeNotAuthorised => Operation::Subscribe,
                    _ => return,
                };
                if let Some(topic) = plain(topic) {
                    self.book.refused(whose, (operation, topic), code, lived);
                }
            }
            _ => {}
        }
    }
}

/// The filter of a shared subscription without its share, and none of a text that no role can name.
fn plain(text: &str) -> Option<&str> {
    let filter = match text.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/')?.1,
        None => text,
    };
    TopicFilter::parse(filter).ok().map(|_| filter)
}
