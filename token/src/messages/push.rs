//! Push refresh: what provisioning and a broker tell each other on `$tessera/refresh`. Only provisioning, which holds a
//! token of [`SERVICE_TENANT`], can subscribe or publish there.
//!
//! Provisioning calls ([`PushCall`]), the broker answers with pages ([`PushPage`]): sessions whose tokens can be renewed
//! by a push, sessions that have gone, and pushes that failed. A push that succeeded shows by the session's new token.

use alloc::vec::Vec;

use super::error::Bad;
use crate::cbor::{strict, Reader, Writer};
use crate::hash::TokenHash;
use crate::ids::{DeviceId, TenantId};
use crate::limits::{MESSAGE_BYTES, PUSH_PAGE, PUSH_PAGE_BYTES};
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;

/// The tenant that provisioning keeps for itself: a token of it is provisioning's own. It has no device, and no operator
/// can make or change it.
pub const SERVICE_TENANT: &str = "tessera.provisioning";

/// Whether it is [`SERVICE_TENANT`].
#[must_use]
pub fn is_service_tenant(tenant: &TenantId) -> bool {
    tenant.as_str() == SERVICE_TENANT
}

const BEGIN: u64 = 0;
const NEXT: u64 = 1;
const TOKEN: u64 = 2;

/// A call of provisioning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PushCall {
    /// Provisioning knows no session: it wants to hear of all of them, and has the turn from now on.
    Begin,
    /// It has taken the last page, and waits for the next one.
    Next,
    /// The next token of a session.
    Token {
        /// The number of the session at the broker.
        session: u64,
        /// The answer for the device: a [`super::TokenAnswer`].
        answer: Vec<u8>,
    },
}

impl PushCall {
    /// As bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Begin => w.array(1).uint(BEGIN),
            Self::Next => w.array(1).uint(NEXT),
            Self::Token { session, answer } => w.array(3).uint(TOKEN).uint(*session).bytes(answer),
        };
        w.finish()
    }

    /// Reads it; `None` when it is malformed.
    #[must_use]
    pub fn from_cbor(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes).ok()
    }

    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        let mut r = Reader::strict(bytes, MESSAGE_BYTES)?;
        match (r.array()?, r.uint()?) {
            (1, BEGIN) => Ok(Self::Begin),
            (1, NEXT) => Ok(Self::Next),
            (3, TOKEN) => Ok(Self::Token { session: r.uint()?, answer: r.bytes()?.to_vec() }),
            _ => Err(Bad),
        }
    }
}

/// A session whose token can be renewed by a push: its device listens on `$tessera/token`, and proved its own key on this
/// connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PushSession {
    /// Its number at the broker, which no other session of this run of the broker gets.
    pub session: u64,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its device.
    pub device: DeviceId,
    /// The hash of its token.
    pub token: TokenHash,
    /// When that was issued, and
    pub issued: UnixSeconds,
    /// when it expires: claims of the token.
    pub expires: UnixSeconds,
}

/// Items of a page: three lists, seven of each session, one that is gone, three of each failure.
const PAGE_ITEMS: usize = 4 + 11 * PUSH_PAGE;

/// Changes of sessions at a broker. An empty page says that there was none for a while.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PushPage {
    /// Sessions that are new, or have another token.
    pub sessions: Vec<PushSession>,
    /// Sessions that were told and take no push any more.
    pub gone: Vec<u64>,
    /// Pushes that failed; a code of a later version is `internal`.
    pub failed: Vec<(u64, RefusalCode)>,
}

impl PushPage {
    /// As bytes.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(3).array(self.sessions.len());
        for one in &self.sessions {
            w.array(6)
                .uint(one.session)
                .text(one.tenant.as_str())
                .text(one.device.as_str())
                .bytes(one.token.as_bytes())
                .uint(one.issued.get())
                .uint(one.expires.get());
        }
        w.array(self.gone.len());
        for session in &self.gone {
            w.uint(*session);
        }
        w.array(self.failed.len());
        for (session, code) in &self.failed {
            w.array(2).uint(*session).text(code.as_str());
        }
        w.finish()
    }

    /// Reads it; `None` when it is malformed, or has more entries than [`PUSH_PAGE`] in a list.
    #[must_use]
    pub fn from_cbor(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes).ok()
    }

    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        if bytes.len() > PUSH_PAGE_BYTES {
            return Err(Bad);
        }
        strict::check_large(bytes, PAGE_ITEMS)?;
        let mut r = Reader::new(bytes);
        let mut page = Self::default();
        r.array_of(3)?;
        for _ in 0..length(&mut r)? {
            r.array_of(6)?;
            page.sessions.push(PushSession {
                session: r.uint()?,
                tenant: TenantId::parse(r.text()?)?,
                device: DeviceId::parse(r.text()?)?,
                token: TokenHash::from_bytes(r.bytes_of()?),
                issued: UnixSeconds::new(r.uint()?),
                expires: UnixSeconds::new(r.uint()?),
            });
        }
        for _ in 0..length(&mut r)? {
            page.gone.push(r.uint()?);
        }
        for _ in 0..length(&mut r)? {
            r.array_of(2)?;
            let (session, code) = (r.uint()?, RefusalCode::parse(r.text()?));
            page.failed.push((session, code.unwrap_or(RefusalCode::Internal)));
        }
        Ok(page)
    }
}

fn length(r: &mut Reader<'_>) -> Result<usize, Bad> {
    match r.array()? {
        many if many > PUSH_PAGE => Err(Bad),
        few => Ok(few),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec;

    fn page(sessions: usize) -> PushPage {
        let one = |n: usize| PushSession {
            session: u64::MAX - n as u64,
            tenant: TenantId::parse(&"t".repeat(32)).unwrap(),
            device: DeviceId::parse(&format!("{n:064}")).unwrap(),
            token: TokenHash::of(b"token"),
            issued: UnixSeconds::new(1_790_000_000),
            expires: UnixSeconds::new(1_790_003_600),
        };
        PushPage {
            sessions: (0..sessions).map(one).collect(),
            gone: vec![u64::MAX; sessions],
            failed: vec![(u64::MAX, RefusalCode::KeyNotProved); sessions],
        }
    }

    #[test]
    fn calls_and_pages_come_back_as_they_were() {
        let token = PushCall::Token { session: 7, answer: vec![1; 400] };
        for call in [PushCall::Begin, PushCall::Next, token] {
            assert_eq!(PushCall::from_cbor(&call.to_cbor()), Some(call));
        }
        for sessions in [0, 1, PUSH_PAGE] {
            let page = page(sessions);
            assert_eq!(PushPage::from_cbor(&page.to_cbor()), Some(page), "the longest fits");
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        let whole = page(2).to_cbor();
        for end in 0..whole.len() {
            assert_eq!(PushPage::from_cbor(&whole[..end]), None);
        }
        assert_eq!(PushPage::from_cbor(&page(PUSH_PAGE + 1).to_cbor()), None);
        assert_eq!(PushCall::from_cbor(&[0x81, 2]), None);
        assert_eq!(PushCall::from_cbor(&[0x82, 0, 0]), None);
        let long = PushCall::Token { session: 0, answer: vec![0; MESSAGE_BYTES] };
        assert_eq!(PushCall::from_cbor(&long.to_cbor()), None);
    }

    #[test]
    fn a_code_of_a_later_version_is_internal() {
        let mut w = Writer::new();
        w.array(3).array(0).array(0).array(1).array(2).uint(4).text("not_known_yet");
        let page = PushPage::from_cbor(&w.finish()).unwrap();
        assert_eq!(page.failed, [(4, RefusalCode::Internal)]);
    }
}
