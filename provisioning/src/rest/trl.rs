//! `GET /revoke/trl` (RFC 9770): the token revocation list, for resource servers, administrators and devices.

use actix_web::http::header::{ACCEPT, CACHE_CONTROL};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use tessera_runtime::http::server::accepts;
use tessera_token::cbor::Writer;
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::messages::RevokeRequest;
use tessera_token::refusal::RefusalCode;

use super::auth::{has_bearer, Among, Lists};
use super::device::endpoints::with_proof;
use super::endpoint::{schema, Endpoint};
use super::input::App;
use super::problem::Problem;
use crate::limits::{DEVICE_BODY_BYTES, TRL_DIFF_MOST, TRL_MAX_INDEX};
use crate::refused::Refused;
use crate::revoke::shown;
use crate::revoke::trl::answer::{answer, Listed, Query, Requester};

const TRL_CBOR: &str = "application/ace-trl+cbor";
const PROBLEM_CBOR: &str = "application/concise-problem-details+cbor";
/// The header in which a device shows its token and proves its key.
const PROOF_HEADER: &str = "tessera-proof";

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![Endpoint::get("/revoke/trl", list)
        .summary("The token revocation list (RFC 9770)")
        .callers(
            "An account shows its token; a device shows none, and a signed request in the \
                header tessera-proof.",
        )
        .query("diff", "Updates at most; 0 is as many as there are", schema::at_most(TRL_DIFF_MOST))
        .query(
            "cursor",
            "The cursor of an earlier answer, beside diff",
            schema::at_most(TRL_MAX_INDEX),
        )
        .sends(
            200,
            "The part that pertains to the caller",
            vec![schema::plain("application/ace-trl+cbor"), schema::json_of("RevocationList")],
        )
        .refused_as(
            "Refused",
            vec![
                schema::plain("application/concise-problem-details+cbor"),
                schema::plain("application/ace+cbor"),
            ],
        )
        .refuses(&[
            RefusalCode::CapacityReached,
            RefusalCode::ProofInvalid,
            RefusalCode::ProofNotFresh,
            RefusalCode::OperatorNotAllowed,
        ])]
}

/// Errors of the RFC, section 14.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrlError {
    /// Of `diff`.
    Value,
    /// Of `cursor`.
    Cursor,
    Set,
    Bound,
}

pub(super) async fn list(
    request: HttpRequest,
    app: App,
    operator: Result<Among<Lists>, Problem>,
) -> HttpResponse {
    let requester = match has_bearer(&request) {
        true => match operator {
            Ok(by) => Requester::Of(by.operator().tenants.clone()),
            Err(problem) => return problem.to_response(None, None),
        },
        false => match device(&request, &app).await {
            Ok(requester) => requester,
            Err(refusal) => return refusal,
        },
    };
    let as_json = !accepts(&request, TRL_CBOR)
        && request.headers().contains_key(ACCEPT)
        && accepts(&request, "application/json");
    let query = match asked(request.query_string()) {
        Ok(query) => query,
        Err(error) => return refused(error, as_json, last_of(&app, &requester, error).await),
    };
    match answer(&app, &requester, query).await {
        Ok(Listed::OutOfBound) => refused(TrlError::Bound, as_json, None),
        Ok(listed) => told(&listed, as_json),
        Err(refusal) => Problem::from(refusal).to_response(None, None),
    }
}

/// A device shows its own token, which may be revoked, and proves its key.
async fn device(request: &HttpRequest, app: &App) -> Result<Requester, HttpResponse> {
    let act = async |way: &super::auth::Way| {
        let missing = || {
            Refused::malformed(format!(
                "show an account, or {PROOF_HEADER} with a signed request as base64url"
            ))
        };
        let proof = request.headers().get(PROOF_HEADER).and_then(|proof| proof.to_str().ok());
        let proof = proof.filter(|proof| proof.len() <= DEVICE_BODY_BYTES);
        let bytes = proof.and_then(from_base64url).ok_or_else(missing)?;
        let message = RevokeRequest::from_cbor(&bytes)
            .map_err(|error| Refused::malformed(error.to_string()))?;
        let may = |tenant: &str| way.leads_to(tenant);
        let (tenant, device) = shown::reader(app, &message, &way.source, may).await?;
        Ok::<_, Problem>(Requester::Device(tenant, device))
    };
    with_proof(request, app, act).await
}

/// The query; parameters that are unknown are ignored, as the RFC asks.
fn asked(query: &str) -> Result<Query, TrlError> {
    let value = |name: &str| {
        let of =
            |pair: &str| pair.split_once('=').map(|(key, value)| (key == name, value.to_owned()));
        query.split('&').filter_map(of).find(|(is_it, _)| *is_it).map(|(_, value)| value)
    };
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| plain)
    };
    let diff = value("diff").map(|text| number(&text).ok_or(TrlError::Value)).transpose()?;
    let cursor = value("cursor");
    match (diff, cursor) {
        (None, None) => Ok(Query::Full),
        (None, Some(_)) => Err(TrlError::Set),
        (Some(most), _) if most > TRL_DIFF_MOST => Err(TrlError::Value),
        (Some(most), None) => Ok(Query::Diff { most, cursor: None }),
        (Some(most), Some(text)) => match number(&text).filter(|cursor| *cursor <= TRL_MAX_INDEX) {
            Some(cursor) => Ok(Query::Diff { most, cursor: Some(cursor) }),
            None => Err(TrlError::Cursor),
        },
    }
}

/// The newest update, which goes with a cursor that is no number.
async fn last_of(app: &App, requester: &Requester, error: TrlError) -> Option<Option<u64>> {
    if error != TrlError::Cursor {
        return None;
    }
    match answer(app, requester, Query::Diff { most: 1, cursor: None }).await {
        Ok(Listed::Diff { cursor, .. }) => Some(cursor),
        _ => None,
    }
}

fn told(listed: &Listed, as_json: bool) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    let texts = |hashes: &[[u8; 33]]| hashes.iter().map(|hash| base64url(hash)).collect::<Vec<_>>();
    match listed {
        _ if !as_json => response.content_type(TRL_CBOR).body(listed.to_cbor().unwrap_or_default()),
        Listed::Full { hashes, cursor } => {
            response.json(json!({ "full_set": texts(hashes), "cursor": cursor }))
        }
        Listed::Diff { patches, cursor, more } => {
            let patches = patches.iter().map(|(removed, added)| [texts(removed), texts(added)]);
            let patches: Vec<_> = patches.collect();
            response.json(json!({ "diff_set": patches, "cursor": cursor, "more": more }))
        }
        Listed::OutOfBound => refused(TrlError::Bound, as_json, None),
    }
}

/// RFC 9290 with the entry `ace-trl-error`.
fn refused(error: TrlError, as_json: bool, last: Option<Option<u64>>) -> HttpResponse {
    let (id, title) = match error {
        TrlError::Value | TrlError::Cursor => (0, "Invalid parameter value"),
        TrlError::Set => (1, "Invalid set of parameters"),
        TrlError::Bound => (2, "Out of bound cursor value"),
    };
    if as_json {
        let detail = format!("{title} (ace-trl-error {id})");
        return Problem::from(Refused::malformed(detail)).to_response(None, None);
    }
    let mut w = Writer::new();
    w.map(2).int(-1).text(title).int(TRL_ERROR).map(1 + usize::from(last.is_some()));
    w.int(0).int(id);
    if let Some(last) = last {
        w.int(1);
        match last {
            Some(last) => w.uint(last),
            None => w.null(),
        };
    }
    let mut response = HttpResponse::BadRequest();
    response.insert_header((CACHE_CONTROL, "no-store"));
    let mut response = response.content_type(PROBLEM_CBOR).body(w.finish());
    response.extensions_mut().insert(tessera_token::refusal::RefusalCode::RequestMalformed);
    response
}

/// The custom problem detail entry of the RFC.
const TRL_ERROR: i64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_the_rfc_says() {
        assert_eq!(asked(""), Ok(Query::Full));
        assert_eq!(asked("other=1"), Ok(Query::Full));
        assert_eq!(asked("diff=0"), Ok(Query::Diff { most: 0, cursor: None }));
        assert_eq!(asked("diff=3&cursor=7"), Ok(Query::Diff { most: 3, cursor: Some(7) }));
        assert_eq!(asked("cursor=7"), Err(TrlError::Set));
        for bad in ["diff=-1", "diff=x", "diff=", "diff=x&cursor=x"] {
            assert_eq!(asked(bad), Err(TrlError::Value), "{bad}");
        }
        for bad in ["diff=1&cursor=-1", "diff=1&cursor=+1", "diff=1&cursor="] {
            assert_eq!(asked(bad), Err(TrlError::Cursor), "{bad}");
        }
        let beyond = format!("diff=1&cursor={}", TRL_MAX_INDEX + 1);
        assert_eq!(asked(&beyond), Err(TrlError::Cursor));
    }
}
