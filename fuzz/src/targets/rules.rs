//! Rules: texts as bytes or as words of the language, and rules as CBOR. An accepted text is within its bounds and has a
//! normal form that is read as the same expression; accepted bytes are the only form of their rule.

use tessera_rules::attributes::schema::{ATTRIBUTES, PROPERTIES};
use tessera_rules::attributes::{
    Attributes, Connect, Event, Moment, On, Publish, Session, Subscribe,
};
use tessera_rules::language::Program;
use tessera_rules::limits;
use tessera_rules::rule::{Action, Draft, Mode, Rule, Selector};
use tessera_token::time::UnixSeconds;

use super::numbered;
use crate::draw::Draw;
use crate::signal::note;

const WORDS: [&str; 48] = [
    "&&",
    "||",
    "!",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "in",
    "true",
    "false",
    "0",
    "7",
    "65536",
    "9223372036854775807",
    "\"a\"",
    "'d/'",
    "\"d/+/cmd\"",
    "startsWith",
    "endsWith",
    "contains",
    "size",
    "matchesFilter",
    "matchesFilter(topic, \"d/+\")",
    "bytes > 1",
    "topic.contains(device)",
    "device in [\"a\"]",
    "all",
    "x",
    "has",
    "?",
    "/",
    "{",
    "//",
    "\n",
    "\"",
    "retain",
    "properties",
];

/// Runs one input: a byte that chooses the form, then a text, words, or the bytes of a rule.
pub fn target(data: &[u8]) {
    let Some((form, rest)) = data.split_first() else { return };
    let on = On::ALL[usize::from(form >> 2) % 3];
    match form & 3 {
        0 => bytes(rest),
        1 => text(&String::from_utf8_lossy(rest), on),
        _ => text(&words(&mut Draw::new(rest)), on),
    }
}

fn words(draw: &mut Draw<'_>) -> String {
    let count = 1 + draw.below(20);
    let word = |draw: &mut Draw<'_>| match draw.below(3) {
        0 => ATTRIBUTES[draw.below(ATTRIBUTES.len())].name,
        _ => *draw.pick(&WORDS),
    };
    (0..count).map(|_| word(draw)).collect::<Vec<_>>().join(" ")
}

fn text(text: &str, on: On) {
    let program = match Program::compile(text, on) {
        Ok(program) => program,
        Err(error) => {
            assert!(error.at <= text.len(), "{text:?}: {error:?}");
            assert!(!error.pointer(text).is_empty() && !error.to_string().is_empty());
            return note((on, error.problem.code()));
        }
    };
    let measure = program.measure();
    assert!(text.len() <= limits::TEXT_BYTES);
    assert!(measure.nodes <= limits::NODES && measure.depth <= limits::DEPTH, "{text:?}");
    let normal = program.to_string();
    // Escapes may make the normal form longer than a text may be.
    if normal.len() <= limits::TEXT_BYTES {
        assert_eq!(Program::compile(&normal, on).as_ref(), Ok(&program), "{text:?} as {normal:?}");
    }
    let session = Session { tenant: "a", device: "a", ..Session::default() };
    let event = match on {
        On::Connect => Event::Connect(Connect::default()),
        On::Publish => Event::Publish(Publish { topic: "d/a/cmd", bytes: 7, ..Publish::default() }),
        On::Subscribe => Event::Subscribe(Subscribe { filter: "d/+", ..Subscribe::default() }),
    };
    let moment = Moment { now: UnixSeconds::new(1_000_000), ..Moment::default() };
    let holds = program.holds(&Attributes { session: &session, moment, event });
    note((on, holds, measure.nodes.min(12), measure.depth));
}

fn bytes(bytes: &[u8]) {
    match Rule::from_cbor(bytes) {
        Ok(rule) => {
            assert_eq!(rule.to_cbor(), bytes);
            note(("rule", rule.draft().on, rule.draft().action.as_str()));
        }
        Err(error) => note(("no rule", error.code())),
    }
}

/// A rule of each event, as text and as bytes, and a text for each property.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let texts = [
        "user_name == \"\" || \"user_property\" in properties && keep_alive * 2 < 60",
        "topic.endsWith(\"/cmd\") && bytes > 65536 && !(hour in [1, 2])",
        "wildcard && severity in [\"moderate\", \"high\"] || size(filter) > 200",
    ];
    let rule = |(on, text): (On, &&str)| {
        let draft = Draft {
            id: "r".into(),
            version: 1,
            on,
            selector: Selector {
                tenant: "a".into(),
                roles: vec!["p".into()],
                ..Selector::default()
            },
            text: (*text).into(),
            action: Action::Deny,
            mode: Mode::Shadow,
            not_before: UnixSeconds::new(1),
            expires: UnixSeconds::new(9),
            author: "a".into(),
            reason: "b".into(),
        };
        Rule::new(draft).expect("a rule of the harness").to_cbor()
    };
    let rules = On::ALL.into_iter().zip(&texts).map(rule).map(|bytes| [vec![0], bytes].concat());
    let texts = (0_u8..).zip(texts).map(|(on, text)| [&[on << 2 | 1], text.as_bytes()].concat());
    let properties =
        PROPERTIES.iter().map(|name| format!("\u{1}\"{name}\" in properties").into_bytes());
    let tapes = (0..15_u8).map(|n| vec![2 | (n % 3) << 2, n, n, 7 * n, 11 * n, 13 * n, 17 * n]);
    numbered(rules.chain(texts).chain(properties).chain(tapes))
}
