//! The life of a device after its enrolment: suspension, new keys, history.

use std::time::Duration;

use serde_json::json;
use tessera_simulators::operator::{device_path, segment, tenant_path};

use super::{list, Call};
use crate::args::{ListArgs, RekeyCommand, Suspended, TenantArgs};
use crate::error::Outcome;

pub(super) async fn suspend(what: Suspended) -> Outcome {
    let (path, reason, tenant) = match what {
        Suspended::Device { device, reason, tenant } => {
            (device_path(&tenant.tenant, &device, "suspend"), reason, tenant)
        }
        Suspended::Group { group, reason, tenant } => {
            let verb = format!("groups/{}/suspend", segment(&group));
            (tenant_path(&tenant.tenant, &verb), reason, tenant)
        }
    };
    let call = Call::of(&tenant.operator)?;
    call.show(call.client.post(&path, &json!({ "reason": reason })).await)
}

/// Announces a change of a group; without a time it ends the announcement.
pub(super) async fn announce(
    group: &str,
    lasts: Option<Duration>,
    reason: &str,
    tenant: &TenantArgs,
) -> Outcome {
    let path = tenant_path(&tenant.tenant, &format!("groups/{}/announce", segment(group)));
    let seconds = lasts.map_or(0, |lasts| lasts.as_secs().max(1));
    let call = Call::of(&tenant.operator)?;
    call.show(call.client.post(&path, &json!({ "seconds": seconds, "reason": reason })).await)
}

pub(super) async fn history(device: &str, rows: &ListArgs, tenant: &TenantArgs) -> Outcome {
    let columns = ["at", "device_number", "action", "by", "detail"];
    let path = format!("devices/{}/history", segment(device));
    list(tenant, &path, &columns, rows).await
}

pub(super) async fn rekey(command: RekeyCommand) -> Outcome {
    let (device, thumbprint, tenant, verb) = match command {
        RekeyCommand::List { tenant } => {
            let columns = ["device", "thumbprint", "asked", "expires"];
            return list(&tenant, "rekeys", &columns, &ListArgs::default()).await;
        }
        RekeyCommand::Approve { device, thumbprint, tenant } => {
            (device, thumbprint, tenant, "rekey/approve")
        }
        RekeyCommand::Refuse { device, thumbprint, tenant } => {
            (device, thumbprint, tenant, "rekey/refuse")
        }
    };
    let call = Call::of(&tenant.operator)?;
    let path = device_path(&tenant.tenant, &device, verb);
    call.show(call.client.post(&path, &json!({ "thumbprint": thumbprint })).await)
}
