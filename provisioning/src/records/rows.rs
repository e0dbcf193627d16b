//! How records of tenants, roles, groups, tokens and the feed stand in their tables (`schema/`).

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;
use tessera_token::claims::Epochs;

use super::keys::{InModule, KeyRecord};
use super::words::{json, maybe_word, read_json, read_word, word};
use super::{
    Announcement, AnsweredRequest, GroupRecord, IssuedRecord, RevokedRow, RoleProgress, RoleRecord,
    SignedEvent, Staleness, Suspension, TenantRecord,
};

impl Record for TenantRecord {
    const TABLE: &'static str = "tenants";
    const KEY: &'static [&'static str] = &["tenant"];
    const COLUMNS: &'static [&'static str] = &[
        "epoch",
        "suspended",
        "bearer",
        "next_group",
        "created",
        "confirmation",
        "keys_published",
        "stale_telemetry",
        "stale_command",
        "stale_actuation",
    ];

    fn values(&self) -> Vec<Value> {
        let seconds = |of: fn(&Staleness) -> u64| self.staleness.as_ref().map(of).into();
        vec![
            self.epoch.into(),
            self.suspended.into(),
            self.bearer.into(),
            self.next_group.into(),
            self.created.into(),
            word(&self.confirmation),
            self.keys_published.into(),
            seconds(|budget| budget.telemetry),
            seconds(|budget| budget.command),
            seconds(|budget| budget.actuation),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            epoch: row.number()?,
            suspended: row.flag()?,
            bearer: row.flag()?,
            next_group: row.number()?,
            created: row.number()?,
            confirmation: read_word(row)?,
            keys_published: row.flag()?,
            staleness: {
                let seconds = (row.maybe_number()?, row.maybe_number()?, row.maybe_number()?);
                match seconds {
                    (Some(telemetry), Some(command), Some(actuation)) => {
                        Some(Staleness { telemetry, command, actuation })
                    }
                    _ => None,
                }
            },
        })
    }
}

impl Record for RoleRecord {
    const TABLE: &'static str = "roles";
    const KEY: &'static [&'static str] = &["tenant", "role"];
    const COLUMNS: &'static [&'static str] = &[
        "class",
        "publish",
        "subscribe",
        "token_seconds",
        "revision",
        "ending",
        "leaving",
        "refresh_tokens",
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            word(&self.class),
            json(&self.publish),
            json(&self.subscribe),
            self.token_seconds.into(),
            // NULL where nothing happened, as in rows from before these columns.
            Some(self.progress.revision).filter(|revision| *revision > 0).into(),
            self.progress.ending.into(),
            Some(1u64).filter(|_| self.progress.leaving).into(),
            // As in rows from before there was the column.
            self.refresh_tokens.then_some(1_u64).into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            class: read_word(row)?,
            publish: read_json(row)?,
            subscribe: read_json(row)?,
            token_seconds: row.maybe_number()?,
            progress: RoleProgress {
                revision: row.maybe_number()?.unwrap_or_default(),
                ending: row.maybe_number()?,
                leaving: row.maybe_number()?.is_some(),
            },
            refresh_tokens: row.maybe_number()?.is_some_and(|flag| flag == 1),
        })
    }
}

impl Record for GroupRecord {
    const TABLE: &'static str = "device_groups";
    const KEY: &'static [&'static str] = &["tenant", "device_group"];
    const COLUMNS: &'static [&'static str] = &[
        "number",
        "epoch",
        "created",
        "suspended_at",
        "suspended_by",
        "suspended_reason",
        "reenrol",
        "announced_until",
        "announced_at",
        "announced_by",
        "announced_reason",
    ];

    fn values(&self) -> Vec<Value> {
        let mut values = vec![self.number.into(), self.epoch.into(), self.created.into()];
        values.extend(Suspension::values(self.suspended.as_ref()));
        values.push(self.reenrol.as_ref().map_or(Value::Null, word));
        values.extend(Announcement::values(self.announced.as_ref()));
        values
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            number: row.number()?,
            epoch: row.number()?,
            created: row.number()?,
            suspended: Suspension::read(row)?,
            reenrol: maybe_word(row)?,
            announced: Announcement::read(row)?,
        })
    }
}

impl Record for IssuedRecord {
    const TABLE: &'static str = "issued_tokens";
    const KEY: &'static [&'static str] = &["serial"];
    const COLUMNS: &'static [&'static str] = &[
        "tenant",
        "device",
        "token_hash",
        "issued",
        "expires",
        "key_id",
        "nonce",
        "asked_at",
        "request_time",
        "bearer",
        "answered_until",
        "token",
        "scope",
        "kid",
        "epoch_tenant",
        "group_number",
        "epoch_group",
        "epoch_device",
    ];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] =
        &[("issued_tokens_by_request", &["tenant", "device", "asked_at", "nonce"])];

    fn values(&self) -> Vec<Value> {
        let mut values = vec![
            self.tenant.as_str().into(),
            self.device.as_str().into(),
            self.hash.into(),
            self.issued.into(),
            self.expires.into(),
            self.key_id.into(),
        ];
        match &self.answer {
            None => values.extend(std::iter::repeat_n(Value::Null, 8)),
            Some(answer) => values.extend([
                answer.nonce.as_slice().into(),
                answer.asked_at.into(),
                answer.time.into(),
                answer.bearer.into(),
                answer.until.into(),
                answer.token.as_slice().into(),
                answer.scope.as_slice().into(),
                answer.kid.as_slice().into(),
            ]),
        }
        let epochs = |of: fn(&Epochs) -> u64| self.epochs.as_ref().map(of).into();
        values.extend([
            epochs(|had| had.tenant),
            epochs(|had| had.group_number),
            epochs(|had| had.group),
            epochs(|had| had.device),
        ]);
        values
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            tenant: row.text()?,
            device: row.text()?,
            hash: row.array()?,
            issued: row.number()?,
            expires: row.number()?,
            key_id: row.array()?,
            answer: match row.maybe_blob()? {
                None => {
                    // The columns of an answer that is not there.
                    for _ in 0..7 {
                        row.value()?;
                    }
                    None
                }
                Some(nonce) => Some(AnsweredRequest {
                    nonce,
                    asked_at: row.number()?,
                    time: row.number()?,
                    bearer: row.flag()?,
                    until: row.number()?,
                    token: row.blob()?,
                    scope: row.blob()?,
                    kid: row.blob()?,
                }),
            },
            epochs: {
                let tenant = row.maybe_number()?;
                let rest = (row.maybe_number()?, row.maybe_number()?, row.maybe_number()?);
                match (tenant, rest) {
                    (Some(tenant), (Some(group_number), Some(group), Some(device))) => {
                        Some(Epochs { tenant, group_number, group, device })
                    }
                    _ => None,
                }
            },
        })
    }
}

impl Record for KeyRecord {
    const TABLE: &'static str = "issuer_keys";
    const KEY: &'static [&'static str] = &["tenant", "key_id"];
    const COLUMNS: &'static [&'static str] = &[
        "public_key",
        "state",
        "created",
        "not_before",
        "not_after",
        "since",
        "lived",
        "module_token",
        "module_object",
    ];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] =
        &[("issuer_keys_by_state", &["tenant", "state"]), ("issuer_keys_by_id", &["key_id"])];

    fn values(&self) -> Vec<Value> {
        vec![
            self.public.into(),
            self.state.as_str().into(),
            self.created.into(),
            self.not_before.into(),
            self.not_after.into(),
            self.since.into(),
            self.lived.into(),
            self.module.as_ref().map(|module| module.token.as_str()).into(),
            self.module.as_ref().map(|module| module.object).into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            public: row.array()?,
            state: read_word(row)?,
            created: row.number()?,
            not_before: row.number()?,
            not_after: row.number()?,
            since: row.number()?,
            lived: row.maybe_number()?,
            module: read_module(row)?,
        })
    }
}

/// Both columns or none.
fn read_module(row: &mut Row) -> Result<Option<InModule>, StoreError> {
    let (token, object) = (row.maybe_text()?, row.maybe_blob()?);
    let (token, object) = match (token, object) {
        (None, None) => return Ok(None),
        (Some(token), Some(object)) => (token, object),
        _ => return Err(row.damaged("a key in a module without its token, or without its object")),
    };
    match object.try_into() {
        Ok(object) => Ok(Some(InModule { token, object })),
        Err(_) => Err(row.damaged("the object of a key in a module has 16 bytes")),
    }
}

impl Record for RevokedRow {
    const TABLE: &'static str = "revoked_tokens";
    const KEY: &'static [&'static str] = &["expires", "token_hash"];
    const COLUMNS: &'static [&'static str] = &["tenant", "device"];

    fn values(&self) -> Vec<Value> {
        vec![self.tenant.as_str().into(), self.device.as_str().into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { tenant: row.text()?, device: row.text()? })
    }
}

impl Record for SignedEvent {
    const TABLE: &'static str = "trust_events";
    const KEY: &'static [&'static str] = &["number"];
    const COLUMNS: &'static [&'static str] = &["signed"];

    fn values(&self) -> Vec<Value> {
        vec![self.0.as_slice().into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        row.blob().map(Self)
    }
}
