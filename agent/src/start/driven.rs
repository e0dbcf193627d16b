//! A verifier without threads and sockets, for simulations (feature `testing`): the store, the trust state, the step of
//! the synchronisation, the ledger and the validator of a real agent, and nothing that runs by itself.

use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SharedRandom;
use tessera_token::time::UnixSeconds;

use super::{Agent, Opened};
use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::sync::{path, Ask, FetchError, Next, SyncCore};
use crate::validator::Validator;

/// A verifier that does nothing but what it is told.
pub struct Driven {
    agent: Agent,
    clock: SharedClock,
    core: SyncCore,
    next: Next,
    cleaned_to: Option<Vec<u8>>,
}

/// An answer of the feed: the body, or the status and the code of a refusal.
pub type Answer = Result<Vec<u8>, (u16, Option<String>)>;

/// A request to the trust feed.
pub struct Asked {
    /// The pause before it.
    pub wait: Duration,
    /// Path and query.
    pub path: String,
    /// The posted messages; a GET without it.
    pub shows: Option<Vec<u8>>,
}

impl Driven {
    /// Opens the store and reads trust back, as [`Agent::start`] does. The feed of the configuration is not asked.
    ///
    /// # Errors
    /// As at every start.
    pub fn open(
        config: &AgentConfig,
        clock: SharedClock,
        random: SharedRandom,
        metrics: &Metrics,
    ) -> Result<Self, AgentError> {
        let opened = Opened::open(config, &clock, random, metrics)?;
        let (agent, mut core) = (opened.agent, opened.core);
        let next = core.first();
        Ok(Self { agent, clock, core, next, cleaned_to: None })
    }

    /// The agent, for a broker around it.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The validator.
    pub fn validator(&self) -> &Validator {
        self.agent.validator()
    }

    /// The time that the verifier goes by.
    pub fn now(&self) -> UnixSeconds {
        self.agent.trust.now()
    }

    /// The next request to the trust feed, and after which pause. The service is not asked to wait for news.
    pub fn asks(&self) -> Asked {
        let shows = matches!(self.next.ask, Ask::Show).then(|| self.core.evidence());
        let path = path(self.next.ask, self.clock.unix());
        let path = match path.split_once("&wait=") {
            Some((front, rest)) => {
                let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{front}&wait=0{rest}")
            }
            None => path,
        };
        Asked { wait: self.next.wait, path, shows }
    }

    /// The answer to its request; `None` when there was none.
    pub fn answered(&mut self, answer: Option<Answer>) {
        let answer = match answer {
            Some(Err((status, code))) => Err(FetchError::of_status(status, code.as_deref())),
            Some(Ok(body)) => Ok(body),
            None => Err(FetchError::Timeout),
        };
        self.next = self.core.answer(self.next.ask, answer);
    }

    /// The step of the trust actor every second.
    pub fn tick(&mut self) {
        self.core.tick();
    }

    /// Used proofs of seconds that may come again are written down: every ten seconds. A write of the reserve, which takes
    /// no time on a virtual clock, is waited for.
    pub async fn write_back(&mut self) {
        // A store that does not write is told by the next proof.
        while let Ok(false) = self.agent.ledger.write_back(self.agent.trust.now()).await {
            tokio::task::yield_now().await;
        }
    }

    /// One step of the ledger's clean-up.
    pub async fn upkeep(&mut self) {
        let (ledger, now) = (&self.agent.ledger, self.agent.trust.now());
        // A store that does not write is told by the next proof.
        let _ = ledger.clean_former(now).await;
        self.cleaned_to = ledger.clean(self.cleaned_to.take(), now).await.unwrap_or(None);
    }

    /// Asks the store whether there is room on its disk again, as it does by itself from time to time. Whether it writes.
    pub async fn look_for_room(&self) -> bool {
        self.agent.store.barrier().await.is_ok() && self.agent.store.is_healthy()
    }

    /// Ends it in order.
    pub fn close(mut self) {
        self.core.finish();
        let _ = self.agent.close();
    }

    /// Lets go of the files without the order of a stop; see the same of provisioning.
    pub fn abandon(self) {
        let _ = self.agent.close();
    }
}
