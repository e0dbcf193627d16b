//! A token for callers that must not wait on their own thread: calls go to threads of the module through a bounded queue.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicIsize, AtomicU8, Ordering};
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
    threads: isize,
    /// Calls that took too long and are in the module still: each has a thread.
    hung: Arc<AtomicIsize>,
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
        let threads = isize::try_from(sessions).unwrap_or(isize::MAX);
        let token = Arc::new(Token::of(settings, clock));
        for _ in 0..sessions {
            let (token, waiting) = (Arc::clone(&token), Arc::clone(&waiting));
            let thread = std::thread::Builder::new().name("pkcs11".to_owned());
            let made = thread.spawn(move || work(&token, &waiting));
            made.map_err(|error| ModuleError::Device(format!("no thread for it: {error}")))?;
        }
        Ok(Self { token, jobs, threads, hung: Arc::default() })
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
        if self.hung.load(Ordering::Acquire) >= self.threads {
            // No thread would take it: the caller, and those behind it, need not wait to hear that.
            self.token.note(&ModuleError::Late);
            return Err(ModuleError::Late);
        }
        let (answer, answered) = oneshot::channel();
        let stay = Stay { state: Arc::default(), hung: Arc::clone(&self.hung) };
        let state = Arc::clone(&stay.state);
        let job = move |token: &Token| {
            if answer.is_closed() || !stay.begins() {
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
                Err(_) => {
                    if step(&state, IN_MODULE, GIVEN_UP) {
                        self.hung.fetch_add(1, Ordering::AcqRel);
                    }
                    ModuleError::Late
                }
            },
            Err(TrySendError::Full(_)) => ModuleError::Busy,
            Err(TrySendError::Disconnected(_)) => ModuleError::Ended,
        };
        self.token.note(&outcome);
        Err(outcome)
    }
}

const WAITS: u8 = 0;
const IN_MODULE: u8 = 1;
const GIVEN_UP: u8 = 2;
const OVER: u8 = 3;

/// The stay of a call in the module, until it is dropped.
struct Stay {
    state: Arc<AtomicU8>,
    hung: Arc<AtomicIsize>,
}

impl Stay {
    fn begins(&self) -> bool {
        step(&self.state, WAITS, IN_MODULE)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if self.state.swap(OVER, Ordering::AcqRel) == GIVEN_UP {
            // It may come before the caller has counted it: the number is below zero for that moment.
            self.hung.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn step(state: &AtomicU8, from: u8, to: u8) -> bool {
    state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
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
