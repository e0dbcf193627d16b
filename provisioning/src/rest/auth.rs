//! The account that asks, and its rights: a handler that takes a [`By`] cannot run without both answers.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, USER_AGENT};
use actix_web::{FromRequest, HttpRequest};
use tessera_runtime::credential::Class;
use tessera_token::refusal::RefusalCode;

use super::attempts;
use super::gate::Gate;
use super::input::{address, anonymous, app, network, peer};
use super::problem::Problem;
use crate::admission::Source;
use crate::api_tokens;
use crate::audit::How;
use crate::operators::{find, Operator, OperatorRole, Tenants};
use crate::refused::Refused;

/// How the client of the command line begins its name.
const CLI_AGENT: &str = "tessera/";

/// The roles of which the caller must have one.
pub(crate) trait Needs {
    const ONE_OF: &'static [OperatorRole];
    /// Whether it is closed to API tokens of all roles.
    const BY_ACCOUNT: bool = false;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident: $($role:ident)|+;)*) => {
        $($(#[$doc])*
        pub(crate) struct $name;
        impl Needs for $name {
            const ONE_OF: &'static [OperatorRole] = &[$(OperatorRole::$role),+];
        })*
    };
}

needs! {
    /// Any account at all.
    Anybody: Viewer | Fleet | Security | Admin | Feed;
    /// Reads the registry.
    Viewer: Viewer;
    /// Runs the fleet.
    Fleet: Fleet;
    /// Ends a device: an account that runs the fleet or guards it.
    Ends: Fleet | Security;
    /// Guards the fleet.
    Security: Security;
    /// Reads the token revocation list.
    Lists: Feed | Security;
    /// Sees how far revocations have come.
    Watches: Viewer | Security;
    /// Shapes tenants and roles.
    Admin: Admin;
    /// Reads the trust feed.
    Feed: Feed;
    /// Learns whether a token is good.
    Introspects: Viewer | Security | Feed;
    /// Sees and ends API tokens.
    Holders: Viewer | Fleet | Security | Admin;
}

/// Makes API tokens. No token makes tokens.
pub(crate) struct Makers;

impl Needs for Makers {
    const ONE_OF: &'static [OperatorRole] = Holders::ONE_OF;
    const BY_ACCOUNT: bool = true;
}

/// Makes partner tokens: no token makes tokens.
pub(crate) struct PartnerMakers;

impl Needs for PartnerMakers {
    const ONE_OF: &'static [OperatorRole] = Fleet::ONE_OF;
    const BY_ACCOUNT: bool = true;
}

/// Makes and ends accounts.
pub(crate) struct Accounts;

impl Needs for Accounts {
    const ONE_OF: &'static [OperatorRole] = Admin::ONE_OF;
    const BY_ACCOUNT: bool = true;
}

/// The operator of a request; exists only when the token is right, one of the roles is there, and the account belongs
/// to the tenant of the path. Without a tenant in the path, it belongs to all.
pub(crate) struct By<N> {
    operator: Operator,
    needs: PhantomData<N>,
}

impl<N> By<N> {
    pub(crate) fn operator(&self) -> &Operator {
        &self.operator
    }
}

impl<N: Needs> FromRequest for By<N> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let (request, gate) = (request.clone(), Gate::close(request));
        Box::pin(async move {
            let operator = authorise::<N>(&request).await;
            let operator = operator.and_then(|operator| {
                within(&request, &operator)?;
                Ok(operator)
            });
            Ok(Self { operator: gate.judged(operator)?, needs: PhantomData })
        })
    }
}

/// As [`By`] for requests about several tenants: the handler shows and changes data of the operator's tenants alone.
pub(crate) struct Among<N> {
    operator: Operator,
    needs: PhantomData<N>,
}

impl<N> Among<N> {
    pub(crate) fn operator(&self) -> &Operator {
        &self.operator
    }
}

impl<N: Needs> FromRequest for Among<N> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let (request, gate) = (request.clone(), Gate::close(request));
        Box::pin(async move {
            let operator = gate.judged(authorise::<N>(&request).await)?;
            Ok(Self { operator, needs: PhantomData })
        })
    }
}

/// A tenant of others is answered without a look at whether it exists.
fn within(request: &HttpRequest, operator: &Operator) -> Result<(), Problem> {
    match (&operator.tenants, request.match_info().get("tenant")) {
        (Tenants::All, _) => Ok(()),
        (tenants, Some(tenant)) if tenants.cover(tenant) => Ok(()),
        (_, Some(_)) => Err(RefusalCode::TenantUnknown.into()),
        (_, None) => Err(Refused::because(
            RefusalCode::OperatorNotAllowed,
            "this concerns all tenants, and the account belongs to some",
        )
        .into()),
    }
}

async fn authorise<N: Needs>(request: &HttpRequest) -> Result<Operator, Problem> {
    let Some(token) = bearer(request) else {
        anonymous(request).await?;
        return Err(RefusalCode::OperatorUnknown.into());
    };
    let app = app(request)?;
    let from = address(request);
    let mut operator = match api_tokens::find(app, token, &network(from)).await {
        Ok(operator) => operator,
        Err(refused) => {
            app.strangers.wrong_token();
            return Err(match app.admission.wrong(peer(request), app.clock.monotonic()) {
                true => refused.into(),
                false => RefusalCode::RateLimited.into(),
            });
        }
    };
    operator.origin.network = from.to_string();
    operator.origin.how = how(request);
    attempts::note(request, &operator);
    if !N::ONE_OF.iter().any(|role| operator.roles.contains(role)) {
        return Err(RefusalCode::OperatorNotAllowed.into());
    }
    if N::BY_ACCOUNT && operator.shown.class == Class::Api {
        let why = "an API token makes no tokens and no accounts: use the token of the account";
        return Err(Refused::because(RefusalCode::OperatorNotAllowed, why).into());
    }
    Ok(operator)
}

/// The way of a request, as its client says.
fn how(request: &HttpRequest) -> How {
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    match agent.is_some_and(|agent| agent.starts_with(CLI_AGENT)) {
        true => How::Cli,
        false => How::Api,
    }
}

/// Whether the request shows the token of an account.
pub(super) fn has_bearer(request: &HttpRequest) -> bool {
    request.headers().contains_key(AUTHORIZATION)
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// By whom a device's request comes.
pub(super) struct Way {
    /// The bucket that it is charged to.
    pub(super) source: Source,
    tenants: Tenants,
}

impl Way {
    /// That of a broker by this account. Accounts of some tenants have the rate of their share, however many there are.
    pub(super) fn of(operator: &Operator) -> Self {
        Self { source: Source::Relay(operator.share()), tenants: operator.tenants.clone() }
    }

    /// The same for its questions about claim codes of strangers: they take nothing of the rates of what it relays.
    pub(super) fn of_checks(operator: &Operator) -> Self {
        Self { source: Source::Checks(operator.share()), tenants: operator.tenants.clone() }
    }

    /// Whether requests of this tenant may come that way. One of others is refused without a look at whether it exists.
    ///
    /// # Errors
    /// `operator_not_allowed`.
    pub(super) fn leads_to(&self, tenant: &str) -> Result<(), Refused> {
        match self.tenants.cover(tenant) {
            true => Ok(()),
            false => Err(Refused::because(
                RefusalCode::OperatorNotAllowed,
                "the account of the relay belongs to other tenants",
            )),
        }
    }
}

/// The way of a device's request: the account of a broker that shows its feed token, or the peer itself.
pub(super) async fn way(request: &HttpRequest) -> Way {
    let found = match bearer(request).zip(app(request).ok()) {
        Some((token, app)) => find(&app.tables, token).await.ok(),
        None => None,
    };
    match found.filter(|operator| operator.roles.contains(&OperatorRole::Feed)) {
        Some(operator) => Way::of(&operator),
        None => Way { source: peer(request), tenants: Tenants::All },
    }
}
