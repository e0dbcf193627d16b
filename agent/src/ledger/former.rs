//! The layout of stores that were written before: a table `proof_counters`, each row under a whole thumbprint.

use tessera_runtime::store::{Batch, Store, StoreError, Table};

use super::{counter_of, Name};
use crate::limits;

/// Moves what is there into `rows`, in steps that are each durable as a whole. After a crash the next start goes on.
pub(super) fn bring_over(store: &Store, rows: &Table) -> Result<(), StoreError> {
    let former = store.table("proof_counters")?;
    let mut moved = 0;
    loop {
        let page = former.scan_prefix(&[], None, limits::LEDGER_PRUNE_ROWS)?;
        if page.is_empty() {
            break;
        }
        let mut batch = Batch::new();
        for (key, value) in &page {
            batch.delete(&former, key);
            let Some(name) = key.first_chunk::<{ size_of::<Name>() }>() else { continue };
            // What a crash left half moved, or a damaged row, is never replaced by less.
            let present = rows.get(name)?.map(|row| counter_of(&row));
            if present.is_none_or(|present| present < counter_of(value)) {
                batch.put(rows, name, value.clone());
            }
        }
        moved += page.len();
        store.commit_blocking(batch)?;
    }
    if moved > 0 {
        tracing::info!(rows = moved, "proof counters moved to their new table");
    }
    Ok(())
}
