//! Records of the ways of enrolment, and how each stands in its table.

use serde::{Deserialize, Serialize};
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;
use tessera_token::messages::Way;

use super::words::{read_word, word};

/// The ways that a group takes. A group without a row takes claims alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupWays {
    /// In order, each once.
    pub(crate) ways: Vec<Way>,
    pub(crate) changed: u64,
    pub(crate) by: String,
}

impl GroupWays {
    /// Those of a group that no operator has set.
    pub(crate) fn of_new_group() -> Self {
        Self { ways: vec![Way::Claim], changed: 0, by: String::new() }
    }

    pub(crate) fn takes(&self, way: Way) -> bool {
        self.ways.contains(&way)
    }
}

impl Record for GroupWays {
    const TABLE: &'static str = "group_ways";
    const KEY: &'static [&'static str] = &["tenant", "device_group"];
    const COLUMNS: &'static [&'static str] = &["ways", "approval", "changed", "made_by"];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] =
        &[("group_ways_by_approval", &["tenant", "approval", "device_group"])];

    fn values(&self) -> Vec<Value> {
        let names: Vec<&str> = self.ways.iter().map(|way| way.as_str()).collect();
        vec![
            names.join(" ").into(),
            self.takes(Way::Approval).into(),
            self.changed.into(),
            self.by.as_str().into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        let names = row.text()?;
        let ways: Option<Vec<Way>> = names.split_whitespace().map(Way::parse).collect();
        let ways = ways.ok_or_else(|| row.damaged("a way of enrolment that is none"))?;
        row.flag()?;
        Ok(Self { ways, changed: row.number()?, by: row.text()? })
    }
}

/// A use of a claim that several devices may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CountedUse {
    pub(crate) thumbprint: [u8; 32],
    pub(crate) at: u64,
}

impl Record for CountedUse {
    const TABLE: &'static str = "claim_uses";
    const KEY: &'static [&'static str] = &["tenant", "code_hash", "device"];
    const COLUMNS: &'static [&'static str] = &["thumbprint", "used_at"];

    fn values(&self) -> Vec<Value> {
        vec![self.thumbprint.into(), self.at.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { thumbprint: row.array()?, at: row.number()? })
    }
}

/// A device of a manufacturer's list: it enrols by its key alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedKey {
    pub(crate) thumbprint: [u8; 32],
    pub(crate) role: String,
    pub(crate) group: String,
    pub(crate) created: u64,
    pub(crate) by: String,
    pub(crate) used: Option<u64>,
}

impl Record for ListedKey {
    const TABLE: &'static str = "listed_keys";
    const KEY: &'static [&'static str] = &["tenant", "device"];
    const COLUMNS: &'static [&'static str] =
        &["thumbprint", "role", "device_group", "created", "made_by", "used_at"];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] =
        &[("listed_keys_by_role", &["tenant", "role", "device"])];

    fn values(&self) -> Vec<Value> {
        vec![
            self.thumbprint.into(),
            self.role.as_str().into(),
            self.group.as_str().into(),
            self.created.into(),
            self.by.as_str().into(),
            self.used.into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            thumbprint: row.array()?,
            role: row.text()?,
            group: row.text()?,
            created: row.number()?,
            by: row.text()?,
            used: row.maybe_number()?,
        })
    }
}

/// A group key: the secrets of its devices follow from it. Its bytes are sealed (`keys::sealed`).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct GroupKeyRecord {
    pub(crate) role: String,
    pub(crate) group: String,
    pub(crate) primary: Vec<u8>,
    pub(crate) secondary: Option<Vec<u8>>,
    pub(crate) created: u64,
    pub(crate) rotated: u64,
    pub(crate) by: String,
}

impl Record for GroupKeyRecord {
    const TABLE: &'static str = "group_keys";
    const KEY: &'static [&'static str] = &["tenant", "group_key"];
    const COLUMNS: &'static [&'static str] = &[
        "role",
        "device_group",
        "sealed_primary",
        "sealed_secondary",
        "created",
        "rotated",
        "made_by",
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            self.role.as_str().into(),
            self.group.as_str().into(),
            self.primary.as_slice().into(),
            self.secondary.as_deref().into(),
            self.created.into(),
            self.rotated.into(),
            self.by.as_str().into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            role: row.text()?,
            group: row.text()?,
            primary: row.blob()?,
            secondary: row.maybe_blob()?,
            created: row.number()?,
            rotated: row.number()?,
            by: row.text()?,
        })
    }
}

/// A device id that may enrol once by its secret of a group key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedId {
    pub(crate) group_key: String,
    pub(crate) created: u64,
    pub(crate) by: String,
    /// The thumbprint of the device key, and when.
    pub(crate) used: Option<([u8; 32], u64)>,
}

impl Record for ListedId {
    const TABLE: &'static str = "listed_ids";
    const KEY: &'static [&'static str] = &["tenant", "device"];
    const COLUMNS: &'static [&'static str] =
        &["group_key", "created", "made_by", "used_thumbprint", "used_at"];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] =
        &[("listed_ids_by_group_key", &["tenant", "group_key", "device"])];

    fn values(&self) -> Vec<Value> {
        vec![
            self.group_key.as_str().into(),
            self.created.into(),
            self.by.as_str().into(),
            self.used.map(|(thumbprint, _)| thumbprint).into(),
            self.used.map(|(_, at)| at).into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        let (group_key, created, by) = (row.text()?, row.number()?, row.text()?);
        let used = match row.maybe_blob()? {
            None => None,
            Some(thumbprint) => {
                let thumbprint = thumbprint.try_into();
                let thumbprint = thumbprint.map_err(|_| row.damaged("bytes of another length"))?;
                Some((thumbprint, row.number()?))
            }
        };
        Ok(Self { group_key, created, by, used })
    }
}

/// The part of a certificate that names the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IdFrom {
    /// The common name of the subject.
    CommonName,
    /// The serial number of the subject (IEEE 802.1AR), not that of the certificate.
    SerialNumber,
    /// A DNS name or a URI among the subject's alternative names.
    AlternativeName,
}

/// An authority whose certificates let devices enrol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorityRecord {
    /// DER.
    pub(crate) certificate: Vec<u8>,
    pub(crate) role: String,
    pub(crate) group: String,
    pub(crate) id_from: IdFrom,
    pub(crate) created: u64,
    pub(crate) by: String,
}

impl Record for AuthorityRecord {
    const TABLE: &'static str = "authorities";
    const KEY: &'static [&'static str] = &["tenant", "authority"];
    const COLUMNS: &'static [&'static str] =
        &["certificate", "role", "device_group", "id_from", "created", "made_by"];

    fn values(&self) -> Vec<Value> {
        vec![
            self.certificate.as_slice().into(),
            self.role.as_str().into(),
            self.group.as_str().into(),
            word(&self.id_from),
            self.created.into(),
            self.by.as_str().into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            certificate: row.blob()?,
            role: row.text()?,
            group: row.text()?,
            id_from: read_word(row)?,
            created: row.number()?,
            by: row.text()?,
        })
    }
}

/// A certificate that lets no device enrol, by its fingerprint or its serial number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeniedCertificate {
    pub(crate) created: u64,
    pub(crate) by: String,
}

impl Record for DeniedCertificate {
    const TABLE: &'static str = "denied_certificates";
    const KEY: &'static [&'static str] = &["tenant", "certificate"];
    const COLUMNS: &'static [&'static str] = &["created", "made_by"];

    fn values(&self) -> Vec<Value> {
        vec![self.created.into(), self.by.as_str().into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { created: row.number()?, by: row.text()? })
    }
}
