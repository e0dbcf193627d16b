//! The state behind all routes.

use std::time::Duration;

use tessera_runtime::http::server::ServerMetrics;
use tessera_runtime::metrics::{Counter, Metrics, MetricsError};
use tessera_runtime::random::SharedRandom;

use super::sessions::Sessions;
use crate::behaviour::Observer;
use crate::start::Agent;
use crate::validator::Validator;

pub(super) struct State {
    pub(super) http: ServerMetrics,
    pub(super) validator: Validator,
    pub(super) observer: Observer,
    pub(super) sessions: Sessions,
    pub(super) random: SharedRandom,
    pub(super) metrics: Metrics,
    pub(super) answers: Counter,
    pub(super) decisions: Counter,
    pub(super) reports: Counter,
    pub(super) body_time: Duration,
}

impl State {
    pub(super) fn new(
        agent: &Agent,
        random: SharedRandom,
        metrics: &Metrics,
        body_time: Duration,
    ) -> Result<Self, MetricsError> {
        let answers = metrics.counter(
            "tessera_agent_validations_total",
            "Credentials judged over HTTP, by outcome",
            &["outcome"],
        )?;
        let decisions = metrics.counter(
            "tessera_agent_decisions_total",
            "Decisions of sessions over HTTP, by action and outcome",
            &["action", "outcome"],
        )?;
        let reports = metrics.counter(
            "tessera_agent_reports_total",
            "Reports of other programs, by kind and outcome",
            &["kind", "outcome"],
        )?;
        let open =
            metrics.gauge("tessera_agent_sessions", "Decision sessions that are open", &[])?;
        Ok(Self {
            http: ServerMetrics::register(metrics, "tessera_agent")?,
            validator: agent.validator().clone(),
            observer: agent.observer().clone(),
            sessions: Sessions::new(open),
            random,
            metrics: metrics.clone(),
            answers,
            decisions,
            reports,
            body_time,
        })
    }

    /// Lets the sessions go whose token has ended, and that their caller did not close.
    pub(super) fn sweep(&self) {
        for gone in self.sessions.sweep(|grant| self.validator.still_holds(grant)) {
            gone.disconnected(&self.observer, false);
        }
    }
}
