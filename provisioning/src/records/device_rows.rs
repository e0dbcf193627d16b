//! How claims, devices and those that are gone stand in their tables (`schema/`).

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

use super::{
    Attributes, ClaimRecord, ClaimUse, Counted, DeletedDevice, DeviceRecord, MovedDevice,
    Suspension,
};

impl Record for ClaimRecord {
    const TABLE: &'static str = "claims";
    const KEY: &'static [&'static str] = &["tenant", "code_hash"];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] =
        &[("claims_by_role", &["tenant", "role", "code_hash"])];
    const COLUMNS: &'static [&'static str] = &[
        "role",
        "device_group",
        "device",
        "created",
        "expires",
        "made_by",
        "attributes",
        "used_device",
        "used_thumbprint",
        "used_at",
        "uses",
        "uses_made",
        "pattern",
    ];

    fn values(&self) -> Vec<Value> {
        let used = self.used.as_ref();
        vec![
            self.role.as_str().into(),
            self.group.as_str().into(),
            self.device.as_deref().into(),
            self.created.into(),
            self.expires.into(),
            self.by.as_str().into(),
            self.attributes.column(),
            used.map(|used| used.device.as_str()).into(),
            used.map(|used| used.thumbprint).into(),
            used.map(|used| used.at).into(),
            self.counted.map(|counted| counted.uses).into(),
            self.counted.map(|counted| counted.made).into(),
            self.pattern.as_deref().into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            role: row.text()?,
            group: row.text()?,
            device: row.maybe_text()?,
            created: row.number()?,
            expires: row.number()?,
            by: row.text()?,
            attributes: Attributes::read(row)?,
            used: match (row.maybe_text()?, row.maybe_blob()?, row.maybe_number()?) {
                (Some(device), Some(thumbprint), Some(at)) => {
                    let thumbprint = thumbprint.try_into();
                    let thumbprint =
                        thumbprint.map_err(|_| row.damaged("bytes of another length"))?;
                    Some(ClaimUse { device, thumbprint, at })
                }
                _ => None,
            },
            // Columns of a later step: NULL in older rows.
            counted: {
                let counted = (row.maybe_number()?, row.maybe_number()?);
                match counted {
                    (Some(uses), Some(made)) => Some(Counted { uses, made }),
                    _ => None,
                }
            },
            pattern: row.maybe_text()?,
        })
    }
}

impl Record for DeviceRecord {
    const TABLE: &'static str = "devices";
    const KEY: &'static [&'static str] = &["tenant", "device"];
    const COLUMNS: &'static [&'static str] = &[
        "role",
        "device_group",
        "public_key",
        "epoch",
        "revoked",
        "enrolled",
        "claim",
        "attributes",
        "refresh_from",
        "suspended_at",
        "suspended_by",
        "suspended_reason",
        "thumbprint",
    ];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] = &[
        ("devices_by_group", &["tenant", "device_group", "device"]),
        ("devices_by_role", &["tenant", "role", "device"]),
        ("devices_by_key", &["tenant", "thumbprint"]),
    ];

    fn values(&self) -> Vec<Value> {
        let mut values = vec![
            self.role.as_str().into(),
            self.group.as_str().into(),
            self.key.as_slice().into(),
            self.epoch.into(),
            self.revoked.into(),
            self.enrolled.into(),
            self.claim.as_str().into(),
            self.attributes.column(),
            self.refresh_from.into(),
        ];
        values.extend(Suspension::values(self.suspended.as_ref()));
        values.push(self.thumbprint.into());
        values
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            role: row.text()?,
            group: row.text()?,
            key: row.blob()?,
            epoch: row.number()?,
            revoked: row.flag()?,
            enrolled: row.number()?,
            claim: row.text()?,
            attributes: Attributes::read(row)?,
            refresh_from: row.maybe_number()?,
            suspended: Suspension::read(row)?,
            thumbprint: match row.maybe_blob()? {
                None => None,
                Some(bytes) => Some(
                    bytes.try_into().map_err(|_| row.damaged("a thumbprint of another length"))?,
                ),
            },
        })
    }
}

impl Record for MovedDevice {
    const TABLE: &'static str = "moved_devices";
    const KEY: &'static [&'static str] = &["tenant", "device"];
    const COLUMNS: &'static [&'static str] = &["epoch", "moved_at"];

    fn values(&self) -> Vec<Value> {
        vec![self.epoch.into(), self.at.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { epoch: row.number()?, at: row.number()? })
    }
}

impl Record for DeletedDevice {
    const TABLE: &'static str = "deleted_devices";
    const KEY: &'static [&'static str] = &["tenant", "device"];
    const COLUMNS: &'static [&'static str] = &["epoch", "deleted_at", "free_at"];

    fn values(&self) -> Vec<Value> {
        vec![self.epoch.into(), self.at.into(), self.free.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { epoch: row.number()?, at: row.number()?, free: row.number()? })
    }
}
