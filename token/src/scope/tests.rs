use super::*;
use crate::encoding::hex;

fn scope(entries: &[(&str, Permission)]) -> Scope {
    let entries = entries
        .iter()
        .map(|(f, p)| ScopeEntry { filter: TopicFilter::parse(f).unwrap(), permission: *p })
        .collect();
    Scope::new(entries).unwrap()
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

#[test]
fn aif_of_the_rfc_example_is_byte_exact() {
    let s = scope(&[
        ("topic1", Permission::Both),
        ("topic2/#", Permission::Publish),
        ("+/topic3", Permission::Subscribe),
    ]);
    let cbor = "838266746f706963318263707562637375628268746f706963322f23816370756282682b2f746f706963338163737562";
    assert_eq!(hex::encode(s.to_aif()), cbor);
    assert_eq!(Scope::from_aif(&hex::decode(cbor).unwrap()), Ok(s));
}

#[test]
fn the_union_of_entries_grants_nothing() {
    let s = scope(&[("a/+", Permission::Subscribe), ("a/+/#", Permission::Subscribe)]);
    assert!(!s.may_subscribe(&filter("a/#")));
    assert!(s.may_subscribe(&filter("a/b/#")));
    assert!(s.may_subscribe(&filter("a/b")));
}

#[test]
fn no_wildcard_reaches_dollar_topics() {
    let s = scope(&[("#", Permission::Both), ("+/x", Permission::Both)]);
    for topic in ["$SYS/x", "$tessera/token", "$x", "$share/g/a"] {
        assert!(!s.may_publish(&TopicName::parse(topic).unwrap()), "{topic}");
        assert!(!s.may_receive(&TopicName::parse(topic).unwrap()), "{topic}");
        assert!(!s.may_subscribe(&filter(topic)), "{topic}");
    }
}

#[test]
fn rights_are_separate() {
    let s = scope(&[("d/1/t", Permission::Publish), ("d/1/c", Permission::Subscribe)]);
    let t = |x: &str| TopicName::parse(x).unwrap();
    assert!(s.may_publish(&t("d/1/t")) && !s.may_publish(&t("d/1/c")));
    assert!(s.may_receive(&t("d/1/c")) && !s.may_receive(&t("d/1/t")));
    assert!(!s.may_publish(&t("d/1/t/x")) && !s.may_publish(&t("d/1")));
    assert!(!Scope::default().may_publish(&t("a")));
}

#[test]
fn within_compares_entry_by_entry() {
    let wide = scope(&[("a/#", Permission::Both), ("b", Permission::Subscribe)]);
    assert!(scope(&[("a/b", Permission::Publish), ("b", Permission::Subscribe)]).within(&wide));
    assert!(!scope(&[("b", Permission::Both)]).within(&wide));
    assert!(!scope(&[("#", Permission::Publish)]).within(&wide));
    assert!(Scope::default().within(&wide));
}

#[test]
fn malformed_scopes_are_refused() {
    for bad in [
        "a0",
        "8180",
        "81826161 80",
        "8182616181 63786162",
        "8182616182637075626370 7562",
        "818261618163707562 00",
        "8182612b2b8163707562",
        "81826081 63707562",
        "818361618163707562f6",
        "9f8261618163707562ff",
        "81824161 8163707562",
        "8182616163707562",
        "818262612b8163707562",
    ] {
        let bytes = hex::decode(bad.replace(' ', "")).unwrap();
        assert_eq!(Scope::from_aif(&bytes), Err(ScopeError), "{bad}");
    }
}
