//! The audit log as a file: one entry a line, and the signed head of the log in the last one. The file alone is checked, also
//! without the service.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{json, Value};
use tessera_token::encoding::{from_base64url, hex};

use super::roots::Pins;
use super::{compare, read_head, Chain, Kept};
use crate::error::{Fault, Outcome};
use crate::operator::{words, Call};
use crate::output;

/// Rows of one call: the most that the service gives.
const PAGE: usize = 1000;
/// Bytes of one line: an entry with the longest texts.
const LINE_BYTES: u64 = 256 * 1024;

/// Writes the log up to the head that the service has now.
pub(in crate::operator) async fn run(call: &Call) -> Outcome {
    // Asked first: the log may grow meanwhile.
    let head = call.client.get("/v1/audit/head").await.map_err(words)?;
    let malformed = || Fault::new("the service answered with no head");
    let length = head.get("length").and_then(Value::as_u64).ok_or_else(malformed)?;
    let signed = head.get("signed").and_then(Value::as_str).ok_or_else(malformed)?;
    let mut written = 0;
    while written < length {
        let path = format!("/v1/audit?limit={PAGE}&cursor={written}");
        let page = call.client.get(&path).await.map_err(words)?;
        let items = page.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let room = usize::try_from(length - written).unwrap_or(usize::MAX);
        for item in items.iter().take(room) {
            output::line(&item.to_string());
            written += 1;
        }
        if items.is_empty() {
            let fault = format!("the service gave {written} entries, and its head says {length}");
            return Err(Fault::new(fault));
        }
        if output::is_closed() {
            return Ok(0);
        }
    }
    output::line(&json!({ "signed": signed }).to_string());
    Ok(0)
}

/// Checks such a file. Neither the service nor an account is needed.
pub(in crate::operator) fn verify(
    file: &Path,
    kept: Option<&str>,
    (root, links): (Option<&str>, Option<&Path>),
    as_json: bool,
) -> Outcome {
    let pins = Pins::read(root, links)?.ok_or_else(|| {
        Fault::new("a file is worth what the signature in it is")
            .hint("give --root THUMBPRINT|FILE")
    })?;
    let name = file.display().to_string();
    let opened = File::open(file).map_err(|error| Fault::new(format!("{name}: {error}")))?;
    let (chain, (head, warning)) = read(&mut BufReader::new(opened), &pins)?;
    let inner = chain.check_heads(Some(&pins))?;
    let hashes = chain.hashes;
    let count = hashes.len();
    if head.audit != count as u64 {
        let told = format!("{name} has {count} entries, and its head says {}", head.audit);
        return Err(Fault::new(told));
    }
    let last = hashes.last().map_or_else(|| hex::encode([0; 32]), hex::encode);
    let mut lines =
        vec![format!("{count} entries, every hash follows from the one before; head {last}")];
    lines.push(compare(&hashes, &head, "the signed head in the file")?);
    lines.extend(warning.map(str::to_owned));
    lines.extend(inner);
    if let Some(kept) = kept {
        let (head, warning) = read_head(kept, Some(&pins))?;
        lines.push(compare(&hashes, &head, "the head that was given")?);
        lines.extend(warning.map(str::to_owned));
    }
    let object = json!({
        "entries": count, "head": last, "signature_checked": true, "compared_with_kept_head": kept.is_some(),
    });
    output::result(as_json, &lines.join("\n"), &object);
    Ok(0)
}

/// The chain of the entries, and the head. Each line must be written as an export writes it, to the byte.
fn read(lines: &mut impl BufRead, pins: &Pins) -> Result<(Chain, Kept), Fault> {
    let mut chain = Chain::default();
    loop {
        let number = chain.hashes.len() + 1;
        let broken = |why: &str| Fault::new(format!("the file is broken at line {number}: {why}"));
        let mut line = String::new();
        let read = lines.by_ref().take(LINE_BYTES).read_line(&mut line);
        if read.map_err(|_| broken("it is no text"))? == 0 {
            return Err(broken("the line with the head is missing"));
        }
        let text = line.strip_suffix('\n').ok_or_else(|| broken("the line is too long, or cut"))?;
        let row: Value = serde_json::from_str(text).map_err(|_| broken("it is no JSON"))?;
        let canonical = row.to_string();
        if canonical.as_bytes() != text.as_bytes() {
            return Err(broken("it is written as no export writes it"));
        }
        let members = row.as_object().map_or(0, serde_json::Map::len);
        if let Some(signed) = row.get("signed").filter(|_| members == 1) {
            let signed = signed.as_str().and_then(from_base64url);
            let signed = signed.ok_or_else(|| broken("this is no head"))?;
            let head = pins.open(&signed).map_err(|error| {
                broken(&format!("the head: {error}")).hint(
                    "an export of before a change of the root needs its links: --links DATA/root.links",
                )
            })?;
            let head = (head, pins.warning(&signed));
            let mut rest = [0; 1];
            return match lines.read(&mut rest) {
                Ok(0) => Ok((chain, head)),
                _ => Err(broken("there is something behind the head")),
            };
        }
        chain.add(&row)?;
    }
}

#[cfg(test)]
mod tests {
    use tessera_token::encoding::base64url;
    use tessera_token::head::ServiceHead;
    use tessera_token::key::{SecretKey, Thumbprint};
    use tessera_token::time::UnixSeconds;

    use super::super::tests::log_of;
    use super::*;

    fn export(entries: u64, root: &SecretKey) -> String {
        let log = log_of(entries);
        let hash = log.last().and_then(|row| row["hash"].as_str()).and_then(from_base64url);
        let time = UnixSeconds::new(1_800_000_000);
        let audit_hash = hash.unwrap().try_into().unwrap();
        let head = ServiceHead {
            audit: entries,
            audit_hash,
            trust: 1,
            trust_hash: [0; 32],
            serial: 1,
            time,
        };
        let signed = base64url(&head.sign(root).unwrap());
        let lines = log.iter().map(Value::to_string);
        let lines = lines.chain([json!({ "signed": signed }).to_string()]);
        lines.map(|line| line + "\n").collect()
    }

    fn is_good(text: &[u8], pin: &Thumbprint) -> bool {
        let Ok((chain, (head, _))) = read(&mut &*text, &Pins::pinned(*pin)) else { return false };
        let hashes = &chain.hashes;
        head.audit == hashes.len() as u64 && compare(hashes, &head, "x").is_ok()
    }

    #[test]
    fn every_changed_byte_and_a_cut_tail_are_found() {
        let root = SecretKey::from_seed(&[1; 32]);
        let pin = root.public().thumbprint();
        let whole = export(12, &root);
        assert!(is_good(whole.as_bytes(), &pin));
        let other = SecretKey::from_seed(&[2; 32]).public().thumbprint();
        assert!(!is_good(whole.as_bytes(), &other));
        for at in 0..whole.len() {
            let mut bytes = whole.clone().into_bytes();
            for flipped in [1, 0x20] {
                bytes[at] ^= flipped;
                assert!(!is_good(&bytes, &pin), "byte {at}: {}", String::from_utf8_lossy(&bytes));
                bytes[at] ^= flipped;
            }
        }
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        for missing in 0..lines.len() {
            let rest = lines.iter().enumerate().filter(|(at, _)| *at != missing);
            assert!(!is_good(rest.map(|(_, line)| *line).collect::<String>().as_bytes(), &pin));
        }
        // The last ones are cut off, and the head stays.
        let cut: String = lines[..4].iter().chain(&lines[12..]).copied().collect();
        assert!(!is_good(cut.as_bytes(), &pin));
        let swapped: String = [lines[1], lines[0]].iter().chain(&lines[2..]).copied().collect();
        assert!(!is_good(swapped.as_bytes(), &pin));
        assert!(!is_good(format!("{whole}\n").as_bytes(), &pin));
        assert!(!is_good(b"", &pin));
    }
}
