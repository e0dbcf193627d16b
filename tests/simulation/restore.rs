//! Provisioning comes back from an older copy of its folder, with the mark that `tessera restore` sets or without it.
//!
//! Changes after the copy are lost, except those that a reader knew: readers show them, and the service takes them in.
//! Which of both holds stays open until all faults have ended for a minute ([`World::settle_loss`]). Until then the
//! model promises nothing of the lost part, but that a verifier which knew of a revocation goes on refusing.

use std::path::PathBuf;

use tessera_token::time::UnixSeconds;
use tessera_token::trust::Snapshot;

use super::device::TENANT;
use super::machine::End;
use super::model::{Loss, Model, UNHEARD};
use super::world::{World, GATES};

/// A copy of the office, and the promises at the time when it was made.
pub struct Copy {
    folder: PathBuf,
    model: Model,
    claims: Vec<Option<String>>,
}

impl World {
    /// Copies the folder of the service.
    pub async fn back_up_office(&mut self) -> Result<(), String> {
        if !self.office.is_up() || self.model.loss.is_some() || self.faults.office_is_full() {
            return Ok(());
        }
        self.hear_events().await?;
        let folder = self.office.machine.copy_to("backup");
        let claims = self.devices.iter().map(|device| device.claim.clone()).collect();
        self.trail.add("office is backed up");
        self.office_copy = Some(Copy { folder, model: self.model.clone(), claims });
        Ok(())
    }

    /// The service begins again with the copy. It is used once: a second service from it would be a second past.
    pub async fn restore_office(&mut self) -> Result<(), String> {
        let Some(copy) = self.office_copy.take() else { return Ok(()) };
        let marked = self.chance.hits(500);
        self.trail.add(format!("office begins again with an old copy, marked: {marked}"));
        self.counts.restores += 1;
        self.office.end(End::Kill, 0, self.now).await;
        self.net.clear();
        self.faults.office_begins_anew();
        self.office.machine.next_life(self.now, Some(&copy.folder));
        if marked {
            let folder = self.office.machine.folder().join("provisioning/store");
            let now = UnixSeconds::new(self.now / 1000);
            tessera_provisioning::mark_restored(&folder, now).map_err(|error| error.to_string())?;
        }
        self.lose(copy, marked);
        self.start(0).await
    }

    /// Changes after the copy are promised no more.
    fn lose(&mut self, copy: Copy, marked: bool) {
        let (head, known) = (copy.model.head, copy.model.tokens.len());
        for (at, token) in self.model.tokens.iter_mut().enumerate() {
            token.lost |= at >= known;
            let Some(ended) = token.ended.as_mut().filter(|ended| ended.seq > head) else {
                continue;
            };
            let who_knew = (0..GATES.len()).filter(|gate| self.reached[*gate] >= ended.seq);
            self.turned_away.extend(who_knew.map(|gate| (gate, at)));
            (ended.seq, ended.sure) = (UNHEARD, false);
        }
        let Model { mut devices, groups, tenant, refreshed, audit, audited, .. } = copy.model;
        devices.iter_mut().for_each(|known| known.revoked = None);
        for (at, claim) in copy.claims.into_iter().enumerate() {
            let device = &mut self.devices[at];
            (device.claim, device.request, device.waiting) = (claim, None, None);
            if !devices[at].enrolled {
                device.token = None;
            }
        }
        let model = &mut self.model;
        (model.devices, model.groups, model.tenant) = (devices, groups, tenant);
        (model.refreshed, model.audit, model.audited) = (refreshed, audit, audited);
        (model.suspended, model.head) = (None, head);
        // Without the mark it does not know that it lost anything before the first reader tells it.
        if !marked {
            model.events.retain(|seq, _| *seq <= head);
            model.serials.retain(|_, token| *token < known);
        }
        model.loss = Some(Loss { marked });
        for sessions in &mut self.sessions {
            sessions.fill(Default::default());
        }
        self.faults.forget_copies();
    }

    /// The feed goes on from another place: where the newest snapshot stands.
    pub async fn find_feed(&mut self) -> Result<(), String> {
        let pin = self.office.pin.ok_or("no root key")?;
        let call = self.office.of_reader("/v1/trust/snapshot".to_owned());
        let Some((200, body)) = self.office.ask(&call).await else {
            return Err("the feed is gone, and there is no snapshot".to_owned());
        };
        let (snapshot, _) = Snapshot::open(&body, &pin).map_err(|error| error.to_string())?;
        if snapshot.seq <= self.model.head {
            return Err(format!("the feed goes on at {}, not behind what was told", snapshot.seq));
        }
        (self.model.head, self.model.start) = (snapshot.seq, snapshot.seq);
        Ok(())
    }

    /// All readers have shown their knowledge: the state of the service is final from now on.
    pub async fn settle_loss(&mut self) -> Result<(), String> {
        self.hear_events().await?;
        self.model.loss = None;
        let head = self.model.head;
        for (at, token) in self.model.tokens.iter_mut().enumerate() {
            let open = token.ended.filter(|ended| ended.seq == UNHEARD);
            let Some(mut ended) = open else { continue };
            let is_known = ended.sure || self.turned_away.iter().any(|(_, known)| *known == at);
            ended.seq = head;
            token.ended = is_known.then_some(ended);
        }
        for at in 0..self.devices.len() {
            self.model.devices[at].revoked = None;
            if self.model.devices[at].enrolled {
                let path = format!("/v1/tenants/{TENANT}/devices/d-{at}");
                let shown = self.read(path).await?.unwrap_or_default();
                self.model.devices[at].epoch = shown["epoch"].as_u64().unwrap_or(0);
                self.model.devices[at].revoked = Some(shown["state"].as_str() == Some("revoked"));
            }
        }
        self.model.suspended = None;
        for sessions in &mut self.sessions {
            sessions.fill(Default::default());
        }
        self.trail.add("what readers knew of the lost part is taken in");
        Ok(())
    }
}
