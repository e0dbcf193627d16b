//! Verifies the chain of the audit log from the answers alone, or from a file ([`export`]), as any holder of a copy can.

use std::path::Path;

use serde_json::{json, Value};
use tessera_runtime::secret::read_public_text;
use tessera_token::cbor::Writer;
use tessera_token::encoding::{from_base64url, hex};
use tessera_token::hash::sha256;
use tessera_token::head::ServiceHead;
use tessera_token::time::UnixSeconds;

use self::roots::Pins;
use super::{pages, words, Call};
use crate::error::{Fault, Outcome};
use crate::{output, time};

pub(super) mod export;
mod roots;
pub(super) mod tail;

/// Bytes of a file with a head.
const HEAD_FILE_BYTES: usize = 16 * 1024;

/// Reads the whole log and compares it with what it must be.
pub(super) async fn run_verify(
    call: &Call,
    kept: Option<&str>,
    (root, links): (Option<&str>, Option<&Path>),
) -> Outcome {
    let pins = Pins::read(root, links)?;
    let kept =
        kept.map(|kept| Ok::<_, Fault>((kept, read_head(kept, pins.as_ref())?))).transpose()?;
    // Asked first: the log may grow meanwhile, and must hold what the head says.
    let own = call.client.get("/v1/audit/head").await.map_err(words)?;
    let own = served_head(&own, pins.as_ref())?;
    let chain = verify(&pages::all(&call.client, "/v1/audit").await.map_err(words)?)?;
    let inner = chain.check_heads(pins.as_ref())?;
    let hashes = chain.hashes;
    let last = hashes.last().map(hex::encode).unwrap_or_else(|| hex::encode([0; 32]));
    let count = hashes.len();
    let mut lines =
        vec![format!("{count} entries, every hash follows from the one before; head {last}")];
    lines.push(compare(&hashes, &own, "the service's own head")?);
    if pins.is_none() {
        lines.push("  its signature was not checked: give --root".to_owned());
    }
    lines.extend(inner);
    let has_kept = kept.is_some();
    if let Some((name, (head, warning))) = kept {
        let name = if Path::new(name).is_file() { name } else { "the head that was given" };
        lines.push(compare(&hashes, &head, name)?);
        lines.extend(warning.map(str::to_owned));
    }
    let object = json!({
        "entries": count, "head": last, "signature_checked": pins.is_some(), "compared_with_kept_head": has_kept,
    });
    output::result(call.json, &lines.join("\n"), &object);
    Ok(0)
}

/// A head with a warning about the root key that signed it.
type Kept = (ServiceHead, Option<&'static str>);

/// A head that was kept. Without the root key it may be a forgery.
fn read_head(kept: &str, pins: Option<&Pins>) -> Result<Kept, Fault> {
    let pins = pins.ok_or_else(|| {
        Fault::new("a head is worth what its signature is").hint("give --root THUMBPRINT|FILE")
    })?;
    let text = match Path::new(kept).is_file() {
        true => read_public_text(Path::new(kept))?,
        false => kept.to_owned(),
    };
    if text.len() > HEAD_FILE_BYTES {
        return Err(Fault::new("this is no head: too long"));
    }
    let bytes = from_base64url(text.trim()).ok_or_else(|| {
        Fault::new(format!("{kept:?} is neither a head nor a file with one"))
            .hint("tessera audit head > FILE")
    })?;
    let head = pins.open(&bytes).map_err(|error| {
        Fault::new(format!("the head that was given: {error}"))
            .hint("one of before a change of the root needs its links: --links DATA/root.links")
    })?;
    Ok((head, pins.warning(&bytes)))
}

fn served_head(answer: &Value, pins: Option<&Pins>) -> Result<ServiceHead, Fault> {
    let malformed = || Fault::new("the service answered with no head");
    let text = |name: &str| answer.get(name).and_then(Value::as_str).and_then(from_base64url);
    if let Some(pins) = pins {
        let signed = text("signed").ok_or_else(malformed)?;
        let opened = pins.open(&signed);
        return opened.map_err(|error| Fault::new(format!("the service's own head: {error}")));
    }
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).ok_or_else(malformed);
    let hash = |name: &str| {
        text(name).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(malformed)
    };
    Ok(ServiceHead {
        audit: number("length")?,
        audit_hash: hash("hash")?,
        trust: number("trust_seq")?,
        trust_hash: hash("trust_hash")?,
        serial: number("serial")?,
        time: UnixSeconds::new(number("time")?),
    })
}

/// Says how the log stands to a head, or fails when it does not hold what the head says.
fn compare(hashes: &[[u8; 32]], head: &ServiceHead, name: &str) -> Result<String, Fault> {
    let told = format!(
        "{name} of {}: {} entries, {}",
        time::utc(head.time.get()),
        head.audit,
        hex::encode(head.audit_hash)
    );
    let length = usize::try_from(head.audit).unwrap_or(usize::MAX);
    if length > hashes.len() {
        return Err(Fault::new(format!(
            "the audit log is too short: {} entries, and {} are missing by {told}",
            hashes.len(),
            length - hashes.len()
        )));
    }
    let found = match length.checked_sub(1) {
        Some(place) => hashes.get(place).copied().unwrap_or_default(),
        None => [0; 32],
    };
    if found != head.audit_hash {
        return Err(Fault::new(format!(
            "the audit log is another one: entry {length} has the hash {}, by {told}",
            hex::encode(found)
        )));
    }
    Ok(match hashes.len() - length {
        0 => format!("compared with {told}: the same"),
        more => format!("compared with {told}: held, and {more} more"),
    })
}

/// The entries that were read, each of which follows from the one before.
#[derive(Debug, Default)]
struct Chain {
    hashes: Vec<[u8; 32]>,
    /// Signed heads that entries hold, with the numbers of these entries.
    heads: Vec<(u64, Vec<u8>)>,
}

/// The action of an entry that holds a signed head.
const HEAD_ACTION: &str = "audit.head";

impl Chain {
    /// Adds the next entry.
    fn add(&mut self, row: &Value) -> Result<(), Fault> {
        let seq = self.hashes.len() as u64 + 1;
        let previous = self.hashes.last().copied().unwrap_or_default();
        let broken =
            |why: &str| Fault::new(format!("the audit log is broken at entry {seq}: {why}"));
        let number = |name: &str| row.get(name).and_then(Value::as_u64);
        let claimed = |name: &str| row.get(name).and_then(Value::as_str).and_then(from_base64url);
        if number("seq") != Some(seq) {
            return Err(broken("an entry is missing"));
        }
        if claimed("previous").as_deref() != Some(previous.as_slice()) {
            return Err(broken("it does not name the hash of the entry before it"));
        }
        let hash =
            hash(seq, &previous, row).ok_or_else(|| broken("a member is missing, or strange"))?;
        if claimed("hash").as_deref() != Some(hash.as_slice()) {
            return Err(broken("its content does not give its hash"));
        }
        self.hashes.push(hash);
        let is_head = row.get("action").and_then(Value::as_str) == Some(HEAD_ACTION);
        if let Some(after) = row.get("after").and_then(Value::as_str).filter(|_| is_head) {
            let signed = serde_json::from_str::<Value>(after).ok();
            let signed = signed.as_ref().and_then(|after| after.get("signed")?.as_str());
            let signed = signed.and_then(from_base64url);
            self.heads.push((seq, signed.ok_or_else(|| broken("it holds no signed head"))?));
        }
        Ok(())
    }

    /// Compares the log with the signed heads in it. Those of root keys that are not pinned say nothing.
    fn check_heads(&self, pins: Option<&Pins>) -> Result<Option<String>, Fault> {
        let Some(pins) = pins.filter(|_| !self.heads.is_empty()) else { return Ok(None) };
        let mut known = 0;
        for (seq, signed) in &self.heads {
            let Ok(head) = pins.open(signed) else { continue };
            if head.audit >= *seq {
                let why =
                    format!("the audit log is broken at entry {seq}: its head is of a later log");
                return Err(Fault::new(why));
            }
            compare(&self.hashes, &head, &format!("the signed head in entry {seq}"))?;
            known += 1;
        }
        let others = self.heads.len() - known;
        let others = match others {
            0 => String::new(),
            others => format!("; {others} are of root keys that are not pinned"),
        };
        Ok(Some(format!("{known} signed heads in the log: the same{others}")))
    }
}

/// The chain of all entries, when every entry follows from the one before.
fn verify(rows: &[Value]) -> Result<Chain, Fault> {
    let mut chain = Chain::default();
    rows.iter().try_for_each(|row| chain.add(row))?;
    Ok(chain)
}

/// Texts that every entry has.
const TEXTS: [&str; 5] = ["actor", "action", "tenant", "subject", "detail"];
/// Texts that entries of earlier versions do not have.
const MORE: [&str; 6] = ["how", "credential", "network", "outcome", "before", "after"];
/// Its other members: `seq`, `at`, `previous`, `hash`.
const OTHERS: usize = 4;

/// The hash over all members. `None` when one is missing, or when there are others, which no hash would cover.
fn hash(seq: u64, previous: &[u8; 32], row: &Value) -> Option<[u8; 32]> {
    let mut w = Writer::new();
    let is_former = row.get("how").is_none();
    let (label, texts) = match is_former {
        true => ("tessera-audit-1", TEXTS.to_vec()),
        false => ("tessera-audit-2", [&TEXTS[..], &MORE].concat()),
    };
    let has_hash = usize::from(row.get("hash").is_some());
    if row.as_object()?.len() != texts.len() + OTHERS - 1 + has_hash {
        return None;
    }
    w.array(texts.len() + 4).text(label).uint(seq).bytes(previous).uint(row.get("at")?.as_u64()?);
    for name in texts {
        w.text(row.get(name)?.as_str()?);
    }
    Some(sha256(&w.finish()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tessera_token::encoding::base64url;

    use super::*;

    fn log() -> Vec<Value> {
        log_of(3)
    }

    /// A log of which the first entries are of an earlier version.
    pub(super) fn log_of(entries: u64) -> Vec<Value> {
        let mut previous = [0u8; 32];
        (1..=entries)
            .map(|seq| {
                let mut row = json!({
                    "seq": seq, "at": 100 + seq, "actor": "a", "action": "device.revoke", "tenant": "t",
                    "subject": "d", "detail": "", "previous": base64url(&previous),
                });
                if seq > 1 {
                    let more = json!({
                        "how": "cli", "credential": "b952fe85f50a1d6f", "network": "192.0.2.1", "outcome": "done",
                        "before": "{}", "after": "",
                    });
                    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                }
                previous = hash(seq, &previous, &row).unwrap();
                row["hash"] = json!(base64url(&previous));
                row
            })
            .collect()
    }

    #[test]
    fn a_whole_log_verifies() {
        assert_eq!(verify(&log()).unwrap().hashes.len(), 3);
        assert!(verify(&[]).is_ok());
    }

    fn head(audit: u64, audit_hash: [u8; 32]) -> ServiceHead {
        let time = UnixSeconds::new(1_800_000_000);
        ServiceHead { audit, audit_hash, trust: 1, trust_hash: [0; 32], serial: 1, time }
    }

    #[test]
    fn a_log_that_is_shorter_or_another_one_than_a_head_says_does_not_pass() {
        let hashes = verify(&log()).unwrap().hashes;
        let told = |head: &ServiceHead| compare(&hashes, head, "x").map_err(|f| f.to_string());
        assert!(told(&head(3, hashes[2])).unwrap().ends_with("the same"));
        assert!(told(&head(2, hashes[1])).unwrap().ends_with("and 1 more"));
        assert!(told(&head(0, [0; 32])).unwrap().ends_with("and 3 more"));
        assert!(told(&head(4, hashes[2])).unwrap_err().contains("too short"));
        assert!(told(&head(u64::MAX, hashes[2])).unwrap_err().contains("too short"));
        assert!(told(&head(3, hashes[1])).unwrap_err().contains("another one"));
        assert!(told(&head(0, [9; 32])).unwrap_err().contains("another one"));
    }

    /// A log whose last entry holds this head, signed.
    fn with_head(head: &ServiceHead, root: &tessera_token::key::SecretKey) -> Vec<Value> {
        let (mut rows, previous) = (log(), verify(&log()).unwrap().hashes[2]);
        let after = json!({ "signed": base64url(&head.sign(root).unwrap()) }).to_string();
        let mut row = json!({
            "seq": 4, "at": 104, "actor": "service", "action": HEAD_ACTION, "tenant": "",
            "subject": "audit log", "detail": "", "previous": base64url(&previous), "how": "system",
            "credential": "", "network": "", "outcome": "done", "before": "", "after": after,
        });
        row["hash"] = json!(base64url(&hash(4, &previous, &row).unwrap()));
        rows.push(row);
        rows
    }

    #[test]
    fn heads_in_the_log_are_compared_with_it() {
        let root = tessera_token::key::SecretKey::from_seed(&[1; 32]);
        let pins = Pins::pinned(root.public().thumbprint());
        let hashes = verify(&log()).unwrap().hashes;
        let told = |head: ServiceHead, pins: &Pins| {
            let chain = verify(&with_head(&head, &root)).unwrap();
            chain.check_heads(Some(pins)).map_err(|fault| fault.to_string())
        };
        let good = head(3, hashes[2]);
        assert_eq!(told(good, &pins).unwrap().unwrap(), "1 signed heads in the log: the same");
        for bad in [head(3, hashes[1]), head(2, hashes[2]), head(0, [9; 32])] {
            assert!(told(bad, &pins).unwrap_err().contains("another one"));
        }
        assert!(told(head(4, hashes[2]), &pins).unwrap_err().contains("of a later log"));
        // Another root key says nothing about this log.
        let others = Pins::pinned(tessera_token::key::Thumbprint::from_bytes([7; 32]));
        let unknown = told(head(3, hashes[1]), &others).unwrap().unwrap();
        assert!(unknown.contains("1 are of root keys that are not pinned"), "{unknown}");
        assert_eq!(verify(&with_head(&good, &root)).unwrap().check_heads(None).unwrap(), None);
    }

    #[test]
    fn a_kept_head_needs_the_root_key_that_signed_it() {
        let root = tessera_token::key::SecretKey::from_seed(&[1; 32]);
        let text = base64url(&head(3, [1; 32]).sign(&root).unwrap());
        let pin = Pins::pinned(root.public().thumbprint());
        assert_eq!(read_head(&text, Some(&pin)).unwrap(), (head(3, [1; 32]), None));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("head.txt");
        std::fs::write(&file, format!("{text}\n")).unwrap();
        assert_eq!(read_head(&file.display().to_string(), Some(&pin)).unwrap().0.audit, 3);
        assert!(read_head(&text, None).is_err());
        let other = tessera_token::key::SecretKey::from_seed(&[2; 32]).public().thumbprint();
        let other = Pins::pinned(other);
        assert!(read_head(&text, Some(&other)).is_err());
        assert!(read_head("rubbish!", Some(&pin)).is_err());
    }

    #[test]
    fn every_kind_of_tampering_shows() {
        let mut changed = log();
        changed[1]["subject"] = json!("e");
        let mut shortened = log();
        shortened.remove(1);
        let mut added = log();
        added[1]["note"] = json!("not covered by the hash");
        let mut stripped = log();
        for name in MORE {
            stripped[1].as_object_mut().unwrap().remove(name);
        }
        let mut swapped = log();
        swapped.swap(1, 2);
        for bad in [changed, shortened, swapped, added, stripped] {
            assert!(verify(&bad).unwrap_err().to_string().contains("broken at entry 2"));
        }
    }
}
