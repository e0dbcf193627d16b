use serde_json::json;

use super::table;

#[test]
fn rows_line_up_and_times_are_told() {
    let rows = [
        json!({ "device": "d-1", "state": "active", "enrolled": 0, "publish": ["a", "b"] }),
        json!({ "device": "a-longer-one", "state": "revoked", "enrolled": 86_400 }),
    ];
    let text = table::many(&rows, &["device", "state", "enrolled", "publish"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "device        state    enrolled              publish");
    assert_eq!(lines[1], "d-1           active   1970-01-01T00:00:00Z  a b");
    assert_eq!(lines[2], "a-longer-one  revoked  1970-01-02T00:00:00Z  -");
}

#[test]
fn nothing_steers_the_terminal() {
    let text = table::one(&json!({ "detail": "x\u{1b}[2Jy\nz" }));
    assert_eq!(text, "detail  x?[2Jy?z\n");
}
