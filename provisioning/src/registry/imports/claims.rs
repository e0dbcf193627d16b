//! Import of claims. Their codes follow from the key of the import, the number of the line, random bytes of the import and a
//! key of the service. So the same line of the same import has the same code while its claim is there, and nothing that shows a
//! code is kept. A claim that was deleted, or has ended, is not made anew.

use std::sync::Arc;

use tessera_runtime::random;
use tessera_runtime::secret::Secret;
use tessera_runtime::sql::Batch;
use tessera_token::hash::sha256;
use tessera_token::ids::{DeviceId, GroupId, RoleId, TenantId};
use tessera_token::messages::Way;
use tessera_token::refusal::RefusalCode;
use tokio::sync::MutexGuard;

use super::{Fault, Judge, Judged, Outcome, Wanted};
use crate::limits::{
    CLAIM_IMPORTS, CLAIM_IMPORT_RANGES, CLAIM_SECONDS_MOST, CLAIM_USES, IMPORT_BATCH,
};
use crate::mac;
use crate::records::claim_imports::{ClaimImportRecord, Lines};
use crate::records::{Attributes, ClaimRecord, Counted};
use crate::refused::Refused;
use crate::registry::open_claims::{self, Places};
use crate::registry::pattern::IdPattern;
use crate::registry::{attributes, code, ways};
use crate::service::Service;
use crate::tables::{one, pair};
use crate::write::{until_committed, Attempt};

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

/// An import of claims: none knows its codes who has only its key, or only the database.
#[derive(Clone)]
pub(crate) struct Codes {
    /// The name of the import.
    name: [u8; 32],
    key: Arc<Secret<[u8; 32]>>,
}

impl Codes {
    /// Those of an import of this account with this key: the account by its row, since names are given again. The first call
    /// draws what they follow from; a dry run keeps nothing.
    pub(crate) async fn of(
        service: &Service,
        account: &[u8; 32],
        tenant: &TenantId,
        (key, dry_run): (&str, bool),
    ) -> Result<Self, Refused> {
        let text = Secret::new(
            [account.as_slice(), tenant.as_str().as_bytes(), b" ", key.as_bytes()].concat(),
        );
        let name = sha256(text.expose());
        let salt = salt(service, tenant, &name, dry_run).await?;
        let seed = service.founder.expose_seed();
        let key = mac::of(seed.as_slice(), &[CODES, &salt, text.expose()]);
        Ok(Self { name, key: Arc::new(key) })
    }

    fn code(&self, line: u64) -> Secret<String> {
        let drawn = mac::of(self.key.expose(), &[&line.to_be_bytes()]);
        code::spell(drawn.expose())
    }
}

async fn salt(
    service: &Service,
    tenant: &TenantId,
    name: &[u8; 32],
    dry_run: bool,
) -> Result<[u8; 32], Refused> {
    let (table, row) = (&service.tables.claim_imports, pair(tenant, *name));
    until_committed(async || {
        if let Some(import) = table.get(row.clone()).await? {
            return Ok(Attempt::Committed(import.salt));
        }
        let salt = random::bytes(&*service.random)?;
        if dry_run {
            return Ok(Attempt::Committed(salt));
        }
        if table.scan(&one(tenant.as_str()), None, CLAIM_IMPORTS).await?.len() >= CLAIM_IMPORTS {
            let why = format!(
                "the tenant had {CLAIM_IMPORTS} imports of claims in the last 30 days: send more lines in each"
            );
            return Err(Refused::because(RefusalCode::LimitReached, why));
        }
        let touched = service.time.stamp().get();
        let import = ClaimImportRecord { salt, touched, made: Lines::default() };
        let mut batch = Batch::new();
        batch.insert(table, row.clone(), &import);
        Ok(service.write_unnoted(batch).await?.map(|()| salt))
    })
    .await
}

/// The import as a batch has read it, and its lines.
#[derive(Default)]
pub(crate) struct Seen {
    import: Option<ClaimImportRecord>,
    /// Places for further claims; a dry run takes them over all of its batches.
    places: Option<Places>,
    /// Lines of the batch that make claims.
    made: Vec<u64>,
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
    type Seen = Seen;
    /// None in a dry run.
    type Told = Option<Told>;

    /// Claims change the count of their tenant, which others would take from each other.
    async fn turn(service: &Service) -> Option<MutexGuard<'_, ()>> {
        Some(service.claims_turn.lock().await)
    }

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
        if judge.seen.import.is_none() {
            let name = pair(&import.tenant, import.with.name);
            judge.seen.import = service.tables.claim_imports.get(name).await?;
        }
        if judge.seen.import.as_ref().is_some_and(|import| import.made.contain(number)) {
            let why = "the claim of this line was deleted, or has ended: send the line in an import with another key";
            return Ok(Err(Fault {
                field: None,
                refused: Refused::because(RefusalCode::ClaimUnknown, why),
            }));
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
        let mut places = match judge.seen.places.take() {
            Some(places) => places,
            None => open_claims::places(service, &import.tenant, IMPORT_BATCH as u64).await?,
        };
        let taken = places.take(service, 1);
        judge.seen.places = Some(places);
        if let Err(refused) = taken {
            return Ok(Err(Fault { field: None, refused }));
        }
        let record = self.record(service.now().get(), &import.by.name);
        judge.prepared.batch.insert(table, row, &record);
        let entry = judge.entry("claim.import", number, &code::id(&hash), &self.words());
        judge.prepared.entries.push(entry);
        judge.seen.made.push(number);
        Ok(Ok(Outcome::Imported(told(record.expires))))
    }

    /// Keeps which lines have had a claim: one that is deleted is not made anew.
    fn close(judge: &mut Judge<'_, Self>) -> Result<(), Refused> {
        let (service, import) = (judge.service, judge.of);
        let made = std::mem::take(&mut judge.seen.made);
        if import.dry_run || made.is_empty() {
            return Ok(());
        }
        // It was removed meanwhile: the next call begins anew.
        let Some(old) = &judge.seen.import else { return Err(RefusalCode::NotReady.into()) };
        let mut new = ClaimImportRecord { touched: service.time.stamp().get(), ..old.clone() };
        made.into_iter().for_each(|line| new.made.add(line));
        if new.made.ranges() > CLAIM_IMPORT_RANGES {
            let why = "too many lines between others were refused: send the rest in an import with another key";
            return Err(Refused::because(RefusalCode::LimitReached, why));
        }
        let (table, row) = (&service.tables.claim_imports, pair(&import.tenant, import.with.name));
        judge.prepared.batch.expect(table, row.clone(), old);
        judge.prepared.batch.put(table, row, &new);
        if let Some(places) = &judge.seen.places {
            places.write(service, &mut judge.prepared.batch, &import.tenant);
        }
        Ok(())
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
