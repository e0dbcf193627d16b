//! Where a running process listens: in `run.json` and on the standard output. With port 0 there is no other place for the
//! port.

use std::path::Path;

use serde_json::{json, Map, Value};
use tessera_runtime::secret::write_secret_file;

use crate::error::Fault;
use crate::output;

/// Writes `run.json` into the data folder, and says the same on the standard output: `text`, or the members with `--json`.
pub(super) fn tell(
    data: &Path,
    at: &[(&str, String)],
    (as_json, text): (bool, &str),
) -> Result<(), Fault> {
    let mut members = Map::new();
    members.insert("pid".to_owned(), json!(std::process::id()));
    for (name, place) in at {
        members.insert((*name).to_owned(), json!(place));
    }
    let mut members = Value::Object(members);
    // No secret; but no file of the folder is for other users.
    write_secret_file(&data.join("run.json"), format!("{members:#}\n").as_bytes())?;
    if let (true, Some(members)) = (as_json, members.as_object_mut()) {
        members.insert("data".to_owned(), json!(data));
    }
    match as_json {
        true => output::line(&members.to_string()),
        false => output::write(text),
    }
    Ok(())
}

/// Takes it away again: no server listens any more.
pub(super) fn remove(data: &Path) {
    // A file that is left says nothing wrong: the next start replaces it.
    let _ = std::fs::remove_file(data.join("run.json"));
}
