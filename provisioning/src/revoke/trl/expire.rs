//! Tokens leave the list when they expire, and updates leave the history when there are [`TRL_HISTORY`] newer ones.

use std::collections::BTreeMap;

use tessera_runtime::sql::Key;

use super::Update;
use crate::limits::{SWEEP_ROWS, TRL_HISTORY};
use crate::records::trl::ListedToken;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{bytes, number, one, text};
use crate::write::Attempt;

/// Takes off what has expired; says how many tokens that are.
///
/// # Errors
/// Of the store.
pub(crate) async fn run(service: &Service) -> Result<u64, Refused> {
    let now = service.time.removal().get();
    let tokens = &service.tables.trl_tokens;
    let expired = tokens.up_to("expires", now, SWEEP_ROWS).await?;
    let mut of_tenants: BTreeMap<String, Vec<(Key, ListedToken)>> = BTreeMap::new();
    for (key, row) in expired {
        of_tenants.entry(text(&key, 0)?.to_owned()).or_default().push((key, row));
    }
    let mut left = 0;
    for (tenant, rows) in of_tenants {
        let many = u64::try_from(rows.len()).unwrap_or_default();
        let mut update = Update::begin(service, &tenant).await?;
        for (key, row) in rows {
            update.batch.expect(tokens, key.clone(), &row);
            update.state.listed = update.state.listed.saturating_sub(1);
            let removed = Some(update.number);
            let gone = ListedToken { expires: None, removed, ..row };
            update.put(service, &tenant, &bytes::<33>(&key, 1)?, &gone);
        }
        let batch = update.end(service, &tenant, true);
        // Another process has made an update meanwhile: the next sweep takes them off.
        if service.write_unnoted(batch).await? == Attempt::Committed(()) {
            left += many;
        }
    }
    Ok(left)
}

/// Shortens the histories of all tenants; says how many rows it removed.
///
/// # Errors
/// Of the store.
pub(crate) async fn forget(service: &Service) -> Result<u64, Refused> {
    let mut removed = 0;
    let mut tenants = service.tables.trl_tenants.walk(&[]);
    while let Some(page) = tenants.next().await? {
        for (key, _) in page {
            removed += shorten(service, text(&key, 0)?).await?;
        }
    }
    Ok(removed)
}

/// Shortens the history of a tenant.
async fn shorten(service: &Service, tenant: &str) -> Result<u64, Refused> {
    let tables = &service.tables;
    let updates = tables.trl_updates.scan(&one(tenant), None, SWEEP_ROWS).await?;
    let most = usize::try_from(TRL_HISTORY).unwrap_or(usize::MAX);
    let over = updates.len().saturating_sub(most);
    if over == 0 {
        return Ok(0);
    }
    let mut update = Update::begin(service, tenant).await?;
    let mut removed = 0;
    for (key, row) in updates.into_iter().take(over) {
        let lost = number(&key, 1)?;
        let columns = [("tenant", tenant.into()), ("removed", lost.into())];
        for (token, listed) in tables.trl_tokens.find(&columns, None, SWEEP_ROWS).await? {
            update.batch.expect(&tables.trl_tokens, token.clone(), &listed);
            update.batch.delete(&tables.trl_tokens, token);
            removed += 1;
        }
        update.batch.expect(&tables.trl_updates, key.clone(), &row);
        update.batch.delete(&tables.trl_updates, key);
        update.state.lost = update.state.lost.max(lost);
        removed += 1;
        if removed >= SWEEP_ROWS {
            break;
        }
    }
    if removed == 0 {
        return Ok(0);
    }
    let batch = update.end(service, tenant, false);
    match service.write_unnoted(batch).await? {
        Attempt::Committed(()) => Ok(u64::try_from(removed).unwrap_or_default()),
        Attempt::Conflict => Ok(0),
    }
}
