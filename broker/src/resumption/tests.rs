use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tessera_runtime::random::{RandomError, SeededRandom, SharedRandom};
use tessera_runtime::secret::SecretFileError;
use tessera_token::hash::TokenHash;
use tessera_token::key::Thumbprint;
use tessera_token::proof::TicketKey;
use tessera_token::time::UnixSeconds;

use super::{Changed, TicketError, TicketKeys, TicketSettings};

const DAY: u64 = 86_400;
const NOW: u64 = 1_800_000_000;

fn open(folder: &Path, now: u64) -> Result<TicketKeys, TicketError> {
    let settings = TicketSettings::Own { rotate_every: DAY };
    let random = SeededRandom::predictable(now).shared();
    TicketKeys::open(&settings, folder, random, UnixSeconds::new(now))
}

fn newest(tickets: &TicketKeys) -> [u8; 32] {
    accepted(tickets)[0]
}

/// The secrets that are accepted, newest first.
fn accepted(tickets: &TicketKeys) -> Vec<[u8; 32]> {
    let (audience, key) = ("broker".parse().unwrap(), Thumbprint::from_bytes([1; 32]));
    let secret = |ticket: &TicketKey| ticket.secret_of(&audience, &key, &TokenHash::of(b"token"));
    tickets.accepted().iter().map(|ticket| *secret(ticket).expose_bytes()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_outlives_the_process_and_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("tickets");
    let first = newest(&open(&folder, NOW).unwrap());
    assert_eq!((mode(&folder), mode(&folder.join("keys"))), (0o700, 0o600));
    assert_eq!(newest(&open(&folder, NOW + DAY - 1).unwrap()), first);
    assert_eq!(accepted(&open(&folder, NOW + 1).unwrap()), [first]);
}

#[test]
fn keys_change_on_time_and_the_one_before_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let tickets = open(&folder.path().join("t"), NOW).unwrap();
    let first = newest(&tickets);
    let at = |seconds| tickets.refresh(UnixSeconds::new(NOW + seconds)).unwrap();
    assert_eq!(at(DAY - 1), Changed::default());
    assert_eq!(at(DAY), Changed { newer: true, withdrawn: false });
    assert_eq!(at(DAY), Changed::default());
    let second = newest(&tickets);
    assert_eq!(accepted(&tickets), [second, first]);
    assert_eq!(at(2 * DAY), Changed { newer: true, withdrawn: true });
    let third = newest(&tickets);
    assert_eq!(accepted(&tickets), [third, second]);
    // The file on disk is the same, so that a crash changes nothing.
    assert_eq!(accepted(&open(&folder.path().join("t"), NOW + 2 * DAY).unwrap()), [third, second]);
}

#[test]
fn a_key_that_slept_too_long_is_not_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let first = newest(&open(folder.path().join("t").as_path(), NOW).unwrap());
    let later = open(folder.path().join("t").as_path(), NOW + 2 * DAY).unwrap();
    assert!(!accepted(&later).contains(&first));
    // Nor is a key of the future kept in use for ever.
    let back = open(folder.path().join("t").as_path(), NOW + DAY).unwrap();
    assert_eq!(accepted(&back).len(), 2);
    assert_ne!(newest(&back), newest(&later));
}

struct Dry;

impl tessera_runtime::random::Random for Dry {
    fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
        Err(RandomError)
    }
}

#[test]
fn what_cannot_be_kept_or_made_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let settings = TicketSettings::Own { rotate_every: DAY };
    let dry: SharedRandom = std::sync::Arc::new(Dry);
    let none = TicketKeys::open(&settings, &folder.path().join("a"), dry, UnixSeconds::new(NOW));
    assert!(matches!(none, Err(TicketError::Random)));
    let path = folder.path().join("b");
    let tickets = open(&path, NOW).unwrap();
    fs::remove_dir_all(&path).unwrap();
    // A key whose file is gone is used no more, also while none can be made in its place.
    let changed = tickets.refresh(UnixSeconds::new(NOW + DAY)).unwrap();
    assert!(changed.withdrawn && accepted(&tickets).is_empty());
    assert!(matches!(tickets.refresh(UnixSeconds::new(NOW + DAY)), Err(TicketError::File(_))));
    // It is tried again.
    fs::create_dir(&path).unwrap();
    assert!(tickets.refresh(UnixSeconds::new(NOW + DAY)).unwrap().newer);
}

#[test]
fn own_keys_can_be_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let tickets = open(&path, NOW).unwrap();
    tickets.refresh(UnixSeconds::new(NOW + DAY)).unwrap();
    let before = accepted(&tickets);
    let names: Vec<_> = tickets.accepted().iter().map(TicketKey::id).collect();
    fs::remove_file(path.join("keys")).unwrap();
    let changed = tickets.refresh(UnixSeconds::new(NOW + DAY + 1)).unwrap();
    assert_eq!(changed, Changed { newer: true, withdrawn: true });
    assert!(names.iter().all(|name| !tickets.accepts(*name)));
    let after = accepted(&tickets);
    assert!(after.len() == 1 && !before.contains(&after[0]));
    // Also on the disk, over a crash.
    assert_eq!(accepted(&open(&path, NOW + DAY + 2).unwrap()), after);
    // Also where no new key can be written.
    fs::remove_dir_all(&path).unwrap();
    let changed = tickets.refresh(UnixSeconds::new(NOW)).unwrap();
    assert!(changed.withdrawn && accepted(&tickets).is_empty());
}

#[test]
fn what_is_on_disk_is_ours_or_the_start_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    open(&path, NOW).unwrap();
    let file = path.join("keys");
    let good = fs::read_to_string(&file).unwrap();
    let digits = good.trim().split_once(' ').unwrap().1.to_owned();
    let bad = [
        "rubbish".to_owned(),
        good.replace(' ', "\t"),
        format!("{NOW} +{}", &digits[1..]),
        format!("{NOW} {}", &digits[1..]),
        format!("{NOW} {digits}0"),
        format!("x {digits}"),
        good.repeat(3),
    ];
    for content in bad {
        fs::write(&file, &content).unwrap();
        assert!(matches!(open(&path, NOW), Err(TicketError::Content(_))), "{content}");
    }
    fs::write(&file, &good).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(open(&path, NOW), Err(TicketError::File(SecretFileError::Open(..)))));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(open(&path, NOW), Err(TicketError::File(SecretFileError::Open(..)))));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    // A file that a crash in the middle of a write left is removed.
    fs::write(path.join("keys.17.tmp"), "half").unwrap();
    open(&path, NOW).unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}

#[test]
fn a_shared_file_is_read_again_and_never_half() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cluster");
    let write = |text: &str, mode| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    let open = || {
        let settings = TicketSettings::Shared(file.clone());
        let random = SeededRandom::predictable(1).shared();
        TicketKeys::open(&settings, folder.path(), random, UnixSeconds::new(NOW))
    };
    let key = |n: u8| format!("{n:02x}").repeat(32);
    assert!(open().is_err());
    write(&key(1), 0o600);
    let (one, other) = (open().unwrap(), open().unwrap());
    assert_eq!(newest(&one), newest(&other));
    let refresh = || one.refresh(UnixSeconds::new(NOW));
    assert_eq!(refresh().unwrap(), Changed::default());
    write(&format!("{}\n{}\n", key(2), key(1)), 0o600);
    assert_eq!(refresh().unwrap(), Changed { newer: true, withdrawn: false });
    assert_eq!(accepted(&one)[1], newest(&other));
    for (text, mode) in [
        (key(3), 0o644),
        (String::new(), 0o600),
        (format!("{}\n\n{}", key(3), key(2)), 0o600),
        ([key(1), key(2), key(3), key(4)].join("\n"), 0o600),
    ] {
        let before = accepted(&one);
        write(&text, mode);
        assert!(refresh().is_err(), "{text}");
        assert!(open().is_err());
        assert_eq!(accepted(&one), before);
    }
}
