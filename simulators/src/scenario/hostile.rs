//! The four who misbehave, and the backend that hears of them.

use std::sync::Arc;
use std::time::Duration;

use tessera_token::ids::{DeviceId, VerifierName};
use tokio::sync::mpsc;

use super::expectations::{Found, Named};
use super::{News, Run, Say, ScenarioError, DRAIN};
use crate::device::life::{Device, Habits};
use crate::fleet::{until, FleetError};
use crate::limits;
use crate::mqtt::{Link, Version};
use crate::personas::backend::Heard;
use crate::personas::revoked::{self, CutError};
use crate::personas::thief::{self, Loot};
use crate::personas::{prober, Backend, Flooder};
use crate::report::render;

/// How long the flooder behaves before it floods, and how much it then sends.
const CALM: Duration = Duration::from_secs(4);
const FLOOD_PER_SECOND: u32 = 400;
const FLOOD_TICK: Duration = Duration::from_millis(50);
/// How long the backend may take to subscribe: a connection that failed once, and one more.
const READY: Duration = Duration::from_secs(2 * limits::CONNECT_SECONDS + limits::ANSWER.as_secs());
/// Telemetry, alerts and its own tokens.
const BACKEND_FILTERS: u64 = 3;
/// Rounds of thief and prober: one mistake is no pattern.
const ROUNDS: usize = 3;

impl Run {
    /// Starts the backend and waits for its subscriptions: what is published before them is not seen.
    pub(super) async fn start_backend(
        &self,
        devices: Vec<DeviceId>,
        others: mpsc::Sender<Heard>,
    ) -> Result<(), ScenarioError> {
        let verifier = self.plan.verifier.clone();
        let habits = Habits { version: Version::V5, verifier, ..Habits::default() };
        let id = self.name("backend");
        let backend = self.enrol(&id, &self.plan.backend_role, habits).await?;
        let duty = Backend::new(
            Arc::clone(&self.fleet.tally),
            Arc::clone(&self.clock),
            devices,
            format!("d/{}sensor-", self.plan.prefix),
            others,
        );
        let life = backend.live(Box::new(duty), self.others.clone(), self.stop.clone());
        self.stop.spawn("backend", life);
        let tally = &self.others.tally;
        if until(READY, || tally.subscribed.get() >= BACKEND_FILTERS).await {
            return Ok(());
        }
        self.stop.finish(DRAIN).await;
        Err(ScenarioError::NoBackend(tally.report(self.plan.seed, 0, READY).failures_by_code))
    }

    /// Lets thief, prober, flooder and the revoked one act.
    pub(super) async fn misbehave(&self, ids: &[DeviceId], say: Say<'_>) -> Found {
        let named = Named {
            thief: self.name("thief"),
            victim: self.name("victim"),
            prober: self.name("prober"),
            flooder: self.name("flooder"),
            revoked: self.name("revoked"),
        };
        let mut found = Found { named, ..Found::default() };
        found.note(self.flood(&found.named.flooder, say).await);
        match self.steal(&found.named, say).await {
            Ok(theft) => found.theft = Some(theft),
            Err(error) => found.note(Err(error)),
        }
        match self.probe(&found.named.prober, ids, say).await {
            Ok(probe) => found.probe = Some(probe),
            Err(error) => found.note(Err(error)),
        }
        match self.revoke(&found.named.revoked, say).await {
            Ok(cut) => found.cut = Some(cut),
            Err(error) => found.note(Err(error)),
        }
        found
    }

    async fn steal(&self, named: &Named, say: Say<'_>) -> Result<thief::Theft, String> {
        let thief = self.sensor(&named.thief).await?;
        let victim = self.sensor(&named.victim).await?;
        let connect = victim.connect(&self.plan.broker);
        let link = Link::open(&connect).await.map_err(|closed| closed.to_string())?;
        let verifier = self.plan.verifier.as_ref().map(VerifierName::to_string);
        let loot = Loot { token: victim.token().clone(), verifier, connect };
        let mut sum = thief::Theft::default();
        for _ in 0..ROUNDS {
            let key = &thief.identity.key;
            let theft = thief::attempt(&loot, key, &self.clock, &self.others.tally).await;
            sum.attempts += theft.attempts;
            sum.refused += theft.refused;
            sum.breaches.extend(theft.breaches);
        }
        link.close().await;
        say(News::Note(&format!(
            "{} showed the copied token of {}: {} of {} attempts refused",
            named.thief, named.victim, sum.refused, sum.attempts
        )));
        Ok(sum)
    }

    async fn probe(
        &self,
        id: &str,
        ids: &[DeviceId],
        say: Say<'_>,
    ) -> Result<prober::Probe, String> {
        let device = self.sensor(id).await?;
        let others: Vec<String> = ids.iter().take(8).map(ToString::to_string).collect();
        let (topics, filters) = (prober::topics(id, &others), prober::filters(id, &others));
        let mut sum = prober::Probe::default();
        for _ in 0..ROUNDS {
            let connect = || device.connect(&self.plan.broker);
            let probe = prober::attempt(connect, &topics, &filters, &self.others.tally).await;
            sum.attempts += probe.attempts;
            sum.refused += probe.refused;
            sum.unanswered += probe.unanswered;
            sum.breaches.extend(probe.breaches);
        }
        say(News::Note(&format!(
            "{id} tried topics that are not its own: {} of {} attempts refused",
            sum.refused, sum.attempts
        )));
        Ok(sum)
    }

    async fn flood(&self, id: &str, say: Say<'_>) -> Result<(), String> {
        let device = self.sensor_with(id, FLOOD_TICK).await?;
        let duty = Flooder::new(
            device.identity.device.clone(),
            Arc::clone(&self.clock),
            CALM,
            FLOOD_PER_SECOND,
            FLOOD_TICK,
        );
        let mut world = self.others.clone();
        // Its lost connections are no failures of honest devices.
        world.tally = Arc::default();
        self.stop.spawn("flooder", device.live(Box::new(duty), world, self.stop.clone()));
        say(News::Note(&format!(
            "{id} will publish {FLOOD_PER_SECOND} messages a second to its own topic"
        )));
        Ok(())
    }

    async fn revoke(&self, id: &str, say: Say<'_>) -> Result<revoked::Cut, String> {
        let device = self.sensor(id).await?;
        let first = device.connect(&self.plan.broker);
        let order = async {
            let revoked = self.plan.operator.revoke_device(&self.plan.tenant, id).await;
            revoked.map_err(|error| error.to_string())
        };
        let again = || device.connect(&self.plan.broker);
        let cut = revoked::measure(&first, order, again, &self.clock).await;
        let cut = cut.map_err(|error| words(id, error))?;
        say(News::Note(&format!(
            "{id} was revoked, and cut off {} after the answer",
            render::duration(cut.took)
        )));
        Ok(cut)
    }

    async fn sensor(&self, id: &str) -> Result<Device, String> {
        self.sensor_with(id, self.plan.publish_every).await
    }

    async fn sensor_with(&self, id: &str, tick: Duration) -> Result<Device, String> {
        let verifier = self.plan.verifier.clone();
        let habits = Habits { tick, version: Version::V5, verifier, ..Habits::default() };
        let role = &self.plan.sensor_role;
        self.enrol(id, role, habits).await.map_err(|error| error.to_string())
    }

    async fn enrol(&self, id: &str, role: &str, habits: Habits) -> Result<Device, FleetError> {
        let tally = &self.others.tally;
        self.yard.enrol_single(&self.plan.tenant, role, id, habits, tally).await
    }

    fn name(&self, persona: &str) -> String {
        format!("{}{persona}", self.plan.prefix)
    }
}

fn words(id: &str, error: CutError) -> String {
    match error {
        CutError::NotConnected(closed) => format!("{id} could not connect: {closed}"),
        CutError::NotRevoked(why) => format!("{id} could not be revoked: {why}"),
        CutError::StillOpen => format!("{id} was revoked, and its connection stayed open"),
    }
}
