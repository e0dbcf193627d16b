//! Label values of counters whose first count may be an alert: each series is there with 0 from the start.

/// Of `limits_hit_total`, but for shares, sessions and retained messages, whose rooms know theirs.
pub(super) const LIMITS: [&str; 21] = [
    "accept",
    "alert_bytes",
    "anonymous",
    "authz_info",
    "challenges",
    "client_max_packet",
    "door_waiting",
    "enrolments",
    "keep_behind",
    "pushes",
    "quic_unproved",
    "reauthentications",
    "restraints",
    "retained_lookup",
    "sockets",
    "store",
    "store_loss_accepted",
    "token_requests",
    "token_requests_per_device",
    "uplink_asks",
    "uplink_asks_per_device",
];

/// Of `turned_away_total`, but for the reasons of the table of sockets.
pub(super) const TURNED_AWAY: [&str; 3] = ["made_room", "proxy_source", "proxy_waiting"];

/// Of `dropped_total`.
pub(super) const DROPPED: [&str; 10] = [
    "alert_not_taken",
    "alerts_lagged",
    "expired",
    "not_authorised",
    "not_encodable",
    "publisher_withdrawn",
    "quarantined",
    "queue_full",
    "session_over",
    "too_large",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The texts behind `call` in all files of the crate that are no tests.
    fn written(folder: &Path, call: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                written(&path, call, found);
            } else if name.ends_with(".rs") && name != "tests.rs" && name != "labels.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                let parts = text.split(call).skip(1);
                found.extend(parts.filter_map(|part| Some(part.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn every_label_of_the_code_is_listed() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let cases: [(&[&str], &[&str]); 3] = [
            (&["limits_hit.inc(&[\"", "limits_hit.add(&[\""], &LIMITS),
            (
                &["turned_away.inc(&[\"", "if trusted { \"", "\"proxy_waiting\" } else { \""],
                &TURNED_AWAY,
            ),
            (&["dropped.inc(&[\"", "dropped.add(&[\"", "Dropped(\""], &DROPPED),
        ];
        for (calls, listed) in cases {
            let mut found = BTreeSet::new();
            calls.iter().for_each(|call| written(&source, call, &mut found));
            let listed: BTreeSet<String> = listed.iter().map(|label| (*label).to_owned()).collect();
            assert_eq!(found, listed, "left the code, right the list");
        }
    }
}
