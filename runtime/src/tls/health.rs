//! Whether the certificates of a listener are good, as `/readyz` tells it.

use std::path::Path;

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use crate::ready::Reason;
use crate::x509;

/// The part that is named.
const PART: &str = "tls";

/// The certificates in use, and the newest files where those cannot be used.
#[derive(Default)]
pub struct Health(Mutex<State>);

#[derive(Default)]
struct State {
    ends: Option<UnixSeconds>,
    not_reloaded: Option<String>,
}

/// The end of the certificate of the chain that ends first.
pub fn ends(chain: &[CertificateDer<'_>]) -> Option<UnixSeconds> {
    chain.iter().filter_map(|one| x509::not_after(one)).min()
}

impl Health {
    /// Notes that certificates that end then are in use.
    pub fn in_use(&self, ends: Option<UnixSeconds>) {
        *self.0.lock() = State { ends, not_reloaded: None };
    }

    /// Notes that newer files cannot be used.
    pub fn not_reloaded(&self, error: String) {
        self.0.lock().not_reloaded = Some(error);
    }

    /// Whether a certificate of the chain in this file is over: the server is not ready.
    pub fn expired(&self, cert: &Path, now: UnixSeconds) -> Option<Reason> {
        let ends = self.0.lock().ends.filter(|ends| *ends < now)?;
        let why = format!(
            "the certificate of {} ended at {} (seconds since 1970): put a new one in its place",
            cert.display(),
            ends.get()
        );
        Some(Reason::because(PART, RefusalCode::NotReady, why))
    }

    /// Whether newer files are there that cannot be used: a warning.
    pub fn warning(&self) -> Option<Reason> {
        let error = self.0.lock().not_reloaded.clone()?;
        let why = format!("the new certificates are not used, the old ones stay: {error}");
        Some(Reason::because(PART, RefusalCode::NotReady, why))
    }
}
