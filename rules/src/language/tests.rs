use super::*;
use crate::attributes::schema::{property, ATTRIBUTES};
use crate::attributes::{Connect, Event, Moment, Publish, Session, Severity, Subscribe};
use tessera_token::time::UnixSeconds;

mod random;

fn session() -> Session<'static> {
    Session {
        tenant: "acme",
        device: "d-17",
        group: "hall-2",
        role: "pump",
        client_id: "d-17~b",
        network: "192.0.2.7",
        asn: 64_500,
        country: "DE",
        token_issued: Some(UnixSeconds::new(1_000_000)),
        token_expires: Some(UnixSeconds::new(1_003_600)),
        ..Session::default()
    }
}

/// 13:48 UTC, 120 seconds after the token was issued.
fn moment() -> Moment {
    Moment { now: UnixSeconds::new(1_000_120), score: 12, severity: Severity::Low }
}

fn publish() -> Event<'static> {
    Event::Publish(Publish {
        topic: "d/d-17/cmd",
        bytes: 2000,
        qos: 1,
        retain: true,
        topic_alias: 3,
        content_type: "application/cbor",
        expiry: 60,
    })
}

fn connect() -> Event<'static> {
    Event::Connect(Connect {
        keep_alive: 60,
        will_topic: "d/d-17/gone",
        user_name: "ünal",
        properties: property("user_property").unwrap(),
        transport: "ws",
        tls: "1.3",
        ..Connect::default()
    })
}

fn subscribe(filter: &'static str) -> Event<'static> {
    Event::Subscribe(Subscribe { filter, qos: 2, share: "" })
}

fn holds(text: &str, event: Event<'_>) -> bool {
    let session = session();
    let program = Program::compile(text, event.on()).unwrap_or_else(|e| panic!("{text}: {e}"));
    let again = Program::compile(&program.to_string(), event.on());
    let again = again.unwrap_or_else(|e| panic!("{program}: {e}"));
    assert_eq!(again, program, "the normal form of {text}");
    program.holds(&Attributes { session: &session, moment: moment(), event })
}

fn error(text: &str, on: On) -> TextError {
    match Program::compile(text, on) {
        Ok(program) => panic!("{text} became {program}"),
        Err(error) => error,
    }
}

#[test]
fn each_construct_has_its_value() {
    for (text, wanted) in [
        ("true", true),
        ("false", false),
        ("retain", true),
        ("!retain", false),
        ("!!retain", true),
        ("!(!retain)", true),
        ("retain == true", true),
        ("retain != (qos == 1)", false),
        ("retain && qos == 1 && bytes > 1999", true),
        ("qos == 0 || bytes < 10 || retain", true),
        ("qos == 0 || bytes < 10", false),
        ("(qos == 0 || retain) && !(bytes == 1)", true),
        ("qos == 0 && bytes == 1 || retain", true),
        ("bytes == 2000 && bytes >= 2000 && bytes <= 2000 && bytes != 1", true),
        ("bytes > 2000 || bytes < 2000", false),
        ("topic == 'd/d-17/cmd'", true),
        ("topic != \"d/d-17/cmd\"", false),
        ("topic > \"d/d-16\" && topic < \"d/e\" && \"a\" < topic", true),
        ("topic >= topic && topic <= topic", true),
        ("device in [\"z\", \"d-17\", \"a\", \"a\"]", true),
        ("device in [\"z\"]", false),
        ("!(device in ['z'])", true),
        ("qos in [0, 2, -1]", false),
        ("qos in [2, 1]", true),
        ("bytes * 2 in [4000]", true),
        ("topic.startsWith(\"d/\") && topic.endsWith('/cmd') && topic.contains(\"-17/\")", true),
        ("topic.startsWith(\"x\") || topic.endsWith(\"x\") || topic.contains(\"x\")", false),
        ("topic.contains(device) && !topic.contains(group)", true),
        ("\"d-17~b\".startsWith(device)", true),
        ("size(topic) == 10", true),
        ("topic.size() == 10 && size(\"äb\") == 2", true),
        ("matchesFilter(topic, \"d/+/cmd\")", true),
        ("matchesFilter(topic, \"d/#\") && !matchesFilter(topic, \"d/+\")", true),
        ("matchesFilter(topic, \"d/d-17/cmd\")", true),
        ("bytes + 48 == 2048 && bytes - 2001 == -1 && -bytes == -2000 && bytes * 3 == 6000", true),
        ("-(-bytes) == 2000 && -(5) == -5 && 2 - -3 == 5 && 2 + 3 * 4 == 14 && (2 + 3) * 4 == 20", true),
        ("10 - 3 - 2 == 5 && 10 - (3 - 2) == 9", true),
        ("9223372036854775807 + bytes == 9223372036854775807", true),
        ("-9223372036854775808 - bytes == -9223372036854775808", true),
        ("-(-9223372036854775808) == 9223372036854775807", true),
        ("bytes * 9223372036854775807 * -1 == -9223372036854775807", true),
        ("tenant == \"acme\" && group == \"hall-2\" && role == \"pump\" && kind == \"device\"", true),
        ("client_id == \"d-17~b\" && network.startsWith(\"192.0.2.\") && asn == 64500", true),
        ("country == \"DE\" && token_age == 120 && token_left == 3480 && hour == 13", true),
        ("token_kind == \"pop\" && proof == \"signature\" && alg == \"EdDSA\"", true),
        ("score == 12 && severity == \"low\" && severity in [\"low\", \"high\"]", true),
        ("topic_alias == 3 && content_type == \"application/cbor\" && expiry == 60", true),
        ("// why\n  retain // and so on\n && true", true),
    ] {
        assert_eq!(holds(text, publish()), wanted, "{text}");
    }
    for (text, wanted) in [
        ("version == 5 && keep_alive == 60 && clean && will_topic.endsWith(\"gone\")", true),
        ("user_name == \"ünal\" && size(user_name) == 4 && user_name < \"ý\"", true),
        ("\"user_property\" in properties && !(\"will_delay\" in properties)", true),
        ("transport == \"ws\" && tls in [\"1.2\", \"1.3\"]", true),
        ("matchesFilter(will_topic, \"d/+/gone\")", true),
    ] {
        assert_eq!(holds(text, connect()), wanted, "{text}");
    }
    for (text, filter, wanted) in [
        ("filter == \"d/+/cmd\" && wildcard && qos == 2 && share == \"\"", "d/+/cmd", true),
        ("wildcard", "d/x", false),
        ("matchesFilter(filter, \"d/+/#\")", "d/+/cmd", true),
        ("matchesFilter(filter, \"d/+/cmd\")", "d/#", false),
    ] {
        assert_eq!(holds(text, subscribe(filter)), wanted, "{text}");
    }
    let session = session();
    let event = Event::Connect(Connect::default());
    let none = Program::compile("matchesFilter(will_topic, \"#\")", On::Connect).unwrap();
    assert!(!none.holds(&Attributes { session: &session, moment: moment(), event }));
    let other = Program::compile("true", On::Publish).unwrap();
    assert!(!other.holds(&Attributes { session: &session, moment: moment(), event }));
}

#[test]
fn each_attribute_belongs_to_its_events() {
    for attribute in &ATTRIBUTES {
        for on in On::ALL {
            let text = match attribute.type_name() {
                "text" if attribute.values.is_empty() => format!("{} == \"\"", attribute.name),
                "text" => format!("{} == \"{}\"", attribute.name, attribute.values[0]),
                "number" => format!("{} == 0", attribute.name),
                "bool" => attribute.name.to_owned(),
                _ => format!("\"will_delay\" in {}", attribute.name),
            };
            match Program::compile(&text, on) {
                Ok(_) => assert!(attribute.on.contains(&on), "{text} on {on}"),
                Err(error) => {
                    assert!(!attribute.on.contains(&on), "{text} on {on}: {error}");
                    assert_eq!(error.problem.code(), "rule_other_event", "{text} on {on}");
                }
            }
        }
    }
}

#[test]
fn errors_have_a_code_and_a_place() {
    for (text, code, at) in [
        ("", "rule_empty", 0),
        ("  // nothing", "rule_empty", 0),
        ("topic > 3", "rule_type", 6),
        ("will_topic == \"x\"", "rule_other_event", 0),
        ("retain && tpoic == \"x\"", "rule_unknown_name", 10),
        ("bytes", "rule_type", 0),
        ("topic", "rule_type", 0),
        ("!bytes == 1", "rule_type", 0),
        ("-topic == 1", "rule_type", 0),
        ("retain > true", "rule_type", 7),
        ("retain && bytes", "rule_type", 7),
        ("bytes == \"1\"", "rule_type", 6),
        ("topic + \"x\" == \"y\"", "rule_not_in_language", 6),
        ("bytes + topic == 1", "rule_type", 6),
        ("topic.startsWith(1)", "rule_type", 16),
        ("topic.startsWith()", "rule_type", 16),
        ("bytes.contains(\"x\")", "rule_type", 14),
        ("size(bytes) == 1", "rule_type", 4),
        ("size() == 1", "rule_type", 4),
        ("matchesFilter(topic)", "rule_type", 13),
        ("matchesFilter(topic, device)", "rule_type", 13),
        ("matchesFilter(topic, \"a/#/b\")", "rule_filter", 21),
        ("topic.upper() == \"X\"", "rule_not_in_language", 11),
        ("bytes / 2 == 1", "rule_not_in_language", 6),
        ("bytes % 2 == 1", "rule_not_in_language", 6),
        ("retain ? true : false", "rule_not_in_language", 7),
        ("{\"a\": 1} == {}", "rule_not_in_language", 0),
        ("bytes = 1", "rule_not_in_language", 6),
        ("retain & retain", "rule_not_in_language", 7),
        ("retain | retain", "rule_not_in_language", 7),
        ("topic.matches(\"a.*\")", "rule_not_in_language", 6),
        ("has(topic)", "rule_not_in_language", 0),
        ("topic == null", "rule_not_in_language", 9),
        ("[1, 2].all(x, x > 0)", "rule_not_in_language", 7),
        ("[1].exists(x, true)", "rule_not_in_language", 4),
        ("[1].map(x, x) == [1]", "rule_not_in_language", 4),
        ("topic == r\"a\"", "rule_not_in_language", 9),
        ("topic == b'a'", "rule_not_in_language", 9),
        ("topic == \"\"\"a\"\"\"", "rule_not_in_language", 9),
        ("bytes == 1.5", "rule_not_in_language", 9),
        ("bytes == 1u", "rule_not_in_language", 9),
        ("bytes == 0x10", "rule_not_in_language", 9),
        ("topic[0] == \"a\"", "rule_not_in_language", 5),
        ("device.name == \"a\"", "rule_not_in_language", 6),
        ("[1, 2]", "rule_not_in_language", 0),
        ("topic in device", "rule_type", 6),
        ("topic in []", "rule_list", 9),
        ("topic in [1]", "rule_type", 10),
        ("bytes in [\"1\"]", "rule_type", 10),
        ("retain in [true]", "rule_type", 7),
        ("bytes in [bytes]", "rule_type", 10),
        ("severity == \"hihg\"", "rule_value", 9),
        ("\"hihg\" == severity", "rule_value", 7),
        ("kind in [\"device\", \"gateway\"]", "rule_value", 19),
        ("duration(\"1h\") == 1", "rule_not_in_language", 8),
        ("topic == \"a", "rule_grammar", 9),
        ("topic == \"a\nb\"", "rule_grammar", 9),
        ("(retain", "rule_grammar", 0),
        ("retain)", "rule_grammar", 6),
        ("(retain]", "rule_grammar", 7),
        ("topic == ä", "rule_grammar", 9),
        ("bytes == 9223372036854775808", "rule_grammar", 9),
        ("retain retain", "rule_grammar", 7),
        ("&& retain", "rule_grammar", 0),
        ("\"ä\" == topic && bytes > \"x\"", "rule_type", 23),
        ("\"ä\" == topic topic", "rule_grammar", 14),
    ] {
        let error = error(text, On::Publish);
        assert_eq!((error.problem.code(), error.at), (code, at), "{text:?}: {error}");
        assert!(error.to_string().len() > 20, "{error}");
    }
    let connect = error("\"will_dealy\" in properties", On::Connect);
    assert_eq!((connect.problem.code(), connect.at), ("rule_value", 0));
}

#[test]
fn errors_say_what_to_write() {
    for (text, words) in [
        ("topic > 3", "`>` cannot take the text `topic` and the number `3`: it takes two texts or two numbers"),
        ("tpoic == \"x\"", "did you mean `topic`?"),
        ("will_topic == \"\"", "it belongs to connect"),
        ("bytes / 2 > 1", "multiply the other side"),
        ("topic.matches(\"x\")", "matchesFilter(topic, \"d/+/cmd\")"),
        ("severity == \"hihg\"", "one of none, low, moderate, high"),
    ] {
        let error = error(text, On::Publish).to_string();
        assert!(error.contains(words), "{error}");
    }
    let text = "retain &&\n\tbytes > \"ä\" &&\n true";
    let wrong = error(text, On::Publish);
    assert_eq!(wrong.position(text), (2, 8));
    assert_eq!(wrong.pointer(text), " bytes > \"ä\" &&\n       ^");
    let text = format!("{} && topic > 3", vec!["retain"; 30].join(" && "));
    let pointer = error(&text, On::Publish).pointer(&text);
    assert!(pointer.lines().all(|line| line.len() <= 100), "{pointer}");
    let (line, mark) = pointer.split_once('\n').unwrap();
    assert_eq!(&line[mark.len() - 1..mark.len()], ">", "{pointer}");
}

#[test]
fn bounds_hold_before_anything_recurses() {
    let deep = |n: usize| format!("{}retain{}", "(".repeat(n), ")".repeat(n));
    assert!(Program::compile(&deep(16), On::Publish).is_ok());
    let code = |text: &str| error(text, On::Publish).problem.code();
    assert_eq!(code(&deep(17)), "rule_too_deep");
    assert_eq!(code(&deep(900)), "rule_too_deep");
    // Longer than a text may be, so nothing of it is read.
    assert_eq!(code(&"(".repeat(10_000)), "rule_too_long");
    assert_eq!(code(&"(".repeat(2048)), "rule_too_deep");
    assert_eq!(code(&"[".repeat(2048)), "rule_too_deep");
    assert_eq!(code(&format!("{}retain", "!".repeat(2000))), "rule_too_deep");
    assert_eq!(code(&format!("bytes == {}1", "-".repeat(2000))), "rule_too_deep");
    assert_eq!(code(&format!("bytes == 1{}", "+1".repeat(900))), "rule_too_deep");
    assert_eq!(code(&format!("retain{}", " == true".repeat(200))), "rule_too_deep");
    assert_eq!(code(&format!("device{}", ".size()".repeat(200))), "rule_too_deep");
    assert_eq!(code(&format!("topic in [{}\"\"]", "\"\", ".repeat(256))), "rule_list");
    assert!(Program::compile(&format!("bytes in [{}1]", "-1, ".repeat(255)), On::Publish).is_ok());

    let nested = (0..6)
        .fold("true".to_owned(), |inner, n| format!("[0,1,2,3,4,5,6,7,8,9].all(x{n}, {inner})"));
    let wrong = error(&nested, On::Publish);
    assert_eq!(wrong.problem.code(), "rule_not_in_language");
    assert_eq!(wrong.at, nested.find("all").unwrap());

    let wide = |n: usize| vec!["retain"; n].join("&&");
    let most = Program::compile(&wide(64), On::Publish).unwrap();
    assert_eq!((most.measure().nodes, most.measure().depth), (127, 2));
    assert_eq!(code(&wide(65)), "rule_too_many_nodes");
    assert_eq!(code(&wide(250)), "rule_too_many_nodes");
    // Fifteen levels of the form `a == (b == (…))` above a flag.
    let chain =
        |n: usize| (0..n).fold("retain".to_owned(), |inner, _| format!("true == ({inner})"));
    assert_eq!(Program::compile(&chain(15), On::Publish).unwrap().measure().depth, 16);
    assert_eq!(code(&chain(16)), "rule_too_deep");
}

#[test]
fn nodes_and_cost_are_those_of_the_page() {
    for (text, nodes, depth, cost) in [
        ("true", 1, 1, 1),
        ("bytes > 1024", 3, 2, 3),
        ("device == \"d-17\"", 3, 2, 4),
        ("topic.contains(\"x\")", 3, 2, 67),
        ("size(topic) > 3", 4, 3, 68),
        ("matchesFilter(topic, \"a/+\")", 3, 2, 67),
        ("qos in [0, 1, 2]", 3, 2, 5),
        ("device in [\"a\", \"b\", \"c\", \"d\"]", 3, 2, 6),
        ("retain && qos == 1 && bytes > 5", 9, 3, 8),
    ] {
        let measure = Program::compile(text, On::Publish).unwrap().measure();
        assert_eq!((measure.nodes, measure.depth, measure.cost), (nodes, depth, cost), "{text}");
    }
}
