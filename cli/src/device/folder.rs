//! A device's folder: `device.json` (who it is), `device.key` (32 bytes as hex, mode 0600), `token.json` (mode 0600)
//! and `counter` (the last proof counter, durable before the proof that uses it leaves; a lost one goes on from the time).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tessera_runtime::device_folder::{
    DeviceFolder, DeviceFolderError, StoredToken, COUNTER, KEY, TOKEN,
};
use tessera_runtime::http::{HttpError, Server};
use tessera_runtime::random::{self, Random};
use tessera_runtime::secret::{own_folder_of, owner_alone, read_secret_text, write_secret_file};
use tessera_runtime::tls::Trust;
use tessera_simulators::device::api::DeviceApi;
use tessera_simulators::device::credential::HeldToken;
use tessera_simulators::device::identity::Identity;
use tessera_token::encoding::{base64url, from_base64url, hex};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::proof::SymmetricKey;
use tessera_token::time::UnixSeconds;

use crate::args::{folder_or_env, FolderArgs};
use crate::error::Fault;

/// The key that the service is asked to take.
const NEXT_KEY: &str = "device.key.next";
/// The key that the device had before.
const FORMER_KEY: &str = "device.key.former";

/// One device's folder.
pub(crate) struct Folder {
    files: DeviceFolder,
}

/// Name and home of the device.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Card {
    pub(crate) http: String,
    pub(crate) tenant: String,
    pub(crate) device: String,
    /// The authorities that may sign the certificate of provisioning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cafile: Option<PathBuf>,
    /// Whether provisioning may be asked in clear on another machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) http_in_clear: bool,
    /// Seconds to add to this machine's clock, learned from provisioning.
    #[serde(default)]
    pub(crate) clock_correction: i64,
}

impl Card {
    /// The trust settings for servers; `TESSERA_CAFILE` stands in where enrolment named no file.
    pub(crate) fn trust(&self) -> Trust {
        let cafile = folder_or_env(self.cafile.as_ref(), "TESSERA_CAFILE");
        Trust { cafile, in_clear: self.http_in_clear }
    }

    /// A client of its provisioning.
    pub(crate) fn api(&self) -> Result<DeviceApi, HttpError> {
        DeviceApi::new(Server::new(self.http.as_str(), self.trust()))
    }
}

impl Folder {
    /// The folder that the user means.
    pub(crate) fn of(args: &FolderArgs) -> Self {
        let path = folder_or_env(args.dir.as_ref(), "TESSERA_DEVICE_DIR");
        Self { files: DeviceFolder::at(&path.unwrap_or_else(|| PathBuf::from("."))) }
    }

    /// The folder at `path`, made when it is not there (mode 0700).
    pub(crate) fn create(path: &Path) -> Result<Self, Fault> {
        own_folder_of(path, &[KEY, NEXT_KEY, FORMER_KEY, TOKEN, COUNTER])?;
        Ok(Self { files: DeviceFolder::at(path) })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.files.path()
    }

    /// The identity of the device.
    pub(crate) fn card(&self) -> Result<Card, Fault> {
        let path = self.file("device.json");
        let text = fs::read_to_string(&path).map_err(|error| {
            fault(&path, &error)
                .hint("enrol first: tessera device enrol --device ID --claim CODE --dir DIR")
        })?;
        serde_json::from_str(&text)
            .map_err(|error| Fault::new(format!("{}: {error}", path.display())))
    }

    /// Keeps who the device is.
    pub(crate) fn keep_card(&self, card: &Card) -> Result<(), Fault> {
        let text = serde_json::to_string_pretty(card)?;
        Ok(write_secret_file(&self.file("device.json"), text.as_bytes())?)
    }

    /// The device's key.
    pub(crate) fn key(&self) -> Result<SecretKey, Fault> {
        Ok(self.files.key()?)
    }

    /// The device's key, made and kept when there is none: a second enrolment must use the same one.
    pub(crate) fn key_or_new(&self, random: &dyn Random) -> Result<SecretKey, Fault> {
        let path = self.file(KEY);
        if !path.exists() {
            let seed: [u8; 32] = random::bytes(random)?;
            write_secret_file(&path, hex::encode(seed).as_bytes())?;
        }
        self.key()
    }

    /// The key that is to be the next one of the device, made and kept when there is none: the service may know it already.
    pub(crate) fn next_key_or_new(&self, random: &dyn Random) -> Result<SecretKey, Fault> {
        let found = fs::metadata(self.path()).map_err(|error| fault(self.path(), &error))?;
        owner_alone(self.path(), &found)?;
        let path = self.file(NEXT_KEY);
        if !path.exists() {
            let seed: [u8; 32] = random::bytes(random)?;
            write_secret_file(&path, hex::encode(seed).as_bytes())?;
        }
        let text = read_secret_text(&path)?;
        let seed = hex::decode_key(text.expose()).ok_or_else(|| {
            Fault::new(format!("{}: not 32 bytes as hexadecimal", path.display()))
        })?;
        Ok(SecretKey::from_seed(&seed))
    }

    /// Puts the next key in the place of the key of the device, which stays beside it. Each step is durable, and after a cut
    /// the same call does the rest.
    pub(crate) fn take_next_key(&self) -> Result<(), Fault> {
        let [next, key, former] = [NEXT_KEY, KEY, FORMER_KEY].map(|name| self.file(name));
        let taken = read_secret_text(&next)?;
        if key.exists() {
            let present = read_secret_text(&key)?;
            if present.expose() != taken.expose() {
                write_secret_file(&former, present.expose().as_bytes())?;
            }
        }
        write_secret_file(&key, taken.expose().as_bytes())?;
        fs::remove_file(&next).map_err(|error| fault(&next, &error))
    }

    /// Takes a key that the device has from elsewhere. A folder that has another one keeps it.
    pub(crate) fn take_key(&self, from: &Path) -> Result<(), Fault> {
        let text = read_secret_text(from)?;
        let seed = hex::decode_key(text.expose()).ok_or_else(|| {
            Fault::new(format!("{}: not 32 bytes as hexadecimal", from.display()))
        })?;
        let path = self.file(KEY);
        if !path.exists() {
            write_secret_file(&path, text.expose().trim().as_bytes())?;
        }
        match self.key()?.public() == SecretKey::from_seed(&seed).public() {
            true => Ok(()),
            false => Err(Fault::new(format!("{} has another key", self.path().display()))
                .hint("take another folder: --dir DIR")),
        }
    }

    /// Card and key together.
    pub(crate) fn identity(&self, card: &Card) -> Result<Identity, Fault> {
        Ok(Identity {
            tenant: TenantId::parse(&card.tenant)?,
            device: DeviceId::parse(&card.device)?,
            key: self.key()?,
        })
    }

    /// The token.
    pub(crate) fn token(&self) -> Result<HeldToken, Fault> {
        let path = self.file(TOKEN);
        let bad = || {
            Fault::new(DeviceFolderError::NoToken(path.clone()).to_string())
                .hint("get a new one: tessera device token --refresh")
        };
        let stored = self.files.token().map_err(|error| match error {
            DeviceFolderError::NoToken(_) => bad(),
            error => error.into(),
        })?;
        Ok(HeldToken {
            bytes: from_base64url(&stored.token).ok_or_else(bad)?,
            audience: stored.audience,
            received: UnixSeconds::new(stored.received),
            expires: UnixSeconds::new(stored.expires),
            bearer: stored.bearer,
            key: stored.key.map(|text| symmetric_key(&text).ok_or_else(bad)).transpose()?,
        })
    }

    /// Keeps the token.
    pub(crate) fn keep_token(&self, token: &HeldToken) -> Result<(), Fault> {
        let stored = StoredToken {
            token: base64url(&token.bytes),
            audience: token.audience.clone(),
            received: token.received.get(),
            expires: token.expires.get(),
            bearer: token.bearer,
            key: token.key.as_ref().map(|key| base64url(key.expose_bytes())),
        };
        Ok(self.files.keep_token(&stored)?)
    }

    /// The next proof counter: see [`DeviceFolder::next_counter`].
    pub(crate) fn next_counter(&self, now: UnixSeconds) -> Result<u32, Fault> {
        Ok(self.files.next_counter(now)?)
    }

    /// The last proof counter; `None` when the file is lost or broken.
    pub(crate) fn counter(&self) -> Result<Option<u32>, Fault> {
        Ok(self.files.counter()?)
    }

    /// The first of the folder and its secret files that others than the owner can get at, and its mode.
    pub(crate) fn open_to_others(&self) -> Option<(PathBuf, u32)> {
        let names = [KEY, NEXT_KEY, FORMER_KEY, TOKEN, COUNTER];
        let names = names.map(|name| self.file(name));
        [self.path().to_owned()].into_iter().chain(names).find_map(|path| {
            let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o7777;
            (mode & 0o077 != 0).then_some((path, mode))
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

fn symmetric_key(text: &str) -> Option<SymmetricKey> {
    from_base64url(text).and_then(|bytes| SymmetricKey::from_bytes(&bytes))
}

fn fault(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tessera_runtime::random::SystemRandom;
    use tessera_token::messages::TokenKind;

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(&dir.path().join("d-1")).unwrap();
        (dir, folder)
    }

    #[test]
    fn the_key_is_made_once_and_for_the_owner_alone() {
        let (_dir, folder) = folder();
        assert!(folder.key().is_err());
        let first = folder.key_or_new(&SystemRandom).unwrap();
        let second = folder.key_or_new(&SystemRandom).unwrap();
        assert_eq!(first.public(), second.public());
        assert_eq!(folder.open_to_others(), None);
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        open(folder.path(), 0o755);
        assert_eq!(folder.open_to_others(), Some((folder.path().to_owned(), 0o755)));
        let told = folder.key().err().unwrap().to_string();
        assert!(told.contains("0755") && told.contains("chmod 700"), "{told}");
        open(folder.path(), 0o700);
        open(&folder.file(KEY), 0o640);
        assert_eq!(folder.open_to_others(), Some((folder.file(KEY), 0o640)));
        let told = folder.key().err().unwrap().to_string();
        assert!(told.contains("0640") && told.contains("chmod 600"), "{told}");
    }

    #[test]
    fn a_next_key_takes_the_place_of_the_key_also_after_a_cut() {
        let (_dir, folder) = folder();
        let first = folder.key_or_new(&SystemRandom).unwrap().public();
        let next = folder.next_key_or_new(&SystemRandom).unwrap().public();
        assert_eq!(folder.next_key_or_new(&SystemRandom).unwrap().public(), next, "asked again");
        assert_eq!(folder.key().unwrap().public(), first, "until the answer is there");
        assert_eq!(folder.open_to_others(), None);
        // A cut behind the second of three steps: the next key is in both places.
        let text = fs::read(folder.file(NEXT_KEY)).unwrap();
        let former = fs::read(folder.file(KEY)).unwrap();
        write_secret_file(&folder.file(FORMER_KEY), &former).unwrap();
        write_secret_file(&folder.file(KEY), &text).unwrap();
        folder.take_next_key().unwrap();
        assert_eq!(folder.key().unwrap().public(), next);
        assert_eq!(
            fs::read(folder.file(FORMER_KEY)).unwrap(),
            former,
            "not lost by the second call"
        );
        assert!(!folder.file(NEXT_KEY).exists());
        assert!(folder.take_next_key().is_err());
        // Without any key, as in a folder that was lost.
        fs::remove_file(folder.file(KEY)).unwrap();
        let other = folder.next_key_or_new(&SystemRandom).unwrap().public();
        folder.take_next_key().unwrap();
        assert_eq!(folder.key().unwrap().public(), other);
    }

    #[test]
    fn counters_rise_also_across_threads_and_restarts() {
        let (_dir, folder) = folder();
        let path = folder.path().to_owned();
        let draw = move |_| {
            let path = path.clone();
            std::thread::spawn(move || {
                let folder = Folder { files: DeviceFolder::at(&path) };
                (0..10)
                    .map(|_| folder.next_counter(UnixSeconds::new(0)).unwrap())
                    .collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..4).map(draw).collect();
        let drawn: BTreeSet<u32> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        assert_eq!(drawn, (0..40).collect());
        let again = Folder { files: folder.files };
        assert_eq!(again.next_counter(UnixSeconds::new(0)).unwrap(), 40);
    }

    #[test]
    fn a_counter_that_is_lost_broken_old_or_used_up_goes_on_from_the_time() {
        let (_dir, folder) = folder();
        let next = |seconds| folder.next_counter(UnixSeconds::new(seconds)).unwrap();
        assert_eq!((folder.counter().unwrap(), next(1_000)), (None, 1_000));
        assert_eq!((next(1_000), next(1_000)), (1_001, 1_002));
        assert_eq!(next(990), 1_003, "a clock that was set back takes no counter back");
        for bad in ["x", "", "-1", "4294967296", "7", "4294967295"] {
            write_secret_file(&folder.file(COUNTER), bad.as_bytes()).unwrap();
            assert_eq!((next(2_000), next(2_000)), (2_000, 2_001), "{bad:?}");
        }
        assert_eq!(next(u64::MAX), u32::MAX);
        fs::remove_file(folder.file(COUNTER)).unwrap();
        assert_eq!(next(3_000), 3_000);
    }

    #[test]
    fn card_and_token_come_back() {
        let (_dir, folder) = folder();
        assert!(folder.card().is_err());
        let card = Card {
            http: "http://x:1".into(),
            tenant: "t".into(),
            device: "d-1".into(),
            cafile: None,
            http_in_clear: false,
            clock_correction: -3,
        };
        folder.keep_card(&card).unwrap();
        assert_eq!(folder.card().unwrap(), card);
        let token = HeldToken {
            bytes: vec![0xd8, 1, 2],
            audience: "mqtt".into(),
            received: UnixSeconds::new(10),
            expires: UnixSeconds::new(20),
            bearer: false,
            key: None,
        };
        folder.keep_token(&token).unwrap();
        let back = folder.token().unwrap();
        assert_eq!((back.kind(), back.expires.get()), (TokenKind::Key, 20));
        assert_eq!((back.bytes, back.bearer), (vec![0xd8, 1, 2], false));
        let key = SymmetricKey::from_bytes(&[7; 32]);
        folder.keep_token(&HeldToken { key: key.clone(), ..token }).unwrap();
        let back = folder.token().unwrap();
        assert!(back.key == key && back.kind() == TokenKind::Symmetric);
        fs::write(folder.file(TOKEN), "{}").unwrap();
        assert!(folder.token().is_err());
    }
}
