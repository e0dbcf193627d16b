//! Alerts at rest until provisioning has taken them: one row a message, in the order in which they were told.

use std::sync::Arc;

use parking_lot::Mutex;
use tessera_behaviour::alert::Alert;
use tessera_runtime::random::{self, Random};
use tessera_runtime::store::{Batch, Store, StoreError, Table};
use tokio::sync::Notify;

use super::StartError;
use crate::limits::{ALERTS_KEPT, ALERTS_PER_REQUEST, ALERT_KEPT_BYTES, HAND_OVER_BYTES};

const NAME: &str = "alerts";
/// The next number: a number is used once, also when no row is left.
const NEXT: &str = "alerts_next";

/// The alerts that wait, and the name of their row of numbers.
pub(crate) struct KeptAlerts {
    store: Store,
    table: Table,
    names: Table,
    /// Of this row of numbers: another store has another one.
    line: u64,
    numbers: Mutex<Numbers>,
    more: Notify,
}

/// Numbers of the rows.
#[derive(Clone, Copy)]
struct Numbers {
    first: u64,
    next: u64,
    /// Alerts that were let go, since too many waited.
    let_go: u64,
}

/// An alert that waits.
pub(crate) struct Waiting {
    pub(crate) number: u64,
    /// As it is published, in JSON.
    pub(crate) text: String,
}

impl KeptAlerts {
    pub(crate) fn open(store: &Store, random: &dyn Random) -> Result<Arc<Self>, StartError> {
        let table = store.table("behaviour_alerts").map_err(StartError::Store)?;
        let names = store.table("behaviour_seed").map_err(StartError::Store)?;
        let line = match names.get(NAME).map_err(StartError::Store)?.and_then(|row| number(&row)) {
            Some(line) => line,
            None => {
                let line = random::number(random).map_err(StartError::Random)?;
                let mut batch = Batch::new();
                batch.put(&names, NAME, line.to_be_bytes());
                store.commit_blocking(batch).map_err(StartError::Store)?;
                line
            }
        };
        let next = names.get(NEXT).map_err(StartError::Store)?.and_then(|row| number(&row));
        let numbers = numbers(&table, next.unwrap_or(1)).map_err(StartError::Store)?;
        let numbers = Mutex::new(numbers);
        Ok(Arc::new(Self {
            store: store.clone(),
            table,
            names,
            line,
            numbers,
            more: Notify::new(),
        }))
    }

    /// The name of the row of numbers.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Alerts that were let go since the start.
    pub(crate) fn let_go(&self) -> u64 {
        self.numbers.lock().let_go
    }

    /// Writes alerts down before they are told. When too many wait, the oldest make room.
    pub(crate) fn keep(&self, alerts: &[Alert]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let mut numbers = *self.numbers.lock();
        for alert in alerts {
            // An alert is texts and numbers, which JSON can hold.
            let text = serde_json::to_vec(alert).unwrap_or_default();
            if text.is_empty() || text.len() > ALERT_KEPT_BYTES {
                numbers.let_go += 1;
                continue;
            }
            batch.put(&self.table, numbers.next.to_be_bytes(), text);
            numbers.next += 1;
        }
        while numbers.next - numbers.first > ALERTS_KEPT {
            batch.delete(&self.table, numbers.first.to_be_bytes());
            numbers.first += 1;
            numbers.let_go += 1;
        }
        batch.put(&self.names, NEXT, numbers.next.to_be_bytes());
        self.store.commit_blocking(batch)?;
        let mut present = self.numbers.lock();
        // Some may have been taken meanwhile.
        let first = present.first.max(numbers.first);
        *present = Numbers { first, ..numbers };
        drop(present);
        self.more.notify_one();
        Ok(())
    }

    /// Alerts that wait.
    pub(super) fn number(&self) -> u64 {
        let numbers = self.numbers.lock();
        numbers.next - numbers.first
    }

    /// The oldest alerts that wait, as many as one request holds.
    pub(crate) fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let rows = self.table.scan_prefix(&[], None, ALERTS_PER_REQUEST)?;
        let mut bytes = 0;
        let rows = rows.into_iter().enumerate().take_while(|(place, (_, text))| {
            bytes += text.len();
            *place == 0 || bytes <= HAND_OVER_BYTES
        });
        // A text that is damaged keeps its place, so that those behind it are handed over.
        let read = |(_, (key, text)): (usize, (Vec<u8>, Vec<u8>))| {
            let text = String::from_utf8_lossy(&text).into_owned();
            Some(Waiting { number: number(&key)?, text })
        };
        Ok(rows.filter_map(read).collect())
    }

    /// Waits until an alert is written down.
    pub(crate) async fn more(&self) {
        self.more.notified().await;
    }

    /// Forgets the alerts up to this number: they were taken.
    pub(crate) async fn taken(&self, number: u64) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let first = self.numbers.lock().first;
        for taken in first..=number {
            batch.delete(&self.table, taken.to_be_bytes());
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.store.commit(batch).await?;
        let mut numbers = self.numbers.lock();
        numbers.first = numbers.first.max(number + 1);
        Ok(())
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn numbers(table: &Table, next: u64) -> Result<Numbers, StoreError> {
    let oldest = table.scan_prefix(&[], None, 1)?;
    let first = oldest.first().and_then(|(key, _)| number(key)).unwrap_or(next);
    Ok(Numbers { first, next, let_go: 0 })
}
