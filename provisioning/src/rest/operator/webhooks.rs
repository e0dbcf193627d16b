use actix_web::http::StatusCode;
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use tessera_runtime::secret::Secret;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use crate::once::{self, Asked, Keep};
use crate::records::webhooks::{
    AttemptOutcome, WebhookAttempt, WebhookProgress, WebhookRecord, WebhookState,
};
use crate::refused::Refused;
use crate::rest::auth::{By, Security};
use crate::rest::endpoint::Endpoint;
use crate::rest::etag::{self, When};
use crate::rest::input::{id, App, Json};
use crate::rest::once::{created, Once};
use crate::rest::Answer;
use crate::service::Service;
use crate::webhooks::{self, Changed, Created, Signing, Wanted};

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/webhooks", list)
            .summary("List webhooks, without their secrets")
            .done("Webhooks"),
        Endpoint::post("/v1/tenants/{tenant}/webhooks", create)
            .summary(
                "Make a webhook: events of the tenant are sent to a URL, signed. The secret is \
                shown once",
            )
            .body("NewWebhook")
            .creates("Webhook")
            .tagged(),
        Endpoint::get("/v1/tenants/{tenant}/webhooks/{webhook}", show)
            .summary("Show a webhook, and how its messages fare")
            .done("Webhook")
            .known()
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::patch("/v1/tenants/{tenant}/webhooks/{webhook}", change)
            .summary("Change a webhook, pause it, or make it active")
            .body("WebhookChange")
            .answers(200, "Changed", "Webhook")
            .tagged()
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::delete("/v1/tenants/{tenant}/webhooks/{webhook}", delete)
            .summary("Delete a webhook: messages that wait are not sent")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::post("/v1/tenants/{tenant}/webhooks/{webhook}/rotate", rotate)
            .summary(
                "Give a webhook a new secret, which is shown once; the former one signs too for a \
                day",
            )
            .body("Nothing")
            .answers(200, "Rotated", "Webhook")
            .tagged()
            .refuses(&[RefusalCode::NotFound, RefusalCode::AlreadyExists]),
        Endpoint::post("/v1/tenants/{tenant}/webhooks/{webhook}/test", test)
            .summary("Send an event webhook.test to this webhook alone")
            .answers(202, "It will be sent", "WebhookTested")
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::post("/v1/tenants/{tenant}/webhooks/{webhook}/replay", replay)
            .summary("Send events of these entries of the audit log again, under their former ids")
            .body("WebhookReplay")
            .answers(202, "They will be sent", "WebhookReplayed")
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::get("/v1/tenants/{tenant}/webhooks/{webhook}/attempts", attempts)
            .summary("The last 100 attempts to deliver, the newest first")
            .done("WebhookAttempts")
            .refuses(&[RefusalCode::NotFound]),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    url: String,
    actions: Vec<String>,
    #[serde(default)]
    purpose: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    url: Option<String>,
    actions: Option<Vec<String>>,
    purpose: Option<String>,
    state: Option<WebhookState>,
}

/// An empty object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    first: u64,
    last: Option<u64>,
}

#[derive(Serialize)]
struct WebhookView<'a> {
    webhook: &'a str,
    url: &'a str,
    actions: &'a [String],
    purpose: &'a str,
    state: WebhookState,
    reason: Option<&'a str>,
    /// `None`: the key does not open.
    public_key: Option<String>,
    /// Until when the former secret signs too.
    former_until: Option<u64>,
    failing_since: Option<u64>,
    left_out: u64,
    created: u64,
    by: &'a str,
    /// Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl<'a> WebhookView<'a> {
    fn new(
        webhook: &'a str,
        (record, progress): (&'a WebhookRecord, &WebhookProgress),
        public_key: Option<String>,
        secret: Option<&'a str>,
    ) -> Self {
        Self {
            webhook,
            url: &record.url,
            actions: &record.actions,
            purpose: &record.purpose,
            state: record.state,
            reason: record.reason.as_deref(),
            public_key,
            former_until: record.former.as_ref().map(|(_, until)| *until),
            failing_since: progress.failing_since,
            left_out: progress.left_out,
            created: record.created,
            by: &record.by,
            secret,
        }
    }
}

/// The key that receivers without a secret verify by.
fn public_key(app: &App, tenant: &TenantId, id: &str, record: &WebhookRecord) -> Option<String> {
    webhooks::signing(app, tenant, id, record).ok()?.first().map(Signing::public)
}

fn view(app: &App, tenant: &TenantId, id: &str, row: (&WebhookRecord, &WebhookProgress)) -> Value {
    json!(WebhookView::new(id, row, public_key(app, tenant, id, row.0), None))
}

/// The one answer that shows a secret.
fn secret_answer(status: StatusCode, made: &Created) -> Result<once::Answer, Refused> {
    let Created { id, record, progress, signing } = made;
    let secret: Secret<String> = signing.secret();
    let shown = Some(secret.expose().as_str());
    let view = WebhookView::new(id, (record, progress), Some(signing.public()), shown);
    let made = created(&view, Some(etag::of(record)))?;
    Ok(once::Answer { status: status.as_u16(), ..made })
}

pub(crate) async fn list(_by: By<Security>, app: App, path: Path<String>) -> Answer {
    let tenant = id(&path)?;
    let rows = webhooks::list(&app, &tenant).await?;
    let items =
        rows.iter().map(|(id, record, progress)| view(&app, &tenant, id, (record, progress)));
    let items: Vec<_> = items.collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next": null })))
}

pub(crate) async fn create(
    by: By<Security>,
    app: App,
    path: Path<String>,
    asked: Once<NewWebhook>,
) -> Answer {
    let Once { body: NewWebhook { url, actions, purpose }, call } = asked;
    let (actor, tenant) = (by.operator().clone(), id(&path)?);
    let (wanted, service) = (Wanted { url, actions, purpose }, app.clone());
    let make = async move |asked: Option<Asked>| {
        let made = async move {
            let answer = |made: &Created| secret_answer(StatusCode::CREATED, made);
            let keep = Keep { asked: asked.as_ref(), answer: &answer };
            answer(&webhooks::create(&service, &actor, &tenant, &wanted, &keep).await?)
        };
        Ok(Service::to_its_end(made).await?)
    };
    call.once(&app, &by.operator().name, make).await
}

pub(crate) async fn show(
    _by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Answer {
    let (tenant, webhook) = path.into_inner();
    let tenant = id(&tenant)?;
    let (record, progress) = webhooks::known(&app, &tenant, &webhook).await?;
    let view = view(&app, &tenant, &webhook, (&record, &progress));
    Ok(etag::shown(&request, &view, &etag::of_view(&record, &view)))
}

pub(crate) async fn change(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    When(when): When,
    Json(Change { url, actions, purpose, state }): Json<Change>,
) -> Answer {
    let (tenant, webhook) = path.into_inner();
    let tenant = id(&tenant)?;
    let changed = Changed { url, actions, purpose, state };
    let (record, progress) =
        webhooks::change(&app, by.operator(), &tenant, &webhook, (&changed, &when)).await?;
    let view = view(&app, &tenant, &webhook, (&record, &progress));
    Ok(etag::tagged(HttpResponse::Ok().json(&view), &etag::of_view(&record, &view)))
}

pub(crate) async fn delete(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    When(when): When,
) -> Answer {
    let (tenant, webhook) = path.into_inner();
    webhooks::delete(&app, by.operator(), &id(&tenant)?, &webhook, &when).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(crate) async fn rotate(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    asked: Once<Nothing>,
) -> Answer {
    let Once { body: Nothing {}, call } = asked;
    let (tenant, webhook) = path.into_inner();
    let (tenant, actor, service) = (id(&tenant)?, by.operator().clone(), app.clone());
    let make = async move |asked: Option<Asked>| {
        let made = async move {
            let answer = |made: &Created| secret_answer(StatusCode::OK, made);
            let keep = Keep { asked: asked.as_ref(), answer: &answer };
            answer(&webhooks::rotate(&service, &actor, &tenant, &webhook, &keep).await?)
        };
        Ok(Service::to_its_end(made).await?)
    };
    call.once(&app, &by.operator().name, make).await
}

pub(crate) async fn test(by: By<Security>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, webhook) = path.into_inner();
    webhooks::test(&app, by.operator(), &id(&tenant)?, &webhook).await?;
    Ok(HttpResponse::Accepted().json(json!({ "webhook": webhook })))
}

pub(crate) async fn replay(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    Json(Replay { first, last }): Json<Replay>,
) -> Answer {
    let (tenant, webhook) = path.into_inner();
    let (tenant, last) = (id(&tenant)?, last.unwrap_or(first));
    // Numbers of rows have 63 bits.
    if i64::try_from(last).is_err() {
        return Err(Refused::malformed("last").into());
    }
    let replayed = webhooks::replay(&app, by.operator(), &tenant, &webhook, (first, last)).await?;
    Ok(HttpResponse::Accepted().json(json!({ "webhook": webhook, "replayed": replayed })))
}

#[derive(Serialize)]
struct AttemptView {
    attempt: u64,
    at: u64,
    event: u64,
    nth: u64,
    outcome: AttemptOutcome,
    status: Option<u64>,
    reason: Option<String>,
    millis: u64,
}

pub(crate) async fn attempts(_by: By<Security>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, webhook) = path.into_inner();
    let rows = webhooks::attempts(&app, &id(&tenant)?, &webhook).await?;
    let view = |(attempt, row): (u64, WebhookAttempt)| {
        let WebhookAttempt { at, number, nth, outcome, status, reason, millis } = row;
        AttemptView { attempt, at, event: number, nth, outcome, status, reason, millis }
    };
    let items: Vec<_> = rows.into_iter().map(view).collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next": null })))
}
