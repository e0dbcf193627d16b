//! Enrolment by the decision of an operator. Until there is one, every request gets one answer: whether it waits in the
//! queue, whether the queue is full, and whether tenant and device exist.

use tessera_runtime::sql::Batch;
use tessera_token::refusal::RefusalCode;

use super::way::{Ask, Entitled, Verifier};
use crate::limits::APPROVAL_RETRY_SECONDS;
use crate::records::approvals::ApprovalState;
use crate::refused::Refused;
use crate::registry::ways::approvals::{self, Asked};
use crate::registry::ways::takes_approval;
use crate::registry::{devices, tenants};

pub(super) struct ByApproval;

/// How the record of a device begins to name this entitlement.
const NAMED: &str = "approval";

impl Verifier for ByApproval {
    async fn verify(ask: &Ask<'_>) -> Result<Entitled, Refused> {
        let (service, request) = (ask.service, ask.request);
        let (tenant, thumbprint) = (&request.tenant, ask.key.thumbprint());
        if tenants::find(service, tenant).await?.is_none() {
            return Err(waits(ask, RefusalCode::TenantUnknown));
        }
        let id = approvals::id_of(&request.device, &thumbprint);
        let named = format!("{NAMED} {id}");
        if let Some(record) = devices::find(service, tenant, &request.device).await? {
            if record.key != ask.key.as_bytes() || record.claim != named {
                return Err(waits(ask, RefusalCode::DeviceKeyMismatch));
            }
            let (owner, known) = ask.standing().await?;
            let (role, group) = (record.role, record.group);
            return Ok(Entitled::plain((owner, known), (role, group), named, Batch::new()));
        }
        let found = approvals::find(service, tenant, &request.device, &thumbprint).await?;
        let found = found.filter(|(_, row)| !approvals::is_over(service, row));
        let Some((key, row)) = found else { return Err(enqueue(ask).await?) };
        match (row.state, &row.rights) {
            (ApprovalState::Approved, Some((role, group))) => {
                let (owner, known) = ask.standing().await?;
                let mut batch = Batch::new();
                approvals::settle(service, tenant, (key, &row), &mut batch).await?;
                let (role, group) = (role.clone(), group.clone());
                Ok(Entitled::plain((owner, known), (role, group), named, batch))
            }
            (ApprovalState::Refused, _) => Err(RefusalCode::ApprovalRefused.into()),
            _ => Err(told()),
        }
    }
}

/// Puts the request into the queue where there is room, and gives the one answer.
async fn enqueue(ask: &Ask<'_>) -> Result<Refused, Refused> {
    let (service, request) = (ask.service, ask.request);
    let tenant = &request.tenant;
    if !takes_approval(service, tenant).await? {
        return Ok(waits(ask, RefusalCode::WayNotTaken));
    }
    if tenants::known(service, tenant).await?.suspended {
        return Ok(waits(ask, RefusalCode::TenantSuspended));
    }
    let thumbprint = ask.key.thumbprint();
    let device = &request.device;
    match approvals::ask(service, tenant, device, &thumbprint, ask.source).await {
        Ok(Asked::Waits) => Ok(told()),
        Ok(Asked::Full) => Ok(waits(ask, RefusalCode::LimitReached)),
        // Many asked at once: the next request finds its place.
        Err(refused) if refused.code == RefusalCode::LimitReached => {
            Ok(waits(ask, RefusalCode::LimitReached))
        }
        Err(refused) => Err(refused),
    }
}

fn told() -> Refused {
    let detail = format!("ask again in {APPROVAL_RETRY_SECONDS} s");
    Refused::because(RefusalCode::ApprovalPending, detail)
}

/// The same answer, where nothing waits.
fn waits(ask: &Ask<'_>, truth: RefusalCode) -> Refused {
    let refused = ask.service.strangers.refused(truth, RefusalCode::ApprovalPending);
    Refused { detail: told().detail, ..refused }
}
