//! Authentication of a CONNECT whose password is a partner token ([`crate::partners`]).

use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::credential;
use tessera_runtime::secret::Secret;
use tessera_token::chain::{Admission, Refusal};
use tessera_token::proof::{Presented, Proof};

use crate::admission::{Asker, Prefix};
use crate::authentication::Evidence;
use crate::hub::Hub;
use crate::partners::PartnerUse;
use crate::refusals::Remote;
use crate::session::ChannelSecurity;

/// Where the CONNECT comes from.
#[derive(Clone, Copy)]
pub(super) struct From {
    pub(super) security: ChannelSecurity,
    pub(super) remote: Remote,
    pub(super) prefix: Prefix,
    pub(super) suspect: bool,
    /// The version of TLS.
    pub(super) tls: &'static str,
}

impl From {
    /// The same for the signature checks.
    pub(super) fn asker(&self, now: Duration) -> Asker {
        Asker { prefix: self.prefix, suspect: self.suspect, now }
    }
}

/// The client that the chain lets in, and the counters of its token.
pub(super) type LetIn = (Admission, Option<Arc<PartnerUse>>);

/// Exchanges the partner token and passes the access token to the chain. An answer of before that the chain refuses is asked
/// for once more: the operator may have ended another token of the device.
pub(super) async fn admit(
    hub: &Hub,
    token: &Secret<String>,
    client_id: &str,
    from: From,
) -> Result<LetIn, Refusal> {
    let From { security, prefix, suspect, .. } = from;
    let is_encrypted = security == ChannelSecurity::Tls;
    let mut may_ask_again = true;
    loop {
        let now = hub.clock.monotonic();
        let exchanged = hub.partners.exchange(token, is_encrypted, (prefix, suspect), now).await?;
        // The token must be bound to the key that follows from the password: an answer with a token of another is refused.
        // Derived only now: a stranger whose token provisioning does not know has cost no work with keys.
        let key = credential::partner_key(token.expose()).public().thumbprint();
        let presented = Presented { token: exchanged.access.to_vec(), proof: Proof::TlsKey(key) };
        let evidence = Evidence::Presented(Box::new(presented));
        match hub.authenticator.admit(evidence, client_id, from.asker(now)).await {
            Ok(admission) => return Ok((admission, hub.partners.uses.of(token.expose()))),
            Err(refusal) => {
                if !refusal.code.is_of_the_server() {
                    hub.partners.forget(token);
                    if exchanged.is_kept && std::mem::take(&mut may_ask_again) {
                        continue;
                    }
                }
                return Err(refusal);
            }
        }
    }
}
