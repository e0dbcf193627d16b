//! Module files that this process has loaded: each once, however many tokens of it are in use, since a module counts
//! sessions and logins for the whole process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::{ModuleError, ObjectId};
use crate::limits::{PKCS11_HANDLES, PKCS11_RESET_WAIT};

static LOADED: LazyLock<Mutex<HashMap<PathBuf, Weak<Library>>>> = LazyLock::new(Mutex::default);

/// A loaded module.
pub(super) struct Library {
    path: PathBuf,
    state: RwLock<State>,
}

/// The parts that are lost with the module.
#[derive(Default)]
struct State {
    /// `None` when it could not be loaded, or was never asked for.
    loaded: Option<Pkcs11>,
    /// How often it was loaded.
    generation: u64,
    /// Sessions that no call uses, by the label of their token.
    idle: Mutex<HashMap<String, Vec<Open>>>,
}

/// An open session with a login, and handles of keys that were found by it.
pub(super) struct Open {
    pub(super) session: Session,
    handles: HashMap<ObjectId, ObjectHandle>,
}

impl Open {
    pub(super) fn new(session: Session) -> Self {
        Self { session, handles: HashMap::new() }
    }

    pub(super) fn handle(&self, key: ObjectId) -> Option<ObjectHandle> {
        self.handles.get(&key).copied()
    }

    pub(super) fn keep(&mut self, key: ObjectId, handle: ObjectHandle) {
        if self.handles.len() >= PKCS11_HANDLES {
            self.handles.clear();
        }
        self.handles.insert(key, handle);
    }

    pub(super) fn forget(&mut self, key: ObjectId) {
        self.handles.remove(&key);
    }
}

/// The module while a call uses it: it is not loaded anew meanwhile.
pub(super) struct InUse<'a>(RwLockReadGuard<'a, State>);

impl InUse<'_> {
    /// `None` when it is not loaded.
    pub(super) fn module(&self) -> Option<&Pkcs11> {
        self.0.loaded.as_ref()
    }

    pub(super) fn generation(&self) -> u64 {
        self.0.generation
    }

    pub(super) fn take(&self, token: &str) -> Option<Open> {
        self.0.idle.lock().get_mut(token)?.pop()
    }

    pub(super) fn put_back(&self, token: &str, open: Open) {
        self.0.idle.lock().entry(token.to_owned()).or_default().push(open);
    }
}

impl Library {
    /// The library at this path, which is loaded by the first call.
    pub(super) fn at(path: &Path) -> Arc<Self> {
        // Two names of one file are one module.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut loaded = LOADED.lock();
        if let Some(there) = loaded.get(&path).and_then(Weak::upgrade) {
            return there;
        }
        let library = Arc::new(Self { path: path.clone(), state: RwLock::default() });
        loaded.retain(|_, there| there.strong_count() > 0);
        loaded.insert(path, Arc::downgrade(&library));
        library
    }

    /// # Errors
    /// [`ModuleError::Late`] when another call loads the module anew and does not end.
    pub(super) fn in_use(&self) -> Result<InUse<'_>, ModuleError> {
        let wait = PKCS11_RESET_WAIT + Duration::from_secs(1);
        self.state.try_read_for(wait).map(InUse).ok_or(ModuleError::Late)
    }

    /// Loads the module anew, unless that was done since `generation`. Every session of it ends.
    pub(super) fn load(&self, generation: u64) -> Result<(), ModuleError> {
        // A call that hangs in the module keeps it from being loaded anew.
        let state = self.state.try_write_for(PKCS11_RESET_WAIT);
        let mut state = state.ok_or(ModuleError::Late)?;
        if state.generation != generation && state.loaded.is_some() {
            return Ok(());
        }
        state.close();
        let fail = |why: &Error| ModuleError::Load(self.path.clone(), why.to_string());
        let loaded = Pkcs11::new(&self.path).map_err(|error| fail(&error))?;
        match loaded.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(fail(&error)),
        }
        state.loaded = Some(loaded);
        state.generation += 1;
        Ok(())
    }
}

impl State {
    fn close(&mut self) {
        // Sessions first: one that is closed later might close another of the same number.
        self.idle.lock().clear();
        if let Some(loaded) = self.loaded.take() {
            if let Err(error) = loaded.finalize() {
                tracing::debug!(%error, "a PKCS#11 module did not end cleanly");
            }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.close();
    }
}
