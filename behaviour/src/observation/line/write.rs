//! An observation as its line.

use std::borrow::Cow;

use super::Members;
use crate::observation::{Denial, Event, Messages, Network, Observation, Place, SubjectKind};

/// The line of an observation, without its line end.
pub fn to_line(observation: &Observation<'_>) -> String {
    let mut members = Members {
        t: observation.at as f64 / 1000.0,
        tenant: Cow::Borrowed(observation.tenant),
        device: Cow::Borrowed(observation.device),
        session: observation.session,
        ..Members::default()
    };
    members.kind = Cow::Borrowed(fill(&mut members, observation));
    // A struct of numbers and texts: JSON holds all of it.
    serde_json::to_string(&members).unwrap_or_default()
}

fn fill<'a>(members: &mut Members<'a>, observation: &Observation<'a>) -> &'static str {
    match observation.event {
        Event::Connected(connected) => {
            members.net = net(connected.network);
            members.key = (connected.key != 0).then_some(connected.key);
            members.group = Some(connected.group);
            members.service = connected.kind == SubjectKind::Service;
            members.fp = (connected.fingerprint != 0).then_some(connected.fingerprint);
            members.keep_alive = Some(connected.keep_alive);
            members.client =
                (connected.client != observation.device).then_some(connected.client.into());
            if let Some(place) = connected.place {
                fill_place(members, &place);
            }
            "connect"
        }
        Event::Disconnected { clean } => {
            members.clean = clean;
            "disconnect"
        }
        Event::Published(messages) => {
            fill_messages(members, messages);
            "publish"
        }
        Event::Received(messages) => {
            fill_messages(members, messages);
            "receive"
        }
        Event::Subscribed { filter } => {
            members.filter = Some(filter.into());
            "subscribe"
        }
        Event::Pinged { count } => {
            members.count = Some(count);
            "ping"
        }
        Event::Refused { code, topic, denial } => {
            members.code = Some(code.as_str().into());
            members.topic = topic.map(Cow::Borrowed);
            members.denial = denial.map(|denial| match denial {
                Denial::Own => "own".into(),
                Denial::Owner(owner) => {
                    members.owner = Some(owner.into());
                    "owner".into()
                }
                Denial::Wide => "wide".into(),
                Denial::System => "system".into(),
            });
            "refuse"
        }
        Event::Faulted(fault) => {
            members.fault = Some(fault.as_str().into());
            "fault"
        }
        Event::Outside { code, network } => {
            members.code = Some(code.as_str().into());
            members.net = net(network);
            "outside"
        }
        Event::Stranger { code, network, name, credential } => {
            members.code = Some(code.as_str().into());
            members.net = net(network);
            members.name = name.map(Cow::Borrowed);
            members.credential = (credential != 0).then_some(credential);
            "stranger"
        }
        Event::Skipped { step } => {
            members.step = Some(step);
            "gap"
        }
        Event::Announced { group, until } => {
            members.group = Some(group);
            members.until = Some(until as f64 / 1000.0);
            "announce"
        }
    }
}

fn fill_place(members: &mut Members<'_>, place: &Place) {
    members.asn = (place.asn != 0).then_some(place.asn);
    members.country = place.country.map(|_| place.country().to_owned().into());
    if let Some(point) = place.point {
        members.latitude = Some(point.latitude);
        members.longitude = Some(point.longitude);
        members.radius_km = Some(point.radius_km);
    }
    members.built = (place.built != 0).then_some(place.built);
    members.relay = place.relay;
}

fn fill_messages<'a>(members: &mut Members<'a>, messages: Messages<'a>) {
    members.topic = Some(messages.topic.into());
    members.bytes = Some(messages.bytes);
    members.count = (messages.count != 1).then_some(messages.count);
}

fn net(network: Network) -> Option<Cow<'static, str>> {
    match network {
        Network::Address(address) => Some(address.to_string().into()),
        Network::Local => None,
    }
}
