use std::sync::Arc;

use hashbrown::HashMap;
use tessera_token::chain::{IssuerKey, KeyState, TenantTrust, TrustView};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::key::{KeyId, Preparation, PublicKey, Thumbprint};
use tessera_token::limits::{CLOCK_SKEW_SECONDS, TOKEN_LIFE_SECONDS};
use tessera_token::messages::is_service_tenant;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    Change, DeviceEpoch, EventHash, GroupEpoch, RegisteredKey, RevokedToken, TenantSet,
};

use super::effect::TrustEffect;
use super::names::{DeviceKey, DeviceName, GroupKey, GroupName};
use super::refusal::TrustRefusal;
use super::restrictions::Restrained;
use super::rollback_floor::RollbackFloor;
use super::shards::Shards;
use crate::announced::Announced;
use crate::limits;
use crate::rulebook::Rulebook;

/// Everything a verifier knows, at one sequence number. A version is never changed; a clone shares what does not differ.
#[derive(Clone)]
pub struct TrustState {
    audience: Audience,
    pub(super) root: Option<PublicKey>,
    /// The tenants that it speaks of; `None` is all.
    pub(super) bound: Option<Arc<TenantSet>>,
    pub(super) seq: u64,
    pub(super) head: EventHash,
    pub(super) trusted_at: Option<UnixSeconds>,
    /// The signed time of the newest heartbeat that answered a nonce of this verifier.
    pub(super) confirmed_at: Option<UnixSeconds>,
    /// Revocations of tokens that expired before this moment may be forgotten by the service, and not known here.
    pub(super) forgotten: Option<UnixSeconds>,
    /// When the service was last heard before a snapshot whose time no other clock shows.
    pub(super) absent_since: Option<UnixSeconds>,
    /// Changes that found no room. A verifier that only counted them is not up to date.
    pub(super) left_out: u64,
    pub(super) tenants: Arc<HashMap<TenantId, TenantTrust>>,
    pub(super) keys: Arc<HashMap<KeyId, Vec<IssuerKey>>>,
    pub(super) groups: Arc<HashMap<GroupKey, u64>>,
    /// Groups of which a change is announced, until when.
    announced: Announced,
    /// Names of groups, by tenant and number.
    pub(super) group_names: Arc<HashMap<GroupKey, Arc<str>>>,
    pub(super) rulebooks: Arc<HashMap<TenantId, Arc<Rulebook>>>,
    pub(super) restraints: Shards<DeviceKey, Restrained>,
    pub(super) devices: Shards<DeviceKey, Moved>,
    pub(super) tokens: Shards<TokenHash, UnixSeconds>,
    device_keys: Shards<DeviceKey, Arc<[u8]>>,
    /// Made with the first issuer key that signs.
    preparation: Option<Preparation>,
    /// Issuer keys with a table.
    prepared: usize,
    pub(super) floor: Arc<RollbackFloor>,
    pub(super) held: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Moved {
    pub(super) epoch: u64,
    pub(super) at: UnixSeconds,
}

impl TrustState {
    /// A verifier of this name that knows nothing: it refuses every device with `trust_missing`.
    pub fn empty(audience: Audience) -> Self {
        Self {
            audience,
            root: None,
            bound: None,
            seq: 0,
            head: EventHash::default(),
            trusted_at: None,
            confirmed_at: None,
            forgotten: None,
            absent_since: None,
            left_out: 0,
            tenants: Arc::default(),
            keys: Arc::default(),
            groups: Arc::default(),
            announced: Announced::default(),
            group_names: Arc::default(),
            rulebooks: Arc::default(),
            restraints: Shards::new(),
            devices: Shards::new(),
            tokens: Shards::new(),
            device_keys: Shards::new(),
            preparation: None,
            prepared: 0,
            floor: Arc::default(),
            held: false,
        }
    }

    /// The number of the newest event that is in it; 0 before the first.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The tenants that it speaks of, as the root key has signed; `None` is all.
    pub fn tenants(&self) -> Option<&TenantSet> {
        self.bound.as_deref()
    }

    /// The tenant of the devices, when there is one alone. That of the service is none of theirs.
    pub fn sole_tenant(&self) -> Option<&TenantId> {
        let mut tenants = self.tenants.keys().filter(|tenant| !is_service_tenant(tenant));
        tenants.next().filter(|_| tenants.next().is_none())
    }

    /// Lets go of everything that concerns other tenants than these. The place in the order and the tenants that were
    /// signed stay: only a snapshot changes them. A revoked token has no tenant here, and stays revoked.
    pub(crate) fn narrow_to(&mut self, tenants: &TenantSet) {
        Arc::make_mut(&mut self.tenants).retain(|tenant, _| tenants.contains(tenant));
        Arc::make_mut(&mut self.keys).retain(|_, same_kid| {
            same_kid.retain(|key| tenants.contains(&key.tenant));
            !same_kid.is_empty()
        });
        Arc::make_mut(&mut self.groups).retain(|key, _| tenants.contains(&key.tenant));
        if self.announced.keys().any(|(tenant, _)| !tenants.contains(tenant)) {
            Arc::make_mut(&mut self.announced).retain(|(tenant, _), _| tenants.contains(tenant));
        }
        self.narrow_restrictions_to(tenants);
        self.devices.retain_keys(|key| tenants.contains(&key.tenant));
        self.device_keys.retain_keys(|key| tenants.contains(&key.tenant));
    }

    /// The hash of that event.
    pub fn head(&self) -> EventHash {
        self.head
    }

    /// The signed time of the newest heartbeat that answered a nonce of this verifier; `None` when none ever did.
    pub fn confirmed_at(&self) -> Option<UnixSeconds> {
        self.confirmed_at
    }

    /// The moment before which a token must have expired for its withdrawal to be forgotten without having come here:
    /// the time of a snapshot that came after a longer absence than a token may live. `None` without such an absence.
    pub fn forgotten(&self) -> Option<UnixSeconds> {
        self.forgotten
    }

    /// When the service was last heard before a snapshot that was signed much later, by its clock alone: either this verifier
    /// was away for longer than a token may live, or the clock of the service was ahead. `None` when that is known.
    pub fn absent_since(&self) -> Option<UnixSeconds> {
        self.absent_since
    }

    /// Whether it may revoke other things than `other`.
    pub(super) fn revokes_otherwise(&self, other: &Self) -> bool {
        (self.seq, self.head, self.left_out) != (other.seq, other.head, other.left_out)
            || self.bound != other.bound
            || (self.forgotten, self.absent_since) != (other.forgotten, other.absent_since)
    }

    /// The version that does not know whether its verifier was away since then.
    #[cfg(feature = "testing")]
    pub fn with_open_absence(self, since: UnixSeconds) -> Self {
        Self { absent_since: Some(since), ..self }
    }

    /// The version after a look at a time of which two clocks bear witness: an absence is now known to have been long or
    /// short, and no moment of forgetting lies in the future. `None` when nothing changes.
    pub fn forgotten_by(&self, now: UnixSeconds) -> Option<Self> {
        let was_long = self.absent_since.is_some_and(|since| now.since(since) > TOKEN_LIFE_SECONDS);
        let is_ahead = self.forgotten.is_some_and(|until| until > now);
        let forgotten = if was_long || is_ahead { Some(now) } else { self.forgotten };
        let changes = self.absent_since.is_some() || is_ahead;
        changes.then(|| Self { forgotten, absent_since: None, ..self.clone() })
    }

    /// The version that takes an open absence for a long one, which ended at `now` or at the time of the last snapshot.
    pub(crate) fn long_absence(&self, now: UnixSeconds) -> Self {
        let until = Some(now).max(self.trusted_at);
        Self { forgotten: self.forgotten.max(until), absent_since: None, ..self.clone() }
    }

    /// Seconds after which unconfirmed trust data let no device of any tenant in.
    pub fn longest_budget(&self) -> u64 {
        let longest = |tenant: &TenantTrust| {
            let staleness = tenant.staleness;
            staleness.telemetry.max(staleness.command).max(staleness.actuation)
        };
        self.tenants.values().map(longest).max().unwrap_or(0)
    }

    /// How many changes since the snapshot began found no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether a snapshot was ever taken.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Whether it was signed by a root that is not in the line of the pinned one. Nothing is decided by it; the first snapshot of
    /// the pinned root, or of one to which links lead, takes its revocations over.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Whether the root key with this thumbprint signed it.
    pub(crate) fn is_of_root(&self, pin: &Thumbprint) -> bool {
        self.root.as_ref().is_some_and(|root| root.thumbprint() == *pin)
    }

    /// Devices with an epoch of their own.
    pub fn device_count(&self) -> usize {
        self.devices.len()
    }

    /// Devices whose key is known.
    pub fn device_key_count(&self) -> usize {
        self.device_keys.len()
    }

    /// Groups of which a change is announced.
    pub(crate) fn announced(&self) -> &Announced {
        &self.announced
    }

    /// Tokens on the revocation list.
    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    /// Takes one change in, and counts it when there is no room for it: the changes behind it must not be lost.
    pub(super) fn take(&mut self, change: Change) -> Option<TrustEffect> {
        let effect = self.apply(change).ok();
        self.left_out += u64::from(effect.is_none());
        effect
    }

    /// Takes one change in. Nothing ever moves back: an epoch stays at its highest, a key at its last state.
    pub(super) fn apply(&mut self, change: Change) -> Result<TrustEffect, TrustRefusal> {
        match change {
            Change::Tenant(tenant) => self.apply_tenant(tenant),
            Change::Key(key) => self.apply_key(key),
            Change::Group(group) => self.apply_group(group),
            Change::Device(device) => self.apply_device(device),
            Change::Token(token) => self.apply_token(token),
            Change::DeviceKey(key) => self.apply_device_key(key),
            Change::Rule(rule) => self.apply_rule(&rule),
            Change::Restraint(restraint) => self.apply_restraint(restraint),
        }
    }

    pub(super) fn apply_tenant(
        &mut self,
        mut tenant: TenantTrust,
    ) -> Result<TrustEffect, TrustRefusal> {
        let known = self.tenants.get(&tenant.tenant);
        room(known.is_some(), self.tenants.len(), limits::TRUST_TENANTS)?;
        tenant.epoch = tenant.epoch.max(known.map_or(0, |known| known.epoch));
        let name = tenant.tenant.clone();
        Arc::make_mut(&mut self.tenants).insert(name.clone(), tenant);
        Ok(TrustEffect::Tenant(name))
    }

    pub(super) fn apply_key(&mut self, mut key: IssuerKey) -> Result<TrustEffect, TrustRefusal> {
        let kid = key.key.key_id();
        room(self.keys.contains_key(&kid), self.keys.len(), limits::TRUST_KEYS)?;
        let effect = TrustEffect::Key { tenant: key.tenant.clone(), kid };
        let same_kid = Arc::make_mut(&mut self.keys).entry(kid).or_default();
        let place = same_kid.iter().position(|one| one.tenant == key.tenant && one.key == key.key);
        match place.and_then(|place| same_kid.get_mut(place)) {
            Some(known) => {
                if known.state.number() > key.state.number() {
                    key.state = known.state;
                }
                known.state = key.state;
                (known.not_before, known.not_after) = (key.not_before, key.not_after);
                Self::tabulate(known, &mut self.preparation, &mut self.prepared);
            }
            None => {
                Self::tabulate(&mut key, &mut self.preparation, &mut self.prepared);
                same_kid.push(key);
            }
        }
        Ok(effect)
    }

    /// Keys whose tokens come in have tables; with the last of them the table goes, so that rotations leave nothing.
    fn tabulate(key: &mut IssuerKey, with: &mut Option<Preparation>, prepared: &mut usize) {
        let wanted = matches!(key.state, KeyState::Active | KeyState::Retiring);
        let had = key.key.is_prepared();
        if wanted && !had && *prepared < limits::TRUST_PREPARED_KEYS {
            let with = with.get_or_insert_with(Preparation::new);
            key.key = key.key.clone().prepared(with);
        } else if !wanted && had {
            key.key = key.key.clone().unprepared();
        }
        *prepared = prepared.saturating_sub(usize::from(had));
        *prepared += usize::from(key.key.is_prepared());
    }

    fn apply_group(&mut self, group: GroupEpoch) -> Result<TrustEffect, TrustRefusal> {
        let key = GroupKey { tenant: group.tenant.clone(), number: group.number };
        room(self.groups.contains_key(&key), self.groups.len(), limits::TRUST_GROUPS)?;
        let name: Arc<str> = group.group.as_str().into();
        Arc::make_mut(&mut self.group_names).insert(key.clone(), name);
        let epoch = Arc::make_mut(&mut self.groups).entry(key).or_default();
        *epoch = group.epoch.max(*epoch);
        let name = (group.tenant.clone(), group.number);
        match group.announced_until {
            Some(until) => {
                Arc::make_mut(&mut self.announced).insert(name, until);
            }
            None if self.announced.contains_key(&name) => {
                Arc::make_mut(&mut self.announced).remove(&name);
            }
            None => {}
        }
        Ok(TrustEffect::Group { tenant: group.tenant, number: group.number })
    }

    fn apply_device(&mut self, moved: DeviceEpoch) -> Result<TrustEffect, TrustRefusal> {
        let key = DeviceKey { tenant: moved.tenant.clone(), device: moved.device.clone() };
        let known = self.devices.get(&key).copied();
        room(known.is_some(), self.devices.len(), limits::TRUST_DEVICES)?;
        let entry = match known {
            Some(known) if known.epoch >= moved.epoch => {
                Moved { epoch: known.epoch, at: known.at.max(moved.at) }
            }
            _ => Moved { epoch: moved.epoch, at: moved.at },
        };
        self.devices.insert(key, entry);
        Ok(TrustEffect::Device { tenant: moved.tenant, device: moved.device })
    }

    fn apply_token(&mut self, revoked: RevokedToken) -> Result<TrustEffect, TrustRefusal> {
        let known = self.tokens.get(&revoked.token).is_some();
        room(known, self.tokens.len(), limits::TRUST_TOKENS)?;
        self.tokens.insert(revoked.token, revoked.expires);
        Ok(TrustEffect::Token {
            tenant: revoked.tenant,
            device: revoked.device,
            hash: revoked.token,
        })
    }

    fn apply_device_key(&mut self, known: RegisteredKey) -> Result<TrustEffect, TrustRefusal> {
        let key = DeviceKey { tenant: known.tenant.clone(), device: known.device.clone() };
        let again = self.device_keys.get(&key).is_some();
        room(again, self.device_keys.len(), limits::TRUST_DEVICE_KEYS)?;
        self.device_keys.insert(key, known.key.into());
        Ok(TrustEffect::Device { tenant: known.tenant, device: known.device })
    }

    /// Lets go of what says nothing any more at `at`, which is signed time as far as it was lived through: neither a wrong
    /// clock here nor one of the service forgets anything.
    pub(crate) fn prune(&mut self, at: UnixSeconds) {
        let dead = at.minus(TOKEN_LIFE_SECONDS + 2 * CLOCK_SKEW_SECONDS);
        self.devices.retain(|moved| moved.at >= dead);
        let expired = at.minus(2 * CLOCK_SKEW_SECONDS);
        if self.announced.values().any(|until| *until < expired) {
            Arc::make_mut(&mut self.announced).retain(|_, until| *until >= expired);
        }
        self.tokens.retain(|expires| *expires >= expired);
        self.prune_restrictions(expired);
        // A compromised key stays: it must not come back with an older world. One that has retired signs no more.
        let over = |key: &IssuerKey| key.state == KeyState::Retired && key.not_after < expired;
        if self.keys.values().flatten().any(over) {
            Arc::make_mut(&mut self.keys).retain(|_, same_kid| {
                same_kid.retain(|key| !over(key));
                !same_kid.is_empty()
            });
        }
    }
}

/// A full table still takes what it knows already.
pub(super) fn room(known: bool, used: usize, most: usize) -> Result<(), TrustRefusal> {
    if known || used < most {
        Ok(())
    } else {
        Err(TrustRefusal::TooLarge)
    }
}

impl TrustView for TrustState {
    fn audience(&self) -> &Audience {
        &self.audience
    }

    fn issuer_keys(&self, kid: KeyId) -> &[IssuerKey] {
        self.keys.get(&kid).map_or(&[], Vec::as_slice)
    }

    fn tenant(&self, tenant: &str) -> Option<&TenantTrust> {
        self.tenants.get(tenant)
    }

    fn group_epoch(&self, tenant: &TenantId, group_number: u64) -> u64 {
        let name = GroupName { tenant: tenant.as_str(), number: group_number };
        self.groups.get(&name).copied().unwrap_or(0)
    }

    fn device_epoch(&self, tenant: &TenantId, device: &str) -> u64 {
        let name = DeviceName { tenant: tenant.as_str(), device };
        self.devices.get(&name).map_or(0, |moved| moved.epoch)
    }

    fn token_revoked(&self, token: &TokenHash) -> bool {
        self.tokens.get(token).is_some()
    }

    fn device_key(&self, tenant: &TenantId, device: &DeviceId) -> Option<PublicKey> {
        let name = DeviceName { tenant: tenant.as_str(), device: device.as_str() };
        PublicKey::from_known_good(self.device_keys.get(&name)?).ok()
    }

    fn trusted_at(&self) -> Option<UnixSeconds> {
        self.trusted_at
    }
}
