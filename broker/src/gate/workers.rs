//! Threads of their own for signature checks, behind bounded queues.

use std::io;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::thread;

use tessera_agent::validator::Validator;
use tessera_token::chain::{Admission, Refusal};
use tessera_token::proof::{Credential, Presented, Proof};
use tessera_token::refusal::RefusalCode;
use tokio::sync::oneshot;

use crate::codec::Password;
use crate::limits::WORKER_QUEUE;
use crate::tickets::Accepted;
use crate::transport::tls::PeerKey;

/// What a CONNECT proves itself with. Holds credentials: no `Debug`.
pub enum Evidence {
    /// A password, which holds the token and maybe a proof; a key that was proved in the TLS handshake can stand in for
    /// the proof.
    Password {
        /// The password.
        password: Password,
        /// The key of the TLS peer.
        key: Option<Box<PeerKey>>,
        /// Whose resumption secrets may have made the proof: over TLS alone.
        tickets: Accepted,
    },
    /// Token and proof as RFC 9431 brings them.
    Presented(Box<Presented>),
}

impl Evidence {
    fn judge(self, validator: &Validator, client_id: &str) -> Result<Admission, Refusal> {
        let (password, key, tickets) = match self {
            Self::Presented(presented) => return validator.judge_with(*presented, client_id, &[]),
            Self::Password { password, key, tickets } => (password, key, tickets),
        };
        let mut presented = Presented::from(Credential::from_password(password.expose())?);
        let key = key.and_then(|key| key.thumbprint());
        let (Proof::None, Some(key)) = (&presented.proof, key) else {
            return validator.judge_with(presented, client_id, &tickets);
        };
        let bearer = presented.clone();
        presented.proof = Proof::TlsKey(key);
        match validator.judge_with(presented, client_id, &[]) {
            // The token names no key: then it is a bearer's, and the tenant decides.
            Err(refusal) if refusal.code == RefusalCode::BearerNotAllowed => {
                validator.judge_with(bearer, client_id, &[])
            }
            verdict => verdict,
        }
    }
}

/// One CONNECT to be judged.
pub struct Job {
    pub(super) evidence: Evidence,
    pub(super) client_id: String,
    pub(super) reply: oneshot::Sender<Result<Admission, Refusal>>,
}

impl Job {
    pub(super) fn answer(self, verdict: Result<Admission, Refusal>) {
        // The peer may have gone meanwhile.
        let _ = self.reply.send(verdict);
    }
}

/// The running threads. They end when the last queue in front of them is dropped.
pub struct Workers {
    queues: Vec<SyncSender<Job>>,
}

/// Starts `count` threads.
///
/// # Errors
/// The operating system gives no thread.
pub fn spawn_workers(count: usize, validator: &Validator) -> io::Result<Workers> {
    let mut queues = Vec::with_capacity(count);
    for number in 0..count {
        let (queue, jobs) = sync_channel(WORKER_QUEUE);
        let validator = validator.clone();
        thread::Builder::new()
            .name(format!("verify-{number}"))
            .spawn(move || work(&jobs, &validator))?;
        queues.push(queue);
    }
    Ok(Workers { queues })
}

impl Workers {
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { queues: Vec::new() }
    }

    pub(super) fn queues(&self) -> Vec<SyncSender<Job>> {
        self.queues.clone()
    }
}

fn work(jobs: &Receiver<Job>, validator: &Validator) {
    while let Ok(Job { evidence, client_id, reply }) = jobs.recv() {
        if reply.is_closed() {
            continue;
        }
        // The peer may have gone meanwhile.
        let _ = reply.send(evidence.judge(validator, &client_id));
    }
}
