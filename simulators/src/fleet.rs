//! Many devices: claims, enrolment with bounded concurrency, and their lives as tasks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::boxed::Boxed;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::{self, SeededRandom};
use tessera_runtime::stop::Stop;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::messages::TokenKind;
use tessera_token::refusal::RefusalCode;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::device::api::{ApiError, DeviceApi};
use crate::device::clock::DeviceClock;
use crate::device::credential::HeldToken;
use crate::device::identity::Identity;
use crate::device::life::{Device, Habits, World};
use crate::limits;
use crate::mqtt::Version;
use crate::operator::{OperatorClient, OperatorError};
use crate::personas::Sensor;
use crate::report::Tally;

/// Kind of the devices.
#[derive(Clone, Debug)]
pub struct Kind {
    /// The tenant.
    pub tenant: TenantId,
    /// The role that the claims carry.
    pub role: String,
    /// The group of the devices (default: that of the tenant).
    pub group: Option<String>,
    /// Ids are this and a number.
    pub prefix: String,
    /// How many.
    pub count: usize,
    /// Whether some clocks are minutes wrong until they hear a server.
    pub skewed: bool,
    /// Whether the version of MQTT alternates.
    pub both_versions: bool,
    /// How they behave.
    pub habits: Habits,
}

/// Settings of a fleet: where things are, and from which seed.
#[derive(Clone)]
pub struct Yard {
    /// Provisioning for devices.
    pub api: DeviceApi,
    /// Provisioning for operators.
    pub operator: OperatorClient,
    /// The true clock.
    pub clock: SharedClock,
    /// The seed's stream; each device has a fork of its own.
    pub random: Arc<SeededRandom>,
}

/// Why no fleet came to be. Devices that failed alone are counted, not an error.
#[derive(Debug)]
pub enum FleetError {
    /// More than [`limits::DEVICES`].
    TooMany,
    /// Ids or keys could not be made.
    BadId(String),
    /// No claims.
    Claims(OperatorError),
    /// One device that had to enrol did not.
    Enrol(String, ApiError),
}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "at most {} devices in one process", limits::DEVICES),
            Self::BadId(id) => write!(f, "{id} is no device id"),
            Self::Claims(error) => write!(f, "no claim codes: {error}"),
            Self::Enrol(device, error) => write!(f, "{device} could not enrol: {error}"),
        }
    }
}

impl std::error::Error for FleetError {}

/// A device with its claim code, not yet enrolled.
struct Newborn {
    identity: Identity,
    claim: String,
    number: usize,
}

impl Yard {
    /// Enrols `kind.count` devices; those that fail are counted in `tally` and left out. In the order of their numbers.
    ///
    /// # Errors
    /// [`FleetError`] when not even a try was possible.
    pub fn enrol<'a>(
        &'a self,
        kind: &'a Kind,
        tally: &'a Arc<Tally>,
    ) -> Boxed<'a, Result<Vec<Device>, FleetError>> {
        Box::pin(self.enrol_all(kind, tally))
    }

    async fn enrol_all(&self, kind: &Kind, tally: &Arc<Tally>) -> Result<Vec<Device>, FleetError> {
        let ids: Vec<String> =
            (1..=kind.count).map(|number| format!("{}{number:04}", kind.prefix)).collect();
        self.enrol_each(kind, &ids, tally).await
    }

    /// The same for these ids, whatever prefix and count of the kind are.
    ///
    /// # Errors
    /// [`FleetError`] when not even a try was possible.
    pub fn enrol_named<'a>(
        &'a self,
        kind: &'a Kind,
        ids: &'a [String],
        tally: &'a Arc<Tally>,
    ) -> Boxed<'a, Result<Vec<Device>, FleetError>> {
        Box::pin(self.enrol_each(kind, ids, tally))
    }

    async fn enrol_each(
        &self,
        kind: &Kind,
        ids: &[String],
        tally: &Arc<Tally>,
    ) -> Result<Vec<Device>, FleetError> {
        let newborns = self.newborns(kind, ids).await?;
        let permits = Arc::new(Semaphore::new(limits::ENROL_AT_ONCE));
        let mut tasks = JoinSet::new();
        for newborn in newborns {
            let (yard, kind) = (self.clone(), kind.clone());
            let (permits, tally) = (Arc::clone(&permits), Arc::clone(tally));
            tasks.spawn(async move {
                let _permit = permits.acquire_owned().await;
                let number = newborn.number;
                match yard.enrol_one(newborn, &kind, &tally).await {
                    Ok(device) => Some((number, device)),
                    Err(error) => {
                        tally.failure(&format!("enrol:{}", error.kind()));
                        None
                    }
                }
            });
        }
        let mut devices: Vec<(usize, Device)> =
            tasks.join_all().await.into_iter().flatten().collect();
        devices.sort_by_key(|(number, _)| *number);
        Ok(devices.into_iter().map(|(_, device)| device).collect())
    }

    /// Enrols one device by this id, or says why not.
    ///
    /// # Errors
    /// [`FleetError`].
    pub async fn enrol_single(
        &self,
        tenant: &TenantId,
        role: &str,
        id: &str,
        habits: Habits,
        tally: &Tally,
    ) -> Result<Device, FleetError> {
        let kind = Kind {
            tenant: tenant.clone(),
            role: role.to_owned(),
            group: None,
            prefix: id.to_owned(),
            count: 1,
            skewed: false,
            both_versions: false,
            habits,
        };
        let claims = self.operator.claims(tenant, role, 1).await.map_err(FleetError::Claims)?;
        let claim = claims.into_iter().next().ok_or(FleetError::Claims(OperatorError::Empty))?;
        let newborn = Newborn { identity: self.identity(tenant, id)?, claim, number: 0 };
        let enrolled = self.enrol_one(newborn, &kind, tally).await;
        enrolled.map_err(|error| FleetError::Enrol(id.to_owned(), error))
    }

    async fn newborns(&self, kind: &Kind, ids: &[String]) -> Result<Vec<Newborn>, FleetError> {
        if ids.len() > limits::DEVICES {
            return Err(FleetError::TooMany);
        }
        let mut newborns = Vec::with_capacity(ids.len());
        let mut left = ids.iter();
        while !left.as_slice().is_empty() {
            let wanted = left.len().min(limits::CLAIMS_PER_CALL);
            let (role, group) = (&kind.role, kind.group.as_deref());
            let claims = self.operator.claims_in(&kind.tenant, role, group, wanted).await;
            let claims = claims.map_err(FleetError::Claims)?;
            if claims.is_empty() {
                return Err(FleetError::Claims(OperatorError::Empty));
            }
            for (claim, id) in claims.into_iter().zip(left.by_ref().take(wanted)) {
                let number = newborns.len() + 1;
                newborns.push(Newborn {
                    identity: self.identity(&kind.tenant, id)?,
                    claim,
                    number,
                });
            }
        }
        Ok(newborns)
    }

    fn identity(&self, tenant: &TenantId, id: &str) -> Result<Identity, FleetError> {
        let bad = || FleetError::BadId(id.to_owned());
        let device = DeviceId::parse(id).map_err(|_| bad())?;
        Identity::new(tenant.clone(), device, &self.random.fork(id)).map_err(|_| bad())
    }

    async fn enrol_one(
        &self,
        newborn: Newborn,
        kind: &Kind,
        tally: &Tally,
    ) -> Result<Device, ApiError> {
        let Newborn { identity, claim, number } = newborn;
        let own = self.random.fork(&format!("{} life", identity.device)).shared();
        let skew = if kind.skewed {
            skew(random::number(&*own).map_err(|_| ApiError::Random)?)
        } else {
            0
        };
        let clock = DeviceClock::new(Arc::clone(&self.clock), skew);
        let started = clock.monotonic();
        let answer = match self.api.enrol_patiently(&identity, &claim, &clock).await {
            // An earlier run of the same seed enrolled it with the same key.
            Err(ApiError::Refused(RefusalCode::AlreadyExists)) => {
                self.api.token(&identity, &clock, &*own, TokenKind::Key).await?
            }
            other => other?,
        };
        tally.enrol_latency.observe(clock.monotonic().saturating_sub(started));
        tally.enrolled.one();
        // The first token is always bound to the key of the device.
        let answer = match kind.habits.token {
            TokenKind::Key => answer,
            other => self.api.token(&identity, &clock, &*own, other).await?,
        };
        let mut habits = kind.habits.clone();
        if kind.both_versions {
            habits.version = if number.is_multiple_of(2) { Version::V311 } else { Version::V5 };
        }
        Ok(Device::new(identity, clock, own, habits, HeldToken::of(&answer)))
    }
}

/// One clock in four is up to ten minutes wrong.
fn skew(number: u64) -> i64 {
    if number.is_multiple_of(4) {
        i64::try_from((number >> 8) % 1200).unwrap_or_default() - 600
    } else {
        0
    }
}

/// Lets honest sensors live until `stop`.
pub fn start_sensors(devices: Vec<Device>, payload_bytes: usize, world: &World, stop: &Stop) {
    for device in devices {
        let id = device.identity.device.clone();
        let duty = Sensor::new(id.clone(), Arc::clone(device.clock.shared()), payload_bytes);
        let life = device.live(Box::new(duty), world.clone(), stop.clone());
        stop.spawn(format!("device {id}"), life);
    }
}

/// Returns once `reached` holds or `patience` is over; looks twenty times a second.
pub async fn until(patience: Duration, mut reached: impl FnMut() -> bool) -> bool {
    let looking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            if reached() {
                return;
            }
        }
    };
    tokio::time::timeout(patience, looking).await.is_ok()
}
