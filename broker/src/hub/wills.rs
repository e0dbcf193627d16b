//! Wills, published with the rights of the session that set them.

use std::sync::Arc;

use tessera_token::refusal::RefusalCode;

use super::Hub;
use crate::authorisation::revoked::revocation_of;
use crate::message::Author;
use crate::refusals::{Refusal, What};
use crate::session::state_machine::{Context, Will};
use crate::session::Session;

impl Hub {
    /// Publishes a will with the rights of the session that set it. When the settings say so, the will of a revoked
    /// client is published too, with the broker as its author.
    pub(crate) async fn publish_will(&self, session: &Session, will: Will) {
        let rights = session.rights();
        let context = self.context();
        let revoked = rights.trusted(session.id, context.trusted).is_err();
        let validator = self.authenticator.validator();
        let lost = will.restored && revocation_of(validator, rights.grant()).is_some();
        if lost || revoked && self.policy.suppress_will_on_revocation {
            return self.will_refused(session, RefusalCode::WillNotAuthorised);
        }
        if let Err(code) = self.will_may_pass(session, &will) {
            return self.will_refused(session, code);
        }
        match will.publish(Context::at(&rights, context, session.id, self.now())) {
            Ok(mut message) => {
                if revoked {
                    let by = Arc::make_mut(&mut message.publisher);
                    by.author = Author::broker(rights.grant().device().clone());
                }
                let routed = self.route(&Arc::new(message)).await;
                if let Some(code) = routed.refusal() {
                    self.will_refused(session, code);
                }
            }
            Err(code) => self.will_refused(session, code),
        }
    }

    fn will_refused(&self, session: &Session, code: RefusalCode) {
        self.metrics.refusals.inc(&["will", code.as_str()]);
        let line = Refusal::of(What::Will, code.as_str(), None);
        line.owner(&session.tenant, session.device.device())
            .client_id(session.client_id.as_str())
            .tell();
    }
}
