//! Entries of the audit log that were asked for. Each condition but the time has an index of the database; times are found by
//! halving, since entries are in the order in which they were made.

use tessera_runtime::sql::Value;

use super::{Chained, Head};
use crate::limits::{AUDIT_LOOK, AUDIT_SLACK_SECONDS};
use crate::records::operators::Tenants;
use crate::records::Page;
use crate::refused::Refused;
use crate::tables::{number, one, Tables};

/// An entry, and its number.
pub(crate) type Row = (u64, Chained);

/// Conditions that an entry must meet; one that is left out is met.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) tenant: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) action: Option<String>,
    pub(crate) subject: Option<String>,
    /// Seconds, the first and the last.
    pub(crate) since: Option<u64>,
    pub(crate) until: Option<u64>,
    /// Only of so many newest entries.
    pub(crate) last: Option<u64>,
}

/// A page of entries, and the number of the last one that was looked at: a reader that follows the log goes on behind it.
pub(crate) struct Found {
    pub(crate) page: Page<Row>,
    pub(crate) seen: u64,
}

impl Wanted {
    fn is_met_by(&self, tenants: &Tenants, Chained { entry, .. }: &Chained) -> bool {
        let is = |wanted: &Option<String>, value: &String| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        tenants.cover(&entry.tenant)
            && is(&self.tenant, &entry.tenant)
            && is(&self.actor, &entry.actor)
            && is(&self.action, &entry.action)
            && is(&self.subject, &entry.subject)
            && self.since.is_none_or(|since| since <= entry.at)
            && self.until.is_none_or(|until| entry.at <= until)
    }

    /// The columns by which rows are found: an index for each begins with them.
    fn columns(&self, tenants: &Tenants) -> Vec<(&'static str, Value)> {
        let one_alone = Some(tenants.single()).filter(|tenant| !tenant.is_empty());
        let tenant = self.tenant.as_deref().or(one_alone).map(|tenant| ("tenant", tenant.into()));
        let subject = self.subject.as_deref().map(|subject| ("subject", subject.into()));
        let actor = self.actor.as_deref().map(|actor| ("actor", actor.into()));
        let action = self.action.as_deref().map(|action| ("action", action.into()));
        if subject.is_some() {
            return tenant.into_iter().chain(subject).collect();
        }
        actor.or(action).or(tenant).into_iter().collect()
    }
}

/// Entries of these tenants that meet the conditions, from the first one behind `after`. A page looks at so many entries that
/// it stays short; it may hold none, and name the next.
pub(crate) async fn list(
    tables: &Tables,
    tenants: &Tenants,
    wanted: &Wanted,
    after: Option<u64>,
    limit: usize,
) -> Result<Found, Refused> {
    let head = Head::read(tables).await?.seq;
    let mut place = after.unwrap_or_default().max(first(tables, wanted, head).await?);
    let (columns, mut items, mut looked) = (wanted.columns(tenants), Vec::new(), 0);
    loop {
        let most = (limit + 1).min(AUDIT_LOOK);
        let rows = tables.audit.find(&columns, Some(&one(place)), most).await?;
        let is_last = rows.len() < most;
        for (key, row) in rows {
            if items.len() == limit {
                let next = Some(place.to_string());
                return Ok(Found { page: Page { items, next }, seen: place });
            }
            place = number(&key, 0)?;
            looked += 1;
            if wanted.is_met_by(tenants, &row) {
                items.push((place, row));
            }
        }
        if is_last {
            return Ok(Found { page: Page { items, next: None }, seen: place.max(head) });
        }
        if looked >= AUDIT_LOOK {
            let next = Some(place.to_string());
            return Ok(Found { page: Page { items, next }, seen: place });
        }
    }
}

/// The number before the first entry that may be wanted.
async fn first(tables: &Tables, wanted: &Wanted, head: u64) -> Result<u64, Refused> {
    let newest = wanted.last.map_or(0, |last| head.saturating_sub(last));
    let Some(since) = wanted.since else { return Ok(newest) };
    // A clock that is set back a little dates later entries earlier: they are looked at, and their times judged one by one.
    let since = since.saturating_sub(AUDIT_SLACK_SECONDS);
    // All up to `below` are older, and the one behind `above` is not.
    let (mut below, mut above) = (0, head);
    while below < above {
        let middle = below + (above - below) / 2 + 1;
        let is_older = match tables.audit.get(one(middle)).await? {
            Some(row) => row.entry.at < since,
            None => false,
        };
        match is_older {
            true => below = middle,
            false => above = middle - 1,
        }
    }
    Ok(newest.max(below))
}
