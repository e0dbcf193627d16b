//! The verification actors, each supervised on an actix arbiter, that is a thread, of its own.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use actix::prelude::SendError;
use actix::{Addr, Arbiter, Supervisor};
use tessera_agent::validator::Validator;
use tessera_runtime::metrics::Counter;
use tessera_token::refusal::RefusalCode;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::actor::{Finish, Verification, VerificationActor};

/// The running actors. Dropped, it ends their threads, and waits for the verification that each is at.
pub(crate) struct Pool {
    arbiters: Vec<Arbiter>,
    actors: Addresses,
}

impl Pool {
    /// Starts `count` actors. Each restart after a panic is counted in `restarts`. Needs a running actix system.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) async fn start(
        count: usize,
        validator: &Validator,
        restarts: &Counter,
    ) -> io::Result<Self> {
        let mut pool = Self { arbiters: Vec::with_capacity(count), actors: Addresses::default() };
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            // Without timers and sockets, a thread that waits waits for a wake alone, which costs less.
            let arbiter = Arbiter::try_with_tokio_rt(|| Builder::new_current_thread().build())?;
            let (tell, told) = oneshot::channel();
            let (validator, restarts) = (validator.clone(), restarts.clone());
            arbiter.spawn_fn(move || {
                let new = |context: &mut _| VerificationActor::new(context, validator, restarts);
                // No caller waits for the address when the broker has given up starting.
                let _ = tell.send(Supervisor::start(new));
            });
            pool.arbiters.push(arbiter);
            addresses.push(told.await.map_err(io::Error::other)?);
        }
        pool.actors.addresses = addresses.into();
        Ok(pool)
    }

    /// The addresses of the verification actors.
    pub(crate) fn addresses(&self) -> Addresses {
        self.actors.clone()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for arbiter in &self.arbiters {
            // One that is gone needs no word.
            let _ = arbiter.stop();
        }
        for arbiter in self.arbiters.drain(..) {
            if arbiter.join().is_err() {
                tracing::error!("the thread of a verification actor panicked");
            }
        }
    }
}

/// The addresses of the verification actors, which are asked in turn. Clones share the turn.
#[derive(Clone, Default)]
pub(crate) struct Addresses {
    addresses: Arc<[Addr<VerificationActor>]>,
    next: Arc<AtomicUsize>,
}

impl Addresses {
    /// Puts the message into the first mailbox with room, starting with the one whose turn it is.
    ///
    /// # Errors
    /// `limit_reached` when the mailboxes are full, `not_ready` when no verification actor runs.
    pub(super) fn ask(&self, mut verification: impl Verification) -> Result<(), RefusalCode> {
        let count = self.addresses.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut code = RefusalCode::NotReady;
        for offset in 0..count {
            let place = first.wrapping_add(offset) % count;
            let Some(actor) = self.addresses.get(place) else { continue };
            match actor.try_send(verification) {
                Ok(()) => return Ok(()),
                Err(SendError::Full(back)) => {
                    (verification, code) = (back, RefusalCode::LimitReached)
                }
                Err(SendError::Closed(back)) => verification = back,
            }
        }
        Err(code)
    }

    /// Waits until everything that was asked before is answered. A peer that asks later is refused with `not_ready`.
    pub(super) async fn finish(&self) {
        let all: Vec<_> = self.addresses.iter().map(|actor| actor.send(Finish)).collect();
        for finished in all {
            // One that is gone has answered, too: its mailbox is dropped.
            let _ = finished.await;
        }
    }

    /// Whether a verification actor runs.
    pub(super) fn is_alive(&self) -> bool {
        self.addresses.iter().any(Addr::connected)
    }
}
