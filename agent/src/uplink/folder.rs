//! The folder of the device that the gateway is, as `tessera device enrol --dir` makes it: `device.json`, `device.key`,
//! `token.json` and `counter`. A command on the same folder may renew the token meanwhile: it is read for each connection.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tessera_runtime::secret::{owner_alone, read_secret_text, write_secret_file, Secret};
use tessera_token::encoding::{base64url, from_base64url, hex};
use tessera_token::key::SecretKey;
use tessera_token::time::UnixSeconds;

/// A fault of the folder, in words.
pub(super) type Fault = String;

/// The folder.
#[derive(Clone)]
pub(super) struct Folder(PathBuf);

/// The token that is held.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    /// The audience that a proof is made for, when the broker has no name of its own.
    pub(super) audience: String,
    pub(super) received: UnixSeconds,
    pub(super) expires: UnixSeconds,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    token: String,
    audience: String,
    received: u64,
    expires: u64,
    bearer: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Folder {
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The key of the device.
    pub(super) fn key(&self) -> Result<SecretKey, Fault> {
        let found = fs::metadata(&self.0).map_err(|error| told(&self.0, &error))?;
        owner_alone(&self.0, &found).map_err(|error| error.to_string())?;
        let path = self.0.join("device.key");
        let text = read_secret_text(&path).map_err(|error| error.to_string())?;
        let seed = hex::decode_key(text.expose());
        let seed = seed.ok_or_else(|| told(&path, &"not 32 bytes as hexadecimal"))?;
        Ok(SecretKey::from_seed(&seed))
    }

    /// The token, which must be bound to the key of the device.
    pub(super) fn token(&self) -> Result<Held, Fault> {
        let path = self.0.join("token.json");
        let text = read_secret_text(&path).map_err(|error| error.to_string())?;
        let none =
            || told(&path, &"no stored token; get one with `tessera device token --refresh`");
        let stored: Stored = serde_json::from_str(text.expose()).map_err(|_| none())?;
        if stored.bearer || stored.key.is_some() {
            return Err(told(&path, &"the token is not bound to the key of the device"));
        }
        Ok(Held {
            bytes: from_base64url(&stored.token).ok_or_else(none)?,
            audience: stored.audience,
            received: UnixSeconds::new(stored.received),
            expires: UnixSeconds::new(stored.expires),
        })
    }

    /// Keeps the next token, durably.
    pub(super) fn keep(&self, next: &Held) -> Result<(), Fault> {
        let stored = Stored {
            token: base64url(&next.bytes),
            audience: next.audience.clone(),
            received: next.received.get(),
            expires: next.expires.get(),
            bearer: false,
            key: None,
        };
        let text = serde_json::to_string(&stored).map_err(|error| error.to_string())?;
        let text = Secret::new(text);
        let path = self.0.join("token.json");
        write_secret_file(&path, text.expose().as_bytes()).map_err(|error| error.to_string())
    }

    /// The next proof counter: above every earlier one, never below the seconds of `now`, and durable before it is used.
    pub(super) fn next_counter(&self, now: UnixSeconds) -> Result<u32, Fault> {
        let _lock = self.lock()?;
        let path = self.0.join("counter");
        let time = u32::try_from(now.get()).unwrap_or(u32::MAX);
        let last: Option<u32> = match path.exists() {
            true => {
                let text = read_secret_text(&path).map_err(|error| error.to_string())?;
                text.expose().trim().parse().ok()
            }
            false => None,
        };
        let next = last.and_then(|last| last.checked_add(1)).map_or(time, |next| next.max(time));
        write_secret_file(&path, next.to_string().as_bytes()).map_err(|error| error.to_string())?;
        Ok(next)
    }

    fn lock(&self) -> Result<File, Fault> {
        let path = self.0.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(|error| told(&path, &error))?;
        file.lock().map_err(|error| told(&path, &error))?;
        Ok(file)
    }
}

fn told(path: &Path, fault: &dyn std::fmt::Display) -> Fault {
    format!("{}: {fault}", path.display())
}
