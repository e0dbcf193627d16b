//! The file `seen` of a data folder: how far a shared database had come when this process acknowledged something last. A
//! database that has less was restored from an older dump, and would give out numbers again.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tessera_runtime::secret::{read_secret_text, write_secret_file};
use tessera_runtime::store::StoreError;

use super::opening::OWN;
use crate::audit;
use crate::issue::SERIALS;
use crate::limits::SEEN_EVERY;
use crate::service::Service;
use crate::start_error::StartError;
use crate::tables::Tables;
use crate::trust::ledger::Head;

const FILE: &str = "seen";

/// How far a database has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// The newest event of the trust feed.
    event: u64,
    /// The newest entry of the audit log.
    entry: u64,
    /// The serial that is reserved next.
    serial: u64,
}

impl Seen {
    async fn of(tables: &Tables) -> Result<Self, StoreError> {
        Ok(Self {
            event: Head::read(tables).await?.seq,
            entry: audit::Head::read(tables).await?.seq,
            serial: tables.marks.get(SERIALS).await?.unwrap_or(0),
        })
    }

    /// The file of this folder.
    fn read(own: &Path) -> Result<Option<Self>, StartError> {
        let path = own.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = read_secret_text(&path)?;
        let damaged = std::io::Error::other(
            "it is no note of a database: remove it if a restore is out of the question",
        );
        serde_json::from_str(text.expose()).map(Some).map_err(|_| StartError::Io(path, damaged))
    }

    /// The first part that has gone back.
    fn beyond(&self, present: &Self) -> Option<String> {
        let parts = [
            ("event", self.event, present.event),
            ("audit entry", self.entry, present.entry),
            ("serial", self.serial, present.serial),
        ];
        let back = parts.into_iter().find(|(_, seen, present)| seen > present);
        back.map(|(what, seen, present)| {
            format!("{what} {seen} was there, and it ends with {present}")
        })
    }
}

/// Why the database may not be gone on with as it is; `None` when it has all that was seen.
pub(super) async fn is_older(own: &Path, tables: &Tables) -> Result<Option<String>, StartError> {
    let Some(seen) = Seen::read(own)? else { return Ok(None) };
    Ok(seen.beyond(&Seen::of(tables).await?))
}

/// Notes how far it has come, every [`SEEN_EVERY`] until the service stops.
pub(super) async fn follow(service: Arc<Service>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SEEN_EVERY) => {}
            () = service.stop.stopping() => return,
        }
        note(&service).await;
    }
}

/// Notes how far it has come. A note that is not made leaves the older one, which says less.
pub(super) async fn note(service: &Service) {
    note_of(&service.config.data_dir.join(OWN), &service.tables).await;
}

/// As [`note`], of these tables in the folder `own`.
pub(super) async fn note_of(own: &Path, tables: &Tables) {
    let Ok(seen) = Seen::of(tables).await else { return };
    if Seen::read(own).is_ok_and(|before| before == Some(seen)) {
        return;
    }
    let text = serde_json::to_string(&seen).unwrap_or_default();
    if let Err(error) = write_secret_file(&own.join(FILE), text.as_bytes()) {
        tracing::warn!(%error, "not noted how far the database has come");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_went_back_is_told_by_its_part() {
        let seen = Seen { event: 3, entry: 9, serial: 100 };
        assert_eq!(seen.beyond(&seen), None);
        assert_eq!(seen.beyond(&Seen { event: 4, entry: 10, serial: 200 }), None);
        let older = Seen { entry: 8, ..seen };
        assert_eq!(seen.beyond(&older).unwrap(), "audit entry 9 was there, and it ends with 8");
    }
}
