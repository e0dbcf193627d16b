//! The places that webhooks may call.

use tessera_runtime::http::{HttpLimits, Outward, OutwardClient};
use tessera_runtime::tls::Trust;

use crate::limits::{WEBHOOK_ANSWER_BYTES, WEBHOOK_TIME};
use crate::start_error::StartError;

/// Webhooks, as the operator of the server decided on them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookSettings {
    /// The places. A tenant names URLs, and these settings alone extend where they may lead.
    pub places: Outward,
    /// Which receivers are believed.
    pub trust: Trust,
}

impl WebhookSettings {
    /// The client that calls receivers.
    pub(crate) fn client(&self) -> Result<OutwardClient, StartError> {
        let limits = HttpLimits {
            connect: WEBHOOK_TIME,
            total: WEBHOOK_TIME,
            response_bytes: WEBHOOK_ANSWER_BYTES,
        };
        let client = OutwardClient::new(self.places.clone(), &self.trust, limits);
        client.map_err(|error| StartError::Webhooks(error.to_string()))
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        if self.places.ports.is_empty() || self.places.ports.contains(&0) {
            return Err(StartError::Config("webhooks.ports must name ports from 1 to 65535"));
        }
        if self.places.in_clear && self.places.networks.is_empty() {
            return Err(StartError::Config(
                "webhooks.in_clear is for networks of your own: name them in webhooks.networks",
            ));
        }
        Ok(())
    }
}
