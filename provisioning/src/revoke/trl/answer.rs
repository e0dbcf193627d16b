//! Answers to the requesters of the list: the whole of what pertains to them, or the updates behind a place (RFC 9770
//! sections 6 to 8).
//!
//! Numbers of updates are those of all tenants, so that one requester may see gaps between its own. A requester takes a
//! cursor as it got it, and needs no more of it than the order.

use std::collections::BTreeSet;

use tessera_runtime::sql::{Key, Value};
use tessera_token::cbor::Writer;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;

use crate::limits::{TRL_ANSWER, TRL_BATCH, TRL_HISTORY, TRL_PAGE};
use crate::records::operators::Tenants;
use crate::records::trl::ListedToken;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{bytes, number, one, text};

/// The part of the list that pertains to a requester.
pub(crate) enum Requester {
    /// The tokens of these tenants: a resource server, or an administrator.
    Of(Tenants),
    /// A device: its own.
    Device(TenantId, DeviceId),
}

/// The question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Query {
    Full,
    Diff {
        /// Updates at most; 0 is as many as there are.
        most: u64,
        cursor: Option<u64>,
    },
}

/// A token hash.
pub(crate) type Hash = [u8; 33];

/// Hashes that one update has removed and added.
pub(crate) type Patch = (Vec<Hash>, Vec<Hash>);

/// The answer of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listed {
    Full {
        hashes: Vec<Hash>,
        cursor: Option<u64>,
    },
    Diff {
        patches: Vec<Patch>,
        cursor: Option<u64>,
        more: bool,
    },
    /// The cursor is beyond the newest update.
    OutOfBound,
}

/// The part of the history that a diff query gets.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// These updates, the oldest first.
    These {
        numbers: Vec<u64>,
        cursor: Option<u64>,
        more: bool,
    },
    OutOfBound,
}

/// Which updates a diff query gets. `numbers` are those that pertain to the requester, `lost` is the newest that may be
/// missing among them.
fn part(numbers: &BTreeSet<u64>, lost: Option<u64>, most: u64, cursor: Option<u64>) -> Part {
    let nothing = |more| Part::These { numbers: Vec::new(), cursor: None, more };
    if let (Some(cursor), Some(lost)) = (cursor, lost) {
        if cursor < lost {
            return nothing(true);
        }
    }
    let Some(last) = numbers.last().copied() else { return nothing(false) };
    if cursor.is_some_and(|cursor| cursor > last) {
        return Part::OutOfBound;
    }
    let most = if most == 0 { TRL_HISTORY } else { most.min(TRL_HISTORY) };
    let behind: Vec<u64> = match cursor {
        Some(cursor) => numbers.range(cursor + 1..).copied().collect(),
        None => numbers.iter().copied().collect(),
    };
    let wanted = behind.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    let newest: Vec<u64> = behind.into_iter().rev().take(wanted).collect();
    let batch: Vec<u64> = newest.iter().rev().take(TRL_BATCH).copied().collect();
    let cursor = batch.last().copied().unwrap_or(last);
    let more = wanted > TRL_BATCH;
    Part::These { numbers: batch, cursor: Some(cursor), more }
}

/// The answer.
///
/// # Errors
/// `not_ready` while the list is being made, `capacity_reached` when more tokens are revoked than it holds.
pub(crate) async fn answer(
    service: &Service,
    requester: &Requester,
    query: Query,
) -> Result<Listed, Refused> {
    follow(service).await?;
    let tenants = tenants_of(service, requester).await?;
    let lost = lost(service, &tenants).await?;
    let numbers = numbers(service, requester, &tenants).await?;
    match query {
        Query::Full => {
            let hashes = listed(service, requester, &tenants).await?;
            Ok(Listed::Full { hashes, cursor: numbers.last().copied() })
        }
        Query::Diff { most, cursor } => match part(&numbers, lost, most, cursor) {
            Part::OutOfBound => Ok(Listed::OutOfBound),
            Part::These { numbers, cursor, more } => {
                let mut patches = Vec::with_capacity(numbers.len());
                for number in numbers.into_iter().rev() {
                    patches.push(patch(service, requester, &tenants, number).await?);
                }
                Ok(Listed::Diff { patches, cursor, more })
            }
        },
    }
}

/// Brings the list up to date.
async fn follow(service: &Service) -> Result<(), Refused> {
    match super::follow::run(service).await? {
        true => Ok(()),
        false => Err(Refused::because(
            RefusalCode::NotReady,
            "the list is being made after a large revocation: ask again later",
        )),
    }
}

/// The newest update that may be missing in the history of these tenants.
///
/// # Errors
/// `capacity_reached` when the list of one of them is not whole.
async fn lost(service: &Service, tenants: &[String]) -> Result<Option<u64>, Refused> {
    let mut lost = None;
    for tenant in tenants {
        let state = service.tables.trl_tenants.get(one(tenant.as_str())).await?;
        let Some(state) = state else { continue };
        if state.incomplete_until > service.now().get() {
            return Err(Refused::because(
                RefusalCode::CapacityReached,
                format!("more tokens of tenant {tenant} are revoked than the list holds: read the trust feed"),
            ));
        }
        lost = lost.max(Some(state.lost).filter(|lost| *lost > 0));
    }
    Ok(lost)
}

/// The serials of the tokens of a tenant that are revoked and have not expired.
///
/// # Errors
/// As [`answer`].
pub(crate) async fn serials(service: &Service, tenant: &TenantId) -> Result<Vec<u64>, Refused> {
    let tenants = [tenant.as_str().to_owned()];
    follow(service).await?;
    lost(service, &tenants).await?;
    let rows = rows(service, &Requester::Of(Tenants::All), &tenants).await?;
    let rows = rows.into_iter().filter(|(_, row)| row.removed.is_none());
    Ok(rows.filter_map(|(_, row)| row.serial).collect())
}

/// The tenants that have a list and pertain to the requester.
async fn tenants_of(service: &Service, requester: &Requester) -> Result<Vec<String>, Refused> {
    match requester {
        Requester::Device(tenant, _) => Ok(vec![tenant.as_str().to_owned()]),
        Requester::Of(Tenants::These(these)) => Ok(these.iter().cloned().collect()),
        Requester::Of(Tenants::All) => {
            let mut tenants = Vec::new();
            let mut walk = service.tables.trl_tenants.walk(&[]);
            while let Some(page) = walk.next().await? {
                for (key, _) in page {
                    tenants.push(text(&key, 0)?.to_owned());
                }
            }
            Ok(tenants)
        }
    }
}

/// The updates that pertain to the requester.
async fn numbers(
    service: &Service,
    requester: &Requester,
    tenants: &[String],
) -> Result<BTreeSet<u64>, Refused> {
    let mut numbers = BTreeSet::new();
    if let Requester::Device(..) = requester {
        for (_, row) in rows(service, requester, tenants).await? {
            numbers.insert(row.added);
            numbers.extend(row.removed);
        }
        return Ok(numbers);
    }
    for tenant in tenants {
        let mut walk = service.tables.trl_updates.walk(&one(tenant.as_str()));
        while let Some(page) = walk.next().await? {
            for (key, _) in page {
                numbers.insert(number(&key, 1)?);
            }
        }
    }
    Ok(numbers)
}

/// The hashes on the list.
async fn listed(
    service: &Service,
    requester: &Requester,
    tenants: &[String],
) -> Result<Vec<Hash>, Refused> {
    let rows = rows(service, requester, tenants).await?;
    let hashes = rows.into_iter().filter(|(_, row)| row.removed.is_none());
    Ok(hashes.map(|(hash, _)| hash).collect())
}

async fn rows(
    service: &Service,
    requester: &Requester,
    tenants: &[String],
) -> Result<Vec<(Hash, ListedToken)>, Refused> {
    let table = &service.tables.trl_tokens;
    if let Requester::Device(tenant, device) = requester {
        let columns = [("tenant", tenant.as_str().into()), ("device", device.as_str().into())];
        return found(service, &columns).await;
    }
    let mut found = Vec::new();
    for tenant in tenants {
        let mut walk = table.walk(&one(tenant.as_str()));
        while let Some(page) = walk.next().await? {
            for (key, row) in page {
                found.push((bytes(&key, 1)?, row));
            }
            fits(found.len())?;
        }
    }
    Ok(found)
}

/// All rows of which these columns have these values. No part of them is left out: a token that an answer does not name
/// counts as good.
async fn found(
    service: &Service,
    columns: &[(&'static str, Value)],
) -> Result<Vec<(Hash, ListedToken)>, Refused> {
    let mut found = Vec::new();
    let mut after: Option<Key> = None;
    loop {
        let page = service.tables.trl_tokens.find(columns, after.as_deref(), TRL_PAGE).await?;
        let is_last = page.len() < TRL_PAGE;
        after = page.last().map(|(key, _)| key.clone());
        for (key, row) in page {
            found.push((bytes(&key, 1)?, row));
        }
        fits(found.len())?;
        if is_last {
            return Ok(found);
        }
    }
}

fn fits(tokens: usize) -> Result<(), Refused> {
    match tokens > TRL_ANSWER {
        true => Err(Refused::because(
            RefusalCode::CapacityReached,
            "the list is too long for one answer: ask by an account of fewer tenants, or read the trust feed",
        )),
        false => Ok(()),
    }
}

/// The hashes that this update has removed and added.
async fn patch(
    service: &Service,
    requester: &Requester,
    tenants: &[String],
    number: u64,
) -> Result<Patch, Refused> {
    let mut patch = Patch::default();
    for tenant in tenants {
        let key = vec![tenant.as_str().into(), number.into()];
        if !service.tables.trl_updates.contains(key).await? {
            continue;
        }
        for (column, into) in [("removed", &mut patch.0), ("added", &mut patch.1)] {
            let columns: [(&'static str, Value); 2] =
                [("tenant", tenant.as_str().into()), (column, number.into())];
            for (hash, row) in found(service, &columns).await? {
                let pertains = match requester {
                    Requester::Device(_, device) => row.device == device.as_str(),
                    Requester::Of(_) => true,
                };
                if pertains {
                    into.push(hash);
                }
            }
        }
    }
    Ok(patch)
}

const FULL_SET: i64 = 0;
const DIFF_SET: i64 = 1;
const CURSOR: i64 = 2;
const MORE: i64 = 3;

impl Listed {
    /// As `application/ace-trl+cbor`; `None` for an error.
    pub(crate) fn to_cbor(&self) -> Option<Vec<u8>> {
        let mut w = Writer::new();
        match self {
            Self::Full { hashes, cursor } => {
                w.map(2).int(FULL_SET);
                hashes_to(&mut w, hashes);
                cursor_to(&mut w, *cursor);
            }
            Self::Diff { patches, cursor, more } => {
                w.map(3).int(DIFF_SET).array(patches.len());
                for (removed, added) in patches {
                    w.array(2);
                    hashes_to(&mut w, removed);
                    hashes_to(&mut w, added);
                }
                cursor_to(&mut w, *cursor);
                w.int(MORE).bool(*more);
            }
            Self::OutOfBound => return None,
        }
        Some(w.finish())
    }
}

fn hashes_to(w: &mut Writer, hashes: &[Hash]) {
    w.array(hashes.len());
    for hash in hashes {
        w.bytes(hash);
    }
}

fn cursor_to(w: &mut Writer, cursor: Option<u64>) {
    w.int(CURSOR);
    match cursor {
        Some(cursor) => w.uint(cursor),
        None => w.null(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(numbers: &[u64], cursor: Option<u64>, more: bool) -> Part {
        Part::These { numbers: numbers.to_vec(), cursor, more }
    }

    #[test]
    fn a_diff_query_gets_the_updates_that_the_rfc_says() {
        let none = BTreeSet::new();
        assert_eq!(part(&none, None, 0, None), these(&[], None, false));
        assert_eq!(part(&none, None, 0, Some(7)), these(&[], None, false));
        let few: BTreeSet<u64> = [3, 5, 9].into();
        assert_eq!(part(&few, None, 0, None), these(&[3, 5, 9], Some(9), false));
        assert_eq!(part(&few, None, 2, None), these(&[5, 9], Some(9), false));
        assert_eq!(part(&few, None, 0, Some(3)), these(&[5, 9], Some(9), false));
        assert_eq!(part(&few, None, 1, Some(3)), these(&[9], Some(9), false));
        assert_eq!(part(&few, None, 0, Some(4)), these(&[5, 9], Some(9), false));
        assert_eq!(part(&few, None, 0, Some(9)), these(&[], Some(9), false));
        assert_eq!(part(&few, None, 0, Some(10)), Part::OutOfBound);
        // History was lost behind the cursor, and not before it.
        assert_eq!(part(&few, Some(2), 0, Some(1)), these(&[], None, true));
        assert_eq!(part(&few, Some(2), 0, Some(2)), these(&[3, 5, 9], Some(9), false));
    }

    #[test]
    fn more_than_a_batch_comes_oldest_first() {
        let batch = u64::try_from(TRL_BATCH).unwrap();
        let many: BTreeSet<u64> = (1..=2 * batch + 1).collect();
        let first: Vec<u64> = (1..=batch).collect();
        assert_eq!(part(&many, None, 0, None), these(&first, Some(batch), true));
        let second: Vec<u64> = (batch + 1..=2 * batch).collect();
        assert_eq!(part(&many, None, 0, Some(batch)), these(&second, Some(2 * batch), true));
        let last = [2 * batch + 1];
        assert_eq!(part(&many, None, 0, Some(2 * batch)), these(&last, Some(last[0]), false));
    }
}
