//! Room: what verifiers can hold, and how much of it is taken.
//!
//! A verifier that gets one row too many refuses it and follows no further, so provisioning refuses it first. Counts are
//! kept in memory, made by reading the tables at start; a change takes its room before it is written and gives it back
//! when it is not. Rows that a sweep removed are noticed by counting again once something does not fit, at most every
//! [`TRUST_RECOUNT`](crate::limits::TRUST_RECOUNT). Until then a count is too high, never too low.
//!
//! Each tenant has a share that the others cannot use up: half of what there is, divided by the number of tenants. Beyond
//! its share a tenant takes what no share of another needs.
//!
//! A revocation is never refused for want of room. Groups, moved or not, have their room from the start; so a token that
//! finds none becomes a move of its device, and a device that finds none a move of its group.

use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_runtime::store::StoreError;
use tessera_token::chain::KeyState;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Change;

use crate::limits;
use crate::refused::Refused;
use crate::tables::Tables;

mod follow;
mod load;
mod loads;
#[cfg(test)]
mod tests;

use follow::Follow;
pub(crate) use load::Load;
pub(crate) use loads::Loads;

/// The most of each. The defaults are what verifiers hold, less a margin; a test sets lower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustLimits {
    /// Tenants.
    pub tenants: usize,
    /// Groups.
    pub groups: usize,
    /// Issuer keys.
    pub keys: usize,
    /// Issuer keys past which none is made but for a compromised one.
    pub keys_unasked: usize,
    /// Published device keys.
    pub device_keys: usize,
    /// Devices with a moved epoch.
    pub devices: usize,
    /// Revoked tokens.
    pub tokens: usize,
    /// Bytes of a snapshot.
    pub bytes: usize,
    /// Bytes of a snapshot past which only revocations are taken.
    pub bytes_unasked: usize,
}

impl Default for TrustLimits {
    fn default() -> Self {
        Self {
            tenants: limits::TRUST_TENANTS,
            groups: limits::TRUST_GROUPS,
            keys: limits::TRUST_KEYS,
            keys_unasked: limits::TRUST_KEYS_UNASKED,
            device_keys: limits::TRUST_DEVICE_KEYS,
            devices: limits::TRUST_DEVICES,
            tokens: limits::TRUST_TOKENS,
            bytes: limits::TRUST_BYTES,
            bytes_unasked: limits::TRUST_BYTES_UNASKED,
        }
    }
}

impl TrustLimits {
    /// Whether a verifier can hold as much.
    pub(crate) fn fit_verifiers(&self) -> bool {
        let most = Self::default();
        let pairs = [
            (self.tenants, most.tenants),
            (self.groups, most.groups),
            (self.keys, most.keys),
            (self.keys_unasked, self.keys),
            (self.device_keys, most.device_keys),
            (self.devices, most.devices),
            (self.tokens, most.tokens),
            (self.bytes, most.bytes),
            (self.bytes_unasked, self.bytes),
        ];
        pairs.iter().all(|(own, most)| own <= most)
    }
}

/// The purpose for which room is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Something new.
    Growth,
    /// The end of something: may use what is kept back for it.
    Revocation,
}

impl Purpose {
    pub(crate) fn of(changes: &[Change]) -> Self {
        let ends = |change: &Change| match change {
            Change::Device(_) | Change::Token(_) => true,
            Change::Key(key) => key.state == KeyState::Compromised,
            // A restraint takes something away too.
            Change::Restraint(_) => true,
            Change::Tenant(_) | Change::Group(_) | Change::DeviceKey(_) | Change::Rule(_) => false,
        };
        match changes.iter().any(ends) {
            true => Self::Revocation,
            false => Self::Growth,
        }
    }
}

/// The part that did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) what: &'static str,
    pub(crate) most: usize,
    /// Whether the rest is the share of other tenants.
    pub(crate) of_others: bool,
}

impl From<Full> for Refused {
    fn from(Full { what, most, of_others }: Full) -> Self {
        let words = match what {
            "keys" => "issuer keys",
            "device_keys" => "published device keys",
            "devices" => "devices with a moved epoch",
            "tokens" => "revoked tokens",
            "bytes" => "bytes of a snapshot",
            what => what,
        };
        let rest = if of_others { ", less the shares of other tenants" } else { "" };
        let detail = format!("no more than {most} {words}{rest} (docs/limits.md)");
        Self::because(RefusalCode::CapacityReached, detail)
    }
}

/// How much room is taken.
pub(crate) struct Room {
    most: TrustLimits,
    taken: Mutex<Taken>,
    /// One counting at a time.
    counting: tokio::sync::Mutex<()>,
    /// `None` where no other process has the database.
    follow: Option<Follow>,
}

#[derive(Default)]
struct Taken {
    /// By rows that are written.
    written: Loads,
    /// By rows that were written since a counting began: it may have read past their place before they came.
    since: Loads,
    /// By changes on their way.
    held: Loads,
    /// When it was counted last, in monotonic time.
    counted: Duration,
}

impl Taken {
    fn book(&mut self, tenant: &str, load: &Load) {
        self.written.add(tenant, load);
        self.since.add(tenant, load);
    }
}

impl Taken {
    /// The first kind of which a tenant would take the share of another; `after` is what all take then.
    fn beyond_share(&self, tenant: &str, load: &Load, after: &Load, most: &Load) -> Option<Full> {
        let tenants = self.written.tenants().max(1);
        let share = most.map(|most| most / 2 / tenants);
        let own = self.written.of(tenant).plus(&self.held.of(tenant)).plus(load);
        if own.is_within(&share) {
            return None;
        }
        let kept = self.written.others(tenant).map(|other| share.minus(other));
        let kept = kept.fold(Load::default(), |sum, one| sum.plus(&one));
        let (own, share) = (own.kinds(), share.kinds());
        let (wanted, after) = (load.kinds(), after.plus(&kept).kinds());
        let all = wanted.iter().zip(own).zip(share).zip(after).zip(most.kinds());
        all.filter(|((((wanted, own), share), _), _)| wanted.1 > 0 && own.1 > share.1)
            .find(|((_, after), most)| after.1 > most.1)
            .map(|(_, (what, most))| Full { what, most, of_others: true })
    }
}

impl Room {
    /// Counts what there is. `shared`: other processes take room too.
    pub(crate) async fn count(
        tables: &Tables,
        most: TrustLimits,
        now: Duration,
        shared: bool,
    ) -> Result<Arc<Self>, StoreError> {
        let follow = match shared {
            true => Some(Follow::begin(tables).await?),
            false => None,
        };
        let written = Loads::of_all(tables).await?;
        let taken = Taken { written, counted: now, ..Taken::default() };
        Ok(Arc::new(Self {
            most,
            taken: Mutex::new(taken),
            counting: tokio::sync::Mutex::default(),
            follow,
        }))
    }

    /// Takes room for a change of this tenant. A change that adds nothing always fits, also where more is taken than there
    /// should be.
    pub(crate) fn hold(
        self: &Arc<Self>,
        tenant: &str,
        load: Load,
        purpose: Purpose,
    ) -> Result<Hold, Full> {
        let mut taken = self.taken.lock();
        let after = taken.written.all().plus(taken.held.all()).plus(&load);
        let most = self.most(purpose);
        let all = load.kinds().into_iter().zip(after.kinds()).zip(most.kinds());
        for (((what, wanted), (_, used)), (_, most)) in all {
            if wanted > 0 && used > most {
                return Err(Full { what, most, of_others: false });
            }
        }
        if let Some(full) = taken.beyond_share(tenant, &load, &after, &most) {
            return Err(full);
        }
        taken.held.add(tenant, &load);
        Ok(Hold { room: Arc::clone(self), tenant: tenant.to_owned(), load, kept: false })
    }

    fn most(&self, purpose: Purpose) -> Load {
        let most = &self.most;
        let (keys, bytes) = match purpose {
            Purpose::Growth => (most.keys_unasked, most.bytes_unasked),
            Purpose::Revocation => (most.keys, most.bytes),
        };
        Load {
            tenants: most.tenants,
            groups: most.groups,
            keys,
            device_keys: most.device_keys,
            devices: most.devices,
            tokens: most.tokens,
            bytes,
        }
    }

    /// Whether it is time to count again; then it is told once.
    pub(crate) fn is_count_due(&self, now: Duration) -> bool {
        let mut taken = self.taken.lock();
        let due = now.saturating_sub(taken.counted) >= limits::TRUST_RECOUNT;
        if due {
            taken.counted = now;
        }
        due
    }

    /// Counts again. A change that is written meanwhile may be counted twice, until the next time, and is never left out.
    pub(crate) async fn recount(&self, tables: &Tables) -> Result<(), StoreError> {
        self.recount_by(Loads::of_all(tables)).await
    }

    async fn recount_by(
        &self,
        walk: impl Future<Output = Result<Loads, StoreError>>,
    ) -> Result<(), StoreError> {
        let _alone = self.counting.lock().await;
        self.taken.lock().since = Loads::default();
        let mut counted = walk.await?;
        let mut taken = self.taken.lock();
        counted.add_all(&taken.since);
        taken.written = counted;
        Ok(())
    }

    /// Rows were written that had no room of their own; they count, also where more is taken than there should be.
    pub(crate) fn book(&self, tenant: &str, load: &Load) {
        self.taken.lock().book(tenant, load);
    }

    /// Rows were removed.
    pub(crate) fn gone(&self, tenant: &str, load: &Load) {
        self.taken.lock().written.remove(tenant, load);
    }

    /// Room that is taken, with its name in the metric.
    pub(crate) fn taken(&self) -> [(&'static str, usize); 7] {
        let taken = self.taken.lock();
        taken.written.all().plus(taken.held.all()).kinds()
    }
}

/// Room that a change has taken. It is given back when the change was not written.
pub(crate) struct Hold {
    room: Arc<Room>,
    tenant: String,
    load: Load,
    kept: bool,
}

impl Hold {
    /// The change is written.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }

    /// The change is written, with these events.
    pub(crate) fn keep_with(self, events: RangeInclusive<u64>) {
        if let Some(follow) = &self.room.follow {
            follow.own(events);
        }
        self.keep();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock();
        taken.held.remove(&self.tenant, &self.load);
        if self.kept {
            taken.book(&self.tenant, &self.load);
        }
    }
}
