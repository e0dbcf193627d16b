//! The token that the gateway holds, in the folder of the device that it is (`tessera device enrol --dir` makes it). A
//! command on the same folder may renew the token meanwhile: it is read for each connection.

use tessera_runtime::device_folder::{DeviceFolder, DeviceFolderError, StoredToken};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::time::UnixSeconds;

/// The token that is held.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    /// The audience that a proof is made for, when the broker has no name of its own.
    pub(super) audience: String,
    pub(super) received: UnixSeconds,
    pub(super) expires: UnixSeconds,
}

impl Held {
    /// The token of the folder, which must be bound to the key of the device.
    ///
    /// # Errors
    /// Words about the file, and what to do.
    pub(super) fn read(folder: &DeviceFolder) -> Result<Self, String> {
        let told = |why: &str| format!("{}: {why}", folder.path().display());
        let none = || told("no stored token; get one with `tessera device token --refresh`");
        let stored = folder.token().map_err(|error| match error {
            DeviceFolderError::NoToken(_) => none(),
            error => error.to_string(),
        })?;
        if stored.bearer || stored.key.is_some() {
            return Err(told("the token is not bound to the key of the device"));
        }
        Ok(Self {
            bytes: from_base64url(&stored.token).ok_or_else(none)?,
            audience: stored.audience,
            received: UnixSeconds::new(stored.received),
            expires: UnixSeconds::new(stored.expires),
        })
    }

    /// Keeps it, durably.
    ///
    /// # Errors
    /// Words about the file.
    pub(super) fn keep(&self, folder: &DeviceFolder) -> Result<(), String> {
        let stored = StoredToken {
            token: base64url(&self.bytes),
            audience: self.audience.clone(),
            received: self.received.get(),
            expires: self.expires.get(),
            bearer: false,
            key: None,
        };
        folder.keep_token(&stored).map_err(|error| error.to_string())
    }
}
