//! Random texts: none panics or takes long, and random expressions have the value that a second, naive reading of them has.

use super::*;

/// A small generator of numbers, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}

fn clamp(value: i128) -> i128 {
    value.clamp(i64::MIN.into(), i64::MAX.into())
}

const NUMBERS: [(&str, i128); 7] = [
    ("bytes", 2000),
    ("qos", 1),
    ("expiry", 60),
    ("0", 0),
    ("-7", -7),
    ("9223372036854775807", i64::MAX as i128),
    ("-9223372036854775808", i64::MIN as i128),
];
const TEXTS: [(&str, &str); 7] = [
    ("topic", "d/d-17/cmd"),
    ("device", "d-17"),
    ("\"\"", ""),
    ("'d/'", "d/"),
    ("\"cmd\"", "cmd"),
    ("\"\\\"ä\\\\\"", "\"ä\\"),
    ("network", "192.0.2.7"),
];

/// A text, and its value.
fn number(dice: &mut Dice, depth: usize) -> (String, i128) {
    if depth == 0 || dice.below(3) == 0 {
        let (text, value) = *dice.pick(&NUMBERS);
        return (text.to_owned(), value);
    }
    match dice.below(5) {
        0 => {
            let (text, value) = words(dice);
            (format!("size({text})"), value.chars().count() as i128)
        }
        1 => {
            let (text, value) = number(dice, depth - 1);
            (format!("-({text})"), clamp(-value))
        }
        sign => {
            let ((a, x), (b, y)) = (number(dice, depth - 1), number(dice, depth - 1));
            let (sign, value) = match sign {
                2 => ("+", x + y),
                3 => ("-", x - y),
                _ => ("*", x * y),
            };
            (format!("({a}) {sign} ({b})"), clamp(value))
        }
    }
}

fn words(dice: &mut Dice) -> (String, String) {
    let (text, value) = *dice.pick(&TEXTS);
    (text.to_owned(), value.to_owned())
}

fn compared<T: PartialOrd>(sign: &str, a: &T, b: &T) -> bool {
    match sign {
        "==" => a == b,
        "!=" => a != b,
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        _ => a >= b,
    }
}

fn condition(dice: &mut Dice, depth: usize) -> (String, bool) {
    const SIGNS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];
    if depth == 0 {
        return [("retain", true), ("true", true), ("false", false)]
            .map(|(text, value)| (text.to_owned(), value))[dice.below(3)]
        .clone();
    }
    match dice.below(10) {
        0 => {
            let (text, value) = condition(dice, depth - 1);
            (format!("!({text})"), !value)
        }
        1 | 2 => {
            let ((a, x), (b, y)) = (condition(dice, depth - 1), condition(dice, depth - 1));
            (format!("({a}) && ({b})"), x && y)
        }
        3 | 4 => {
            let ((a, x), (b, y)) = (condition(dice, depth - 1), condition(dice, depth - 1));
            (format!("({a}) || ({b})"), x || y)
        }
        5 => {
            let ((a, x), (b, y)) = (condition(dice, depth - 1), condition(dice, depth - 1));
            let sign = *dice.pick(&SIGNS[..2]);
            (format!("({a}) {sign} ({b})"), compared(sign, &x, &y))
        }
        6 => {
            let ((a, x), (b, y)) = (number(dice, depth - 1), number(dice, depth - 1));
            let sign = *dice.pick(&SIGNS);
            (format!("{a} {sign} {b}"), compared(sign, &x, &y))
        }
        7 => {
            let ((a, x), (b, y)) = (words(dice), words(dice));
            let sign = *dice.pick(&SIGNS);
            // Texts are compared character by character.
            let (x, y): (Vec<char>, Vec<char>) = (x.chars().collect(), y.chars().collect());
            (format!("{a} {sign} {b}"), compared(sign, &x, &y))
        }
        8 => {
            let ((a, x), (b, y)) = (words(dice), words(dice));
            match dice.below(3) {
                0 => (format!("{a}.startsWith({b})"), x.get(..y.len()) == Some(&y)),
                1 => (format!("{a}.endsWith({b})"), x.len() >= y.len() && x.ends_with(&y)),
                _ => {
                    let inside = (0..=x.len()).any(|at| x.get(at..at + y.len()) == Some(&y));
                    (format!("{a}.contains({b})"), inside)
                }
            }
        }
        _ => {
            let (a, x) = number(dice, depth - 1);
            let list: Vec<i128> =
                (0..1 + dice.below(5)).map(|_| [2000, 1, 60, -7, 4][dice.below(5)]).collect();
            let text: Vec<String> = list.iter().map(i128::to_string).collect();
            (format!("({a}) in [{}]", text.join(", ")), list.contains(&x))
        }
    }
}

#[test]
fn random_expressions_have_the_value_of_a_naive_reading() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let (mut accepted, mut held) = (0, 0);
    for _ in 0..3000 {
        let depth = 1 + dice.below(4);
        let (text, wanted) = condition(&mut dice, depth);
        match Program::compile(&text, On::Publish) {
            Ok(program) => {
                assert_eq!(holds(&text, publish()), wanted, "{text} as {program}");
                assert!(program.measure().nodes <= 128 && program.measure().depth <= 16);
                accepted += 1;
                held += usize::from(wanted);
            }
            Err(error) => {
                let code = error.problem.code();
                assert!(matches!(code, "rule_too_deep" | "rule_too_many_nodes"), "{text}: {error}");
            }
        }
    }
    assert!(accepted > 2500 && held > 500 && accepted - held > 500, "{accepted}, {held}");
}

#[test]
fn no_text_makes_it_panic() {
    const PIECES: [&str; 44] = [
        "topic",
        "bytes",
        "retain",
        "device",
        "filter",
        "properties",
        "in",
        "true",
        "false",
        "null",
        "has",
        "all",
        "map",
        "size",
        "matches",
        "matchesFilter",
        ".startsWith",
        ".",
        ",",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "&&",
        "||",
        "!",
        "==",
        "!=",
        "<=",
        "+",
        "-",
        "*",
        "/",
        "?",
        ":",
        "\"a\"",
        "'ä'",
        "\"",
        "1",
        "99999999999999999999",
        "//",
        "\n",
    ];
    let mut dice = Dice(7);
    let mut accepted = 0;
    for round in 0..4000 {
        let pieces = 1 + dice.below(if round % 50 == 0 { 400 } else { 12 });
        let mut text = String::new();
        for _ in 0..pieces {
            match dice.below(30) {
                0 => text.push(char::from_u32(dice.below(0x300) as u32).unwrap_or('?')),
                1 => text.push_str("matchesFilter(topic, \"a/+\")"),
                2 => text.push_str("bytes > 1 &&"),
                _ => text.push_str(PIECES[dice.below(PIECES.len())]),
            }
            if dice.below(3) == 0 {
                text.push(' ');
            }
        }
        for on in On::ALL {
            match Program::compile(&text, on) {
                Ok(_) => accepted += 1,
                Err(error) => {
                    assert!(error.at <= text.len(), "{text:?}: {error:?}");
                    error.pointer(&text);
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
    assert!(accepted > 20, "{accepted}");
}

#[test]
fn a_filter_matches_a_name_as_the_broker_does() {
    const LEVELS: [&str; 7] = ["a", "b", "", "ab", "$a", "+", "#"];
    let mut dice = Dice(11);
    let (mut matched, mut other) = (0, 0);
    for _ in 0..40_000 {
        let mut text = |levels: usize, most: usize| {
            (0..1 + dice.below(most))
                .map(|_| LEVELS[dice.below(levels)])
                .collect::<Vec<_>>()
                .join("/")
        };
        let (filter, topic) = (text(7, 4), text(5, 4));
        let Ok(parsed) = tessera_token::topic::TopicFilter::parse(&filter) else { continue };
        if topic.is_empty() {
            continue;
        }
        let wanted = parsed.matches_str(&topic);
        assert_eq!(evaluate::matches_name(&filter, &topic), wanted, "{filter} on {topic}");
        *(if wanted { &mut matched } else { &mut other }) += 1;
    }
    assert!(matched > 1000 && other > 1000, "{matched}, {other}");
}
