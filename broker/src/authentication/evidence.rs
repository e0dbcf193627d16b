use tessera_agent::validator::Validator;
use tessera_runtime::secret::Secret;
use tessera_token::chain::{Refusal, Screened};
use tessera_token::proof::{Credential, Presented, Proof};
use tessera_token::refusal::RefusalCode;

use crate::codec::Password;
use crate::resumption::Accepted;
use crate::transport::tls::PeerKey;

/// The credentials of a CONNECT. No `Debug`: they are secret.
pub(crate) enum Evidence {
    /// A password, which holds the token and maybe a proof; a key that was proved in the TLS handshake can stand in for
    /// the proof.
    Password {
        /// The password.
        password: Password,
        /// The key of the TLS peer.
        key: Option<Box<PeerKey>>,
        /// The ticket keys whose resumption secrets are accepted as proof: over TLS alone.
        tickets: Accepted,
    },
    /// Token and proof as RFC 9431 brings them.
    Presented(Box<Presented>),
    /// A partner token, which provisioning is asked about.
    Partner(Secret<String>),
}

impl Evidence {
    /// Runs the guards that need no signature; returns also the ticket keys whose resumption secrets are accepted.
    ///
    /// # Errors
    /// The [`Refusal`] of the first of them that says no.
    pub(super) fn screen(
        self,
        validator: &Validator,
        client_id: &str,
    ) -> Result<(Screened, Accepted), Refusal> {
        let (password, key, tickets) = match self {
            Self::Presented(presented) => {
                return Ok((validator.screen(*presented, client_id)?, Accepted::default()));
            }
            // It is exchanged for a token before it comes here.
            Self::Partner(_) => return Err(RefusalCode::PartnerNotAccepted.into()),
            Self::Password { password, key, tickets } => (password, key, tickets),
        };
        let screened =
            validator.screen(Credential::from_password(password.expose())?, client_id)?;
        let key = key.and_then(|key| key.thumbprint());
        // A token that names no key is a bearer's, whatever key the handshake was made with: the tenant decides.
        let screened = match (screened.proof(), key) {
            (Proof::None, Some(key)) if screened.names_a_key() => {
                screened.proved_by(Proof::TlsKey(key))
            }
            _ => screened,
        };
        Ok((screened, tickets))
    }
}
