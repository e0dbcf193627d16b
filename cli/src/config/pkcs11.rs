//! The settings of a security module in which issuer keys are made.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tessera_runtime::pkcs11::{ModuleSettings, Pin};
use tessera_runtime::secret::Secret;

use crate::args::Pkcs11Args;
use crate::error::Fault;

/// The PIN, where no file has it.
const PIN_VARIABLE: &str = "TESSERA_PKCS11_PIN";

/// As a file has them.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPkcs11 {
    pub(super) module: Option<PathBuf>,
    token: Option<String>,
    pub(super) pin_file: Option<PathBuf>,
    pub(super) sessions: Option<usize>,
}

impl RawPkcs11 {
    /// Puts what the command line says before what the file says.
    pub(crate) fn with(&mut self, args: &Pkcs11Args) {
        self.module = args.pkcs11_module.clone().or(self.module.take());
        self.token = args.pkcs11_token.clone().or(self.token.take());
        self.pin_file = args.pkcs11_pin_file.clone().or(self.pin_file.take());
    }

    /// The settings; `None` when no module is named.
    pub(crate) fn validate(&self) -> Result<Option<ModuleSettings>, Fault> {
        self.validate_with(|| std::env::var(PIN_VARIABLE).ok().map(Secret::new))
    }

    fn validate_with(
        &self,
        environment: impl FnOnce() -> Option<Secret<String>>,
    ) -> Result<Option<ModuleSettings>, Fault> {
        let (module, token) = match (&self.module, &self.token, &self.pin_file) {
            (None, None, None) => return Ok(None),
            (None, ..) => return Err(missing("module", "--pkcs11-module FILE")),
            (_, None, _) => return Err(missing("token", "--pkcs11-token LABEL")),
            (Some(module), Some(token), _) => (module, token),
        };
        if cfg!(not(feature = "pkcs11")) {
            return Err(tessera_runtime::pkcs11::ModuleError::NotBuilt.into());
        }
        let pin = match &self.pin_file {
            Some(path) => Pin::File(path.clone()),
            None => Pin::Given(environment().ok_or_else(|| {
                missing("pin_file", "--pkcs11-pin-file FILE")
                    .hint(format!("name a file with the PIN, or put it into {PIN_VARIABLE}"))
            })?),
        };
        let mut settings = ModuleSettings::new(module, token, pin);
        settings.sessions = self.sessions.unwrap_or(settings.sessions);
        settings.check().map_err(|why| Fault::new(format!("provisioning.{why}")))?;
        Ok(Some(settings))
    }
}

fn missing(key: &str, flag: &str) -> Fault {
    Fault::new(format!("provisioning.pkcs11.{key} is missing")).hint(format!("name it with {flag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> RawPkcs11 {
        toml::from_str(text).unwrap()
    }

    fn given(text: &str, pin: Option<&str>) -> Result<Option<ModuleSettings>, String> {
        let pin = pin.map(|pin| Secret::new(pin.to_owned()));
        raw(text).validate_with(|| pin).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_module_needs_a_token_and_a_pin() {
        assert!(given("", None).unwrap().is_none());
        let told = |text: &str| given(text, None).unwrap_err();
        assert!(told("token = 't'").contains("provisioning.pkcs11.module is missing"));
        assert!(told("module = '/m.so'").contains("provisioning.pkcs11.token is missing"));
        if cfg!(not(feature = "pkcs11")) {
            assert!(told("module = '/m.so'\ntoken = 't'").contains("--features pkcs11"));
            return;
        }
        assert!(told("module = '/m.so'\ntoken = 't'").contains("pin_file is missing"));
        let file = "module = '/m.so'\ntoken = 't'\npin_file = 'p'\n";
        let settings = given(file, Some("1234")).unwrap().unwrap();
        assert!(matches!(settings.pin, Pin::File(_)) && settings.sessions == 4);
        assert!(told(&format!("{file}sessions = 65")).contains("1 to 64"));
        assert!(told("module = 'm.so'\ntoken = 't'\npin_file = 'p'").contains("whole path"));
    }

    #[test]
    #[cfg(feature = "pkcs11")]
    fn a_pin_of_the_environment_is_never_printed() {
        let settings = given("module = '/m.so'\ntoken = 't'", Some("pin-71")).unwrap().unwrap();
        assert!(matches!(&settings.pin, Pin::Given(pin) if pin.expose() == "pin-71"));
        assert!(!format!("{settings:?}").contains("pin-71"));
    }
}
