//! Entity tags (RFC 9110 section 8.8.3): the revision of a record, and for views that hold more than one record a mark of the
//! rest. Changes demand one, so that none undoes another unseen.

use std::future::{ready, Future};
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_MATCH, IF_NONE_MATCH};
use actix_web::http::Method;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use serde::Serialize;
use tessera_token::encoding::base64url;
use tessera_token::hash::sha256;
use tessera_token::refusal::RefusalCode;

use super::gate::behind;
use super::problem::Problem;
use crate::limits::{ETAGS, ETAGS_BYTES};
use crate::refused::Refused;
use crate::revision::{Precondition, Revised};

/// The sign between the revision of a record and the mark of the rest of a view.
const REST: char = '.';

/// The tag of a revision.
pub(super) fn of_revision(revision: &str) -> String {
    format!("\"{revision}\"")
}

/// The tag of a record whose view holds nothing else.
pub(super) fn of(record: &impl Revised) -> String {
    of_revision(&record.revision())
}

/// The tag of a view that holds more than the record: the time, or another record. A change rests on the record alone.
pub(super) fn of_view(record: &impl Revised, view: &impl Serialize) -> String {
    let view = serde_json::to_vec(view).unwrap_or_default();
    let rest = base64url(sha256(&view).get(..6).unwrap_or_default());
    format!("\"{}{REST}{rest}\"", record.revision())
}

/// An answer with its tag; none for an empty one.
pub(super) fn tagged(mut answer: HttpResponse, tag: &str) -> HttpResponse {
    if let Some(tag) = tag.parse().ok().filter(|_| !tag.is_empty()) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

/// The answer to a GET: 304 when the caller has this view already.
pub(super) fn shown(request: &HttpRequest, view: &impl Serialize, tag: &str) -> HttpResponse {
    let known = values(request, &IF_NONE_MATCH).unwrap_or_default();
    let is_known = known.iter().any(|one| one == "*" || one.trim_start_matches("W/") == tag);
    let answer = match is_known {
        true => HttpResponse::NotModified().finish(),
        false => HttpResponse::Ok().json(view),
    };
    let mut answer = tagged(answer, tag);
    if let Ok(value) = "private, no-cache".parse() {
        answer.headers_mut().insert(CACHE_CONTROL, value);
    }
    answer
}

/// The precondition of a change: `If-Match`, or `If-None-Match: *` of a PUT that makes a record.
pub(crate) struct When(pub(crate) Precondition);

impl FromRequest for When {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        Box::pin(behind(request, ready(read(request).map(Self))))
    }
}

fn read(request: &HttpRequest) -> Result<Precondition, Problem> {
    let (is, is_not) = (values(request, &IF_MATCH)?, values(request, &IF_NONE_MATCH)?);
    let is_put = request.method() == Method::PUT;
    match (is.as_slice(), is_not.as_slice()) {
        ([], []) => {
            let why = match is_put {
                true => "send If-Match with the ETag of what was read, or If-None-Match: * for a new one",
                false => "send If-Match with the ETag of what was read, or * for any",
            };
            Err(Refused::because(RefusalCode::PreconditionRequired, why).into())
        }
        ([any], []) if any == "*" => Ok(Precondition::Any),
        (tags, []) if tags.iter().all(|tag| tag != "*") => {
            Ok(Precondition::OneOf(tags.iter().filter_map(|tag| revision(tag)).collect()))
        }
        ([], [any]) if any == "*" && is_put => Ok(Precondition::Absent),
        _ => Err(Refused::malformed("send one of If-Match and, with PUT, If-None-Match: *").into()),
    }
}

/// The revision in a strong tag: a weak one never matches.
fn revision(tag: &str) -> Option<String> {
    let tag = tag.strip_prefix('"')?.strip_suffix('"')?;
    Some(tag.split(REST).next().unwrap_or_default().to_owned())
}

/// The tags of all headers of this name.
fn values(
    request: &HttpRequest,
    name: &actix_web::http::header::HeaderName,
) -> Result<Vec<String>, Problem> {
    let malformed = || Problem::from(Refused::malformed(format!("{name} is no list of tags")));
    let mut tags = Vec::new();
    for value in request.headers().get_all(name) {
        let text = value.to_str().map_err(|_| malformed())?;
        if text.len() > ETAGS_BYTES {
            return Err(malformed());
        }
        // No tag of ours holds a comma.
        tags.extend(text.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()));
    }
    let is_tag = |tag: &String| {
        let plain = tag.trim_start_matches("W/");
        tag == "*" || (plain.len() >= 2 && plain.starts_with('"') && plain.ends_with('"'))
    };
    match tags.len() <= ETAGS && tags.iter().all(is_tag) {
        true => Ok(tags),
        false => Err(malformed()),
    }
}
