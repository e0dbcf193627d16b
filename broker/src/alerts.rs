//! `$tessera/alerts`: what behaviour tracking noticed, to those of the same tenant whose scope says so.

use std::sync::Arc;

use tessera_agent::behaviour::Alert;
use tessera_runtime::metrics::Counter;
use tessera_runtime::stop::Stop;
use tessera_token::ids::TenantId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::Receiver;

use crate::authorisation::ControlTopic;
use crate::control_topics;
use crate::hub::Hub;
use crate::limits::ALERT_BYTES;
use crate::routing::Push;

/// Publishes alerts until the broker stops. The right to receive is asked again as each is written.
pub(crate) async fn watch(hub: Arc<Hub>, mut alerts: Receiver<Arc<Alert>>, stop: Stop) {
    loop {
        let alert = tokio::select! {
            () = stop.stopping() => return,
            alert = next(&mut alerts, &hub.metrics.dropped) => alert,
        };
        let Some(alert) = alert else { return };
        publish(&hub, &alert);
    }
}

/// The next one that is still there; those that are not are counted. Cancel-safe.
async fn next(alerts: &mut Receiver<Arc<Alert>>, dropped: &Counter) -> Option<Arc<Alert>> {
    loop {
        match alerts.recv().await {
            Ok(alert) => return Some(alert),
            Err(RecvError::Lagged(missed)) => dropped.add(&["alerts_lagged", "1"], missed),
            Err(RecvError::Closed) => return None,
        }
    }
}

/// The payload of the alert; `None` when it is longer than [`ALERT_BYTES`].
fn text(alert: &Alert, limits_hit: &Counter) -> Option<String> {
    let text = serde_json::to_string(alert).ok()?;
    if text.len() > ALERT_BYTES {
        limits_hit.inc(&["alert_bytes"]);
        return None;
    }
    Some(text)
}

fn publish(hub: &Hub, alert: &Alert) {
    let Some(text) = text(alert, &hub.metrics.limits_hit) else { return };
    // Guesses of names without any token are about no tenant: they are in the log and the metrics alone.
    let Ok(tenant) = TenantId::parse(&alert.tenant) else { return };
    for session in hub.alerts.of(&tenant) {
        let told = control_topics::tell(&session, ControlTopic::Alerts, text.clone().into_bytes());
        if told != Some(Push::Taken) {
            hub.metrics.dropped.inc(&["alert_not_taken", "1"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::BrokerMetrics;
    use tessera_agent::behaviour::{Signal, Subject};
    use tessera_agent::limits::ALERTS;
    use tessera_runtime::metrics::Metrics;
    use tokio::sync::broadcast::Sender;

    fn alert(number: u64, words: usize) -> Alert {
        let (name, words) = ("stolen_token".to_owned(), "x".repeat(words));
        Alert {
            tenant: "acme".to_owned(),
            subject: Subject::Device("d-1".to_owned()),
            alert: number,
            signals: vec![Signal { name, words, evidence: 14.0, since: 1 }],
            ..Alert::default()
        }
    }

    #[tokio::test]
    async fn alerts_that_came_too_fast_are_counted_and_the_rest_comes() {
        let metrics = BrokerMetrics::new(&Metrics::new()).unwrap();
        let alerts = Sender::new(ALERTS);
        let mut receiver = alerts.subscribe();
        let most = ALERTS as u64;
        for number in 0..most + 7 {
            alerts.send(Arc::new(alert(number, 1))).unwrap();
        }
        drop(alerts);
        for number in 7..most + 7 {
            assert_eq!(next(&mut receiver, &metrics.dropped).await.unwrap().alert, number);
        }
        assert!(next(&mut receiver, &metrics.dropped).await.is_none());
        assert_eq!(metrics.dropped.value(&["alerts_lagged", "1"]), 7);
    }

    #[test]
    fn an_alert_that_is_too_long_is_left_out() {
        let metrics = BrokerMetrics::new(&Metrics::new()).unwrap();
        let hit = || metrics.limits_hit.value(&["alert_bytes"]);
        let frame = text(&alert(1, 0), &metrics.limits_hit).unwrap().len();
        let most = ALERT_BYTES - frame;
        let longest = text(&alert(1, most), &metrics.limits_hit).unwrap();
        assert_eq!((longest.len(), hit()), (frame + most, 0));
        assert_eq!((text(&alert(1, most + 1), &metrics.limits_hit), hit()), (None, 1));
    }
}
