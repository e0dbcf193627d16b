//! `$tessera/alerts`: what behaviour tracking noticed, to those of the same tenant whose scope says so.

use std::sync::Arc;

use tessera_agent::behaviour::Alert;
use tessera_runtime::metrics::Counter;
use tessera_runtime::stop::Stop;
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
    let text = alert.to_json().to_string();
    if text.len() > ALERT_BYTES {
        limits_hit.inc(&["alert_bytes"]);
        return None;
    }
    Some(text)
}

fn publish(hub: &Hub, alert: &Alert) {
    let Some(text) = text(alert, &hub.metrics.limits_hit) else { return };
    for session in hub.alerts.of(&alert.tenant) {
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
    use tessera_agent::behaviour::{Signal, SignalName};
    use tessera_agent::limits::ALERTS;
    use tessera_runtime::metrics::Metrics;
    use tessera_token::time::UnixSeconds;
    use tokio::sync::broadcast::Sender;

    fn alert(score: u32, words: usize) -> Alert {
        let name = SignalName::ALL[0];
        Alert {
            tenant: "acme".parse().unwrap(),
            device: "d-1".parse().unwrap(),
            score,
            signals: vec![Signal { name, words: "x".repeat(words), weight: 1 }],
            at: UnixSeconds::new(1),
        }
    }

    #[tokio::test]
    async fn alerts_that_came_too_fast_are_counted_and_the_rest_comes() {
        let metrics = BrokerMetrics::new(&Metrics::new()).unwrap();
        let alerts = Sender::new(ALERTS);
        let mut receiver = alerts.subscribe();
        let most = u32::try_from(ALERTS).unwrap();
        for score in 0..most + 7 {
            alerts.send(Arc::new(alert(score, 1))).unwrap();
        }
        drop(alerts);
        for score in 7..most + 7 {
            assert_eq!(next(&mut receiver, &metrics.dropped).await.unwrap().score, score);
        }
        assert!(next(&mut receiver, &metrics.dropped).await.is_none());
        assert_eq!(metrics.dropped.value(&["alerts_lagged", "1"]), 7);
    }

    #[test]
    fn an_alert_that_is_too_long_is_left_out() {
        let metrics = BrokerMetrics::new(&Metrics::new()).unwrap();
        let hit = || metrics.limits_hit.value(&["alert_bytes"]);
        // Its words stand in it twice: of the signal, and of all.
        let frame = text(&alert(1, 0), &metrics.limits_hit).unwrap().len();
        let most = (ALERT_BYTES - frame) / 2;
        let longest = text(&alert(1, most), &metrics.limits_hit).unwrap();
        assert_eq!((longest.len(), hit()), (frame + 2 * most, 0));
        assert_eq!((text(&alert(1, most + 1), &metrics.limits_hit), hit()), (None, 1));
    }
}
