use std::fs;
use std::os::unix::fs::PermissionsExt;

use tessera_runtime::store::Batch;

use super::*;
use crate::args::RestoreArgs;

/// The database of provisioning is copied and marked by the tests of whole servers.
const KEY_VALUE: [&str; 2] = ["agent", "broker/sessions"];

fn data() -> (tempfile::TempDir, PathBuf) {
    // As the program does before it makes anything.
    tessera_runtime::kernel::owner_alone();
    let above = tempfile::tempdir().unwrap();
    let data = above.path().join("data");
    for folder in ["provisioning/keys", "broker/tickets"] {
        tessera_runtime::secret::own_folder(&data.join(folder)).unwrap();
    }
    for name in ["operator.token", "feed.token", "root.thumbprint", "provisioning/keys/root.seed"] {
        fs::write(data.join(name), name).unwrap();
    }
    fs::write(data.join("broker/tickets/keys"), "k").unwrap();
    fs::write(data.join("run.json"), "{}").unwrap();
    for name in KEY_VALUE {
        let store = Store::open(&data.join(name)).unwrap();
        let table = store.table("rows").unwrap();
        let mut batch = Batch::new();
        batch.put(&table, b"a", name.as_bytes());
        store.commit_blocking(batch).unwrap();
        store.close().unwrap();
    }
    (above, data)
}

fn backup(data: &Path, out: &Path, without_keys: bool) -> Outcome {
    make(&BackupArgs { data: data.to_owned(), out: out.to_owned(), without_keys, json: false })
}

fn restore(from: &Path, data: &Path) -> Result<u8, String> {
    let args = RestoreArgs { from: from.to_owned(), data: data.to_owned(), json: false };
    restore::restore(&args).map_err(|fault| fault.to_string())
}

#[test]
fn what_was_backed_up_comes_back_for_its_owner_alone() {
    let (above, data) = data();
    let (out, back) = (above.path().join("b1"), above.path().join("back"));
    assert_eq!(backup(&data, &out, false).unwrap(), 0);
    assert_eq!(restore(&out, &back).unwrap(), 0);
    for name in ["operator.token", "root.thumbprint", "provisioning/keys/root.seed"] {
        assert_eq!(fs::read_to_string(back.join(name)).unwrap(), name);
    }
    assert!(back.join("broker/tickets/keys").exists() && !back.join("run.json").exists());
    for name in tree::files(&back).unwrap() {
        let mode = fs::metadata(back.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    assert_eq!(fs::metadata(&back).unwrap().permissions().mode() & 0o777, 0o700);
    for name in KEY_VALUE {
        let store = Store::open(&back.join(name)).unwrap();
        let row = store.table("rows").unwrap().get(b"a").unwrap();
        assert_eq!(row.as_deref(), Some(name.as_bytes()));
        assert!(store.opened().copied, "{name}");
        store.close().unwrap();
    }
    assert_eq!(fs::read_dir(above.path()).unwrap().count(), 3, "nothing unfinished is left");
}

/// Not every backup holds stores that say of themselves that they are copies.
#[test]
fn what_comes_back_counts_as_a_copy_however_the_backup_was_made() {
    let (above, data) = data();
    let (out, back) = (above.path().join("b1"), above.path().join("back"));
    backup(&data, &out, false).unwrap();
    for name in KEY_VALUE {
        Store::open(&out.join(name)).unwrap().close().unwrap();
    }
    let path = out.join(manifest::NAME);
    let Manifest { made, stores, keys, .. } = Manifest::read(&out).unwrap();
    fs::remove_file(path).unwrap();
    Manifest::of(&out, made, stores, keys).unwrap().write(&out).unwrap();
    restore(&out, &back).unwrap();
    for name in KEY_VALUE {
        assert!(Store::open(&back.join(name)).unwrap().opened().copied, "{name}");
    }
}

#[test]
fn keys_can_be_left_out() {
    let (above, data) = data();
    let (out, back) = (above.path().join("b1"), above.path().join("back"));
    backup(&data, &out, true).unwrap();
    let files = tree::files(&out).unwrap();
    let secret = |name: &&String| {
        name.contains("keys/") || name.contains("tickets") || name.ends_with(".token")
    };
    assert_eq!(files.iter().find(secret), None);
    restore(&out, &back).unwrap();
    assert!(back.join("root.thumbprint").exists() && !back.join("provisioning/keys").exists());
}

#[test]
fn nothing_is_written_over() {
    let (above, data) = data();
    let out = above.path().join("b1");
    backup(&data, &out, false).unwrap();
    assert!(backup(&data, &out, false).is_err());
    let before = tree::files(&data).unwrap();
    assert!(restore(&out, &data).unwrap_err().contains("not empty"));
    assert_eq!(tree::files(&data).unwrap(), before);
    assert!(backup(above.path(), &above.path().join("b2"), false).is_err(), "no data folder");
}

/// Every way in which a backup may be less than it was: none is restored, and none leaves anything.
#[test]
fn a_backup_that_is_not_whole_is_refused() {
    let (above, data) = data();
    let out = above.path().join("b1");
    backup(&data, &out, false).unwrap();
    let bent = |name: &str, bend: &dyn Fn(&Path), told: &str| {
        let copy = above.path().join(name);
        tree::copy_folder(&out, &copy).unwrap();
        bend(&copy);
        let target = above.path().join(format!("{name}-back"));
        let error = restore(&copy, &target).unwrap_err();
        assert!(error.contains(told), "{name}: {error}");
        assert!(!target.exists(), "{name}");
    };
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[0] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    bent(
        "no-manifest",
        &|b| fs::remove_file(b.join("manifest.json")).unwrap(),
        "not a whole backup",
    );
    bent("missing", &|b| fs::remove_file(b.join("feed.token")).unwrap(), "feed.token is missing");
    bent("more", &|b| fs::write(b.join("more"), "x").unwrap(), "more is not in the manifest");
    bent("flipped", &|b| flip(&b.join("root.thumbprint")), "root.thumbprint is not as it was");
    bent("cut", &|b| fs::write(b.join("operator.token"), "").unwrap(), "operator.token is not as");
    let manifest = |b: &Path, from: &str, to: &str| {
        let path = b.join("manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    };
    bent("format", &|b| manifest(b, "tessera-backup-1", "tessera-backup-9"), "does not know");
    bent(
        "outside",
        &|b| manifest(b, "\"feed.token\"", "\"../feed.token\""),
        "is not in the manifest",
    );
    let left = fs::read_dir(above.path()).unwrap();
    let unfinished = |name: &str| name.contains(".restoring-") || name.contains(".partial-");
    let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| unfinished(name)).count(), 0);
}
