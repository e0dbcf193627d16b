//! The rights of an account, asked anew: for work that goes on after its request was judged, and for changes that must not
//! be made by an account that has just ended.

use tessera_runtime::sql::Batch;
use tessera_token::refusal::RefusalCode;

use crate::records::operators::OperatorRole;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::one;

/// The account and the token that have begun something, and the rights that it needs.
#[derive(Debug, Clone)]
pub(crate) struct Warrant {
    /// The key of the row of the account.
    pub(crate) account: [u8; 32],
    /// The public name of the API token, where one was shown.
    pub(crate) api_token: Option<String>,
    /// One of these roles.
    pub(crate) one_of: &'static [OperatorRole],
    /// The tenant of the work, where it is of one.
    pub(crate) tenant: Option<String>,
}

impl Warrant {
    /// Asks whether the rights are there, and demands in the batch that they still are when it is written.
    ///
    /// # Errors
    /// `operator_unknown` when the account or the token has ended, `operator_not_allowed`, `tenant_unknown`.
    pub(crate) async fn demand(&self, service: &Service, batch: &mut Batch) -> Result<(), Refused> {
        let (tables, unknown) = (&service.tables, RefusalCode::OperatorUnknown);
        let account = tables.operators.get(one(self.account)).await?.ok_or(unknown)?;
        let (mut roles, mut tenants) = (account.roles.clone(), account.tenants.clone());
        batch.expect(&tables.operators, one(self.account), &account);
        if let Some(id) = &self.api_token {
            let token = tables.api_tokens.get(one(id.as_str())).await?.ok_or(unknown)?;
            if token.account != self.account || token.end() <= service.time.latest().get() {
                return Err(unknown.into());
            }
            roles.retain(|role| token.roles.contains(role));
            tenants = tenants.in_common(&token.tenants);
            batch.expect(&tables.api_tokens, one(id.as_str()), &token);
        }
        if !self.one_of.iter().any(|role| roles.contains(role)) {
            return Err(RefusalCode::OperatorNotAllowed.into());
        }
        match self.tenant.as_ref().is_none_or(|tenant| tenants.cover(tenant)) {
            true => Ok(()),
            false => Err(RefusalCode::TenantUnknown.into()),
        }
    }

    /// Asks whether the rights are there, for work that writes nothing.
    ///
    /// # Errors
    /// Those of [`Warrant::demand`].
    pub(crate) async fn check(&self, service: &Service) -> Result<(), Refused> {
        self.demand(service, &mut Batch::new()).await
    }
}
