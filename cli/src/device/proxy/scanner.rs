//! A stream of MQTT packets that passes unchanged, but for the packets that are taken out of it. No packet is held longer
//! than it takes to know its fate.

use tessera_simulators::mqtt::BytesMut;

use super::limits::{HELD_BYTES, LOOKED_INTO_BYTES};

/// The length of a packet that no MQTT stream has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// First byte of a packet, and the length of its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) first: u8,
    pub(super) body: usize,
}

/// Fate of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It passes.
    Pass,
    /// It passes, and is told once it is whole.
    Copy,
    /// It goes no further, and is told once it is whole.
    Take,
}

/// Judges packets.
pub(super) trait Judge {
    /// Fate of a packet, by as much of its body as is here; `None` asks for more of it.
    fn fate(&self, head: Head, body: &[u8]) -> Option<Fate>;
}

/// A packet that was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Packet {
    pub(super) first: u8,
    pub(super) body: Vec<u8>,
}

impl Packet {
    /// The packet type.
    pub(super) const fn kind(&self) -> u8 {
        self.first >> 4
    }
}

/// Outcome of [`Scanner::feed`].
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The input is used up.
    Hungry,
    /// A packet has ended.
    Ended,
    /// A packet has ended, and is told.
    Told(Packet),
}

/// The place in a stream.
pub(super) struct Scanner {
    state: State,
    /// The packet as far as it is held or copied.
    held: Vec<u8>,
}

#[derive(Clone, Copy)]
enum State {
    Undecided,
    /// These bytes of the packet are to come, with its fate.
    Decided(Fate, Head, usize),
}

impl Scanner {
    pub(super) const fn new() -> Self {
        Self { state: State::Undecided, held: Vec::new() }
    }

    /// Whether everything that has passed ends with a whole packet: another one may be put behind it.
    pub(super) const fn is_between(&self) -> bool {
        matches!(self.state, State::Undecided | State::Decided(Fate::Take, ..))
    }

    /// Takes of `input` up to the end of one packet; what passes is appended to `out`.
    pub(super) fn feed(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
        judge: &impl Judge,
    ) -> Result<Step, Malformed> {
        loop {
            match self.state {
                State::Undecided => {
                    let Some(byte) = input.first().copied() else { return Ok(Step::Hungry) };
                    let _ = input.split_to(1);
                    self.held.push(byte);
                    self.decide(out, judge)?;
                }
                State::Decided(fate, head, 0) => {
                    self.state = State::Undecided;
                    let held = std::mem::take(&mut self.held);
                    return Ok(match fate {
                        Fate::Pass => Step::Ended,
                        Fate::Copy | Fate::Take => {
                            let start = held.len().saturating_sub(head.body);
                            let body = held.get(start..).unwrap_or_default().to_vec();
                            Step::Told(Packet { first: head.first, body })
                        }
                    });
                }
                State::Decided(fate, head, left) => {
                    if input.is_empty() {
                        return Ok(Step::Hungry);
                    }
                    let bytes = input.split_to(left.min(input.len()));
                    self.state = State::Decided(fate, head, left - bytes.len());
                    if fate != Fate::Take {
                        out.extend_from_slice(&bytes);
                    }
                    if fate != Fate::Pass {
                        self.held.extend_from_slice(&bytes);
                    }
                }
            }
        }
    }

    fn decide(&mut self, out: &mut BytesMut, judge: &impl Judge) -> Result<(), Malformed> {
        let Some((head, start)) = head(&self.held)? else { return Ok(()) };
        let body = self.held.get(start..).unwrap_or_default();
        let left = head.body - body.len();
        let fate = match judge.fate(head, body) {
            None if left > 0 && self.held.len() < HELD_BYTES => return Ok(()),
            None => Fate::Pass,
            Some(_) if head.body > LOOKED_INTO_BYTES => Fate::Pass,
            Some(fate) => fate,
        };
        if fate != Fate::Take {
            out.extend_from_slice(&self.held);
        }
        if fate == Fate::Pass {
            self.held.clear();
        }
        self.state = State::Decided(fate, head, left);
        Ok(())
    }
}

/// The head of a packet, and where its body begins; `None` when more bytes must come.
pub(super) fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
    let Some((&first, lengths)) = bytes.split_first() else { return Ok(None) };
    let mut body = 0;
    for (at, byte) in lengths.iter().take(4).enumerate() {
        body |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((Head { first, body }, at + 2)));
        }
    }
    match lengths.len() < 4 {
        true => Ok(None),
        false => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::packet;
    use super::*;

    /// Type 1 passes, type 2 is copied, type 3 is taken once two bytes of its body are here.
    struct Kinds;

    impl Judge for Kinds {
        fn fate(&self, head: Head, body: &[u8]) -> Option<Fate> {
            match head.first >> 4 {
                1 => Some(Fate::Pass),
                2 => Some(Fate::Copy),
                _ => (body.len() >= 2).then_some(Fate::Take),
            }
        }
    }

    fn stream() -> Vec<Vec<u8>> {
        vec![
            packet(0x10, &[]),
            packet(0x30, &[1, 2, 3]),
            packet(0x10, &[7; 200]),
            packet(0x20, &[8; 130]),
            packet(0x30, &[1, 2]),
            packet(0x20, &[]),
            // Too short to be taken.
            packet(0x30, &[9]),
            packet(0x10, &[5; 3]),
        ]
    }

    fn told() -> Vec<Packet> {
        let told =
            [(0x30, vec![1, 2, 3]), (0x20, vec![8; 130]), (0x30, vec![1, 2]), (0x20, vec![])];
        told.into_iter().map(|(first, body)| Packet { first, body }).collect()
    }

    /// Feeds the parts; what passed, and what was told. Each moment between packets is checked.
    fn run(parts: &[&[u8]]) -> (Vec<u8>, Vec<Packet>) {
        let (mut scanner, mut out, mut found) = (Scanner::new(), BytesMut::new(), Vec::new());
        for part in parts {
            let mut input = BytesMut::from(*part);
            loop {
                match scanner.feed(&mut input, &mut out, &Kinds).unwrap() {
                    Step::Hungry => break,
                    Step::Ended => assert!(scanner.is_between()),
                    Step::Told(packet) => found.push(packet),
                }
            }
            assert!(input.is_empty());
            assert_eq!(scanner.is_between(), ends_whole(&out), "{out:?}");
        }
        (out.to_vec(), found)
    }

    fn ends_whole(mut bytes: &[u8]) -> bool {
        while let Some((head, start)) = head(bytes).unwrap() {
            match bytes.get(start + head.body..) {
                Some(rest) => bytes = rest,
                None => return false,
            }
        }
        bytes.is_empty()
    }

    #[test]
    fn packets_are_told_apart_however_the_stream_is_split() {
        let whole = stream().concat();
        let passes = |packet: &&Vec<u8>| packet[0] != 0x30 || packet.len() == 3;
        let passed: Vec<u8> = stream().iter().filter(passes).flatten().copied().collect();
        for at in 0..=whole.len() {
            let (left, right) = whole.split_at(at);
            assert_eq!(run(&[left, right]), (passed.clone(), told()), "split at {at}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(run(&bytes), (passed, told()));
    }

    #[test]
    fn large_packets_pass_without_being_held() {
        let large = packet(0x30, &[3; LOOKED_INTO_BYTES + 1]);
        let (mut scanner, mut out) = (Scanner::new(), BytesMut::new());
        for part in large.chunks(1000) {
            let mut input = BytesMut::from(part);
            let _ = scanner.feed(&mut input, &mut out, &Kinds).unwrap();
            assert!(scanner.held.len() < 10);
        }
        assert_eq!(&out[..], &large[..]);
    }

    #[test]
    fn a_length_of_five_bytes_is_refused() {
        let mut input = BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01][..]);
        let fed = Scanner::new().feed(&mut input, &mut BytesMut::new(), &Kinds);
        assert_eq!(fed, Err(Malformed));
    }
}
