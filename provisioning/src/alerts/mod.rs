//! Alerts about odd behaviour, from brokers and gateways into the audit log: from there they reach operators, streams of
//! events and webhooks.

pub(crate) mod answers;

use serde_json::{json, Value};
use tessera_runtime::sql::{Batch, Key};
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use crate::audit::{Actor, Entry, ALERT};
use crate::limits::{ALERTS_AN_HOUR, ALERT_TEXT_BYTES};
use crate::operators::Tenants;
use crate::records::alert_lines::AlertLine;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::pair;
use crate::write::{until_committed, Attempt};

const HOUR: u64 = 3600;

/// An alert, and its number in its line.
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) alert: Value,
}

/// Takes alerts of one line, each number once. An alert about a tenant that the account does not have is passed over.
///
/// # Errors
/// `limit_reached` when the account has told too many in this hour; then none of them was taken.
pub(crate) async fn take(
    service: &Service,
    by: &Actor,
    tenants: &Tenants,
    (verifier, line): (&str, &str),
    items: &[Numbered],
) -> Result<(), Refused> {
    answer(service, by, tenants, line, items).await?;
    until_committed(async || {
        let table = &service.tables.alert_lines;
        let (of_line, of_account) = (pair(&by.name, line), counter(by, tenants));
        let known = table.get(of_line.clone()).await?;
        let taken = known.map_or(0, |line| line.taken);
        let new = items.iter().filter(|item| item.number > taken);
        let entries: Vec<Entry> =
            new.filter_map(|item| entry(service, by, tenants, verifier, &item.alert)).collect();
        let Some(last) = items.iter().map(|item| item.number).filter(|last| *last > taken).max()
        else {
            return Ok(Attempt::Committed(()));
        };
        // A report about nothing of the account leaves no row behind.
        if entries.is_empty() {
            return Ok(Attempt::Committed(()));
        }
        let now = service.now().get();
        let counted = table.get(of_account.clone()).await?;
        let told = told_by(counted, entries.len(), now)?;
        let mut batch = Batch::new();
        batch.expect_same(table, of_line.clone(), known.as_ref());
        batch.put(table, of_line, &AlertLine { taken: last, touched: now });
        batch.expect_same(table, of_account.clone(), counted.as_ref());
        batch.put(table, of_account, &AlertLine { taken: told, touched: now / HOUR * HOUR });
        entries.iter().for_each(|entry| service.note(&mut batch, entry));
        let tried = service.write_unnoted(batch).await?;
        if tried == Attempt::Committed(()) {
            entries.iter().for_each(|entry| service.noted(entry));
        }
        Ok(tried)
    })
    .await
}

/// The row in which the alerts of an hour are counted: a reader of one tenant has its own, although a broker carries its
/// reports under the account of the broker.
fn counter(by: &Actor, tenants: &Tenants) -> Key {
    let of = match tenants {
        Tenants::These(names) if names.len() == 1 => names.first().map(|name| format!("of {name}")),
        _ => None,
    };
    pair(&by.name, of.unwrap_or_default())
}

/// The alerts of an account in this hour, with these.
fn told_by(counted: Option<AlertLine>, more: usize, now: u64) -> Result<u64, Refused> {
    let hour = counted.filter(|counted| counted.touched == now / HOUR * HOUR);
    let told = hour.map_or(0, |hour| hour.taken) + more as u64;
    match told <= ALERTS_AN_HOUR {
        true => Ok(told),
        false => Err(Refused::because(
            RefusalCode::LimitReached,
            format!("no more than {ALERTS_AN_HOUR} alerts of an account in an hour"),
        )),
    }
}

/// Answers those that were not taken yet, unless they are too many to be taken. Ahead of their entries: a report whose
/// answers broke off comes again.
async fn answer(
    service: &Service,
    by: &Actor,
    tenants: &Tenants,
    line: &str,
    items: &[Numbered],
) -> Result<(), Refused> {
    let known = service.tables.alert_lines.get(pair(&by.name, line)).await?;
    let taken = known.map_or(0, |line| line.taken);
    let new = items.iter().filter(|item| item.number > taken);
    let new: Vec<_> =
        new.filter_map(|item| Some((tenant_of(tenants, &item.alert)?, &item.alert))).collect();
    let counted = service.tables.alert_lines.get(counter(by, tenants)).await?;
    told_by(counted, new.len(), service.now().get())?;
    for (tenant, alert) in new {
        match answers::follow(service, &tenant, alert).await {
            // The alert must not wait for ever for an answer that cannot be given. After any other fault the report
            // comes again.
            Err(refused) if is_for_good(refused.code) => {
                let code = refused.code;
                service.metrics.limits_hit.inc(&["answers"]);
                tracing::error!(%tenant, %code, "an alert was not answered: answer it by hand");
            }
            done => done?,
        }
    }
    Ok(())
}

/// Whether an answer is refused now as it will be later: the device is gone, or verifiers have no room.
const fn is_for_good(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::CapacityReached | RefusalCode::DeviceUnknown | RefusalCode::TenantUnknown
    )
}

/// The tenant of an alert, when it is one of the account.
fn tenant_of(tenants: &Tenants, alert: &Value) -> Option<TenantId> {
    let tenant = TenantId::parse(alert.get("tenant")?.as_str()?).ok()?;
    tenants.cover(tenant.as_str()).then_some(tenant)
}

/// The signals of an alert, in words.
fn signals(alert: &Value) -> String {
    let signals = alert.get("signals").and_then(Value::as_array).into_iter().flatten();
    let words: Vec<&str> = signals.filter_map(|signal| signal.get("words")?.as_str()).collect();
    words.join("; ")
}

/// The entry of an alert; none when it is about no tenant of the account.
fn entry(
    service: &Service,
    by: &Actor,
    tenants: &Tenants,
    verifier: &str,
    alert: &Value,
) -> Option<Entry> {
    let text = |name: &str| alert.get(name).and_then(Value::as_str).unwrap_or_default();
    let tenant = tenant_of(tenants, alert)?;
    let subject = alert.get("subject").unwrap_or(&Value::Null);
    let of =
        |kind: &str| subject.get(kind).map(|of| of.as_str().map_or(of.to_string(), str::to_owned));
    let subject = match (of("device"), of("group"), of("campaign")) {
        (Some(device), _, _) => device,
        (_, Some(number), _) => format!("group {number}"),
        (_, _, Some(cause)) => format!("campaign {cause}"),
        _ => String::new(),
    };
    let detail = format!("{} {}: {}", text("severity"), text("state"), signals(alert));
    let told = json!({ "verifier": verifier, "alert": alert }).to_string();
    let entry = service.entry(by, ALERT, tenant.as_str(), &subject).detail(detail.trim());
    Some(if told.len() <= ALERT_TEXT_BYTES { entry.with(told) } else { entry })
}
