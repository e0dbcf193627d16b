//! The broker's checks of a token, as far as its device can make them.

use tessera_simulators::device::unverified_claims::unverified_claims;
use tessera_token::claims::Claims;
use tessera_token::key::PublicKey;
use tessera_token::limits::CLOCK_SKEW_SECONDS;
use tessera_token::time::UnixSeconds;

use super::trouble::TokenFault;

/// Data of the device beside the token.
pub(super) struct Known<'a> {
    /// The tenant of the folder.
    pub(super) tenant: &'a str,
    /// The device of the folder.
    pub(super) device: &'a str,
    /// Its key.
    pub(super) key: &'a PublicKey,
    /// Token that provisioning gives now.
    pub(super) fresh: Option<&'a Claims>,
    /// The corrected time.
    pub(super) now: UnixSeconds,
}

/// Owner of the token: a fault when it is not the folder's.
pub(super) fn owner(claims: &Claims, known: &Known<'_>) -> Option<TokenFault> {
    if claims.tenant.as_str() != known.tenant {
        return Some(TokenFault::Tenant(claims.tenant.to_string()));
    }
    (claims.device.as_str() != known.device).then(|| TokenFault::Device(claims.device.to_string()))
}

/// Whether it names another key than the folder's.
pub(super) fn foreign_key(claims: &Claims, known: &Known<'_>) -> Option<TokenFault> {
    let named = claims.confirmation.as_ref()?;
    (named != known.key).then_some(TokenFault::Key)
}

/// Time, audience and epochs: those of a device for which provisioning gives tokens now are compared with what it gave.
pub(super) fn faults(claims: &Claims, known: &Known<'_>) -> Option<TokenFault> {
    let fresh = known.fresh.filter(|_| owner(claims, known).is_none());
    if let Some(fresh) = fresh {
        if claims.audience != fresh.audience {
            let (held, now) = (claims.audience.to_string(), fresh.audience.to_string());
            return Some(TokenFault::Audience(held, now));
        }
    }
    if claims.expires <= known.now {
        return Some(TokenFault::Expired(known.now.since(claims.expires)));
    }
    let begin = claims.not_before.map_or(claims.issued, |begin| begin.max(claims.issued));
    if begin > known.now.plus(CLOCK_SKEW_SECONDS) {
        return Some(TokenFault::NotYet(begin.since(known.now)));
    }
    let moved = fresh.and_then(|fresh| fresh.epochs.moved_since(claims.epochs));
    moved.map(TokenFault::Epoch)
}

/// The claims, or that it is no token.
pub(super) fn read(token: &[u8]) -> Result<Claims, TokenFault> {
    unverified_claims(token).ok_or(TokenFault::Malformed)
}

#[cfg(test)]
mod tests {
    use tessera_token::claims::Epochs;
    use tessera_token::ids::{Audience, DeviceId, TenantId};
    use tessera_token::key::SecretKey;
    use tessera_token::refusal::RefusalCode;

    use super::super::super::testing;
    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn claims() -> Claims {
        let key = SecretKey::from_seed(&[1; 32]).public();
        let epochs = Epochs { tenant: 1, group_number: 2, group: 3, device: 4 };
        Claims { epochs, ..testing::claims(NOW, Some(key)) }
    }

    fn found(change: fn(&mut Claims)) -> Option<TokenFault> {
        let mut held = claims();
        change(&mut held);
        let key = SecretKey::from_seed(&[1; 32]).public();
        let fresh = claims();
        let known = Known { tenant: "t", device: "d-1", key: &key, fresh: Some(&fresh), now: NOW };
        owner(&held, &known).or(foreign_key(&held, &known)).or(faults(&held, &known))
    }

    #[test]
    fn each_fault_is_named() {
        let (tenant, other) = ("t-2".to_owned(), "d-2".to_owned());
        assert_eq!(found(|_| {}), None);
        assert_eq!(
            found(|c| c.tenant = TenantId::parse("t-2").unwrap()),
            Some(TokenFault::Tenant(tenant))
        );
        assert_eq!(
            found(|c| c.device = DeviceId::parse("d-2").unwrap()),
            Some(TokenFault::Device(other))
        );
        let key = |c: &mut Claims| c.confirmation = Some(SecretKey::from_seed(&[2; 32]).public());
        assert_eq!(found(key), Some(TokenFault::Key));
        assert_eq!(found(|c| c.confirmation = None), None);
        assert_eq!(found(|c| c.expires = NOW), Some(TokenFault::Expired(0)));
        assert_eq!(found(|c| c.issued = NOW.plus(60)), None);
        assert_eq!(found(|c| c.issued = NOW.plus(61)), Some(TokenFault::NotYet(61)));
        assert_eq!(found(|c| c.not_before = Some(NOW.plus(99))), Some(TokenFault::NotYet(99)));
        let audience = TokenFault::Audience("north".to_owned(), "mqtt".to_owned());
        assert_eq!(found(|c| c.audience = Audience::parse("north").unwrap()), Some(audience));
        let epoch = |code| Some(TokenFault::Epoch(code));
        assert_eq!(found(|c| c.epochs.tenant = 0), epoch(RefusalCode::TenantEpoch));
        assert_eq!(found(|c| c.epochs.group = 2), epoch(RefusalCode::GroupEpoch));
        assert_eq!(found(|c| c.epochs.device = 3), epoch(RefusalCode::DeviceEpoch));
        // In another group now: the counters of the two are not comparable.
        assert_eq!(found(|c| (c.epochs.group_number, c.epochs.group) = (9, 1)), None);
        assert_eq!(read(b"nonsense"), Err(TokenFault::Malformed));
    }
}
