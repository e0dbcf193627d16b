//! A client that keeps its half of a session over any number of connections, as the standard wants it, and that knows
//! what it may be sent: each stream numbers its messages from 1, so a gap or a swap shows at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tessera_broker::codec::{Ack, Packet, PropertyId, Publish, QoS, ReasonCode, Version};
use tessera_token::scope::Scope;

use crate::client::{plan, publish, Client, Plan};
use crate::world::World;

/// Messages of one stream that are open at once.
const WINDOW: usize = 3;

/// The messages that it publishes on one topic.
pub struct Sender {
    topic: String,
    qos: QoS,
    first_id: u16,
    /// The number of the newest message; the first is 1.
    pub last: u32,
    open: VecDeque<Open>,
    pub done: u32,
    /// Those that the broker had no room for.
    pub refused: BTreeSet<u32>,
}

struct Open {
    number: u32,
    /// PUBREC has come.
    released: bool,
}

/// The messages that it has received on one topic.
#[derive(Default)]
pub struct Taken {
    pub last: u32,
    pub again: usize,
    /// Those before the last that never came.
    pub missed: Vec<u32>,
}

impl Taken {
    /// How many came, each counted once.
    pub fn count(&self) -> usize {
        self.last as usize - self.missed.len()
    }

    /// The next one, or a later one when some may be missing.
    fn next(&mut self, number: u32, may_miss: bool, what: &str) {
        let expected = self.last + 1;
        assert!(number == expected || may_miss && number > expected, "{what}: in order and whole");
        self.missed.extend(expected..number);
        self.last = number;
    }
}

/// The answer to PINGREQ: PINGRESP, or the end of the connection.
#[derive(PartialEq, Eq, Debug)]
pub enum Heard {
    Pong,
    Ended(Option<ReasonCode>),
}

pub struct Peer {
    pub name: &'static str,
    pub scope: Scope,
    pub version: Version,
    pub line: Option<Client>,
    pub senders: Vec<Sender>,
    pub taken: BTreeMap<String, Taken>,
    /// Whether it has had a connection: then its session is there.
    pub known: bool,
    /// Whether those who publish to it may send twice.
    pub publishers_resend: bool,
    /// Whether the broker may have no room for what it publishes.
    pub may_be_refused: bool,
    /// Whether what is published to it may find no room.
    pub may_miss: bool,
    /// Deliveries that it takes at once, when it says so.
    pub window: Option<usize>,
    held: BTreeMap<u16, u32>,
    owed: VecDeque<Packet>,
}

fn ack(id: u16) -> Ack {
    Ack::new(id, ReasonCode::SUCCESS)
}

impl Sender {
    pub fn new(topic: &str, qos: QoS, first_id: u16) -> Self {
        let topic = topic.to_owned();
        let (open, refused) = (VecDeque::new(), BTreeSet::new());
        Self { topic, qos, first_id, last: 0, open, done: 0, refused }
    }

    fn id(&self, number: u32) -> u16 {
        self.first_id + u16::try_from(number % 50).unwrap()
    }

    fn packet(&self, open: &Open, dup: bool) -> Packet {
        let id = self.id(open.number);
        if open.released {
            return Packet::PubRel(ack(id));
        }
        match publish(&self.topic, self.qos, &open.number.to_be_bytes()) {
            Packet::Publish(one) => Packet::Publish(Publish { packet_id: Some(id), dup, ..one }),
            other => other,
        }
    }

    fn find(&mut self, id: u16) -> Option<usize> {
        (0..self.open.len()).find(|place| self.id(self.open[*place].number) == id)
    }
}

impl Peer {
    pub fn new(name: &'static str, scope: Scope, version: Version, senders: Vec<Sender>) -> Self {
        Self {
            name,
            scope,
            version,
            line: None,
            senders,
            taken: BTreeMap::new(),
            known: false,
            publishers_resend: false,
            may_be_refused: false,
            may_miss: false,
            window: None,
            held: BTreeMap::new(),
            owed: VecDeque::new(),
        }
    }

    pub fn plan<'w>(&self, world: &'w World) -> Plan<'w> {
        let plan = plan(world, self.name, self.version).scope(self.scope.clone()).kept(3600);
        let Some(window) = self.window else { return plan };
        let window = u32::try_from(window).unwrap();
        plan.properties(|p| {
            p.number(PropertyId::SessionExpiry, 3600).number(PropertyId::ReceiveMaximum, window)
        })
    }

    pub async fn connect(&mut self, world: &World) {
        let (line, answer) = self.plan(world).try_open().await;
        let answer = answer.expect("closed without CONNACK");
        assert_eq!(answer.reason, ReasonCode::SUCCESS, "{}", self.name);
        assert_eq!(answer.session_present, self.known, "{}: the session", self.name);
        self.adopt(line, Vec::new()).await;
    }

    /// Goes on over this connection, on which these packets have come already.
    pub async fn adopt(&mut self, line: Client, came: Vec<Packet>) {
        self.lose();
        self.known = true;
        self.line = Some(line);
        for packet in came {
            self.handle(packet);
        }
        let again: Vec<Packet> = self
            .senders
            .iter()
            .flat_map(|sender| sender.open.iter().map(|open| sender.packet(open, true)))
            .collect();
        for packet in again {
            self.send(&packet).await;
        }
    }

    /// The connection is gone; what was to be answered on it is not.
    pub fn lose(&mut self) -> Option<Client> {
        self.owed.clear();
        self.line.take()
    }

    async fn send(&mut self, packet: &Packet) {
        if let Some(line) = &mut self.line {
            line.send(packet).await;
        }
    }

    /// Publishes the next message of a stream, when its window has room.
    pub async fn offer(&mut self, stream: usize) -> bool {
        let sender = &mut self.senders[stream];
        if sender.open.len() >= WINDOW || self.line.is_none() {
            return false;
        }
        sender.last += 1;
        let open = Open { number: sender.last, released: false };
        let packet = sender.packet(&open, false);
        sender.open.push_back(open);
        self.send(&packet).await;
        true
    }

    /// Takes everything that was sent to it until now; answers nothing yet.
    pub async fn sync(&mut self) -> Heard {
        self.send(&Packet::PingReq).await;
        loop {
            match self.read().await {
                None => {}
                Some(heard) => return heard,
            }
        }
    }

    /// Takes one packet; gives what is not part of an exchange.
    pub async fn read(&mut self) -> Option<Heard> {
        let Some(line) = &mut self.line else { return Some(Heard::Ended(None)) };
        match line.next().await {
            Some(Packet::PingResp) => return Some(Heard::Pong),
            Some(Packet::Disconnect(bye)) => return Some(Heard::Ended(Some(bye.reason))),
            None => return Some(Heard::Ended(None)),
            Some(packet) => self.handle(packet),
        }
        None
    }

    /// Sends up to so many of the answers that it owes, in order.
    pub async fn answer(&mut self, most: usize) {
        for _ in 0..most {
            let Some(packet) = self.owed.pop_front() else { return };
            self.send(&packet).await;
        }
    }

    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Until everything that it published is acknowledged.
    pub async fn settle_own(&mut self) {
        while !self.is_done() {
            assert_eq!(self.read().await, None, "{}", self.name);
            self.answer(usize::MAX).await;
        }
    }

    /// Everything it published is acknowledged.
    pub fn is_done(&self) -> bool {
        self.senders.iter().all(|sender| sender.open.is_empty())
    }

    fn handle(&mut self, packet: Packet) {
        match packet {
            Packet::Publish(message) => self.take(&message),
            Packet::PubRel(rel) => {
                self.held.remove(&rel.packet_id);
                self.owed.push_back(Packet::PubComp(ack(rel.packet_id)));
            }
            Packet::PubRec(rec) => {
                assert_eq!(rec.reason, ReasonCode::SUCCESS, "{}", self.name);
                self.stream_of(rec.packet_id, |sender, place| sender.open[place].released = true);
                self.owed.push_back(Packet::PubRel(ack(rec.packet_id)));
            }
            Packet::PubAck(done) => {
                let refused = self.may_be_refused && done.reason == ReasonCode::QUOTA_EXCEEDED;
                assert!(
                    refused || done.reason == ReasonCode::SUCCESS,
                    "{}: {:?}",
                    self.name,
                    done.reason
                );
                if refused {
                    self.stream_of(done.packet_id, |sender, place| {
                        sender.refused.insert(sender.open[place].number);
                    });
                }
                self.complete(done.packet_id);
            }
            Packet::PubComp(done) => self.complete(done.packet_id),
            other => panic!("{}: {other:?}", self.name),
        }
    }

    fn complete(&mut self, id: u16) {
        self.stream_of(id, |sender, place| {
            sender.open.remove(place);
            sender.done += 1;
        });
    }

    fn stream_of(&mut self, id: u16, step: impl FnOnce(&mut Sender, usize)) {
        let found = self.senders.iter_mut().find_map(|one| one.find(id).map(|place| (one, place)));
        if let Some((sender, place)) = found {
            step(sender, place);
        }
    }

    fn take(&mut self, message: &Publish) {
        let id = message.packet_id.expect("QoS 1 or 2");
        let number = u32::from_be_bytes(message.payload[..].try_into().unwrap());
        let known = self.taken.entry(message.topic.to_string()).or_default();
        let what = format!("{}: {} {number} after {}", self.name, message.topic, known.last);
        if message.qos == QoS::ExactlyOnce {
            self.owed.push_back(Packet::PubRec(ack(id)));
            if let Some(held) = self.held.get(&id) {
                assert_eq!((*held, message.dup), (number, true), "{what}: id {id} is in use");
                return;
            }
            self.held.insert(id, number);
            known.next(number, self.may_miss, &format!("{what}: QoS 2 comes once"));
            return;
        }
        self.owed.push_back(Packet::PubAck(ack(id)));
        if number <= known.last {
            known.again += 1;
            assert!(message.dup || self.publishers_resend, "{what}: again without DUP");
            return;
        }
        known.next(number, self.may_miss, &format!("{what}: QoS 1 comes at least once"));
    }
}
