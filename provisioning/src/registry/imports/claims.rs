//! Import of claims. Their codes follow from the key of the import and the number of the line, so the same line of the same
//! import has the same code however often it comes, and nothing that shows a code is kept.

use std::sync::Arc;

use tessera_runtime::secret::Secret;
use tessera_token::ids::{DeviceId, GroupId, RoleId, TenantId};
use tessera_token::messages::Way;
use tessera_token::refusal::RefusalCode;

use super::{Fault, Judge, Judged, Outcome, Wanted};
use crate::limits::{CLAIM_SECONDS_MOST, CLAIM_USES};
use crate::mac;
use crate::records::{Attributes, ClaimRecord, Counted};
use crate::refused::Refused;
use crate::registry::pattern::IdPattern;
use crate::registry::{attributes, code, ways};
use crate::service::Service;
use crate::tables::pair;

const CODES: &[u8] = b"tessera-claim-import-1";

/// A claim as a line describes it.
#[derive(Clone)]
pub(crate) struct WantedClaim {
    /// The only device that may use it.
    pub(crate) device: Option<DeviceId>,
    pub(crate) role: RoleId,
    pub(crate) group: GroupId,
    /// The ids that may use it.
    pub(crate) pattern: Option<IdPattern>,
    /// The number of devices that may use it.
    pub(crate) uses: u64,
    /// Seconds.
    pub(crate) life: u64,
    pub(crate) attributes: Attributes,
}

/// The codes of an import: none knows them who has only its key, or only the database.
#[derive(Clone)]
pub(crate) struct Codes(Arc<Secret<[u8; 32]>>);

impl Codes {
    /// Those of an import of this account with this key.
    pub(crate) fn of(service: &Service, account: &str, tenant: &TenantId, key: &str) -> Self {
        let mut text = Vec::new();
        for part in [account, tenant.as_str(), key] {
            text.extend((part.len() as u64).to_be_bytes());
            text.extend(part.as_bytes());
        }
        let text = Secret::new(text);
        let seed = service.founder.expose_seed();
        Self(Arc::new(mac::of(seed.as_slice(), &[CODES, text.expose()])))
    }

    fn code(&self, line: u64) -> Secret<String> {
        let drawn = mac::of(self.0.expose(), &[&line.to_be_bytes()]);
        code::spell(drawn.expose())
    }
}

/// The claim of a line.
pub(crate) struct Told {
    pub(crate) claim: String,
    pub(crate) code: Secret<String>,
    pub(crate) expires: u64,
}

impl Wanted for WantedClaim {
    const KIND: &'static str = "claims";
    type With = Codes;
    type Seen = ();
    /// None in a dry run.
    type Told = Option<Told>;

    async fn judge(&self, number: u64, judge: &mut Judge<'_, Self>) -> Judged<Option<Told>> {
        let (service, import) = (judge.service, judge.of);
        let code = import.with.code(number);
        let hash = code::hash(code.expose());
        let (table, row) = (&service.tables.claims, pair(&import.tenant, hash));
        let told = |expires| {
            let made = Told { claim: code::id(&hash), code, expires };
            (!import.dry_run).then_some(made)
        };
        if let Some(record) = table.get(row.clone()).await? {
            return Ok(match self.differs(&record) {
                None => Ok(Outcome::Unchanged(told(record.expires))),
                Some(field) => {
                    let why = "this line of the import was sent before, and differed";
                    let refused = Refused::because(RefusalCode::IdempotencyKeyReused, why);
                    Err(Fault::of(field, refused))
                }
            });
        }
        if let Err(fault) = judge.rights((&self.role, &self.group), &self.attributes).await? {
            return Ok(Err(fault));
        }
        let group = self.group.as_str();
        match ways::taken(service, &import.tenant, group, Way::Claim).await {
            Err(refused) if refused.code == RefusalCode::WayNotTaken => {
                return Ok(Err(Fault::of("group", refused)));
            }
            taken => taken?,
        }
        let record = self.record(service.now().get(), &import.by.name);
        judge.prepared.batch.insert(table, row, &record);
        let entry = judge.entry("claim.import", number, &code::id(&hash), &self.words());
        judge.prepared.entries.push(entry);
        Ok(Ok(Outcome::Imported(told(record.expires))))
    }
}

impl WantedClaim {
    /// Checks that which needs no look at the database.
    ///
    /// # Errors
    /// The member at fault.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let malformed = |field, why: String| Err(Fault::of(field, Refused::malformed(why)));
        if !(1..=CLAIM_USES).contains(&self.uses) {
            return malformed("uses", format!("uses is 1 to {CLAIM_USES}"));
        }
        if self.device.is_some() && (self.uses != 1 || self.pattern.is_some()) {
            let why = "a claim for one device has neither uses nor a pattern";
            return malformed("device", why.to_owned());
        }
        match self.life {
            1..=CLAIM_SECONDS_MOST => Ok(()),
            _ => malformed("expires_in", "expires_in is 1 second to 5 years".to_owned()),
        }
    }

    /// The first member by which the claim that is there differs.
    fn differs(&self, record: &ClaimRecord) -> Option<&'static str> {
        let device = self.device.as_ref().map(DeviceId::as_str);
        let pattern = self.pattern.as_ref().map(IdPattern::as_str);
        let members = [
            ("device", record.device.as_deref() == device),
            ("role", record.role == self.role.as_str()),
            ("group", record.group == self.group.as_str()),
            ("pattern", record.pattern.as_deref() == pattern),
            ("uses", record.counted.map_or(1, |counted| counted.uses) == self.uses),
            ("expires_in", record.expires.saturating_sub(record.created) == self.life),
            ("attributes", record.attributes == self.attributes),
        ];
        members.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }

    fn record(&self, now: u64, by: &str) -> ClaimRecord {
        ClaimRecord {
            role: self.role.as_str().to_owned(),
            group: self.group.as_str().to_owned(),
            device: self.device.as_ref().map(|device| device.as_str().to_owned()),
            created: now,
            expires: now.saturating_add(self.life),
            by: by.to_owned(),
            attributes: self.attributes.clone(),
            used: None,
            counted: (self.uses > 1).then_some(Counted { uses: self.uses, made: 0 }),
            pattern: self.pattern.as_ref().map(|pattern| pattern.as_str().to_owned()),
        }
    }

    /// The words of the audit log.
    fn words(&self) -> Vec<String> {
        let first = format!("role {} group {}", self.role, self.group);
        let device = self.device.as_ref().map(|device| format!("device {device}"));
        let uses = (self.uses > 1).then(|| format!("{} devices", self.uses));
        let pattern = self.pattern.as_ref().map(|pattern| format!("ids {pattern}"));
        let none = Attributes::default();
        let set = attributes::told(&none, &self.attributes);
        std::iter::once(first).chain(device).chain(uses).chain(pattern).chain(set).collect()
    }
}
