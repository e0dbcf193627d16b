//! `POST /introspect` (RFC 7662): an account shows a token, as form or JSON. Every token that is not good now, or not of the
//! account's tenants, has the one answer `{"active": false}`, at a multiple of a fixed time. A broker that shows a partner
//! token gets an access token with the answer.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tessera_runtime::credential::{self, Class};
use tessera_runtime::http::server::media_type;
use tessera_token::encoding::base64url;

use super::auth::{Among, Introspects};
use super::endpoint::{schema, Endpoint};
use super::input::{json, App, Body};
use super::problem::Problem;
use super::revoke::{refused, FORM};
use crate::introspect::{self, Active, Kind};
use crate::limits::DEVICE_BODY_BYTES;
use crate::operators::{Operator, OperatorRole};
use crate::partners::access;
use crate::refused::Refused;
use crate::service::Service;
use crate::strangers::hold_back;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![Endpoint::post("/introspect", introspect)
        .announced("introspection_endpoint")
        .summary(
            "Whether a token is good now (RFC 7662). Inactive: not good, or not of the \
                account's tenants",
        )
        .takes(vec![
            schema::typed("application/x-www-form-urlencoded", "IntrospectToken"),
            schema::json_of("IntrospectToken"),
        ])
        .answers(200, "Active, with what it says; else only active: false", "Introspection")
        .refused_as("Refused; error as in RFC 6749", vec![])]
}

/// The members of RFC 7662. Others are ignored, as RFC 6749 asks.
#[derive(Deserialize)]
struct Shown {
    token: String,
    /// It helps nothing: a token tells its kind.
    #[serde(default, rename = "token_type_hint")]
    _hint: String,
}

#[derive(Serialize, Default)]
struct Introspection {
    active: bool,
    #[serde(flatten)]
    more: Option<More>,
}

#[derive(Serialize)]
struct More {
    client_id: String,
    sub: String,
    iss: String,
    aud: String,
    exp: u64,
    iat: u64,
    token_type: &'static str,
    /// An access token for the connection by this partner token, base64url: for brokers alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    /// AIF-MQTT: `[[filter, ["pub", "sub"]], …]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Vec<(String, &'static [&'static str])>>,
}

impl From<Active> for Introspection {
    fn from(token: Active) -> Self {
        let scope = token.scope.map(|scope| {
            let entries = scope.entries().iter();
            entries.map(|one| (one.filter.as_str().to_owned(), one.permission.words())).collect()
        });
        let more = More {
            client_id: token.device.as_str().to_owned(),
            sub: token.device.as_str().to_owned(),
            iss: token.tenant.as_str().to_owned(),
            aud: token.audience,
            exp: token.expires,
            iat: token.issued,
            token_type: match token.kind {
                Kind::Pop => "PoP",
                Kind::Bearer => "Bearer",
                Kind::Refresh => "refresh_token",
            },
            access_token: None,
            scope,
        };
        Self { active: true, more: Some(more) }
    }
}

/// The answer about a partner token. For a broker it has an access token, and ends with that.
async fn of_partner(
    app: &App,
    by: &Operator,
    token: &str,
) -> Result<Option<Introspection>, Refused> {
    let Some(good) = access::look(app, &by.tenants, token).await? else { return Ok(None) };
    let active = Active {
        tenant: good.tenant.clone(),
        device: good.device.clone(),
        audience: app.config.audience.as_str().to_owned(),
        scope: Some(good.scope.clone()),
        issued: good.row.created,
        expires: good.row.end(),
        kind: Kind::Bearer,
    };
    let mut told = Introspection::from(active);
    if by.roles.contains(&OperatorRole::Feed) {
        let (service, by, token) = (app.clone(), by.clone(), token.to_owned());
        let issue = async move { access::issue(&service, &by, &token, good).await };
        let (access_token, expires) = Service::to_its_end(issue).await?;
        if let Some(more) = &mut told.more {
            more.access_token = Some(base64url(&access_token));
            more.exp = expires;
        }
    }
    Ok(Some(told))
}

pub(super) async fn introspect(
    request: HttpRequest,
    app: App,
    by: Result<Among<Introspects>, Problem>,
    body: Result<Body, Problem>,
) -> HttpResponse {
    let began = app.clock.monotonic();
    let answer = async {
        let by = by?;
        let Shown { token, .. } = read(&request, &body?)?;
        let found = match credential::read(&token) {
            Ok(form) if form.class == Class::Partner => {
                of_partner(&app, by.operator(), &token).await?
            }
            _ => {
                let found = introspect::look(&app, &by.operator().tenants, &token).await?;
                found.map(Introspection::from)
            }
        };
        // How long the search took says nothing of what was found.
        let passed = app.clock.monotonic().saturating_sub(began);
        tokio::time::sleep(hold_back(passed)).await;
        Ok::<_, Problem>(found.unwrap_or_default())
    };
    match answer.await {
        Ok(told) => HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(told),
        Err(problem) => refused(&problem),
    }
}

fn read(request: &HttpRequest, Body(bytes): &Body) -> Result<Shown, Problem> {
    if bytes.len() > DEVICE_BODY_BYTES {
        return Err(Refused::malformed("the message is too large").into());
    }
    match media_type(request).as_deref() {
        Some(FORM) => {
            let text = std::str::from_utf8(bytes);
            let text = text.map_err(|_| Refused::malformed("the form is no text"))?;
            let parsed = actix_web::web::Query::<Shown>::from_query(text);
            let parsed = parsed.map_err(|error| Refused::malformed(error.to_string()))?;
            Ok(parsed.into_inner())
        }
        Some("application/json" | "") => Ok(json(bytes)?),
        _ => {
            let other = Refused::malformed("send a form or application/json");
            Err(Problem::from(other).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
        }
    }
}
