use tessera_runtime::random::SeededRandom;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Permission;

use super::reach::{Moves, Reach};
use super::templates::{Contained, Placeholders};
use super::{code, templates};
use crate::records::{Attributes, DeviceRecord, RoleClass, RoleProgress, RoleRecord};

fn role(class: RoleClass, publish: &[&str], subscribe: &[&str]) -> RoleRecord {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    RoleRecord {
        class,
        publish: texts(publish),
        subscribe: texts(subscribe),
        token_seconds: None,
        progress: RoleProgress::default(),
        refresh_tokens: false,
    }
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
    // The trust feed of a gateway.
    let trust = ["$tessera/trust"];
    templates::check(&role(RoleClass::Service, &trust, &trust)).unwrap();
    for class in [RoleClass::Device, RoleClass::Partner] {
        assert!(refused(&role(class, &trust, &[])) && refused(&role(class, &[], &trust)));
    }
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
    let attributes = Attributes::default();
    let of =
        Placeholders { tenant: &tenant, group: &group, device: &device, attributes: &attributes };
    let scope = templates::resolve(&role, &of).unwrap();
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
fn what_a_partner_role_may_hold() {
    for template in
        ["orders/new", "partners/{device}/in", "{tenant}/orders", "{attr.site}/{device}/in"]
    {
        templates::check(&role(RoleClass::Partner, &[template], &[template])).unwrap();
    }
    for template in [
        "orders/+",
        "orders/#",
        "partners/{device}/#",
        "{group}/orders",
        "{attr.site}/orders",
        "$SYS/x",
        "$tessera/alerts",
        "orders/{partner}",
    ] {
        assert!(refused(&role(RoleClass::Partner, &[template], &[])), "publish {template}");
        assert!(refused(&role(RoleClass::Partner, &[], &[template])), "subscribe {template}");
    }
    let many: Vec<String> = (0..17).map(|n| format!("orders/{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(refused(&role(RoleClass::Partner, &many, &[])));
    let mut short = role(RoleClass::Partner, &many[..16], &[]);
    templates::check(&short).unwrap();
    assert_eq!(
        templates::life(&short, 30 * 24 * 3600),
        24 * 3600,
        "no partner's token lives longer"
    );
    short.token_seconds = Some(24 * 3600 + 1);
    assert!(refused(&short));
}

#[test]
fn attributes_stand_for_whole_levels_and_never_widen_a_right() {
    for template in [
        "{attr.}/{device}",
        "{attr.Site}/{device}",
        "{attr.a b}/{device}",
        "{attr.+}/{device}",
        "{attr.a}x/{device}",
        "x{attr.a}/{device}",
        "{attr}/{device}",
        "{attr.a",
        "{attr.a}/x",
    ] {
        assert!(refused(&role(RoleClass::Device, &[template], &[])), "{template}");
    }
    let role = role(RoleClass::Device, &["{attr.site}/{device}/up"], &[]);
    templates::check(&role).unwrap();
    let (tenant, group) = (TenantId::parse("t").unwrap(), GroupId::parse("g").unwrap());
    let device = DeviceId::parse("d-1").unwrap();
    let resolved = |values: &[(&str, &str)]| {
        let owned = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let attributes = Attributes::unchecked(owned.collect());
        let of = Placeholders {
            tenant: &tenant,
            group: &group,
            device: &device,
            attributes: &attributes,
        };
        let scope = templates::resolve(&role, &of).map_err(|refused| refused.code)?;
        Ok(scope.entries()[0].filter.as_str().to_owned())
    };
    assert_eq!(resolved(&[("site", "hall-2")]), Ok("hall-2/d-1/up".to_owned()));
    assert_eq!(resolved(&[("place", "hall-2")]), Err(RefusalCode::AttributeMissing));
    let long = "x".repeat(65);
    // Rows of the database that no call has written.
    for value in ["+", "#", "a/b", "", "$SYS", "a\0", "a b", "\u{7}", "ä", &long] {
        assert_eq!(resolved(&[("site", value)]), Err(RefusalCode::RoleInvalid), "{value:?}");
    }
}

#[test]
fn attributes_have_a_strict_alphabet_and_a_bound() {
    let one = |name: &str, value: &str| {
        Attributes::default().with(&[(name.to_owned(), Some(value.to_owned()))].into())
    };
    assert_eq!(one("site_2-b", "Hall:2.a_b-c").unwrap().get("site_2-b"), Some("Hall:2.a_b-c"));
    let (name, value) = ("x".repeat(33), "x".repeat(65));
    for bad in ["", "Site", "2a", "-a", "a.b", "a b", "ä", &name] {
        assert!(one(bad, "x").is_err(), "{bad:?}");
    }
    for bad in ["", "a/b", "+", "#", "a+", "$x", "a\0", "\n", "a b", "ä", "{device}", &value] {
        assert!(one("site", bad).is_err(), "{bad:?}");
    }
    let many = |count: usize| (0..count).map(|n| (format!("a{n}"), Some("x".to_owned())));
    let full = Attributes::default().with(&many(16).collect()).unwrap();
    assert!(Attributes::default().with(&many(17).collect()).is_err());
    let swapped = [("a0".to_owned(), None), ("b".to_owned(), Some("x".to_owned()))];
    let swapped = full.with(&swapped.into()).unwrap();
    assert_eq!((swapped.get("a0"), swapped.get("b")), (None, Some("x")));
    assert_eq!(full.with(&[("none".to_owned(), None)].into()).unwrap(), full);
}

#[test]
fn lines_within_others_are_told() {
    let role = role(
        RoleClass::Service,
        &["d/+/cmd", "d/{device}/cmd", "a"],
        &["d/#", "d/+/cmd", "a", "a"],
    );
    let told = templates::contained(&role);
    let one = |permission, line, within| Contained { permission, line, within };
    let all = [
        one(Permission::Publish, "d/{device}/cmd", "d/+/cmd"),
        one(Permission::Subscribe, "d/+/cmd", "d/#"),
        one(Permission::Subscribe, "a", "a"),
    ];
    assert_eq!(told, all, "publishing and subscribing are apart");
}

#[test]
fn the_tokens_of_few_devices_end_singly_and_of_many_by_their_groups_or_their_tenant() {
    let role = role(RoleClass::Device, &["{attr.site}/{device}"], &[]);
    let device = |group: String, revoked| DeviceRecord {
        role: String::new(),
        group,
        key: Vec::new(),
        epoch: 0,
        revoked,
        enrolled: 0,
        claim: String::new(),
        attributes: Attributes::default(),
        refresh_from: None,
        suspended: None,
        thumbprint: None,
    };
    let reach = |devices: usize, groups: usize| {
        let mut reach = Reach::default();
        for number in 0..devices {
            reach.take(&number.to_string(), device((number % groups).to_string(), false), &role);
        }
        reach
    };
    let moves = |reach: &Reach| reach.moves().as_str();
    assert_eq!(moves(&reach(0, 1)), "nothing");
    assert_eq!(moves(&reach(500, 500)), "devices");
    assert_eq!(moves(&reach(501, 1)), "groups");
    assert_eq!(moves(&reach(501, 500)), "groups");
    assert_eq!(moves(&reach(501, 501)), "tenant");
    let three = reach(501, 3);
    let Moves::Groups(groups) = three.moves_of_groups() else { panic!("no groups") };
    assert_eq!(groups.len(), 3);
    let mut revoked = reach(1, 1);
    revoked.take("x", device("other".to_owned(), true), &role);
    let Moves::Devices(devices) = revoked.moves() else { panic!("no devices") };
    assert_eq!((devices.len(), revoked.devices), (1, 2), "a revoked device has no token");
    assert_eq!(revoked.refused, 2, "the attribute is missing");
    let mut unread = reach(1, 1);
    unread.more = true;
    assert_eq!((moves(&unread), unread.moves_of_groups().as_str()), ("tenant", "tenant"));
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
