//! Wildcard and shared filters, through the commit logs of rumqttd's router.
//!
//! 1. [`WildcardRoutes::offer`] finds the filters that match (`filters.rs`, `tree.rs`). The only reader of a filter, as
//!    long as it keeps up, gets the message at once (`direct.rs`); for all others it wraps the message (`envelope.rs`)
//!    and queues it for the one writing thread (`writer.rs`).
//! 2. The router appends it to the commit log of each filter (`logs.rs`) and fans it out to the links of all readers.
//! 3. Each subscription has a link of its own, opened by the keeper of the routers (`links.rs`, `keeper.rs`), and a
//!    task that reads it no faster than its session drains (`feed.rs`). A shared group has one link for all members
//!    (`group.rs`), or none when a member has a persistent session (`durable_groups.rs`). So the commit log is the
//!    back-pressure; messages that it could not hold are counted and reported.
//!
//! The router sees log names, not topics: filters are matched once, here, with MQTT's rules for `$` topics, and the
//! message is checked again against the filter and the tenant when it comes out. See `router.rs` for the reasons.

mod atomic_options;
mod direct;
mod durable_groups;
mod era;
mod feed;
mod filters;
pub(in crate::routing) mod group;
mod keeper;
mod links;
mod logs;
mod names;
mod pulse;
mod router;
mod running;
#[cfg(test)]
mod tests;
pub(in crate::routing) mod tree;
mod writer;

use super::outbox::Outbox;
use super::{RoutingError, Tally};
use crate::limits::GROUP_MEMBERS;
use crate::message::envelope;
use crate::message::Options;
use crate::message::{Message, SubscriberId};
use crate::shares::Account;
use atomic_options::AtomicOptions;
use direct::DirectReader;
use durable_groups::DurableGroups;
use feed::{Feed, Reader};
use filters::{Filters, Found};
use group::Group;
use hashbrown::HashMap;
use keeper::Residues;
use links::{Links, NoLink};
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tessera_runtime::metrics::Stripes;
use tessera_token::ids::TenantId;
use tessera_token::topic::TopicFilter;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use writer::{Entry, Writer};

/// All wildcard and shared subscriptions of the broker.
pub struct WildcardRoutes {
    filters: Arc<Filters>,
    groups: Arc<Groups>,
    durable_groups: Arc<DurableGroups>,
    links: Links,
    writer: Writer,
    counters: Arc<Counters>,
    runtime: Handle,
}

type Groups = Mutex<HashMap<GroupKey, Arc<GroupFeed>>>;
type GroupKey = (TenantId, Arc<str>, TopicFilter);

struct GroupFeed {
    group: Arc<Group>,
    stop: CancellationToken,
    opened: OnceCell<()>,
}

#[derive(Default)]
struct Counters {
    published: AtomicU64,
    delivered: Stripes<AtomicU64>,
    gaps: AtomicU64,
    strays: AtomicU64,
    lost: AtomicU64,
    restarts: AtomicU64,
    renewals: AtomicU64,
    refused: AtomicU64,
    publishers_waited: AtomicU64,
    links_waited: AtomicU64,
    /// Messages that came out of a log and found no share, by QoS, until they are reported.
    no_share: [AtomicU64; 3],
}

/// Counters since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WildcardStats {
    /// Messages given to the router.
    pub published: u64,
    /// Messages handed to sessions and groups.
    pub delivered: u64,
    /// Messages that slow readers missed because the commit log turned over.
    pub gaps: u64,
    /// Messages left in a log by an earlier filter, not delivered.
    pub strays: u64,
    /// Messages that a router had not acknowledged when it died or was given up. They are counted for their readers
    /// (`gaps`).
    pub lost: u64,
    /// Times that a router was replaced because it died or hung.
    pub restarts: u64,
    /// Times that a router was replaced, without a loss, because its logs held much that no reader would read.
    pub renewals: u64,
    /// About how many bytes the router's logs hold.
    pub held: u64,
    /// Routers that were replaced and still have readers, or hang.
    pub old_routers: u64,
    /// Whether the router answers.
    pub answers: bool,
    /// Subscriptions refused because a limit was reached.
    pub refused: u64,
    /// Messages whose publisher had to wait for the router's queue.
    pub publishers_waited: u64,
    /// Subscriptions that had to wait because too many links were asked for at once.
    pub links_waited: u64,
}

/// A message on its way to filters that are reached through the router.
#[must_use = "it has not been delivered yet"]
pub struct Rest(Entry);

/// A subscription; ends when dropped.
pub struct WildcardSubscription {
    _ending: Option<Ending>,
    options: Arc<AtomicOptions>,
    member: Option<Member>,
}

/// How a subscription of one session ends: at once, on both ways.
struct Ending {
    stop: CancellationToken,
    direct: Arc<DirectReader>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.direct.end();
        self.stop.cancel();
    }
}

struct Member {
    groups: Arc<Groups>,
    durable_groups: Arc<DurableGroups>,
    key: GroupKey,
    outbox: Arc<Outbox>,
}

impl WildcardRoutes {
    /// Starts the router and the two threads before it. `runtime` runs the readers; the router is looked at every
    /// `tick`, which all waits for it are multiples of ([`limits::ROUTER_TICK`](crate::limits::ROUTER_TICK)).
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(runtime: Handle, tick: Duration) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let filters = Arc::<Filters>::default();
        let of_logs = Arc::clone(&filters);
        let residues: Residues = Arc::new(move |era| of_logs.residue(era));
        let links = Links::start(Arc::clone(&counters), residues, &runtime, tick)?;
        let writer = Writer::start(links.clone(), Arc::clone(&counters), runtime.clone())?;
        Ok(Self {
            filters,
            groups: Arc::default(),
            durable_groups: Arc::default(),
            links,
            writer,
            counters,
            runtime,
        })
    }

    /// Serves the groups that do not wait for the router; returns the number by which [`Self::offer`] leaves them out.
    pub fn publish_at_once(&self, message: &Arc<Message>, tally: &mut Tally) -> u64 {
        self.durable_groups.publish(message, tally)
    }

    /// Gives the message to the filters whose only reader keeps up; notes how many filters match, and tells what is
    /// still to be written for the others. The number in the tally says which groups had it already.
    pub fn offer(&self, message: &Arc<Message>, tally: &mut Tally) -> Option<Rest> {
        let Found { filters, done, lost, routes } = self.filters.route(message);
        (tally.filters, tally.lost) = (filters, lost);
        if done > 0 {
            self.counters.delivered.here().fetch_add(done, Ordering::Relaxed);
        }
        if routes.is_empty() {
            return None;
        }
        let envelope = envelope::wrap_numbered(tally.number, message);
        Some(Rest(Entry { routes, envelope }))
    }

    /// Gives the rest to the router. Waits while its queue is full. Cancel-safe: a cancelled call has written nothing.
    pub async fn write(&self, rest: Rest) {
        self.counters.published.fetch_add(1, Ordering::Relaxed);
        self.writer.write(rest.0).await;
    }

    /// Subscribes one session to a filter. Messages published after this returns are delivered.
    ///
    /// # Errors
    /// A limit is reached, or the router cannot be reached.
    pub async fn subscribe(
        &self,
        tenant: &TenantId,
        filter: &TopicFilter,
        outbox: &Arc<Outbox>,
        options: Options,
    ) -> Result<WildcardSubscription, RoutingError> {
        let options = Arc::new(AtomicOptions::new(options));
        let reader = Reader::Session { outbox: Arc::clone(outbox), options: Arc::clone(&options) };
        let stop = CancellationToken::new();
        let direct = DirectReader::new(outbox, &options);
        let ending = Ending { stop: stop.clone(), direct: Arc::clone(&direct) };
        let account = outbox.holding().account();
        self.open_feed((tenant, filter), account, reader, Some(direct), stop).await?;
        Ok(WildcardSubscription { _ending: Some(ending), options, member: None })
    }

    /// Makes a session a member of `$share/<name>/<filter>`.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub async fn join(
        &self,
        tenant: &TenantId,
        name: &Arc<str>,
        filter: &TopicFilter,
        outbox: &Arc<Outbox>,
        options: Options,
    ) -> Result<WildcardSubscription, RoutingError> {
        let key = (tenant.clone(), Arc::clone(name), filter.clone());
        let group = self.enter_group(&key, outbox, options, GROUP_MEMBERS)?;
        let subscription = self.member(key, outbox, options);
        if !group.group.is_at_once() {
            let opening = group.opened.get_or_try_init(|| {
                let reader = Reader::Group(Arc::clone(&group.group));
                let account = outbox.holding().account();
                self.open_feed((tenant, filter), account, reader, None, group.stop.clone())
            });
            opening.await?;
        }
        Ok(subscription)
    }

    /// As [`Self::join`] for a session that was kept over a restart, which was a member before: however many there are,
    /// and without a log or a link, since a group with a kept member needs none.
    pub(in crate::routing) fn rejoin(
        &self,
        tenant: &TenantId,
        name: &Arc<str>,
        filter: &TopicFilter,
        outbox: &Arc<Outbox>,
        options: Options,
    ) -> WildcardSubscription {
        let key = (tenant.clone(), Arc::clone(name), filter.clone());
        let entered = self.enter_group(&key, outbox, options, usize::MAX);
        debug_assert!(entered.is_ok(), "a group without a bound on its members refuses none");
        self.member(key, outbox, options)
    }

    fn member(
        &self,
        key: GroupKey,
        outbox: &Arc<Outbox>,
        options: Options,
    ) -> WildcardSubscription {
        let member = Member {
            groups: Arc::clone(&self.groups),
            durable_groups: Arc::clone(&self.durable_groups),
            key,
            outbox: Arc::clone(outbox),
        };
        let options = Arc::new(AtomicOptions::new(options));
        WildcardSubscription { _ending: None, options, member: Some(member) }
    }

    fn enter_group(
        &self,
        key: &GroupKey,
        outbox: &Arc<Outbox>,
        options: Options,
        most: usize,
    ) -> Result<Arc<GroupFeed>, RoutingError> {
        let mut groups = self.groups.lock();
        let feed = groups.entry(key.clone()).or_insert_with(|| {
            let stop = CancellationToken::new();
            Arc::new(GroupFeed { group: Arc::default(), stop, opened: OnceCell::new() })
        });
        match feed.group.join(outbox, options, most) {
            Some(_) => {
                if outbox.is_persistent() {
                    self.durable_groups.add(&key.0, &key.2, &feed.group);
                }
                Ok(Arc::clone(feed))
            }
            None => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                Err(RoutingError::QuotaExceeded)
            }
        }
    }

    async fn open_feed(
        &self,
        (tenant, filter): (&TenantId, &TopicFilter),
        account: Option<&Arc<Account>>,
        reader: Reader,
        direct: Option<Arc<DirectReader>>,
        stop: CancellationToken,
    ) -> Result<(), RoutingError> {
        let claim = self.filters.claim(tenant, filter, direct.as_ref(), account);
        let claim = claim.inspect_err(|_| {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        })?;
        let link = self.links.open(claim.log().text()).await.map_err(|reason| match reason {
            NoLink::TooMany => RoutingError::QuotaExceeded,
            NoLink::Unavailable => RoutingError::Unavailable,
        })?;
        let owed = claim.log().next_place();
        let feed = Feed {
            claim,
            reader,
            direct,
            links: self.links.clone(),
            counters: Arc::clone(&self.counters),
            stop,
        };
        self.runtime.spawn(feed.run(link, owed));
        Ok(())
    }

    /// Ends the router and all that waits for it.
    pub fn stop(&self) {
        self.links.stop();
    }

    /// Whether its router answers.
    pub fn is_healthy(&self) -> bool {
        self.links.health().is_good() && !self.links.is_closed()
    }

    /// As [`Routing::take_lost`](super::Routing::take_lost).
    pub(in crate::routing) fn take_lost(&self) -> [u64; 3] {
        self.counters.no_share.each_ref().map(|count| count.swap(0, Ordering::Relaxed))
    }

    /// Counters since start.
    pub fn stats(&self) -> WildcardStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WildcardStats {
            published: read(&self.counters.published),
            delivered: self.counters.delivered.all().map(read).sum(),
            gaps: read(&self.counters.gaps),
            strays: read(&self.counters.strays),
            lost: read(&self.counters.lost),
            restarts: read(&self.counters.restarts),
            renewals: read(&self.counters.renewals),
            held: read(&self.links.health().held),
            old_routers: read(&self.links.health().old),
            answers: self.links.health().is_good(),
            refused: read(&self.counters.refused),
            publishers_waited: read(&self.counters.publishers_waited),
            links_waited: read(&self.counters.links_waited),
        }
    }
}

impl WildcardSubscription {
    /// Other options for deliveries from now on.
    pub fn set_options(&self, options: Options) {
        self.options.set(options);
        if let Some(member) = &self.member {
            if let Some(feed) = member.groups.lock().get(&member.key) {
                feed.group.join(&member.outbox, options, GROUP_MEMBERS);
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        leave(&self.groups, &self.durable_groups, &self.key, self.outbox.id());
    }
}

fn leave(groups: &Groups, durable_groups: &DurableGroups, key: &GroupKey, id: SubscriberId) {
    let mut groups = groups.lock();
    let Some(feed) = groups.get(key) else { return };
    if feed.group.leave(id) == 0 {
        feed.stop.cancel();
        durable_groups.remove(&key.0, &key.2, &feed.group);
        groups.remove(key);
    }
}
