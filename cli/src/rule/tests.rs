use std::path::PathBuf;

use super::*;

const RULE: &str = "id = \"large\"\nversion = 2\non = \"publish\"\ntext = 'bytes > 100 && topic.startsWith(\"d/\")'\n\
    action = \"deny\"\nnot_before = \"2026-12-01\"\nexpires = \"2026-12-31\"\nauthor = \"maria\"\nreason = \"r\"\n\
    [selector]\ntenant = \"acme\"\ngroups = [\"7\"]\n";

fn folder() -> (tempfile::TempDir, impl Fn(&str, &str) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, move |name: &str, text: &str| {
        std::fs::write(path.join(name), text).unwrap();
        path.join(name)
    })
}

#[test]
fn a_rule_is_read_in_both_forms() {
    let (_folder, file) = folder();
    let toml = read(&file("r.toml", RULE)).unwrap();
    let json = serde_json::to_string(&RuleFile::from(toml.draft())).unwrap();
    assert_eq!(read(&file("r.json", &json)).unwrap(), toml);
    let object = object(&toml);
    assert_eq!(object["condition"], "bytes > 100 && topic.startsWith(\"d/\")");
    assert_eq!(object["reads"], json!(["topic", "bytes"]));
    assert_eq!((&object["cost"], &object["nodes"]), (&json!(8), &json!(7)));
    assert_eq!(object["mode"], "shadow");
    let text = text(&toml);
    assert!(text.contains("tenant acme, groups 7") && text.contains("30 of 90 days"), "{text}");
    let args = RuleCheckArgs { rule: file("r.toml", RULE), json: true };
    assert_eq!(check(&args).unwrap(), 0);
}

#[test]
fn a_wrong_rule_is_told_with_its_place() {
    let (_folder, file) = folder();
    let wrong = RULE.replace("bytes > 100", "bytes > \"100\"");
    let error = read(&file("r.toml", &wrong)).unwrap_err();
    assert!(error.words().contains("r.toml: text, line 1, column 7: "), "{error}");
    assert!(error.words().ends_with("(rule_type)"), "{error}");
    let hint = error.what_next().unwrap();
    assert!(hint.starts_with("bytes > \"100\" &&") && hint.ends_with("\n        ^"), "{hint}");
    for (from, to, words) in [
        ("deny", "stop", "action is \"stop\""),
        ("2026-12-31", "2027-12-31", "(rule_life)"),
        ("2026-12-31", "soon", "expires: \"soon\" is no moment"),
        ("groups = [\"7\"]", "", "(rule_too_wide)"),
        ("author", "auther", "auther"),
    ] {
        let error = read(&file("r.toml", &RULE.replace(from, to))).unwrap_err().to_string();
        assert!(error.contains("r.toml: ") && error.contains(words), "{error}");
    }
    let large = format!("# {}\n{RULE}", "x".repeat(limits::FILE_BYTES));
    assert!(read(&file("r.toml", &large)).unwrap_err().words().contains("larger than"));
    assert!(read(&PathBuf::from("/none/r.toml")).is_err());
}

/// Two devices of group 7 and one of group 8; the last device never connects.
const LINES: &str = r#"{"format":"tessera-observations-1"}
{"t":3600,"tenant":"acme","device":"a","kind":"connect","net":"192.0.2.1","group":7}
{"t":3600,"tenant":"acme","device":"b","kind":"connect","net":"192.0.2.2","group":7}
{"t":3600,"tenant":"acme","device":"c","kind":"connect","net":"192.0.2.3","group":8}
{"t":3601,"tenant":"acme","device":"a","kind":"publish","topic":"d/a","bytes":900,"count":3}
{"t":7201,"tenant":"acme","device":"a","kind":"publish","topic":"d/a","bytes":300,"count":3}
{"t":7201,"tenant":"acme","device":"b","kind":"publish","topic":"e/b","bytes":300}
{"t":7201,"tenant":"acme","device":"c","kind":"publish","topic":"d/c","bytes":300}
{"t":7201,"tenant":"acme","device":"e","kind":"publish","topic":"d/e","bytes":300}
{"t":7202,"tenant":"acme","device":"b","kind":"subscribe","filter":"$share/s/d/+"}
{"t":7203,"tenant":"other","device":"a","kind":"publish","topic":"d/a","bytes":300}
"#;

#[test]
fn a_test_counts_what_a_rule_would_have_done() {
    let (_folder, file) = folder();
    let run = |rule: &str, lines: &str| {
        let rule = read(&file("r.toml", rule))?;
        let found = test::found(&rule, &file("o.ndjson", lines))?;
        Ok::<_, Fault>((test::text(&found), test::object(&found)))
    };
    let (text, found) = run(RULE, LINES).unwrap();
    assert_eq!(
        (&found["events"], &found["picked"], &found["matched"]),
        (&json!(9), &json!(7), &json!(3))
    );
    assert_eq!((&found["devices"], &found["devices_matched"]), (&json!(4), &json!(1)));
    assert_eq!(found["most_devices"], json!([{ "device": "a", "matches": 3 }]));
    assert_eq!(found["most_groups"], json!([{ "group": "7", "matches": 3 }]));
    assert_eq!((&found["hours"][1], &found["without_connect"]), (&json!(3), &json!(1)));
    assert_eq!((&found["absent"], &found["second_operator"]), (&json!([]), &json!(true)));
    assert!(text.contains("1 of 4 would be denied (25.0 %)"), "{text}");
    assert!(text.contains("device  matches\na       3\n"), "{text}");
    assert!(text.contains("01:00       3"), "{text}");

    let retained = RULE.replace("bytes > 100", "retain && qos == 0 || bytes > 100");
    let (text, found) = run(&retained, LINES).unwrap();
    assert_eq!(found["absent"], json!(["qos", "retain"]));
    assert!(text.contains("the default was taken: qos, retain"), "{text}");

    let subscribe = RULE.replace("publish", "subscribe").replace(
        "bytes > 100 && topic.startsWith(\"d/\")",
        "share == \"s\" && filter == \"d/+\" && network == \"192.0.2.2\"",
    );
    let (_, found) = run(&subscribe, LINES).unwrap();
    assert_eq!((&found["matched"], &found["absent"]), (&json!(1), &json!([])));

    // Nothing was tested: that is told, not taken for a rule that harms no device.
    let error = run(&RULE.replace("\"acme\"", "\"acne\""), LINES).unwrap_err();
    assert!(error.words().contains("no publish of the tenant acne in 11 lines"), "{error}");
    let error = run(RULE, "{\"t\":1}\n").unwrap_err();
    assert!(error.words().contains("o.ndjson, line 1"), "{error}");
}
