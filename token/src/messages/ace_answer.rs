//! The answer of the token endpoint of RFC 9200 section 5.8.2.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::ace_request::MQTT_TLS;
use super::error::{in_member, Bad};
use super::labels::*;
use super::{body, label, pairs, MessageError, TokenAnswer};
use crate::cbor::{Reader, Writer};
use crate::seal::OpeningKey;

/// A token, and what else was asked for. It has no `Debug`: it may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct AceAnswer {
    /// The token.
    pub token: TokenAnswer,
    /// The refresh token.
    pub refresh_token: Option<Zeroizing<Vec<u8>>>,
    /// Whether it names the profile.
    pub profile: bool,
}

impl AceAnswer {
    /// As `application/ace+cbor`. `sealed` are the bytes of [`TokenAnswer::seal_key`], for a token with a symmetric key.
    /// `token_type` is absent for a token that is bound to a key: that is the default of RFC 9200.
    pub fn to_cbor(&self, sealed: Option<&[u8]>) -> Vec<u8> {
        let token = &self.token;
        let mut w = Writer::new();
        let more = [token.bearer, self.refresh_token.is_some(), self.profile, sealed.is_some()];
        w.map(5 + more.iter().filter(|one| **one).count())
            .int(ACCESS_TOKEN)
            .bytes(&token.access_token)
            .int(EXPIRES_IN)
            .uint(token.expires_in)
            .int(AUDIENCE)
            .text(token.audience.as_str())
            .int(SCOPE)
            .bytes(&token.scope.to_aif());
        if token.bearer {
            w.int(TOKEN_TYPE).uint(BEARER);
        }
        if let Some(refresh_token) = &self.refresh_token {
            w.int(REFRESH_TOKEN).bytes(refresh_token);
        }
        if self.profile {
            w.int(ACE_PROFILE).int(MQTT_TLS);
        }
        w.int(SERVER_TIME).uint(token.server_time.get());
        if let Some(sealed) = sealed {
            w.int(SEALED_CNF).bytes(sealed);
        }
        w.finish()
    }

    /// Reads it. `opens` is the key of the request, which opens a symmetric key.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_cbor(bytes: &[u8], opens: Option<&OpeningKey>) -> Result<Self, MessageError> {
        let token = match opens {
            Some(opens) => TokenAnswer::from_cbor_for(bytes, opens)?,
            None => TokenAnswer::from_cbor(bytes)?,
        };
        let body = body(bytes)?;
        let mut r = Reader::new(&body);
        let (mut refresh_token, mut profile) = (None, false);
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(REFRESH_TOKEN) => refresh_token = Some(r.bytes()?),
                    Some(ACE_PROFILE) => profile = r.int()? == MQTT_TLS,
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        let refresh_token = refresh_token.map(|token| Zeroizing::new(token.to_vec()));
        Ok(Self { token, refresh_token, profile })
    }
}
