//! A new token for the first operator account, made on the machine of the service while it does not run.

use std::path::Path;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::{self, Random};
use tessera_runtime::secret::{write_secret_file, Secret};
use tessera_runtime::sql::{Batch, Database};

use super::first_run::{is_initialised, BOOTSTRAP, BOOTSTRAP_FILE, BOOTSTRAP_NAME};
use super::opening::{self, Place};
use super::FirstStart;
use crate::audit::{Actor, Entry, Pending};
use crate::database_settings::DatabaseSettings;
use crate::operators::{self, Tenants};
use crate::start_error::StartError;
use crate::tables::Tables;

/// Gives the account `bootstrap` a new token and all its roles, in `operator.token`; its former token and its API tokens end. The store is
/// locked meanwhile: a service that runs in the folder is told by [`StoreError::Locked`]. Audited as `operator.renew`.
///
/// [`StoreError::Locked`]: tessera_runtime::store::StoreError::Locked
///
/// # Errors
/// [`StartError`]; [`StartError::NotFounded`] when the folder holds no service.
pub async fn renew(
    data: &Path,
    database: Option<&DatabaseSettings>,
    clock: &SharedClock,
    random: &dyn Random,
) -> Result<FirstStart, StartError> {
    // Nothing is made in a folder that holds no service.
    if !data.join("root.thumbprint").exists() {
        return Err(StartError::NotFounded(data.to_owned()));
    }
    let place = Place::make(data)?;
    let database = opening::open(&place, database, false, clock, random).await?;
    let renewed = replace(data, &database, clock, random).await;
    let closed = database.close().await;
    let made = renewed?;
    closed?;
    Ok(made)
}

async fn replace(
    data: &Path,
    database: &Database,
    clock: &SharedClock,
    random: &dyn Random,
) -> Result<FirstStart, StartError> {
    let tables = Tables::of(database);
    if !is_initialised(&tables, None).await? {
        return Err(StartError::NotFounded(data.to_owned()));
    }
    let token: Secret<String> = operators::draw(random).map_err(|_| StartError::Random)?;
    let now = clock.unix().get();
    let mut batch = Batch::new();
    let accounts = operators::all(&tables).await.map_err(|_| StartError::Internal)?;
    for (former, _) in accounts.into_iter().filter(|(_, account)| account.name == BOOTSTRAP_NAME) {
        operators::end(&tables, &mut batch, former).await?;
    }
    let account = (BOOTSTRAP_NAME, Tenants::All);
    operators::put(&tables, &mut batch, account, &token, BOOTSTRAP, now);
    let by = Actor::system("machine");
    let entry = Entry::new(now, &by, "operator.renew", "", BOOTSTRAP_NAME);
    let entry = entry.detail("the former token ended");
    let pending = Pending::from(random::number(random).map_err(|_| StartError::Random)?);
    pending.add(&tables, &mut batch, now.saturating_mul(1000), &entry);
    write_secret_file(&data.join(BOOTSTRAP_FILE), token.expose().as_bytes())?;
    database.commit(batch).await?;
    Ok(FirstStart { operator_token: token })
}
