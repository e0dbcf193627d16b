//! Peers that are refused: they show a token without its key, or something that no issuer signed.

use std::net::IpAddr;

use tessera_token::encoding::base64url;
use tessera_token::ids::VerifierName;
use tessera_token::key::SecretKey;
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use crate::device::credential::HeldToken;
use crate::device::life::Device;
use crate::mqtt::{Broker, Closed, Connect, Link, Version};
use crate::report::Tally;

/// Seconds by which a wrong clock is wrong.
const LATE: u64 = 600;

/// A CONNECT with the token of a device and without its key, that is refused with about this code. None for a code that
/// the device has no means for: its token has not expired, or it has not connected yet.
pub(super) fn stolen(
    device: &Device,
    former: Option<&Connect>,
    code: RefusalCode,
    broker: &Broker,
) -> Option<Connect> {
    let plain = device.connect(broker);
    let (token, id) = (device.token(), plain.client_id.as_str());
    let verifier = verifier(device);
    let now = device.clock.now();
    let password = match code {
        RefusalCode::ProofMissing => Credential { token: token.bytes.clone(), proof: None },
        RefusalCode::ProofInvalid => {
            let other = SecretKey::from_seed(&[0x5a; 32]);
            let proof = ConnectProof::make(&other, verifier, id, &token.bytes, now, u32::MAX - 1);
            Credential { token: token.bytes.clone(), proof: Some(proof) }
        }
        RefusalCode::ProofReplayed => {
            let former = former?;
            return Some(Connect { broker: broker.clone(), ..former.clone() });
        }
        RefusalCode::ProofNotFresh => {
            let bytes = late(device, token, id, now);
            return Some(Connect { password: base64url(&bytes), version: Version::V5, ..plain });
        }
        _ => return None,
    };
    Some(Connect { password: base64url(&password.to_password()), version: Version::V5, ..plain })
}

fn verifier(device: &Device) -> &str {
    device.habits.verifier.as_ref().map_or(device.token().audience.as_str(), VerifierName::as_str)
}

fn late(device: &Device, token: &HeldToken, id: &str, now: UnixSeconds) -> Vec<u8> {
    token.password_for(verifier(device), &device.identity.key, id, now.minus(LATE), 1)
}

/// A CONNECT of a peer without a signed token. `sample` is a token of the fleet; the mark of a credential makes its bytes.
pub(super) fn stranger(
    sample: &[u8],
    code: RefusalCode,
    name: &str,
    credential: u32,
    broker: &Broker,
) -> Connect {
    let mut bytes = sample.to_vec();
    let mark = credential.to_be_bytes();
    let password = match code {
        RefusalCode::CredentialMissing => String::new(),
        RefusalCode::CredentialMalformed => format!("secret-{credential:08x}"),
        RefusalCode::TokenMalformed => {
            let begin = bytes.len() / 2;
            bytes.truncate(begin);
            bytes.extend_from_slice(&mark);
            base64url(&bytes)
        }
        RefusalCode::KeyUnknown => {
            // The key id is at the end of the protected header, the length of which stands in its first byte.
            let length = bytes.get(PROTECTED_AT).map_or(0, |head| usize::from(head & 0x1f));
            overwrite(&mut bytes, (PROTECTED_AT + 1 + length).saturating_sub(mark.len()), mark);
            base64url(&bytes)
        }
        _ => {
            let end = bytes.len().saturating_sub(mark.len());
            overwrite(&mut bytes, end, mark);
            base64url(&bytes)
        }
    };
    Connect {
        broker: broker.clone(),
        client_id: name.to_owned(),
        username: if password.is_empty() { String::new() } else { name.to_owned() },
        password,
        version: Version::V5,
        keep_alive: crate::limits::KEEP_ALIVE,
        session: crate::mqtt::Session::default(),
    }
}

/// The place of the protected header in a token: behind its two tags and the head of its array.
const PROTECTED_AT: usize = 4;

fn overwrite(bytes: &mut [u8], at: usize, with: [u8; 4]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(with) {
        *byte = new;
    }
}

/// Tries once; it is counted by the name of the refusal, and as a failure when the broker let it in.
pub(super) async fn attempt(connect: Connect, from: Option<IpAddr>, kind: &str, tally: &Tally) {
    let broker = connect.broker.clone().reached_from(from);
    match Link::open(&Connect { broker, ..connect }).await {
        Ok(link) => {
            tally.failure(&format!("{kind}_let_in"));
            link.close().await;
        }
        Err(Closed::Refused(why)) => tally.refusal(&format!("{kind}:{why}")),
        Err(closed) => tally.refusal(&format!("{kind}:{}", closed.kind())),
    }
}
