use tessera_runtime::random::SeededRandom;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Permission;

use super::{code, templates};
use crate::records::{RoleClass, RoleRecord};

fn role(class: RoleClass, publish: &[&str], subscribe: &[&str]) -> RoleRecord {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    RoleRecord { class, publish: texts(publish), subscribe: texts(subscribe), token_seconds: None }
}

fn refused(role: &RoleRecord) -> bool {
    templates::check(role).is_err_and(|refused| refused.code == RefusalCode::RoleInvalid)
}

#[test]
fn what_a_device_role_may_not_hold() {
    let bad = [
        "telemetry",
        "d/{device",
        "d/x{device}/t",
        "d/{device}x",
        "d/{Device}/t",
        "d/{devices}/t",
        "d/+/cmd",
        "+/{device}/cmd",
        "d/{device}/+/cmd",
        "#",
        "d/#",
        "{group}/telemetry",
        "d/{device}/#/x",
        "d/{device}/a#",
        "$SYS/{device}",
        "$share/g/d/{device}/t",
        "$tessera/alerts",
        "$tessera/{device}",
        "",
        "d/{device}/\u{7}",
    ];
    for template in bad {
        assert!(refused(&role(RoleClass::Device, &[template], &[])), "publish {template:?}");
        assert!(refused(&role(RoleClass::Device, &[], &[template])), "subscribe {template:?}");
    }
    for template in
        ["d/{device}/telemetry", "{device}", "{tenant}/{group}/{device}/#", "d/{device}/#"]
    {
        templates::check(&role(RoleClass::Device, &[template], &[template])).unwrap();
    }
}

#[test]
fn what_a_service_role_may_hold() {
    templates::check(&role(RoleClass::Service, &["d/+/cmd"], &["#", "$tessera/alerts"])).unwrap();
    for template in ["$tessera/alerts", "$SYS/x", "$tessera/#"] {
        assert!(refused(&role(RoleClass::Service, &[template], &[])), "{template}");
    }
    for template in
        ["$tessera/#", "$tessera/+", "$SYS/#", "$tessera/token", "$share/g/t", "a/{b}/c", "a/b+"]
    {
        assert!(refused(&role(RoleClass::Service, &[], &[template])), "{template}");
    }
}

#[test]
fn a_role_has_limits() {
    assert!(refused(&role(RoleClass::Device, &[], &[])));
    let many: Vec<String> = (0..65).map(|n| format!("{{device}}/{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(refused(&role(RoleClass::Device, &many, &[])));
    assert!(
        refused(&role(RoleClass::Device, &many[..30], &[])),
        "too long for a token with the longest ids"
    );
    templates::check(&role(RoleClass::Device, &many[..20], &[])).unwrap();
    for life in [0, 1, 30 * 24 * 3600 + 1] {
        let mut short = role(RoleClass::Device, &["{device}"], &[]);
        short.token_seconds = Some(life);
        assert!(refused(&short));
    }
}

#[test]
fn templates_become_one_devices_scope() {
    let role = role(
        RoleClass::Device,
        &["d/{device}/t", "x/{device}"],
        &["{tenant}/{group}/{device}/#", "x/{device}"],
    );
    let tenant = TenantId::parse("acme").unwrap();
    let group = GroupId::parse("hall:2").unwrap();
    let device = DeviceId::parse("pump-1").unwrap();
    let scope = templates::resolve(&role, &tenant, &group, &device).unwrap();
    let entries: Vec<_> =
        scope.entries().iter().map(|entry| (entry.filter.as_str(), entry.permission)).collect();
    assert_eq!(
        entries,
        [
            ("d/pump-1/t", Permission::Publish),
            ("x/pump-1", Permission::Both),
            ("acme/hall:2/pump-1/#", Permission::Subscribe),
        ]
    );
}

#[test]
fn claim_codes_are_long_and_typed_by_people() {
    let random = SeededRandom::predictable(3);
    let one = code::draw(&random).unwrap();
    let two = code::draw(&random).unwrap();
    let text = one.expose().as_str();
    assert_ne!(text, two.expose());
    assert_eq!(text.len(), "TSR-XXXXX-XXXXX-XXXXX-XXXXX".len());
    assert!(text.starts_with("TSR-"));
    assert!(!text[3..].contains(['I', 'L', 'O', 'U']));
    assert_eq!(code::hash(text), code::hash(&format!(" {}\n", text.to_lowercase())));
    assert_eq!(code::id(&code::hash(text)).len(), 16);
}
