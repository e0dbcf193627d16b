//! Files of the folder: for the owner alone, all that is needed and nothing that is not, and no second service
//! beside what is left of the first.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{json, Value};
use tessera_token::chain::KeyState;

use crate::feed::Reader;
use crate::world::{try_start, World};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn keys(world: &World) -> PathBuf {
    world.dir.path().join("provisioning/keys")
}

fn seed(world: &World, key: &str) -> PathBuf {
    keys(world).join(format!("issuer-{key}.seed"))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn key(world: &World, state: &str) -> String {
    let listed = world.get("/v1/tenants/default/keys").await;
    let found = listed["items"].as_array().unwrap().iter().find(|key| key["state"] == state);
    found.unwrap()["key"].as_str().unwrap().to_owned()
}

async fn audited(world: &World, action: &str) -> Value {
    let log = world.get("/v1/audit").await;
    let found = log["items"].as_array().unwrap().iter().find(|entry| entry["action"] == action);
    found.unwrap_or_else(|| panic!("no {action} in {log}")).clone()
}

#[tokio::test]
async fn everything_is_made_for_the_owner_alone_and_refused_otherwise() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = World::new().await;
    world.enrolled("a").await;
    world.post("/v1/tenants/default/keys/rotate", json!({})).await;
    let own = world.dir.path().join("provisioning");
    let folders = [world.dir.path().to_owned(), own.clone(), keys(&world)];
    for folder in &folders {
        assert_eq!(mode(folder), 0o700, "{folder:?}");
    }
    let mut files: Vec<PathBuf> =
        names(&keys(&world)).iter().map(|n| keys(&world).join(n)).collect();
    assert_eq!(files.len(), 3, "root, active and next: {files:?}");
    let top = ["operator.token", "feed.token", "root.thumbprint"];
    files.extend(top.map(|name| world.dir.path().join(name)));
    for file in &files {
        assert_eq!(mode(file), 0o600, "{file:?}");
    }
    let secrets = files.iter().filter(|file| file.extension().is_some_and(|end| end == "seed"));
    let cases =
        folders.iter().map(|folder| (folder, 0o700)).chain(secrets.map(|file| (file, 0o600)));
    for (path, right) in cases {
        for wrong in [right | 0o040, right | 0o005] {
            set_mode(path, wrong);
            let told = world.refused().await;
            let command = format!("chmod {right:o} {}", path.display());
            assert!(told.contains(&command), "{told}");
            assert!(told.contains(&format!("{wrong:04o}")), "{told}");
        }
        set_mode(path, right);
    }
    world.restart().await.enrolled("b").await;
}

#[tokio::test]
async fn a_lost_seed_is_found_at_start_and_replaced_when_asked() {
    if crate::postgres::has_no_files() {
        return;
    }
    for state in ["active", "next"] {
        for content in [None, Some(vec![7; 32]), Some(b"short".to_vec())] {
            let world = World::new().await;
            let (device, _) = world.enrolled("a").await;
            let lost = key(&world, state).await;
            let path = seed(&world, &lost);
            match content {
                None => fs::remove_file(&path).unwrap(),
                Some(content) => fs::write(&path, content).unwrap(),
            }
            let told = world.refused().await;
            for part in [path.to_str().unwrap(), &lost, state, "default", "--replace-keys"] {
                assert!(told.contains(part), "{part} in {told}");
            }
            let world = world.restart_as(|config| config.replace_keys = true).await;
            world.refresh(&device).await.unwrap();
            assert_ne!(key(&world, state).await, lost);
            let entry = audited(&world, "key.replace").await;
            assert_eq!((&entry["tenant"], &entry["subject"]), (&json!("default"), &json!(lost)));
            let left = if state == "active" { "retiring" } else { "retired" };
            assert_eq!(key(&world, left).await, lost);
            let reader = Reader::snapshot(&world).await;
            let usable = |key: &&_| {
                let key: &tessera_token::chain::IssuerKey = key;
                matches!(key.state, KeyState::Active | KeyState::Next)
            };
            assert_eq!(reader.keys().filter(usable).count(), 2);
            assert!(!path.exists());
            world.restart().await.refresh(&device).await.unwrap();
        }
    }
}

#[tokio::test]
async fn seeds_that_no_key_in_use_has_are_removed_at_start() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let old = key(&world, "active").await;
    let kept = fs::read(seed(&world, &old)).unwrap();
    world.post("/v1/tenants/default/keys/rotate", json!({})).await;
    assert!(!seed(&world, &old).exists());
    assert!(world.stop().await.is_empty());
    let before = names(&keys(&world));
    // As a crash leaves them: before the record was written, behind it, and in the middle of a write.
    for name in [
        format!("issuer-{old}.seed"),
        "issuer-0123456789abcdef.seed".to_owned(),
        "issuer-0123456789abcdef.seed.77.tmp".to_owned(),
        "root.seed.77.tmp".to_owned(),
    ] {
        fs::write(keys(&world).join(&name), &kept).unwrap();
        set_mode(&keys(&world).join(&name), 0o600);
    }
    let world = world.restart().await;
    assert_eq!(names(&keys(&world)), before);
    assert!(before.contains(&"root.seed".to_owned()));
    world.refresh(&device).await.unwrap();
}

#[tokio::test]
async fn a_service_without_its_root_key_does_not_start() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = World::new().await;
    fs::remove_file(keys(&world).join("root.seed")).unwrap();
    let told = world.refused().await;
    assert!(told.contains("root.seed") && told.contains("backup"), "{told}");
    assert!(!keys(&world).join("root.seed").exists());
}

#[tokio::test]
async fn a_store_that_is_gone_is_no_first_start() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = World::new().await;
    world.enrolled("a").await;
    let root = world.handle.root_thumbprint();
    assert!(world.stop().await.is_empty());
    let store = world.dir.path().join("provisioning/store");
    let token = fs::read(world.dir.path().join("operator.token")).unwrap();
    fs::remove_dir_all(&store).unwrap();
    for _ in 0..2 {
        let told = world.refused().await;
        assert!(told.contains(store.to_str().unwrap()) && told.contains("--accept-loss"), "{told}");
    }
    assert_eq!(fs::read(world.dir.path().join("operator.token")).unwrap(), token);
    let world = world.restart_as(|config| config.accept_loss = true).await;
    assert_eq!(world.handle.root_thumbprint(), root);
    assert!(world.handle.first_start().is_some());
    let entry = audited(&world, "store.accept-loss").await;
    assert!(entry["detail"].as_str().unwrap().contains("store"), "{entry}");
    let world = world.restart().await;
    world.enrolled("b").await;
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_goes_on() {
    if crate::postgres::has_no_files() {
        return;
    }
    let made = World::new().await;
    assert!(made.stop().await.is_empty());
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("provisioning");
    fs::create_dir_all(own.join("keys")).unwrap();
    for path in [dir.path().to_owned(), own.clone(), own.join("keys")] {
        set_mode(&path, 0o700);
    }
    let copy = |from: PathBuf, to: PathBuf| {
        fs::copy(&from, &to).unwrap();
        set_mode(&to, 0o600);
    };
    fs::write(own.join("founding"), "").unwrap();
    copy(keys(&made).join("root.seed"), own.join("keys/root.seed"));
    copy(made.dir.path().join("operator.token"), dir.path().join("operator.token"));
    let (handle, stop) = try_start(dir.path(), &made.clock, |_| {}).await.unwrap();
    assert_eq!(handle.root_thumbprint(), made.handle.root_thumbprint());
    assert!(handle.first_start().is_some());
    assert!(!own.join("founding").exists());
    assert!(stop.finish(std::time::Duration::from_secs(30)).await.is_empty());
    fs::remove_dir_all(own.join("store")).unwrap();
    let again = try_start(dir.path(), &made.clock, |_| {}).await;
    assert!(again.is_err(), "from now on the store is missed");
}

/// As a crash leaves it between the acceptance of a loss and its audit entry.
#[tokio::test]
async fn an_accepted_loss_is_on_record_also_after_a_crash() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = World::new().await;
    assert!(world.stop().await.is_empty());
    let mark = world.dir.path().join("provisioning/loss");
    fs::write(&mark, "store x: 3 rows of devices").unwrap();
    set_mode(&mark, 0o600);
    let world = world.restart().await;
    let entry = audited(&world, "store.accept-loss").await;
    assert_eq!(entry["detail"], "store x: 3 rows of devices");
    assert!(!mark.exists());
    let world = world.restart().await;
    let log = world.get("/v1/audit").await;
    let noted = |entry: &&Value| entry["action"] == "store.accept-loss";
    assert_eq!(log["items"].as_array().unwrap().iter().filter(noted).count(), 1);
}
