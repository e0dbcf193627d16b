//! New certificates without a restart: by demand, or because the files have changed.

use std::sync::Arc;

use tessera_runtime::stop::Stop;

use crate::limits::CERTIFICATE_CHECK;
use crate::transport::tls::{Certificates, TlsError};

/// Reads the files again. Sessions that are open stay as they are, and so do the certificates when the files are bad.
pub(super) fn reload(certificates: &Certificates) -> Result<(), TlsError> {
    match certificates.reload() {
        Ok(()) => {
            tracing::info!("certificates read again");
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "the new certificates are not used; the old ones stay");
            Err(error)
        }
    }
}

/// Looks after the files until stop is told.
pub(super) async fn watch(certificates: Arc<Certificates>, stop: Stop) {
    // What changed between the first reading and now must be noticed too.
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
            let _ = reload(&certificates);
        }
    }
}
