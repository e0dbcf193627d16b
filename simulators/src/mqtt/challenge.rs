//! The client's half of the method `tessera-ace-1` (`docs/ace.md`): CONNECT with the token, AUTH with the answer to
//! the broker's nonce. `rumqttc` miscounts the properties of AUTH, so that packet is read and written here.

use bytes::BytesMut;
use tessera_token::ace::{AuthData, BoundNonce, Channel, BOUND_METHOD};

use super::{Closed, Obstacle};

/// The first byte of an AUTH packet.
const AUTH: u8 = 0xf0;
/// Its reason "continue authentication".
const CONTINUE: u8 = 0x18;
const METHOD_PROPERTY: u8 = 21;
const DATA_PROPERTY: u8 = 22;

/// A token, and the answer by its key.
pub struct Challenge<'a> {
    /// The token.
    pub token: &'a [u8],
    /// Makes the answer to the nonce of the broker, for this channel.
    pub answer: &'a (dyn Fn(BoundNonce, &Channel) -> Vec<u8> + Sync),
}

impl Challenge<'_> {
    /// The Authentication Data of the CONNECT.
    pub(super) fn data(&self) -> Result<Vec<u8>, Closed> {
        let data = AuthData::Token(self.token.to_vec()).to_bytes();
        data.map_err(|code| Closed::Lost(code.to_string()))
    }

    /// Takes the broker's AUTH out of `inbox` and writes the answer to `out`. Whether it was there.
    pub(super) fn take(
        &self,
        channel: Option<&Channel>,
        inbox: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<bool, Closed> {
        let (Some(&AUTH), Some(&length)) = (inbox.first(), inbox.get(1)) else { return Ok(false) };
        // The broker's AUTH is short: its length is one byte.
        let end = usize::from(length) + 2;
        if length < 0x80 && inbox.len() < end {
            return Ok(false);
        }
        let wrong = || Closed::NotOpened(Obstacle::NotMqtt, "its AUTH is not readable".to_owned());
        let packet = inbox.get(..end).ok_or_else(wrong)?.to_vec();
        let nonce = nonce(packet.get(2..).unwrap_or_default()).ok_or_else(wrong)?;
        let _ = inbox.split_to(end);
        let unbound = || Closed::Lost("this TLS connection has no channel binding".to_owned());
        let answer = (self.answer)(nonce, channel.ok_or_else(unbound)?);
        out.extend_from_slice(&auth(&answer));
        Ok(true)
    }
}

/// The Authentication Data in the body of an AUTH: reason, length of the properties, properties.
fn nonce(body: &[u8]) -> Option<BoundNonce> {
    let [CONTINUE, _, properties @ ..] = body else { return None };
    let mut rest = properties;
    loop {
        let [property, high, low, more @ ..] = rest else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, others) = more.split_at_checked(length)?;
        match *property {
            DATA_PROPERTY => return BoundNonce::parse(value).ok(),
            METHOD_PROPERTY => rest = others,
            _ => return None,
        }
    }
}

fn auth(data: &[u8]) -> Vec<u8> {
    let mut properties = Vec::new();
    for (property, value) in [(METHOD_PROPERTY, BOUND_METHOD.as_bytes()), (DATA_PROPERTY, data)] {
        properties.push(property);
        // Both are far below 128 bytes: a nonce and a proof of at most 64.
        properties.extend_from_slice(&(value.len() as u16).to_be_bytes());
        properties.extend_from_slice(value);
    }
    let length = properties.len() as u8;
    [&[AUTH, length + 2, CONTINUE, length], properties.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_once_it_is_whole() {
        let clear = Some(&Channel::Clear);
        let answer =
            |nonce: BoundNonce, _: &Channel| [nonce.as_bytes().as_slice(), &[7; 64]].concat();
        let challenge = Challenge { token: &[1, 2], answer: &answer };
        let whole = auth(&[5; 16]);
        let (mut inbox, mut out) = (BytesMut::new(), BytesMut::new());
        for byte in &whole {
            assert!(!challenge.take(clear, &mut inbox, &mut out).unwrap());
            inbox.extend_from_slice(&[*byte]);
        }
        inbox.extend_from_slice(&[0x20]);
        assert!(challenge.take(clear, &mut inbox, &mut out).unwrap());
        assert_eq!(
            (&inbox[..], &out[..]),
            (&[0x20][..], &auth(&answer(BoundNonce::from_bytes([5; 16]), &Channel::Clear))[..])
        );
        assert!(!challenge.take(clear, &mut inbox, &mut out).unwrap());
        assert!(challenge.take(None, &mut BytesMut::from(&whole[..]), &mut out).is_err());
        // Another reason, another length of the nonce, and a length that no broker of ours writes.
        for bad in [&[AUTH, 2, 0, 0][..], &auth(&[5; 15]), &[AUTH, 0xff, 1, 2]] {
            assert!(challenge.take(clear, &mut BytesMut::from(bad), &mut out).is_err(), "{bad:?}");
        }
    }
}
