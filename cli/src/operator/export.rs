//! Export of devices and claims into a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_simulators::operator::{segment, tenant_path};

use super::bulk::{at, is_passing, TRIES};
use super::{words, Call};
use crate::args::{Exported, TenantArgs};
use crate::error::{Fault, Outcome};
use crate::output;

/// Time for an export until it is taken up again.
const EXPORT_TIME: Duration = Duration::from_secs(3600);

/// Exports into a file.
pub(super) async fn run(what: Exported) -> Outcome {
    let (kind, file, tenant) = match what {
        Exported::Devices { file, tenant } => ("devices", file, tenant),
        Exported::Claims { file, tenant } => ("claims", file, tenant),
    };
    let call = Call::of(&tenant.operator)?;
    if file.as_os_str() == "-" {
        let mut take = |lines: &[u8]| {
            output::write(&String::from_utf8_lossy(lines));
            Ok(!output::is_closed())
        };
        let count = rows(&call, &tenant, kind, &mut take).await?;
        output::complain(&format!("{count} {kind}"));
        return Ok(0);
    }
    // It has its name when it is whole.
    let mut part = file.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut out = File::create(&part).map_err(|error| at(&part, &error))?;
    let count =
        rows(&call, &tenant, kind, &mut |lines| out.write_all(lines).map(|()| true)).await?;
    let done = out.sync_all().and_then(|()| std::fs::rename(&part, &file));
    done.map_err(|error| at(&file, &error))?;
    let text = format!("{}: {count} {kind}", file.display());
    output::result(call.json, &text, &json!({ "file": file, "rows": count }));
    Ok(0)
}

/// Takes whole lines; whether more are wanted.
type Take<'a> = &'a mut (dyn FnMut(&[u8]) -> io::Result<bool> + Send);

/// Hands over all lines. An answer that breaks off is taken up again behind its last line.
async fn rows(call: &Call, tenant: &TenantArgs, kind: &str, take: Take<'_>) -> Result<u64, Fault> {
    let (mut count, mut after, mut tries) = (0, String::new(), 0);
    loop {
        let query =
            if after.is_empty() { String::new() } else { format!("?after={}", segment(&after)) };
        let path = tenant_path(&tenant.tenant, &format!("export/{kind}{query}"));
        let (mut held, mut failed, mut got) = (Vec::new(), None, false);
        let mut keep = |part: &[u8]| {
            held.extend_from_slice(part);
            let Some(end) = held.iter().rposition(|byte| *byte == b'\n') else { return true };
            let whole: Vec<u8> = held.drain(..=end).collect();
            count += whole.iter().filter(|byte| **byte == b'\n').count() as u64;
            got = true;
            if let Some(last) = last_device(&whole) {
                after = last;
            }
            match take(&whole) {
                Ok(goes_on) => goes_on,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        };
        let answer = call.client.parts(&path, EXPORT_TIME, &mut keep).await;
        if let Some(error) = failed {
            return Err(Fault::new(format!("the export was not written: {error}")));
        }
        match answer {
            Ok(()) => return Ok(count),
            // An export of claims names no place to go on from.
            Err(error)
                if is_passing(&error)
                    && (got || tries < TRIES)
                    && (kind == "devices" || count == 0) =>
            {
                tries = if got { 0 } else { tries + 1 };
                output::complain(&format!("{error}; it goes on behind {count} {kind}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(words(error)),
        }
    }
}

fn last_device(lines: &[u8]) -> Option<String> {
    let last = lines.split(|byte| *byte == b'\n').rev().find(|line| !line.is_empty())?;
    let line: Value = serde_json::from_slice(last).ok()?;
    line.get("device").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_goes_on_behind_its_last_line() {
        let last = last_device(b"{\"device\":\"a\"}\n{\"device\":\"b\"}\n");
        assert_eq!(last, Some("b".to_owned()));
        assert_eq!(last_device(b"\n"), None);
    }
}
