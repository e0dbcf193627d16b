//! A blocking client of MQTT 3.1.1 that does one thing at a time and knows exactly what was acknowledged.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::net;

/// How long the broker may take to answer.
const WITHIN: Duration = Duration::from_secs(30);

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload as text.
    pub text: String,
    /// Whether it was retained.
    pub retained: bool,
}

/// Why there is no session.
#[derive(Debug)]
pub enum Refused {
    /// CONNACK with this return code.
    Code(u8),
    /// No CONNACK came.
    Lost(io::Error),
}

/// A session.
pub struct Mqtt {
    stream: TcpStream,
    rest: Vec<u8>,
    inbox: VecDeque<Message>,
    number: u16,
    /// Contents of CONNACK.
    pub present: bool,
}

struct Packet {
    first: u8,
    body: Vec<u8>,
}

impl Mqtt {
    /// Connects with a password as raw bytes; the user name is the part of the client id that is the device.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn connect(
        at: SocketAddr,
        client: &str,
        password: &[u8],
        clean: bool,
    ) -> Result<Self, Refused> {
        Self::connect_from(None, at, client, password, clean)
    }

    /// As [`Mqtt::connect`], from an address of this machine.
    ///
    /// # Errors
    /// As there.
    pub fn connect_from(
        source: Option<Ipv4Addr>,
        at: SocketAddr,
        client: &str,
        password: &[u8],
        clean: bool,
    ) -> Result<Self, Refused> {
        let user = client.split('~').next().unwrap_or(client);
        Self::connect_as(source, at, client, (user, password), clean)
    }

    /// As [`Mqtt::connect_from`], with a user name of its own.
    ///
    /// # Errors
    /// As there.
    pub fn connect_as(
        source: Option<Ipv4Addr>,
        at: SocketAddr,
        client: &str,
        (user, password): (&str, &[u8]),
        clean: bool,
    ) -> Result<Self, Refused> {
        let mut session = Self::open(source, at).map_err(Refused::Lost)?;
        let mut body = Vec::new();
        text(&mut body, b"MQTT");
        body.extend([4, 0xc0 | if clean { 2 } else { 0 }]);
        body.extend(600u16.to_be_bytes());
        for field in [client.as_bytes(), user.as_bytes(), password] {
            text(&mut body, field);
        }
        session.send(0x10, &body).map_err(Refused::Lost)?;
        let answer = session.packet(WITHIN).map_err(Refused::Lost)?;
        match (answer.first, answer.body.as_slice()) {
            (0x20, [flags, 0]) => {
                session.present = flags & 1 == 1;
                Ok(session)
            }
            (0x20, [_, code]) => Err(Refused::Code(*code)),
            _ => Err(Refused::Lost(io::ErrorKind::InvalidData.into())),
        }
    }

    fn open(source: Option<Ipv4Addr>, at: SocketAddr) -> io::Result<Self> {
        let stream = net::connect(source, at, WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WITHIN))?;
        let (rest, inbox) = (Vec::new(), VecDeque::new());
        Ok(Self { stream, rest, inbox, number: 0, present: false })
    }

    /// Subscribes; the return code of SUBACK.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> io::Result<u8> {
        self.about_filter(0x82, filter, Some(qos))?;
        let answer = self.wait(0x90)?;
        answer.body.get(2).copied().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Takes a subscription back.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn unsubscribe(&mut self, filter: &str) -> io::Result<()> {
        self.about_filter(0xa2, filter, None)?;
        self.wait(0xb0).map(drop)
    }

    fn about_filter(&mut self, first: u8, filter: &str, qos: Option<u8>) -> io::Result<()> {
        let mut body = self.next_number().to_be_bytes().to_vec();
        text(&mut body, filter.as_bytes());
        body.extend(qos);
        self.send(first, &body)
    }

    /// Publishes with QoS 1; returns when PUBACK is here.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn publish(&mut self, topic: &str, payload: &str, retain: bool) -> io::Result<()> {
        let number = self.next_number();
        let mut body = Vec::new();
        text(&mut body, topic.as_bytes());
        body.extend(number.to_be_bytes());
        body.extend(payload.as_bytes());
        self.send(0x32 | u8::from(retain), &body)?;
        self.wait(0x40).map(drop)
    }

    /// The next message, or none within the time. It is acknowledged.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn message(&mut self, within: Duration) -> io::Result<Option<Message>> {
        if let Some(message) = self.inbox.pop_front() {
            return Ok(Some(message));
        }
        let packet = match self.packet(within) {
            Ok(packet) => packet,
            Err(error) if is_timeout(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.take(&packet)?;
        Ok(self.inbox.pop_front())
    }

    /// Sends DISCONNECT.
    pub fn close(mut self) {
        let _ = self.send(0xe0, &[]);
    }

    /// Whether the broker still answers on it.
    pub fn is_alive(&mut self) -> bool {
        self.send(0xc0, &[]).is_ok() && self.wait(0xd0).is_ok()
    }

    fn next_number(&mut self) -> u16 {
        self.number = self.number.checked_add(1).unwrap_or(1);
        self.number
    }

    fn wait(&mut self, first: u8) -> io::Result<Packet> {
        loop {
            let packet = self.packet(WITHIN)?;
            if packet.first == first {
                return Ok(packet);
            }
            self.take(&packet)?;
        }
    }

    fn take(&mut self, packet: &Packet) -> io::Result<()> {
        if packet.first >> 4 != 3 {
            return Ok(());
        }
        let qos = packet.first >> 1 & 3;
        let length = usize::from(u16::from_be_bytes([packet.body[0], packet.body[1]]));
        let topic = String::from_utf8_lossy(&packet.body[2..2 + length]).into_owned();
        let mut rest = &packet.body[2 + length..];
        if qos > 0 {
            let number = [rest[0], rest[1]];
            rest = &rest[2..];
            self.send(0x40, &number)?;
        }
        let retained = packet.first & 1 == 1;
        let text = String::from_utf8_lossy(rest).into_owned();
        self.inbox.push_back(Message { topic, text, retained });
        Ok(())
    }

    fn send(&mut self, first: u8, body: &[u8]) -> io::Result<()> {
        let mut bytes = vec![first];
        let mut left = body.len();
        loop {
            let low = (left & 0x7f) as u8;
            left >>= 7;
            bytes.push(if left > 0 { low | 0x80 } else { low });
            if left == 0 {
                break;
            }
        }
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes)
    }

    fn packet(&mut self, within: Duration) -> io::Result<Packet> {
        self.stream.set_read_timeout(Some(within))?;
        let mut chunk = [0; 4096];
        loop {
            if let Some(packet) = self.whole() {
                return Ok(packet);
            }
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.rest.extend_from_slice(&chunk[..read]);
        }
    }

    fn whole(&mut self) -> Option<Packet> {
        let (mut length, mut at, mut shift) = (0usize, 1, 0);
        loop {
            let byte = *self.rest.get(at)?;
            length |= usize::from(byte & 0x7f) << shift;
            at += 1;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = self.rest.get(at..at + length)?.to_vec();
        let first = self.rest[0];
        self.rest.drain(..at + length);
        Some(Packet { first, body })
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn text(body: &mut Vec<u8>, field: &[u8]) {
    body.extend((field.len() as u16).to_be_bytes());
    body.extend_from_slice(field);
}
