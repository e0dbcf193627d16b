//! The history of a device id: entries of the audit log about it, found by an index. An id may have belonged to several devices, one
//! after the other: each entry has the number of its device, from 1.

use tessera_token::ids::{DeviceId, TenantId};

use super::tenants;
use crate::audit::Entry;
use crate::limits::AUDIT_LOOK;
use crate::records::Page;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{number, one};

/// Actions upon a device that have another noun.
const OF_TOKENS: [&str; 3] = ["token.revoke", "partner-token.create", "partner-token.delete"];
/// An action upon devices whose subject is the tenant.
const OF_TENANT: &str = "device.publish-keys";

/// An entry upon a device.
pub(crate) struct Event {
    pub(crate) seq: u64,
    /// Devices that had the id up to this one.
    pub(crate) device_number: u64,
    pub(crate) entry: Entry,
}

/// A place in the history: the last entry that was read, and of which device it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    seq: u64,
    device: u64,
    /// Whether that device was deleted.
    is_gone: bool,
}

impl Place {
    const START: Self = Self { seq: 0, device: 1, is_gone: false };

    /// The place behind this entry.
    fn behind(self, seq: u64, action: &str) -> Self {
        match action {
            "device.delete" => Self { seq, is_gone: true, ..self },
            "device.enrol" | "device.import" if self.is_gone => {
                Self { seq, device: self.device + 1, is_gone: false }
            }
            _ => Self { seq, ..self },
        }
    }

    fn parse(cursor: &str) -> Option<Self> {
        let (seq, rest) = cursor.split_once('.')?;
        let (device, gone) = rest.split_once('.')?;
        let is_gone = match gone {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        // Numbers of rows have 63 bits.
        let seq = seq.parse().ok().filter(|seq| i64::try_from(*seq).is_ok())?;
        let device =
            device.parse().ok().filter(|device| (1..=seq).contains(device) || *device == 1)?;
        Some(Self { seq, device, is_gone })
    }

    fn cursor(self) -> String {
        format!("{}.{}.{}", self.seq, self.device, u8::from(self.is_gone))
    }
}

/// Entries of this id, the oldest first. A page looks at so many entries that it stays short.
pub(crate) async fn list(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<Event>, Refused> {
    tenants::known(service, tenant).await?;
    let mut place = match after {
        Some(cursor) => Place::parse(cursor).ok_or_else(|| Refused::malformed("cursor"))?,
        None => Place::START,
    };
    let columns = [("tenant", tenant.as_str().into()), ("subject", device.as_str().into())];
    let (mut items, mut seen) = (Vec::new(), 0);
    loop {
        let most = (limit + 1).min(AUDIT_LOOK);
        let rows = service.tables.audit.find(&columns, Some(&one(place.seq)), most).await?;
        let is_last = rows.len() < most;
        for (key, row) in rows {
            let seq = number(&key, 0)?;
            if items.len() == limit {
                return Ok(Page { items, next: Some(place.cursor()) });
            }
            place = place.behind(seq, &row.entry.action);
            seen += 1;
            if is_of_device(&row.entry.action) {
                items.push(Event { seq, device_number: place.device, entry: row.entry });
            }
        }
        if is_last {
            return Ok(Page { items, next: None });
        }
        if seen >= AUDIT_LOOK {
            return Ok(Page { items, next: Some(place.cursor()) });
        }
    }
}

/// Groups, roles and other things may have the name of a device.
fn is_of_device(action: &str) -> bool {
    let is_device = action.starts_with("device.") && action != OF_TENANT;
    is_device || OF_TOKENS.contains(&action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_device_and_the_next_of_its_id_are_told_apart() {
        let actions = ["device.enrol", "device.enrol", "device.delete", "device.free"];
        let actions = [&actions[..], &["device.enrol", "device.revoke"]].concat();
        let mut place = Place::START;
        let mut numbers = Vec::new();
        for (seq, action) in (5..).zip(actions) {
            place = place.behind(seq, action);
            assert_eq!(Place::parse(&place.cursor()), Some(place));
            numbers.push(place.device);
        }
        assert_eq!(numbers, [1, 1, 1, 1, 2, 2]);
        for bad in ["", "5", "5.1", "5.1.2", "5.0.0", "5.9.0", "-1.1.0", "9223372036854775808.1.0"]
        {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
