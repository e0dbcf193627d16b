//! Enrolment by a key that an operator has listed.

use tessera_runtime::sql::Batch;
use tessera_token::refusal::RefusalCode;

use super::way::{Ask, Entitled, Verifier};
use crate::records::ways::ListedKey;
use crate::refused::Refused;
use crate::tables::pair;

/// How the record of a device names this entitlement.
const NAMED: &str = "listed key";

pub(super) struct ByKey;

impl Verifier for ByKey {
    async fn verify(ask: &Ask<'_>) -> Result<Entitled, Refused> {
        ask.tenant_of_stranger().await?;
        let (service, request) = (ask.service, ask.request);
        let (table, key) =
            (&service.tables.listed_keys, pair(&request.tenant, request.device.as_str()));
        let listed = table.get(key.clone()).await?;
        let listed = listed.ok_or_else(|| ask.stranger(RefusalCode::NotFound))?;
        if listed.thumbprint != *ask.key.thumbprint().as_bytes() {
            return Err(ask.stranger(RefusalCode::DeviceKeyMismatch));
        }
        let (owner, known) = ask.standing().await?;
        let known = ask.again(known, NAMED)?;
        let mut batch = Batch::new();
        batch.expect(table, key.clone(), &listed);
        match (listed.used, &known) {
            (Some(_), None) => return Err(RefusalCode::EntitlementUsed.into()),
            (_, Some(_)) => {}
            (None, None) => {
                let used = Some(service.now().get());
                batch.put(table, key, &ListedKey { used, ..listed.clone() });
            }
        }
        let ListedKey { role, group, .. } = listed;
        Ok(Entitled::plain((owner, known), (role, group), NAMED.to_owned(), batch))
    }
}
