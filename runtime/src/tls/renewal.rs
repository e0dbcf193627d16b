//! New certificates without a restart: when told, or because the files have changed. Every listener of every process that
//! speaks TLS is renewed by this.

use std::fmt::Display;
use std::sync::Arc;

use super::files::Stamp;
use crate::limits::CERTIFICATE_CHECK;
use crate::stop::Stop;

/// Data that is read from files of certificates and can be read again while it is in use.
pub trait Renew: Send + Sync + 'static {
    /// Why the files cannot be used.
    type Error: Display;

    /// Reads the files again, for handshakes from now on. On an error what is in use stays.
    ///
    /// # Errors
    /// The files cannot be used.
    fn renew(&self) -> Result<(), Self::Error>;

    /// The state of the files just before they were first read.
    fn first_stamp(&self) -> Stamp;

    /// The state of the files now.
    fn stamp(&self) -> Stamp;
}

/// Reads the files again and logs how it went. Connections that are open stay as they are.
///
/// # Errors
/// Those of [`Renew::renew`]; then the old certificates stay in use.
pub fn reload<R: Renew + ?Sized>(certificates: &R) -> Result<(), R::Error> {
    let renewed = certificates.renew();
    match &renewed {
        Ok(()) => tracing::info!("certificates read again"),
        Err(error) => {
            tracing::error!(%error, "the new certificates are not used; the old ones stay");
        }
    }
    renewed
}

/// Looks after the files until stop is told.
pub async fn watch<R: Renew>(certificates: Arc<R>, stop: Stop) {
    // A change between the first reading and now must be noticed too.
    let mut seen = certificates.first_stamp();
    let mut check = tokio::time::interval(CERTIFICATE_CHECK);
    loop {
        tokio::select! {
            () = stop.stopping() => return,
            _ = check.tick() => {}
        }
        let found = certificates.stamp();
        if found != seen {
            seen = found;
            // Told in the log; the next change is another chance.
            let _ = reload(&*certificates);
        }
    }
}
