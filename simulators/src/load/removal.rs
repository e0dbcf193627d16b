//! Removal of the devices of a run, and of its role.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tessera_runtime::http::HttpError;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::limits;
use super::plan::own_roles;
use crate::device::api::longer;
use crate::limits::BACKOFF;
use crate::operator::{device_path, segment, tenant_path, OperatorClient, OperatorError};

/// The outcome of a removal.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Removal {
    /// Devices that are gone.
    pub removed: u64,
    /// Devices that could not be removed.
    pub left: Vec<String>,
    /// The role that could not be removed.
    pub role: Option<String>,
    /// The last reason.
    pub why: Option<String>,
    /// The command that removes the rest.
    pub command: Option<String>,
}

impl Removal {
    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.left.is_empty() && self.role.is_none()
    }

    /// The rest in words; nothing when all is gone.
    pub fn rest(&self) -> Option<String> {
        if self.is_done() {
            return None;
        }
        let mut named: Vec<&str> =
            self.left.iter().take(limits::NAMED).map(String::as_str).collect();
        let more = self.left.len().saturating_sub(limits::NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        named.extend(self.role.as_deref());
        let why = self.why.as_deref().unwrap_or("it was not tried");
        let command = self.command.as_deref().unwrap_or_default();
        Some(format!("not removed: {}{more}: {why}\n  {command}", named.join(", ")))
    }
}

/// Deletes the devices, then the roles of the run when it had some of its own.
pub(crate) async fn remove(
    operator: &OperatorClient,
    tenant: &TenantId,
    prefix: &str,
    ids: Vec<String>,
    roles: Vec<String>,
) -> Removal {
    let operator = operator.clone().resting_on(Some("*".to_owned()));
    let path = |id: &str| device_path(tenant.as_str(), id, "");
    let mut removal = delete_all(&operator, ids, path).await;
    for role in roles {
        if let Err(error) = delete_role(&operator, tenant, &role).await {
            let before = removal.role.take().map(|before| format!("{before}, "));
            removal.role = Some(before.unwrap_or_default() + &role);
            removal.why = Some(error.to_string());
        }
    }
    if !removal.is_done() {
        removal.command = Some(format!("tessera sim remove --prefix {prefix} --tenant {tenant}"));
    }
    removal
}

/// Deletes the records of these names, some at a time.
async fn delete_all(
    operator: &OperatorClient,
    names: Vec<String>,
    path: impl Fn(&str) -> String,
) -> Removal {
    let permits = Arc::new(Semaphore::new(limits::REQUESTS));
    let mut tasks = JoinSet::new();
    for name in names {
        let (operator, permits) = (operator.clone(), Arc::clone(&permits));
        let path = path(&name);
        tasks.spawn(async move {
            let _permit = permits.acquire_owned().await;
            (name, delete(&operator, &path).await)
        });
    }
    let mut removal = Removal::default();
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((_, Ok(true))) => removal.removed += 1,
            Ok((_, Ok(false))) => {}
            Ok((name, Err(error))) => {
                removal.left.push(name);
                removal.why = Some(error.to_string());
            }
            Err(error) => removal.why = Some(error.to_string()),
        }
    }
    removal.left.sort();
    removal
}

/// Deletes the role of the run; the claims that no device has used first, where there are some.
async fn delete_role(
    operator: &OperatorClient,
    tenant: &TenantId,
    role: &str,
) -> Result<(), OperatorError> {
    let path = tenant_path(tenant.as_str(), &format!("roles/{}", segment(role)));
    match delete(operator, &path).await {
        Err(error) if error.code() == Some(RefusalCode::RoleInUse) => {}
        other => return other.map(drop),
    }
    let open = |row: &Value| {
        let is = |name: &str, text: &str| row.get(name).and_then(Value::as_str) == Some(text);
        is("role", role) && is("state", "open")
    };
    let claims = names(operator, tenant, "claims?", "claim", open).await?;
    let path_of = |claim: &str| tenant_path(tenant.as_str(), &format!("claims/{}", segment(claim)));
    delete_all(operator, claims, path_of).await;
    delete(operator, &path).await.map(drop)
}

/// The names of the rows of a list that are wanted.
async fn names(
    operator: &OperatorClient,
    tenant: &TenantId,
    list: &str,
    member: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Vec<String>, OperatorError> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..limits::PAGES {
        let after = cursor.map(|at| format!("&cursor={}", segment(&at))).unwrap_or_default();
        let query = format!("{list}limit={}{after}", limits::PAGE);
        let page = operator.get(&tenant_path(tenant.as_str(), &query)).await?;
        let items = page.get("items").and_then(Value::as_array);
        let items = items.ok_or_else(|| HttpError::Decode("no list".to_owned()))?;
        let rows = items.iter().filter(|row| wanted(row));
        found.extend(rows.filter_map(|row| Some(row.get(member)?.as_str()?.to_owned())));
        cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(found)
}

/// Whether it was there.
async fn delete(operator: &OperatorClient, path: &str) -> Result<bool, OperatorError> {
    let mut wait: Duration = BACKOFF.0;
    let mut tries = limits::REMOVE_TRIES;
    loop {
        match operator.delete(path).await {
            Ok(_) => return Ok(true),
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) if tries <= 1 || !is_passing(&error) => return Err(error),
            Err(_) => tokio::time::sleep(wait).await,
        }
        wait = longer(wait);
        tries -= 1;
    }
}

fn is_gone(error: &OperatorError) -> bool {
    matches!(error, OperatorError::Http(error) if error.status() == Some(404))
        || error.code() == Some(RefusalCode::PreconditionFailed)
}

fn is_passing(error: &OperatorError) -> bool {
    matches!(error, OperatorError::Http(error) if error.is_temporary())
}

/// Removes what a run with this prefix left behind: devices whose id begins with it, and the roles of the run.
///
/// # Errors
/// [`OperatorError`] when the devices cannot be listed.
pub async fn remove_by_prefix(
    operator: &OperatorClient,
    tenant: &TenantId,
    prefix: &str,
) -> Result<Removal, OperatorError> {
    let list = format!("devices?prefix={}&", segment(prefix));
    let ids = names(operator, tenant, &list, "device", |_| true).await?;
    Ok(remove(operator, tenant, prefix, ids, own_roles(prefix)).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_named_with_the_command_that_removes_it() {
        assert_eq!(Removal::default().rest(), None);
        let left = (0..30).map(|at| format!("p-{at}")).collect();
        let command = Some("tessera sim remove --prefix p- --tenant t".to_owned());
        let removal = Removal { left, command, ..Removal::default() };
        let rest = removal.rest().unwrap();
        assert!(rest.contains("p-19 and 10 more") && !rest.contains("p-20"), "{rest}");
        assert!(rest.ends_with("tessera sim remove --prefix p- --tenant t"), "{rest}");
    }
}
