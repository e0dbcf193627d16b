//! The endpoints of the trust feed, as the API describes them.

use serde_json::{json, Value};
use tessera_token::refusal::RefusalCode;

use super::{events, known, looked_at, restored, snapshot, CBOR};
use crate::limits::POLL_SECONDS;
use crate::rest::endpoint::{schema, Endpoint};

/// The words for the parameter with which a broker asks for a gateway.
pub(in crate::rest) const OF_TENANT: &str =
    "As a reader of this tenant alone, whatever else the account reads: a broker asks so for a gateway";

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/trust/snapshot", snapshot)
            .summary(
                "Everything a verifier must know, signed by the root key; 409 (`trust_beyond`) \
                when the reader has another history than the service, or a newer event",
            )
            .query("after", "The newest event that the reader knows", schema::number())
            .query(
                "head",
                "The hash of the event `after`; a service that was restored from an older copy is \
                recognised by it",
                schema::pattern("^[A-Za-z0-9_-]{43}$"),
            )
            .query("tenant", OF_TENANT, schema::tenant())
            .sends(
                200,
                "CBOR [root COSE_Key, COSE_Sign1], behind the links to that root when there are \
                any; of the account's tenants, as another kind, when it does not belong to all",
                vec![schema::plain(CBOR)],
            )
            .refuses(&[
                RefusalCode::TrustBeyond,
                RefusalCode::LimitReached,
                RefusalCode::TenantUnknown,
            ]),
        Endpoint::get("/v1/trust/events", events)
            .summary(
                "Signed events behind a sequence number; 410 (`trust_gone`) when they are gone, \
                409 (`trust_beyond`) when the reader has another history than the service, or a \
                newer event",
            )
            .query("after", "", schema::number())
            .required()
            .query("clock", "The reader's clock, in seconds since 1970", schema::number())
            .query("wait", "", schema::from_zero(POLL_SECONDS))
            .query(
                "head",
                "The hash of the event `after`; a service that was restored from an older copy is \
                recognised by it",
                schema::pattern("^[A-Za-z0-9_-]{43}$"),
            )
            .query(
                "nonce",
                "16 random bytes, anew for each poll: without it the heartbeat is of the first \
                kind and confirms nothing",
                schema::pattern("^[0-9a-f]{32}$"),
            )
            .query("tenant", OF_TENANT, schema::tenant())
            .header(
                "tessera-verifier",
                "The verifier name under which the reader admits devices, together with \
                tessera-reader. While another process polls under it, answers have the header \
                tessera-verifier-shared",
                schema::id(),
            )
            .header(
                "tessera-reader",
                "32 hexadecimal digits that the reader's process drew at its start",
                schema::pattern("^[0-9a-fA-F]{32}$"),
            )
            .header(
                "tessera-root-set",
                "The number of the root set that the reader trusts; a lower one than the \
                service's is answered with 410, and the links stand in front of the snapshot",
                schema::pattern("^[0-9]{1,9}$"),
            )
            .sends(
                200,
                "CBOR [[event, …], heartbeat]; [view, [event, …], heartbeat] for an account of \
                some tenants. The heartbeat answers the nonce when there is one",
                vec![schema::plain(CBOR)],
            )
            .refuses(&[
                RefusalCode::TrustBeyond,
                RefusalCode::TrustGone,
                RefusalCode::LimitReached,
                RefusalCode::TenantUnknown,
            ]),
        Endpoint::post("/v1/trust/known", known)
            .summary(
                "Show a restored service what the root key signed after its copy was made. The \
                service can only refuse more by it",
            )
            .query("tenant", OF_TENANT, schema::tenant())
            .takes(vec![(CBOR, Some(evidence()))])
            .empty(204, "Stored durably")
            .refuses(&[RefusalCode::TenantUnknown]),
        Endpoint::get("/v1/trust/restored", restored)
            .summary(
                "Whether the service came back from an older copy, and what readers knew beyond \
                it",
            )
            .paged_by(
                "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?$",
            )
            .done("Restored"),
        Endpoint::delete("/v1/trust/restored", looked_at)
            .summary("Clear the list, after an operator has looked at it")
            .empty(204, "Done"),
    ]
}

/// The schema of evidence.
fn evidence() -> Value {
    let about = "CBOR [snapshot, [event, …], heartbeat], and behind them [view, …] of a reader of some tenants; each as it was \
                 signed, or an empty byte string";
    json!({ "type": "string", "format": "binary", "description": about })
}
