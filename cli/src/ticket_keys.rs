//! `tessera new-ticket-keys`: the broker's own ticket keys are discarded, and the connections that they accepted end.
//!
//! The broker looks at their file every second: one that is gone is made anew, with a key that no other process has
//! seen (`broker/src/resumption/`). A broker that does not run makes it at its next start.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::args::TicketKeysArgs;
use crate::error::{Fault, Outcome};
use crate::output;

/// Where the keys are in a data folder.
const FILE: &str = "broker/tickets/keys";
/// How long a running broker takes at most to make the next key, and how often that is looked at.
const MADE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Discards the keys.
pub(crate) async fn run(args: TicketKeysArgs) -> Outcome {
    let file = args.data.join(FILE);
    match fs::remove_file(&file) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_keys(&file)),
        Err(error) => return Err(Fault::new(format!("{}: {error}", file.display()))),
    }
    let discarded =
        "the ticket keys are discarded: resumption secrets of these keys are no longer accepted";
    output::step(args.json, discarded);
    let made = tokio::time::timeout(MADE_WITHIN, async {
        while !file.exists() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let is_made = made.await.is_ok();
    let text = match is_made {
        true => "the running broker has made a new key and ends the connections that the old ones accepted",
        false => "no broker runs on this folder: its next start makes a new key",
    };
    output::result(args.json, text, &json!({ "discarded": true, "new_key": is_made }));
    Ok(0)
}

fn no_keys(file: &Path) -> Fault {
    Fault::new(format!("{} is not there: no broker on this folder made ticket keys", file.display()))
        .hint("name the folder that the server was given by --data; the keys of ticket_key_file are replaced in that file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_keys_of_a_stopped_broker_go_and_a_second_time_there_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "keys").unwrap();
        let args = || TicketKeysArgs { data: folder.path().to_owned(), json: false };
        assert_eq!(run(args()).await.unwrap(), 0);
        assert!(!file.exists());
        let fault = run(args()).await.err().unwrap();
        assert!(fault.to_string().contains("ticket_key_file"), "{fault}");
    }
}
