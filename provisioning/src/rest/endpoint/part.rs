//! The parameters of handlers, as the document tells them: the caller with its roles and tenants, and the headers of changes.

use std::collections::BTreeSet;

use actix_web::http::Method;
use actix_web::web::{Data, Path, Payload};
use actix_web::HttpRequest;
use serde_json::Value;
use tessera_runtime::proxy::entrance::Entrance;
use tessera_token::refusal::RefusalCode as Code;

#[cfg(test)]
use super::fields::{fields_of, Fields};
use super::{schema, Caller, Endpoint, Parameter, Reach};
use crate::operators::OperatorRole;
use crate::rest::attributes::Filtered;
use crate::rest::auth::{Among, By, Needs};
use crate::rest::etag::When;
use crate::rest::input::{Admitted, App, Body, Json, Query};
use crate::rest::lines::Lines;
use crate::rest::once::{KeyOfImport, Once};
use crate::rest::operator::reason::WithReason;
use crate::rest::problem::Problem;

/// The pattern of names that the service draws.
const DRAWN: &str = "^[0-9a-f]{16}$";

/// The parameters of a path.
pub(super) fn of_path(path: &'static str) -> Vec<Parameter> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let told = |name| Parameter {
        name,
        place: "path",
        is_required: true,
        about: "",
        schema: in_path(name),
        more: None,
    };
    names.map(told).collect()
}

fn in_path(name: &str) -> Value {
    match name {
        "tenant" => schema::tenant(),
        "approval" => schema::pattern(DRAWN),
        "webhook" => schema::told(DRAWN, "Id of a webhook"),
        "partner_token" => schema::told(DRAWN, "The public name of the token, 16 hex digits"),
        "api_token" => schema::told(DRAWN, "The public name of the token, 16 hex digits"),
        "authority" => schema::pattern("^[0-9a-f]{64}$"),
        "certificate" => schema::told(
            "^(sha256:[0-9a-f]{64}|serial:[0-9a-f]{1,40})$",
            "The fingerprint or the serial number of a certificate, in hexadecimal digits",
        ),
        "claim" | "key" => schema::text(),
        _ => schema::told(schema::ID, "1 to 64 characters"),
    }
}

/// The codes with which every endpoint of this method refuses: a secret in the URL, and for a change others that cross it
/// all the time, or too many at once.
pub(super) fn of_all(method: &Method) -> BTreeSet<Code> {
    let change = (*method != Method::GET).then_some(Code::LimitReached);
    std::iter::once(Code::RequestMalformed).chain(change).collect()
}

/// The members that the types of a handler take, for tests: those of the query, and of the body.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Taken {
    pub(super) query: Option<Fields>,
    pub(super) body: Option<Fields>,
}

/// A parameter of a handler.
pub(crate) trait Part {
    /// Notes what follows from it.
    fn tell(of: &mut Endpoint);
}

/// The roles of `N`, and the tenants.
fn account<N: Needs>(of: &mut Endpoint, tenants: Reach) {
    let mut roles = N::ONE_OF.to_vec();
    roles.sort();
    let is_any = roles.len() == OperatorRole::ALL.len() && !N::BY_ACCOUNT;
    of.caller = Caller::Account { roles, tenants };
    of.refusals.extend([Code::OperatorUnknown, Code::RateLimited]);
    of.refusals.extend([Code::Internal, Code::NotReady]);
    let has_tenant = of.path.contains("{tenant}");
    if !is_any || tenants == Reach::Path && !has_tenant {
        of.refusals.insert(Code::OperatorNotAllowed);
    }
    if has_tenant {
        of.refusals.insert(Code::TenantUnknown);
    }
}

impl<N: Needs> Part for By<N> {
    fn tell(of: &mut Endpoint) {
        account::<N>(of, Reach::Path);
    }
}

impl<N: Needs> Part for Among<N> {
    fn tell(of: &mut Endpoint) {
        account::<N>(of, Reach::Among);
    }
}

impl Part for Admitted {
    fn tell(of: &mut Endpoint) {
        of.refusals.insert(Code::RateLimited);
    }
}

impl Part for App {
    fn tell(of: &mut Endpoint) {
        of.refusals.extend([Code::Internal, Code::NotReady]);
    }
}

impl Part for When {
    fn tell(of: &mut Endpoint) {
        let about = "The ETag of what was read; * for any. A change without it is refused with 428, one that names another \
                     revision with 412";
        of.parameters.push(header("If-Match", about, schema::text()));
        of.refusals.extend([Code::PreconditionRequired, Code::PreconditionFailed]);
    }
}

impl<T: serde::de::DeserializeOwned> Part for Once<T> {
    fn tell(of: &mut Endpoint) {
        let about = "A random text of at least 128 bits: the same request with the same key within a day gets the same \
                     answer, and nothing is made again. Another body is refused with 422, a request that is still being done \
                     with 409";
        of.parameters.push(header("Idempotency-Key", about, random_key()));
        of.refusals.extend([Code::IdempotencyKeyReused, Code::IdempotencyKeyBusy]);
        Json::<T>::tell(of);
    }
}

impl Part for KeyOfImport {
    fn tell(of: &mut Endpoint) {
        let about = "A random text of at least 128 bits, one for each list: the codes follow from it and from the numbers of \
                     the lines";
        let key = header("Idempotency-Key", about, random_key());
        of.parameters.push(Parameter { is_required: true, ..key });
    }
}

fn random_key() -> Value {
    let (least, most) = (crate::limits::KEY_CHARS_LEAST, crate::limits::KEY_CHARS_MOST);
    schema::pattern(&format!("^[!-~]{{{least},{most}}}$"))
}

fn header(name: &'static str, about: &'static str, schema: Value) -> Parameter {
    Parameter { name, place: "header", is_required: false, about, schema, more: None }
}

impl<T: serde::de::DeserializeOwned> Part for Json<T> {
    fn tell(_of: &mut Endpoint) {
        #[cfg(test)]
        (_of.taken.body = Some(fields_of::<T>()));
    }
}

impl<T: serde::de::DeserializeOwned> Part for Query<T> {
    fn tell(_of: &mut Endpoint) {
        #[cfg(test)]
        (_of.taken.query = Some(fields_of::<T>()));
    }
}

impl<T: serde::de::DeserializeOwned> Part for Filtered<T> {
    fn tell(of: &mut Endpoint) {
        Query::<T>::tell(of);
    }
}

/// Parts that say nothing by themselves.
macro_rules! silent {
    ($($part:ty),+ $(,)?) => {
        $(impl Part for $part {
            fn tell(_of: &mut Endpoint) {}
        })+
    };
}

silent!(HttpRequest, Payload, Body, Lines, WithReason, Data<Entrance>);

impl<T> Part for Path<T> {
    fn tell(_of: &mut Endpoint) {}
}

/// The handler judges the refusal itself.
impl<T: Part> Part for Result<T, Problem> {
    fn tell(of: &mut Endpoint) {
        T::tell(of);
    }
}

impl<T: Part> Part for Option<T> {
    fn tell(of: &mut Endpoint) {
        T::tell(of);
    }
}

macro_rules! tuples {
    ($($($part:ident)*;)*) => {
        $(impl<$($part: Part),*> Part for ($($part,)*) {
            fn tell(_of: &mut Endpoint) {
                $($part::tell(_of);)*
            }
        })*
    };
}

tuples! {
    ;
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
}
