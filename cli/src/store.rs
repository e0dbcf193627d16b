//! `tessera store`: looks after the database of a server that does not run: checks it, and moves it to PostgreSQL.

use std::path::Path;

use serde_json::{json, Map};
use tessera_provisioning::DatabaseSettings;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_runtime::store::StoreError;

use crate::args::{CheckArgs, DatabaseArgs, MarkRestoredArgs, MoveArgs, StoreCommand};
use crate::backup::{MANIFEST, PROVISIONING};
use crate::config::RawDatabase;
use crate::error::{Fault, Outcome};
use crate::output;

pub(crate) async fn run(command: StoreCommand) -> Outcome {
    match command {
        StoreCommand::Check(args) => check(&args).await,
        StoreCommand::Move(args) => move_to_server(&args).await,
        StoreCommand::MarkRestored(args) => mark(&args).await,
    }
}

async fn move_to_server(args: &MoveArgs) -> Outcome {
    is_of_a_server(&args.data, &args.data.join(PROVISIONING))?;
    let settings = settings_of(&args.database)?;
    let say = |line: &str| output::step(args.json, line);
    let moved = tessera_provisioning::move_to_server(&args.data, &settings, &say).await?;
    let rows: Map<_, _> =
        moved.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    let text = format!(
        "moved. Start it with --database, and keep a copy of {}/provisioning/database.key: without it the keys in the \
         database cannot be read",
        args.data.display()
    );
    output::result(args.json, &text, &json!({ "rows": rows }));
    Ok(0)
}

async fn mark(args: &MarkRestoredArgs) -> Outcome {
    let settings = settings_of(&args.database)?;
    let now = SystemClock::new().unix();
    tessera_provisioning::mark_restored_on(&settings, now).await?;
    let text = "marked: the next start goes on above what may have been given out since the dump";
    output::result(args.json, text, &json!({ "marked": true }));
    Ok(0)
}

fn settings_of(args: &DatabaseArgs) -> Result<DatabaseSettings, Fault> {
    let mut raw = RawDatabase::default();
    raw.with(args);
    raw.validate()?.ok_or_else(|| {
        Fault::new("no database is named").hint("--database postgres://user@host/name")
    })
}

async fn check(args: &CheckArgs) -> Outcome {
    let store = args.data.join(PROVISIONING);
    is_of_a_server(&args.data, &store)?;
    let say = |line: &str| output::step(args.json, line);
    let checked = tessera_provisioning::check_stopped(&store, &say).await;
    let checked = checked.map_err(|error| match error {
        StoreError::Locked(_) => Fault::new(error.to_string())
            .hint("stop the server first, or restore its backup to another folder and check that"),
        error => error.into(),
    })?;
    let rows = checked.rows.iter();
    if args.json {
        let rows: Map<_, _> =
            rows.map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        output::line(&format!("{:#}", json!({ "rows": rows, "faults": checked.faults })));
    } else {
        rows.for_each(|(name, count)| output::line(&format!("{name:<16} {count:>12}")));
    }
    if checked.faults.is_empty() {
        output::step(args.json, "no fault");
        return Ok(0);
    }
    if !args.json {
        checked.faults.iter().for_each(|fault| output::line(fault));
    }
    Err(Fault::new(format!("{}: {} faults", store.display(), checked.faults.len())).hint(
        "keep a copy of the folder, and restore a backup; without one, start once with --accept-loss",
    ))
}

fn is_of_a_server(data: &Path, store: &Path) -> Result<(), Fault> {
    if data.join(MANIFEST).exists() {
        return Err(Fault::new(format!("{} is a backup", data.display())).hint(
            "a restore checks each of its files; restore it to another folder, and check that folder",
        ));
    }
    match store.is_dir() {
        true => Ok(()),
        false => Err(Fault::new(format!("{} is not there", store.display()))
            .hint("name the folder that `tessera up` or `tessera provision` was given by --data")),
    }
}
