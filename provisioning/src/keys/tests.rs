use std::os::unix::fs::PermissionsExt;

use tessera_runtime::random::SeededRandom;

use super::files::{draw, KeyFolder};
use crate::start_error::StartError;

#[test]
fn seeds_are_for_the_owner_alone_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(&dir.path().join("keys")).unwrap();
    let random = SeededRandom::predictable(1);
    let key = draw(&random).unwrap();
    let id = folder.store(&key).unwrap();
    assert_eq!(folder.load(id).unwrap().public(), key.public());
    let root = folder.root(&random, true).unwrap();
    assert_eq!(folder.root(&random, true).unwrap().public(), root.public());
    for file in std::fs::read_dir(dir.path().join("keys")).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    folder.forget(id);
    assert!(folder.load(id).is_err());
}

#[test]
fn a_lost_root_key_is_not_replaced_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let folder = KeyFolder::open(&dir.path().join("keys")).unwrap();
    let random = SeededRandom::predictable(1);
    assert!(matches!(folder.root(&random, false), Err(StartError::RootLost(_))));
}
