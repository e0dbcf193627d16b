//! The publishes and subscriptions that were asked for.

use tessera_simulators::mqtt::{Incoming, Link};
use tessera_token::claims::Claims;
use tessera_token::topic::{Subscription, TopicName};

use super::super::TEST_MESSAGE;
use super::trouble::{Act, Trouble};
use super::visit::Visit;

/// Rights of the device by its token, and by a new one.
pub(super) struct Rights<'a> {
    pub(super) held: &'a Claims,
    pub(super) fresh: Option<&'a Claims>,
}

impl Rights<'_> {
    fn act(&self, name: &str, told: String, publish: bool) -> Act {
        let covers = |claims: &Claims| match publish {
            true => TopicName::parse(name).is_ok_and(|topic| claims.scope.may_publish(&topic)),
            false => {
                Subscription::parse(name).is_ok_and(|one| claims.scope.may_subscribe(&one.filter))
            }
        };
        let entries = self.held.scope.entries().iter().filter(|entry| match publish {
            true => entry.permission.publish(),
            false => entry.permission.subscribe(),
        });
        Act {
            name: name.to_owned(),
            told,
            rights: entries.map(|entry| entry.filter.as_str().to_owned()).collect(),
            covered: covers(self.held),
            by_new: self.fresh.is_some_and(covers),
        }
    }
}

/// Tries each on `link`; without one, those that the token does not cover are told.
pub(super) async fn run(
    visit: &mut Visit,
    mut link: Option<Link>,
    topics: &[String],
    filters: &[String],
    rights: &Rights<'_>,
) {
    for filter in filters {
        if let Err(error) = Subscription::parse(filter) {
            visit.bad("subscribe", Trouble::FilterBad(filter.clone(), error.to_string()));
        } else if let Err(told) = subscribed(&mut link, filter).await {
            refused(visit, rights.act(filter, told, false), false);
        } else if link.is_some() {
            visit.good("subscribe", format!("{filter} is granted"));
        }
    }
    for topic in topics {
        if let Err(error) = TopicName::parse(topic) {
            visit.bad("publish", Trouble::TopicBad(topic.clone(), error.to_string()));
        } else if let Err(told) = published(&mut link, topic).await {
            refused(visit, rights.act(topic, told, true), true);
        } else if link.is_some() {
            visit.good("publish", format!("the broker acknowledged a test message to {topic}"));
        }
    }
    if let Some(link) = link {
        link.close().await;
    }
}

fn refused(visit: &mut Visit, act: Act, publish: bool) {
    // A step that was not tried is no fault, unless the token settles it.
    if act.told == NOT_TRIED && act.covered {
        return;
    }
    match publish {
        true => visit.bad("publish", Trouble::Publish(act)),
        false => visit.bad("subscribe", Trouble::Subscribe(act)),
    }
}

const NOT_TRIED: &str = "not tried";

async fn subscribed(link: &mut Option<Link>, filter: &str) -> Result<(), String> {
    let open = link.as_mut().ok_or(NOT_TRIED)?;
    open.subscribe(filter).map_err(|error| error.to_string())?;
    answer(link).await
}

async fn published(link: &mut Option<Link>, topic: &str) -> Result<(), String> {
    let open = link.as_mut().ok_or(NOT_TRIED)?;
    open.publish(topic, true, TEST_MESSAGE.to_vec()).map_err(|error| error.to_string())?;
    answer(link).await
}

/// The answer, or the reason of the refusal. A connection that ended is taken away.
async fn answer(link: &mut Option<Link>) -> Result<(), String> {
    let Some(open) = link.as_mut() else { return Err(NOT_TRIED.to_owned()) };
    match open.answer().await {
        Incoming::PublishRefused(why) | Incoming::SubscribeRefused(why) => Err(why),
        Incoming::Closed(closed) => {
            *link = None;
            Err(closed.to_string())
        }
        Incoming::Subscribed
        | Incoming::Published
        | Incoming::Completed
        | Incoming::Message { .. } => Ok(()),
    }
}
