//! Families of refresh tokens. A row holds no refresh token and no hash of one: `crate::families` makes and knows them.

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

const HASH: usize = 33;
const LIVE: usize = HASH + 8;

/// The place of a refresh token in its family. A later one is higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The epoch floor at which it was made: it rises with each restoration of the service.
    pub(crate) line: u64,
    pub(crate) number: u64,
}

/// The refresh token that was used last, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) place: Place,
    /// SHA-256 of the nonce of the request.
    pub(crate) nonce_hash: [u8; 32],
    /// The access token and its scope, sealed to a key that the used refresh token gives.
    pub(crate) answer: Vec<u8>,
    /// When the access token in it expires.
    pub(crate) ends: u64,
}

/// An access token that may still live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveToken {
    pub(crate) hash: [u8; HASH],
    pub(crate) expires: u64,
}

/// One family: the refresh tokens that followed each other from one proof of the device key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FamilyRecord {
    pub(crate) tenant: String,
    pub(crate) device: String,
    /// The scope that it is bound to; `None`: that of the device's role.
    pub(crate) scope: Option<Vec<u8>>,
    pub(crate) audience: String,
    /// The epoch of the device when it began.
    pub(crate) epoch: u64,
    pub(crate) created: u64,
    /// It ends unless it is used before.
    pub(crate) ends: u64,
    /// The refresh token that was given last and not used.
    pub(crate) place: Place,
    pub(crate) used: Option<Used>,
    pub(crate) live: Vec<LiveToken>,
}

impl Record for FamilyRecord {
    const TABLE: &'static str = "refresh_families";
    const KEY: &'static [&'static str] = &["family"];
    const COLUMNS: &'static [&'static str] = &[
        "tenant",
        "device",
        "scope",
        "audience",
        "epoch",
        "created",
        "ends",
        "line",
        "number",
        "used_line",
        "used_number",
        "nonce_hash",
        "answer",
        "answer_ends",
        "live",
    ];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] =
        &[("refresh_families_by_device", &["tenant", "device", "family"])];

    fn values(&self) -> Vec<Value> {
        let used = self.used.as_ref();
        let live = self
            .live
            .iter()
            .flat_map(|token| token.hash.into_iter().chain(token.expires.to_be_bytes()));
        vec![
            self.tenant.as_str().into(),
            self.device.as_str().into(),
            self.scope.as_deref().into(),
            self.audience.as_str().into(),
            self.epoch.into(),
            self.created.into(),
            self.ends.into(),
            self.place.line.into(),
            self.place.number.into(),
            used.map(|used| used.place.line).into(),
            used.map(|used| used.place.number).into(),
            used.map(|used| used.nonce_hash).into(),
            used.map(|used| used.answer.as_slice()).into(),
            used.map(|used| used.ends).into(),
            live.collect::<Vec<u8>>().into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            tenant: row.text()?,
            device: row.text()?,
            scope: row.maybe_blob()?,
            audience: row.text()?,
            epoch: row.number()?,
            created: row.number()?,
            ends: row.number()?,
            place: Place { line: row.number()?, number: row.number()? },
            used: match (row.maybe_number()?, row.maybe_number()?) {
                (Some(line), Some(number)) => Some(Used {
                    place: Place { line, number },
                    nonce_hash: row.array()?,
                    answer: row.blob()?,
                    ends: row.number()?,
                }),
                _ => {
                    for _ in 0..3 {
                        row.value()?;
                    }
                    None
                }
            },
            live: live(row)?,
        })
    }
}

fn live(row: &mut Row) -> Result<Vec<LiveToken>, StoreError> {
    let bytes = row.blob()?;
    let each = bytes.chunks(LIVE).map(|token| {
        let (hash, expires) = token.split_first_chunk::<HASH>()?;
        Some(LiveToken { hash: *hash, expires: u64::from_be_bytes(expires.try_into().ok()?) })
    });
    each.collect::<Option<_>>().ok_or_else(|| row.damaged("no list of tokens"))
}
