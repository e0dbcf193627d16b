//! `tessera backup` and `tessera restore`: a data folder, whole and at one moment, and back.
//!
//! A store is read by the process that has it open: a running server is asked over `control.sock`
//! ([`crate::serve::control`]), the stores of a stopped one are opened here. Files with keys are copied before and after
//! the stores, so that every key which the copy of a store names is among them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use tessera_runtime::clock::{Clock, SystemClock};
use tessera_runtime::store::{Store, StoreError};

use crate::args::BackupArgs;
use crate::error::{Fault, Outcome};
use crate::serve::control;
use crate::{output, time};

mod manifest;
mod restore;
#[cfg(test)]
mod tests;
mod tree;

use manifest::Manifest;
pub(crate) use manifest::NAME as MANIFEST;
pub(crate) use restore::run as run_restore;
use tree::Staging;

/// The stores that a data folder may hold.
const STORES: [&str; 3] = [PROVISIONING, "agent", "broker/sessions"];
/// The one that gives out numbers.
pub(crate) const PROVISIONING: &str = "provisioning/store";
/// Tokens.
const TOKENS: [&str; 2] = ["operator.token", "feed.token"];
/// No secrets.
const PUBLIC: [&str; 2] = ["root.thumbprint", "root.links"];
/// Folders of keys.
const KEYS: [&str; 2] = ["provisioning/keys", "broker/tickets"];

/// Makes a backup.
pub(crate) async fn run(args: BackupArgs) -> Outcome {
    let done = tokio::task::spawn_blocking(move || make(&args)).await;
    done.unwrap_or_else(|_| Err(Fault::new("the backup broke off")))
}

fn make(args: &BackupArgs) -> Outcome {
    let stores = stores_of(&args.data);
    if args.data.join("provisioning/seen").exists() {
        return Err(Fault::new(format!("the database of {} is on a server", args.data.display()))
            .hint("pg_dump copies it; keep provisioning/database.key beside the dump (docs/postgresql.md)"));
    }
    if stores.is_empty() {
        return Err(Fault::new(format!("{} holds no store of a server", args.data.display()))
            .hint("name the folder that the server was given by --data"));
    }
    if !tree::is_free(&args.out)? {
        return Err(Fault::new(format!("{} is there already", args.out.display()))
            .hint("a backup is never written over another: give a new name"));
    }
    let made = SystemClock::new().unix().get();
    let staging = Staging::beside(&args.out, "partial")?;
    copy_files(args, staging.path())?;
    copy_stores(args, &stores, staging.path())?;
    copy_files(args, staging.path())?;
    output::step(args.json, "reading all of it once more for the manifest");
    let names = stores.iter().map(|name| (*name).to_owned()).collect();
    let manifest = Manifest::of(staging.path(), made, names, !args.without_keys)?;
    manifest.write(staging.path())?;
    staging.finish(&args.out)?;
    tell(args, &manifest);
    Ok(0)
}

fn stores_of(data: &Path) -> Vec<&'static str> {
    let holds = |name: &&&str| {
        fs::read_dir(data.join(name)).is_ok_and(|mut entries| entries.next().is_some())
    };
    STORES.iter().filter(holds).copied().collect()
}

/// Copies what is no store. A file that goes meanwhile is one that is not needed any more.
fn copy_files(args: &BackupArgs, to: &Path) -> Result<(), Fault> {
    let mut names: Vec<String> = PUBLIC.map(str::to_owned).to_vec();
    if !args.without_keys {
        names.extend(TOKENS.map(str::to_owned));
        for folder in KEYS.iter().filter(|folder| args.data.join(folder).is_dir()) {
            let inner = tree::files(&args.data.join(folder))?;
            let whole = inner.iter().filter(|name| !name.ends_with(".tmp"));
            names.extend(whole.map(|name| format!("{folder}/{name}")));
        }
    }
    for name in names {
        let from = args.data.join(&name);
        match tree::copy_file(&from, &to.join(&name)) {
            Err(fault) if from.exists() => return Err(fault),
            _ => {}
        }
    }
    Ok(())
}

fn copy_stores(args: &BackupArgs, stores: &[&str], to: &Path) -> Result<(), Fault> {
    let data = &args.data;
    let copies = control::ask_for_copies(data)?;
    if let Some(copies) = copies {
        let copies = Copies(copies);
        for name in stores {
            output::step(args.json, &format!("{name}: copied by the running server"));
            tree::move_folder(&copies.0.join(name), &to.join(name))?;
        }
        return Ok(());
    }
    for name in stores {
        let (path, target) = (data.join(name), to.join(name));
        if let Some(folder) = target.parent() {
            tessera_runtime::secret::own_folder(folder)?;
        }
        let copied = match *name == PROVISIONING {
            true => tessera_provisioning::copy_stopped(&path, &target),
            false => copy_stopped(&path, &target),
        };
        copied.map_err(|error| match error {
            StoreError::Locked(_) => Fault::new(error.to_string())
                .hint("it runs and does not answer: restart it, or stop it and try again"),
            error => error.into(),
        })?;
        output::step(args.json, &format!("{name}: copied, no server runs"));
    }
    Ok(())
}

fn copy_stopped(path: &Path, to: &Path) -> Result<(), StoreError> {
    // Not closed: a store that a crash has left must not look like one that its server has closed.
    Store::open(path)?.copy_to(to)
}

/// The copies that the running server made for us, removed when we have it.
struct Copies(PathBuf);

impl Drop for Copies {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tell(args: &BackupArgs, manifest: &Manifest) {
    let (files, bytes) = (manifest.count(), manifest.bytes());
    let out = args.out.display();
    let text = format!(
        "{out}: {files} files, {bytes} bytes, of {}; restore it by: tessera restore --from {out} --data DIR",
        time::utc(manifest.made)
    );
    let object = json!({
        "out": args.out, "files": files, "bytes": bytes, "made": manifest.made, "has_keys": manifest.keys,
    });
    output::result(args.json, &text, &object);
    match manifest.keys {
        true => output::complain(&format!(
            "IT HOLDS SECRETS: seeds of signing keys, ticket keys and tokens. A reader of {out} can speak for the \
             whole fleet: encrypt it before it leaves this machine."
        )),
        false => output::complain(
            "It holds no keys and no tokens: without provisioning/keys/root.seed of this service it cannot be started.",
        ),
    }
}
