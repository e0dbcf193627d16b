//! Threads of their own for signature checks, behind bounded queues.

use std::io;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::thread;

use bytes::Bytes;
use tessera_agent::validator::Validator;
use tessera_token::chain::{Admission, Refusal};
use tessera_token::proof::{Credential, Presented, Proof};
use tessera_token::refusal::RefusalCode;
use tokio::sync::oneshot;

use crate::authz::Upload;
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

/// What is to be judged.
pub enum Job {
    /// A CONNECT.
    Connect {
        /// What it proves itself with.
        evidence: Evidence,
        /// Its client id.
        client_id: String,
        /// Who waits.
        reply: oneshot::Sender<Result<Admission, Refusal>>,
    },
    /// A token that was published to `authz-info`: nobody has proved its key, and it lets nobody in.
    Upload {
        /// Its bytes.
        token: Bytes,
        /// Who waits.
        reply: oneshot::Sender<Result<Upload, RefusalCode>>,
    },
}

impl Job {
    /// Answers without looking. The peer may have gone meanwhile.
    pub(super) fn refuse(self, code: RefusalCode) {
        let _ = match self {
            Self::Connect { reply, .. } => reply.send(Err(code.into())).is_ok(),
            Self::Upload { reply, .. } => reply.send(Err(code)).is_ok(),
        };
    }

    fn run(self, validator: &Validator) {
        // The peer may have gone meanwhile.
        let _ = match self {
            Self::Connect { reply, .. } if reply.is_closed() => false,
            Self::Connect { evidence, client_id, reply } => {
                reply.send(evidence.judge(validator, &client_id)).is_ok()
            }
            Self::Upload { reply, .. } if reply.is_closed() => false,
            Self::Upload { token, reply } => {
                let verified = validator.verify(&token).map_err(|refusal| refusal.code);
                reply.send(verified.and_then(|token| Upload::of(&token))).is_ok()
            }
        };
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
    while let Ok(job) = jobs.recv() {
        job.run(validator);
    }
}
