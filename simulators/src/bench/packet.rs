//! The few MQTT 3.1.1 packets that a load generator writes and reads (OASIS MQTT 3.1.1, section 3).
//!
//! It is no codec: it writes what it needs and takes servers at their word. Nothing here may cost more than the server
//! does, or the generator would be what is measured.

/// First byte of a DISCONNECT packet, and its length.
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];
/// Type bits of the packets that are read.
pub(super) const CONNACK: u8 = 0x20;
pub(super) const PUBLISH: u8 = 0x30;
pub(super) const PUBACK: u8 = 0x40;
pub(super) const SUBACK: u8 = 0x90;

/// Seconds of keep-alive: longer than any run, so that no PINGREQ is needed.
const KEEP_ALIVE: u16 = 1_200;

/// Quality of service of a measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Qos {
    /// At most once.
    Zero,
    /// At least once.
    One,
}

/// CONNECT with a clean session; user name and password go together.
pub(super) fn connect(client_id: &str, login: Option<(&str, &[u8])>) -> Vec<u8> {
    let flags = if login.is_some() { 0xc2 } else { 0x02 };
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags];
    body.extend_from_slice(&KEEP_ALIVE.to_be_bytes());
    string(&mut body, client_id.as_bytes());
    if let Some((user, password)) = login {
        string(&mut body, user.as_bytes());
        string(&mut body, password);
    }
    packet(0x10, &body)
}

/// SUBSCRIBE to one filter.
pub(super) fn subscribe(filter: &str, qos: Qos) -> Vec<u8> {
    let mut body = vec![0, 1];
    string(&mut body, filter.as_bytes());
    body.push(u8::from(qos == Qos::One));
    packet(0x82, &body)
}

/// PUBLISH; `id` is written with QoS 1 alone.
pub(super) fn publish(topic: &str, qos: Qos, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    string(&mut body, topic.as_bytes());
    if qos == Qos::One {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    packet(if qos == Qos::One { 0x32 } else { 0x30 }, &body)
}

/// PUBACK.
pub(super) fn puback(out: &mut Vec<u8>, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[PUBACK, 2, high, low]);
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut left = body.len();
    loop {
        let low = (left % 128) as u8;
        left /= 128;
        out.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(text.iter().take(usize::from(length)));
}

/// One packet as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The first byte.
    pub(super) first: u8,
    /// Bytes after the length.
    pub(super) body: &'a [u8],
}

impl Frame<'_> {
    /// The type, without its flags.
    pub(super) fn kind(&self) -> u8 {
        self.first & 0xf0
    }

    /// The packet identifier of a PUBLISH with QoS 1.
    pub(super) fn publish_id(&self) -> Option<u16> {
        if self.kind() != PUBLISH || self.first & 0x06 == 0 {
            return None;
        }
        let length = number(self.body, 0)?;
        number(self.body, 2 + usize::from(length))
    }

    /// The payload of a PUBLISH.
    pub(super) fn payload(&self) -> Option<&[u8]> {
        let topic = usize::from(number(self.body, 0)?);
        let id = if self.first & 0x06 == 0 { 0 } else { 2 };
        (self.kind() == PUBLISH).then(|| self.body.get(2 + topic + id..))?
    }

    /// The return code of a CONNACK.
    pub(super) fn return_code(&self) -> Option<u8> {
        (self.kind() == CONNACK).then(|| self.body.get(1).copied())?
    }
}

fn number(body: &[u8], at: usize) -> Option<u16> {
    let bytes = body.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Calls `each` for every whole packet in `bytes`; the number of bytes that they took.
pub(super) fn scan(bytes: &[u8], mut each: impl FnMut(Frame<'_>)) -> usize {
    let mut taken = 0;
    while let Some((frame, length)) = bytes.get(taken..).and_then(first_frame) {
        each(frame);
        taken += length;
    }
    taken
}

fn first_frame(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let first = *bytes.first()?;
    let (mut length, mut shift, mut at) = (0usize, 0u32, 1usize);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 21 {
            break;
        }
    }
    let body = bytes.get(at..at + length)?;
    Some((Frame { first, body }, at + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_the_standard_has_them() {
        assert_eq!(
            connect("a", Some(("u", b"p"))),
            [0x10, 19, 0, 4, 77, 81, 84, 84, 4, 0xc2, 4, 0xb0, 0, 1, 97, 0, 1, 117, 0, 1, 112]
        );
        assert_eq!(connect("a", None)[9], 0x02);
        assert_eq!(subscribe("t", Qos::One), [0x82, 6, 0, 1, 0, 1, b't', 1]);
        assert_eq!(publish("t", Qos::One, 258, b"x"), [0x32, 6, 0, 1, b't', 1, 2, b'x']);
        assert_eq!(publish("t", Qos::Zero, 258, b"x"), [0x30, 4, 0, 1, b't', b'x']);
        let long = publish("t", Qos::Zero, 0, &[0; 200]);
        assert_eq!(long[..3], [0x30, 0xcb, 0x01]);
    }

    #[test]
    fn halves_are_left_for_later() {
        let mut bytes = publish("t", Qos::One, 7, &[0; 200]);
        bytes.extend_from_slice(&[0x20, 2, 0, 5]);
        let whole = bytes.len();
        bytes.extend_from_slice(&[0x40, 2, 0]);
        let mut seen = Vec::new();
        let taken = scan(&bytes, |frame| seen.push((frame.publish_id(), frame.return_code())));
        assert_eq!(taken, whole);
        assert_eq!(seen, [(Some(7), None), (None, Some(5))]);
        assert_eq!(scan(&bytes[..100], |_| panic!("no whole packet")), 0);
    }

    #[test]
    fn payloads_stand_behind_topic_and_id() {
        for qos in [Qos::Zero, Qos::One] {
            let mut found = Vec::new();
            let each = |frame: Frame<'_>| found.extend_from_slice(frame.payload().unwrap());
            scan(&publish("a/b", qos, 7, b"seen"), each);
            assert_eq!(found, b"seen");
        }
        assert_eq!(Frame { first: CONNACK, body: &[0, 0] }.payload(), None);
    }
}
