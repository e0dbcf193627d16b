//! Rules and restraints of the lost part. They are taken to refuse more alone: a rule that is removed, and a device that is
//! released, stay as the restored rows have them.

use tessera_rules::rule::Rule;
use tessera_runtime::sql::Batch;
use tessera_token::trust::{Change, Restraint, RuleEntry, Step};

use super::{finding, publish};
use crate::audit::Actor;
use crate::records::restraints::RestraintRecord;
use crate::records::rules::RuleRecord;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::pair;
use crate::write::Attempt;

/// A rule that is newer than the row.
pub(super) async fn rule(
    service: &Service,
    by: &Actor,
    shown: &RuleEntry,
) -> Result<Attempt<()>, Refused> {
    let Ok(rule) = Rule::from_cbor(&shown.rule) else { return Ok(Attempt::Committed(())) };
    let is_it = rule.draft().id == shown.id
        && rule.draft().selector.tenant == shown.tenant.as_str()
        && rule.draft().expires > service.time.removal();
    let key = pair(&shown.tenant, shown.id.as_str());
    let old = service.tables.rules.get(key.clone()).await?;
    let version =
        |old: &RuleRecord| Rule::from_cbor(&old.body).map_or(0, |old| old.draft().version);
    if !is_it || old.as_ref().is_some_and(|old| version(old) >= rule.draft().version) {
        return Ok(Attempt::Committed(()));
    }
    let new = RuleRecord {
        body: shown.rule.clone(),
        ends: rule.draft().expires.get(),
        tried_since: None,
        changed: service.now().get(),
        made_by: rule.draft().author.clone(),
        next: None,
    };
    let mut batch = Batch::new();
    batch.expect_same(&service.tables.rules, key.clone(), old.as_ref());
    batch.put(&service.tables.rules, key, &new);
    let found = finding(service, "rule", &shown.tenant, &shown.id, 0, "raised");
    publish(service, by, Change::Rule(shown.clone()), batch, &found).await
}

/// A device that is held back.
pub(super) async fn restraint(
    service: &Service,
    by: &Actor,
    shown: &Restraint,
) -> Result<Attempt<()>, Refused> {
    let key = pair(&shown.tenant, shown.device.as_str());
    let old = service.tables.restraints.get(key.clone()).await?;
    let is_newer = old.as_ref().is_none_or(|old| old.begins < shown.at.get());
    if shown.step == Step::Released || !is_newer || shown.until <= service.time.removal() {
        return Ok(Attempt::Committed(()));
    }
    let new = RestraintRecord {
        step: shown.step,
        begins: shown.at.get(),
        ends: shown.until.get(),
        made_by: by.name.clone(),
        reason: "found beyond a restored copy".to_owned(),
        alert: None,
    };
    let mut batch = Batch::new();
    batch.expect_same(&service.tables.restraints, key.clone(), old.as_ref());
    batch.put(&service.tables.restraints, key, &new);
    let name = shown.device.as_str();
    let found = finding(service, "restraint", &shown.tenant, name, 0, "raised");
    publish(service, by, Change::Restraint(shown.clone()), batch, &found).await
}
