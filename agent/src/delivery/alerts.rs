use std::sync::Arc;

use serde_json::{json, Value};

use tessera_token::trust::UplinkReport;

use super::{Fault, Pieces};
use crate::behaviour::KeptAlerts;

/// Alerts. One stays on the disk until its request was answered; provisioning takes each number of a line of alerts once,
/// keeps it in its audit log, and sends it to webhooks.
pub(super) struct Alerts(pub(super) Arc<KeptAlerts>);

impl Pieces for Alerts {
    const NAME: &'static str = "alerts";
    const REPORT: UplinkReport = UplinkReport::Alerts;
    const LETS_GO: bool = false;

    fn next(&self) -> Result<Option<(u64, Value)>, Fault> {
        let waiting = self.0.waiting().map_err(Fault::Store)?;
        let Some(last) = waiting.last().map(|alert| alert.number) else { return Ok(None) };
        let items = waiting.iter().filter_map(|alert| {
            let told: Value = serde_json::from_str(&alert.text).ok()?;
            Some(json!({ "number": alert.number, "alert": told }))
        });
        let line = format!("{:016x}", self.0.line());
        Ok(Some((last, json!({ "line": line, "items": items.collect::<Vec<_>>() }))))
    }

    async fn taken(&self, number: u64) -> Result<(), Fault> {
        self.0.taken(number).await.map_err(Fault::Store)
    }

    async fn more(&self) {
        self.0.more().await;
    }
}
