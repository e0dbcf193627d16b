//! `tessera partner-token`: passwords of other parties.

use serde_json::json;
use tessera_simulators::operator::{segment, tenant_path};

use super::{list, token, words, Call};
use crate::args::{PartnerTokenCommand, TenantArgs};
use crate::error::Outcome;

fn path(tenant: &TenantArgs, id: &str) -> String {
    tenant_path(&tenant.tenant, &format!("partner-tokens/{}", segment(id)))
}

pub(super) async fn partner_token(command: PartnerTokenCommand) -> Outcome {
    match command {
        PartnerTokenCommand::Create { device, purpose, role, group, expires_in, plain, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let body = json!({
                "device": device, "purpose": purpose, "role": role, "group": group, "expires_in": expires_in,
            });
            let at = tenant_path(&tenant.tenant, "partner-tokens");
            let made = call.client.create(&at, &body).await.map_err(words)?;
            token::show_once(&call, made, "partner", plain)
        }
        PartnerTokenCommand::List { device, rows, tenant } => {
            let columns =
                ["partner_token", "device", "state", "by", "purpose", "expires", "used", "used_by"];
            let of = device.map_or_else(String::new, |id| format!("?device={}", segment(&id)));
            list(&tenant, &format!("partner-tokens{of}"), &columns, &rows).await
        }
        PartnerTokenCommand::Uses { id, rows, tenant } => {
            let columns = [
                "day",
                "introspections",
                "connects",
                "published",
                "published_bytes",
                "delivered",
                "delivered_bytes",
            ];
            list(&tenant, &format!("partner-tokens/{}/uses", segment(&id)), &columns, &rows).await
        }
        PartnerTokenCommand::Delete { id, tenant } => {
            let call = Call::of(&tenant.operator)?;
            call.show(call.client.clear(&path(&tenant, &id)).await)
        }
    }
}
