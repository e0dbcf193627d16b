//! One step of a schedule: what a client, the network, the clock or the operator does.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tessera_broker::authorisation::Rights;
use tessera_broker::codec::{
    self, Ack, Connect, Disconnect, FrameReader, Packet, Peer, Properties, PropertyId, Publish,
    QoS, ReasonCode, Step, Subscribe, SubscribeOptions, Subscription, Unsubscribe, Version,
};
use tessera_broker::message::SubscriberId;
use tessera_broker::routing::Outbox;
use tessera_broker::session::state_machine::{
    check_will, Answer, Context, ControlEffect, Effect, End,
};
use tessera_broker::session::{ConnectionHandle, Session, Stepped};
use tessera_token::chain;
use tessera_token::chain::KeyState;
use tessera_token::hash::TokenHash;
use tessera_token::ids::ClientId;

use super::grants::{known, Known};
use super::model::Model;
use super::parts::parts;
use super::sim::{context, Asked, Conn, Kept, Sim, WillState, TOPICS};
use crate::draw::Draw;
use crate::signal::note;
use crate::targets::world::{at, tenant};

/// Client id and its device.
const SLOTS: [(&str, usize); 3] = [("d-1", 0), ("d-1~b", 0), ("d-2", 1)];
const FILTERS: [&str; 10] =
    ["a/x", "a/y", "a/+", "a/#", "b/+", "b/1", "c", "#", "$share/g/a/x", "$tessera/status"];
const CONNECTIONS: usize = 8;
/// Packet ids of the clients' own publishes.
const RELEASE_IDS: [u16; 3] = [7, 8, 9];

pub(super) fn step(sim: &mut Sim, draw: &mut Draw<'_>) {
    let kind = draw.below(16);
    note(("step", kind));
    match kind {
        0 => connect(sim, draw),
        15 => {
            let id = RELEASE_IDS[draw.below(RELEASE_IDS.len())];
            packet(sim, draw, Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS)));
        }
        1 => {
            let entries = vec![Subscription {
                filter: draw_filter(draw),
                options: SubscribeOptions {
                    qos: qos(draw),
                    no_local: draw.one_in(4),
                    ..Default::default()
                },
            }];
            packet(
                sim,
                draw,
                Packet::Subscribe(Subscribe {
                    packet_id: 1,
                    properties: Properties::new(),
                    entries,
                }),
            );
        }
        2 => {
            let (topic, qos) = (draw.below(TOPICS.len()), qos(draw));
            let expires = draw.one_in(6).then(|| u64::from(draw.u8() & 15));
            let message = sim.message(topic, qos, expires);
            sim.route(&Arc::new(message), None);
        }
        3 => with_conn(sim, draw, |sim, conn, _| sim.pump(conn)),
        4 => with_conn(sim, draw, |sim, conn, draw| {
            let steps = sim.kept[&sim.conns[conn].session.id].model.steps();
            let any = (u16::from(draw.u8() & 15) + 1, draw.u8() % 3, draw.one_in(2));
            let step = if steps.is_empty() || draw.one_in(8) { any } else { *draw.pick(&steps) };
            answer(sim, conn, step);
        }),
        5 => with_conn(sim, draw, |sim, conn, _| sim.leave(conn, End::lost())),
        6 => with_conn(sim, draw, |sim, conn, _| {
            if let Some(end) = sim.conns[conn].handle.ended() {
                sim.leave(conn, end);
            }
        }),
        7 => revoke(sim, draw),
        8 => {
            let seconds = [0, 1, 5, 29, 31, 90, 101, 1][draw.below(8)];
            sim.advance(seconds);
        }
        9 => renew(sim, draw),
        10 => publish(sim, draw),
        11 => {
            let filters = vec![draw_filter(draw)];
            packet(
                sim,
                draw,
                Packet::Unsubscribe(Unsubscribe {
                    packet_id: 2,
                    properties: Properties::new(),
                    filters,
                }),
            );
        }
        12 => {
            let reason =
                if draw.one_in(3) { ReasonCode::DISCONNECT_WITH_WILL } else { ReasonCode::SUCCESS };
            let mut properties = Properties::build();
            if draw.one_in(3) {
                properties = properties.number(PropertyId::SessionExpiry, u32::from(draw.u8()));
            }
            let properties = properties.finish().unwrap_or_default();
            packet(sim, draw, Packet::Disconnect(Disconnect { reason, properties }));
        }
        13 => packet(sim, draw, Packet::PingReq),
        _ => raw(sim, draw),
    }
}

fn qos(draw: &mut Draw<'_>) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce][draw.below(4)]
}

fn draw_filter(draw: &mut Draw<'_>) -> bytestring::ByteString {
    draw.pick::<&str>(&FILTERS).to_owned().into()
}

fn with_conn(
    sim: &mut Sim,
    draw: &mut Draw<'_>,
    then: impl FnOnce(&mut Sim, usize, &mut Draw<'_>),
) {
    if !sim.conns.is_empty() {
        let conn = draw.below(sim.conns.len());
        then(sim, conn, draw);
    }
}

fn connect(sim: &mut Sim, draw: &mut Draw<'_>) {
    let (name, which) = SLOTS[draw.below(SLOTS.len())];
    let known = known(which, draw.below(super::grants::VARIANTS));
    let version = if draw.one_in(3) { Version::V311 } else { Version::V5 };
    let window = 1 + u32::from(draw.u8() & 7);
    let expiry = u32::from(draw.u8());
    let clean_start = draw.one_in(4);
    let keep_alive = u16::from(draw.u8() & 31);
    let will = draw.one_in(3).then(|| (draw.below(TOPICS.len()), u32::from(draw.u8() & 63)));
    if sim.conns.len() >= CONNECTIONS
        || chain::still_holds(&known.grant, &sim.world, at(sim.unix)).is_err()
    {
        return note("connect refused");
    }
    let v5 = version == Version::V5;
    let number = will.map(|_| sim.next_number());
    let properties = Properties::build()
        .number(PropertyId::ReceiveMaximum, window)
        .number(PropertyId::SessionExpiry, expiry);
    let connect = Connect {
        version,
        clean_start,
        keep_alive,
        properties: if v5 { properties.finish().unwrap_or_default() } else { Properties::new() },
        client_id: name.to_owned().into(),
        will: will.zip(number).map(|((topic, delay), number)| codec::Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: if v5 {
                Properties::build()
                    .number(PropertyId::WillDelay, delay)
                    .finish()
                    .unwrap_or_default()
            } else {
                Properties::new()
            },
            topic: TOPICS[topic].into(),
            payload: Bytes::copy_from_slice(&number.to_be_bytes()),
        }),
        user_name: None,
        password: None,
    };
    let rights = Rights::new(known.grant.clone());
    let asked = Asked(&sim.world);
    let cx = Context::at(&rights, context(&asked), SubscriberId(0), sim.now());
    let will_allowed = will.is_none_or(|(topic, _)| known.publishes(TOPICS[topic]));
    assert_eq!(check_will(&connect, cx).is_ok(), will_allowed);
    if !will_allowed {
        return note("will refused");
    }
    let window = if v5 { window as usize } else { 256 };
    let race = draw.one_in(8);
    let session = enter(sim, &connect, name, known, window);
    if let Some(number) = number {
        sim.wills.insert(number, WillState::Set);
    }
    if let Some(kept) = sim.kept.get_mut(&session.id) {
        kept.will = number;
    }
    sim.schedule(&session);
    if race {
        revoke(sim, draw);
    }
}

/// As `connection/open_session.rs`: resume, or take the place.
fn enter(
    sim: &mut Sim,
    connect: &Connect,
    name: &str,
    known: &'static Known,
    window: usize,
) -> Arc<Session> {
    let handle = Arc::new(ConnectionHandle::default());
    let client_id = ClientId::parse(name).expect("a client id");
    let found = sim.registry.find(&tenant("acme"), &client_id).filter(|session| {
        let kept = !session.look(|machine| machine.expiry()).is_zero();
        !connect.clean_start && kept && session.belongs_to(&known.grant)
    });
    if let Some(session) = found {
        if let Some(done) = resume(sim, connect, session, known, &handle, window) {
            return done;
        }
    }
    sim.number += 1;
    let id = SubscriberId(u64::from(sim.number));
    let policy = &parts().policy;
    let outbox = Outbox::with_limits(id, policy.queue_messages, policy.queue_bytes);
    let device = parts().observer.device(&known.grant);
    let routes = parts().routing.session(known.grant.tenant().clone(), Arc::clone(&outbox));
    let session = Session::new(known.grant.clone(), client_id, device, outbox, routes);
    let attached = session.attach(connect, &handle, false, context(&Asked(&sim.world)), sim.now());
    assert!(attached.is_ok_and(|(ack, will)| !ack.session_present && will.is_none()));
    let mut model = Model::default();
    model.attach(window);
    let kept = Kept { session: Arc::clone(&session), model, known, over: false, will: None };
    sim.kept.insert(id, kept);
    let replaced = sim.registry.enter(&session).unwrap_or_else(|_| panic!("the registry is full"));
    sim.conns.push(Conn { session: Arc::clone(&session), handle, version: connect.version });
    if let Some(old) = replaced {
        note(("replaced", old.is_connected()));
        old.disconnect(End::taken_over());
        let will = sim.forget(&old);
        sim.publish_will(&old, will);
    }
    session
}

fn resume(
    sim: &mut Sim,
    connect: &Connect,
    session: Arc<Session>,
    known: &'static Known,
    handle: &Arc<ConnectionHandle>,
    window: usize,
) -> Option<Arc<Session>> {
    let old_will = sim.kept[&session.id].will;
    let was_connected = session.is_connected();
    sim.registry.renew(&session, known.grant.clone());
    drop(session.narrow());
    sim.kept.get_mut(&session.id)?.known = known;
    let (ack, will) =
        session.attach(connect, handle, true, context(&Asked(&sim.world)), sim.now()).ok()?;
    assert!(ack.session_present);
    note(("resumed", was_connected, will.is_some()));
    sim.kept.get_mut(&session.id)?.model.attach(window);
    sim.conns.push(Conn {
        session: Arc::clone(&session),
        handle: Arc::clone(handle),
        version: connect.version,
    });
    sim.publish_will(&session, will);
    // A will that is not due by now never will be: the client came back in time.
    if let Some(state) = old_will.and_then(|will| sim.wills.get_mut(&will)) {
        if *state == WillState::Set {
            *state = WillState::Never;
        }
    }
    Some(session)
}

fn publish(sim: &mut Sim, draw: &mut Draw<'_>) {
    let (topic, qos) = (draw.below(TOPICS.len()), qos(draw));
    let packet_id = RELEASE_IDS[draw.below(RELEASE_IDS.len())];
    let number = sim.next_number();
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic: TOPICS[topic].into(),
        packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
        properties: Properties::new(),
        payload: Bytes::copy_from_slice(&number.to_be_bytes()),
    };
    packet(sim, draw, Packet::Publish(publish));
}

/// Any bytes that are a packet; a publish would not have a number of ours.
fn raw(sim: &mut Sim, draw: &mut Draw<'_>) {
    let version = if draw.one_in(2) { Version::V311 } else { Version::V5 };
    let mut buffer = BytesMut::from(draw.bytes(40));
    let Ok(Step::Frame(frame)) = FrameReader::new(100).next(&mut buffer) else { return };
    match codec::decode(&frame, version, Peer::Client) {
        Ok(Packet::Publish(_)) | Err(_) => {}
        Ok(read) => packet(sim, draw, read),
    }
}

/// The client's next packet about a delivery.
pub(super) fn answer(sim: &mut Sim, conn: usize, (id, qos, released): (u16, u8, bool)) {
    let ack = Ack::new(id, ReasonCode::SUCCESS);
    let packet = match (qos, released) {
        (2, false) => Packet::PubRec(ack),
        (2, true) => Packet::PubComp(ack),
        _ => Packet::PubAck(ack),
    };
    feed(sim, conn, packet);
}

fn packet(sim: &mut Sim, draw: &mut Draw<'_>, packet: Packet) {
    with_conn(sim, draw, |sim, conn, _| feed(sim, conn, packet));
}

/// As `connection/serve.rs`: the machine takes the packet, its effects are done.
fn feed(sim: &mut Sim, conn: usize, packet: Packet) {
    let Conn { session, handle, .. } = &sim.conns[conn];
    let (session, handle) = (Arc::clone(session), Arc::clone(handle));
    let said = packet.clone();
    let goodbye = matches!(&packet, Packet::Disconnect(bye) if bye.reason == ReasonCode::SUCCESS);
    let stepped = session.step(&handle, context(&Asked(&sim.world)), sim.now(), packet);
    let Some(Stepped { effects, .. }) = stepped else {
        let end = handle.ended().expect("who is not served was told");
        return sim.leave(conn, end);
    };
    let effects: Vec<_> = effects.into_iter().collect();
    let kept = sim.kept.get_mut(&session.id).expect("a session of the schedule");
    assert!(!kept.over, "a session that is over took a packet");
    let known = kept.known;
    let alive = known.alive(sim.unix);
    let released = if alive { heard(&mut kept.model, &said, &effects) } else { None };
    let by_client = |end: &End| *end == End::by_client();
    let clean = effects
        .iter()
        .any(|e| matches!(e, Effect::Control(ControlEffect::End(end)) if by_client(end)));
    if goodbye && clean {
        if let Some(state) = kept.will.and_then(|will| sim.wills.get_mut(&will)) {
            *state = WillState::Never;
        }
    }
    for effect in effects {
        match effect {
            Effect::Publish { message, answer } => {
                let number = message.payload[..].try_into().map(u32::from_be_bytes).ok();
                let other = matches!(answer, Answer::PubComp(_)) && number != released;
                assert!(!other, "what was released is not what was held");
                assert!(
                    alive && known.publishes(message.topic.as_str()),
                    "published without a right"
                );
                assert_eq!(message.publisher.session, session.id);
                sim.route(&message, Some(known));
            }
            Effect::Control(ControlEffect::Subscribe { granted, ack }) => {
                assert!(alive, "subscribed after the token's end");
                let good = ack.reasons.iter().filter(|reason| !reason.is_error()).count();
                assert_eq!(granted.len(), good);
                note(("subscribe", good));
            }
            Effect::Control(ControlEffect::Refused { code, .. }) => note(code.as_str()),
            Effect::Control(ControlEffect::End(end)) => {
                sim.leave(conn, end);
                return;
            }
            _ => {}
        }
    }
}

/// Changes of a packet in the model; gives the number of a message that it releases.
fn heard(model: &mut Model, packet: &Packet, effects: &[Effect]) -> Option<u32> {
    match packet {
        Packet::PubAck(ack) => model.acknowledged(ack.packet_id),
        Packet::PubRec(ack) => model.received(ack.packet_id, ack.reason.is_error()),
        Packet::PubComp(ack) => model.completed(ack.packet_id),
        Packet::PubRel(ack) => {
            let number = model.held.remove(&ack.packet_id);
            note(("released", number.is_some(), effects.len()));
            return number;
        }
        Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce => {
            let routed = effects.iter().any(|e| matches!(e, Effect::Publish { .. }));
            assert!(!routed, "QoS 2 was published before its release");
            let good =
                |ack: &Ack| Some(ack.packet_id) == publish.packet_id && !ack.reason.is_error();
            let taken =
                effects.iter().any(|e| matches!(e, Effect::Send(Packet::PubRec(ack)) if good(ack)));
            let number = publish.payload[..].try_into().map(u32::from_be_bytes).ok();
            if let (true, Some(id), Some(number)) = (taken, publish.packet_id, number) {
                model.held.entry(id).or_insert(number);
            }
        }
        _ => {}
    }
    None
}

/// As `control_topics/token.rs`: another grant takes the place, on the open connection.
fn renew(sim: &mut Sim, draw: &mut Draw<'_>) {
    let variant = draw.below(super::grants::VARIANTS);
    with_conn(sim, draw, |sim, conn, _| {
        let session = Arc::clone(&sim.conns[conn].session);
        let kept = sim.kept.get_mut(&session.id).expect("a session of the schedule");
        let which = usize::from(session.client_id.subject() == "d-2");
        let next = known(which, variant);
        let good = chain::still_holds(&next.grant, &sim.world, at(sim.unix)).is_ok();
        if kept.over || session.has_ended() || !good || !session.belongs_to(&next.grant) {
            return;
        }
        kept.known = next;
        sim.registry.renew(&session, next.grant.clone());
        let lost = session.narrow();
        note(("renewed", lost.len().min(2)));
        sim.schedule(&session);
    });
}

fn revoke(sim: &mut Sim, draw: &mut Draw<'_>) {
    let which = draw.below(2);
    let acme = tenant("acme");
    let touched = match draw.below(6) {
        0 => {
            let name = super::grants::DEVICES[which].to_owned();
            sim.world.devices.insert(("acme".to_owned(), name), 1);
            sim.of_device(which)
        }
        1 => {
            sim.world.groups.insert(("acme".to_owned(), which as u64), 1);
            sim.registry.of_group(&acme, which as u64)
        }
        2 if draw.one_in(2) => {
            sim.world.acme(|acme| acme.suspended = true);
            sim.registry.of_tenant(&acme)
        }
        3 if draw.one_in(2) => {
            sim.world.issuer().state = KeyState::Compromised;
            let kid = known(0, 0).grant.key_id();
            sim.registry.of_key(kid)
        }
        _ => {
            let token: TokenHash =
                known(which, draw.below(super::grants::VARIANTS)).grant.token_hash();
            sim.world.revoked.insert(token);
            sim.of_device(which)
        }
    };
    sim.trust_changed(touched);
}
