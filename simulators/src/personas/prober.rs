//! The prober: a valid token, and a try at everything that it does not cover.

use crate::mqtt::{Closed, Connect, Incoming, Link, Version};
use crate::report::Tally;

/// The outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// Publishes and subscriptions tried.
    pub attempts: u32,
    /// Of them refused, by acknowledgement or by an end of the connection.
    pub refused: u32,
    /// Topics and filters that were allowed: none, or the product is broken.
    pub breaches: Vec<String>,
    /// Tries whose connection could not be made.
    pub unanswered: u32,
}

/// Publishes outside its scope (`others` are devices whose topics it tries).
pub fn topics(own: &str, others: &[String]) -> Vec<String> {
    let mut topics: Vec<String> = ["telemetry", "cmd", "state"]
        .iter()
        .flat_map(|leaf| others.iter().map(move |other| format!("d/{other}/{leaf}")))
        .collect();
    topics.extend([
        format!("d/{own}/cmd"),
        format!("d/{own}/telemetry/x"),
        format!("d/{own}x/telemetry"),
        format!("d//{own}/telemetry"),
        format!("D/{own}/telemetry"),
        "d".to_owned(),
        "admin/config".to_owned(),
        "$SYS/broker/uptime".to_owned(),
        "$tessera/alerts".to_owned(),
    ]);
    topics
}

/// Subscriptions outside its scope.
pub fn filters(own: &str, others: &[String]) -> Vec<String> {
    let mut filters: Vec<String> = others.iter().map(|other| format!("d/{other}/cmd")).collect();
    filters.extend([
        "#".to_owned(),
        "+/+/+".to_owned(),
        "d/#".to_owned(),
        "d/+/telemetry".to_owned(),
        "d/+/cmd".to_owned(),
        format!("d/{own}/#"),
        "$share/g/d/+/cmd".to_owned(),
        "$share/g/#".to_owned(),
        "$SYS/#".to_owned(),
        "$tessera/alerts".to_owned(),
        "$tessera/#".to_owned(),
    ]);
    filters
}

enum Try<'a> {
    Publish(&'a str),
    Subscribe(&'a str),
}

/// Tries everything once. `connect` makes a CONNECT with a fresh proof for every connection that is needed.
pub async fn attempt(
    mut connect: impl FnMut() -> Connect,
    topics: &[String],
    filters: &[String],
    tally: &Tally,
) -> Probe {
    let mut probe = Probe::default();
    let mut link = None;
    let tries = topics.iter().map(|topic| Try::Publish(topic));
    for attempt in tries.chain(filters.iter().map(|filter| Try::Subscribe(filter))) {
        probe.attempts += 1;
        if link.is_none() {
            let connect = Connect { version: Version::V5, ..connect() };
            match Link::open(&connect).await {
                Ok(opened) => link = Some(opened),
                Err(closed) => {
                    probe.unanswered += 1;
                    tally.refusal(&format!("prober:{}", closed.kind()));
                    continue;
                }
            }
        }
        if let Some(open) = link.as_mut() {
            if one(open, &attempt, &mut probe, tally).await {
                link = None;
            }
        }
    }
    if let Some(link) = link {
        link.close().await;
    }
    probe
}

/// One try; true when the connection is gone after it.
async fn one(link: &mut Link, attempt: &Try<'_>, probe: &mut Probe, tally: &Tally) -> bool {
    let (text, sent) = match attempt {
        Try::Publish(topic) => (*topic, link.publish(topic, true, b"probe".to_vec())),
        Try::Subscribe(filter) => (*filter, link.subscribe(filter)),
    };
    if sent.is_err() {
        probe.unanswered += 1;
        return true;
    }
    match link.answer().await {
        Incoming::PublishRefused(why) => {
            probe.refused += 1;
            tally.refusal(&format!("prober:publish:{why}"));
            false
        }
        Incoming::SubscribeRefused(why) => {
            probe.refused += 1;
            tally.refusal(&format!("prober:subscribe:{why}"));
            false
        }
        Incoming::Closed(Closed::Silent) => {
            probe.unanswered += 1;
            true
        }
        Incoming::Closed(closed) => {
            probe.refused += 1;
            tally.refusal(&format!("prober:{}", closed.kind()));
            true
        }
        Incoming::Published
        | Incoming::Completed
        | Incoming::Subscribed
        | Incoming::Message { .. } => {
            probe.breaches.push(text.to_owned());
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_token::scope::{Permission, Scope, ScopeEntry};
    use tessera_token::topic::{TopicFilter, TopicName};

    #[test]
    fn nothing_that_is_probed_is_within_a_sensors_scope() {
        let entry = |text: &str, permission| ScopeEntry {
            filter: TopicFilter::parse(text).unwrap(),
            permission,
        };
        let scope = Scope::new(vec![
            entry("d/p/telemetry", Permission::Publish),
            entry("d/p/cmd", Permission::Subscribe),
        ])
        .unwrap();
        let others = ["sensor-1".to_owned()];
        for topic in topics("p", &others) {
            assert!(!scope.may_publish(&TopicName::parse(&topic).unwrap()), "{topic}");
        }
        for filter in filters("p", &others) {
            let bare = filter.strip_prefix("$share/g/").unwrap_or(&filter);
            assert!(!scope.may_subscribe(&TopicFilter::parse(bare).unwrap()), "{filter}");
        }
    }
}
