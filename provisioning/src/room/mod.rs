//! Room: what verifiers can hold, and how much of it is taken.
//!
//! A verifier that gets one row too many refuses it and follows no further, so provisioning refuses it first. Counts are
//! kept in memory, made by reading the tables at start; a change takes its room before it is written and gives it back
//! when it is not. Rows that a sweep removed are noticed by counting again once something does not fit, at most every
//! [`TRUST_RECOUNT`](crate::limits::TRUST_RECOUNT). Until then a count is too high, never too low.
//!
//! A revocation is never refused for want of room. Groups, moved or not, have their room from the start; so a token that
//! finds none becomes a move of its device, and a device that finds none a move of its group.

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

mod load;
#[cfg(test)]
mod tests;

pub(crate) use load::Load;

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
            Change::Tenant(_) | Change::Group(_) | Change::DeviceKey(_) => false,
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
}

impl From<Full> for Refused {
    fn from(Full { what, most }: Full) -> Self {
        let words = match what {
            "keys" => "issuer keys",
            "device_keys" => "published device keys",
            "devices" => "devices with a moved epoch",
            "tokens" => "revoked tokens",
            "bytes" => "bytes of a snapshot",
            what => what,
        };
        let detail = format!("no more than {most} {words} (docs/limits.md)");
        Self::because(RefusalCode::CapacityReached, detail)
    }
}

/// How much room is taken.
pub(crate) struct Room {
    most: TrustLimits,
    taken: Mutex<Taken>,
    /// One counting at a time.
    counting: Mutex<()>,
}

#[derive(Default)]
struct Taken {
    /// By rows that are written.
    written: Load,
    /// By rows that were written since a counting began: it may have read past their place before they came.
    since: Load,
    /// By changes on their way.
    held: Load,
    /// When it was counted last, in monotonic time.
    counted: Duration,
}

impl Taken {
    fn book(&mut self, load: &Load) {
        self.written = self.written.plus(load);
        self.since = self.since.plus(load);
    }
}

impl Room {
    /// Counts what there is.
    pub(crate) fn count(
        tables: &Tables,
        most: TrustLimits,
        now: Duration,
    ) -> Result<Arc<Self>, StoreError> {
        let taken = Taken { written: Load::of_all(tables)?, counted: now, ..Taken::default() };
        Ok(Arc::new(Self { most, taken: Mutex::new(taken), counting: Mutex::default() }))
    }

    /// Takes room for a change. A change that adds nothing always fits, also where more is taken than there should be.
    pub(crate) fn hold(self: &Arc<Self>, load: Load, purpose: Purpose) -> Result<Hold, Full> {
        let mut taken = self.taken.lock();
        let after = taken.written.plus(&taken.held).plus(&load);
        for (what, wanted, used, most) in self.compared(&load, &after, purpose) {
            if wanted > 0 && used > most {
                return Err(Full { what, most });
            }
        }
        taken.held = taken.held.plus(&load);
        Ok(Hold { room: Arc::clone(self), load, kept: false })
    }

    fn compared(
        &self,
        load: &Load,
        after: &Load,
        purpose: Purpose,
    ) -> [(&'static str, usize, usize, usize); 7] {
        let most = &self.most;
        let (keys, bytes) = match purpose {
            Purpose::Growth => (most.keys_unasked, most.bytes_unasked),
            Purpose::Revocation => (most.keys, most.bytes),
        };
        [
            ("tenants", load.tenants, after.tenants, most.tenants),
            ("groups", load.groups, after.groups, most.groups),
            ("keys", load.keys, after.keys, keys),
            ("device_keys", load.device_keys, after.device_keys, most.device_keys),
            ("devices", load.devices, after.devices, most.devices),
            ("tokens", load.tokens, after.tokens, most.tokens),
            ("bytes", load.bytes, after.bytes, bytes),
        ]
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
    pub(crate) fn recount(&self, tables: &Tables) -> Result<(), StoreError> {
        self.recount_by(|| Load::of_all(tables))
    }

    fn recount_by(
        &self,
        walk: impl FnOnce() -> Result<Load, StoreError>,
    ) -> Result<(), StoreError> {
        let _alone = self.counting.lock();
        self.taken.lock().since = Load::default();
        let counted = walk()?;
        let mut taken = self.taken.lock();
        taken.written = counted.plus(&taken.since);
        Ok(())
    }

    /// Rows were written that had no room of their own; they count, also where more is taken than there should be.
    pub(crate) fn book(&self, load: &Load) {
        self.taken.lock().book(load);
    }

    /// Rows were removed.
    pub(crate) fn gone(&self, load: &Load) {
        let mut taken = self.taken.lock();
        taken.written = taken.written.minus(load);
    }

    /// Room that is taken, with its name in the metric.
    pub(crate) fn taken(&self) -> [(&'static str, usize); 7] {
        let taken = self.taken.lock();
        let load = taken.written.plus(&taken.held);
        [
            ("tenants", load.tenants),
            ("groups", load.groups),
            ("keys", load.keys),
            ("device_keys", load.device_keys),
            ("devices", load.devices),
            ("tokens", load.tokens),
            ("bytes", load.bytes),
        ]
    }
}

/// Room that a change has taken. It is given back when the change was not written.
pub(crate) struct Hold {
    room: Arc<Room>,
    load: Load,
    kept: bool,
}

impl Hold {
    /// The change is written.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock();
        taken.held = taken.held.minus(&self.load);
        if self.kept {
            taken.book(&self.load);
        }
    }
}
