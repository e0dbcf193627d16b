//! The world, step by step, and each act to its device when its time comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tessera_runtime::stop::Stop;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::act::{self, Act, Made, Other, Sources};
use super::outsider;
use super::pace::Pace;
use super::plan::Plan;
use super::player::Queued;
use super::stage::Stage;
use crate::detection::flow::Generator;
use crate::operator::{segment, tenant_path};

/// An act and its receiver, in the time of the process.
enum Due {
    Of(usize, Act),
    Other(Other),
}

/// See the module.
pub(super) struct Dispatcher<'a> {
    pub(super) stage: &'a Arc<Stage>,
    pub(super) pace: Pace,
    pub(super) places: &'a BTreeMap<String, usize>,
    /// The queue of each device; none for one that could not enrol.
    pub(super) queues: Vec<Option<mpsc::Sender<Queued>>>,
    /// A token of the fleet, as strangers have seen one.
    pub(super) sample: Vec<u8>,
}

impl Dispatcher<'_> {
    /// Plays one step of five minutes after the other, until the scenario is over, `until` is reached or `stop`. No more
    /// than one step is in memory. The answer is the last moment of the scenario that was reached.
    pub(super) async fn go(
        &self,
        world: &mut Generator,
        until: Option<Duration>,
        stop: &Stop,
    ) -> u64 {
        let sources = Sources::of(&self.stage.plan.broker.host);
        let mut acts: Vec<(u64, Due)> = Vec::new();
        let mut reached = world.begin();
        while let Some(slot) = world.next_slot() {
            let end = slot.end;
            slot.each(|seen| match act::of(seen, &self.stage.plan.prefix, sources) {
                Made::Of(act) => {
                    if let Some(place) = self.places.get(seen.device) {
                        acts.push((seen.at, Due::Of(*place, act)));
                    }
                }
                Made::Other(other) => acts.push((seen.at, Due::Other(other))),
                Made::Nothing => {}
            });
            for (at, due) in acts.drain(..) {
                let when = self.pace.due(at);
                if until.is_some_and(|until| when > until) || !self.wait(when, stop).await {
                    return reached;
                }
                reached = at;
                match due {
                    Due::Of(place, act) => self.hand(place, act, when).await,
                    Due::Other(other) => self.other(other),
                }
            }
            let when = self.pace.due(end);
            let last = until.map_or(when, |until| when.min(until));
            if !self.wait(last, stop).await || last < when {
                return reached;
            }
            reached = end;
        }
        reached
    }

    /// Whether the time came before `stop`.
    async fn wait(&self, when: Duration, stop: &Stop) -> bool {
        let now = self.stage.now();
        if when <= now {
            return !stop.is_stopping();
        }
        tokio::select! {
            () = sleep(when - now) => true,
            () = stop.stopping() => false,
        }
    }

    async fn hand(&self, place: usize, act: Act, due: Duration) {
        let Some(queue) = self.queues.get(place).and_then(Option::as_ref) else {
            return self.stage.leave_out();
        };
        let Ok(room) = Arc::clone(&self.stage.room).acquire_owned().await else { return };
        if queue.try_send(Queued { act, due, _room: room }).is_err() {
            self.stage.leave_out();
        }
    }

    fn other(&self, other: Other) {
        match other {
            Other::Stranger { code, from, name, credential } => {
                let room = Arc::clone(&self.stage.outsiders).try_acquire_owned();
                let Ok(room) = room else { return self.stage.leave_out() };
                let broker = &self.stage.world.broker;
                let connect = outsider::stranger(&self.sample, code, &name, credential, broker);
                let tally = Arc::clone(self.stage.tally());
                tokio::spawn(async move {
                    outsider::attempt(connect, from, "stranger", &tally).await;
                    drop(room);
                });
            }
            Other::Announced { group, millis } => {
                let seconds =
                    self.pace.lasts(millis).as_secs().clamp(1, super::limits::ANNOUNCED_SECONDS);
                let plan = &self.stage.plan;
                let group = Plan::group(group);
                let verb = format!("groups/{}/announce", segment(&group));
                let path = tenant_path(plan.tenant.as_str(), &verb);
                let body = json!({ "seconds": seconds, "reason": "a roll-out of the scenario" });
                let (operator, tally) = (plan.operator.clone(), Arc::clone(self.stage.tally()));
                tokio::spawn(async move {
                    if let Err(error) = operator.post(&path, &body).await {
                        let code = error.code().map_or("http_error", |code| code.as_str());
                        tally.failure(&format!("announce:{code}"));
                    }
                });
            }
        }
    }
}
