//! Enrolment by a secret that follows from the key of a group.

use tessera_runtime::sql::Batch;
use tessera_token::messages::Entitlement;
use tessera_token::refusal::RefusalCode;

use super::way::{Ask, Entitled, Verifier};
use crate::records::ways::ListedId;
use crate::refused::Refused;
use crate::registry::ways::group_keys;
use crate::tables::pair;

pub(super) struct ByGroupKey;

impl Verifier for ByGroupKey {
    async fn verify(ask: &Ask<'_>) -> Result<Entitled, Refused> {
        let Entitlement::GroupKey(tag) = &ask.request.entitlement else {
            return Err(RefusalCode::Internal.into());
        };
        let (service, request) = (ask.service, ask.request);
        // A source that was wrong too often is not heard at all: its guesses are bounded.
        if !service.admission.may_guess(ask.source, service.clock.monotonic()) {
            return Err(RefusalCode::RateLimited.into());
        }
        ask.tenant_of_stranger().await?;
        let place = pair(&request.tenant, request.device.as_str());
        let listed = service.tables.listed_ids.get(place.clone()).await?;
        let listed = listed.ok_or_else(|| ask.stranger(RefusalCode::NotFound))?;
        let named = pair(&request.tenant, listed.group_key.as_str());
        let record = service.tables.group_keys.get(named.clone()).await?;
        let record = record.ok_or_else(|| ask.stranger(RefusalCode::NotFound))?;
        let of = (listed.group_key.as_str(), &record);
        let message = request.signed_bytes(ask.key);
        let tenant = &request.tenant;
        if !group_keys::verifies(service, tenant, of, &request.device, &message, tag)? {
            return Err(ask.stranger(RefusalCode::ProofInvalid));
        }
        let (owner, known) = ask.standing().await?;
        let name = format!("group key {}", listed.group_key);
        let known = ask.again(known, &name)?;
        let mut batch = Batch::new();
        batch.expect(&service.tables.listed_ids, place.clone(), &listed);
        batch.expect(&service.tables.group_keys, named, &record);
        match (listed.used, &known) {
            (Some(_), None) => return Err(RefusalCode::EntitlementUsed.into()),
            (_, Some(_)) => {}
            (None, None) => {
                let used = Some((*ask.key.thumbprint().as_bytes(), service.now().get()));
                let used = ListedId { used, ..listed.clone() };
                batch.put(&service.tables.listed_ids, place, &used);
            }
        }
        let (role, group) = (record.role, record.group);
        Ok(Entitled::plain((owner, known), (role, group), name, batch))
    }
}
