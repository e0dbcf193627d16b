use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::stop::Stop;

use crate::ledger::Ledger;
use crate::trust::Trust;

const DAY: Duration = Duration::from_secs(24 * 3600);
const PAUSE: Duration = Duration::from_millis(50);

/// Once a day, and at the start, lets go of ledger rows that protect nothing any more.
pub(super) fn start(ledger: Arc<Ledger>, trust: Arc<Trust>, stop: &Stop) {
    let signal = stop.clone();
    stop.spawn("agent-upkeep", async move {
        loop {
            tokio::select! {
                () = signal.stopping() => return,
                () = round(&ledger, &trust) => {}
            }
            tokio::select! {
                () = signal.stopping() => return,
                () = tokio::time::sleep(DAY) => {}
            }
        }
    });
}

async fn round(ledger: &Ledger, trust: &Trust) {
    let mut after = None;
    loop {
        after = match ledger.prune(after, trust.now()).await {
            Ok(None) => return,
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "ledger not cleaned up");
                return;
            }
        };
        tokio::time::sleep(PAUSE).await;
    }
}
