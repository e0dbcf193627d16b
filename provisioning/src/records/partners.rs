//! Rows of partner tokens and of their use by day.

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

use crate::limits::PARTNER_TOKEN_SECONDS_MOST;

/// A partner token: an opaque credential of a device whose role has the class `partner`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartnerTokenRecord {
    /// SHA-256 of the token.
    pub(crate) token_hash: [u8; 32],
    pub(crate) tenant: String,
    pub(crate) device: String,
    /// The name of the account that made it.
    pub(crate) maker: String,
    pub(crate) purpose: String,
    pub(crate) created: u64,
    pub(crate) expires: u64,
    /// When and by which account of a broker it was shown last.
    pub(crate) used: Option<(u64, String)>,
}

impl PartnerTokenRecord {
    /// When it ends: its row cannot give it more than the longest life.
    pub(crate) fn end(&self) -> u64 {
        self.created.saturating_add(PARTNER_TOKEN_SECONDS_MOST).min(self.expires)
    }
}

/// The key is the public name of the token: the first 8 bytes of `token_hash`.
impl Record for PartnerTokenRecord {
    const TABLE: &'static str = "partner_tokens";
    const KEY: &'static [&'static str] = &["id"];
    const COLUMNS: &'static [&'static str] = &[
        "token_hash",
        "tenant",
        "device",
        "maker",
        "purpose",
        "created",
        "expires",
        "used",
        "used_from",
    ];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] = &[
        ("partner_tokens_by_tenant", &["tenant", "id"]),
        ("partner_tokens_by_device", &["tenant", "device", "id"]),
    ];

    fn values(&self) -> Vec<Value> {
        let (used, from) = self.used.clone().unzip();
        vec![
            self.token_hash.into(),
            self.tenant.as_str().into(),
            self.device.as_str().into(),
            self.maker.as_str().into(),
            self.purpose.as_str().into(),
            self.created.into(),
            self.expires.into(),
            used.into(),
            from.into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            token_hash: row.array()?,
            tenant: row.text()?,
            device: row.text()?,
            maker: row.text()?,
            purpose: row.text()?,
            created: row.number()?,
            expires: row.number()?,
            used: row.maybe_number()?.zip(row.maybe_text()?),
        })
    }
}

/// The use of a partner token on one day (UTC), summed over all brokers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PartnerUse {
    /// Times that brokers asked for it.
    pub(crate) introspections: u64,
    /// Connections that were let in.
    pub(crate) connects: u64,
    /// Messages from the partner.
    pub(crate) published: u64,
    pub(crate) published_bytes: u64,
    /// Messages to the partner.
    pub(crate) delivered: u64,
    pub(crate) delivered_bytes: u64,
}

impl PartnerUse {
    /// Both together.
    pub(crate) fn plus(self, more: Self) -> Self {
        Self {
            introspections: self.introspections.saturating_add(more.introspections),
            connects: self.connects.saturating_add(more.connects),
            published: self.published.saturating_add(more.published),
            published_bytes: self.published_bytes.saturating_add(more.published_bytes),
            delivered: self.delivered.saturating_add(more.delivered),
            delivered_bytes: self.delivered_bytes.saturating_add(more.delivered_bytes),
        }
    }
}

/// Public name of the token, days since 1970.
impl Record for PartnerUse {
    const TABLE: &'static str = "partner_uses";
    const KEY: &'static [&'static str] = &["id", "day"];
    const COLUMNS: &'static [&'static str] = &[
        "introspections",
        "connects",
        "published",
        "published_bytes",
        "delivered",
        "delivered_bytes",
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            self.introspections.into(),
            self.connects.into(),
            self.published.into(),
            self.published_bytes.into(),
            self.delivered.into(),
            self.delivered_bytes.into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            introspections: row.number()?,
            connects: row.number()?,
            published: row.number()?,
            published_bytes: row.number()?,
            delivered: row.number()?,
            delivered_bytes: row.number()?,
        })
    }
}
