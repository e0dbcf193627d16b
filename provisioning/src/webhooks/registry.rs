//! Webhooks as operators make, change and end them.

use tessera_runtime::http::OutwardClient;
use tessera_runtime::random;
use tessera_runtime::secret::Secret;
use tessera_runtime::sql::Batch;
use tessera_token::encoding::hex;
use tessera_token::ids::TenantId;
use tessera_token::limits::CLOCK_SKEW_SECONDS;
use tessera_token::proof::SymmetricKey;
use tessera_token::refusal::RefusalCode;

use super::message::Signing;
use crate::audit;
use crate::audit::actor::ChainPending;
use crate::keys::sealed_rows::{opened, sealed, Sealed};
use crate::limits::{
    PURPOSE_CHARS, WEBHOOKS, WEBHOOKS_TOTAL, WEBHOOK_ACTIONS, WEBHOOK_ACTION_CHARS,
    WEBHOOK_FORMER_SECONDS,
};
use crate::once::Keep;
use crate::operators::{Operator, OperatorRole};
use crate::records::webhooks::{WebhookProgress, WebhookRecord, WebhookState};
use crate::refused::Refused;
use crate::registry::tenants;
use crate::revision::Precondition;
use crate::service::Service;
use crate::tables::{one, pair};
use crate::write::until_committed;

/// A new webhook.
pub(crate) struct Wanted {
    pub(crate) url: String,
    pub(crate) actions: Vec<String>,
    pub(crate) purpose: String,
}

/// A change of one; what is left out stays.
#[derive(Default)]
pub(crate) struct Changed {
    pub(crate) url: Option<String>,
    pub(crate) actions: Option<Vec<String>>,
    pub(crate) purpose: Option<String>,
    pub(crate) state: Option<WebhookState>,
}

/// A row with its id and how its messages fare, and its keys: the secret among them is shown once.
pub(crate) struct Created {
    pub(crate) id: String,
    pub(crate) record: WebhookRecord,
    pub(crate) progress: WebhookProgress,
    pub(crate) signing: Signing,
}

/// The roles of which an account must have one that makes and changes webhooks: they read the audit log.
const MAKERS: &[OperatorRole] = &[OperatorRole::Security];

/// The mark that changes with each change of a webhook: of two at once, one is tried again, and messages are made for the
/// webhooks as they are.
pub(super) const CHANGED: &str = "webhooks_changed";

fn name(tenant: &TenantId, id: &str) -> Vec<u8> {
    format!("{tenant}/{id}").into_bytes()
}

fn draw(service: &Service) -> Result<SymmetricKey, Refused> {
    let bytes = Secret::new(random::bytes::<32>(&*service.random)?);
    Ok(SymmetricKey::from_bytes(bytes.expose()).ok_or(RefusalCode::Internal)?)
}

fn seal(
    service: &Service,
    tenant: &TenantId,
    id: &str,
    key: &SymmetricKey,
) -> Result<Vec<u8>, Refused> {
    sealed(&service.founder, &*service.random, (Sealed::Webhook, &name(tenant, id)), key)
}

/// The former key, until its day is over. A clock that was ahead gives it no longer life.
fn former(record: &WebhookRecord, now: u64) -> Option<&Vec<u8>> {
    let most = WEBHOOK_FORMER_SECONDS.saturating_add(CLOCK_SKEW_SECONDS);
    let until = |until: u64| now < until && until - now <= most;
    record.former.as_ref().filter(|(_, end)| until(*end)).map(|(text, _)| text)
}

/// The keys that sign now: the present one first, and the former one until its day is over.
///
/// # Errors
/// `internal` when the present one does not open.
pub(crate) fn signing(
    service: &Service,
    tenant: &TenantId,
    id: &str,
    record: &WebhookRecord,
) -> Result<Vec<Signing>, Refused> {
    let name = name(tenant, id);
    let open = |text: &Vec<u8>| opened(&service.founder, (Sealed::Webhook, &name), text);
    let mut keys = vec![Signing::of(&open(&record.sealed)?)];
    let former = former(record, service.now().get()).map(open);
    keys.extend(former.and_then(Result::ok).map(|key| Signing::of(&key)));
    Ok(keys)
}

/// A batch of a change of webhooks: the account still has its rights when it is written, and every process reads the webhooks
/// anew before it makes messages of later entries.
pub(super) async fn begin(
    service: &Service,
    by: &Operator,
    tenant: &TenantId,
) -> Result<Batch, Refused> {
    let mut batch = Batch::new();
    by.warrant(MAKERS, Some(tenant)).demand(service, &mut batch).await?;
    changed(service, &mut batch).await?;
    Ok(batch)
}

/// Tells that the webhooks change.
pub(super) async fn changed(service: &Service, batch: &mut Batch) -> Result<(), Refused> {
    let marks = &service.tables.marks;
    let before = marks.get::<u64>(CHANGED).await?;
    marks.expect_same(batch, CHANGED, before.as_ref());
    marks.put(batch, CHANGED, &before.unwrap_or_default().wrapping_add(1));
    Ok(())
}

/// Whether a webhook with these patterns wants this action. Refused attempts are for those that name them.
pub(super) fn wants(actions: &[String], action: &str) -> bool {
    let is_refusal = action.starts_with("request");
    actions.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some("") => !is_refusal,
        Some(begin) => action.starts_with(begin),
        None => pattern == action,
    })
}

/// A URL in the form in which it is called.
fn url_of(service: &Service, url: &str) -> Result<String, Refused> {
    let checked = service.outward.checked(url);
    checked.map_err(|error| Refused::malformed(error.to_string()))
}

fn check(actions: Option<&[String]>, purpose: Option<&str>) -> Result<(), Refused> {
    if let Some(actions) = actions {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'-' | b'_');
        let is_good = |pattern: &String| {
            let plain = pattern.strip_suffix(".*").unwrap_or(pattern);
            pattern == "*"
                || pattern.len() <= WEBHOOK_ACTION_CHARS
                    && !plain.is_empty()
                    && plain.bytes().all(is_word)
        };
        if !(1..=WEBHOOK_ACTIONS).contains(&actions.len()) || !actions.iter().all(is_good) {
            return Err(Refused::malformed(format!(
                "actions are 1 to {WEBHOOK_ACTIONS} of the audit log, such as device.revoke, device.* or *"
            )));
        }
    }
    if let Some(purpose) = purpose {
        let is_good =
            purpose.chars().count() <= PURPOSE_CHARS && !purpose.chars().any(char::is_control);
        if !is_good {
            return Err(Refused::malformed(format!(
                "purpose has at most {PURPOSE_CHARS} characters and no control characters"
            )));
        }
    }
    Ok(())
}

/// The part of a URL that the audit log may show.
fn origin(url: &str) -> String {
    OutwardClient::origin_of(url).unwrap_or_default()
}

/// The number of the newest entry; entries that wait to be chained are chained first.
async fn newest(service: &Service) -> Result<u64, Refused> {
    service.audit.send(ChainPending).await.map_err(Refused::from)??;
    Ok(audit::Head::read(&service.tables).await?.seq)
}

/// Makes a webhook. Entries from now on are its events.
pub(crate) async fn create(
    service: &Service,
    by: &Operator,
    tenant: &TenantId,
    wanted: &Wanted,
    keep: &Keep<'_, Created>,
) -> Result<Created, Refused> {
    let url = url_of(service, &wanted.url)?;
    check(Some(&wanted.actions), Some(&wanted.purpose))?;
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let tables = &service.tables;
        let mut batch = begin(service, by, tenant).await?;
        let all = tables.webhooks.scan(&[], None, WEBHOOKS_TOTAL).await?.len();
        let own = tables.webhooks.scan(&one(tenant.as_str()), None, WEBHOOKS).await?.len();
        if own >= WEBHOOKS {
            let why = format!("a tenant has at most {WEBHOOKS} webhooks: delete one");
            return Err(Refused::because(RefusalCode::LimitReached, why));
        }
        if all >= WEBHOOKS_TOTAL {
            let why = format!("this service has {WEBHOOKS_TOTAL} webhooks, and takes no more");
            return Err(Refused::because(RefusalCode::LimitReached, why));
        }
        let id = hex::encode(random::bytes::<8>(&*service.random)?);
        let key = draw(service)?;
        let record = WebhookRecord {
            url: url.clone(),
            actions: wanted.actions.clone(),
            purpose: wanted.purpose.clone(),
            state: WebhookState::Active,
            reason: None,
            sealed: seal(service, tenant, &id, &key)?,
            former: None,
            begins: newest(service).await?,
            created: service.now().get(),
            by: by.name.clone(),
        };
        let progress = WebhookProgress::default();
        batch.insert(&tables.webhooks, pair(tenant, id.as_str()), &record);
        batch.insert(&tables.webhook_states, pair(tenant, id.as_str()), &progress);
        let entry = service.entry(&by.actor(), "webhook.create", tenant.as_str(), &id);
        let entry = entry.detail(format!("to {}", origin(&record.url)));
        let entry = entry.change(None, Some(&record));
        let made = Created { id, record, progress, signing: Signing::of(&key) };
        keep.with(service, &mut batch, &made).await?;
        Ok(service.write(batch, entry).await?.map(|()| made))
    })
    .await
}

/// A webhook.
///
/// # Errors
/// `tenant_unknown`, `not_found`.
pub(super) async fn record_of(
    service: &Service,
    tenant: &TenantId,
    id: &str,
) -> Result<WebhookRecord, Refused> {
    tenants::known(service, tenant).await?;
    let record = service.tables.webhooks.get(pair(tenant, id)).await?;
    Ok(record.ok_or(RefusalCode::NotFound)?)
}

/// A webhook, and how its messages fare.
pub(crate) async fn known(
    service: &Service,
    tenant: &TenantId,
    id: &str,
) -> Result<(WebhookRecord, WebhookProgress), Refused> {
    let record = record_of(service, tenant, id).await?;
    let progress = service.tables.webhook_states.get(pair(tenant, id)).await?;
    Ok((record, progress.unwrap_or_default()))
}

/// All webhooks of a tenant: there are few.
pub(crate) async fn list(
    service: &Service,
    tenant: &TenantId,
) -> Result<Vec<(String, WebhookRecord, WebhookProgress)>, Refused> {
    tenants::known(service, tenant).await?;
    let rows = service.tables.webhooks.scan(&one(tenant.as_str()), None, WEBHOOKS_TOTAL).await?;
    let mut found = Vec::with_capacity(rows.len());
    for (key, record) in rows {
        let id = crate::tables::text(&key, 1)?.to_owned();
        let progress = service.tables.webhook_states.get(key).await?.unwrap_or_default();
        found.push((id, record, progress));
    }
    Ok(found)
}

/// Changes a webhook. One that was disabled begins anew: entries from now on are its events, and its failures of before do not
/// count.
pub(crate) async fn change(
    service: &Service,
    by: &Operator,
    tenant: &TenantId,
    id: &str,
    (changed, when): (&Changed, &Precondition),
) -> Result<(WebhookRecord, WebhookProgress), Refused> {
    let Changed { url, actions, purpose, state } = changed;
    let url = url.as_deref().map(|url| url_of(service, url)).transpose()?;
    check(actions.as_deref(), purpose.as_deref())?;
    if *state == Some(WebhookState::Disabled) {
        return Err(Refused::malformed("state is active or paused"));
    }
    until_committed(async || {
        let old = record_of(service, tenant, id).await?;
        when.check(Some(&old))?;
        let mut new = old.clone();
        new.url = url.clone().unwrap_or(new.url);
        new.actions = actions.clone().unwrap_or(new.actions);
        new.purpose = purpose.clone().unwrap_or(new.purpose);
        new.state = state.unwrap_or(new.state);
        new.reason = new.reason.filter(|_| new.state == WebhookState::Disabled);
        if old.state == WebhookState::Disabled && new.state != WebhookState::Disabled {
            new.begins = newest(service).await?;
        }
        let mut batch = begin(service, by, tenant).await?;
        batch.expect(&service.tables.webhooks, pair(tenant, id), &old);
        batch.put(&service.tables.webhooks, pair(tenant, id), &new);
        let row = service.tables.webhook_states.get(pair(tenant, id)).await?;
        let mut fares = row.clone().unwrap_or_default();
        if new.state != old.state {
            (fares.failing_since, fares.failed_last) = (None, None);
            batch.expect_same(&service.tables.webhook_states, pair(tenant, id), row.as_ref());
            batch.put(&service.tables.webhook_states, pair(tenant, id), &fares);
        }
        let entry = service.entry(&by.actor(), "webhook.change", tenant.as_str(), id);
        let entry = entry.detail(format!("to {}", origin(&new.url)));
        let entry = entry.change(Some(&old), Some(&new));
        Ok(service.write(batch, entry).await?.map(|()| (new, fares)))
    })
    .await
}

/// Gives a webhook a new secret. The former one signs too, for a day.
pub(crate) async fn rotate(
    service: &Service,
    by: &Operator,
    tenant: &TenantId,
    id: &str,
    keep: &Keep<'_, Created>,
) -> Result<Created, Refused> {
    until_committed(async || {
        let (old, progress) = known(service, tenant, id).await?;
        let now = service.now().get();
        if former(&old, now).is_some() {
            let why = "the former secret still signs: rotate again when its day is over";
            return Err(Refused::because(RefusalCode::AlreadyExists, why));
        }
        let key = draw(service)?;
        let new = WebhookRecord {
            sealed: seal(service, tenant, id, &key)?,
            former: Some((old.sealed.clone(), now.saturating_add(WEBHOOK_FORMER_SECONDS))),
            ..old.clone()
        };
        let mut batch = begin(service, by, tenant).await?;
        batch.expect(&service.tables.webhooks, pair(tenant, id), &old);
        batch.put(&service.tables.webhooks, pair(tenant, id), &new);
        let entry = service.entry(&by.actor(), "webhook.rotate", tenant.as_str(), id);
        let entry = entry.change(Some(&old), Some(&new));
        let signing = Signing::of(&key);
        let made = Created { id: id.to_owned(), record: new, progress, signing };
        keep.with(service, &mut batch, &made).await?;
        Ok(service.write(batch, entry).await?.map(|()| made))
    })
    .await
}

/// Deletes a webhook. Its messages and attempts go with the next sweeps.
pub(crate) async fn delete(
    service: &Service,
    by: &Operator,
    tenant: &TenantId,
    id: &str,
    when: &Precondition,
) -> Result<(), Refused> {
    until_committed(async || {
        let old = record_of(service, tenant, id).await?;
        when.check(Some(&old))?;
        let mut batch = begin(service, by, tenant).await?;
        batch.expect(&service.tables.webhooks, pair(tenant, id), &old);
        batch.delete(&service.tables.webhooks, pair(tenant, id));
        batch.delete(&service.tables.webhook_states, pair(tenant, id));
        let entry = service.entry(&by.actor(), "webhook.delete", tenant.as_str(), id);
        let entry = entry.detail(format!("to {}", origin(&old.url)));
        service.write(batch, entry.change(Some(&old), None)).await
    })
    .await
}

/// Makes an event for this webhook alone, also where its actions do not name it: its entry is its message.
pub(crate) async fn test(
    service: &Service,
    by: &Operator,
    tenant: &TenantId,
    id: &str,
) -> Result<(), Refused> {
    until_committed(async || {
        let record = record_of(service, tenant, id).await?;
        if record.state != WebhookState::Active {
            let why = "the webhook is not active: make it active first";
            return Err(Refused::because(RefusalCode::LimitReached, why));
        }
        let batch = begin(service, by, tenant).await?;
        let entry = service.entry(&by.actor(), super::queue::TEST, tenant.as_str(), id);
        service.write(batch, entry).await
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::wants;

    #[test]
    fn actions_are_named_one_by_one_by_their_nouns_or_all() {
        let all = |patterns: &[&str], action: &str| {
            let patterns: Vec<String> = patterns.iter().map(|one| (*one).to_owned()).collect();
            wants(&patterns, action)
        };
        assert!(all(&["*"], "device.revoke") && !all(&["*"], "request.refused"));
        assert!(all(&["device.*"], "device.revoke") && !all(&["device.*"], "device-x.revoke"));
        assert!(all(&["a.b", "device.revoke"], "device.revoke"));
        assert!(!all(&["device.revoke"], "device.revoked"));
        assert!(
            all(&["request.refused"], "request.refused") && all(&["request.*"], "request.refused")
        );
    }
}
