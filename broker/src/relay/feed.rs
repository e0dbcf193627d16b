//! Requests to the trust feed in the name of a gateway.

use tessera_runtime::http::{Method, Request, CBOR, JSON};
use tessera_token::encoding::{base64url, hex};
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{
    UplinkAsk, UplinkPoll, UplinkStand, GATEWAY, READER_HEADER, ROOT_SET_HEADER, VERIFIER_HEADER,
    VERIFIER_KIND_HEADER,
};

use crate::limits::{UPLINK_POLL_WITHIN, UPLINK_SNAPSHOT_WITHIN, UPLINK_WAIT_SECONDS};

/// Path and query: those of a reader of this tenant, whatever the account of the broker reads.
pub(super) fn path(ask: &UplinkAsk, tenant: &TenantId) -> String {
    match ask {
        UplinkAsk::More(_) | UplinkAsk::Snapshot(None) => {
            format!("/v1/trust/snapshot?tenant={tenant}")
        }
        UplinkAsk::Snapshot(Some(stand)) => {
            format!("/v1/trust/snapshot?tenant={tenant}&{}", place(stand))
        }
        UplinkAsk::Events(UplinkPoll { stand, nonce, wait, .. }) => {
            let (place, wait) = (place(stand), UPLINK_WAIT_SECONDS.min(*wait));
            format!("/v1/trust/events?tenant={tenant}&{place}&nonce={nonce}&wait={wait}")
        }
        UplinkAsk::Show(_) => format!("/v1/trust/known?tenant={tenant}"),
        UplinkAsk::Report(report, ..) => format!("{}?tenant={tenant}", report.path()),
    }
}

fn place((after, head): &UplinkStand) -> String {
    format!("after={after}&head={}", base64url(head.as_bytes()))
}

/// The request on this path.
pub(super) fn request<'a>(ask: &UplinkAsk, path: &'a str) -> Request<'a> {
    match ask {
        UplinkAsk::More(_) | UplinkAsk::Snapshot(_) => {
            Request::new(Method::Get, path).accept(CBOR).within(UPLINK_SNAPSHOT_WITHIN)
        }
        UplinkAsk::Events(poll) => {
            let request = Request::new(Method::Get, path)
                .accept(CBOR)
                .header(VERIFIER_HEADER, poll.verifier.as_str())
                .header(READER_HEADER, hex::encode(poll.reader))
                .header(VERIFIER_KIND_HEADER, GATEWAY)
                .within(UPLINK_POLL_WITHIN);
            match poll.root_set {
                0 => request,
                number => request.header(ROOT_SET_HEADER, number.to_string()),
            }
        }
        UplinkAsk::Show(evidence) => Request::new(Method::Post, path)
            .accept(CBOR)
            .body(CBOR, evidence.clone())
            .within(UPLINK_SNAPSHOT_WITHIN),
        UplinkAsk::Report(_, verifier, body) => Request::new(Method::Post, path)
            .header(VERIFIER_HEADER, verifier.as_str())
            .body(JSON, body.clone()),
    }
}

/// Whether the service refuses the account of the broker, and not the question.
pub(super) fn is_of_the_account(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::OperatorNotAllowed | RefusalCode::OperatorUnknown | RefusalCode::TenantUnknown
    )
}
