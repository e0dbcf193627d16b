//! The counts of rules at the verifiers that apply them, and which of them do not.

use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;

use crate::limits::RULE_VERIFIERS;
use crate::operators::Tenants;
use crate::records::rules::RuleCount;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{pair, text};
use crate::write::{until_committed, Attempt};

/// The word of a verifier about one rule, since its process began.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) tenant: TenantId,
    pub(crate) rule: String,
    pub(crate) of: RuleCount,
}

/// Takes the counts of a verifier. Rules that are gone and tenants that the account does not have are passed over.
pub(crate) async fn take(
    service: &Service,
    tenants: &Tenants,
    verifier: &str,
    told: &[Told],
) -> Result<(), Refused> {
    until_committed(async || {
        let (table, mut batch) = (&service.tables.rule_counts, Batch::new());
        for Told { tenant, rule, of } in told {
            let known = pair(tenant, rule.as_str());
            if !tenants.cover(tenant.as_str())
                || !service.tables.rules.contains(known.clone()).await?
            {
                continue;
            }
            let mut key = known.clone();
            key.push(verifier.into());
            let before = table.get(key.clone()).await?;
            if before.is_none() {
                let rows = table.scan_whole(&known, None, RULE_VERIFIERS).await?;
                if rows.len() >= RULE_VERIFIERS {
                    service.metrics.limits_hit.inc(&["rule_verifiers"]);
                    continue;
                }
            }
            let touched = service.now().get();
            let after = RuleCount { touched, ..of.behind(before.as_ref()) };
            batch.expect_same(table, key.clone(), before.as_ref());
            batch.put(table, key, &after);
        }
        match batch.is_empty() {
            true => Ok(Attempt::Committed(())),
            false => service.write_unnoted(batch).await,
        }
    })
    .await
}

/// The counts of a rule, by verifier.
pub(crate) async fn of(
    service: &Service,
    tenant: &TenantId,
    rule: &str,
) -> Result<Vec<(String, RuleCount)>, Refused> {
    let rows =
        service.tables.rule_counts.scan_whole(&pair(tenant, rule), None, RULE_VERIFIERS).await?;
    let named = rows.into_iter().map(|(key, row)| Ok((text(&key, 2)?.to_owned(), row)));
    named.collect()
}

/// Removes the counts of a rule that goes.
pub(super) async fn forget(
    service: &Service,
    batch: &mut Batch,
    tenant: &TenantId,
    rule: &str,
) -> Result<(), Refused> {
    let table = &service.tables.rule_counts;
    for (key, _) in table.scan_whole(&pair(tenant, rule), None, RULE_VERIFIERS).await? {
        batch.delete(table, key);
    }
    Ok(())
}
