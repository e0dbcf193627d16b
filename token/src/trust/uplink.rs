//! The trust feed over MQTT: what a gateway and a broker tell each other on `$tessera/trust`. The broker carries what
//! provisioning signed; the gateway trusts the signatures alone.
//!
//! A gateway calls ([`UplinkCall`]), and the broker answers with pages ([`UplinkPage`]) that bear the number of the call.
//! The first page comes by itself, each further one is asked for, so that no more than one is under way.

use alloc::vec::Vec;

use super::{EventHash, FeedNonce, TrustError};
use crate::cbor::{Reader, Writer};
use crate::ids::VerifierName;
use crate::limits::{
    EVENTS_PER_ANSWER, EVENT_BYTES, EVIDENCE_BYTES, UPLINK_BYTES, UPLINK_PAGE, UPLINK_PAGE_LEAST,
};
use crate::refusal::RefusalCode;

/// The topic of all of this.
pub const TRUST_TOPIC: &str = "$tessera/trust";

const MORE: u64 = 0;
const SNAPSHOT: u64 = 1;
const EVENTS: u64 = 2;
const SHOW: u64 = 3;
const REPORTS: [(u64, UplinkReport); 3] =
    [(4, UplinkReport::Alerts), (5, UplinkReport::Uses), (6, UplinkReport::Rules)];

/// The newest event that a gateway knows: its number and its hash.
pub type UplinkStand = (u64, EventHash);

/// A call of a gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UplinkCall {
    /// Its number, which the gateway draws: pages of another call are not taken.
    pub number: u64,
    /// Bytes of one page, [`UPLINK_PAGE_LEAST`] to [`UPLINK_PAGE`].
    pub page: usize,
    /// The question.
    pub ask: UplinkAsk,
}

/// The question of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UplinkAsk {
    /// The page of the present answer that begins at this byte: the next one.
    More(u64),
    /// Everything that the tenant of the gateway concerns.
    Snapshot(Option<UplinkStand>),
    /// The events behind a place.
    Events(UplinkPoll),
    /// Evidence for a service that knows less.
    Show(Vec<u8>),
    /// A report of this verifier, as JSON.
    Report(UplinkReport, VerifierName, Vec<u8>),
}

/// A report of a verifier to provisioning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UplinkReport {
    /// Alerts about odd behaviour.
    Alerts,
    /// The topics that devices use.
    Uses,
    /// The counts of rules.
    Rules,
}

impl UplinkReport {
    /// The path of the REST API that takes it.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Alerts => "/v1/trust/alerts",
            Self::Uses => "/v1/evidence",
            Self::Rules => "/v1/trust/rules",
        }
    }

    fn number(self) -> u64 {
        let found = REPORTS.iter().find(|(_, report)| *report == self);
        found.map_or(u64::MAX, |(number, _)| *number)
    }

    fn numbered(number: u64) -> Option<Self> {
        let found = REPORTS.iter().find(|(known, _)| *known == number);
        found.map(|(_, report)| *report)
    }
}

/// A long poll.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UplinkPoll {
    /// The newest event that is known.
    pub stand: UplinkStand,
    /// The nonce that the heartbeat must answer.
    pub nonce: FeedNonce,
    /// Seconds that the service may wait for news.
    pub wait: u64,
    /// The number of the root set that is trusted.
    pub root_set: u64,
    /// The name under which the gateway admits devices.
    pub verifier: VerifierName,
    /// The process that polls.
    pub reader: [u8; 16],
}

impl UplinkCall {
    /// As bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let page = u64::try_from(self.page).unwrap_or(u64::MAX);
        let mut head = |items: usize, kind: u64| {
            w.array(3 + items).uint(kind).uint(self.number).uint(page);
        };
        match &self.ask {
            UplinkAsk::More(from) => {
                head(1, MORE);
                w.uint(*from);
            }
            UplinkAsk::Snapshot(None) => head(0, SNAPSHOT),
            UplinkAsk::Snapshot(Some((after, hash))) => {
                head(2, SNAPSHOT);
                w.uint(*after).bytes(hash.as_bytes());
            }
            UplinkAsk::Events(poll) => {
                head(7, EVENTS);
                w.uint(poll.stand.0)
                    .bytes(poll.stand.1.as_bytes())
                    .bytes(poll.nonce.as_bytes())
                    .uint(poll.wait)
                    .uint(poll.root_set)
                    .text(poll.verifier.as_str())
                    .bytes(&poll.reader);
            }
            UplinkAsk::Show(evidence) => {
                head(1, SHOW);
                w.bytes(evidence);
            }
            UplinkAsk::Report(report, verifier, body) => {
                head(2, report.number());
                w.text(verifier.as_str()).bytes(body);
            }
        }
        w.finish()
    }

    /// Reads it; `None` when it is malformed.
    #[must_use]
    pub fn from_cbor(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes).ok()
    }

    fn read(bytes: &[u8]) -> Result<Self, TrustError> {
        let mut r = Reader::strict(bytes, UPLINK_BYTES)?;
        let items = r.array()?;
        let (kind, number) = (r.uint()?, r.uint()?);
        let page = usize::try_from(r.uint()?).map_err(|_| TrustError::Malformed)?;
        let ask = match (items, kind) {
            (4, MORE) => UplinkAsk::More(r.uint()?),
            (3, SNAPSHOT) => UplinkAsk::Snapshot(None),
            (5, SNAPSHOT) => UplinkAsk::Snapshot(Some((r.uint()?, hash(&mut r)?))),
            (10, EVENTS) => UplinkAsk::Events(UplinkPoll {
                stand: (r.uint()?, hash(&mut r)?),
                nonce: FeedNonce::from_bytes(r.bytes_of()?),
                wait: r.uint()?,
                root_set: r.uint()?,
                verifier: VerifierName::parse(r.text()?).map_err(|_| TrustError::Malformed)?,
                reader: r.bytes_of()?,
            }),
            (4, SHOW) => UplinkAsk::Show(r.bytes()?.to_vec()),
            (5, number) => {
                let report = UplinkReport::numbered(number).ok_or(TrustError::Malformed)?;
                let verifier = VerifierName::parse(r.text()?).map_err(|_| TrustError::Malformed)?;
                UplinkAsk::Report(report, verifier, r.bytes()?.to_vec())
            }
            _ => return Err(TrustError::Malformed),
        };
        match (UPLINK_PAGE_LEAST..=UPLINK_PAGE).contains(&page) {
            true => Ok(Self { number, page, ask }),
            false => Err(TrustError::Malformed),
        }
    }
}

fn hash(r: &mut Reader<'_>) -> Result<EventHash, TrustError> {
    Ok(EventHash::from_bytes(r.bytes_of()?))
}

/// An answer, or a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UplinkPage {
    /// A part of the answer.
    Part {
        /// The number of the call.
        number: u64,
        /// Bytes of the whole answer.
        total: u64,
        /// Where this part begins.
        from: u64,
        /// Whether another reader of the feed has the verifier name of this one.
        shared: bool,
        /// The part.
        bytes: Vec<u8>,
    },
    /// There is no answer.
    Refused {
        /// The number of the call.
        number: u64,
        /// Why; a code of a later version is `internal`.
        code: RefusalCode,
    },
}

impl UplinkPage {
    /// As bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Part { number, total, from, shared, bytes } => {
                w.array(5).uint(*number).uint(*total).uint(*from).bool(*shared).bytes(bytes)
            }
            Self::Refused { number, code } => w.array(2).uint(*number).text(code.as_str()),
        };
        w.finish()
    }

    /// Reads it; `None` when it is malformed.
    #[must_use]
    pub fn from_cbor(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes).ok()
    }

    fn read(bytes: &[u8]) -> Result<Self, TrustError> {
        let mut r = Reader::strict(bytes, UPLINK_PAGE + UPLINK_HEAD)?;
        match (r.array()?, r.uint()?) {
            (5, number) => Ok(Self::Part {
                number,
                total: r.uint()?,
                from: r.uint()?,
                shared: r.bool()?,
                bytes: r.bytes()?.to_vec(),
            }),
            (2, number) => {
                let code = RefusalCode::parse(r.text()?).unwrap_or(RefusalCode::Internal);
                Ok(Self::Refused { number, code })
            }
            _ => Err(TrustError::Malformed),
        }
    }
}

/// Bytes around the part in a page, at most.
pub const UPLINK_HEAD: usize = 64;

/// The parts of one answer, put together. It takes the next part alone, of the call that it belongs to.
#[derive(Debug)]
pub struct UplinkAnswer {
    number: u64,
    most: u64,
    total: Option<u64>,
    bytes: Vec<u8>,
}

/// The outcome of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joined {
    /// The answer is whole.
    Whole,
    /// The part that begins here comes next.
    Next(u64),
    /// It is a part of another answer, or of none: nothing was taken.
    Foreign,
    /// It cannot be: the parts do not fit together, or the whole is larger than any answer.
    Broken,
}

impl UplinkAnswer {
    /// The answer to the call of this number, of at most `most` bytes.
    pub fn new(number: u64, most: usize) -> Self {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        Self { number, most, total: None, bytes: Vec::new() }
    }

    /// Takes a part.
    pub fn join(&mut self, (number, total, from): (u64, u64, u64), part: &[u8]) -> Joined {
        if number != self.number {
            return Joined::Foreign;
        }
        let (here, more) = (length(&self.bytes), length(part));
        let fits = self.total.is_none_or(|known| known == total) && from == here;
        let end = here.saturating_add(more);
        // A part without bytes would be asked for without end.
        if total > self.most || !fits || end > total || (more == 0 && total > 0) {
            return Joined::Broken;
        }
        self.total = Some(total);
        self.bytes.extend_from_slice(part);
        if end == total {
            Joined::Whole
        } else {
            Joined::Next(end)
        }
    }

    /// The bytes that came.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Bytes of the largest answer to a question for events.
pub const UPLINK_EVENTS_BYTES: usize = (EVENTS_PER_ANSWER + 16) * EVENT_BYTES;

// Evidence that is larger than one call is not shown over MQTT.
const _: () = assert!(UPLINK_BYTES < EVIDENCE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn name() -> VerifierName {
        VerifierName::parse("gw-1").unwrap()
    }

    #[test]
    fn calls_and_pages_are_read_as_they_were_written() {
        let hash = EventHash::from_bytes([7; 32]);
        let poll = UplinkPoll {
            stand: (9, hash),
            nonce: FeedNonce::from_bytes([3; 16]),
            wait: 10,
            root_set: 2,
            verifier: name(),
            reader: [5; 16],
        };
        for ask in [
            UplinkAsk::More(65_536),
            UplinkAsk::Snapshot(None),
            UplinkAsk::Snapshot(Some((1, hash))),
            UplinkAsk::Events(poll),
            UplinkAsk::Show(vec![1, 2, 3]),
            UplinkAsk::Report(UplinkReport::Alerts, name(), b"{}".to_vec()),
            UplinkAsk::Report(UplinkReport::Uses, name(), b"{}".to_vec()),
            UplinkAsk::Report(UplinkReport::Rules, name(), b"{}".to_vec()),
        ] {
            let call = UplinkCall { number: u64::MAX, page: UPLINK_PAGE, ask };
            let bytes = call.to_cbor();
            assert_eq!(UplinkCall::from_cbor(&bytes), Some(call.clone()));
            for end in 0..bytes.len() {
                assert_eq!(UplinkCall::from_cbor(&bytes[..end]), None);
            }
            for page in [UPLINK_PAGE_LEAST - 1, UPLINK_PAGE + 1] {
                let other = UplinkCall { page, ..call.clone() };
                assert_eq!(UplinkCall::from_cbor(&other.to_cbor()), None);
            }
        }
        let part = UplinkPage::Part {
            number: u64::MAX,
            total: u64::MAX,
            from: u64::MAX,
            shared: true,
            bytes: vec![0; UPLINK_PAGE],
        };
        let refused = UplinkPage::Refused { number: 1, code: RefusalCode::LimitReached };
        for page in [part, refused] {
            assert_eq!(UplinkPage::from_cbor(&page.to_cbor()), Some(page));
        }
    }

    #[test]
    fn parts_are_taken_in_their_order_and_of_one_answer() {
        let mut answer = UplinkAnswer::new(4, 10);
        assert_eq!(answer.join((3, 6, 0), b"abc"), Joined::Foreign);
        assert_eq!(answer.join((4, 6, 3), b"abc"), Joined::Broken);
        assert_eq!(answer.join((4, 11, 0), b"abc"), Joined::Broken);
        assert_eq!(answer.join((4, 6, 0), b""), Joined::Broken);
        assert_eq!(answer.join((4, 6, 0), b"abc"), Joined::Next(3));
        assert_eq!(answer.join((4, 6, 0), b"abc"), Joined::Broken, "once more");
        assert_eq!(answer.join((4, 7, 3), b"def"), Joined::Broken, "of another length");
        assert_eq!(answer.join((4, 6, 3), b"defg"), Joined::Broken, "beyond its end");
        assert_eq!(answer.join((4, 6, 3), b"def"), Joined::Whole);
        assert_eq!(answer.into_bytes(), b"abcdef");
        assert_eq!(UplinkAnswer::new(1, 10).join((1, 0, 0), b""), Joined::Whole);
    }
}
