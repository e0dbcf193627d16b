//! Removal of what time has ended: memory on disk stays bounded by what is alive. It goes by lived time, so that a clock
//! that was ahead has removed nothing that holds; rows that such a clock has dated wrongly are dated anew.

use tessera_runtime::store::{Batch, Table};
use tessera_token::limits::TOKEN_LIFE_SECONDS;

use crate::audit::actor::ChainPending;
use crate::heal;
use crate::limits::{CLAIM_KEPT_SECONDS, EVENTS_KEPT, SWEEP_ROWS};
use crate::records::{ClaimRecord, MovedDevice};
use crate::refused::Refused;
use crate::rotation::retire_expired;
use crate::service::Service;
use crate::tables::number_of;
use crate::trust::ledger::Head;
use crate::trust::restored::lifting;

/// How far tables were read that are not in the order of their ends.
#[derive(Default)]
pub(crate) struct Cursors {
    claims: Option<Vec<u8>>,
    moved: Option<Vec<u8>>,
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
    service.nonces.sweep(service.time.monotonic());
    let shared = service.readers.sweep(service.time.monotonic());
    service.metrics.names_shared.set(&[], i64::try_from(shared).unwrap_or(i64::MAX));
    let mut round = Round { first: Ok(()) };
    round.took("time", time(service).await);
    round.took("strangers", strangers(service).await);
    round.took("audit", audit(service).await);
    round.took("lift", crate::recovery::lift::run(service).await);
    round.took("metrics", measure(service));
    round.took("heal", heal::keys(service).await);
    round.took("retire", retire_expired(service).await);
    round.took("issued", all_issued(service).await);
    round.took("revoked", revoked(service).await);
    round.took("moved", moved(service, &mut cursors.moved).await);
    round.took("events", events(service).await);
    round.took("claims", claims(service, &mut cursors.claims).await);
    round.first
}

async fn time(service: &Service) -> Result<(), Refused> {
    Ok(service.time.store(&service.store, &service.tables, false).await?)
}

async fn strangers(service: &Service) -> Result<(), Refused> {
    let Some(sum) = service.strangers.due(service.time.monotonic()) else { return Ok(()) };
    let by = crate::audit::Actor("service".to_owned());
    let entry = service.entry(&by, "strangers.refused", "", "requests without proof").detail(sum);
    service.write(Batch::new(), entry).await.map(|_| ())
}

async fn audit(service: &Service) -> Result<(), Refused> {
    service.audit.send(ChainPending).await??;
    Ok(())
}

fn measure(service: &Service) -> Result<(), Refused> {
    let seq = Head::read(&service.tables)?.seq;
    service.metrics.trust_seq.set(&[], i64::try_from(seq).unwrap_or(i64::MAX));
    let restorations = crate::trust::restored::restorations(&service.tables)?.len();
    service.metrics.restored.set(&[], i64::try_from(restorations).unwrap_or(i64::MAX));
    Ok(())
}

async fn all_issued(service: &Service) -> Result<(), Refused> {
    while issued(service).await? {}
    Ok(())
}

async fn issued(service: &Service) -> Result<bool, Refused> {
    let now = service.time.removal().get();
    let rows = service.tables.issued_expiry.scan_prefix(&[], None, SWEEP_ROWS)?;
    let mut batch = Batch::new();
    let mut removed = 0;
    for (key, _) in rows.iter().filter(|(key, _)| number_of(key) <= now) {
        batch.delete(&service.tables.issued_expiry, key);
        batch.delete(&service.tables.issued, key.get(8..).unwrap_or_default());
        removed += 1;
    }
    remove(service, "issued", batch, removed).await?;
    Ok(removed == SWEEP_ROWS)
}

async fn revoked(service: &Service) -> Result<(), Refused> {
    let now = service.time.removal().get();
    let table = &service.tables.revoked_tokens;
    let rows = table.scan_prefix(&[], None, SWEEP_ROWS)?;
    let ended = rows.into_iter().map(|(key, _)| key).filter(|key| number_of(key) <= now);
    delete_all(service, table, ended.collect()).await
}

async fn moved(service: &Service, from: &mut Option<Vec<u8>>) -> Result<(), Refused> {
    let now = service.time.removal().get();
    let table = &service.tables.moved_devices;
    let rows = table.scan_records::<MovedDevice>(&[], from.as_deref(), SWEEP_ROWS)?;
    *from = next(&rows);
    let ended = rows.into_iter().filter(|(_, row)| row.at.saturating_add(TOKEN_LIFE_SECONDS) < now);
    delete_all(service, table, ended.map(|(key, _)| key).collect()).await
}

/// Events of the line before a jump tell what this service said unknowing, and where readers stand: they go as events of
/// the new line come, and not by their numbers, which a jump leaves far behind.
async fn events(service: &Service) -> Result<(), Refused> {
    if lifting(&service.tables)?.is_some() {
        return Ok(());
    }
    let Head { seq, start, .. } = Head::read(&service.tables)?;
    let table = &service.tables.trust_events;
    let rows = table.scan_prefix(&[], None, SWEEP_ROWS)?;
    let is_over = |key: &[u8]| number_of(key).max(start).saturating_add(EVENTS_KEPT) <= seq;
    let ended = rows.into_iter().map(|(key, _)| key).filter(|key| is_over(key));
    delete_all(service, table, ended.collect()).await
}

async fn claims(service: &Service, from: &mut Option<Vec<u8>>) -> Result<(), Refused> {
    let now = service.time.removal().get();
    let table = &service.tables.claims;
    let rows = table.scan_records::<ClaimRecord>(&[], from.as_deref(), SWEEP_ROWS)?;
    heal::claims(service, &rows).await?;
    *from = next(&rows);
    let ended = rows.into_iter().filter(|(_, claim)| {
        claim.used.is_none() && claim.expires.saturating_add(CLAIM_KEPT_SECONDS) < now
    });
    delete_all(service, table, ended.map(|(key, _)| key).collect()).await
}

/// Behind these rows; the beginning again when they were the last.
fn next<T>(rows: &[(Vec<u8>, T)]) -> Option<Vec<u8>> {
    rows.last().filter(|_| rows.len() == SWEEP_ROWS).map(|(key, _)| key.clone())
}

async fn delete_all(service: &Service, table: &Table, keys: Vec<Vec<u8>>) -> Result<(), Refused> {
    let mut batch = Batch::new();
    keys.iter().for_each(|key| batch.delete(table, key));
    remove(service, table.name(), batch, keys.len()).await
}

async fn remove(
    service: &Service,
    table: &str,
    batch: Batch,
    removed: usize,
) -> Result<(), Refused> {
    if removed > 0 {
        service.store.commit(batch).await?;
        service.metrics.swept.add(&[table], u64::try_from(removed).unwrap_or_default());
    }
    Ok(())
}
