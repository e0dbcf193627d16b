//! The rows of what waits for a client.

use bytes::Buf;
use tessera_token::ids::TenantId;

use super::Delivery;
use crate::message::encoding::{open, options, put_options, VERSION};
use crate::message::envelope;
use crate::message::same::Same;

/// One stored delivery of a session.
pub(crate) enum Outgoing {
    /// Perhaps sent, not acknowledged.
    Message(Delivery),
    /// Received by the client (PUBREC), to be released.
    Released,
}

pub(crate) fn encode_delivery(delivery: &Delivery) -> Vec<u8> {
    let mut out = vec![VERSION, 0];
    put_options(&mut out, &delivery.options, delivery.retained);
    out.extend_from_slice(&envelope::wrap(&delivery.message));
    out
}

pub(crate) fn encode_released() -> Vec<u8> {
    vec![VERSION, 1]
}

pub(crate) fn decode_outgoing(
    raw: Vec<u8>,
    tenant: &TenantId,
    same: &mut Same,
) -> Option<Outgoing> {
    let mut raw = open(raw)?;
    match raw.try_get_u8().ok()? {
        0 => {
            let (options, retained) = options(&mut raw)?;
            let message = same.message(raw, tenant)?;
            Some(Outgoing::Message(Delivery::new(message, options, retained)))
        }
        1 if raw.is_empty() => Some(Outgoing::Released),
        _ => None,
    }
}
