//! The states that a session can be in when its right ends.

use tessera_broker::codec::{
    Ack, Disconnect, Packet, Password, Properties, PropertyId, Publish, QoS, ReasonCode, Version,
};
use tessera_token::ace;
use tessera_token::scope::Scope;

use super::super::Chance;
use super::{delay, Kind, LIFE};
use crate::client::{plan, publish, retained, Client, Plan, VERSIONS};
use crate::transports::ace::{answer, auth, layout_b};
use crate::world::{device_key, scope, World};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Idle,
    Exact,
    Wildcard,
    Shared,
    /// A QoS 1 message to it that it has not acknowledged.
    Unacked,
    /// A QoS 2 message to it, before PUBREC.
    Unreceived,
    /// A QoS 2 message to it, before PUBCOMP.
    Uncompleted,
    /// A QoS 2 message from it, before PUBREL.
    Unreleased,
    /// Away, and messages wait for it.
    Queued,
    Will,
    DelayedWill,
    Retained,
    RetainedAway,
    /// A message that it published waits for others.
    Heard,
    HeardAway,
    /// Half-way through re-authentication: it was challenged.
    Challenged,
    /// The CONNECT is being judged.
    Connecting,
}

pub const ALL: [State; 17] = [
    State::Idle,
    State::Exact,
    State::Wildcard,
    State::Shared,
    State::Unacked,
    State::Unreceived,
    State::Uncompleted,
    State::Unreleased,
    State::Queued,
    State::Will,
    State::DelayedWill,
    State::Retained,
    State::RetainedAway,
    State::Heard,
    State::HeardAway,
    State::Challenged,
    State::Connecting,
];

impl State {
    /// Whether a message of it waits for an absent client.
    pub fn is_heard(self) -> bool {
        matches!(self, Self::Retained | Self::RetainedAway | Self::Heard | Self::HeardAway)
    }
}

pub struct Subject {
    pub state: State,
    pub name: String,
    pub version: Version,
    pub token: Vec<u8>,
    /// `None` when it is away.
    pub line: Option<Client>,
    /// The bytes that it sends when its right has just ended.
    pub last_words: Vec<u8>,
}

pub fn rights(name: &str) -> Scope {
    let topic = |last: &str| format!("d/{name}/{last}");
    scope(&[("pub", &topic("telemetry")), ("pub", &topic("status")), ("sub", &topic("+"))])
}

pub fn ack(id: u16) -> Ack {
    Ack::new(id, ReasonCode::SUCCESS)
}

/// The id of the QoS 2 message that is never released.
pub const HELD: u16 = 7;

fn plan_of<'w>(world: &'w World, one: &Subject) -> Plan<'w> {
    plan(world, &one.name, one.version).token(one.token.clone()).kept(80_000)
}

pub async fn enter(
    world: &World,
    hub: &mut Client,
    state: State,
    name: &str,
    kind: Kind,
    chance: &mut Chance,
) -> Subject {
    let needs_5 = matches!(state, State::Shared | State::DelayedWill | State::Challenged);
    let version = if needs_5 { Version::V5 } else { VERSIONS[chance.below(2)] };
    let token =
        world.token_with(name, rights(name), |claims| claims.expires = claims.issued.plus(LIFE));
    let (name, last_words) = (name.to_owned(), Vec::new());
    let mut one = Subject { state, name, version, token, line: None, last_words };
    one.line = match state {
        State::Connecting => Some(begin(world, &one).await),
        State::Challenged => Some(challenged(world, &mut one, kind).await),
        State::Will | State::DelayedWill => will(world, &one).await,
        _ if state.is_heard() => publisher(world, hub, &one).await,
        _ => reader(world, hub, &one).await,
    };
    one
}

/// Sends the CONNECT, and does not wait for what becomes of it.
pub async fn begin(world: &World, one: &Subject) -> Client {
    let mut connect = plan_of(world, one).connect;
    let password = world.password(&one.name, &one.name, one.token.clone());
    connect.password = Some(Password::new(password.into()));
    let mut client = Client::raw(world, one.version).await;
    client.send(&Packet::Connect(Box::new(connect))).await;
    client
}

/// An `ace` session that asked to authenticate again and was challenged.
async fn challenged(world: &World, one: &mut Subject, kind: Kind) -> Client {
    let mut connect = plan_of(world, one).connect;
    connect.properties = Properties::build()
        .text(PropertyId::AuthMethod, ace::METHOD)
        .binary(PropertyId::AuthData, &layout_b(one.token.clone()))
        .number(PropertyId::SessionExpiry, 80_000)
        .finish()
        .unwrap();
    let mut client = Client::raw(world, one.version).await;
    client.send(&Packet::Connect(Box::new(connect))).await;
    let nonce = nonce(&mut client).await;
    client.bytes(&answer(&device_key(&one.name), nonce)).await;
    assert!(matches!(client.next().await, Some(Packet::ConnAck(ack)) if !ack.reason.is_error()));
    let next = world.token_with(&one.name, rights(&one.name), |c| c.expires = c.issued.plus(LIFE));
    client.bytes(&auth(ReasonCode::RE_AUTHENTICATE, &layout_b(next))).await;
    let nonce = self::nonce(&mut client).await;
    // A token that was revoked says nothing about the next one, so then the answer must not come first.
    if kind != Kind::Token {
        one.last_words = answer(&device_key(&one.name), nonce);
    }
    client
}

async fn nonce(client: &mut Client) -> ace::Nonce {
    match client.next().await {
        Some(Packet::Auth(auth)) => {
            ace::Nonce::parse(&auth.properties.binary(PropertyId::AuthData).unwrap()).unwrap()
        }
        other => panic!("expected AUTH, got {other:?}"),
    }
}

async fn will(world: &World, one: &Subject) -> Option<Client> {
    let topic = format!("d/{}/status", one.name);
    if one.state == State::Will {
        return Some(plan_of(world, one).will(&topic, Properties::new()).open().await);
    }
    leave_a_will(plan_of(world, one).will(&topic, delay(30)).open().await).await;
    None
}

/// Goes, and its will is to come.
pub async fn leave_a_will(mut client: Client) {
    let reason = ReasonCode::DISCONNECT_WITH_WILL;
    client.send(&Packet::Disconnect(Disconnect { reason, properties: Properties::new() })).await;
    client.closed().await;
}

async fn publisher(world: &World, hub: &mut Client, one: &Subject) -> Option<Client> {
    let mut client = plan_of(world, one).open().await;
    let packet = match one.state {
        State::Heard | State::HeardAway => {
            publish(&format!("d/{}/telemetry", one.name), QoS::AtLeastOnce, b"up")
        }
        _ => retained(&format!("d/{}/status", one.name), b"up"),
    };
    client.send(&packet).await;
    client.acked().await;
    assert_eq!(&hub.message().await.payload[..], b"up");
    if matches!(one.state, State::Retained | State::Heard) {
        return Some(client);
    }
    client.goodbye().await;
    None
}

async fn reader(world: &World, hub: &mut Client, one: &Subject) -> Option<Client> {
    let mut client = plan_of(world, one).open().await;
    let cmd = format!("d/{}/cmd", one.name);
    match one.state {
        State::Idle => {}
        State::Unreleased => {
            client.send(&exactly(&format!("d/{}/telemetry", one.name), HELD)).await;
            assert!(
                matches!(client.next().await, Some(Packet::PubRec(rec)) if rec.packet_id == HELD)
            );
        }
        State::Wildcard => {
            subscribe(&mut client, &format!("d/{}/+", one.name), QoS::AtLeastOnce).await
        }
        State::Shared => subscribe(&mut client, &format!("$share/g/{cmd}"), QoS::AtLeastOnce).await,
        _ => subscribe(&mut client, &cmd, QoS::ExactlyOnce).await,
    }
    match one.state {
        State::Queued => {
            client.goodbye().await;
            send_exactly(hub, &cmd).await;
            hub.publish_acked(&cmd, b"queued").await;
            return None;
        }
        State::Unacked => {
            hub.publish_acked(&cmd, b"in flight").await;
            client.unacked_message().await;
        }
        State::Unreceived | State::Uncompleted => {
            send_exactly(hub, &cmd).await;
            let id = client.unacked_message().await.packet_id.unwrap();
            if one.state == State::Uncompleted {
                client.send(&Packet::PubRec(ack(id))).await;
                assert!(matches!(client.next().await, Some(Packet::PubRel(_))));
            }
        }
        _ => {}
    }
    Some(client)
}

pub fn exactly(topic: &str, id: u16) -> Packet {
    match publish(topic, QoS::ExactlyOnce, b"exactly once") {
        Packet::Publish(one) => Packet::Publish(Publish { packet_id: Some(id), ..one }),
        other => other,
    }
}

async fn send_exactly(hub: &mut Client, topic: &str) {
    hub.send(&exactly(topic, HELD)).await;
    assert!(matches!(hub.next().await, Some(Packet::PubRec(_))));
    hub.send(&Packet::PubRel(ack(HELD))).await;
    assert!(matches!(hub.next().await, Some(Packet::PubComp(_))));
}

async fn subscribe(client: &mut Client, filter: &str, qos: QoS) {
    assert!(!client.subscribe(filter, qos).await.is_error(), "{filter}");
}
