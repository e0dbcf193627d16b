use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;

use crate::ledger::Ledger;
use crate::trust::Trust;

/// How often the ledger writes proofs back, and after how many times it cleans up.
const ROUND: Duration = Duration::from_secs(10);
const CLEAN_EVERY: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// Lets go of what the ledger remembers and need not any more, also while no proof comes in.
pub(super) fn start(ledger: Arc<Ledger>, trust: Arc<Trust>, stop: &Stop) {
    let signal = stop.clone();
    stop.spawn("agent-upkeep", async move {
        for number in (0..CLEAN_EVERY).cycle() {
            tokio::select! {
                () = signal.stopping() => return,
                () = round(&ledger, &trust, number) => {}
            }
            tokio::select! {
                () = signal.stopping() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    });
}

async fn round(ledger: &Ledger, trust: &Trust, number: u32) {
    if let Err(error) = ledger.write_back(trust.now()).await {
        tracing::warn!(%error, "used connect proofs are not written back: after a crash their seconds are closed");
    }
    if number != 0 {
        return;
    }
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
