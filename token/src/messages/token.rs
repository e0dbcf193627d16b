//! The answer that brings a token.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::error::{in_member, required, Bad};
use super::labels::*;
use super::{body, label, pairs, IssuedKey, MessageError};
use crate::cbor::{strict, Reader, Writer};
use crate::ids::Audience;
use crate::scope::Scope;
use crate::seal::{self, OpeningKey, SealKey};
use crate::time::UnixSeconds;

/// `info` of HPKE for a symmetric key; `aad` is the token that it belongs to.
const SEAL_CONTEXT: &[u8] = b"tessera-symmetric-key-1";

/// The answer that carries a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenAnswer {
    /// The token's bytes.
    pub access_token: Vec<u8>,
    /// Seconds until it expires, from `server_time`.
    pub expires_in: u64,
    /// Whether it is a bearer token.
    pub bearer: bool,
    /// The symmetric key that it is bound to, when it is.
    pub key: Option<IssuedKey>,
    /// The broker audience.
    pub audience: Audience,
    /// Its scope.
    pub scope: Scope,
    /// The service's clock.
    pub server_time: UnixSeconds,
}

impl TokenAnswer {
    /// As `application/ace+cbor`. A secret, when there is a key in it.
    pub fn to_cbor(&self) -> Vec<u8> {
        self.write(None)
    }

    /// As `application/ace+cbor`, with the bytes of [`TokenAnswer::seal_key`] in the place of the key.
    pub fn to_cbor_sealed(&self, sealed: &[u8]) -> Vec<u8> {
        Self { key: None, ..self.clone() }.write(Some(sealed))
    }

    fn write(&self, sealed: Option<&[u8]>) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(6 + usize::from(self.key.is_some()) + usize::from(sealed.is_some()))
            .int(ACCESS_TOKEN)
            .bytes(&self.access_token)
            .int(EXPIRES_IN)
            .uint(self.expires_in)
            .int(AUDIENCE)
            .text(self.audience.as_str());
        if let Some(key) = &self.key {
            w.int(CNF);
            key.write(&mut w);
        }
        w.int(SCOPE)
            .bytes(&self.scope.to_aif())
            .int(TOKEN_TYPE)
            .uint(if self.bearer { BEARER } else { POP })
            .int(SERVER_TIME)
            .uint(self.server_time.get());
        if let Some(sealed) = sealed {
            w.int(SEALED_CNF).bytes(sealed);
        }
        w.finish()
    }

    /// The key of this answer, sealed to the key of its request; `None` without a key, or for a key that nothing is
    /// sealed to. `random` must be drawn for this call alone.
    pub fn seal_key(&self, to: &SealKey, random: [u8; 32]) -> Option<Vec<u8>> {
        let mut w = Writer::new();
        self.key.as_ref()?.write(&mut w);
        let cnf = Zeroizing::new(w.finish());
        seal::seal(to, random, SEAL_CONTEXT, &self.access_token, &cnf)
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, MessageError> {
        Self::read(bytes, None)
    }

    /// As [`TokenAnswer::from_cbor`], with the key of the request, which opens a symmetric key.
    ///
    /// # Errors
    /// [`MessageError`], also for a key that was sealed to another or is not sealed at all.
    pub fn from_cbor_for(bytes: &[u8], opens: &OpeningKey) -> Result<Self, MessageError> {
        Self::read(bytes, Some(opens))
    }

    fn read(bytes: &[u8], opens: Option<&OpeningKey>) -> Result<Self, MessageError> {
        let body = body(bytes)?;
        let mut r = Reader::new(&body);
        let mut sealed: Option<&[u8]> = None;
        let (mut token, mut expires_in, mut audience) = (None, None, None);
        let (mut key, mut scope, mut token_type, mut server_time) = (None, None, POP, None);
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(ACCESS_TOKEN) => token = Some(r.bytes()?),
                    Some(EXPIRES_IN) => expires_in = Some(r.uint()?),
                    Some(AUDIENCE) => audience = Some(Audience::parse(r.text()?)?),
                    Some(CNF) => key = Some(IssuedKey::read(r.item()?)?),
                    Some(SEALED_CNF) => sealed = Some(r.bytes()?),
                    Some(SCOPE) => scope = Some(Scope::from_aif(r.bytes()?).map_err(|_| Bad)?),
                    Some(TOKEN_TYPE) => token_type = r.uint()?,
                    Some(SERVER_TIME) => server_time = Some(r.uint()?),
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        let token = required(ACCESS_TOKEN, token)?;
        if let Some(opens) = opens {
            if key.is_some() {
                // Others could read it on the way.
                return Err(MessageError::Member(CNF));
            }
            key = sealed.map(|sealed| opened(opens, sealed, token)).transpose()?;
        }
        Ok(Self {
            access_token: token.to_vec(),
            expires_in: required(EXPIRES_IN, expires_in)?,
            bearer: token_type == BEARER,
            key,
            audience: required(AUDIENCE, audience)?,
            scope: required(SCOPE, scope)?,
            server_time: UnixSeconds::new(required(SERVER_TIME, server_time)?),
        })
    }
}

fn opened(opens: &OpeningKey, sealed: &[u8], token: &[u8]) -> Result<IssuedKey, MessageError> {
    let bad = MessageError::Member(SEALED_CNF);
    let cnf = opens.open(sealed, SEAL_CONTEXT, token).ok_or(bad)?;
    strict::check(&cnf).map_err(|_| bad)?;
    IssuedKey::read(&cnf).map_err(|_| bad)
}
