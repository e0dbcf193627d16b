//! The tables of the service and the shapes of their keys. Their columns stand in `schema/`.

use tessera_runtime::sql::{Database, Key, Schema, Table, Value};
use tessera_runtime::store::StoreError;

use crate::records::alert_lines::AlertLine;
use crate::records::api_tokens::ApiTokenRecord;
use crate::records::approvals::{ApprovalCount, ApprovalRecord};
use crate::records::attributes::AttributeRow;
use crate::records::audit::{Chained, Entry};
use crate::records::claim_counts::ClaimCount;
use crate::records::claim_imports::ClaimImportRecord;
use crate::records::families::FamilyRecord;
use crate::records::findings::FindingRow;
use crate::records::kept::{KeptAnswer, KeptRequest};
use crate::records::keys::KeyRecord;
use crate::records::marks::Marks;
use crate::records::operators::OperatorRecord;
use crate::records::partners::{PartnerTokenRecord, PartnerUse};
use crate::records::push::PushTurn;
use crate::records::rekey::RekeyRecord;
use crate::records::restraints::{AnswerPolicy, RestraintRecord};
use crate::records::rules::{RuleCount, RuleRecord, RuleTest};
use crate::records::trl::{ListState, ListUpdate, ListedToken};
use crate::records::uses::{DeviceUses, RoleUse, RoleWatch};
use crate::records::verifiers::VerifierRow;
use crate::records::ways::{
    AuthorityRecord, CountedUse, DeniedCertificate, GroupKeyRecord, GroupWays, ListedId, ListedKey,
};
use crate::records::webhooks::{WebhookAttempt, WebhookMessage, WebhookProgress, WebhookRecord};
use crate::records::{
    ClaimRecord, DeletedDevice, DeviceRecord, GroupRecord, IssuedRecord, MovedDevice, RevokedRow,
    RoleRecord, SignedEvent, TenantRecord,
};

/// A step that was released is never changed: a later one goes on from it.
pub(crate) const SCHEMA: Schema = Schema {
    name: "provisioning",
    steps: &[
        include_str!("schema/1.sql"),
        include_str!("schema/2.sql"),
        include_str!("schema/3.sql"),
        include_str!("schema/4.sql"),
        include_str!("schema/5.sql"),
        include_str!("schema/6.sql"),
        include_str!("schema/7.sql"),
        include_str!("schema/8.sql"),
        include_str!("schema/9.sql"),
        include_str!("schema/10.sql"),
        include_str!("schema/11.sql"),
        include_str!("schema/12.sql"),
        include_str!("schema/13.sql"),
        include_str!("schema/14.sql"),
        include_str!("schema/15.sql"),
        include_str!("schema/16.sql"),
        include_str!("schema/17.sql"),
        include_str!("schema/18.sql"),
        include_str!("schema/19.sql"),
    ],
    kept: &[
        "tenants",
        "roles",
        "device_groups",
        "issuer_keys",
        "operators",
        "group_ways",
        "authorities",
    ],
};

/// Every table, with the shape of its key.
#[derive(Clone)]
pub(crate) struct Tables {
    /// name of a counter or a mark
    pub(crate) marks: Marks,
    /// tenant
    pub(crate) tenants: Table<TenantRecord>,
    /// tenant, role
    pub(crate) roles: Table<RoleRecord>,
    /// tenant, group
    pub(crate) groups: Table<GroupRecord>,
    /// tenant, SHA-256(code)
    pub(crate) claims: Table<ClaimRecord>,
    /// tenant: how many are open
    pub(crate) claim_counts: Table<ClaimCount>,
    /// tenant, SHA-256(account, tenant, Idempotency-Key)
    pub(crate) alert_lines: Table<AlertLine>,
    pub(crate) claim_imports: Table<ClaimImportRecord>,
    /// tenant, SHA-256(code), device
    pub(crate) claim_uses: Table<CountedUse>,
    /// tenant, rule
    pub(crate) rules: Table<RuleRecord>,
    /// tenant, substance of a rule
    pub(crate) rule_tests: Table<RuleTest>,
    /// tenant, rule, verifier
    pub(crate) rule_counts: Table<RuleCount>,
    /// tenant, device: how it is held back
    pub(crate) restraints: Table<RestraintRecord>,
    /// tenant, group; the tenant's own has no group
    pub(crate) answer_policies: Table<AnswerPolicy>,
    /// tenant, device: the topics that it uses
    pub(crate) device_uses: Table<DeviceUses>,
    /// tenant, role, usage, topic
    pub(crate) role_uses: Table<RoleUse>,
    /// tenant, role
    pub(crate) role_watches: Table<RoleWatch>,
    /// tenant, group
    pub(crate) group_ways: Table<GroupWays>,
    /// tenant, device
    pub(crate) listed_keys: Table<ListedKey>,
    /// tenant, name of the group key
    pub(crate) group_keys: Table<GroupKeyRecord>,
    /// tenant, device
    pub(crate) listed_ids: Table<ListedId>,
    /// tenant, fingerprint
    pub(crate) authorities: Table<AuthorityRecord>,
    /// tenant, fingerprint or serial number
    pub(crate) denied_certificates: Table<DeniedCertificate>,
    /// tenant, id of the request
    pub(crate) approvals: Table<ApprovalRecord>,
    /// tenant, source
    pub(crate) approval_counts: Table<ApprovalCount>,
    /// tenant, device
    pub(crate) devices: Table<DeviceRecord>,
    /// tenant, name, value, device
    pub(crate) device_attributes: Table<AttributeRow>,
    /// tenant, device, thumbprint of the new key: requests that wait for an operator
    pub(crate) rekeys: Table<RekeyRecord>,
    /// tenant, device: those whose ids are not free yet, and the epochs of the others
    pub(crate) deleted_devices: Table<DeletedDevice>,
    /// serial
    pub(crate) issued: Table<IssuedRecord>,
    /// tenant, key id
    pub(crate) keys: Table<KeyRecord>,
    /// SHA-256(operator token)
    pub(crate) operators: Table<OperatorRecord>,
    /// the public name of an API token
    pub(crate) api_tokens: Table<ApiTokenRecord>,
    /// the public name of a partner token
    pub(crate) partner_tokens: Table<PartnerTokenRecord>,
    /// the same, day
    pub(crate) partner_uses: Table<PartnerUse>,
    /// tenant, device: epochs that moved within the longest token life
    pub(crate) moved_devices: Table<MovedDevice>,
    /// family of refresh tokens
    pub(crate) families: Table<FamilyRecord>,
    /// expiry, token hash
    pub(crate) revoked_tokens: Table<RevokedRow>,
    /// number
    pub(crate) trust_events: Table<SignedEvent>,
    /// tenant, token hash: the token revocation list
    pub(crate) trl_tokens: Table<ListedToken>,
    /// tenant, number
    pub(crate) trl_updates: Table<ListUpdate>,
    /// tenant
    pub(crate) trl_tenants: Table<ListState>,
    /// share, account, verifier, process
    pub(crate) verifiers: Table<VerifierRow>,
    /// broker: the process that pushes tokens to it
    pub(crate) push_turns: Table<PushTurn>,
    /// tenant, kind, subject: what readers knew beyond a restored service
    pub(crate) findings: Table<FindingRow>,
    /// hash of account, method, path and Idempotency-Key
    pub(crate) kept_requests: Table<KeptRequest>,
    /// the same
    pub(crate) kept_answers: Table<KeptAnswer>,
    /// tenant, webhook
    pub(crate) webhooks: Table<WebhookRecord>,
    /// tenant, webhook
    pub(crate) webhook_states: Table<WebhookProgress>,
    /// tenant, webhook, number of the entry
    pub(crate) webhook_messages: Table<WebhookMessage>,
    /// tenant, webhook, number of the attempt
    pub(crate) webhook_attempts: Table<WebhookAttempt>,
    /// number
    pub(crate) audit: Table<Chained>,
    /// milliseconds, counter: entries that wait to be chained
    pub(crate) audit_waiting: Table<Entry>,
}

impl Tables {
    pub(crate) fn of(database: &Database) -> Self {
        Self {
            marks: Marks::of(database),
            tenants: database.table(),
            roles: database.table(),
            groups: database.table(),
            claims: database.table(),
            claim_counts: database.table(),
            alert_lines: database.table(),
            claim_imports: database.table(),
            claim_uses: database.table(),
            rules: database.table(),
            rule_tests: database.table(),
            rule_counts: database.table(),
            restraints: database.table(),
            answer_policies: database.table(),
            device_uses: database.table(),
            role_uses: database.table(),
            role_watches: database.table(),
            group_ways: database.table(),
            listed_keys: database.table(),
            group_keys: database.table(),
            listed_ids: database.table(),
            authorities: database.table(),
            denied_certificates: database.table(),
            approvals: database.table(),
            approval_counts: database.table(),
            devices: database.table(),
            device_attributes: database.table(),
            rekeys: database.table(),
            deleted_devices: database.table(),
            issued: database.table(),
            keys: database.table(),
            operators: database.table(),
            api_tokens: database.table(),
            partner_tokens: database.table(),
            partner_uses: database.table(),
            moved_devices: database.table(),
            families: database.table(),
            revoked_tokens: database.table(),
            trust_events: database.table(),
            trl_tokens: database.table(),
            trl_updates: database.table(),
            trl_tenants: database.table(),
            verifiers: database.table(),
            push_turns: database.table(),
            findings: database.table(),
            kept_requests: database.table(),
            kept_answers: database.table(),
            webhooks: database.table(),
            webhook_states: database.table(),
            webhook_messages: database.table(),
            webhook_attempts: database.table(),
            audit: database.table(),
            audit_waiting: database.table(),
        }
    }
}

/// A key of one value, or the beginning of a longer one.
pub(crate) fn one(value: impl Into<Value>) -> Key {
    vec![value.into()]
}

/// A tenant, and a name in it.
pub(crate) fn pair(tenant: impl AsRef<str>, name: impl Into<Value>) -> Key {
    vec![tenant.as_ref().into(), name.into()]
}

/// The text at this place of a key.
///
/// # Errors
/// [`StoreError::Damaged`] when there is none.
pub(crate) fn text(key: &[Value], at: usize) -> Result<&str, StoreError> {
    match key.get(at) {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(damaged()),
    }
}

/// The number at this place of a key.
///
/// # Errors
/// [`StoreError::Damaged`] when there is none.
pub(crate) fn number(key: &[Value], at: usize) -> Result<u64, StoreError> {
    match key.get(at) {
        Some(Value::Int(number)) => u64::try_from(*number).map_err(|_| damaged()),
        _ => Err(damaged()),
    }
}

/// The bytes at this place of a key.
///
/// # Errors
/// [`StoreError::Damaged`] when there are none, or more or fewer.
pub(crate) fn bytes<const N: usize>(key: &[Value], at: usize) -> Result<[u8; N], StoreError> {
    match key.get(at) {
        Some(Value::Blob(bytes)) => bytes.as_slice().try_into().map_err(|_| damaged()),
        _ => Err(damaged()),
    }
}

fn damaged() -> StoreError {
    StoreError::Damaged { table: "", why: "a key that is none of ours".to_owned() }
}

/// A database in this folder, with its tables.
#[cfg(test)]
pub(crate) fn in_folder(folder: &std::path::Path) -> (Database, Tables) {
    let options = tessera_runtime::store::StoreOptions::default();
    let clock = tessera_runtime::clock::SystemClock::shared();
    let random = tessera_runtime::random::SystemRandom;
    let (database, _) = Database::open(folder, SCHEMA, &options, clock, &random).unwrap();
    let tables = Tables::of(&database);
    (database, tables)
}

#[cfg(test)]
mod tests;
