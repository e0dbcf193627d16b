use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{json, Value};
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::Counter;
use tessera_runtime::random::{self, Random, RandomError};

use tessera_token::trust::UplinkReport;

use super::{Fault, Pieces};
use crate::inventory::{Book, DeviceUses};
use crate::limits::{HAND_OVER_BYTES, INVENTORY_LOOK, INVENTORY_PER_REQUEST};

/// The topics that devices use. They are in memory alone; provisioning takes each number of a line once.
pub(super) struct Uses {
    book: Arc<Mutex<Book>>,
    clock: SharedClock,
    told: Counter,
    /// The row of numbers of this process.
    line: u64,
    waiting: Mutex<Waiting>,
}

/// Devices that were taken out of the book and are not handed over yet.
#[derive(Default)]
struct Waiting {
    devices: VecDeque<DeviceUses>,
    /// Devices that were handed over before them.
    taken: u64,
}

impl Uses {
    pub(super) fn new(
        book: Arc<Mutex<Book>>,
        clock: SharedClock,
        random: &dyn Random,
        told: Counter,
    ) -> Result<Self, RandomError> {
        let line = random::number(random)?;
        Ok(Self { book, clock, told, line, waiting: Mutex::default() })
    }
}

fn told(number: u64, of: &DeviceUses) -> Value {
    let uses = of.uses.iter().map(|one| {
        let mut told = json!({
            "operation": one.operation.as_str(), "topic": &*one.topic, "count": one.count,
        });
        if let (Some(code), Some(told)) = (one.refused, told.as_object_mut()) {
            told.insert("code".to_owned(), code.as_str().into());
        }
        told
    });
    json!({
        "number": number,
        "tenant": of.tenant.as_str(),
        "device": of.device.as_str(),
        "uses": uses.collect::<Vec<_>>(),
    })
}

impl Pieces for Uses {
    const NAME: &'static str = "uses of topics";
    const REPORT: UplinkReport = UplinkReport::Uses;
    const LETS_GO: bool = true;

    fn next(&self) -> Result<Option<(u64, Value)>, Fault> {
        let mut waiting = self.waiting.lock();
        if waiting.devices.is_empty() {
            let now = self.clock.monotonic();
            waiting.devices.extend(self.book.lock().take(now, INVENTORY_PER_REQUEST));
        }
        let (mut number, mut bytes, mut items) = (waiting.taken, 0, Vec::new());
        for device in &waiting.devices {
            let item = told(number + 1, device);
            bytes += item.to_string().len();
            if bytes > HAND_OVER_BYTES && !items.is_empty() {
                break;
            }
            number += 1;
            items.push(item);
        }
        if items.is_empty() {
            return Ok(None);
        }
        Ok(Some((number, json!({ "line": format!("{:016x}", self.line), "items": items }))))
    }

    async fn taken(&self, number: u64) -> Result<(), Fault> {
        let mut waiting = self.waiting.lock();
        while waiting.taken < number && waiting.devices.pop_front().is_some() {
            waiting.taken += 1;
            self.told.inc(&[]);
        }
        Ok(())
    }

    async fn more(&self) {
        tokio::time::sleep(INVENTORY_LOOK).await;
    }
}
