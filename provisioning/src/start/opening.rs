//! Opening the store of the service, or saying why not. A folder with keys or tokens in it had a store once: a new one
//! beside them would be another service under the same name. Only a first start that was cut off before its one write
//! may begin again; the file `founding` says that there was one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::Random;
use tessera_runtime::secret::{own_folder, own_folder_of, read_secret_text, write_secret_file};
use tessera_runtime::sql::Database;
use tessera_runtime::store::{StoreError, StoreOptions};

use crate::database_settings::DatabaseSettings;
use crate::former;
use crate::start_error::StartError;
use crate::tables::SCHEMA;

/// The traces of a founding, in their order.
const TRACES: [&str; 4] =
    ["provisioning/keys/root.seed", "operator.token", "feed.token", "root.thumbprint"];
pub(super) const OWN: &str = "provisioning";
const FOUNDING: &str = "founding";
/// The loss that was accepted, until that is on record.
const LOSS: &str = "loss";
const STORE: &str = "store";
/// A move of the database to a server has begun.
pub(super) const MOVING: &str = "moving";
/// It has ended: no database of this folder is served any more.
pub(super) const MOVED: &str = "moved";

/// The folders of one service.
pub(super) struct Place {
    data: PathBuf,
    own: PathBuf,
}

impl Place {
    /// Makes the folders for their owner alone, or refuses those that others can get at.
    pub(super) fn make(data: &Path) -> Result<Self, StartError> {
        own_folder_of(data, &[OWN, "operator.token", "feed.token"])?;
        let own = data.join(OWN);
        own_folder(&own)?;
        Ok(Self { data: data.to_owned(), own })
    }

    /// The folder `provisioning`.
    pub(super) fn own(&self) -> &Path {
        &self.own
    }

    pub(super) fn store(&self) -> PathBuf {
        self.own.join(STORE)
    }

    /// Whether something here says that there was a whole service.
    pub(super) fn had_one(&self) -> bool {
        let left = TRACES.iter().any(|trace| self.data.join(trace).exists());
        left && !self.own.join(FOUNDING).exists()
    }

    /// Whether a damaged database lies beside the present one. Seeds of its keys stay with it.
    pub(super) fn keeps_damaged(&self) -> bool {
        let entries = fs::read_dir(self.store()).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("damaged-"))
    }

    /// Says that a founding has begun, before it leaves any trace.
    pub(super) fn begin(&self) -> Result<(), StartError> {
        Ok(write_secret_file(&self.own.join(FOUNDING), b"")?)
    }

    /// Says that it is done.
    pub(super) fn done(&self) -> Result<(), StartError> {
        self.remove(FOUNDING)
    }

    /// The loss that was accepted, by this start or by one that was cut off before it was on record.
    pub(super) fn loss(&self) -> Result<Option<String>, StartError> {
        let path = self.own.join(LOSS);
        match path.exists() {
            true => Ok(Some(read_secret_text(&path)?.expose().clone())),
            false => Ok(None),
        }
    }

    /// Says that it is on record.
    pub(super) fn loss_noted(&self) -> Result<(), StartError> {
        self.remove(LOSS)
    }

    fn remove(&self, name: &str) -> Result<(), StartError> {
        let path = self.own.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StartError::Io(path, error))
            }
            _ => Ok(()),
        }
    }
}

/// Opens the database of several processes, or the one in the folder.
pub(super) async fn open(
    place: &Place,
    settings: Option<&DatabaseSettings>,
    accept_loss: bool,
    clock: &SharedClock,
    random: &dyn Random,
) -> Result<Database, StartError> {
    match settings {
        None => open_here(place, accept_loss, clock, random),
        Some(settings) => {
            if place.store().exists() {
                return Err(StartError::TwoStores(place.store()));
            }
            Ok(Database::connect(settings.url.expose(), &settings.trust, SCHEMA).await?)
        }
    }
}

/// Opens the database in the folder. One that must be there and is not is a loss; when it is accepted, that is on the disk before.
pub(super) fn open_here(
    place: &Place,
    accept_loss: bool,
    clock: &SharedClock,
    random: &dyn Random,
) -> Result<Database, StartError> {
    if place.own.join(MOVED).exists() {
        return Err(StartError::MovedAway(place.data.clone()));
    }
    let moving = place.own.join(MOVING);
    if moving.exists() {
        return Err(StartError::Moving(moving));
    }
    let must_exist = place.had_one();
    // A loss that is accepted is looked for in all of it.
    let options = StoreOptions { must_exist, check_all: accept_loss, ..StoreOptions::default() };
    let open =
        |options: &StoreOptions| former::open(&place.store(), options, Arc::clone(clock), random);
    match open(&options) {
        Err(StoreError::Lost(loss)) if accept_loss => {
            write_secret_file(&place.own.join(LOSS), loss.to_string().as_bytes())?;
            Ok(open(&StoreOptions { accept_loss, ..options })?)
        }
        opened => Ok(opened?),
    }
}
