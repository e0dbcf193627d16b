//! Tells provisioning the use of partner tokens, once a minute and at the stop.

use serde::Serialize;
use tessera_runtime::http::{HttpClient, Method, Request};

use super::uses::Told;
use super::Partners;
use crate::limits::PARTNER_USES_REPORTED;

#[derive(Serialize)]
struct Report<'a> {
    items: &'a [Told],
}

impl Partners {
    /// Tells what there is to tell at this moment. Without an answer it is told the next time; a report whose answer was lost
    /// counts twice then.
    pub(crate) async fn report(&self) {
        let Some(client) = &self.client else { return };
        let _alone = self.reporting.lock().await;
        let told = self.uses.told();
        for part in told.chunks(PARTNER_USES_REPORTED) {
            if let Err(error) = tell(client, part).await {
                tracing::warn!(%error, "the use of partner tokens was not told to provisioning; the next report has it too");
                return;
            }
            self.uses.taken(part);
        }
    }
}

async fn tell(client: &HttpClient, told: &[Told]) -> Result<(), String> {
    let body = serde_json::to_vec(&Report { items: told }).map_err(|error| error.to_string())?;
    let request = Request::new(Method::Post, "/v1/trust/partner-uses")
        .accept("application/json")
        .body("application/json", body);
    client.send(request).await.map(drop).map_err(|error| error.to_string())
}
