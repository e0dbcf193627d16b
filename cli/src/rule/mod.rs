//! Rules on the command line: checked, held against recorded observations, put and removed.

use std::io::Read;
use std::path::Path;

use serde_json::{json, Value};
use tessera_rules::language::TextError;
use tessera_rules::limits;
use tessera_rules::rule::file::RuleFile;
use tessera_rules::rule::{Action, Rule, RuleError, Selector};

use crate::args::{RuleCheckArgs, RuleCommand, RulePutArgs};
use crate::config::from_toml;
use crate::error::{Fault, Outcome};
use crate::operator::rule as service;
use crate::output;
use crate::time;

mod recorded;
mod test;
#[cfg(test)]
mod tests;

/// `tessera rule`.
pub(crate) async fn run(command: RuleCommand) -> Outcome {
    match command {
        RuleCommand::Check(args) => check(&args),
        RuleCommand::Test(args) => test::test(&args).await,
        RuleCommand::Put(RulePutArgs { rule, now, operator }) => {
            service::put(&read(&rule)?, now.as_deref(), &operator).await
        }
        RuleCommand::List { rows, tenant } => service::rules(&rows, &tenant).await,
        RuleCommand::Show { rule, tenant } => service::show(&rule, &tenant).await,
        RuleCommand::Approve { rule, tenant } => service::approve(&rule, &tenant).await,
        RuleCommand::Remove { rule, tenant } => service::remove(&rule, &tenant).await,
    }
}

/// `rule check`.
fn check(args: &RuleCheckArgs) -> Outcome {
    let rule = read(&args.rule)?;
    output::result(args.json, text(&rule).trim_end(), &object(&rule));
    Ok(0)
}

/// Reads and checks the rule of a file.
fn read(path: &Path) -> Result<Rule, Fault> {
    let place = path.display().to_string();
    let text = contents(path).map_err(|fault| fault.at(&place))?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let file: RuleFile = match is_json {
        true => serde_json::from_str(&text).map_err(|error| Fault::from(error).at(&place))?,
        false => from_toml(&text).map_err(|error| Fault::new(error).at(&place))?,
    };
    let draft =
        file.into_draft(time::parse_moment).map_err(|error| Fault::from(error).at(&place))?;
    let condition = draft.text.clone();
    Rule::new(draft).map_err(|error| match &error {
        RuleError::Text(wrong) => pointed(wrong, &condition).at(&place),
        other => Fault::new(format!("{other} ({})", other.code())).at(&place),
    })
}

fn contents(path: &Path) -> Result<String, Fault> {
    let file: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(path)?),
    };
    let mut text = String::new();
    file.take(limits::FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
    match text.len() <= limits::FILE_BYTES {
        true => Ok(text),
        false => Err(Fault::new(format!("larger than {} bytes", limits::FILE_BYTES))),
    }
}

/// An error in the text, with the line and a mark below the place.
fn pointed(wrong: &TextError, condition: &str) -> Fault {
    let (line, column) = wrong.position(condition);
    let words = format!("text, line {line}, column {column}: {wrong} ({})", wrong.problem.code());
    Fault::new(words).hint(wrong.pointer(condition).replace('\n', "\n  "))
}

fn selected(selector: &Selector) -> String {
    let lists =
        [("roles", &selector.roles), ("groups", &selector.groups), ("devices", &selector.devices)];
    let mut words = vec![format!("tenant {}", selector.tenant)];
    for (name, list) in lists {
        match list.len() {
            0 => {}
            1..=5 => words.push(format!("{name} {}", list.join(" "))),
            more => words.push(format!("{more} {name}")),
        }
    }
    if !selector.topic_prefix.is_empty() {
        words.push(format!("topics that begin with {}", selector.topic_prefix));
    }
    words.join(", ")
}

fn reads(rule: &Rule) -> Vec<&'static str> {
    rule.program().reads().iter().map(|attribute| attribute.name).collect()
}

fn text(rule: &Rule) -> String {
    let (draft, measure) = (rule.draft(), rule.program().measure());
    let days = draft.expires.since(draft.not_before).div_ceil(86_400);
    let read = reads(rule);
    aligned(&[
        ("rule", format!("{}, version {}", draft.id, draft.version)),
        ("on", draft.on.to_string()),
        ("condition", rule.program().to_string()),
        ("reads", if read.is_empty() { "nothing".to_owned() } else { read.join(", ") }),
        ("selector", selected(&draft.selector)),
        ("action", format!("{}, mode {}", draft.action, draft.mode)),
        (
            "life",
            format!(
                "{} to {}, {days} of {} days",
                time::utc(draft.not_before.get()),
                time::utc(draft.expires.get()),
                limits::LIFE_SECONDS / 86_400
            ),
        ),
        ("nodes", format!("{} of {}", measure.nodes, limits::NODES)),
        ("depth", format!("{} of {}", measure.depth, limits::DEPTH)),
        ("cost", format!("at most {} steps an event", measure.cost)),
        ("text", format!("{} of {} bytes", draft.text.len(), limits::TEXT_BYTES)),
        ("size", format!("{} of {} bytes", rule.to_cbor().len(), limits::WIRE_BYTES)),
    ])
}

/// Lines with a name and a value.
fn aligned(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

fn object(rule: &Rule) -> Value {
    let (draft, measure) = (rule.draft(), rule.program().measure());
    let Selector { tenant, roles, groups, devices, topic_prefix } = &draft.selector;
    json!({
        "id": draft.id,
        "version": draft.version,
        "language": rule.language(),
        "on": draft.on.as_str(),
        "condition": rule.program().to_string(),
        "reads": reads(rule),
        "selector": {
            "tenant": tenant, "roles": roles, "groups": groups, "devices": devices, "topic_prefix": topic_prefix,
        },
        "action": draft.action.as_str(),
        "mode": draft.mode.as_str(),
        "not_before": draft.not_before.get(),
        "expires": draft.expires.get(),
        "nodes": measure.nodes,
        "depth": measure.depth,
        "cost": measure.cost,
        "bytes": rule.to_cbor().len(),
    })
}

/// The effect of an action on a device, for a sentence about a test.
const fn met(action: Action) -> &'static str {
    match action {
        Action::Note => "would be noted",
        Action::Clamp => "would be clamped",
        Action::StepUp => "would have to prove their key anew",
        Action::Quarantine => "would be quarantined",
        Action::Deny => "would be denied",
    }
}
