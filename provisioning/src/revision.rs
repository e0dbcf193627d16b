//! Revisions of records, and changes that rest on one: two operators who change the same record do not undo each other.
//!
//! A revision is a name of the content of a row. It comes from the values that the row holds: none of them is a secret, and
//! keys of rows, some of which are hashes of secrets, are left out.

use tessera_runtime::sql::{Record, Value};
use tessera_token::encoding::base64url;
use tessera_token::hash::sha256;
use tessera_token::refusal::RefusalCode;

use crate::records::operators::OperatorRecord;
use crate::records::ways::GroupWays;
use crate::records::webhooks::WebhookRecord;
use crate::records::{ClaimRecord, Counted, DeviceRecord, GroupRecord, RoleRecord, TenantRecord};
use crate::refused::Refused;

/// Bytes of the hash that stand in a revision.
const BYTES: usize = 16;

/// A record with revisions.
pub(crate) trait Revised {
    fn revision(&self) -> String;
}

fn of<R: Record>(record: &R) -> String {
    let mut text = Vec::new();
    for value in record.values() {
        // Each value with its kind and its length: no two rows have one text.
        let (kind, bytes) = match value {
            Value::Null | Value::Unfit => (b'n', Vec::new()),
            Value::Int(number) => (b'i', number.to_be_bytes().to_vec()),
            Value::Text(text) => (b't', text.into_bytes()),
            Value::Blob(bytes) => (b'b', bytes),
        };
        text.push(kind);
        text.extend((bytes.len() as u64).to_be_bytes());
        text.extend(bytes);
    }
    text.extend(R::TABLE.as_bytes());
    base64url(sha256(&text).get(..BYTES).unwrap_or_default())
}

macro_rules! whole {
    ($($record:ident),+) => {
        $(impl Revised for $record {
            fn revision(&self) -> String {
                of(self)
            }
        })+
    };
}

whole!(DeviceRecord, GroupRecord, GroupWays, OperatorRecord, WebhookRecord);

impl Revised for ClaimRecord {
    /// A use of a claim that others may use too is no change of it.
    fn revision(&self) -> String {
        let counted = self.counted.map(|counted| Counted { made: 0, ..counted });
        of(&Self { counted, ..self.clone() })
    }
}

impl Revised for TenantRecord {
    /// A new group is no change of its tenant.
    fn revision(&self) -> String {
        of(&Self { next_group: 0, ..self.clone() })
    }
}

impl Revised for RoleRecord {
    /// The end of the tokens of its former rights is no change of the role.
    fn revision(&self) -> String {
        let mut role = self.clone();
        (role.progress.ending, role.progress.leaving) = (None, false);
        of(&role)
    }
}

/// The revision on which a change rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// No demand: a change by the service itself.
    Nothing,
    /// There is a record, of any revision.
    Any,
    /// There is a record of one of these revisions.
    OneOf(Vec<String>),
    /// There is no record.
    Absent,
}

impl Precondition {
    /// Compares it with the record that the change rests on. The batch that makes the change must expect that record, or
    /// that there is none.
    ///
    /// # Errors
    /// `precondition_failed`, with the revision that is there.
    pub(crate) fn check<R: Revised>(&self, record: Option<&R>) -> Result<(), Refused> {
        let revision = record.map(Revised::revision);
        let why = match (self, &revision) {
            (Self::Nothing, _) | (Self::Any, Some(_)) | (Self::Absent, None) => return Ok(()),
            (Self::OneOf(these), Some(revision)) if these.contains(revision) => return Ok(()),
            (Self::OneOf(_), Some(_)) => "it was changed since it was read",
            (Self::Any | Self::OneOf(_), None) => "there is none",
            (Self::Absent, Some(_)) => "there is one already",
        };
        let refused = Refused::because(RefusalCode::PreconditionFailed, why);
        Err(Refused { revision, ..refused })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_changes_with_the_record_and_with_nothing_else() {
        let tenant = TenantRecord::new(false, 7);
        let other = TenantRecord { next_group: 9, ..tenant.clone() };
        assert_eq!(tenant.revision(), other.revision());
        assert_eq!(tenant.revision().len(), 22);
        let changed = TenantRecord { bearer: true, ..tenant.clone() };
        assert_ne!(tenant.revision(), changed.revision());
        let is = |record: &TenantRecord| Precondition::OneOf(vec![record.revision()]);
        assert!(is(&tenant).check(Some(&other)).is_ok());
        let refused = is(&tenant).check(Some(&changed)).unwrap_err();
        assert_eq!(refused.code, RefusalCode::PreconditionFailed);
        assert_eq!(refused.revision, Some(changed.revision()));
        assert!(is(&tenant).check::<TenantRecord>(None).is_err());
        for (precondition, there, missing) in [
            (Precondition::Nothing, true, true),
            (Precondition::Any, true, false),
            (Precondition::Absent, false, true),
        ] {
            assert_eq!(precondition.check(Some(&tenant)).is_ok(), there, "{precondition:?}");
            assert_eq!(
                precondition.check::<TenantRecord>(None).is_ok(),
                missing,
                "{precondition:?}"
            );
        }
    }
}
