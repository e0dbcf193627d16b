//! `tessera revoke`: a revocation, and the verifiers that have taken it.

use serde_json::{json, Value};
use tessera_simulators::operator::{device_path, segment, tenant_path};

use super::{table, words, Call};
use crate::args::{OperatorArgs, Waits, What};
use crate::error::{Fault, Outcome};
use crate::output;

/// Seconds for which the service lets a revocation wait.
const WAIT_SECONDS: u64 = 30;

pub(super) async fn run(what: What) -> Outcome {
    let (path, body, waits, operator) = asked(what);
    revoke(&path, &body, &waits, &operator).await
}

fn asked(what: What) -> (String, Value, Waits, OperatorArgs) {
    match what {
        What::Device { device, waits, tenant } => {
            (device_path(&tenant.tenant, &device, "revoke"), json!({}), waits, tenant.operator)
        }
        What::Group { group, waits, tenant } => {
            let path = tenant_path(&tenant.tenant, &format!("groups/{}/revoke", segment(&group)));
            (path, json!({}), waits, tenant.operator)
        }
        What::Token { hash: Some(hash), waits, tenant, .. } => {
            let path = tenant_path(&tenant.tenant, "tokens/revoke");
            (path, json!({ "token_hash": hash }), waits, tenant.operator)
        }
        What::Token { shown, waits, tenant, .. } => {
            ("/revoke".to_owned(), json!({ "token": shown }), waits, tenant.operator)
        }
        What::Tenant { id, waits, operator } => {
            (tenant_path(&id, "revoke"), json!({}), waits, operator)
        }
        What::Key { kid, waits, tenant } => {
            let path = tenant_path(&tenant.tenant, &format!("keys/{}/compromise", segment(&kid)));
            (path, json!({}), waits, tenant.operator)
        }
    }
}

async fn revoke(path: &str, body: &Value, waits: &Waits, operator: &OperatorArgs) -> Outcome {
    let call = Call::of(operator)?;
    let path = match &waits.wait {
        None => path.to_owned(),
        Some(wait) => {
            let seconds = wait.as_secs();
            if seconds == 0 || seconds > WAIT_SECONDS {
                return Err(Fault::new(format!("--wait is 1s to {WAIT_SECONDS}s")));
            }
            output::complain(&format!("waits up to {seconds} s for the verifiers"));
            format!("{path}?wait={seconds}")
        }
    };
    let wait = waits.wait.unwrap_or_default();
    let answer = call.client.post_waiting(&path, body, wait).await.map_err(words)?;
    if answer.as_object().is_some_and(serde_json::Map::is_empty) {
        output::result(call.json, "nothing to revoke: no such token lives", &json!({}));
        return Ok(0);
    }
    let mut shown = answer.clone();
    let verifiers = shown.as_object_mut().and_then(|shown| shown.remove("verifiers"));
    let verifiers = verifiers.unwrap_or_default();
    match call.json {
        true => output::line(&format!("{answer:#}")),
        false => {
            output::write(&table::one(&shown));
            output::line(&sentence(&verifiers));
        }
    }
    let missing = verifiers.get("missing").and_then(Value::as_array).cloned().unwrap_or_default();
    if waits.wait.is_none() || missing.is_empty() {
        return Ok(0);
    }
    if !call.json {
        output::write(&table::many(&missing, &["verifier", "event", "last_seen"]));
    }
    output::complain("the revocation is made; the verifiers above have not taken it yet");
    Ok(1)
}

/// How many verifiers have it.
fn sentence(verifiers: &Value) -> String {
    let count = |name: &str| verifiers.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (known, taken, away) = (count("known"), count("taken"), count("away"));
    let away = match away {
        0 => String::new(),
        away => format!("; {away} of the others were not seen lately"),
    };
    format!("{taken} of {known} verifiers have taken it{away}")
}
