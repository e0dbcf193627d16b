//! Which verifiers have taken a revocation: a count in its answer, and a wait for them.
//!
//! The revocation is durable before anything waits. A verifier has taken it when it polls with its event, or a later one,
//! as the newest that it has stored.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use tessera_runtime::sql::Batch;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, Event};

use crate::limits::{
    REVOCATION_WAIT_SECONDS, VERIFIERS_NAMED, VERIFIER_KEPT, VERIFIER_NAMES,
    VERIFIER_NAMES_OF_SHARE, VERIFIER_REMEMBERED_SECONDS, WAIT_GATHER, WAIT_LOOK,
};
use crate::records::operators::Tenants;
use crate::records::verifiers::{VerifierKey, VerifierRow};
use crate::records::SignedEvent;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{number, one};
use crate::trust::confirmed::announce;
use crate::trust::ledger::Head;
use crate::trust::waiting::Place;

/// A process that reads the feed under a verifier name.
#[derive(Debug, Clone)]
pub(crate) struct Verifier {
    pub(crate) key: VerifierKey,
    pub(crate) row: VerifierRow,
    /// Whether it polled lately.
    pub(crate) is_here: bool,
}

/// The verifiers that serve one of these tenants, each process once; one that was restarted is only there as the new one.
pub(crate) async fn serving(
    service: &Service,
    tenants: &Tenants,
) -> Result<Vec<Verifier>, Refused> {
    let now = service.now().get();
    let rows = service.confirmed.all(&service.tables).await?;
    let mut newest: HashMap<(String, String, String), u64> = HashMap::new();
    for (VerifierKey { share, account, name, .. }, row) in &rows {
        let began = newest.entry((share.clone(), account.clone(), name.clone())).or_default();
        *began = row.first_seen.max(*began);
    }
    let is_replaced = |key: &VerifierKey, row: &VerifierRow| {
        let name = (key.share.clone(), key.account.clone(), key.name.clone());
        newest.get(&name).is_some_and(|began| *began > row.last_seen)
    };
    let mut found: Vec<Verifier> = rows
        .into_iter()
        .filter(|(key, row)| serves(&row.tenants, tenants) && !is_replaced(key, row))
        .map(|(key, row)| {
            let is_here = now.saturating_sub(row.last_seen) <= VERIFIER_KEPT.as_secs();
            Verifier { key, row, is_here }
        })
        .collect();
    found.sort_by(|one, two| {
        (&one.key.name, &one.key.account, one.key.reader).cmp(&(
            &two.key.name,
            &two.key.account,
            two.key.reader,
        ))
    });
    Ok(found)
}

/// Whether a reader of `its` tenants serves one of `these`.
fn serves(its: &Tenants, these: &Tenants) -> bool {
    match (its, these) {
        (Tenants::All, _) | (_, Tenants::All) => true,
        (Tenants::These(its), Tenants::These(these)) => !its.is_disjoint(these),
    }
}

/// How far a revocation has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Taken {
    /// Verifiers that serve the tenant and were seen within the longest life of a token.
    pub(crate) known: usize,
    /// Those of them that have it.
    pub(crate) taken: usize,
    /// Those that do not and were not seen lately.
    pub(crate) away: usize,
    /// Those that do not although they were seen lately: names, at most [`VERIFIERS_NAMED`].
    pub(crate) missing: Vec<Missing>,
    /// How many these are.
    pub(crate) missing_count: usize,
}

/// A verifier that has not taken a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Missing {
    pub(crate) verifier: String,
    /// The event that it has.
    pub(crate) event: u64,
    /// Seconds.
    pub(crate) last_seen: u64,
}

/// A revocation, from before it is written until it is answered.
pub(crate) struct Following {
    /// The newest event before it.
    before: u64,
    wait: Option<(Duration, Place)>,
}

/// Begins to follow a revocation that an account of this share is about to make. With `wait` it will wait so many
/// seconds; where no more may wait, it is made all the same and answered at once.
///
/// # Errors
/// `request_malformed` when the wait is too long.
pub(crate) async fn follow(
    service: &Service,
    share: &str,
    wait: u64,
) -> Result<Following, Refused> {
    if wait > REVOCATION_WAIT_SECONDS {
        let most = REVOCATION_WAIT_SECONDS;
        return Err(Refused::malformed(format!("wait must be 0 to {most} seconds")));
    }
    let before = Head::read(&service.tables).await?.seq;
    if wait == 0 {
        return Ok(Following { before, wait: None });
    }
    let Some(place) = service.revocations.place(share) else {
        service.metrics.limits_hit.inc(&["revocations_wait"]);
        return Ok(Following { before, wait: None });
    };
    // Ahead of the revocation: every poll that confirms it comes later, to whichever process.
    let told = announce(&service.database, &service.tables, service.now().get() + wait).await;
    if let Err(error) = told {
        // A revocation is not refused for that: the rows are written with the next sweep.
        tracing::warn!(%error, "other processes do not hear that a revocation waits");
    }
    Ok(Following { before, wait: Some((Duration::from_secs(wait), place)) })
}

impl Following {
    /// The event of the revocation, which is durable, and how far it has come; after the wait, if there is one.
    /// `is_it` says whether a change is that revocation.
    ///
    /// # Errors
    /// Of the store. The revocation was made.
    pub(crate) async fn taken(
        self,
        service: &Service,
        tenant: &str,
        is_it: impl Fn(&Change) -> bool,
    ) -> Result<(u64, Taken), Refused> {
        let event = self.event(service, is_it).await?;
        let tenants = Tenants::These([tenant.to_owned()].into());
        if let Some((wait, _place)) = self.wait {
            // At its end there is one more look.
            let waiting = all_here_have(service, &tenants, event);
            let _ = tokio::time::timeout(wait, waiting).await;
        }
        Ok((event, Taken::of(event, &serving(service, &tenants).await?)))
    }

    /// The newest event since the beginning that is the revocation. One that was made before gives the newest of then.
    async fn event(
        &self,
        service: &Service,
        is_it: impl Fn(&Change) -> bool,
    ) -> Result<u64, Refused> {
        let mut walk = service.tables.trust_events.walk_after(one(self.before));
        let mut found = self.before;
        while let Some(page) = walk.next().await? {
            for (key, SignedEvent(signed)) in page {
                let event = Event::unverified(&signed).map_err(|_| RefusalCode::Internal)?;
                if is_it(&event.change) {
                    found = number(&key, 0)?;
                }
            }
        }
        Ok(found)
    }
}

/// Returns when all verifiers that were seen lately have the event, or the service stops.
async fn all_here_have(service: &Service, tenants: &Tenants, event: u64) -> Result<(), Refused> {
    let mut news = service.confirmed.news();
    loop {
        let began = service.time.monotonic();
        news.mark_unchanged();
        let missing = Taken::of(event, &serving(service, tenants).await?).missing_count;
        if missing == 0 || service.stop.is_stopping() {
            return Ok(());
        }
        // A tenth of the time at most goes into looking, however many verifiers there are.
        let rest = service.time.monotonic().saturating_sub(began) * 10;
        tokio::select! {
            _ = news.changed() => tokio::time::sleep(WAIT_GATHER.max(rest)).await,
            () = tokio::time::sleep(WAIT_LOOK.max(rest)) => {}
            () = service.stop.stopping() => {}
        }
    }
}

impl Taken {
    fn of(event: u64, verifiers: &[Verifier]) -> Self {
        let has = |one: &&Verifier| one.row.event >= event;
        let missing = || verifiers.iter().filter(|one| one.is_here && !has(one));
        Self {
            known: verifiers.len(),
            taken: verifiers.iter().filter(has).count(),
            away: verifiers.iter().filter(|one| !one.is_here && !has(one)).count(),
            missing: missing().take(VERIFIERS_NAMED).map(Missing::of).collect(),
            missing_count: missing().count(),
        }
    }
}

impl Missing {
    fn of(one: &Verifier) -> Self {
        let VerifierRow { event, last_seen, .. } = one.row;
        Self { verifier: one.key.name.clone(), event, last_seen }
    }
}

/// Removes the rows of verifiers that were not seen for long, and the oldest ones of a share that has too many.
///
/// # Errors
/// Of the store.
pub(crate) async fn sweep(service: &Service) -> Result<u64, Refused> {
    let (now, table) = (service.time.removal().get(), &service.tables.verifiers);
    let mut rows: HashMap<String, Vec<(u64, VerifierKey, VerifierRow)>> = HashMap::new();
    let mut walk = table.walk(&[]);
    while let Some(page) = walk.next().await? {
        for (key, row) in page {
            let key = crate::trust::confirmed::key_of(&key)?;
            rows.entry(key.share.clone()).or_default().push((row.last_seen, key, row));
        }
    }
    let mut ended = Vec::new();
    for of_share in rows.values_mut() {
        of_share.sort_by_key(|(seen, ..)| std::cmp::Reverse(*seen));
        let is_all = of_share.first().is_some_and(|(.., row)| row.tenants == Tenants::All);
        let most = if is_all { VERIFIER_NAMES } else { VERIFIER_NAMES_OF_SHARE };
        let over = |seen: u64| seen.saturating_add(VERIFIER_REMEMBERED_SECONDS) < now;
        let kept = of_share.iter().take(most).take_while(|(seen, ..)| !over(*seen)).count();
        ended.extend(of_share.drain(kept..));
    }
    let mut removed = 0;
    for part in ended.chunks(crate::limits::SWEEP_ROWS) {
        let mut batch = Batch::new();
        for (_, key, row) in part {
            batch.expect(table, key.row(), row);
            batch.delete(table, key.row());
        }
        if service.write_unnoted(batch).await? == crate::write::Attempt::Committed(()) {
            removed += part.len() as u64;
        }
    }
    Ok(removed)
}
