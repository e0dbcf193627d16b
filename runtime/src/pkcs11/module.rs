//! A token for callers that must not wait on their own thread: calls go to threads of the module through a bounded queue.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TrySendError};
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_token::key::{PublicKey, Signer};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::keys::InToken;
use super::token::Token;
use super::{KeyKind, ModuleError, ModuleKey, ModuleSettings, ObjectId};
use crate::clock::SharedClock;
use crate::limits::{PKCS11_CALL, PKCS11_QUEUE};

type Job = Box<dyn FnOnce(&Token) + Send>;

/// A token of a security module. Its threads end with its last clone.
#[derive(Clone)]
pub struct Module {
    token: Arc<Token>,
    jobs: SyncSender<Job>,
}

impl Module {
    /// Makes its threads. The module is loaded by the first call: [`Module::check`] says whether it answers.
    ///
    /// # Errors
    /// [`ModuleError::Device`] when the threads cannot be made.
    pub fn open(settings: ModuleSettings, clock: SharedClock) -> Result<Self, ModuleError> {
        let (jobs, waiting) = sync_channel::<Job>(PKCS11_QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        let sessions = settings.sessions;
        let token = Arc::new(Token::of(settings, clock));
        for _ in 0..sessions {
            let (token, waiting) = (Arc::clone(&token), Arc::clone(&waiting));
            let thread = std::thread::Builder::new().name("pkcs11".to_owned());
            let made = thread.spawn(move || work(&token, &waiting));
            made.map_err(|error| ModuleError::Device(format!("no thread for it: {error}")))?;
        }
        Ok(Self { token, jobs })
    }

    /// The label of the token.
    pub fn token(&self) -> &str {
        self.token.label()
    }

    /// Why the last call did not come through; `None` when it did.
    pub fn fault(&self) -> Option<ModuleError> {
        self.token.fault()
    }

    /// Asks the token whether it answers.
    ///
    /// # Errors
    /// [`ModuleError`].
    pub async fn check(&self) -> Result<(), ModuleError> {
        self.call(Token::check, |_, _| {}).await?
    }

    /// Asks the token whether it signs with this key. A module may answer for a token that is gone.
    ///
    /// # Errors
    /// [`ModuleError`].
    pub async fn try_key(&self, key: ModuleKey) -> Result<(), ModuleError> {
        self.call(move |token| token.try_key(&key), |_, _| {}).await?
    }

    /// Makes a key pair in the token, whose private half cannot leave it. One that comes too late is destroyed.
    ///
    /// # Errors
    /// [`ModuleError`]; then there is no key.
    pub async fn generate(
        &self,
        kind: KeyKind,
        object: ObjectId,
        label: &str,
    ) -> Result<PublicKey, ModuleError> {
        let label = label.to_owned();
        let make = move |token: &Token| token.generate(kind, object, &label);
        let unwanted = move |token: &Token, made: Result<PublicKey, ModuleError>| {
            if made.is_ok() && token.destroy(object).is_err() {
                tracing::warn!(%object, "a key that came too late is left in the PKCS#11 token");
            }
        };
        self.call(make, unwanted).await?
    }

    /// Whether the private key is there.
    ///
    /// # Errors
    /// [`ModuleError`].
    pub async fn holds(&self, object: ObjectId) -> Result<bool, ModuleError> {
        self.call(move |token| token.holds(object), |_, _| {}).await?
    }

    /// Does `work` with the key on a thread of the module, which may wait for it.
    ///
    /// # Errors
    /// [`ModuleError::Busy`], [`ModuleError::Late`], [`ModuleError::Ended`]. Faults of the key and of the module come
    /// through [`Signer::sign`].
    pub async fn with_key<T: Send + 'static>(
        &self,
        key: ModuleKey,
        work: impl FnOnce(&dyn Signer) -> T + Send + 'static,
    ) -> Result<T, ModuleError> {
        self.call(move |token| work(&InToken { token, key: &key }), |_, _| {}).await
    }

    /// Destroys the private key for good; `false` when it is not there.
    ///
    /// # Errors
    /// [`ModuleError`].
    pub async fn destroy(&self, object: ObjectId) -> Result<bool, ModuleError> {
        self.call(move |token| token.destroy(object), |_, _| {}).await?
    }

    /// `unwanted` is for an answer that came when nothing waited for it any more.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Token) -> T + Send + 'static,
        unwanted: impl FnOnce(&Token, T) + Send + 'static,
    ) -> Result<T, ModuleError> {
        let (answer, answered) = oneshot::channel();
        let job = move |token: &Token| {
            if answer.is_closed() {
                return;
            }
            if let Err(late) = answer.send(work(token)) {
                unwanted(token, late);
            }
        };
        let sent = self.jobs.try_send(Box::new(job));
        let outcome = match sent {
            Ok(()) => match timeout(PKCS11_CALL, answered).await {
                Ok(Ok(done)) => return Ok(done),
                // A panic of the call.
                Ok(Err(_)) => ModuleError::Ended,
                Err(_) => ModuleError::Late,
            },
            Err(TrySendError::Full(_)) => ModuleError::Busy,
            Err(TrySendError::Disconnected(_)) => ModuleError::Ended,
        };
        self.token.note(&outcome);
        Err(outcome)
    }
}

fn work(token: &Token, waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().recv();
        let Ok(job) = job else { return };
        if catch_unwind(AssertUnwindSafe(|| job(token))).is_err() {
            tracing::error!("a call to the PKCS#11 module panicked");
        }
    }
}
