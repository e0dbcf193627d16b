//! Removal of what time has ended: memory on disk stays bounded by what is alive. It goes by lived time, so that a clock
//! that was ahead has removed nothing that holds; rows that such a clock has dated wrongly are dated anew.

use std::time::Duration;

use tessera_runtime::sql::{Batch, Key, Record, Table};
use tessera_token::limits::{CLOCK_SKEW_SECONDS, TOKEN_LIFE_SECONDS};

use crate::attempts::Counted;
use crate::audit::actor::ChainPending;
use crate::audit::Actor;
use crate::heal;
use crate::limits::{
    ALERT_LINE_SECONDS, API_TOKEN_KEPT_SECONDS, CLAIM_IMPORT_SECONDS, CLAIM_KEPT_SECONDS,
    EVENTS_KEPT, RULE_COUNTS_SECONDS, RULE_TEST_SECONDS, SWEEP_ROWS, USES_KEPT_SECONDS,
    VERIFIERS_SWEPT_EVERY,
};
use crate::partners::uses;
use crate::records::IssuedRecord;
use crate::refused::Refused;
use crate::registry::rights;
use crate::revoke::{taken, trl};
use crate::room::Load;
use crate::rotation::{retire_expired, schedule};
use crate::rules;
use crate::service::Service;
use crate::signed_head;
use crate::tables::{number, text};
use crate::trust::ledger::Head;
use crate::trust::restored::lifting;
use crate::webhooks::Swept;
use crate::write::Attempt;

/// How far tables were read that are not in the order of their ends.
#[derive(Default)]
pub(crate) struct Cursors {
    claims: Option<Key>,
    api_tokens: Option<Key>,
    partner_tokens: Option<Key>,
    webhooks: Swept,
    keys: schedule::Look,
    /// When the rows of verifiers were last looked through.
    verifiers: Option<Duration>,
}

/// Sweeps until the service stops.
pub(crate) async fn run(service: &Service) {
    let (mut cursors, mut wrong) = (Cursors::default(), false);
    loop {
        tokio::select! {
            () = tokio::time::sleep(service.config.sweep_every) => {}
            () = service.stop.stopping() => return,
        }
        // Each step that failed is told.
        let _ = once(service, &mut cursors).await;
        wrong = tell(service, wrong);
    }
}

/// Says once when the clock goes wrong, and once when it is right again.
fn tell(service: &Service, before: bool) -> bool {
    service.metrics.clock_ahead.set(&[], service.time.ahead());
    let wrong = service.time.wrong();
    match wrong {
        Some(wrong) if !before => tracing::error!("not ready: {wrong}"),
        None if before => tracing::info!("the clock is right again"),
        _ => {}
    }
    wrong.is_some()
}

/// The outcome of a sweep: each step is taken although another has failed.
struct Round {
    first: Result<(), Refused>,
}

impl Round {
    fn took(&mut self, step: &'static str, outcome: Result<(), Refused>) {
        if let Err(refused) = outcome {
            tracing::warn!(step, code = %refused.code, "a step of the sweep failed; the next sweep tries again");
            if self.first.is_ok() {
                self.first = Err(refused);
            }
        }
    }
}

/// One sweep. The next one goes on where the cursors stand.
///
/// # Errors
/// That of the first step that failed. All others were taken.
pub(crate) async fn once(service: &Service, cursors: &mut Cursors) -> Result<(), Refused> {
    let shared = service.readers.sweep(service.time.monotonic());
    service.metrics.names_shared.set(&[], i64::try_from(shared).unwrap_or(i64::MAX));
    let mut round = Round { first: Ok(()) };
    round.took("nonces", service.nonces.sweep().await);
    round.took("time", time(service).await);
    round.took("strangers", strangers(service).await);
    round.took("attempts", attempts(service).await);
    round.took("audit", audit(service).await);
    round.took("head", signed_head::keep(service).await);
    round.took("lift", crate::recovery::lift::run(service).await);
    round.took("metrics", measure(service).await);
    round.took("heal", heal::keys(service).await);
    round.took("rotate", schedule::run(service, &mut cursors.keys).await);
    round.took("retire", retire_expired(service).await);
    round.took("issued", all_issued(service).await);
    round.took("revoked", revoked(service).await);
    round.took("families", families(service).await);
    round.took("moved", moved(service).await);
    round.took("restraints", restraints(service).await);
    round.took("rule_tests", rule_tests(service).await);
    round.took("rules", rules::end(service).await);
    round.took("trl", trl(service).await);
    round.took("events", events(service).await);
    round.took("roles", rights::resume(service).await);
    round.took("verifiers", verifiers(service, cursors).await);
    round.took("claims", claims(service, &mut cursors.claims).await);
    round.took("rekeys", rekeys(service).await);
    round.took("approvals", crate::registry::ways::approvals::sweep(service).await);
    round.took("kept", kept(service).await);
    round.took("claim_imports", claim_imports(service).await);
    round.took("alert_lines", alert_lines(service).await);
    round.took("inventory", inventory(service).await);
    round.took("webhooks", webhooks(service, cursors).await);
    round.took("api_tokens", api_tokens(service, &mut cursors.api_tokens).await);
    round.took("partner_tokens", partner_tokens(service, &mut cursors.partner_tokens).await);
    round.first
}

async fn time(service: &Service) -> Result<(), Refused> {
    Ok(service.time.store(&service.database, &service.tables, false).await?)
}

async fn strangers(service: &Service) -> Result<(), Refused> {
    let Some(sum) = service.strangers.due(service.time.monotonic()) else { return Ok(()) };
    let by = Actor::service();
    let entry = service.entry(&by, "strangers.refused", "", "requests without proof").detail(sum);
    service.write(Batch::new(), entry).await.map(|_| ())
}

async fn attempts(service: &Service) -> Result<(), Refused> {
    let due = service.attempts.due(service.time.monotonic());
    let entries = due.iter().map(|(account, counted)| {
        let Counted { number, tenant } = counted;
        let entry = service.entry(&Actor::service(), "requests.refused", tenant, account);
        entry.detail(format!("{number} more refused requests of the account"))
    });
    let mut entries: Vec<_> = entries.collect();
    let Some(last) = entries.pop() else { return Ok(()) };
    let mut batch = Batch::new();
    entries.iter().for_each(|entry| service.note(&mut batch, entry));
    match service.write(batch, last).await {
        Ok(Attempt::Committed(())) => Ok(()),
        failed => {
            service.attempts.give_back(due);
            failed.map(|_| ())
        }
    }
}

async fn audit(service: &Service) -> Result<(), Refused> {
    service.audit.send(ChainPending).await??;
    Ok(())
}

async fn measure(service: &Service) -> Result<(), Refused> {
    let seq = Head::read(&service.tables).await?.seq;
    service.metrics.trust_seq.set(&[], i64::try_from(seq).unwrap_or(i64::MAX));
    let restorations = crate::trust::restored::restorations(&service.tables).await?.len();
    service.metrics.restored.set(&[], i64::try_from(restorations).unwrap_or(i64::MAX));
    Ok(())
}

async fn all_issued(service: &Service) -> Result<(), Refused> {
    while issued(service).await? {}
    Ok(())
}

async fn issued(service: &Service) -> Result<bool, Refused> {
    let now = service.time.removal().get();
    let expired = service.tables.issued.up_to("expires", now, SWEEP_ROWS).await?;
    // The same request gets the same answer while it is fresh, also where its token has ended before.
    let is_over = |row: &IssuedRecord| row.answer.as_ref().is_none_or(|answer| answer.until < now);
    let ended: Vec<_> = expired.into_iter().filter(|(_, row)| is_over(row)).collect();
    let is_more = ended.len() == SWEEP_ROWS;
    delete_all(service, "issued", &service.tables.issued, ended).await?;
    Ok(is_more)
}

async fn revoked(service: &Service) -> Result<(), Refused> {
    let now = service.time.removal().get();
    let ended = service.tables.revoked_tokens.up_to("expires", now, SWEEP_ROWS).await?;
    delete_all(service, "revoked_tokens", &service.tables.revoked_tokens, ended).await
}

async fn families(service: &Service) -> Result<(), Refused> {
    let now = service.time.removal().get();
    let ended = service.tables.families.up_to("ends", now, SWEEP_ROWS).await?;
    delete_all(service, "refresh_families", &service.tables.families, ended).await
}

async fn moved(service: &Service) -> Result<(), Refused> {
    let before = service.time.removal().minus(TOKEN_LIFE_SECONDS + 1).get();
    let ended = service.tables.moved_devices.up_to("moved_at", before, SWEEP_ROWS).await?;
    delete_all(service, "moved_devices", &service.tables.moved_devices, ended).await
}

async fn restraints(service: &Service) -> Result<(), Refused> {
    let before = service.time.removal().minus(2 * CLOCK_SKEW_SECONDS).get();
    let ended = service.tables.restraints.up_to("ends", before, SWEEP_ROWS).await?;
    for (key, _) in &ended {
        let tenant = text(key, 0)?;
        service.room.gone(tenant, &Load::restraint(tenant, text(key, 1)?));
    }
    delete_all(service, "restraints", &service.tables.restraints, ended).await
}

async fn rule_tests(service: &Service) -> Result<(), Refused> {
    let before = service.time.removal().minus(RULE_TEST_SECONDS).get();
    let ended = service.tables.rule_tests.up_to("tested", before, SWEEP_ROWS).await?;
    delete_all(service, "rule_tests", &service.tables.rule_tests, ended).await
}

/// Events of the line before a jump tell what this service said unknowing, and where readers stand: they go as events of
/// the new line come, and not by their numbers, which a jump leaves far behind.
async fn events(service: &Service) -> Result<(), Refused> {
    if lifting(&service.tables).await?.is_some() {
        return Ok(());
    }
    let Head { seq, start, .. } = Head::read(&service.tables).await?;
    let table = &service.tables.trust_events;
    let is_over = |number: u64| number.max(start).saturating_add(EVENTS_KEPT) <= seq;
    let first = table.scan(&[], None, 1).await?;
    if !first.iter().any(|(key, _)| number(key, 0).is_ok_and(is_over)) {
        return Ok(());
    }
    let rows = table.scan(&[], None, SWEEP_ROWS).await?;
    let ended = rows.into_iter().filter(|(key, _)| number(key, 0).is_ok_and(is_over));
    delete_all(service, "trust_events", table, ended.collect()).await
}

/// Ahead of the events, which go when there are many newer ones.
async fn trl(service: &Service) -> Result<(), Refused> {
    trl::follow::settle(service).await?;
    let removed = trl::expire::run(service).await?;
    service.metrics.swept.add(&["trl"], removed);
    Ok(())
}

async fn verifiers(service: &Service, cursors: &mut Cursors) -> Result<(), Refused> {
    service.confirmed.write(&service.database, &service.tables).await?;
    service.confirmed.forget(service.now().get());
    let now = service.time.monotonic();
    if cursors.verifiers.is_some_and(|last| now.saturating_sub(last) < VERIFIERS_SWEPT_EVERY) {
        return Ok(());
    }
    cursors.verifiers = Some(now);
    let removed = taken::sweep(service).await?;
    service.metrics.swept.add(&["verifiers"], removed);
    let removed = trl::expire::forget(service).await?;
    service.metrics.swept.add(&["trl"], removed);
    Ok(())
}

async fn claims(service: &Service, from: &mut Option<Key>) -> Result<(), Refused> {
    let now = service.time.removal().get();
    let table = &service.tables.claims;
    let rows = table.scan(&[], from.as_deref(), SWEEP_ROWS).await?;
    heal::claims(service, &rows).await?;
    // Behind these rows; the beginning again when they were the last.
    *from = rows.last().filter(|_| rows.len() == SWEEP_ROWS).map(|(key, _)| key.clone());
    let ended = rows.into_iter().filter(|(_, claim)| {
        claim.is_unused() && claim.expires.saturating_add(CLAIM_KEPT_SECONDS) < now
    });
    delete_all(service, "claims", table, ended.collect()).await
}

async fn rekeys(service: &Service) -> Result<(), Refused> {
    let now = service.time.removal().get();
    let ended = service.tables.rekeys.up_to("expires", now, SWEEP_ROWS).await?;
    delete_all(service, "rekey_requests", &service.tables.rekeys, ended).await
}

/// Answers to requests with an Idempotency-Key.
async fn kept(service: &Service) -> Result<(), Refused> {
    let (now, tables) = (service.time.removal().get(), &service.tables);
    heal::kept_requests(service).await?;
    let ended = tables.kept_requests.up_to("expires", now, SWEEP_ROWS).await?;
    let (mut batch, removed) = (Batch::new(), ended.len());
    for (key, record) in ended {
        batch.expect(&tables.kept_requests, key.clone(), &record);
        batch.delete(&tables.kept_answers, key.clone());
        batch.delete(&tables.kept_requests, key);
    }
    if removed > 0 && service.write_unnoted(batch).await? == Attempt::Committed(()) {
        service.metrics.swept.add(&["kept"], u64::try_from(removed).unwrap_or_default());
    }
    Ok(())
}

async fn webhooks(service: &Service, cursors: &mut Cursors) -> Result<(), Refused> {
    let removed = crate::webhooks::sweep(service, &mut cursors.webhooks).await?;
    if removed > 0 {
        service.metrics.swept.add(&["webhooks"], u64::try_from(removed).unwrap_or_default());
    }
    Ok(())
}

async fn api_tokens(service: &Service, from: &mut Option<Key>) -> Result<(), Refused> {
    let table = &service.tables.api_tokens;
    let rows = table.scan(&[], from.as_deref(), SWEEP_ROWS).await?;
    *from = rows.last().filter(|_| rows.len() == SWEEP_ROWS).map(|(key, _)| key.clone());
    heal::api_tokens(service, &rows).await?;
    let before = service.time.removal().minus(API_TOKEN_KEPT_SECONDS).get();
    let ended = table.up_to("expires", before, SWEEP_ROWS).await?;
    delete_all(service, "api_tokens", table, ended).await
}

/// A line that was silent for so long has another name when its verifier comes back.
async fn alert_lines(service: &Service) -> Result<(), Refused> {
    let table = &service.tables.alert_lines;
    let before = service.time.removal().minus(ALERT_LINE_SECONDS).get();
    let ended = table.up_to("touched", before, SWEEP_ROWS).await?;
    delete_all(service, "alert_lines", table, ended).await
}

async fn inventory(service: &Service) -> Result<(), Refused> {
    let before = service.time.removal().minus(USES_KEPT_SECONDS).get();
    let table = &service.tables.device_uses;
    delete_all(service, "device_uses", table, table.up_to("touched", before, SWEEP_ROWS).await?)
        .await?;
    let counts = &service.tables.rule_counts;
    let silent = service.time.removal().minus(RULE_COUNTS_SECONDS).get();
    let silent = counts.up_to("touched", silent, SWEEP_ROWS).await?;
    delete_all(service, "rule_counts", counts, silent).await?;
    let table = &service.tables.role_uses;
    delete_all(service, "role_uses", table, table.up_to("last", before, SWEEP_ROWS).await?).await?;
    let table = &service.tables.role_watches;
    delete_all(service, "role_watches", table, table.up_to("touched", before, SWEEP_ROWS).await?)
        .await
}

async fn claim_imports(service: &Service) -> Result<(), Refused> {
    let table = &service.tables.claim_imports;
    let before = service.time.removal().minus(CLAIM_IMPORT_SECONDS).get();
    let ended = table.up_to("touched", before, SWEEP_ROWS).await?;
    delete_all(service, "claim_imports", table, ended).await
}

async fn partner_tokens(service: &Service, from: &mut Option<Key>) -> Result<(), Refused> {
    let table = &service.tables.partner_tokens;
    let rows = table.scan(&[], from.as_deref(), SWEEP_ROWS).await?;
    *from = rows.last().filter(|_| rows.len() == SWEEP_ROWS).map(|(key, _)| key.clone());
    heal::partner_tokens(service, &rows).await?;
    let before = service.time.removal().minus(API_TOKEN_KEPT_SECONDS).get();
    let ended = table.up_to("expires", before, SWEEP_ROWS).await?;
    delete_all(service, "partner_tokens", table, ended).await?;
    let first = uses::first_kept(service.time.removal());
    let table = &service.tables.partner_uses;
    let old = table.up_to("day", first.saturating_sub(1), SWEEP_ROWS).await?;
    delete_all(service, "partner_uses", table, old).await
}

/// Removes rows, as they were read, and counts them under `label`. When one has changed meanwhile, the next sweep looks
/// again.
async fn delete_all<R: Record>(
    service: &Service,
    label: &str,
    table: &Table<R>,
    rows: Vec<(Key, R)>,
) -> Result<(), Refused> {
    let (mut batch, removed) = (Batch::new(), rows.len());
    for (key, record) in rows {
        batch.expect(table, key.clone(), &record);
        batch.delete(table, key);
    }
    if removed > 0 && service.write_unnoted(batch).await? == Attempt::Committed(()) {
        service.metrics.swept.add(&[label], u64::try_from(removed).unwrap_or_default());
    }
    Ok(())
}
