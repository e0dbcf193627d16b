//! `tessera store`: looks after the database of a server that does not run.

use std::path::Path;

use serde_json::{json, Map};
use tessera_runtime::store::StoreError;

use crate::args::{CheckArgs, StoreCommand};
use crate::backup::{MANIFEST, PROVISIONING};
use crate::error::{Fault, Outcome};
use crate::output;

pub(crate) async fn run(command: StoreCommand) -> Outcome {
    match command {
        StoreCommand::Check(args) => check(&args).await,
    }
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
