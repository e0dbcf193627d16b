//! `run.json`: where a running process listens, for scripts. With port 0 the file alone has the port.

use std::path::Path;

use serde_json::{json, Map, Value};
use tessera_runtime::secret::write_secret_file;

use crate::error::Fault;

/// Writes `run.json` into the data folder.
pub(super) fn write(data: &Path, at: &[(&str, String)]) -> Result<(), Fault> {
    let mut members = Map::new();
    members.insert("pid".to_owned(), json!(std::process::id()));
    for (name, place) in at {
        members.insert((*name).to_owned(), json!(place));
    }
    let text = format!("{:#}\n", Value::Object(members));
    // No secret; but no file of the folder is for other users.
    Ok(write_secret_file(&data.join("run.json"), text.as_bytes())?)
}

/// Takes it away again: no server listens any more.
pub(super) fn remove(data: &Path) {
    // A file that is left says nothing wrong: the next start replaces it.
    let _ = std::fs::remove_file(data.join("run.json"));
}
