use tessera_runtime::store::{Store, StoreError, Table};

/// Every table, with the shape of its key.
#[derive(Clone)]
pub(crate) struct Tables {
    /// name → a counter or a mark
    pub(crate) meta: Table,
    /// tenant
    pub(crate) tenants: Table,
    /// tenant 0 role
    pub(crate) roles: Table,
    /// tenant 0 group
    pub(crate) groups: Table,
    /// tenant 0 SHA-256(code)
    pub(crate) claims: Table,
    /// tenant 0 device
    pub(crate) devices: Table,
    /// tenant 0 device
    pub(crate) refreshes: Table,
    /// tenant 0 token hash
    pub(crate) issued: Table,
    /// expiry (u64 BE), tenant 0 token hash
    pub(crate) issued_expiry: Table,
    /// tenant 0 kid
    pub(crate) keys: Table,
    /// SHA-256(operator token)
    pub(crate) operators: Table,
    /// tenant 0 device: epochs that moved within the longest token life
    pub(crate) moved_devices: Table,
    /// expiry (u64 BE), token hash
    pub(crate) revoked_tokens: Table,
    /// seq (u64 BE)
    pub(crate) trust_events: Table,
    /// tenant 0 kind 0 subject: what readers knew beyond a restored service
    pub(crate) findings: Table,
    /// seq (u64 BE)
    pub(crate) audit: Table,
    /// milliseconds (u64 BE), counter (u64 BE): entries that wait to be chained
    pub(crate) audit_pending: Table,
}

impl Tables {
    pub(crate) fn open(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            meta: store.table("meta")?,
            tenants: store.table("tenants")?,
            roles: store.table("roles")?,
            groups: store.table("groups")?,
            claims: store.table("claims")?,
            devices: store.table("devices")?,
            refreshes: store.table("refreshes")?,
            issued: store.table("issued")?,
            issued_expiry: store.table("issued_expiry")?,
            keys: store.table("keys")?,
            operators: store.table("operators")?,
            moved_devices: store.table("moved_devices")?,
            revoked_tokens: store.table("revoked_tokens")?,
            trust_events: store.table("trust_events")?,
            findings: store.table("findings")?,
            audit: store.table("audit")?,
            audit_pending: store.table("audit_pending")?,
        })
    }
}

/// `tenant 0 name`: ids cannot hold a zero byte, so no two pairs share a key.
pub(crate) fn pair(tenant: impl AsRef<str>, name: impl AsRef<[u8]>) -> Vec<u8> {
    [tenant.as_ref().as_bytes(), &[0], name.as_ref()].concat()
}

/// The part behind `tenant 0`.
pub(crate) fn second(key: &[u8]) -> &[u8] {
    let zero = key.iter().position(|byte| *byte == 0);
    zero.and_then(|at| key.get(at + 1..)).unwrap_or_default()
}

/// `number` in front of `name`, so that rows sort by number.
pub(crate) fn numbered(number: u64, name: impl AsRef<[u8]>) -> Vec<u8> {
    [&number.to_be_bytes(), name.as_ref()].concat()
}

/// The number at the start of a key that [`numbered`] made.
pub(crate) fn number_of(key: &[u8]) -> u64 {
    key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
