//! A backup becomes a data folder: checked as a whole, written beside its place, and named once it is on the disk.

use serde_json::json;

use tessera_runtime::clock::{Clock, SystemClock};
use tessera_runtime::store::Store;
use tessera_token::time::UnixSeconds;

use super::manifest::Manifest;
use super::tree::{self, Staging};
use super::{KEYS, PROVISIONING};
use crate::args::RestoreArgs;
use crate::error::{Fault, Outcome};
use crate::{output, time};

/// Restores a backup.
pub(crate) async fn run(args: RestoreArgs) -> Outcome {
    let done = tokio::task::spawn_blocking(move || restore(&args)).await;
    done.unwrap_or_else(|_| Err(Fault::new("the restore broke off")))
}

pub(super) fn restore(args: &RestoreArgs) -> Outcome {
    if !tree::is_free(&args.data)? {
        return Err(Fault::new(format!("{} is not empty", args.data.display())).hint(
            "a restore writes over nothing: move that folder away, and keep it until the restored server runs",
        ));
    }
    let manifest = Manifest::read(&args.from)?;
    let checking = format!("checking {} files of {}", manifest.count(), time::utc(manifest.made));
    output::step(args.json, &checking);
    let files = manifest.check(&args.from)?;
    let staging = Staging::beside(&args.data, "restoring")?;
    for name in files {
        tree::copy_file(&args.from.join(name), &staging.path().join(name))?;
    }
    let now = SystemClock::new().unix();
    for name in &manifest.stores {
        let store = staging.path().join(name);
        match name == PROVISIONING {
            // From this on the service takes its numbers above all that it may have given out since the backup.
            true => tessera_provisioning::mark_restored(&store, now)?,
            // The proofs used up since the backup are not known there, however the backup was made.
            false => Store::mark_copied(&store)?,
        }
    }
    staging.finish(&args.data)?;
    tell(args, &manifest, now);
    Ok(0)
}

fn tell(args: &RestoreArgs, manifest: &Manifest, now: UnixSeconds) {
    let age = time::span(now.get().saturating_sub(manifest.made));
    let data = args.data.display();
    if args.json {
        let object = json!({
            "data": args.data, "made": manifest.made, "has_keys": manifest.keys, "stores": manifest.stores,
        });
        return output::line(&format!("{object:#}"));
    }
    output::line(&format!("{data}: restored as it was {age} ago ({})", time::utc(manifest.made)));
    output::line("Next:");
    if !manifest.keys {
        output::line(&format!("  put the keys back: {data}/{}", KEYS.join(&format!(", {data}/"))));
    }
    let has = |name: &str| manifest.stores.iter().any(|store| store == name);
    if has(PROVISIONING) {
        output::line(
            "  never start the old one again: two services with one root key contradict each other",
        );
        output::line("  start it; changes since the backup are gone: docs/backup.md says what comes back by itself");
        output::line("  see what brokers and agents know beyond it: tessera trust restored");
        output::line(
            "  compare: tessera audit verify --head HEAD, with the newest head that you kept",
        );
    }
    if has("agent") || has("broker/sessions") {
        output::line(
            "  start broker or agent: it lets devices in by a proof from a minute after its start on",
        );
    }
}
