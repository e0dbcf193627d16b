use super::*;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

#[test]
fn filters_are_checked() {
    for good in ["a", "/", "a/b", "+", "#", "a/+/b", "a/#", "+/+/#", "/finance", "a//b", "$x/+"] {
        assert!(TopicFilter::parse(good).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("", TopicError::Empty),
        ("a#", TopicError::MisplacedWildcard),
        ("a/#/b", TopicError::MisplacedWildcard),
        ("a/b+", TopicError::MisplacedWildcard),
        ("#/", TopicError::MisplacedWildcard),
        ("a\0b", TopicError::BadCharacter),
        ("a\u{1b}[1m", TopicError::BadCharacter),
    ] {
        assert_eq!(TopicFilter::parse(bad), Err(why), "{bad}");
    }
    assert_eq!(TopicFilter::parse(&"/".repeat(32)), Err(TopicError::TooLong));
    assert_eq!(TopicName::parse("a/+"), Err(TopicError::WildcardInName));
    assert_eq!(TopicName::parse(&"x".repeat(1025)), Err(TopicError::TooLong));
}

#[test]
fn shares_are_split() {
    let s = Subscription::parse("$share/g/a/+").unwrap();
    assert_eq!((s.share.as_deref(), s.filter.as_str()), (Some("g"), "a/+"));
    for bad in ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a"] {
        assert_eq!(Subscription::parse(bad), Err(TopicError::BadShare), "{bad}");
    }
    assert_eq!(Subscription::parse("$shared/g/a").unwrap().share, None);
}

/// All texts of one to four levels over `alphabet`.
fn all(alphabet: &[&str]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut last: Vec<String> = alphabet.iter().map(|s| String::from(*s)).collect();
    for _ in 0..4 {
        out.extend(last.iter().cloned());
        last = last
            .iter()
            .flat_map(|head| alphabet.iter().map(move |level| format!("{head}/{level}")))
            .collect();
    }
    out
}

/// MQTT 4.7 by the letter, written without the product's walk: level by level on slices.
fn oracle(filter: &str, topic: &str) -> bool {
    let f: Vec<&str> = filter.split('/').collect();
    let t: Vec<&str> = topic.split('/').collect();
    if topic.starts_with('$') && matches!(f[0], "+" | "#") {
        return false;
    }
    if f[f.len() - 1] == "#" {
        let fixed = &f[..f.len() - 1];
        return t.len() >= fixed.len() && fixed.iter().zip(&t).all(|(a, b)| *a == "+" || a == b);
    }
    f.len() == t.len() && f.iter().zip(&t).all(|(a, b)| *a == "+" || a == b)
}

#[test]
fn subset_is_exact_for_every_pair_of_filters_to_four_levels() {
    // Five levels of topics over two letters, one unknown letter and `$a` tell any two filters apart.
    let filters: Vec<TopicFilter> =
        all(&["a", "$b", "", "+", "#"]).iter().filter_map(|f| TopicFilter::parse(f).ok()).collect();
    let mut topics = all(&["a", "$b", "", "z"]);
    topics.extend(all(&["a", "z"]).iter().map(|t| format!("{t}/z")));
    topics.extend(
        all(&["a", "$b", "", "z"])
            .iter()
            .filter(|t| t.matches('/').count() == 3)
            .map(|t| format!("{t}/z")),
    );
    let topics: Vec<String> = topics.into_iter().filter(|t| !t.is_empty()).collect();
    let words = topics.len().div_ceil(64);
    let sets: Vec<Vec<u64>> = filters
        .iter()
        .map(|f| {
            let mut set = alloc::vec![0u64; words];
            for (i, t) in topics.iter().enumerate() {
                let hit = oracle(f.as_str(), t);
                assert_eq!(f.matches_str(t), hit, "{f} on {t}");
                set[i / 64] |= u64::from(hit) << (i % 64);
            }
            set
        })
        .collect();
    for (wide, w) in filters.iter().zip(&sets) {
        for (narrow, n) in filters.iter().zip(&sets) {
            let subset = n.iter().zip(w).all(|(n, w)| n & !w == 0);
            assert_eq!(wide.covers(narrow), subset, "{wide} covers {narrow}");
        }
    }
}
