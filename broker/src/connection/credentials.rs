//! Takes the credentials out of a CONNECT: the password, the proof over the TLS exporter, the key of the TLS handshake,
//! or the token and the answer of enhanced authentication ([`super::enhanced_auth`]).
//!
//! 1. An authentication method in the CONNECT: enhanced authentication.
//! 2. A 3.1.1 client may send `ace` and the token as user name, and the proof over the exporter as password.
//! 3. A password with the prefix of a partner token is one ([`super::partner`]).
//! 4. Any other password holds the token, and a connect proof or none.
//! 5. Without a password, the key of the TLS handshake proves a token that was published to `authz-info` before.

use bytes::BytesMut;
use tessera_runtime::secret::Secret;
use tessera_token::ace::{self, ExporterProof, ExporterSecret};
use tessera_token::ids::ClientId;
use tessera_token::proof::{Pop, Presented, Proof};
use tessera_token::refusal::RefusalCode;

use super::challenge::Method;
use super::enhanced_auth::enhanced;
use crate::admission::Prefix;
use crate::authentication::Evidence;
use crate::codec::{Connect, PropertyId};
use crate::hub::Hub;
use crate::partners::Partners;
use crate::refusals::Remote;
use crate::transport::tls::Channel;
use crate::transport::Stream;

/// Whether the CONNECT asks for enhanced authentication.
pub(super) fn method(connect: &Connect) -> Option<&str> {
    connect.properties.text(PropertyId::AuthMethod)
}

/// Takes the credentials out of the CONNECT, after a challenge if its method asks for one. `None` when the peer broke
/// the protocol or closed: it gets no answer.
pub(super) async fn evidence(
    hub: &Hub,
    stream: &mut Stream,
    inbox: &mut BytesMut,
    connect: &mut Connect,
    from: Prefix,
    remote: Remote,
) -> Option<Result<Evidence, RefusalCode>> {
    match method(connect).map(Method::of) {
        Some(Some(method)) => enhanced(hub, stream, inbox, connect, method, (from, remote)).await,
        Some(None) => Some(Err(RefusalCode::MethodNotSupported)),
        None => Some(password(hub, stream, connect, &stream.channel())),
    }
}

fn password(
    hub: &Hub,
    stream: &Stream,
    connect: &mut Connect,
    channel: &Channel,
) -> Result<Evidence, RefusalCode> {
    let Some(password) = connect.password.take() else {
        return by_handshake(hub, connect, channel).ok_or(RefusalCode::CredentialMissing);
    };
    // A connect proof is longer than both kinds of PoP, so that a user name that happens to begin so does no harm.
    if let (Some(user), Ok(pop)) = (&connect.user_name, Pop::from_bytes(password.expose())) {
        if let Some(token) = ace::from_username(user)? {
            return over_exporter(token, pop, channel);
        }
    }
    if Partners::is_partner_token(password.expose()) {
        let text = String::from_utf8(password.expose().to_vec());
        let text = text.map_err(|_| RefusalCode::CredentialMalformed)?;
        return Ok(Evidence::Partner(Secret::new(text)));
    }
    let tickets =
        if stream.is_encrypted() { hub.ticket_keys.accepted() } else { Default::default() };
    Ok(Evidence::Password { password, key: channel.key.map(Box::new), tickets })
}

/// The key of the TLS handshake proves a token that was published to `authz-info` before (RFC 9431 section 2.2.2). The
/// user name, when there is one, names the tenant.
fn by_handshake(hub: &Hub, connect: &Connect, channel: &Channel) -> Option<Evidence> {
    let key = channel.key.filter(|_| hub.authz_info.is_on())?.thumbprint()?;
    let client_id = ClientId::parse(&connect.client_id).ok()?;
    let (device, tenant) = (client_id.subject(), connect.user_name.as_deref());
    let token = hub.authz_info.of_key(&key, device, tenant, hub.now().unix)?.to_vec();
    let proof = Proof::TlsKey(key);
    Some(Evidence::Presented(Box::new(Presented { token, proof })))
}

/// The token that was published for this client, when it does not bring one.
pub(super) fn published(hub: &Hub, connect: &Connect) -> Option<Vec<u8>> {
    let client_id = ClientId::parse(&connect.client_id).ok().filter(|_| hub.authz_info.is_on())?;
    hub.authz_info.of_device(client_id.subject(), hub.now().unix).map(|token| token.to_vec())
}

pub(super) fn over_exporter(
    token: Vec<u8>,
    pop: Pop,
    channel: &Channel,
) -> Result<Evidence, RefusalCode> {
    let exporter = channel.exporter.as_ref().ok_or(RefusalCode::ProofInvalid)?;
    let exporter = ExporterSecret::from_bytes(exporter);
    let proof = Proof::Exporter(ExporterProof { exporter, pop });
    Ok(Evidence::Presented(Box::new(Presented { token, proof })))
}
