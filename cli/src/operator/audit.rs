//! Verifies the chain of the audit log from the answers alone, as whoever keeps a copy of them can.

use serde_json::Value;
use tessera_token::cbor::Writer;
use tessera_token::hash::sha256;
use tessera_token::text::from_base64url;

use crate::fault::Fault;

/// The hash of the last entry as hex, when every entry follows from the one before.
pub(super) fn verify(rows: &[Value]) -> Result<String, Fault> {
    let mut previous = [0u8; 32];
    for (place, row) in rows.iter().enumerate() {
        let seq = place as u64 + 1;
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
        let hash = hash(seq, &previous, row).ok_or_else(|| broken("a member is missing"))?;
        if claimed("hash").as_deref() != Some(hash.as_slice()) {
            return Err(broken("its content does not give its hash"));
        }
        previous = hash;
    }
    Ok(hex::encode(previous))
}

fn hash(seq: u64, previous: &[u8; 32], row: &Value) -> Option<[u8; 32]> {
    let mut w = Writer::new();
    w.array(9).text("tessera-audit-1").uint(seq).bytes(previous).uint(row.get("at")?.as_u64()?);
    for name in ["actor", "action", "tenant", "subject", "detail"] {
        w.text(row.get(name)?.as_str()?);
    }
    Some(sha256(&w.finish()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tessera_token::text::base64url;

    use super::*;

    fn log() -> Vec<Value> {
        let mut previous = [0u8; 32];
        (1..=3u64)
            .map(|seq| {
                let mut row = json!({
                    "seq": seq, "at": 100 + seq, "actor": "a", "action": "device.revoke", "tenant": "t",
                    "subject": "d", "detail": "", "previous": base64url(&previous),
                });
                previous = hash(seq, &previous, &row).unwrap();
                row["hash"] = json!(base64url(&previous));
                row
            })
            .collect()
    }

    #[test]
    fn a_whole_log_verifies() {
        assert_eq!(verify(&log()).unwrap().len(), 64);
        assert!(verify(&[]).is_ok());
    }

    #[test]
    fn every_kind_of_tampering_shows() {
        let mut changed = log();
        changed[1]["subject"] = json!("e");
        let mut shortened = log();
        shortened.remove(1);
        let mut swapped = log();
        swapped.swap(1, 2);
        for bad in [changed, shortened, swapped] {
            assert!(verify(&bad).unwrap_err().to_string().contains("broken at entry 2"));
        }
    }
}
