use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;

use crate::ledger::Ledger;
use crate::trust::Trust;

const ROUND: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// Lets go of what the ledger remembers and need not any more, also while no proof comes in.
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
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    });
}

async fn round(ledger: &Ledger, trust: &Trust) {
    if let Err(error) = clean(ledger, trust).await {
        tracing::warn!(%error, "ledger not cleaned up");
    }
}

async fn clean(ledger: &Ledger, trust: &Trust) -> Result<(), StoreError> {
    while ledger.clean_former(trust.now()).await? {
        tokio::time::sleep(PAUSE).await;
    }
    let mut after = None;
    loop {
        after = ledger.clean(after, trust.now()).await?;
        if after.is_none() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
