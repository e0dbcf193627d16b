//! The answer that brings a refusal.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::error::{in_member, required, Bad};
use super::labels::*;
use super::{body, label, pairs, MessageError};
use crate::cbor::{Reader, Writer};
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;

/// An error of the ACE framework (RFC 9200 section 8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum AceError {
    /// The request is malformed.
    InvalidRequest = 1,
    /// The requester is not the client that it names.
    InvalidClient = 2,
    /// The presented grant is no longer good.
    InvalidGrant = 3,
    /// The client may not make this request.
    UnauthorizedClient = 4,
    /// Another grant type than client_credentials.
    UnsupportedGrantType = 5,
    /// A scope that cannot be given.
    InvalidScope = 6,
    /// A key that is not accepted.
    UnsupportedPopKey = 7,
    /// No profile that client and verifiers share.
    IncompatibleAceProfiles = 8,
}

impl AceError {
    /// Its name where text is spoken (RFC 6749 section 5.2, RFC 9200 section 8.3).
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::UnsupportedPopKey => "unsupported_pop_key",
            Self::IncompatibleAceProfiles => "incompatible_ace_profiles",
        }
    }
}

/// The answer that carries a refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusalAnswer {
    /// The number of RFC 9200.
    pub error: u64,
    /// Words for a person.
    pub description: String,
    /// The stable refusal code, when this version knows it.
    pub code: Option<RefusalCode>,
    /// The service's clock. It is not signed: a hint for a person, and no time to sign for.
    pub server_time: UnixSeconds,
    /// A nonce to sign in the place of the time, when the time or the nonce of the request was refused.
    pub cnonce: Option<Vec<u8>>,
}

impl RefusalAnswer {
    /// A refusal with the words that go with its code.
    pub fn new(error: AceError, code: RefusalCode, server_time: UnixSeconds) -> Self {
        let description = code.words().to_string();
        Self { error: error as u64, description, code: Some(code), server_time, cnonce: None }
    }

    /// The same, with a nonce to sign instead of a time.
    pub fn with_cnonce(mut self, cnonce: &[u8]) -> Self {
        self.cnonce = Some(cnonce.to_vec());
        self
    }

    /// The same, with what was wrong and where.
    pub fn because(mut self, detail: &str) -> Self {
        self.description = format!("{}: {detail}", self.description);
        self
    }

    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(3 + usize::from(self.code.is_some()) + usize::from(self.cnonce.is_some()))
            .int(ERROR)
            .uint(self.error)
            .int(ERROR_DESCRIPTION)
            .text(&self.description);
        if let Some(cnonce) = &self.cnonce {
            w.int(CNONCE).bytes(cnonce);
        }
        w.int(SERVER_TIME).uint(self.server_time.get());
        if let Some(code) = self.code {
            w.int(CODE).text(code.as_str());
        }
        w.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, MessageError> {
        let body = body(bytes)?;
        let mut r = Reader::new(&body);
        let (mut error, mut words, mut code, mut server_time) = (None, "", None, None);
        let mut cnonce = None;
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(ERROR) => error = Some(r.uint()?),
                    Some(ERROR_DESCRIPTION) => words = r.text()?,
                    Some(CNONCE) => cnonce = Some(r.bytes()?),
                    Some(SERVER_TIME) => server_time = Some(r.uint()?),
                    Some(CODE) => code = RefusalCode::parse(r.text()?),
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        Ok(Self {
            error: required(ERROR, error)?,
            description: words.to_string(),
            code,
            cnonce: cnonce.map(<[u8]>::to_vec),
            server_time: UnixSeconds::new(required(SERVER_TIME, server_time)?),
        })
    }
}
