//! One token: sessions that are opened when needed, logged in, kept, and opened again when they are lost.

use std::sync::Arc;
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use parking_lot::Mutex;

use super::library::{InUse, Library, Open};
use super::pin::Pins;
use super::{ModuleError, ModuleSettings};
use crate::clock::SharedClock;
use crate::limits::{PKCS11_MISSED_EVERY, PKCS11_OPEN_EVERY};

/// A token of a module, for calls that wait.
pub(super) struct Token {
    library: Arc<Library>,
    label: String,
    pins: Pins,
    clock: SharedClock,
    /// The last failure to open, and when it was.
    failed: Mutex<Option<(Duration, ModuleError)>>,
    /// When the module was last loaded anew for a key that was not there.
    missed: Mutex<Option<Duration>>,
    /// Why the last call did not come through.
    fault: Mutex<Option<ModuleError>>,
}

/// The outcome of one attempt by one session.
pub(super) enum Tried<T> {
    Done(Result<T, ModuleError>),
    /// The session is not good any more.
    Lost(ModuleError),
    /// The key is not there. A token that was taken out and put in again shows its keys to a module that is loaded anew.
    Missing(ModuleError),
}

impl<T> From<Error> for Tried<T> {
    fn from(error: Error) -> Self {
        let is_lost = is_lost(&error);
        let error = ModuleError::Device(error.to_string());
        match is_lost {
            true => Self::Lost(error),
            false => Self::Done(Err(error)),
        }
    }
}

impl Token {
    pub(super) fn of(settings: ModuleSettings, clock: SharedClock) -> Self {
        Self {
            library: Library::at(&settings.module),
            label: settings.token,
            pins: Pins::of(settings.pin),
            clock,
            failed: Mutex::default(),
            missed: Mutex::default(),
            fault: Mutex::default(),
        }
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn fault(&self) -> Option<ModuleError> {
        self.fault.lock().clone()
    }

    /// A call that was given up counts as one that did not come through.
    pub(super) fn note(&self, error: &ModuleError) {
        *self.fault.lock() = Some(error.clone());
    }

    /// Does `work` by a session. When that is lost, again by a new one, and then by a module that is loaded anew.
    pub(super) fn run<T>(
        &self,
        mut work: impl FnMut(&mut Open) -> Tried<T>,
    ) -> Result<T, ModuleError> {
        let done = self.attempts(&mut work);
        let mut fault = self.fault.lock();
        match &done {
            Err(error) if !error.is_of_a_key() => {
                if fault.as_ref().is_none_or(|before| before.code() != error.code()) {
                    tracing::error!(code = error.code(), %error, token = self.label, "PKCS#11");
                }
                *fault = Some(error.clone());
            }
            _ => {
                if fault.take().is_some() {
                    tracing::info!(token = self.label, "the PKCS#11 token answers again");
                }
            }
        }
        done
    }

    fn attempts<T>(&self, work: &mut impl FnMut(&mut Open) -> Tried<T>) -> Result<T, ModuleError> {
        let (mut kept, mut generation) = (true, None);
        loop {
            let (lost, seen) = {
                let library = self.library.in_use()?;
                let taken = if kept { library.take(&self.label) } else { None };
                let is_kept = taken.is_some();
                let opened = match taken {
                    Some(open) => Ok(open),
                    None => self.open(&library),
                };
                match opened {
                    Ok(mut open) => match work(&mut open) {
                        Tried::Done(done) => {
                            library.put_back(&self.label, open);
                            return done;
                        }
                        Tried::Missing(error) => {
                            library.put_back(&self.label, open);
                            if generation.is_some() || !self.may_look_again() {
                                return Err(error);
                            }
                            (error, library.generation())
                        }
                        Tried::Lost(error) => {
                            tracing::warn!(%error, token = self.label, "a PKCS#11 session was lost");
                            drop(open);
                            if is_kept {
                                // Others that were opened before are most likely lost too.
                                kept = false;
                                continue;
                            }
                            (error, library.generation())
                        }
                    },
                    Err(Opening::Final(error)) => return Err(error),
                    Err(Opening::Load(error)) => (error, library.generation()),
                }
            };
            if generation.replace(seen).is_some() {
                self.failed(&lost);
                return Err(lost);
            }
            match self.library.load(seen) {
                Ok(()) => {}
                // Calls that are in the module keep it from being loaded anew: that says nothing about the token.
                Err(ModuleError::Late) => return Err(lost),
                Err(error) => {
                    self.failed(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Whether the module is loaded anew for a key that is not there: seldom, since it may be gone for good.
    fn may_look_again(&self) -> bool {
        let (now, mut missed) = (self.clock.monotonic(), self.missed.lock());
        let may = missed.is_none_or(|at| now.saturating_sub(at) >= PKCS11_MISSED_EVERY);
        if may {
            *missed = Some(now);
        }
        may
    }

    fn failed(&self, error: &ModuleError) {
        *self.failed.lock() = Some((self.clock.monotonic(), error.clone()));
    }

    fn open(&self, library: &InUse<'_>) -> Result<Open, Opening> {
        if let Some((at, error)) = &*self.failed.lock() {
            if self.clock.monotonic().saturating_sub(*at) < PKCS11_OPEN_EVERY {
                return Err(Opening::Final(error.clone()));
            }
        }
        let Some(module) = library.module() else {
            return Err(Opening::Load(ModuleError::Ended));
        };
        let device = |error: Error| Opening::Load(ModuleError::Device(error.to_string()));
        let slot = self.slot(module)?;
        let session = module.open_rw_session(slot).map_err(|error| match error {
            // Others use what there is: they would lose it.
            Error::Pkcs11(RvError::SessionCount, _) => {
                Opening::Final(ModuleError::Device(error.to_string()))
            }
            error => device(error),
        })?;
        self.login(module, slot, &session)?;
        *self.failed.lock() = None;
        Ok(Open::new(session))
    }

    fn slot(&self, module: &Pkcs11) -> Result<Slot, Opening> {
        let device = |error: Error| Opening::Load(ModuleError::Device(error.to_string()));
        let mut found = None;
        for slot in module.get_slots_with_token().map_err(device)? {
            // A token that is being removed says nothing about the others.
            let Ok(info) = module.get_token_info(slot) else { continue };
            if info.label().trim_end() != self.label || !info.token_initialized() {
                continue;
            }
            if found.replace(slot).is_some() {
                return Err(Opening::Final(ModuleError::SeveralTokens(self.label.clone())));
            }
        }
        found.ok_or_else(|| Opening::Load(ModuleError::NoToken(self.label.clone())))
    }

    fn login(&self, module: &Pkcs11, slot: Slot, session: &Session) -> Result<(), Opening> {
        let last = |error| {
            self.failed(&error);
            Opening::Final(error)
        };
        let pin = self.pins.get(&self.label).map_err(last)?;
        if module.get_token_info(slot).is_ok_and(|info| info.user_pin_final_try()) {
            return Err(last(ModuleError::PinFinalTry(self.label.clone())));
        }
        let shown = AuthPin::from(pin.expose().clone());
        match session.login(UserType::User, Some(&shown)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let refused = login_refused(&error, &self.label);
                if matches!(refused, Some(ModuleError::PinRefused(_))) {
                    self.pins.refused(&pin);
                }
                Err(match refused {
                    Some(refused) => last(refused),
                    None => Opening::Load(ModuleError::Device(error.to_string())),
                })
            }
        }
    }
}

/// Why a session was not opened.
enum Opening {
    /// Loading the module anew changes nothing.
    Final(ModuleError),
    /// It may.
    Load(ModuleError),
}

/// The PIN is at fault.
fn login_refused(error: &Error, token: &str) -> Option<ModuleError> {
    let Error::Pkcs11(code, _) = error else { return None };
    let token = token.to_owned();
    match code {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => {
            Some(ModuleError::PinRefused(token))
        }
        RvError::PinLocked | RvError::PinExpired | RvError::UserPinNotInitialized => {
            Some(ModuleError::PinLocked(token))
        }
        _ => None,
    }
}

/// Whether an answer says that the session, the login, the token or the module is gone.
fn is_lost(error: &Error) -> bool {
    let Error::Pkcs11(code, _) = error else { return false };
    matches!(
        code,
        RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::SessionCount
            | RvError::DeviceRemoved
            | RvError::DeviceError
            | RvError::DeviceMemory
            | RvError::HostMemory
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::SlotIdInvalid
            | RvError::UserNotLoggedIn
            | RvError::CryptokiNotInitialized
            | RvError::GeneralError
            | RvError::FunctionFailed
            | RvError::FunctionCanceled
            | RvError::OperationActive
            | RvError::VendorDefined(_)
    )
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn a_login_that_fails_by_its_pin_is_told_by_its_code() {
        let told = |code| {
            login_refused(&Error::Pkcs11(code, Function::Login), "t").map(|error| error.code())
        };
        assert_eq!(told(RvError::PinIncorrect), Some("pin_refused"));
        assert_eq!(told(RvError::PinLocked), Some("pin_locked"));
        assert_eq!(told(RvError::UserPinNotInitialized), Some("pin_locked"));
        assert_eq!(told(RvError::DeviceRemoved), None);
    }

    #[test]
    fn answers_about_a_key_lose_no_session() {
        let lost = |code| is_lost(&Error::Pkcs11(code, Function::Sign));
        assert!(lost(RvError::DeviceRemoved) && lost(RvError::VendorDefined(0x8000_0001)));
        assert!(!lost(RvError::KeyHandleInvalid) && !lost(RvError::MechanismInvalid));
    }
}
