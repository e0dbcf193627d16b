//! Tests of rules against recorded observations, which are remembered by the substance of the rule.

use tessera_rules::dry_run::Report;
use tessera_rules::rule::Rule;
use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;

use crate::audit::Actor;
use crate::limits::RULE_TEST_SECONDS;
use crate::records::rules::RuleTest;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::pair;
use crate::write::until_committed;

/// The last test of this condition, selector and action, when it is young enough and had devices in it.
pub(super) async fn of(
    service: &Service,
    tenant: &TenantId,
    rule: &Rule,
) -> Result<Option<RuleTest>, Refused> {
    let key = pair(tenant, rule.substance().as_slice());
    let test = service.tables.rule_tests.get(key).await?;
    let now = service.now().get();
    Ok(test.filter(|test| test.devices > 0 && now - test.tested.min(now) <= RULE_TEST_SECONDS))
}

/// Remembers the outcome of a test.
pub(crate) async fn keep(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    rule: &Rule,
    report: &Report,
) -> Result<(), Refused> {
    until_committed(async || {
        let (table, key) = (&service.tables.rule_tests, pair(tenant, rule.substance().as_slice()));
        let test = RuleTest {
            tested: service.now().get(),
            devices: report.devices,
            matched: report.devices_matched,
            made_by: by.name.clone(),
        };
        let mut batch = Batch::new();
        batch.put(table, key, &test);
        let entry = service.entry(by, "rule.test", tenant.as_str(), &rule.draft().id);
        let entry = entry.detail(format!(
            "{} of {} devices in {} events; substance {}",
            report.devices_matched,
            report.devices,
            report.events,
            tessera_token::encoding::hex::encode(rule.substance())
        ));
        service.write(batch, entry).await
    })
    .await
}
