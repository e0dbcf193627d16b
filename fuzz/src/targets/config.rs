//! Settings of the broker, as TOML and as JSON: any text is read without harm, and what holds is within its bounds.

use tessera_broker::RawBrokerConfig;

use super::numbered;
use crate::signal::note;

/// Runs one input: a byte that chooses the form, then the text.
pub fn target(data: &[u8]) {
    let Some((form, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let raw = if form & 1 == 0 {
        toml::from_str::<RawBrokerConfig>(text).map_err(|error| error.to_string())
    } else {
        serde_json::from_str::<RawBrokerConfig>(text).map_err(|error| error.to_string())
    };
    let raw = match raw {
        Ok(raw) => raw,
        Err(words) => return note((form & 1, words.chars().rev().take(16).collect::<String>())),
    };
    match raw.validate() {
        Err(error) => {
            note((form & 1, error.key));
            assert!(!error.problem.is_empty() && error.to_string().contains(error.key));
        }
        Ok(config) => {
            note((form & 1, "holds"));
            let session = config.session;
            assert!((8 * 1024..=960 * 1024).contains(&session.max_packet));
            assert!(session.receive_maximum > 0 && session.keep_alive > 0);
            assert!((1..=1_000_000).contains(&session.queue_messages));
            assert!((1024..=1024 * 1024 * 1024).contains(&session.queue_bytes));
            assert!((1..=100_000).contains(&session.subscriptions));
            let admission = config.admission;
            assert!(admission.sockets > 0 && admission.half_open > 0);
            assert!((1..=1_000_000).contains(&admission.connects_per_second));
            assert!((1..=1_000_000).contains(&admission.suspects_per_second));
            assert!((1..=256).contains(&config.verification_workers));
            assert!(config.provisioning.is_none_or(|at| {
                at.url.starts_with("http://") || at.url.starts_with("https://")
            }));
        }
    }
}

const KEYS: [&str; 14] = [
    "sockets",
    "sockets_per_prefix",
    "half_open",
    "half_open_per_prefix",
    "connects_per_second",
    "suspects_per_second",
    "max_packet",
    "receive_maximum",
    "queue_messages",
    "queue_bytes",
    "subscriptions",
    "session_expiry",
    "keep_alive",
    "verification_workers",
];

/// Every key in both forms, with values at and outside the bounds.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let toml = "mqtt = \"0.0.0.0:0\"\nhttp = \"[::1]:1\"\ndata_dir = \"x\"\nprovisioning = \"http://a\"\n\
                reason_strings = false\nshared_for_v311 = true\nsuppress_will_on_revocation = false\n";
    let json = r#"{"mqtt": "127.0.0.1:0", "provisioning": "http://a/", "limits": {"sockets": 5}}"#;
    let mut inputs = vec![[b"\0", toml.as_bytes()].concat(), [b"\x01", json.as_bytes()].concat()];
    for key in KEYS {
        for value in [0, 1, 255, 65_536] {
            inputs.push(format!("\0[limits]\n{key} = {value}\n").into_bytes());
            inputs.push(format!("\x01{{\"limits\": {{\"{key}\": {value}}}}}").into_bytes());
        }
    }
    numbered(inputs)
}
