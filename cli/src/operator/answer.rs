//! `tessera answer`: devices that are held back, and policies of answers.

use serde_json::json;
use tessera_simulators::operator::{device_path, segment, tenant_path};

use super::{list, Call};
use crate::args::{AnswerCommand, AnswerSetArgs};
use crate::error::Outcome;

pub(super) async fn answer(command: AnswerCommand) -> Outcome {
    match command {
        AnswerCommand::Restrain { device, step, lasts, reason, tenant } => {
            let body =
                json!({ "step": step.as_str(), "seconds": lasts.as_secs(), "reason": reason });
            let call = Call::of(&tenant.operator)?;
            let path = device_path(&tenant.tenant, &device, "restrain");
            call.show(call.client.post(&path, &body).await)
        }
        AnswerCommand::Release { device, reason, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let path = device_path(&tenant.tenant, &device, "release");
            call.show(call.client.post(&path, &json!({ "reason": reason })).await)
        }
        AnswerCommand::Verdict { device, verdict, lasts, reason, tenant } => {
            let mut body = json!({ "verdict": verdict.as_str(), "reason": reason });
            if let (Some(lasts), Some(members)) = (lasts, body.as_object_mut()) {
                members.insert("seconds".to_owned(), json!(lasts.as_secs()));
            }
            let call = Call::of(&tenant.operator)?;
            let path = device_path(&tenant.tenant, &device, "verdict");
            call.show(call.client.post(&path, &body).await)
        }
        AnswerCommand::List { rows, tenant } => {
            let columns = ["device", "step", "begins", "ends", "by", "reason"];
            list(&tenant, "restraints", &columns, &rows).await
        }
        AnswerCommand::Set(args) => set(args).await,
        AnswerCommand::Policies { rows, tenant } => {
            let columns =
                ["group", "low", "moderate", "high", "seconds", "devices_an_hour", "shadow"];
            list(&tenant, "answers", &columns, &rows).await
        }
        AnswerCommand::Remove { group, tenant } => {
            let of = group.map_or(String::new(), |group| format!("/{}", segment(&group)));
            let call = Call::of(&tenant.operator)?;
            let path = tenant_path(&tenant.tenant, &format!("answers{of}"));
            call.show(call.client.clear(&path).await)
        }
    }
}

async fn set(args: AnswerSetArgs) -> Outcome {
    let call = Call::of(&args.tenant.operator)?;
    let body = json!({
        "group": args.group,
        "low": args.low.as_str(),
        "moderate": args.moderate.as_str(),
        "high": args.high.as_str(),
        "seconds": args.lasts.as_secs(),
        "devices_an_hour": args.devices_an_hour,
        "shadow": args.shadow,
    });
    call.show(call.client.put(&tenant_path(&args.tenant.tenant, "answers"), &body).await)
}
