//! `authz-info` (RFC 9431 section 2.2.2, RFC 9200 section 5.10.1): tokens that were published before the connection
//! that uses their key. Off unless the setting `authz_info` says so.
//!
//! 1. A TLS connection without any credential may publish tokens to `authz-info`, and nothing else
//!    (`connection/authz_info_only.rs`). A token is verified once, by a verification actor; what it says is kept
//!    here.
//! 2. A CONNECT without a password, on a TLS connection whose handshake key is the key of the kept token of its device,
//!    is judged by that token (the user name, when there is one, names the tenant); so is a CONNECT of the method `ace`
//!    without one, by challenge. Expiry, epochs and revocation are checked then, as for every other token.
//!
//! Strangers write here, so everything is bounded: tokens in total and from one address prefix, how fast they come,
//! connections that are open for it, and one token for each device of a tenant, so that no tenant's token takes the
//! place of another's. Memory only: after a restart tokens are published again.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use hashbrown::hash_map::Entry;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_token::chain::VerifiedToken;
use tessera_token::claims::Age;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use crate::admission::Prefix;
use crate::limits::{AUTHZ_INFO_TOKENS, AUTHZ_INFO_TOKENS_PER_PREFIX};
use crate::visits::Visits;

/// The content of a published token, after its signature and all guards that concern it alone were passed. No client
/// has proved its key.
pub(crate) struct Upload {
    holder: Holder,
    key: Thumbprint,
    age: Age,
    expires: UnixSeconds,
}

/// The device that the token was issued to.
type Holder = (TenantId, DeviceId);

impl Upload {
    /// The upload of a verified token.
    ///
    /// # Errors
    /// `bearer_not_allowed` when it names no key, `confirmation_key` when that is no public one: a TLS handshake can
    /// prove neither.
    pub(crate) fn of(token: &VerifiedToken) -> Result<Self, RefusalCode> {
        let claims = token.claims();
        if !token.is_bound() {
            return Err(RefusalCode::BearerNotAllowed);
        }
        Ok(Self {
            holder: (claims.tenant.clone(), claims.device.clone()),
            key: token.public_key().ok_or(RefusalCode::ConfirmationKey)?,
            age: claims.age(),
            expires: claims.expires,
        })
    }
}

/// The published tokens.
pub(crate) struct AuthzInfo {
    on: bool,
    /// The connections that are open for publishing.
    pub(crate) visits: Visits,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    tokens: HashMap<Holder, Kept>,
    /// The holders of this name, one in each tenant.
    devices: HashMap<DeviceId, Vec<Holder>>,
    /// The tokens of each address prefix; none without one.
    kept: HashMap<Prefix, usize>,
}

struct Kept {
    token: Bytes,
    upload: Upload,
    from: Prefix,
}

impl AuthzInfo {
    /// An empty book; `on` is the setting, `half_open` how many sockets may be half open.
    pub(crate) fn new(on: bool, half_open: usize) -> Self {
        Self { on, visits: Visits::new(half_open), book: Mutex::default() }
    }

    /// Whether strangers may publish tokens.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Keeps a token until it expires. The newest of a device stays.
    ///
    /// # Errors
    /// `limit_reached` when there is no room, `token_older` when a newer one of the device is kept.
    pub(crate) fn keep(
        &self,
        token: Bytes,
        upload: Upload,
        from: Prefix,
        now: UnixSeconds,
    ) -> Result<(), RefusalCode> {
        let mut book = self.book.lock();
        if let Some(known) = book.tokens.get(&upload.holder) {
            if upload.age.is_before(&known.upload.age) && known.upload.expires > now {
                return Err(RefusalCode::TokenOlder);
            }
        }
        if !book.has_room(&upload.holder, from) {
            book.sweep(now);
        }
        if !book.has_room(&upload.holder, from) {
            return Err(RefusalCode::LimitReached);
        }
        book.take_out(&upload.holder);
        *book.kept.entry(from).or_default() += 1;
        // The payload may be a slice of a read buffer.
        let token = Bytes::copy_from_slice(&token);
        book.devices.entry(upload.holder.1.clone()).or_default().push(upload.holder.clone());
        book.tokens.insert(upload.holder.clone(), Kept { token, upload, from });
        Ok(())
    }

    /// The token of this device that names this key, when exactly one has not expired: device ids of two tenants may be
    /// the same, and an issuer of one tenant can name any key. The name of the `tenant` distinguishes them.
    pub(crate) fn of_key(
        &self,
        key: &Thumbprint,
        device: &str,
        tenant: Option<&str>,
        now: UnixSeconds,
    ) -> Option<Bytes> {
        let named = |upload: &Upload| tenant.is_none_or(|name| upload.holder.0.as_str() == name);
        self.only(device, now, |upload| upload.key == *key && named(upload))
    }

    /// The token of this device, when exactly one has not expired.
    pub(crate) fn of_device(&self, device: &str, now: UnixSeconds) -> Option<Bytes> {
        self.only(device, now, |_| true)
    }

    fn only(
        &self,
        device: &str,
        now: UnixSeconds,
        fits: impl Fn(&Upload) -> bool,
    ) -> Option<Bytes> {
        let book = self.book.lock();
        let held = book.devices.get(device)?.iter().filter_map(|holder| book.tokens.get(holder));
        let mut good = held.filter(|kept| kept.upload.expires > now && fits(&kept.upload));
        let only = good.next()?;
        good.next().is_none().then(|| only.token.clone())
    }
}

impl Book {
    /// Whether a token of this device has room, in the place of the one that it replaces.
    fn has_room(&self, holder: &Holder, from: Prefix) -> bool {
        let old = self.tokens.get(holder);
        let others = self.tokens.len() - usize::from(old.is_some());
        let freed = usize::from(old.is_some_and(|old| old.from == from));
        let of_prefix = self.kept.get(&from).map_or(0, |kept| *kept).saturating_sub(freed);
        others < AUTHZ_INFO_TOKENS && of_prefix < AUTHZ_INFO_TOKENS_PER_PREFIX
    }

    fn take_out(&mut self, holder: &Holder) {
        let Some(old) = self.tokens.remove(holder) else { return };
        if let Entry::Occupied(mut kept) = self.kept.entry(old.from) {
            *kept.get_mut() = kept.get().saturating_sub(1);
            if *kept.get() == 0 {
                kept.remove();
            }
        }
        if let Some(holders) = self.devices.get_mut(&holder.1) {
            holders.retain(|one| one != holder);
            if holders.is_empty() {
                self.devices.remove(&holder.1);
            }
        }
    }

    fn sweep(&mut self, now: UnixSeconds) {
        let over = self.tokens.values().filter(|kept| kept.upload.expires <= now);
        for holder in over.map(|kept| kept.upload.holder.clone()).collect::<Vec<_>>() {
            self.take_out(&holder);
        }
    }
}
