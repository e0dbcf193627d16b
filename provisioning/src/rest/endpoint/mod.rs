//! The endpoints: a route and all that the document says of it. The parameters of a handler say which callers it takes and
//! which headers count ([`mod@part`]), so neither is written twice. Each resource has a function `table` with its endpoints.

use std::collections::BTreeSet;

use actix_web::http::Method;
use actix_web::{web, FromRequest, Handler, Responder, Route};
use serde_json::Value;
use tessera_token::refusal::RefusalCode as Code;

use crate::operators::OperatorRole;
use part::Part;

pub(crate) mod document;

#[cfg(test)]
mod fields;
mod part;
pub(crate) mod schema;
#[cfg(test)]
mod tests;

/// The problem details that refuse a request, as a schema of the document.
const PROBLEM: &str = "Problem";

/// One endpoint.
pub(crate) struct Endpoint {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) route: Route,
    /// The member of the metadata of RFC 8414 that announces it.
    pub(super) announced: Option<&'static str>,
    pub(super) refusals: BTreeSet<Code>,
    summary: &'static str,
    caller: Caller,
    /// Words before the roles.
    callers: &'static str,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    answers: Vec<Answer>,
    refused: Answer,
    #[cfg(test)]
    taken: part::Taken,
}

/// The callers that a handler takes.
#[derive(Debug, PartialEq, Eq)]
enum Caller {
    /// None is asked for a credential of ours.
    Any,
    /// An account that has one of these roles.
    Account { roles: Vec<OperatorRole>, tenants: Reach },
}

/// The tenants to which the account must belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// That of the path, or all where the path names none.
    Path,
    /// The answer holds entries of the account's tenants.
    Among,
}

#[cfg(test)]
impl Caller {
    fn reach(&self) -> Option<Reach> {
        match self {
            Self::Any => None,
            Self::Account { tenants, .. } => Some(*tenants),
        }
    }
}

struct Parameter {
    name: &'static str,
    place: &'static str,
    is_required: bool,
    about: &'static str,
    schema: Value,
    /// Further members.
    more: Option<Value>,
}

struct Body {
    is_required: bool,
    content: Vec<Content>,
}

/// A media type, and its schema where it is told.
type Content = (&'static str, Option<Value>);

struct Answer {
    status: u16,
    about: &'static str,
    content: Vec<Content>,
    has_etag: bool,
}

impl Answer {
    fn new(status: u16, about: &'static str, content: Vec<Content>) -> Self {
        Self { status, about, content, has_etag: false }
    }
}

macro_rules! methods {
    ($($name:ident $method:ident;)*) => {
        $(#[doc = concat!("An endpoint of this path with the method ", stringify!($method), ".")]
        pub(crate) fn $name<F, Args>(path: &'static str, handler: F) -> Self
        where
            F: Handler<Args>,
            Args: FromRequest + Part + 'static,
            F::Output: Responder + 'static,
        {
            Self::new(Method::$method, path, web::$name().to(handler)).taking::<Args>()
        })*
    };
}

impl Endpoint {
    methods! {
        get GET;
        post POST;
        put PUT;
        patch PATCH;
        delete DELETE;
    }

    fn new(method: Method, path: &'static str, route: Route) -> Self {
        let problem = ("application/problem+json", Some(schema::of(PROBLEM)));
        Self {
            refusals: part::of_all(&method),
            method,
            path,
            route,
            announced: None,
            summary: "",
            caller: Caller::Any,
            callers: "",
            parameters: part::of_path(path),
            body: None,
            answers: Vec::new(),
            refused: Answer::new(0, "Refused; the member code says why", vec![problem]),
            #[cfg(test)]
            taken: part::Taken::default(),
        }
    }

    /// Notes what the handler takes.
    fn taking<Args: Part>(mut self) -> Self {
        Args::tell(&mut self);
        self
    }

    /// One line for people.
    pub(crate) fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Words about the callers, before the roles: where one without an account is served too.
    pub(crate) fn callers(mut self, callers: &'static str) -> Self {
        self.callers = callers;
        self
    }

    /// The member of the metadata of RFC 8414 that announces it.
    pub(crate) fn announced(mut self, member: &'static str) -> Self {
        self.announced = Some(member);
        self
    }

    fn parameter(
        mut self,
        place: &'static str,
        name: &'static str,
        about: &'static str,
        schema: Value,
    ) -> Self {
        let (is_required, more) = (false, None);
        self.parameters.push(Parameter { name, place, is_required, about, schema, more });
        self
    }

    /// A parameter of the query that may be left out.
    pub(crate) fn query(self, name: &'static str, about: &'static str, schema: Value) -> Self {
        self.parameter("query", name, about, schema)
    }

    /// A header that may be left out.
    pub(crate) fn header(self, name: &'static str, about: &'static str, schema: Value) -> Self {
        self.parameter("header", name, about, schema)
    }

    /// Further members of the last parameter.
    pub(crate) fn with(mut self, more: Value) -> Self {
        if let Some(last) = self.parameters.last_mut() {
            last.more = Some(more);
        }
        self
    }

    /// The last parameter must be there.
    pub(crate) fn required(mut self) -> Self {
        if let Some(last) = self.parameters.last_mut() {
            last.is_required = true;
        }
        self
    }

    /// A list with pages.
    pub(crate) fn paged(self) -> Self {
        self.limited().query("cursor", "", schema::text())
    }

    /// A list with pages whose cursors have this form.
    pub(crate) fn paged_by(self, pattern: &'static str) -> Self {
        self.limited().query("cursor", "", schema::pattern(pattern))
    }

    fn limited(self) -> Self {
        let (most, some) = (crate::limits::PAGE_MOST, crate::limits::PAGE);
        self.query("limit", "", schema::rows(most, some))
    }

    /// A revocation, which may wait for verifiers.
    pub(crate) fn waits(self) -> Self {
        let about = "Seconds to wait until the verifiers that were seen lately have taken it";
        self.query("wait", about, schema::from_zero(crate::limits::REVOCATION_WAIT_SECONDS))
    }

    /// A JSON body of this schema.
    pub(crate) fn body(self, name: &str) -> Self {
        self.takes(vec![schema::json_of(name)])
    }

    /// A body of one of these media types.
    pub(crate) fn takes(mut self, content: Vec<Content>) -> Self {
        self.body = Some(Body { is_required: true, content });
        self
    }

    /// The body may be left out.
    pub(crate) fn or_none(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.is_required = false;
        }
        self
    }

    /// An answer without a body.
    pub(crate) fn empty(self, status: u16, about: &'static str) -> Self {
        self.sends(status, about, Vec::new())
    }

    /// 204.
    pub(crate) fn deletes(self) -> Self {
        self.empty(204, "Deleted")
    }

    /// JSON of this schema.
    pub(crate) fn answers(self, status: u16, about: &'static str, name: &str) -> Self {
        self.sends(status, about, vec![schema::json_of(name)])
    }

    /// 200 with JSON of this schema.
    pub(crate) fn done(self, name: &str) -> Self {
        self.answers(200, "Done", name)
    }

    /// 201 with JSON of this schema.
    pub(crate) fn creates(self, name: &str) -> Self {
        self.answers(201, "Created", name)
    }

    /// An answer of one of these media types.
    pub(crate) fn sends(mut self, status: u16, about: &'static str, content: Vec<Content>) -> Self {
        self.answers.push(Answer::new(status, about, content));
        self
    }

    /// The last answer has an entity tag.
    pub(crate) fn tagged(mut self) -> Self {
        if let Some(last) = self.answers.last_mut() {
            last.has_etag = true;
        }
        self
    }

    /// The last answer has an entity tag, and a caller that knows it gets no body.
    pub(crate) fn known(self) -> Self {
        let about = "ETags that are known: 304 when the present one is among them";
        self.tagged()
            .header("If-None-Match", about, schema::text())
            .empty(304, "The view is the one that the caller has")
            .tagged()
    }

    /// Refusals in another form than problem details alone.
    pub(crate) fn refused_as(mut self, about: &'static str, content: Vec<Content>) -> Self {
        let problem = self.refused.content.drain(..);
        let content = problem.chain(content).collect();
        self.refused = Answer::new(0, about, content);
        self
    }

    /// The codes with which it refuses beside those that follow from its caller and its headers.
    pub(crate) fn refuses(mut self, codes: &[Code]) -> Self {
        self.refusals.extend(codes);
        self
    }
}
