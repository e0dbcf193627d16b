//! Devices that are not of the run: the reader of the demo enrols and connects one. The audit log tells of enrolment,
//! revocation and return, the backend hears their messages, and [`Presence`] says which of their clients are connected.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tessera_runtime::stop::Stop;
use tessera_token::ids::{DeviceId, TenantId};
use tokio::sync::mpsc;

use super::{News, Run, Say};
use crate::limits;
use crate::operator::{segment, OperatorClient};
use crate::personas::backend::Heard;

/// Client ids of a device that are connected now.
pub type Presence = Arc<dyn Fn(&TenantId, &DeviceId) -> Vec<String> + Send + Sync>;

/// How often audit log and presence are asked.
const LOOK: Duration = Duration::from_millis(250);

/// Entries of one look: the enrolments of a whole fleet are among the first.
const AT_ONCE: usize = 1000;

/// One such device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Guest {
    /// Its id.
    pub device: String,
    /// Its clients that are connected.
    pub clients: Vec<String>,
    /// Messages of it that the backend received.
    pub messages: u64,
    /// The last one, as far as it can be shown.
    pub last: String,
    /// Whether an operator has revoked it.
    pub revoked: bool,
}

/// All of them, up to [`limits::GUESTS`].
#[derive(Default)]
pub(super) struct Guests {
    cast: BTreeSet<String>,
    list: Vec<Guest>,
}

impl Guests {
    /// All devices but those of the run.
    pub(super) fn but(cast: BTreeSet<String>) -> Self {
        Self { cast, list: Vec::new() }
    }

    fn find(&mut self, device: &str) -> Option<&mut Guest> {
        if self.cast.contains(device) || DeviceId::parse(device).is_err() {
            return None;
        }
        let known = self.list.iter().position(|guest| guest.device == device);
        if known.is_none() && self.list.len() == limits::GUESTS {
            return None;
        }
        let at = known.unwrap_or_else(|| {
            self.list.push(Guest { device: device.to_owned(), ..Guest::default() });
            self.list.len() - 1
        });
        self.list.get_mut(at)
    }

    /// Takes an entry of the audit log in; what there is to tell.
    fn audited(&mut self, entry: &Value) -> Option<String> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let told = match text("action") {
            "device.enrol" => "enrolled: its key is its own, and it has a token",
            "device.revoke" => {
                "was revoked: its tokens are refused everywhere, and it gets no new one"
            }
            "device.reinstate" => "was reinstated: with its key it can refresh its token",
            _ => return None,
        };
        let revoked = text("action") == "device.revoke";
        let guest = self.find(text("subject"))?;
        guest.revoked = revoked;
        Some(format!("{} {told}", guest.device))
    }

    /// Takes a message in. The first one of a device is told.
    fn heard(&mut self, heard: &Heard) -> Option<String> {
        let guest = self.find(&heard.device)?;
        guest.messages += 1;
        guest.last.clone_from(&heard.shown);
        let first = guest.messages == 1;
        first.then(|| format!("{} published {}", guest.device, guest.last))
    }

    /// Takes in which clients are connected now.
    fn present(&mut self, ask: impl Fn(&DeviceId) -> Vec<String>) -> Vec<String> {
        let mut told = Vec::new();
        for guest in &mut self.list {
            let Ok(device) = DeviceId::parse(&guest.device) else { continue };
            let now = ask(&device);
            let was = std::mem::replace(&mut guest.clients, now);
            for client in guest.clients.iter().filter(|client| !was.contains(client)) {
                told.push(format!("{client} connected with proof"));
            }
            let gone = was.iter().filter(|client| !guest.clients.contains(client));
            let how = if guest.revoked { "was cut off" } else { "left" };
            told.extend(gone.map(|client| format!("{client} {how}")));
        }
        told
    }
}

impl Run {
    /// Tells of guests since the entry `cursor` of the audit log, until `stop`; ends at once when nothing says who is present.
    pub(super) async fn watch_guests(
        &self,
        ids: &[DeviceId],
        mut cursor: u64,
        mut heard: mpsc::Receiver<Heard>,
        stop: &Stop,
        say: Say<'_>,
    ) -> Vec<Guest> {
        let Some(presence) = &self.plan.presence else { return Vec::new() };
        let mut guests = Guests::but(self.cast(ids));
        let mut shown = Vec::new();
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            let mut told = tokio::select! {
                () = stop.stopping() => return guests.list,
                Some(heard) = heard.recv() => Vec::from_iter(guests.heard(&heard)),
                _ = ticks.tick() => {
                    let entries = since(&self.plan.operator, &mut cursor).await;
                    let told = entries.iter().filter_map(|entry| guests.audited(entry));
                    told.collect()
                }
            };
            told.extend(guests.present(|device| presence(&self.plan.tenant, device)));
            for words in &told {
                say(News::Guest(words));
            }
            // Each news is a new screen, and the messages of the fleet come here too.
            if shown != guests.list {
                say(News::Guests(&guests.list));
                shown.clone_from(&guests.list);
            }
        }
    }

    fn cast(&self, ids: &[DeviceId]) -> BTreeSet<String> {
        const PERSONAS: [&str; 6] = ["backend", "thief", "victim", "prober", "flooder", "revoked"];
        let personas = PERSONAS.iter().map(|persona| format!("{}{persona}", self.plan.prefix));
        ids.iter().map(ToString::to_string).chain(personas).collect()
    }
}

/// The number of the last entry: what happened before the run is not of interest.
pub(super) async fn end_of_audit(operator: &OperatorClient) -> u64 {
    let head = operator.get("/v1/audit/head").await.unwrap_or_default();
    head.get("length").and_then(Value::as_u64).unwrap_or_default()
}

/// The entries behind the cursor, which moves on. None when the service does not answer: the next look asks again.
async fn since(operator: &OperatorClient, cursor: &mut u64) -> Vec<Value> {
    let path = format!("/v1/audit?limit={AT_ONCE}&cursor={}", segment(&cursor.to_string()));
    let mut page = operator.get(&path).await.unwrap_or_default();
    let items = page.get_mut("items").map(Value::take);
    let entries = items.and_then(|items| items.as_array().cloned()).unwrap_or_default();
    let last = entries.last().and_then(|entry| entry.get("seq")?.as_u64());
    *cursor = last.unwrap_or(*cursor);
    entries
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(action: &str, device: &str) -> Value {
        json!({ "action": action, "subject": device })
    }

    fn message(device: &str, shown: &str) -> Heard {
        Heard { device: device.into(), shown: shown.into() }
    }

    #[test]
    fn a_guest_is_named_from_enrolment_to_the_cut() {
        let mut guests = Guests::but(["sensor-1".to_owned()].into());
        assert_eq!(guests.audited(&entry("device.enrol", "sensor-1")), None);
        assert_eq!(guests.audited(&entry("claim.create", "mine")), None);
        assert!(guests.audited(&entry("device.enrol", "mine")).unwrap().starts_with("mine enrol"));
        let there = |_: &DeviceId| vec!["mine".to_owned(), "mine~2".to_owned()];
        assert_eq!(guests.present(there).len(), 2);
        assert!(guests.present(there).is_empty());
        assert_eq!(guests.heard(&message("mine", "21.5")).unwrap(), "mine published 21.5");
        assert_eq!(guests.heard(&message("mine", "21.6")), None);
        assert_eq!(guests.heard(&message("sensor-1", "1")), None);
        assert_eq!((guests.list[0].messages, guests.list[0].last.as_str()), (2, "21.6"));
        assert_eq!(guests.present(|_| vec!["mine".to_owned()]), ["mine~2 left"]);
        assert!(guests.audited(&entry("device.revoke", "mine")).unwrap().contains("was revoked"));
        assert!(guests.list[0].revoked);
        assert_eq!(guests.present(|_| Vec::new()), ["mine was cut off"]);
        guests.audited(&entry("device.reinstate", "mine")).unwrap();
        assert!(!guests.list[0].revoked);
    }

    #[test]
    fn guests_are_bounded_and_have_device_ids() {
        let mut guests = Guests::default();
        for number in 0..2 * limits::GUESTS {
            guests.audited(&entry("device.enrol", &format!("g-{number}")));
        }
        assert_eq!(guests.list.len(), limits::GUESTS);
        assert_eq!(Guests::default().heard(&message("a/b\u{1b}[2J", "x")), None);
    }
}
