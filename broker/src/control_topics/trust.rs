//! `$tessera/trust`: a gateway reads the trust feed over its connection, and hands in its alerts.
//!
//! 1. Only a token whose scope names the topic opens it, and only a connection on which the peer proved the key of its
//!    device. The answers are those of the tenant of its token, and of no other.
//! 2. The broker carries the question to provisioning with its own feed token, and the answer back as it came: the gateway
//!    verifies the signature of the root key, which the broker does not have.
//! 3. An answer that is larger than a page waits, and is taken page by page ([`crate::uplinks`]).

use std::sync::Arc;

use bytes::Bytes;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{UplinkAsk, UplinkCall, UplinkPage};

use super::tell;
use crate::authorisation::ControlTopic;
use crate::hub::Hub;
use crate::refusals::What;
use crate::routing::Push;
use crate::session::{ConnectionHandle, Session};
use crate::uplinks::{Lane, Part, Turn};

/// Takes a payload that was published on `$tessera/trust`.
pub(crate) fn submit(
    hub: &Arc<Hub>,
    session: &Arc<Session>,
    handle: &Arc<ConnectionHandle>,
    payload: &Bytes,
) {
    let Some(call) = UplinkCall::from_cbor(payload) else {
        // It bears no number that could be answered.
        hub.metrics.uplinks.inc(&["call_malformed"]);
        return;
    };
    let (number, page) = (call.number, call.page);
    if let UplinkAsk::More(from) = call.ask {
        let now = hub.now().monotonic;
        let part = hub.uplinks.more(session.id.0, (number, from, page), now);
        return answer(hub, session, handle, number, part);
    }
    let turn = match admit(hub, session, handle, &call.ask) {
        Ok(turn) => turn,
        Err(code) => return answer(hub, session, handle, number, Err(code)),
    };
    let (hub, session, handle) = (Arc::clone(hub), Arc::clone(session), Arc::clone(handle));
    let tasks = hub.tasks.clone();
    tasks.spawn(async move {
        let part = match hub.relay.feed(&call.ask, &session.tenant).await {
            // Before the answer: a gateway that has it may ask again.
            Ok(given) => hub.uplinks.give(turn, (number, page), given, hub.now().monotonic),
            Err(code) => {
                drop(turn);
                Err(code)
            }
        };
        answer(&hub, &session, &handle, number, part);
    });
}

/// A place for the call, when the session may have one now.
fn admit(
    hub: &Hub,
    session: &Session,
    handle: &ConnectionHandle,
    ask: &UplinkAsk,
) -> Result<Turn, RefusalCode> {
    // A bearer token that was read on the way opens no list of the devices of a tenant.
    if !handle.has_proved_own_key() {
        return Err(RefusalCode::KeyNotProved);
    }
    if !hub.relay.admits_uplink(&session.tenant, session.device.device(), hub.now().monotonic) {
        hub.metrics.limits_hit.inc(&["uplink_asks_per_device"]);
        return Err(RefusalCode::RateLimited);
    }
    let lane = match ask {
        UplinkAsk::Report(..) => Lane::Report,
        _ => Lane::Ask,
    };
    let is_large = matches!(ask, UplinkAsk::Snapshot(_) | UplinkAsk::Show(_));
    let turn = hub.uplinks.begin(session.id.0, (lane, is_large));
    turn.inspect_err(|_| hub.metrics.limits_hit.inc(&["uplink_asks"]))
}

fn answer(
    hub: &Hub,
    session: &Session,
    handle: &ConnectionHandle,
    number: u64,
    part: Result<Part, RefusalCode>,
) {
    let page = match part {
        Ok(Part { total, from, shared, bytes }) => {
            let whole = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
            hub.metrics.uplinks.inc(&["page"]);
            let (total, from) = (whole(total), whole(from));
            UplinkPage::Part { number, total, from, shared, bytes: bytes.to_vec() }
        }
        Err(code) => {
            hub.metrics.uplinks.inc(&[code.as_str()]);
            // The gateway asks such things again, and takes the snapshot: nothing of it is a refusal of the device.
            if !matches!(code, RefusalCode::TrustGone | RefusalCode::TrustBeyond) {
                session.refusal(handle, What::Trust, code.as_str()).tell();
            }
            UplinkPage::Refused { number, code }
        }
    };
    let told = tell(session, ControlTopic::Trust, page.to_cbor());
    if matches!(told, Some(Push::Full | Push::NoShare)) {
        hub.metrics.found_no_room([1, 0, 0]);
    }
}
