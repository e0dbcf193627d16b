//! The verbs about the ways of enrolment.

use serde_json::{json, Value};
use tessera_runtime::secret::{read_public_text, Secret};
use tessera_simulators::operator::{segment, tenant_path};
use tessera_token::encoding::base64url;
use tessera_token::ids::DeviceId;
use tessera_token::messages::device_secret;

use super::{list, words, Call};
use crate::args::{
    ApprovalCommand, AuthorityCommand, DeniedCertificateCommand, GroupKeyCommand, IdsArgs,
    ListedKeyCommand, TenantArgs,
};
use crate::error::{Fault, Outcome};
use crate::{output, secrets};

/// Ids of one call: the most that the service takes.
const IDS: usize = 1000;

/// Shows the ways of a group, or sets them.
pub(super) async fn group_ways(
    name: &str,
    set: Option<Vec<String>>,
    tenant: &TenantArgs,
) -> Outcome {
    let call = Call::of(&tenant.operator)?;
    let path = path(tenant, &format!("groups/{}/ways", segment(name)));
    match set {
        None => call.show(call.client.get(&path).await),
        Some(ways) => {
            let ways: Vec<&String> = ways.iter().filter(|way| *way != "none").collect();
            call.show(call.client.put(&path, &json!({ "ways": ways })).await)
        }
    }
}

pub(super) async fn listed_key(command: ListedKeyCommand) -> Outcome {
    match command {
        ListedKeyCommand::Add { device, key, thumbprint, rights, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let thumbprint = thumbprint.as_deref().map(secrets::read_thumbprint).transpose()?;
            let thumbprint = thumbprint.map(|thumbprint| base64url(thumbprint.as_bytes()));
            let body = json!({
                "device": device, "role": rights.role, "group": rights.group,
                "key": key, "thumbprint": thumbprint,
            });
            call.show(call.client.post(&path(&tenant, "listed-keys"), &body).await)
        }
        ListedKeyCommand::List { rows, tenant } => {
            let columns = ["device", "state", "role", "group", "thumbprint", "created", "by"];
            list(&tenant, "listed-keys", &columns, &rows).await
        }
        ListedKeyCommand::Delete { device, tenant } => {
            deleted(&tenant, &format!("listed-keys/{}", segment(&device))).await
        }
    }
}

pub(super) async fn group_key(command: GroupKeyCommand) -> Outcome {
    match command {
        GroupKeyCommand::Create { name, rights, key, plain, tenant } => {
            let key = given(key.as_deref())?;
            let body = json!({
                "group_key": name, "role": rights.role, "group": rights.group,
                "key": key.as_ref().map(|key| key.expose().as_str()),
            });
            made(&tenant, "group-keys", &body, plain).await
        }
        GroupKeyCommand::List { rows, tenant } => {
            let columns = ["group_key", "role", "group", "secondary", "created", "by"];
            list(&tenant, "group-keys", &columns, &rows).await
        }
        GroupKeyCommand::Rotate { name, key, plain, tenant } => {
            let key = given(key.as_deref())?;
            let body = json!({ "key": key.as_ref().map(|key| key.expose().as_str()) });
            made(&tenant, &format!("group-keys/{}/rotate", segment(&name)), &body, plain).await
        }
        GroupKeyCommand::DropSecondary { name, tenant } => {
            deleted(&tenant, &format!("group-keys/{}/secondary", segment(&name))).await
        }
        GroupKeyCommand::Delete { name, tenant } => {
            deleted(&tenant, &format!("group-keys/{}", segment(&name))).await
        }
        GroupKeyCommand::Add { name, ids, tenant } => add(&name, &ids, &tenant).await,
        GroupKeyCommand::Devices { name, rows, tenant } => {
            let columns = ["device", "state", "used_thumbprint", "created", "by"];
            let what = format!("group-keys/{}/devices", segment(&name));
            list(&tenant, &what, &columns, &rows).await
        }
        GroupKeyCommand::Remove { name, device, tenant } => {
            let what = format!("group-keys/{}/devices/{}", segment(&name), segment(&device));
            deleted(&tenant, &what).await
        }
        GroupKeyCommand::Derive { key, ids, json } => derive(&key, &ids, json),
    }
}

/// Adds all ids, a call for each thousand. It may be asked again: ids that are listed stay listed.
async fn add(name: &str, ids: &IdsArgs, tenant: &TenantArgs) -> Outcome {
    let (call, ids) = (Call::of(&tenant.operator)?, read(ids)?);
    let path = path(tenant, &format!("group-keys/{}/devices", segment(name)));
    let mut added = 0;
    for part in ids.chunks(IDS) {
        let part: Vec<&str> = part.iter().map(DeviceId::as_str).collect();
        let answer = call.client.post(&path, &json!({ "devices": part })).await.map_err(words)?;
        added += answer.get("added").and_then(Value::as_u64).unwrap_or(0);
    }
    call.show(Ok(json!({ "group_key": name, "added": added })))
}

fn derive(key: &str, ids: &IdsArgs, as_json: bool) -> Outcome {
    let text = secrets::text_or_file(key)?;
    let group_key = secrets::symmetric(&text)?;
    let secrets = read(ids)?.into_iter().map(|id| {
        let secret = device_secret(&group_key, &id);
        (id, Secret::new(base64url(secret.expose_bytes())))
    });
    if as_json {
        let items: Vec<Value> = secrets
            .map(|(id, secret)| json!({ "device": id.as_str(), "secret": secret.expose() }))
            .collect();
        output::line(&format!("{:#}", Value::Array(items)));
    } else {
        secrets.for_each(|(id, secret)| output::line(&format!("{id} {}", secret.expose())));
    }
    Ok(0)
}

pub(super) async fn authority(command: AuthorityCommand) -> Outcome {
    match command {
        AuthorityCommand::Add { file, rights, id_from, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let body = json!({
                "certificate": read_public_text(&file)?, "role": rights.role,
                "group": rights.group, "id_from": id_from.replace('-', "_"),
            });
            call.show(call.client.post(&path(&tenant, "authorities"), &body).await)
        }
        AuthorityCommand::List { rows, tenant } => {
            let columns = ["authority", "subject", "role", "group", "id_from", "not_after"];
            list(&tenant, "authorities", &columns, &rows).await
        }
        AuthorityCommand::Delete { authority, tenant } => {
            deleted(&tenant, &format!("authorities/{}", segment(&authority))).await
        }
    }
}

pub(super) async fn denied(command: DeniedCertificateCommand) -> Outcome {
    match command {
        DeniedCertificateCommand::Add { certificate, tenant } => {
            let call = Call::of(&tenant.operator)?;
            // Fingerprints of other tools have colons and capitals.
            let (kind, digits) = certificate.split_once(':').unwrap_or(("", &certificate));
            let name = format!("{kind}:{}", digits.replace(':', "").to_lowercase());
            let body = json!({ "certificate": name });
            call.show(call.client.post(&path(&tenant, "denied-certificates"), &body).await)
        }
        DeniedCertificateCommand::List { rows, tenant } => {
            list(&tenant, "denied-certificates", &["certificate", "created", "by"], &rows).await
        }
        DeniedCertificateCommand::Delete { certificate, tenant } => {
            deleted(&tenant, &format!("denied-certificates/{}", segment(&certificate))).await
        }
    }
}

pub(super) async fn approval(command: ApprovalCommand) -> Outcome {
    match command {
        ApprovalCommand::List { rows, tenant } => {
            let columns =
                ["approval", "state", "device", "thumbprint", "source", "asked", "decided_by"];
            list(&tenant, "approvals", &columns, &rows).await
        }
        ApprovalCommand::Approve { id, rights, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let path = path(&tenant, &format!("approvals/{}/approve", segment(&id)));
            let body = json!({ "role": rights.role, "group": rights.group });
            call.show(call.client.post(&path, &body).await)
        }
        ApprovalCommand::Refuse { id, tenant } => {
            let path = path(&tenant, &format!("approvals/{}/refuse", segment(&id)));
            Call::of(&tenant.operator)?.verb(&path).await
        }
        ApprovalCommand::Delete { id, tenant } => {
            deleted(&tenant, &format!("approvals/{}", segment(&id))).await
        }
    }
}

fn path(tenant: &TenantArgs, what: &str) -> String {
    tenant_path(&tenant.tenant, what)
}

async fn deleted(tenant: &TenantArgs, what: &str) -> Outcome {
    let call = Call::of(&tenant.operator)?;
    call.show(call.client.clear(&path(tenant, what)).await)
}

/// Makes a group key. This is the one place where one that the service drew is shown.
async fn made(tenant: &TenantArgs, what: &str, body: &Value, plain: bool) -> Outcome {
    let call = Call::of(&tenant.operator)?;
    let answer = call.client.create(&path(tenant, what), body).await;
    if !plain {
        return call.show(answer);
    }
    let answer = answer.map_err(words)?;
    let key = answer.get("key").and_then(Value::as_str);
    output::line(key.ok_or_else(|| Fault::new("the service answered without a key"))?);
    Ok(0)
}

fn given(key: Option<&str>) -> Result<Option<Secret<String>>, Fault> {
    let text = key.map(secrets::text_or_file).transpose()?;
    if let Some(text) = &text {
        secrets::symmetric(text)?;
    }
    Ok(text)
}

fn read(args: &IdsArgs) -> Result<Vec<DeviceId>, Fault> {
    let text = match &args.ids {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Fault::new(format!("{}: {error}", path.display())))?,
        None => args.devices.join("\n"),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let ids = lines.map(|line| {
        DeviceId::parse(line).map_err(|error| Fault::new(format!("{line:?}: {error}")))
    });
    ids.collect()
}
