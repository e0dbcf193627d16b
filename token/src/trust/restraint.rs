use core::fmt;

use crate::cbor::{Reader, Writer};
use crate::ids::{DeviceId, TenantId};
use crate::time::UnixSeconds;

use super::change::{device, tenant};
use super::TrustError;

/// A device is held back for a time: `[kind, tenant, device, step, at, until]`. The newest entry of a device counts alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restraint {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// How.
    pub step: Step,
    /// The second from which it holds. A fresh proof is one that was made after it.
    pub at: UnixSeconds,
    /// The first second after it: it ends by itself.
    pub until: UnixSeconds,
}

/// How a device is held back, from the mildest on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Step {
    /// Not at all: it is released.
    #[default]
    Released,
    /// Its rate is held down.
    Clamp,
    /// Its sessions end; it has to prove its key anew.
    StepUp,
    /// It reaches its own token and status topics alone.
    Quarantine,
}

impl Step {
    /// Every step, from the mildest on.
    pub const ALL: [Self; 4] = [Self::Released, Self::Clamp, Self::StepUp, Self::Quarantine];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Clamp => "clamp",
            Self::StepUp => "step_up",
            Self::Quarantine => "quarantine",
        }
    }

    /// The step with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == text)
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Released => 0,
            Self::Clamp => 1,
            Self::StepUp => 2,
            Self::Quarantine => 3,
        }
    }

    /// The step with this number.
    pub fn of_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|step| u64::from(step.number()) == number)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Restraint {
    pub(super) fn write(&self, w: &mut Writer) {
        w.text(self.tenant.as_str()).text(self.device.as_str());
        w.uint(self.step.number().into()).uint(self.at.get()).uint(self.until.get());
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, TrustError> {
        Ok(Self {
            tenant: tenant(r)?,
            device: device(r)?,
            step: Step::of_number(r.uint()?).ok_or(TrustError::Malformed)?,
            at: UnixSeconds::new(r.uint()?),
            until: UnixSeconds::new(r.uint()?),
        })
    }
}
