//! Import of devices whose keys are known. An imported device has no token: it asks for its first one by its key.

use std::collections::HashMap;

use tessera_token::encoding::hex;
use tessera_token::hash::sha256;
use tessera_token::ids::{DeviceId, GroupId, RoleId};
use tessera_token::key::PublicKey;
use tessera_token::refusal::RefusalCode;

use super::{there, Fault, Judge, Judged, Outcome, Wanted};
use crate::records::{Attributes, DeviceRecord, Suspension};
use crate::refused::Refused;
use crate::registry::standing::State;
use crate::registry::{attributes, departure, device_keys};
use crate::room::{Load, Purpose};
use crate::tables::pair;

/// A device as a line describes it.
#[derive(Debug, Clone)]
pub(crate) struct WantedDevice {
    pub(crate) device: DeviceId,
    pub(crate) key: PublicKey,
    pub(crate) role: RoleId,
    pub(crate) group: GroupId,
    pub(crate) attributes: Attributes,
    /// Its own state: that of its group is not its own.
    pub(crate) state: State,
}

impl WantedDevice {
    /// The first member by which a device that is there differs.
    fn differs(&self, record: &DeviceRecord) -> Option<&'static str> {
        let members = [
            ("key", record.key == self.key.as_bytes()),
            ("role", record.role == self.role.as_str()),
            ("group", record.group == self.group.as_str()),
            ("attributes", record.attributes == self.attributes),
            ("state", State::of(record, None) == self.state),
        ];
        members.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }

    fn digest(&self) -> [u8; 32] {
        let Self { key, role, group, attributes, state, .. } = self;
        let key = hex::encode(key.thumbprint().as_bytes());
        sha256(
            format!("{key} {role} {group} {:?} {}", attributes.values(), state.as_str()).as_bytes(),
        )
    }
}

/// Devices and keys of former lines that no row of the database tells: those of the batch, and in a dry run those of all.
#[derive(Default)]
pub(crate) struct Seen {
    /// The digest of the line of each device.
    devices: HashMap<String, [u8; 32]>,
    /// Thumbprints.
    keys: HashMap<[u8; 32], String>,
    /// Room that these devices would take.
    load: Load,
}

impl Wanted for WantedDevice {
    const KIND: &'static str = "devices";
    type With = ();
    type Seen = Seen;
    type Told = ();

    async fn judge(&self, number: u64, judge: &mut Judge<'_, Self>) -> Judged<()> {
        let (service, import) = (judge.service, judge.of);
        let tenant = &import.tenant;
        let row = pair(tenant, self.device.as_str());
        let here = service.tables.devices.get(row.clone()).await?;
        if let Some(record) = here {
            return Ok(match self.differs(&record) {
                None => Ok(Outcome::Unchanged(())),
                Some(field) => Err(there(field, "the device is there already, and differs")),
            });
        }
        let (digest, thumbprint) = (self.digest(), *self.key.thumbprint().as_bytes());
        if let Some(known) = judge.seen.devices.get(self.device.as_str()) {
            return Ok(match *known == digest {
                true => Ok(Outcome::Unchanged(())),
                false => Err(there("device", "a former line has this device, and differs")),
            });
        }
        if judge.seen.keys.contains_key(&thumbprint) {
            return Ok(Err(there("key", "a device of a former line has this key")));
        }
        if let Err(fault) = judge.rights((&self.role, &self.group), &self.attributes).await? {
            return Ok(Err(fault));
        }
        let found = device_keys::check(service, tenant, &self.device, &self.key).await;
        if let Some(fault) = of_line("key", found)?.err() {
            return Ok(Err(fault));
        }
        let (floor, batch) = (judge.floor, &mut judge.prepared.batch);
        let of_device = (tenant, &self.device);
        let epoch = departure::first_epoch_from(service, floor, of_device, batch).await;
        let epoch = match of_line("device", epoch)? {
            Ok(epoch) => epoch,
            Err(fault) => return Ok(Err(fault)),
        };
        let record = self.record(judge, epoch, thumbprint);
        if judge.owner.keys_published {
            let change = record.key_change(tenant, &self.device);
            if import.dry_run {
                let load =
                    Load::device_key(tenant.as_str(), self.device.as_str(), record.key.len());
                let all = judge.seen.load.plus(&load);
                let room = service.room_for(tenant.as_str(), all, Purpose::Growth).await;
                if let Err(refused) = room {
                    return Ok(Err(Fault { field: None, refused }));
                }
                judge.seen.load = all;
            }
            judge.prepared.changes.push(change);
        }
        let (tables, batch) = (&service.tables, &mut judge.prepared.batch);
        attributes::index(tables, batch, of_device, &Attributes::default(), &record.attributes);
        batch.insert(&tables.devices, row, &record);
        let entry = judge.entry("device.import", number, self.device.as_str(), &self.told());
        judge.prepared.entries.push(entry);
        judge.seen.devices.insert(self.device.as_str().to_owned(), digest);
        judge.seen.keys.insert(thumbprint, self.device.as_str().to_owned());
        Ok(Ok(Outcome::Imported(())))
    }
}

impl WantedDevice {
    fn record(&self, judge: &Judge<'_, Self>, epoch: u64, thumbprint: [u8; 32]) -> DeviceRecord {
        let now = judge.service.now().get();
        let suspension = || Suspension { at: now, by: judge.of.by.name.clone(), reason: None };
        DeviceRecord {
            role: self.role.as_str().to_owned(),
            group: self.group.as_str().to_owned(),
            key: self.key.as_bytes().to_vec(),
            epoch,
            revoked: self.state == State::Revoked,
            enrolled: now,
            claim: judge.of.id.clone(),
            attributes: self.attributes.clone(),
            // Refresh tokens of a former device of this id have ended.
            refresh_from: Some(epoch),
            suspended: (self.state == State::Suspended).then(suspension),
            thumbprint: Some(thumbprint),
        }
    }

    /// The words of the audit log.
    fn told(&self) -> Vec<String> {
        let first = format!("role {} group {}", self.role, self.group);
        let state = match self.state {
            State::Active => None,
            state => Some(state.as_str().to_owned()),
        };
        let none = Attributes::default();
        let set = attributes::told(&none, &self.attributes);
        std::iter::once(first).chain(state).chain(set).collect()
    }
}

/// A refusal of one line, apart from those that concern all.
fn of_line<T>(field: &'static str, found: Result<T, Refused>) -> Result<Result<T, Fault>, Refused> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(refused) => match refused.code {
            RefusalCode::AlreadyExists | RefusalCode::ConfirmationKey => {
                Ok(Err(Fault::of(field, refused)))
            }
            _ => Err(refused),
        },
    }
}
