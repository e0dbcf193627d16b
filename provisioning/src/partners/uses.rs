//! The use of partner tokens by day (UTC): brokers tell it, and each day of each token has one row.

use tessera_runtime::sql::Batch;
use tessera_token::time::UnixSeconds;

use crate::limits::PARTNER_USE_DAYS;
use crate::operators::Tenants;
use crate::records::partners::PartnerUse;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{number, one};
use crate::write::until_committed;

/// Seconds of a day.
const DAY: u64 = 24 * 3600;

/// Adds use of today to the batch.
///
/// # Errors
/// Those of the database.
pub(crate) async fn add(
    service: &Service,
    batch: &mut Batch,
    id: &str,
    more: PartnerUse,
) -> Result<(), Refused> {
    let key = vec![id.into(), (service.now().get() / DAY).into()];
    let table = &service.tables.partner_uses;
    let present = table.get(key.clone()).await?;
    batch.expect_same(table, key.clone(), present.as_ref());
    batch.put(table, key, &present.unwrap_or_default().plus(more));
    Ok(())
}

/// Takes the report of a broker. A token that is not there, or of other tenants, is passed over.
///
/// # Errors
/// Those of the database. Then nothing of the report was taken.
pub(crate) async fn report(
    service: &Service,
    tenants: &Tenants,
    told: &[(String, PartnerUse)],
) -> Result<(), Refused> {
    until_committed(async || {
        let mut batch = Batch::new();
        for (id, more) in told {
            let row = service.tables.partner_tokens.get(one(id.as_str())).await?;
            if row.is_some_and(|row| tenants.cover(&row.tenant)) {
                add(service, &mut batch, id, *more).await?;
            }
        }
        service.write_unnoted(batch).await
    })
    .await
}

/// The first day that is kept, in days since 1970.
pub(crate) fn first_kept(now: UnixSeconds) -> u64 {
    (now.get() / DAY).saturating_sub(PARTNER_USE_DAYS)
}

/// The days of a token, the newest first, each with the time of its beginning.
///
/// # Errors
/// Those of the database.
pub(crate) async fn of_token(
    service: &Service,
    id: &str,
) -> Result<Vec<(u64, PartnerUse)>, Refused> {
    let days = usize::try_from(PARTNER_USE_DAYS).unwrap_or(usize::MAX);
    let rows = service.tables.partner_uses.find(&[("id", id.into())], None, 2 * days).await?;
    let days = rows.into_iter().map(|(key, row)| Ok((number(&key, 1)?.saturating_mul(DAY), row)));
    let mut days = days.collect::<Result<Vec<_>, Refused>>()?;
    days.reverse();
    Ok(days)
}
