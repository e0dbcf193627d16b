//! Credentials for any load tool: N enrolled devices, one line each.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use tessera_runtime::boxed::Boxed;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::{HttpError, Server};
use tessera_runtime::random::{Random, SharedRandom};
use tessera_runtime::secret::{self, SecretFileError};
use tessera_token::encoding::hex;
use tessera_token::ids::{TenantId, VerifierName};
use tessera_token::messages::TokenKind;
use tessera_token::refusal::RefusalCode;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::device::api::{ApiError, DeviceApi};
use crate::device::clock::DeviceClock;
use crate::device::credential::{Counter, HeldToken};
use crate::device::life::{Device, Habits};
use crate::fleet::{FleetError, Kind, Yard};
use crate::limits;
use crate::operator::OperatorClient;
use crate::report::{render, Tally};

/// How the devices prove themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// Token and connect proof, made when the file is written: good for 60 s, once.
    Connect,
    /// A bearer token: good for its whole life, any number of times. The tenant must allow it.
    Bearer,
}

/// The request.
#[derive(Clone)]
pub struct Wanted {
    /// `http://host:port` of provisioning.
    pub http: Server,
    /// An operator who may create claims.
    pub operator: OperatorClient,
    /// The tenant.
    pub tenant: TenantId,
    /// The role.
    pub role: String,
    /// In front of the number in every id.
    pub prefix: String,
    /// How many.
    pub devices: usize,
    /// How they prove themselves.
    pub proof: Proof,
    /// The verifier that they prove themselves for, when it has a name of its own.
    pub verifier: Option<VerifierName>,
    /// The seed of the keys.
    pub seed: u64,
}

/// Why no file was written.
#[derive(Debug)]
pub enum CredentialsError {
    /// No usable address.
    Http(HttpError),
    /// The devices could not enrol.
    Fleet(FleetError),
    /// Some devices failed, with the codes.
    Incomplete(String),
    /// The tenant does not give bearer tokens.
    BearerNotAllowed(TenantId),
    /// A token was refused.
    Token(ApiError),
    /// The file could not be written.
    File(SecretFileError),
}

impl std::fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Fleet(error) => error.fmt(f),
            Self::Incomplete(codes) => write!(f, "not all devices enrolled: {codes}"),
            Self::BearerNotAllowed(tenant) => write!(
                f,
                "tenant {tenant} gives no bearer tokens (bearer_not_allowed); allow it for a test system with\n  tessera tenant bearer {tenant} on"
            ),
            Self::Token(error) => write!(f, "no bearer token: {error}"),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CredentialsError {}

/// Enrols the devices, then signs all passwords and writes them to `out` (mode 0600).
///
/// # Errors
/// [`CredentialsError`]; nothing is written then.
pub fn write<'a>(
    wanted: &'a Wanted,
    random: Arc<tessera_runtime::random::SeededRandom>,
    clock: SharedClock,
    out: &'a Path,
) -> Boxed<'a, Result<usize, CredentialsError>> {
    Box::pin(make(wanted, random, clock, out))
}

async fn make(
    wanted: &Wanted,
    random: Arc<tessera_runtime::random::SeededRandom>,
    clock: SharedClock,
    out: &Path,
) -> Result<usize, CredentialsError> {
    let api = DeviceApi::new(&wanted.http).map_err(CredentialsError::Http)?;
    let yard = Yard {
        api: api.clone(),
        operator: wanted.operator.clone(),
        clock: Arc::clone(&clock),
        random,
    };
    let devices = enrol(&yard, wanted).await?;
    let holders = match wanted.proof {
        Proof::Connect => devices.into_iter().map(holder).collect(),
        Proof::Bearer => bearers(api, devices, &wanted.tenant).await?,
    };
    let text = lines(&holders, wanted.verifier.as_ref(), &clock);
    secret::write_secret_file(out, text.as_bytes()).map_err(CredentialsError::File)?;
    Ok(holders.len())
}

async fn enrol(yard: &Yard, wanted: &Wanted) -> Result<Vec<Device>, CredentialsError> {
    let kind = Kind {
        tenant: wanted.tenant.clone(),
        role: wanted.role.clone(),
        prefix: wanted.prefix.clone(),
        count: wanted.devices,
        skewed: false,
        both_versions: false,
        group: None,
        habits: Habits::default(),
    };
    let tally = Arc::new(Tally::default());
    let devices = yard.enrol(&kind, &tally).await.map_err(CredentialsError::Fleet)?;
    if devices.len() < wanted.devices {
        let report = tally.report(wanted.seed, wanted.devices, std::time::Duration::ZERO);
        return Err(CredentialsError::Incomplete(render::inline(&report.failures_by_code)));
    }
    Ok(devices)
}

struct Holder {
    device: Device,
    token: HeldToken,
}

fn holder(device: Device) -> Holder {
    let token = device.token().clone();
    Holder { device, token }
}

async fn bearers(
    api: DeviceApi,
    devices: Vec<Device>,
    tenant: &TenantId,
) -> Result<Vec<Holder>, CredentialsError> {
    let permits = Arc::new(Semaphore::new(limits::ENROL_AT_ONCE));
    let mut tasks = JoinSet::new();
    for (number, device) in devices.into_iter().enumerate() {
        let (api, permits) = (api.clone(), Arc::clone(&permits));
        tasks.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let random: SharedRandom = Arc::clone(&device.random);
            let asked = bearer(&api, &device, &*random).await;
            (number, asked.map(|token| Holder { device, token }))
        });
    }
    let mut holders = Vec::new();
    for (number, asked) in tasks.join_all().await {
        match asked {
            Ok(holder) => holders.push((number, holder)),
            Err(ApiError::Refused(RefusalCode::BearerNotAllowed)) => {
                return Err(CredentialsError::BearerNotAllowed(tenant.clone()))
            }
            Err(error) => return Err(CredentialsError::Token(error)),
        }
    }
    holders.sort_by_key(|(number, _)| *number);
    Ok(holders.into_iter().map(|(_, holder)| holder).collect())
}

async fn bearer(
    api: &DeviceApi,
    device: &Device,
    random: &dyn Random,
) -> Result<HeldToken, ApiError> {
    let answer = api.token(&device.identity, &device.clock, random, TokenKind::Bearer).await?;
    Ok(HeldToken::of(&answer))
}

fn lines(holders: &[Holder], verifier: Option<&VerifierName>, clock: &SharedClock) -> String {
    let counter = Counter::from_clock(DeviceClock::new(Arc::clone(clock), 0).now()).next();
    let mut text = String::new();
    for Holder { device, token } in holders {
        let id = device.identity.device.as_str();
        let verifier = verifier.map_or(token.audience.as_str(), VerifierName::as_str);
        let (key, now) = (&device.identity.key, device.clock.now());
        let password = token.password_for(verifier, key, id, now, counter);
        let _ = writeln!(text, "{id}\t{id}\t{}", hex::encode(password));
    }
    text
}
