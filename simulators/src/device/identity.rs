//! Identity of a device.

use tessera_runtime::random::{self, Random, RandomError};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;

/// A device id within a tenant and the key that never leaves it. No `Debug`: it holds the key.
#[derive(Clone)]
pub struct Identity {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// Its key.
    pub key: SecretKey,
}

impl Identity {
    /// A device with a new key of `random`.
    ///
    /// # Errors
    /// [`RandomError`] when the source is away.
    pub fn new(
        tenant: TenantId,
        device: DeviceId,
        random: &dyn Random,
    ) -> Result<Self, RandomError> {
        let seed: [u8; 32] = random::bytes(random)?;
        Ok(Self { tenant, device, key: SecretKey::from_seed(&seed) })
    }
}
