//! The PIN for a login. One that a token refused is not shown to it again: a few wrong ones lock a token for good.

use parking_lot::Mutex;
use tessera_token::hash::sha256;

use super::{ModuleError, Pin};
use crate::secret::{read_secret_text, Secret};

/// The PIN of a token, with the memory of one that was refused.
pub(super) struct Pins {
    pin: Pin,
    refused: Mutex<Option<[u8; 32]>>,
}

impl Pins {
    pub(super) fn of(pin: Pin) -> Self {
        Self { pin, refused: Mutex::default() }
    }

    /// The PIN to show now. A file is read anew.
    pub(super) fn get(&self, token: &str) -> Result<Secret<String>, ModuleError> {
        let pin = match &self.pin {
            Pin::File(path) => read_secret_text(path)?,
            Pin::Given(pin) => pin.clone(),
        };
        match *self.refused.lock() == Some(sha256(pin.expose().as_bytes())) {
            true => Err(ModuleError::PinRefused(token.to_owned())),
            false => Ok(pin),
        }
    }

    /// The token did not take it.
    pub(super) fn refused(&self, pin: &Secret<String>) {
        *self.refused.lock() = Some(sha256(pin.expose().as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::write_secret_file;

    #[test]
    fn a_refused_pin_is_not_shown_again_before_it_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        write_secret_file(&path, b"1234\n").unwrap();
        let pins = Pins::of(Pin::File(path.clone()));
        let pin = pins.get("t").unwrap();
        assert_eq!(pin.expose(), "1234");
        pins.refused(&pin);
        assert!(matches!(pins.get("t"), Err(ModuleError::PinRefused(_))));
        write_secret_file(&path, b"4321\n").unwrap();
        assert_eq!(pins.get("t").unwrap().expose(), "4321");
    }

    #[test]
    fn a_pin_that_others_can_read_is_not_shown() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        write_secret_file(&path, b"1234\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Pins::of(Pin::File(path)).get("t").map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "pin_file");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        let shown = format!("{:?}", Pin::Given(Secret::new("1234".to_owned())));
        assert!(!shown.contains("1234"));
    }
}
