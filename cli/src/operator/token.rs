//! API tokens of accounts, and a look at the text of a token.

use std::io::Read;

use serde_json::{json, Value};
use tessera_runtime::credential;
use tessera_runtime::secret::Secret;
use tessera_simulators::operator::segment;

use super::{words, Call};
use crate::args::{ApiTokenCommand, TokenCommand};
use crate::error::{Fault, Outcome};
use crate::{output, secrets};

const PATH: &str = "/v1/api-tokens";
/// Bytes of standard input that are read for a token.
const INPUT_BYTES: u64 = 4096;

pub(super) async fn api_token(command: ApiTokenCommand) -> Outcome {
    match command {
        ApiTokenCommand::Create { purpose, roles, reach, expires_in, plain, operator } => {
            let call = Call::of(&operator)?;
            let tenants = if reach.all_tenants { json!("all") } else { json!(reach.tenants) };
            let body = json!({
                "purpose": purpose, "roles": roles, "tenants": tenants, "expires_in": expires_in,
            });
            let made = call.client.create(PATH, &body).await.map_err(words)?;
            show_once(&call, made, "api", plain)
        }
        ApiTokenCommand::List { rows, operator } => {
            let columns = [
                "api_token",
                "state",
                "by",
                "purpose",
                "roles",
                "tenants",
                "expires",
                "used",
                "used_from",
            ];
            Call::of(&operator)?.list(PATH, &columns, &rows).await
        }
        ApiTokenCommand::Delete { id, operator } => {
            let call = Call::of(&operator)?;
            call.show(call.client.clear(&format!("{PATH}/{}", segment(&id))).await)
        }
    }
}

/// Shows a new token of this class (`api`, `partner`), or says that it could not be shown.
pub(super) fn show_once(call: &Call, made: Value, class: &str, plain: bool) -> Outcome {
    let id = made.get(format!("{class}_token")).and_then(Value::as_str);
    let id = id.unwrap_or_default().to_owned();
    match made.get("token").and_then(Value::as_str).filter(|_| plain) {
        Some(token) => output::line(token),
        None => drop(call.show(Ok(made))?),
    }
    if output::is_closed() {
        output::complain(&format!(
            "tessera: the token {id} was made and not shown. It cannot be shown again: delete it with \
             `tessera {class}-token delete {id}` and make another"
        ));
    }
    Ok(0)
}

pub(super) async fn token(command: TokenCommand) -> Outcome {
    match command {
        TokenCommand::Introspect { token, operator } => {
            let text = given(token.as_deref())?;
            let call = Call::of(&operator)?;
            let body = json!({ "token": text.expose().trim() });
            let told = call.client.post("/introspect", &body).await.map_err(words)?;
            let is_active = told.get("active").and_then(Value::as_bool).unwrap_or(false);
            call.show(Ok(told))?;
            Ok(u8::from(!is_active))
        }
        TokenCommand::Check { token, json } => check(token.as_deref(), json),
    }
}

/// The form alone is told, and never the token.
fn check(given: Option<&str>, as_json: bool) -> Outcome {
    let text = self::given(given)?;
    let text = text.expose().trim();
    let form = credential::read(text)
        .map_err(|malformed| Fault::new(format!("this is no token: {}", malformed.words())))?;
    let id = credential::id(text);
    let class = form.class.as_str();
    let form =
        if form.is_old { "earlier version, without a checksum" } else { "the checksum is right" };
    let words = format!("class  {class}\nid     {id}\nform   {form}");
    output::result(as_json, &words, &json!({ "class": class, "id": id, "form": form }));
    Ok(0)
}

fn given(given: Option<&str>) -> Result<Secret<String>, Fault> {
    match given {
        Some(given) => secrets::text_or_file(given),
        None => input(),
    }
}

fn input() -> Result<Secret<String>, Fault> {
    let mut text = String::new();
    std::io::stdin().take(INPUT_BYTES).read_to_string(&mut text)?;
    Ok(Secret::new(text))
}
